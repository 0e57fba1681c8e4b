"""The change log over HTTP: pages and long polls."""

import json
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import redis

from service.feed import SCAN_MAX, Pace
from tests.integration.service.feed.conftest import Connect, Consumer, Log, wait_until

WAIT_S = 20


@pytest.fixture
def pool() -> Any:  # noqa: ANN401 - an iterator of it
    """Give threads to wait in."""
    with ThreadPoolExecutor() as executor:
        yield executor


def long_poll(
    pool: ThreadPoolExecutor, consumer: Consumer, **query: str
) -> Future[tuple[list[int], float]]:
    """Begin a long poll, and give (sequences, seconds it took) once it is answered."""

    def poll() -> tuple[list[int], float]:
        started = time.monotonic()
        return consumer.sequences(wait=WAIT_S, **query), time.monotonic() - started

    answer = pool.submit(poll)
    wait_until(lambda: consumer.watchers() == 1)
    return answer


# --- pages ------------------------------------------------------------------------------------


def test_changes_begin_at_the_start_of_the_log(consumer: Consumer, log: Log) -> None:
    """Without a cursor, all changes come in order, each the very event that was committed."""
    log.baseline(log.row(1))
    log.put(log.row(2), log.row(1, minutes=90))
    log.remove(1)
    page = consumer.get("/v1/changes")
    assert page == {"changes": log.events, "cursor": "e1:4"}


def test_changes_begin_at_the_oldest_that_is_left(consumer: Consumer, log: Log) -> None:
    """Without a cursor, a trimmed log is read from its tail."""
    log.baseline()
    log.put(log.row(1), log.row(2), log.row(3))
    log.trim(3)
    assert consumer.sequences() == [3, 4]


def test_changes_before_the_baseline_are_none(consumer: Consumer) -> None:
    """A tenant without a log has no changes and no cursor yet."""
    assert consumer.get("/v1/changes") == {"changes": [], "cursor": None}


def test_pages_follow_each_other_without_gap_or_repeat(consumer: Consumer, log: Log) -> None:
    """Each page's cursor leads to the next change, and at the end to itself."""
    log.baseline()
    log.put(*(log.row(number) for number in range(9)))
    seen, page = [], consumer.get("/v1/changes", limit=4)
    while page["changes"]:
        seen += [event["data"]["sequence"] for event in page["changes"]]
        cursor = page["cursor"]
        page = consumer.get("/v1/changes", limit=4, after=cursor)
    assert seen == list(range(1, 11))
    assert page == {"changes": [], "cursor": cursor}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"type": "cpd.requirement.removed"}, [5]),
        ({"type": "cpd.requirement.removed,cpd.requirements.baseline"}, [1, 5]),
        ({"type": ["cpd.requirement.removed", "cpd.requirement.updated"]}, [4, 5]),
        ({"audience_id": f"{7:024x}"}, [2, 4]),
        ({"audience_id": f"{8:024x}"}, [3, 4, 5]),
        ({"audience_id": [f"{7:024x}", f"{8:024x}"], "type": "cpd.requirement.created"}, [2, 3]),
    ],
)
def test_changes_are_filtered(
    consumer: Consumer, log: Log, query: dict[str, Any], expected: list[int]
) -> None:
    """Filters take several values; an audience matches before or after the change."""
    log.baseline()
    log.put(log.row(1, audience=7), log.row(2, audience=8))
    log.put(log.row(1, audience=8))
    log.remove(2)
    assert consumer.sequences(**query) == expected


def test_filtered_cursor_advances_over_what_is_not_wanted(consumer: Consumer, log: Log) -> None:
    """A page without a match still leads on, behind what was looked at."""
    log.baseline()
    log.put(log.row(1), log.row(2))
    page = consumer.get("/v1/changes", after="e1:1", type="cpd.requirement.removed")
    assert page == {"changes": [], "cursor": "e1:3"}


def test_filtered_page_ends_after_so_many_looked_at(
    consumer: Consumer, log: Log, store: redis.Redis
) -> None:
    """A filter that matches nothing is answered early, even if it could wait, and leads on."""
    log.baseline()
    pipe = store.pipeline(transaction=False)
    for sequence in range(2, SCAN_MAX + 10):
        fields = {"event": '{"data":{}}', "type": "cpd.requirement.created"}
        pipe.xadd(log.keys.changes, fields, id=f"{sequence}-0")  # type: ignore[arg-type]
    pipe.hset(log.keys.head, "sequence", SCAN_MAX + 9)
    pipe.execute()
    query = {"type": "cpd.requirement.removed", "wait": "0.1"}
    first = consumer.get("/v1/changes", **query)
    assert first == {"changes": [], "cursor": f"e1:{SCAN_MAX}"}
    assert consumer.get("/v1/changes", after=first["cursor"], **query)["cursor"] == (
        f"e1:{SCAN_MAX + 9}"
    )


# --- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/changes", "/v1/changes/stream"])
@pytest.mark.parametrize("cursor", ["", "x", "e1:", ":1", "e1:-1", "e1:1:2", "e1:1e3", "é:1"])
def test_malformed_cursor_is_refused(consumer: Consumer, log: Log, path: str, cursor: str) -> None:
    """What is no cursor is answered with 400."""
    log.baseline()
    assert consumer.refusal(path, after=cursor) == (400, "cursor_malformed")


@pytest.mark.parametrize("path", ["/v1/changes", "/v1/changes/stream"])
@pytest.mark.parametrize("cursor", ["e0:5", "e1:3", "e1:7"])
def test_cursor_without_its_place_is_gone(
    consumer: Consumer, log: Log, path: str, cursor: str
) -> None:
    """A cursor of another epoch, off the log's tail or ahead of its head gets 410."""
    log.baseline()
    log.put(*(log.row(number) for number in range(5)))
    log.trim(5)
    assert consumer.refusal(path, after=cursor) == (410, "cursor_gone")


@pytest.mark.parametrize("cursor", ["e1:4", "e1:6"])
def test_cursor_at_either_end_is_served(consumer: Consumer, log: Log, cursor: str) -> None:
    """A cursor just before the oldest change that is left, or at the head, is good."""
    log.baseline()
    log.put(*(log.row(number) for number in range(5)))
    log.trim(5)
    assert consumer.get("/v1/changes", after=cursor)["cursor"] == "e1:6"


def test_cursor_before_any_log_is_gone(consumer: Consumer) -> None:
    """A cursor is gone when the tenant has no log at all."""
    assert consumer.refusal("/v1/changes", after="e1:0") == (410, "cursor_gone")


@pytest.mark.parametrize("path", ["/v1/changes", "/v1/changes/stream"])
@pytest.mark.parametrize("cursor", ["e1:8", "e2:3", "e2:9"])
def test_gone_says_how_to_go_on(consumer: Consumer, log: Log, path: str, cursor: str) -> None:
    """Whyever a cursor is gone, the 410 names the way to a new start, and it leads on."""
    log.baseline()
    log.put(*(log.row(number) for number in range(5)))
    log.begin_epoch("e2")
    log.put(log.row(9), trim=5)
    answer = consumer.http.get(path, params={"after": cursor})
    assert (answer.status_code, answer.json()["reason"]) == (410, "cursor_gone")
    assert "GET /v1/requirements" in answer.json()["detail"]
    assert "changes_cursor" in answer.json()["detail"]
    snapshot = consumer.get("/v1/requirements")
    assert snapshot["requirements"] == log.served()
    log.put(log.row(10))
    assert consumer.sequences(after=snapshot["changes_cursor"]) == [9]


@pytest.mark.parametrize("path", ["/v1/changes", "/v1/changes/stream"])
def test_log_without_any_change_left_is_good_at_its_head(
    consumer: Consumer, log: Log, store: redis.Redis, path: str
) -> None:
    """When all was trimmed, what follows the head can be had, and nothing before it."""
    log.baseline()
    log.put(log.row(1), log.row(2))
    store.xtrim(log.keys.changes, maxlen=0, approximate=False)
    assert consumer.refusal(path, after="e1:2") == (410, "cursor_gone")
    assert consumer.get("/v1/changes") == {"changes": [], "cursor": "e1:3"}
    log.put(log.row(3))
    assert consumer.sequences(after="e1:3") == [4]


def test_log_is_trimmed_between_pages(consumer: Consumer, log: Log) -> None:
    """Who reads slower than the log is trimmed is told, and no change is skipped in silence."""
    log.baseline()
    log.put(*(log.row(number) for number in range(10)))
    cursor = consumer.get("/v1/changes", limit=3)["cursor"]
    log.trim(4)
    assert consumer.sequences(after=cursor, limit=1) == [4]
    log.trim(5)
    assert consumer.refusal("/v1/changes", after=cursor) == (410, "cursor_gone")
    assert consumer.refusal("/v1/changes", after=cursor, wait=5) == (410, "cursor_gone")


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"limit": "0"}, "bad_parameter"),
        ({"limit": "1001"}, "bad_parameter"),
        ({"limit": "many"}, "bad_parameter"),
        ({"wait": "-1"}, "bad_parameter"),
        ({"wait": "30.1"}, "bad_parameter"),
        ({"wait": "nan"}, "bad_parameter"),
        ({"type": "cpd.requirement.udpated"}, "bad_parameter"),
        ({"audience_id": "x"}, "bad_parameter"),
        ({"audience_id": "0" * 24 + "\n"}, "bad_parameter"),
        ({"since": "e1:1"}, "unknown_parameter"),
    ],
)
def test_bad_parameters_are_refused(consumer: Consumer, query: dict[str, str], reason: str) -> None:
    """A parameter out of bounds or without a meaning is answered with 400."""
    assert consumer.refusal("/v1/changes", **query) == (400, reason)


@pytest.mark.parametrize("path", ["/v1/changes", "/v1/changes/stream"])
def test_feed_needs_a_token(consumer: Consumer, path: str) -> None:
    """Nobody reads the feed without a token."""
    answer = consumer.http.get(path, headers={"Authorization": ""})
    assert answer.status_code == 401


# --- long polls -------------------------------------------------------------------------------


def test_long_poll_wakes_with_the_commit(
    consumer: Consumer, log: Log, pool: ThreadPoolExecutor
) -> None:
    """A commit ends a long poll in a fraction of the time it would have waited."""
    log.baseline()
    answer = long_poll(pool, consumer, after="e1:1")
    log.put(log.row(1))
    sequences, took_s = answer.result()
    assert sequences == [2]
    assert took_s < WAIT_S / 4


def test_long_poll_wakes_with_the_baseline(
    consumer: Consumer, log: Log, pool: ThreadPoolExecutor
) -> None:
    """Who waits for a tenant's first change gets it as soon as it is there."""
    answer = long_poll(pool, consumer)
    log.baseline()
    sequences, took_s = answer.result()
    assert sequences == [1]
    assert took_s < WAIT_S / 4


def test_long_poll_goes_on_past_what_it_does_not_want(
    consumer: Consumer, log: Log, pool: ThreadPoolExecutor
) -> None:
    """Only a wanted change ends a filtered long poll."""
    log.baseline(log.row(1))
    answer = long_poll(pool, consumer, after="e1:1", type="cpd.requirement.removed")
    log.put(log.row(2))
    log.remove(1)
    assert answer.result()[0] == [3]


def test_long_poll_ends_with_its_wait(consumer: Consumer, log: Log) -> None:
    """When nothing comes, a long poll is answered after its wait, with the cursor it had."""
    log.baseline()
    started = time.monotonic()
    page = consumer.get("/v1/changes", after="e1:1", wait=0.3)
    assert page == {"changes": [], "cursor": "e1:1"}
    assert time.monotonic() - started >= 0.3


def test_long_poll_survives_a_lost_announcement(
    connect: Connect, log: Log, pool: ThreadPoolExecutor
) -> None:
    """A change nobody announced is found by looking again."""
    log.baseline()
    consumer = connect(Pace(recheck_s=0.05))
    answer = long_poll(pool, consumer, after="e1:1")
    log.keys.committed = "nobody:listens"
    log.put(log.row(1))
    assert answer.result()[0] == [2]


def test_long_poll_survives_a_lost_subscription(
    consumer: Consumer, log: Log, store: redis.Redis, pool: ThreadPoolExecutor
) -> None:
    """What was committed while the subscription was broken is found when it is made anew."""
    log.baseline()
    answer = long_poll(pool, consumer, after="e1:1")
    wait_until(lambda: store.pubsub_numpat() == 1)
    store.client_kill_filter(_type="pubsub")
    log.put(log.row(1))
    assert answer.result()[0] == [2]


def test_long_poll_of_an_epoch_that_ends_is_gone(
    consumer: Consumer, log: Log, pool: ThreadPoolExecutor
) -> None:
    """Who waits in one epoch is told when another begins."""
    log.baseline()

    def poll() -> tuple[int, str]:
        return consumer.refusal("/v1/changes", after="e1:1", wait=WAIT_S)

    answer = pool.submit(poll)
    wait_until(lambda: consumer.watchers() == 1)
    log.begin_epoch("e2")
    log.put(log.row(1))
    assert answer.result() == (410, "cursor_gone")


def test_long_poll_ends_when_the_process_does(
    consumer: Consumer, log: Log, pool: ThreadPoolExecutor
) -> None:
    """A process that ends answers who waits at once."""
    log.baseline()
    answer = long_poll(pool, consumer, after="e1:1")
    consumer.shut_down()
    sequences, took_s = answer.result()
    assert sequences == []
    assert took_s < WAIT_S / 4


def test_events_are_passed_on_as_they_were_written(
    consumer: Consumer, log: Log, store: redis.Redis
) -> None:
    """The bytes of an event are those that were committed: nothing is decoded and made anew."""
    log.baseline()
    entries: Any = store.xrange(log.keys.changes)
    body = consumer.http.get("/v1/changes").content
    assert body == b'{"changes":[' + entries[0][1][b"event"] + b'],"cursor":"e1:1"}'
    assert json.loads(body)["changes"] == log.events
