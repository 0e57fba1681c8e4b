"""Applying a difference gives what was served, and nothing differs from itself."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.properties.records import minutes, times_ms
from workers.changes.diff import Difference, diff
from workers.contract.model import Change, Kind, Requirement, Row

AT_MS = 1_700_000_000_000

some_ids = st.sampled_from([f"{n:024x}" for n in range(12)])
audiences = st.sampled_from([f"{n:024x}" for n in range(100, 104)])
moments = st.integers(0, 20)


def by_id(rows: list[Requirement]) -> dict[str, Requirement]:
    """Key rows by their id."""
    return {row.id: row for row in rows}


snapshots = st.lists(
    st.builds(Requirement, some_ids, audiences, minutes, moments, st.none() | moments),
    max_size=15,
).map(by_id)


def stored(snapshot: Mapping[str, Requirement]) -> dict[str, Row]:
    """Store rows as first seen, on page 1."""
    return {id_: Row(row, 1, 0) for id_, row in snapshot.items()}


def compare(a: Mapping[str, Row], served: list[Requirement], page: int = 1) -> Difference:
    """Compare a page with a snapshot that has a baseline."""
    return diff(served, a, {}, page=page, at_ms=AT_MS, seen_ms=AT_MS, baseline_ms=0)


def applied(a: Mapping[str, Row], difference: Difference) -> dict[str, Row]:
    """Give the snapshot with the writes."""
    return dict(a) | {write.row.requirement.id: write.row for write in difference.writes}


def folded(a: Mapping[str, Requirement], changes: tuple[Change, ...]) -> dict[str, Requirement]:
    """Give the snapshot with the changes."""
    rows = dict(a)
    for change in changes:
        assert change.after is not None
        assert change.before == rows.get(change.id)
        rows[change.id] = change.after
    return rows


@given(snapshots, snapshots)
def test_applied_difference_gives_what_was_served(
    a: dict[str, Requirement], b: dict[str, Requirement]
) -> None:
    """Every row served that is not older than the stored one is in the snapshot afterwards."""
    difference = compare(stored(a), list(b.values()))
    after = {id_: row.requirement for id_, row in applied(stored(a), difference).items()}
    assert after == a | {id_: row for id_, row in b.items() if id_ not in difference.stale}
    for id_ in difference.stale:
        assert b[id_].version_us < a[id_].version_us


@given(snapshots, snapshots)
def test_changes_alone_give_the_material_fields(
    a: dict[str, Requirement], b: dict[str, Requirement]
) -> None:
    """Folding the changes, without the writes, gives the same material fields."""
    difference = compare(stored(a), list(b.values()))
    by_writes = applied(stored(a), difference)
    by_changes = folded(a, difference.changes)
    assert set(by_writes) == set(by_changes)
    assert all(by_writes[i].requirement.same_material(by_changes[i]) for i in by_writes)


@given(snapshots)
def test_nothing_differs_from_itself(a: dict[str, Requirement]) -> None:
    """A page that shows the snapshot as it is gives no write and no change."""
    assert compare(stored(a), list(a.values())) == Difference((), (), (), ())


@given(snapshots, snapshots)
def test_second_look_finds_nothing(a: dict[str, Requirement], b: dict[str, Requirement]) -> None:
    """What was applied once gives no second write and no second change."""
    first = compare(stored(a), list(b.values()))
    second = compare(applied(stored(a), first), list(b.values()))
    assert (second.writes, second.changes) == ((), ())
    assert second.stale == first.stale


@given(snapshots, snapshots)
def test_page_never_removes(a: dict[str, Requirement], b: dict[str, Requirement]) -> None:
    """A page adds and updates, whatever it does not show."""
    difference = compare(stored(a), list(b.values()))
    assert {change.kind for change in difference.changes} <= {Kind.CREATED, Kind.UPDATED}


@given(snapshots, st.integers(2, 9), times_ms)
def test_moved_rows_are_written_and_not_published(
    a: dict[str, Requirement], page: int, since_ms: int
) -> None:
    """A row seen on another page is stored there, first seen when it was, and is no change."""
    before = {id_: replace(row, since_ms=since_ms) for id_, row in stored(a).items()}
    difference = compare(before, list(a.values()), page)
    assert difference.changes == ()
    assert applied(before, difference) == {id_: Row(row, page, since_ms) for id_, row in a.items()}
