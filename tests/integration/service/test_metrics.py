"""``/metrics`` over HTTP, as a Prometheus server reads it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette

from service.app import create_app
from service.metrics import GAUGES
from tests.integration.service.conftest import SECRET, TENANT_ID, Clock, Site, Start
from workers import embedded
from workers.contract import settings
from workers.contract.keyspace import STATS, Keyspace

MS = 1_700_000_000_000
Series = dict[tuple[str, str], float]


def read(site: Site) -> Series:
    """Give (name, tenant) → value."""
    answer = site.client.get("/metrics")
    assert answer.status_code == 200
    return series_of(answer)


def series_of(answer: httpx2.Response) -> Series:
    """Give (name, tenant) → value of every series in an answer."""
    found = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            assert set(sample.labels) == {"tenant"}
            found[sample.name, sample.labels["tenant"]] = sample.value
    return found


def test_metrics_tell_how_a_tenant_stands(
    start: Start, store: redis.Redis, keys: Keyspace, clock: Clock
) -> None:
    """Every counter and gauge of a tenant is there, in base units, under its stable name."""
    counted: dict[Any, Any] = {name: number for number, name in enumerate(STATS, 10)}
    store.hset(keys.stats, mapping=counted)
    head: dict[Any, Any] = {
        "sequence": 7,
        "pending": 3,
        "oldest_ms": clock() - 1500,
        "complete_ms": MS + 500,
    }
    store.hset(keys.head, mapping=head)
    store.hset(keys.rows, mapping={"a": "", "b": ""})
    store.hset(keys.quarantine, "a", "{}")
    gauges = {
        "cpdfeed_pending_notifications": 3,
        "cpdfeed_coverage_lag_seconds": 1.5,
        "cpdfeed_last_complete_scan_timestamp_seconds": MS / 1000 + 0.5,
        "cpdfeed_sequence": 7,
        "cpdfeed_quarantined_rows": 1,
        "cpdfeed_brake_engaged": 0,
        "cpdfeed_requirements": 2,
    }
    counters = {f"cpdfeed_{name}_total": count for name, count in counted.items()}
    expected = {(name, "acme"): value for name, value in {**gauges, **counters}.items()}
    assert read(start(None, clock)) == expected


@pytest.mark.parametrize(("strength", "value"), [("scan", 1), ("operator", 2)])
def test_brake_tells_what_it_waits_for(
    start: Start, store: redis.Redis, keys: Keyspace, strength: str, value: int
) -> None:
    """1 until a second scan agrees, 2 until an operator lets go."""
    store.hset(keys.brake, "strength", strength)
    assert read(start())["cpdfeed_brake_engaged", "acme"] == value


def test_new_tenant_has_all_series_but_the_time_of_a_scan(start: Start) -> None:
    """Counters begin at zero; a scan that never was has no time."""
    found = read(start())
    assert len(found) == len(STATS) + len(GAUGES) - 1
    assert set(found.values()) == {0}
    assert ("cpdfeed_last_complete_scan_timestamp_seconds", "acme") not in found


def test_every_metric_is_described(start: Start) -> None:
    """Type and help precede each metric; counters say what the table says."""
    answer = start().client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    described = {
        family.name: (family.type, family.documentation)
        for family in text_string_to_metric_families(answer.text)
    }
    for name, help_ in STATS.items():
        assert described[f"cpdfeed_{name}"] == ("counter", help_)
    for name, (help_, _) in GAUGES.items():
        assert described[f"cpdfeed_{name}"] == ("gauge", help_)


def test_metrics_of_tenants_stand_apart(two_tenants: Site, store: redis.Redis) -> None:
    """Each tenant has its own series under its slug, and nothing else of it is told."""
    store.hset(Keyspace("other").stats, "reads", 5)
    found = read(two_tenants)
    assert found["cpdfeed_reads_total", "acme"] == 0
    assert found["cpdfeed_reads_total", "other"] == 5
    text = two_tenants.client.get("/metrics").text
    for private in (TENANT_ID, "acme-corp", SECRET, "redis://", "127.0.0.1"):
        assert private not in text


def test_metrics_of_a_thousand_tenants_are_told(
    redis_url: str, store: redis.Redis, serve: Callable[[Starlette], str], tmp_path: Path
) -> None:
    """An installation of a thousand tenants is told in one answer."""
    lines = ['webhook_auth = "signature"', 'region = "production"']
    for number in range(1000):
        lines += [
            f"[tenants.t{number}]",
            f'tenant_id = "eu-west-2_T{number}"',
            'api_secret = "secret"',
            f'webhook_secrets = "secret-{number}"',
        ]
    file = tmp_path / "many.toml"
    file.write_text("\n".join(lines))
    loaded = settings.load({"REDIS_URL": redis_url, "CPDFEED_CONFIG": str(file)})
    store.hset(Keyspace("t999").head, "sequence", 9)
    with httpx2.Client(base_url=serve(create_app(loaded, enqueue=lambda _: None))) as client:
        found = series_of(client.get("/metrics", timeout=30))
        ready = client.get("/readyz", timeout=30).json()
    assert len(found) == 1000 * (len(STATS) + len(GAUGES) - 1)
    assert found["cpdfeed_sequence", "t999"] == 9
    assert ready["checks"]["tenants"]["configured"] == 1000


def test_metrics_need_redis(start: Start) -> None:
    """Without Redis there is nothing to tell, and the answer says so."""
    site = start(redis_url=f"redis://127.0.0.1:{embedded.free_port()}/0")
    answer = site.client.get("/metrics")
    assert (answer.status_code, answer.json()["reason"]) == (503, "store_unavailable")


def test_metrics_of_unknown_data_are_refused(start: Start, store: redis.Redis) -> None:
    """Data of another version is not told as if it were ours."""
    store.set("cpdfeed:schema", "99")
    answer = start().client.get("/metrics")
    assert (answer.status_code, answer.json()["reason"]) == (503, "schema_unknown")


def test_metrics_are_read_only(start: Start) -> None:
    """Only GET and HEAD are taken."""
    assert start().client.post("/metrics").status_code == 405
