"""A worker that froze in the middle of a read, and woke when another had done its work."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

from service.sandbox import Options, Platform, create_app
from tests.installation import (
    about,
    assert_log_holds,
    installed,
    sandbox_settings,
    wait_until,
)
from workers.contract.keyspace import Keyspace

FIRST = "60d5ec49b60b4b3a2c8f9a10"
FIRST_AUDIENCE = "60d5ec49b60b4b3a2c8f9a11"
TENANT_ID = "eu-west-2_Sandbox01"


def test_frozen_worker_publishes_nothing(
    platform: Platform, serve: Callable[[Any], str], tmp_path: Path
) -> None:
    """Stopped past its lease with an old page in its hands, it wakes to a conflict."""
    tenant, keys = platform.tenant(TENANT_ID), Keyspace("default")
    with installed(tmp_path, sandbox_settings(serve(create_app(platform)))) as feed:
        feed.has_baseline()
        store = redis.Redis.from_url(str(feed.redis_url))
        scanned, reads = store.hget(keys.head, "scan_ms"), tenant.reads.counts["list"]

        tenant.options = Options(latency_ms=3000)
        tenant.update(FIRST, 700)
        feed.notify(about(FIRST_AUDIENCE))
        wait_until(lambda: store.hget(keys.head, "scan_ms") != scanned, "the read")
        feed.freeze("refresh")
        wait_until(lambda: tenant.reads.counts["list"] > reads, "the platform's answer")
        assert store.exists(keys.lease)

        tenant.options = Options()
        tenant.update(FIRST, 720)
        accepted = feed.notify(about(FIRST_AUDIENCE, createdAt="2026-01-01T00:00:00Z"))
        feed.start("refresh-2")
        wait_until(lambda: len(feed.changes()) > 1, "another worker's change")
        wait_until(
            lambda: feed.get(accepted.headers["Location"])["state"] == "covered", "its coverage"
        )
        before = feed.changes()
        rows = feed.get("/v1/requirements")

        feed.thaw("refresh")
        log = tmp_path / "refresh.log"
        wait_until(lambda: "commit_conflict" in log.read_text(), "the conflict")
        assert feed.changes() == before
        assert feed.get("/v1/requirements") == rows

        tenant.update(FIRST, 730)
        feed.notify(about(FIRST_AUDIENCE, createdAt="2026-01-01T00:00:01Z"))
        wait_until(lambda: len(feed.changes()) > len(before), "the next change")
        changes = feed.changes()
        store.close()
    assert_log_holds(changes)
    minutes = [change["data"]["after"]["requiredMinutes"] for change in changes[1:]]
    assert minutes == [720, 730]
