"""What a page's rows mean for the snapshot, row by row."""

from msgspec.structs import replace

from workers.changes.diff import Difference, Write, diff
from workers.contract.model import (
    Change,
    Evidence,
    EvidenceKind,
    Kind,
    Requirement,
    Row,
    Tombstone,
)

ID, AUDIENCE, OTHER = "a" * 24, "b" * 24, "c" * 24
AT_MS = 5_000
SEEN_MS = 5_010
SERVED = Requirement(ID, AUDIENCE, 660, 1_000, 2_000)
STORED = Row(SERVED, 1, 3)
SEEN = Evidence(EvidenceKind.PAGE, AT_MS, 1)
NOTHING = Difference((), (), (), ())


def compare(
    *served: Requirement,
    stored: Row | None = STORED,
    removed: bool = False,
    baseline_ms: int | None = 0,
) -> Difference:
    """Compare page 1 with one stored row, or none."""
    rows = {} if stored is None else {ID: stored}
    tombstones = {ID: Tombstone(4_000, 9)} if removed else {}
    return diff(
        served, rows, tombstones, page=1, at_ms=AT_MS, seen_ms=SEEN_MS, baseline_ms=baseline_ms
    )


def test_unchanged_row_is_nothing() -> None:
    """A row as it is stored gives neither a write nor a change."""
    assert compare(SERVED) == NOTHING


def test_changed_minutes_are_an_update() -> None:
    """Other minutes are written and published, with both states."""
    newer = replace(SERVED, required_minutes=720, updated_us=2_001)
    assert compare(newer) == Difference(
        (Write(Row(newer, 1, SEEN_MS), STORED),),
        (Change(Kind.UPDATED, ID, SERVED, newer, SEEN),),
        (),
        (),
    )


def test_changed_audience_is_an_update() -> None:
    """Another audience is published like other minutes."""
    newer = replace(SERVED, audience_id=OTHER)
    assert [change.kind for change in compare(newer).changes] == [Kind.UPDATED]


def test_touched_row_is_written_and_not_published() -> None:
    """A row whose ``updatedAt`` alone moved is stored, and is no change."""
    newer = replace(SERVED, updated_us=3_000)
    assert compare(newer) == Difference((Write(Row(newer, 1, SEEN_MS), STORED),), (), (), ())


def test_older_row_is_stale() -> None:
    """A lagging replica's row is neither written nor published."""
    older = replace(SERVED, required_minutes=1, updated_us=1_999)
    assert compare(older) == Difference((), (), (ID,), ())


def test_row_never_updated_counts_from_its_creation() -> None:
    """A row served without ``updatedAt`` is older than its later update."""
    assert compare(replace(SERVED, updated_us=None)).stale == (ID,)
    stored = Row(replace(SERVED, updated_us=None), 1, 3)
    assert compare(SERVED, stored=stored).stale == ()


def test_newer_read_wins_at_equal_times() -> None:
    """Of two states with one time, the one read last counts."""
    other = replace(SERVED, required_minutes=1)
    assert [change.after for change in compare(other).changes] == [other]


def test_repeated_row_counts_in_its_newest_state() -> None:
    """Of a row served twice on a page the newest state counts, the later at equal times."""
    newest = replace(SERVED, required_minutes=3, updated_us=9_000)
    last = replace(newest, required_minutes=4)
    assert [change.after for change in compare(newest, SERVED).changes] == [newest]
    assert [change.after for change in compare(newest, last).changes] == [last]


def test_new_row_is_created() -> None:
    """An unknown row is written, seen first now, and published."""
    assert compare(SERVED, stored=None) == Difference(
        (Write(Row(SERVED, 1, SEEN_MS), None),),
        (Change(Kind.CREATED, ID, None, SERVED, SEEN),),
        (),
        (),
    )


def test_row_older_than_the_baseline_is_late() -> None:
    """A row made before the baseline, which did not show it, says so; one made with it does not."""
    assert [change.late for change in compare(SERVED, stored=None, baseline_ms=2).changes] == [True]
    assert [change.late for change in compare(SERVED, stored=None, baseline_ms=1).changes] == [
        False
    ]


def test_removed_row_is_sighted() -> None:
    """A row that was removed is not taken from a page: it has to be confirmed."""
    assert compare(SERVED, stored=None, removed=True) == Difference((), (), (), (ID,))


def test_baseline_publishes_no_row() -> None:
    """While the baseline is taken rows are written, and none is a change."""
    difference = compare(SERVED, stored=None, baseline_ms=None)
    assert difference == Difference((Write(Row(SERVED, 1, SEEN_MS), None),), (), (), ())


def test_absent_row_is_nothing() -> None:
    """A page that does not show a row says nothing about it."""
    assert compare() == NOTHING
