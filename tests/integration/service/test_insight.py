"""``/v1/stats`` and ``/v1/quarantine`` over HTTP."""

from typing import Any

import httpx2
import msgspec
import pytest
import redis

from tests.integration.service.conftest import READER, WRITER, Clock, Site, Start
from workers.contract.codec import ms_text
from workers.contract.keyspace import STATS, Keyspace
from workers.contract.model import Quarantined

ID = "60d5ec49b60b4b3a2c8f9a1"
MS = 1_700_000_000_000


def ask(site: Site, path: str, token: str = READER, **query: str) -> httpx2.Response:
    """Ask for something of /v1."""
    return site.client.get(path, params=query, headers={"authorization": f"Bearer {token}"})


def test_stats_of_a_new_tenant_are_zero(start: Start) -> None:
    """Before anything happened every counter is there, and what is not known is null."""
    assert ask(start(), "/v1/stats").json() == {
        **dict.fromkeys(STATS, 0),
        "reads_per_change": None,
        "sequence": 0,
        "rows": 0,
        "pending": 0,
        "coverage_lag_s": 0,
        "last_scan": None,
        "quarantined": 0,
        "brake": None,
    }


def test_stats_tell_how_a_tenant_stands(
    start: Start, store: redis.Redis, keys: Keyspace, clock: Clock
) -> None:
    """Counters, the cost of a change, what waits and for how long, and what is held back."""
    counted: dict[Any, Any] = {name: number for number, name in enumerate(STATS, 10)}
    store.hset(keys.stats, mapping=counted | {"reads": 30, "changes": 12})
    head: dict[Any, Any] = {
        "sequence": 7,
        "pending": 3,
        "oldest_ms": clock() - 1500,
        "complete_ms": MS,
    }
    store.hset(keys.head, mapping=head)
    store.hset(keys.rows, mapping={"a": "", "b": ""})
    store.hset(keys.quarantine, "a", "{}")
    brake: dict[Any, Any] = {"strength": "scan", "since_ms": MS, "suspects": 20, "rows": 90}
    store.hset(keys.brake, mapping=brake)
    site = start(None, clock)
    stats = ask(site, "/v1/stats").json()
    assert stats == {
        **counted,
        "reads": 30,
        "changes": 12,
        "reads_per_change": 2.5,
        "sequence": 7,
        "rows": 2,
        "pending": 3,
        "coverage_lag_s": 1.5,
        "last_scan": ms_text(MS),
        "quarantined": 1,
        "brake": {
            "strength": "scan",
            "since": ms_text(MS),
            "suspects": 20,
            "rows": 90,
            "released": False,
        },
    }
    store.hset(keys.brake, "released", 1)
    assert ask(site, "/v1/stats").json()["brake"]["released"] is True


@pytest.mark.parametrize("head", [{"pending": 0, "oldest_ms": 1}, {"pending": 1}])
def test_nothing_pending_has_no_lag(
    start: Start, store: redis.Redis, keys: Keyspace, head: dict[Any, Any]
) -> None:
    """There is a lag only while something waits."""
    store.hset(keys.head, mapping=head)
    assert ask(start(), "/v1/stats").json()["coverage_lag_s"] == 0


def test_lag_is_never_negative(
    start: Start, store: redis.Redis, keys: Keyspace, clock: Clock
) -> None:
    """A clock that went back makes no negative lag."""
    head: dict[Any, Any] = {"pending": 1, "oldest_ms": clock() + 5000}
    store.hset(keys.head, mapping=head)
    assert ask(start(None, clock), "/v1/stats").json()["coverage_lag_s"] == 0


# --- quarantine -------------------------------------------------------------------------------


@pytest.fixture
def quarantine(store: redis.Redis, keys: Keyspace) -> None:
    """Put four misfits into quarantine, one of them without an id."""
    for field, misfit in {
        f"{ID}3": Quarantined(f"{ID}3", 2, "requiredMinutes", "{}", MS, MS),
        f"{ID}2": Quarantined(f"{ID}2", 2, "audienceId", '{"a":1}', MS, MS + 1000),
        "2:ab": Quarantined(None, 2, "audienceRequirementId", "[]", MS, MS),
        f"{ID}9": Quarantined(f"{ID}9", 1, "createdAt", "null", MS, MS),
    }.items():
        store.hset(keys.quarantine, field, msgspec.json.encode(misfit))


@pytest.mark.usefixtures("quarantine")
def test_misfits_come_by_page_and_id(start: Start) -> None:
    """Every misfit is told with why, where, since when and when last; those without id first."""
    answer = ask(start(), "/v1/quarantine").json()
    assert answer["count"] == 4
    assert [(row["page"], row["requirement_id"]) for row in answer["quarantine"]] == [
        (1, f"{ID}9"),
        (2, None),
        (2, f"{ID}2"),
        (2, f"{ID}3"),
    ]
    assert answer["quarantine"][2] == {
        "requirement_id": f"{ID}2",
        "page": 2,
        "reason": "audienceId",
        "row": '{"a":1}',
        "since": ms_text(MS),
        "at": ms_text(MS + 1000),
    }


@pytest.mark.usefixtures("quarantine")
def test_quarantine_is_cut_and_counted(start: Start) -> None:
    """With a limit the first are given, and how many there are in all."""
    answer = ask(start(), "/v1/quarantine", limit="1").json()
    assert [row["requirement_id"] for row in answer["quarantine"]] == [f"{ID}9"]
    assert answer["count"] == 4


def test_quarantine_may_be_empty(start: Start) -> None:
    """Where every row fits, there is nothing."""
    assert ask(start(), "/v1/quarantine").json() == {"quarantine": [], "count": 0}


@pytest.mark.parametrize("limit", ["0", "1001", "x"])
def test_limit_of_the_quarantine_is_bounded(start: Start, limit: str) -> None:
    """A limit out of its bounds is answered with 400."""
    answer = ask(start(), "/v1/quarantine", limit=limit)
    assert (answer.status_code, answer.json()["reason"]) == (400, "bad_parameter")


@pytest.mark.parametrize("path", ["/v1/stats", "/v1/quarantine"])
def test_insight_needs_to_read(start: Start, path: str) -> None:
    """Without a token 401, without the scope 403, with a parameter of others 400."""
    site = start()
    assert site.client.get(path).status_code == 401
    answer = ask(site, path, WRITER)
    assert (answer.status_code, answer.json()["reason"]) == (403, "insufficient_scope")
    answer = ask(site, path, after="e1:1")
    assert (answer.status_code, answer.json()["reason"]) == (400, "unknown_parameter")
