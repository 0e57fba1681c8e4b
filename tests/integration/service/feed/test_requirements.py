"""The snapshot over HTTP: pinned pages, filters, single rows, and how the feed continues."""

from collections.abc import Callable
from typing import Any

import pytest
import redis

from tests.integration.service.feed.conftest import Consumer, Log
from workers.contract.codec import served_row


def read_pages(
    consumer: Consumer, between: Callable[[], object] = lambda: None, **query: str | float
) -> list[dict[str, Any]]:
    """Read all pages of one snapshot; something happens before each page but the first."""
    pages = [consumer.get("/v1/requirements", **query)]
    while pages[-1]["cursor"] is not None:
        between()
        pages.append(consumer.get("/v1/requirements", after=pages[-1]["cursor"], **query))
    return pages


def rows_of(pages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give the rows of all pages."""
    return [row for page in pages for row in page["requirements"]]


def test_snapshot_has_the_platforms_names_and_the_digest(consumer: Consumer, log: Log) -> None:
    """Rows come by id under the platform's own names, with the place and the digest there."""
    log.baseline(log.row(2, audience=8, minutes=30), log.row(1, audience=7))
    assert consumer.get("/v1/requirements") == {
        "requirements": [
            {
                "audienceRequirementId": f"{1:024x}",
                "audienceId": f"{7:024x}",
                "requiredMinutes": 60,
                "createdAt": "1970-01-01T00:00:01.000Z",
                "updatedAt": None,
            },
            {
                "audienceRequirementId": f"{2:024x}",
                "audienceId": f"{8:024x}",
                "requiredMinutes": 30,
                "createdAt": "1970-01-01T00:00:01.000Z",
                "updatedAt": None,
            },
        ],
        "sequence": 1,
        "digest": log.digest,
        "cursor": None,
        "changes_cursor": "e1:1",
    }


def test_snapshot_of_no_rows_is_empty(consumer: Consumer, log: Log) -> None:
    """A tenant without requirements has a snapshot, too."""
    log.baseline()
    page = consumer.get("/v1/requirements")
    assert (page["requirements"], page["cursor"]) == ([], None)


def test_ids_of_either_case_are_different_and_in_order(consumer: Consumer, log: Log) -> None:
    """Ids are ordered as text, whichever way they are stored."""
    log.baseline(log.row(0xA), log.row(0xB), log.row(0x9))
    upper = f"{0xA:024X}"
    log.rows[upper] = log.row(1)
    log.rows[upper] = type(log.rows[upper])(upper, log.id(1), 60, 1_000_000, None)
    log.put(log.row(1))
    pages = read_pages(consumer, limit=2)
    assert [row["audienceRequirementId"] for row in rows_of(pages)] == sorted(log.rows)


def test_pages_show_one_moment_under_commits(consumer: Consumer, log: Log) -> None:
    """Whatever is committed between pages, they show the snapshot of the first, and its digest."""
    log.baseline(*(log.row(number) for number in range(10, 20)))
    expected, digest = log.served(), log.digest
    numbers = iter(range(1, 100))

    def commit() -> None:
        number = next(numbers)
        log.put(log.row(9 + number, minutes=100 + number), log.row(number), log.row(100 + number))
        log.remove(20 - number)
        log.put(log.row(20 - number, audience=9))

    pages = read_pages(consumer, commit, limit=3)
    assert rows_of(pages) == expected
    assert {page["digest"] for page in pages} == {digest}
    assert {page["sequence"] for page in pages} == {1}
    assert {page["changes_cursor"] for page in pages} == {"e1:1"}


def test_pages_served_by_several_processes_are_one_snapshot(consumer: Consumer, log: Log) -> None:
    """A process that never saw the snapshot's first page gives the same next one."""
    log.baseline(*(log.row(number) for number in range(10)))
    expected = log.served()
    first = consumer.get("/v1/requirements", limit=4)
    log.remove(7)
    log.put(log.row(8, minutes=90), log.row(11))
    consumer.app.state.snapshots = None  # another process serves the next page
    rest = consumer.get("/v1/requirements", after=first["cursor"])
    assert [*first["requirements"], *rest["requirements"]] == expected


def test_changes_continue_where_the_snapshot_ends(consumer: Consumer, log: Log) -> None:
    """The snapshot and what follows its cursor give the state now: nothing missed or repeated."""
    log.baseline(*(log.row(number) for number in range(6)))
    pages = read_pages(consumer, lambda: log.put(log.row(1, minutes=log.sequence)), limit=2)
    rows = {row["audienceRequirementId"]: row for row in rows_of(pages)}
    changes = consumer.get("/v1/changes", after=pages[-1]["changes_cursor"])["changes"]
    for change in changes:
        rows[change["data"]["requirement_id"]] |= change["data"]["after"]
    assert list(rows.values()) == log.served()


def test_snapshot_is_filtered_by_audience(consumer: Consumer, log: Log) -> None:
    """Only the rows of the audiences asked for are given."""
    log.baseline(log.row(1, audience=7), log.row(2, audience=8), log.row(3, audience=9))
    found = rows_of(read_pages(consumer, audience_id=f"{log.id(7)},{log.id(9)}"))
    assert found == [log.served()[0], log.served()[2]]


def test_filtered_pages_show_one_moment_under_commits(consumer: Consumer, log: Log) -> None:
    """Rows that join or leave an audience between pages stand as they stood at the first."""
    log.baseline(*(log.row(number, audience=7 + number % 2) for number in range(12)))
    expected = [row for row in log.served() if row["audienceId"] == log.id(7)]
    numbers = iter(range(12))

    def commit() -> None:
        number = next(numbers)
        log.put(log.row(number, audience=8), log.row(11 - number, audience=7))
        consumer.app.state.snapshots = None  # another process serves the next page

    assert rows_of(read_pages(consumer, commit, limit=2, audience_id=log.id(7))) == expected


def test_one_requirement_as_it_stands(consumer: Consumer, log: Log) -> None:
    """A requirement is given by its id, with the place it was read at."""
    log.baseline(log.row(1))
    log.put(log.row(1, minutes=90))
    row = log.row(1, minutes=90)
    assert consumer.get(f"/v1/requirements/{row.id}") == {
        "requirement": {"audienceRequirementId": row.id, **served_row(row)},
        "sequence": 2,
        "digest": log.digest,
    }


# --- refusals ---------------------------------------------------------------------------------


def test_removed_requirement_is_not_found(consumer: Consumer, log: Log) -> None:
    """What is not in the snapshot is answered with 404."""
    log.baseline(log.row(1))
    log.remove(1)
    assert consumer.refusal(f"/v1/requirements/{log.id(1)}") == (404, "not_found")


@pytest.mark.parametrize("id_", ["1", "g" * 24, "0" * 24 + "%0A"])
def test_malformed_id_is_refused(consumer: Consumer, log: Log, id_: str) -> None:
    """What is no id of the platform is answered with 400."""
    log.baseline()
    assert consumer.refusal(f"/v1/requirements/{id_}") == (400, "id_malformed")


@pytest.mark.parametrize("path", ["/v1/requirements", f"/v1/requirements/{1:024x}"])
def test_there_is_no_snapshot_before_the_baseline(
    consumer: Consumer, log: Log, store: redis.Redis, path: str
) -> None:
    """While the first load is being written, none of it is shown."""
    log.baseline(log.row(1))
    store.hdel(log.keys.head, "baseline_ms")
    answer = consumer.http.get(path)
    assert (answer.status_code, answer.json()["reason"]) == (503, "no_baseline")
    assert answer.headers["retry-after"] == "5"


@pytest.mark.parametrize(
    "cursor", ["", "x", "e1:1", f"e1:x:{1:024x}", f"e1:1:{1:023x}", f"e1:1:{1:024x}\n"]
)
def test_malformed_cursor_of_pages_is_refused(consumer: Consumer, log: Log, cursor: str) -> None:
    """What is no cursor of pages is answered with 400."""
    log.baseline()
    assert consumer.refusal("/v1/requirements", after=cursor) == (400, "cursor_malformed")


@pytest.mark.parametrize("pinned", ["e0:5", "e1:3", "e1:9"])
def test_snapshot_that_cannot_be_reached_is_gone(consumer: Consumer, log: Log, pinned: str) -> None:
    """A pinned place of another epoch, off the log's tail or ahead of it gets 410."""
    log.baseline()
    log.put(*(log.row(number) for number in range(5)), trim=5)
    answer = consumer.refusal("/v1/requirements", after=f"{pinned}:{log.id(0)}")
    assert answer == (410, "cursor_gone")


def test_snapshot_from_before_the_first_baseline_is_gone(consumer: Consumer, log: Log) -> None:
    """A log's first baseline cannot be undone: it does not tell what was before."""
    log.baseline(log.row(1))
    answer = consumer.refusal("/v1/requirements", after=f"e1:0:{log.id(0)}")
    assert answer == (410, "cursor_gone")


@pytest.mark.parametrize(
    ("path", "query", "reason"),
    [
        ("/v1/requirements", {"limit": "0"}, "bad_parameter"),
        ("/v1/requirements", {"limit": "1001"}, "bad_parameter"),
        ("/v1/requirements", {"audience_id": "7"}, "bad_parameter"),
        ("/v1/requirements", {"since": "1"}, "unknown_parameter"),
        (f"/v1/requirements/{1:024x}", {"limit": "1"}, "unknown_parameter"),
    ],
)
def test_bad_parameters_of_the_snapshot_are_refused(
    consumer: Consumer, path: str, query: dict[str, str], reason: str
) -> None:
    """A parameter out of bounds or without a meaning is answered with 400."""
    assert consumer.refusal(path, **query) == (400, reason)
