"""``/livez`` and ``/readyz`` over HTTP, and what a server promises."""

import asyncio
import time
from typing import Any

import pytest
import redis
from redis.asyncio import Redis

from service.health import Durability, read_durability
from tests.integration.service.conftest import TENANT_ID, Clock, Site, Start
from workers import embedded
from workers.contract.keyspace import Keyspace

ON_DISK = "An accepted notification is on this server's disk before it is answered."


def test_liveness_touches_nothing(start: Start) -> None:
    """The process says that it is alive, even without Redis."""
    site = start(redis_url=f"redis://127.0.0.1:{embedded.free_port()}/0")
    answer = site.client.get("/livez")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_readiness_says_what_can_be_relied_on(
    start: Start, store: redis.Redis, keys: Keyspace, clock: Clock
) -> None:
    """Ready: Redis answers, its data is ours, and what it promises is said; counts, no names."""
    site = start(None, clock)
    site.notify()
    clock.ms += 2500
    answer = site.client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "checks": {
            "redis": {"ok": True},
            "schema": {"ok": True},
            "durability": {
                "appendonly": "yes",
                "appendfsync": "always",
                "promise": "disk",
                "detail": ON_DISK,
            },
            "tenants": {
                "configured": 1,
                "with_baseline": 0,
                "pending": 1,
                "coverage_lag_s": 2.5,
                "brakes_engaged": 0,
            },
        },
    }
    store.hset(keys.head, "baseline_ms", 1)
    assert site.client.get("/readyz").json()["checks"]["tenants"]["with_baseline"] == 1


def test_brake_is_said_and_no_failure(start: Start, store: redis.Redis, keys: Keyspace) -> None:
    """Removals that are held back keep nothing from being accepted."""
    store.hset(keys.brake, "strength", "operator")
    answer = start().client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["checks"]["tenants"]["brakes_engaged"] == 1


def test_coverage_lag_is_that_of_the_oldest_of_all(
    two_tenants: Site, store: redis.Redis, clock: Clock
) -> None:
    """Of several tenants, the one that has waited longest counts, and only what is pending."""
    for slug, pending, waited_ms in (("acme", 1, 60_000), ("other", 0, 3_600_000)):
        state: dict[Any, Any] = {"pending": pending, "oldest_ms": clock() - waited_ms}
        store.hset(Keyspace(slug).head, mapping=state)
    lag_s = two_tenants.client.get("/readyz").json()["checks"]["tenants"]["coverage_lag_s"]
    assert 60 <= lag_s < 600


def test_readiness_needs_redis(start: Start) -> None:
    """Without Redis nothing can be accepted: not ready, and alive all the same."""
    answer = start(redis_url=f"redis://127.0.0.1:{embedded.free_port()}/0").client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"status": "unready", "checks": {"redis": {"ok": False}}}


def test_readiness_needs_a_known_schema(start: Start, store: redis.Redis) -> None:
    """Data of another version makes the process unready, until it is ours."""
    store.set("cpdfeed:schema", "99")
    site = start()
    answer = site.client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["schema"] == {"ok": False}
    store.set("cpdfeed:schema", "1")
    assert site.client.get("/readyz").status_code == 200


def test_readiness_follows_redis(start: Start, tmp_path_factory: pytest.TempPathFactory) -> None:
    """When Redis goes away the process becomes unready."""
    with embedded.running(tmp_path_factory.mktemp("dying")) as server:
        site = start(redis_url=server.url.reveal())
        assert site.client.get("/readyz").status_code == 200
    assert site.client.get("/readyz").status_code == 503


def test_readiness_names_nobody(two_tenants: Site) -> None:
    """No slug, id or address is told to who has no token."""
    text = two_tenants.client.get("/readyz").text
    for private in ("acme", "other", TENANT_ID, "redis://", "127.0.0.1"):
        assert private not in text


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_health_is_read_only(start: Start, path: str) -> None:
    """Only GET and HEAD are taken."""
    site = start()
    assert site.client.head(path).status_code == 200
    answer = site.client.post(path)
    assert (answer.status_code, answer.json()["reason"]) == (405, "method_not_allowed")


def durability(url: str) -> Durability:
    """Ask a server what it promises."""

    async def run() -> Durability:
        client = Redis.from_url(url)
        try:
            return await read_durability(client)
        finally:
            await client.aclose()

    return asyncio.run(run())


def restore(store: redis.Redis) -> None:
    """Make the server durable again, and wait until it is: it cannot be stopped before."""
    store.config_set("appendfsync", "always")
    store.config_set("appendonly", "yes")
    deadline = time.monotonic() + 10
    while True:
        state: Any = store.info("persistence")
        if not state["aof_rewrite_in_progress"] and not state["aof_rewrite_scheduled"]:
            return
        assert time.monotonic() < deadline, "the append-only file was not written in time"


@pytest.mark.parametrize(
    ("changes", "promise"),
    [
        ({}, "disk"),
        ({"appendfsync": "everysec"}, "memory"),
        ({"appendfsync": "no"}, "memory"),
        ({"appendonly": "no"}, "memory"),
    ],
)
def test_weaker_durability_is_said(
    start: Start, store: redis.Redis, redis_url: str, changes: dict[str, str], promise: str
) -> None:
    """What the server is set to is told for what it is, and is no reason to stop."""
    try:
        for name, value in changes.items():
            store.config_set(name, value)
        found = durability(redis_url)
        assert found.promise == promise
        answer = start().client.get("/readyz")
        assert answer.status_code == 200
        assert answer.json()["checks"]["durability"]["promise"] == promise
    finally:
        restore(store)


def restricted(store: redis.Redis, redis_url: str) -> str:
    """Make a user who may not use CONFIG, as on hosted servers, and give its URL."""
    store.acl_setuser(
        "guest",
        enabled=True,
        passwords=["+guest-password"],
        categories=["+@all"],
        commands=["-config"],
        keys=["*"],
        channels=["*"],
    )
    return f"redis://guest:guest-password@{redis_url.rpartition('@')[2]}"


def test_hosted_server_does_not_tell_when_it_syncs(store: redis.Redis, redis_url: str) -> None:
    """Where CONFIG is forbidden, INFO tells whether there is a file, and the rest is unknown."""
    try:
        found = durability(restricted(store, redis_url))
        assert (found.appendonly, found.appendfsync) == ("yes", "unknown")
        assert found.promise == "unknown"
    finally:
        store.acl_deluser("guest")


def test_hosted_server_without_a_file_is_memory(
    start: Start, store: redis.Redis, redis_url: str
) -> None:
    """Where CONFIG is forbidden and there is no file, nothing reaches a disk in time."""
    store.config_set("appendonly", "no")
    try:
        url = restricted(store, redis_url)
        assert durability(url).promise == "memory"
        answer: Any = start(redis_url=url).client.get("/readyz").json()
        assert answer["status"] == "ready"
    finally:
        restore(store)
        store.acl_deluser("guest")
