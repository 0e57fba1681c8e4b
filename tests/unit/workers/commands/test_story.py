"""How the demo tells and judges."""

from datetime import UTC, datetime

import pytest

from workers.commands import story
from workers.commands.editor import Kind, Reads, Row, Version
from workers.commands.rendering import Data, Event, Side
from workers.commands.story import Report

ID = "60d5ec49b60b4b3a2c8f9a10"


def edit(op: str, before: int | None, after: int | None) -> Version:
    """Give an entry of the platform's history."""
    sides = [None if minutes is None else Row(ID, minutes) for minutes in (before, after)]
    return Version(ID, op, *sides)


def event(sequence: int, kind: str, before: int | None = None, after: int | None = None) -> Event:
    """Give a published change."""
    sides = [None if minutes is None else Side("", minutes) for minutes in (before, after)]
    data = Data(
        sequence,
        kind,
        "" if kind == "baseline" else ID,
        before=sides[0],
        after=sides[1],
    )
    return Event(f"e:{sequence}", datetime.now(UTC), kind, data)


HISTORY = [
    edit("create", None, 60),
    edit("update", 60, 75),
    edit("touch", 75, 75),
    edit("delete", 75, None),
    edit("restore", None, 75),
]
LOG = [
    event(1, "baseline"),
    event(2, "created", None, 60),
    event(3, "updated", 60, 75),
    event(4, "removed", 75, None),
    event(5, "restored", None, 75),
]


def test_log_that_holds_each_edit_once_is_right() -> None:
    """Each edit once, the touch not at all: nothing differs."""
    assert story.differences(HISTORY, LOG) == []


@pytest.mark.parametrize(
    ("log", "says"),
    [
        (LOG[:-1], "not published: restored"),
        ([*LOG, event(6, "updated", 75, 75)], "published, and not so: updated"),
        ([*LOG[:-1], event(6, "restored", None, 75)], "sequences"),
        ([*LOG, event(6, "restored", None, 75)], "1 times published, and not so: restored"),
        ([*LOG[:-1], event(5, "created", None, 75)], "not published: restored"),
        ([*LOG[:2], event(3, "updated", 60, 90), *LOG[3:]], "minutes 60 → 90"),
        ([], "baseline"),
    ],
)
def test_log_that_differs_is_told_how(log: list[Event], says: str) -> None:
    """A miss, a phantom, a repeat, a gap, a wrong kind and a wrong value are each found."""
    assert says in "\n".join(story.differences(HISTORY, log))


def test_row_tells_an_edit_from_platform_to_consumer() -> None:
    """One line: edit, notification, reads, change, and how long it took."""
    report = Report(
        3, Kind.UPDATED, ID, 660, 720, 202, "17-3", Reads(1, 2), "e:4", 4, "#4 updated", 12.3
    )
    row = story.row(report)
    for text in ("updated", "11 h → 12 h", "202 17-3", "1 page, 2 by id", "#4 updated", "12 ms"):
        assert text in row
    assert "\n" not in row


def test_row_tells_silence_that_is_right_from_silence_that_is_not() -> None:
    """Nothing is what a touch should cause, and what no other edit should."""
    quiet = Report(1, Kind.TOUCHED, ID, 60, 60, 202, "17-1", Reads(1), None, None, "nothing", None)
    missed = Report(1, Kind.CREATED, ID, None, 60, 202, "17-1", Reads(1), None, None, "no", None)
    assert "rightly" in story.row(quiet)
    assert "NOTHING" in story.row(missed)


def test_summary_counts_and_times() -> None:
    """The summary counts edits, changes and reads, and gives the median time."""
    reports = [
        Report(1, Kind.CREATED, ID, None, 60, 202, "17-1", Reads(1, 1), "e:2", 2, "", 20.0),
        Report(2, Kind.TOUCHED, ID, 60, 60, 202, "17-2", Reads(1), None, None, "nothing", None),
    ]
    told = story.summary(reports)
    assert "2 edits: 1 published, 1 without a change; 3 reads" in told
    assert "median 20 ms" in told
