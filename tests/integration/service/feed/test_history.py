"""The history of one requirement over HTTP."""

import pytest
import redis

from tests.integration.service.feed.conftest import Consumer, Log
from workers.contract.codec import pack_id


@pytest.fixture
def path(log: Log) -> str:
    """Give the path of a requirement's history that has changes 2, 4, 5, 7 and 8 of nine."""
    log.baseline(log.row(9))
    log.put(log.row(1), log.row(2))
    log.put(log.row(1, minutes=90))
    log.remove(1)
    log.begin_epoch("e2")
    log.put(log.row(1), log.row(1, audience=7), log.row(9, minutes=30))
    return f"/v1/requirements/{log.id(1)}/history"


def test_history_is_every_change_oldest_first(consumer: Consumer, log: Log, path: str) -> None:
    """All changes of an id come in order, across epochs, each the event that was committed."""
    assert consumer.get(path) == {
        "requirement_id": log.id(1),
        "history": [log.events[sequence - 1] for sequence in (2, 4, 5, 7, 8)],
        "sequence": 9,
        "digest": log.digest,
        "cursor": None,
    }


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_pages_of_a_history_follow_each_other(
    consumer: Consumer, log: Log, path: str, limit: int
) -> None:
    """Pages follow each other without gap or repeat, and the last says that it is."""
    page = consumer.get(path, limit=limit)
    seen = page["history"]
    while page["cursor"] is not None:
        assert len(page["history"]) == limit
        page = consumer.get(path, limit=limit, after=page["cursor"])
        seen += page["history"]
    assert seen == [log.events[sequence - 1] for sequence in (2, 4, 5, 7, 8)]


def test_history_goes_on_after_any_place(consumer: Consumer, log: Log, path: str) -> None:
    """Any cursor of the change log is a place in a history, too."""
    answer = consumer.get(path, after="e2:6")["history"]
    assert answer == [log.events[6], log.events[7]]
    assert consumer.get(path, after="e2:9")["history"] == []


def test_history_has_what_the_log_still_has(
    consumer: Consumer, log: Log, path: str, store: redis.Redis
) -> None:
    """Changes that were trimmed away are left out; pages are filled with those that are left."""
    log.trim(5)
    page = consumer.get(path, limit=2)
    assert page["history"] == [log.events[4], log.events[6]]
    assert page["cursor"] == "e2:7"
    store.xtrim(log.keys.changes, maxlen=0, approximate=False)
    page = consumer.get(path)
    assert (page["history"], page["cursor"]) == ([], None)


def test_requirement_that_never_changed_has_an_empty_history(consumer: Consumer, log: Log) -> None:
    """A row of the baseline is known, and nothing has happened to it."""
    log.baseline(log.row(1))
    assert consumer.get(f"/v1/requirements/{log.id(1)}/history")["history"] == []


def test_tombstone_alone_is_known(consumer: Consumer, log: Log, store: redis.Redis) -> None:
    """A removed requirement is known as long as its tombstone is."""
    log.baseline()
    store.hset(log.keys.tombstones, pack_id(log.id(1)), b"\x92\x01\x01")
    assert consumer.get(f"/v1/requirements/{log.id(1)}/history")["history"] == []


# --- refusals ---------------------------------------------------------------------------------


def test_unknown_requirement_has_no_history(consumer: Consumer, log: Log) -> None:
    """An id that never was is answered with 404."""
    log.baseline(log.row(1))
    assert consumer.refusal(f"/v1/requirements/{log.id(2)}/history") == (404, "not_found")


def test_there_is_no_history_before_the_baseline(consumer: Consumer, log: Log) -> None:
    """Before the baseline nothing can have changed."""
    assert consumer.refusal(f"/v1/requirements/{log.id(1)}/history") == (503, "no_baseline")


@pytest.mark.parametrize("cursor", ["e1:2", "e2:10"])
def test_history_after_no_place_of_the_log_is_gone(
    consumer: Consumer, path: str, cursor: str
) -> None:
    """A cursor of another epoch or ahead of the log gets 410."""
    assert consumer.refusal(path, after=cursor) == (410, "cursor_gone")


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"after": "x"}, "cursor_malformed"),
        ({"after": ""}, "cursor_malformed"),
        ({"limit": "0"}, "bad_parameter"),
        ({"limit": "1001"}, "bad_parameter"),
        ({"as_of": "1"}, "unknown_parameter"),
    ],
)
def test_bad_parameters_of_a_history_are_refused(
    consumer: Consumer, path: str, query: dict[str, str], reason: str
) -> None:
    """A parameter out of bounds or without a meaning is answered with 400."""
    assert consumer.refusal(path, **query) == (400, reason)


def test_history_of_no_id_is_refused(consumer: Consumer, log: Log) -> None:
    """What is no id of the platform is answered with 400."""
    log.baseline()
    assert consumer.refusal("/v1/requirements/1/history") == (400, "id_malformed")


def test_history_needs_a_token(consumer: Consumer, path: str) -> None:
    """Nobody reads a history without a token."""
    assert consumer.http.get(path, headers={"Authorization": ""}).status_code == 401
