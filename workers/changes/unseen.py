"""Compare what two scans did not show, where the platform refuses reads by id. Pure.

Absence is weak evidence: it counts only where an operator opted in, and only when two complete
scans that did not drift, the lag horizon apart, agree on a row.
"""

from msgspec import Struct


class Unseen(Struct, frozen=True):
    """What a scan left unseen, and nobody could be asked about."""

    scan_ms: int
    ids: frozenset[bytes]


def compare(
    refused: frozenset[bytes],
    earlier: Unseen | None,
    *,
    scan_ms: int,
    lag_ms: int,
    drifted: bool,
) -> tuple[frozenset[bytes], Unseen | None]:
    """Give (the rows both scans agree on, what is to be compared with the next scan).

    Args:
        refused: Packed ids that this scan did not show, and that were refused by id.
        earlier: The same of an earlier scan.
        scan_ms: When this one began.
        lag_ms: The lag horizon.
        drifted: Whether it drifted: then it confirms nothing, and what it did show counts.
    """
    if earlier is None:
        return frozenset(), None if drifted or not refused else Unseen(scan_ms, refused)
    agreed = earlier.ids & refused
    if drifted or scan_ms - earlier.scan_ms < lag_ms:
        return frozenset(), Unseen(earlier.scan_ms, agreed) if agreed else None
    rest = refused - agreed
    return agreed, Unseen(scan_ms, rest) if rest else None
