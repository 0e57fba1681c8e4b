"""Compare what a page served with the snapshot, row by row. Pure.

A page read can only add or update. Absence is never a change here: it makes a suspect, and
``witness`` decides.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from workers.contract.model import Change, Evidence, EvidenceKind, Kind, Requirement, Row, Tombstone


class Write(Struct, frozen=True):
    """A row to store, and the one it takes the place of."""

    row: Row
    old: Row | None


class Difference(Struct, frozen=True):
    """What a page's rows mean for the snapshot.

    ``stale`` and ``sighted`` were not taken: the first are older than what is stored, the second
    were removed and need to be confirmed. Both are ids.
    """

    writes: tuple[Write, ...]
    changes: tuple[Change, ...]
    stale: tuple[str, ...]
    sighted: tuple[str, ...]


def diff(
    served: Iterable[Requirement],
    stored: Mapping[str, Row],
    tombstones: Mapping[str, Tombstone],
    *,
    page: int,
    at_ms: int,
    seen_ms: int,
    baseline_ms: int | None,
) -> Difference:
    """Give the writes and changes that make the snapshot agree with a page.

    Args:
        served: The page's rows; of two with one id, the newer counts.
        stored: The snapshot's rows of these ids.
        tombstones: Those of these ids that were removed.
        page: The page's number.
        at_ms: When its read started.
        seen_ms: The time, after it: what a later read does not know cannot be newer than that.
        baseline_ms: When the baseline was observed; None while it is being taken, when nothing
            is a change yet.
    """
    writes: list[Write] = []
    changes: list[Change] = []
    stale: list[str] = []
    sighted: list[str] = []
    evidence = Evidence(EvidenceKind.PAGE, at_ms, page)
    for seen in _newest(served):
        old = stored.get(seen.id)
        if old is None and seen.id in tombstones:
            sighted.append(seen.id)
            continue
        if old is not None and seen.version_us < old.requirement.version_us:
            stale.append(seen.id)
            continue
        unchanged = old is not None and old.requirement == seen
        row = Row(seen, page, old.since_ms if old is not None and unchanged else seen_ms)
        if row != old:
            writes.append(Write(row, old))
        if baseline_ms is None:
            continue
        if old is None:
            late = seen.created_us < baseline_ms * 1000
            changes.append(Change(Kind.CREATED, seen.id, None, seen, evidence, late))
        elif not seen.same_material(old.requirement):
            changes.append(Change(Kind.UPDATED, seen.id, old.requirement, seen, evidence))
    return Difference(tuple(writes), tuple(changes), tuple(stale), tuple(sighted))


def _newest(served: Iterable[Requirement]) -> Iterable[Requirement]:
    """Give each id once: where a page repeats it, in its newest state."""
    newest: dict[str, Requirement] = {}
    for seen in served:
        known = newest.get(seen.id)
        if known is None or seen.version_us >= known.version_us:
            newest[seen.id] = seen
    return newest.values()
