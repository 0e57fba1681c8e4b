"""Reading the snapshot as of an earlier place, named by a sequence or by a time."""

import copy
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from tests.integration.service.feed.conftest import START_MS, Consumer, Log
from tests.integration.service.feed.test_requirements import rows_of
from workers.contract.codec import ms_text

Moments = dict[int, tuple[list[dict[str, Any]], str]]


def moment(log: Log) -> tuple[list[dict[str, Any]], str]:
    """Give (rows as served, digest) as they stand."""
    return copy.deepcopy(log.served()), log.digest


@pytest.fixture
def moments(log: Log) -> Moments:
    """Give what stood at each sequence of a log in which rows come, move, go and come back.

    A second passes before each change but the third, which is observed with the second.
    """
    log.baseline(log.row(1), log.row(2, audience=7), log.row(5))
    stood = {1: moment(log)}
    log.time_ms += 1000
    log.put(log.row(1, minutes=90))
    stood[2] = moment(log)
    log.put(log.row(3, audience=7))
    stood[3] = moment(log)
    for step in (
        lambda: log.remove(2),
        lambda: log.begin_epoch("e2"),
        lambda: log.put(log.row(2, audience=8)),
        lambda: log.put(log.row(1, audience=7, minutes=30)),
    ):
        log.time_ms += 1000
        step()
        stood[log.sequence] = moment(log)
    return stood


def test_every_sequence_can_be_had(consumer: Consumer, moments: Moments) -> None:
    """As of each sequence since the first baseline, rows and digest are those that stood then."""
    for sequence, (rows, digest) in moments.items():
        page = consumer.get("/v1/requirements", as_of=str(sequence))
        assert page == {
            "requirements": rows,
            "sequence": sequence,
            "digest": digest,
            "cursor": None,
            "changes_cursor": f"e2:{sequence}",
        }


def test_one_requirement_can_be_had_as_of_every_sequence(
    consumer: Consumer, moments: Moments, log: Log
) -> None:
    """As of each sequence, a requirement is as it stood then, or 404 where it was not there."""
    for sequence, (rows, digest) in moments.items():
        stood = {row["audienceRequirementId"]: row for row in rows}
        for number in (1, 2, 3, 5):
            path = f"/v1/requirements/{log.id(number)}"
            if log.id(number) not in stood:
                assert consumer.refusal(path, as_of=str(sequence)) == (404, "not_found")
                continue
            assert consumer.get(path, as_of=str(sequence)) == {
                "requirement": stood[log.id(number)],
                "sequence": sequence,
                "digest": digest,
            }


@pytest.mark.parametrize(
    ("after_ms", "sequence"),
    [(0, 1), (999, 1), (1000, 3), (1999, 3), (2000, 4), (4999, 6), (5000, 7), (10**9, 7)],
)
def test_time_means_the_last_change_that_was_not_later(
    consumer: Consumer, log: Log, moments: Moments, after_ms: int, sequence: int
) -> None:
    """A time names the state after the last change observed then or before."""
    when = ms_text(START_MS + after_ms)
    page = consumer.get("/v1/requirements", as_of=when)
    assert (page["sequence"], page["requirements"]) == (sequence, moments[sequence][0])
    one = consumer.get(f"/v1/requirements/{log.id(5)}", as_of=when)
    assert one["sequence"] == sequence


@pytest.mark.usefixtures("moments")
def test_time_may_be_in_any_zone(consumer: Consumer) -> None:
    """Times are compared as moments, whatever zone they are written in."""
    texts = ["2023-11-14T22:13:21Z", "2023-11-15T00:13:21+02:00", "2023-11-14T22:13:21.0009Z"]
    found = [consumer.get("/v1/requirements", as_of=text)["sequence"] for text in texts]
    assert found == [3, 3, 3]


def test_first_page_pins_an_old_snapshot(consumer: Consumer, log: Log) -> None:
    """The pages after the first show the place that `as_of` named, under commits, filters too."""
    log.baseline(*(log.row(number, audience=7 + number % 2) for number in range(12)))
    log.put(log.row(3, minutes=90, audience=8), log.row(20, audience=8))
    expected = [row for row in log.served() if row["audienceId"] == log.id(8)]
    for number in range(12):
        log.put(log.row(number, audience=7, minutes=number))
    numbers = iter(range(12))

    def commit() -> None:
        number = next(numbers)
        log.put(log.row(30 + number, audience=8), log.row(number, audience=8))

    pages = [consumer.get("/v1/requirements", as_of="3", limit=2, audience_id=log.id(8))]
    while pages[-1]["cursor"] is not None:
        commit()
        query = {"after": pages[-1]["cursor"], "limit": "2", "audience_id": log.id(8)}
        pages.append(consumer.get("/v1/requirements", **query))
    assert rows_of(pages) == expected
    assert {page["sequence"] for page in pages} == {3}


def test_changes_continue_an_old_snapshot(consumer: Consumer, moments: Moments, log: Log) -> None:
    """Folding the changes after an old snapshot forward gives the snapshot now."""
    page = consumer.get("/v1/requirements", as_of="2")
    rows = {row["audienceRequirementId"]: row for row in page["requirements"]}
    for change in consumer.get("/v1/changes", after=page["changes_cursor"])["changes"]:
        data = change["data"]
        if data["kind"] == "removed":
            del rows[data["requirement_id"]]
        elif data["kind"] != "baseline":
            id_ = data["requirement_id"]
            rows[id_] = {"audienceRequirementId": id_, **data["after"]}
    assert [rows[id_] for id_ in sorted(rows)] == log.served()
    assert len(moments) == log.sequence


def test_log_is_walked_once_for_an_old_place(
    consumer: Consumer, log: Log, store: redis.Redis
) -> None:
    """The pages of an old snapshot look only at what was committed since the page before."""
    log.baseline(*(log.row(number) for number in range(10)))
    expected = log.served()
    for _ in range(3):
        log.put(*(log.row(number, minutes=log.sequence) for number in range(10)))
    first = consumer.get("/v1/requirements", as_of="1", limit=4)
    log.trim(log.sequence)  # what was looked at cannot be looked at again

    def commit() -> None:
        log.put(log.row(9, minutes=1 + log.sequence), trim=log.sequence)

    pages = [first]
    while pages[-1]["cursor"] is not None:
        commit()
        pages.append(consumer.get("/v1/requirements", after=pages[-1]["cursor"], limit=4))
    assert rows_of(pages) == expected
    assert store.xlen(log.keys.changes) < 10


def test_ten_thousand_changes_are_undone(consumer: Consumer, log: Log) -> None:
    """A place ten thousand changes ago is as exact as a near one, for several who ask at once."""
    log.baseline(*(log.row(number) for number in range(500)))
    expected, digest = moment(log)
    for minutes in range(10):
        log.put(*(log.row(number, minutes=100 + minutes) for number in range(1000)))
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(consumer.get, "/v1/requirements", as_of="1") for _ in range(4)]
    for answer in asked:
        page = answer.result()
        assert (page["requirements"], page["digest"]) == (expected, digest)


# --- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "as_of",
    [
        "",
        "-1",
        "1.5",
        "1e3",
        "e1:1",
        "\N{ARABIC-INDIC DIGIT ONE}",
        "1" * 17,
        "8",
        "now",
        "null",
        "2023-11-14",
        "2023-11-14T22:13:21",
        "2023-11-14T22:13:21+25:00",
    ],
)
@pytest.mark.parametrize("path", ["/v1/requirements", f"/v1/requirements/{1:024x}"])
@pytest.mark.usefixtures("moments")
def test_what_names_no_place_is_refused(consumer: Consumer, path: str, as_of: str) -> None:
    """Neither a sequence up to the head nor a time with its zone: 400."""
    assert consumer.refusal(path, as_of=as_of) == (400, "bad_parameter")


@pytest.mark.usefixtures("moments")
def test_place_is_named_once(consumer: Consumer, log: Log) -> None:
    """The cursor of a next page names its place already; and there is one `as_of` at most."""
    query = {"as_of": "2", "after": f"e2:2:{log.id(1)}"}
    assert consumer.refusal("/v1/requirements", **query) == (400, "bad_parameter")
    answer = consumer.http.get("/v1/requirements", params={"as_of": ["1", "2"]})
    assert answer.json()["reason"] == "bad_parameter"


def gone(consumer: Consumer, as_of: str, id_: str) -> str:
    """Give what a place that cannot be reached is refused with, alike for rows and row."""
    details = set()
    for path in ("/v1/requirements", f"/v1/requirements/{id_}"):
        answer = consumer.http.get(path, params={"as_of": as_of})
        assert (answer.status_code, answer.json()["reason"]) == (410, "as_of_gone")
        details.add(answer.json()["detail"])
    [detail] = details
    return str(detail)


@pytest.mark.parametrize("as_of", ["0", "2023-11-14T22:13:19.999Z", "1970-01-01T00:00:00Z"])
@pytest.mark.usefixtures("moments")
def test_before_the_first_baseline_nothing_is_known(
    consumer: Consumer, log: Log, as_of: str
) -> None:
    """What stood before the first baseline is gone, and the refusal says what can be had."""
    detail = gone(consumer, as_of, log.id(1))
    assert "sequence 1 " in detail
    assert "2023-11-14T22:13:20.000Z" in detail


def test_trimmed_log_reaches_back_to_its_oldest_change(
    consumer: Consumer, log: Log, moments: Moments
) -> None:
    """What the trimmed log can still undo is served; before that, 410 says what can be had."""
    log.trim(4)
    page = consumer.get("/v1/requirements", as_of="3")
    assert (page["requirements"], page["digest"]) == moments[3]
    one = consumer.get(f"/v1/requirements/{log.id(2)}", as_of="3")
    assert one["requirement"] == moments[3][0][1]
    assert consumer.get("/v1/requirements", as_of="2023-11-14T22:13:22Z")["sequence"] == 4
    for as_of in ("2", "2023-11-14T22:13:21.999Z"):
        detail = gone(consumer, as_of, log.id(1))
        assert "sequence 3 " in detail
        assert "2023-11-14T22:13:22.000Z" in detail


def test_empty_log_reaches_back_to_its_head(
    consumer: Consumer, log: Log, moments: Moments, store: redis.Redis
) -> None:
    """When every change was trimmed, what stands can be had since the last of them."""
    store.xtrim(log.keys.changes, maxlen=0, approximate=False)
    for as_of in ("7", "2023-11-14T22:13:25Z"):
        page = consumer.get("/v1/requirements", as_of=as_of)
        assert (page["requirements"], page["digest"]) == moments[7]
    for as_of in ("6", "2023-11-14T22:13:24.999Z"):
        assert "sequence 7 " in gone(consumer, as_of, log.id(1))


@pytest.mark.parametrize("as_of", ["1", "2023-11-14T22:13:20Z"])
@pytest.mark.parametrize("path", ["/v1/requirements", f"/v1/requirements/{1:024x}"])
def test_there_is_no_past_before_the_baseline(consumer: Consumer, path: str, as_of: str) -> None:
    """While the first load is to come, no place can be named."""
    assert consumer.refusal(path, as_of=as_of) == (503, "no_baseline")


def test_next_page_that_cannot_be_reached_is_gone(
    consumer: Consumer, log: Log, moments: Moments
) -> None:
    """A next page whose place fell off the log, in a process that does not remember it, is 410."""
    first = consumer.get("/v1/requirements", as_of="2", limit=1)
    log.trim(5)
    consumer.app.state.snapshots = None  # another process serves the next page
    refusal = consumer.refusal("/v1/requirements", after=first["cursor"])
    assert refusal == (410, "cursor_gone")
    assert json.dumps(first["requirements"]) == json.dumps(moments[2][0][:1])
