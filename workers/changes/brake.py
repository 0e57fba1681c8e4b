"""Hold removals back when too much of a collection seems to be gone at once. Pure.

An outage, a wrong permission or a half-built index can make a list, and even reads by id, look
empty. What few rows are missing is asked for at once; many wait for a second scan that agrees;
most of a collection waits for a person.
"""

from typing import Final

from msgspec.structs import replace

from workers.contract.model import Brake, Strength

FEW: Final = 10
FEW_SHARE: Final = 0.05
MANY: Final = 50
MANY_SHARE: Final = 0.5


def strength(suspects: int, rows: int) -> Strength | None:
    """Give what so many suspects of so many rows wait for, None if for nothing."""
    if suspects > MANY and suspects > MANY_SHARE * rows:
        return Strength.OPERATOR
    if suspects > FEW and suspects > FEW_SHARE * rows:
        return Strength.SCAN
    return None


def hold(
    suspects: frozenset[bytes], rows: int, engaged: Brake | None, *, scan_ms: int, lag_ms: int
) -> tuple[frozenset[bytes], Brake | None]:
    """Give (the suspects that may be asked for, the brake on the others).

    Args:
        suspects: Packed ids that a complete scan did not show.
        rows: Rows of the snapshot.
        engaged: The brake as it was before the scan.
        scan_ms: When the scan began.
        lag_ms: The lag horizon, which two scans that agree lie apart.

    Two scans agree on the suspects that both did not show. What an operator lets go are those the
    brake held when they did.
    """
    wanted = strength(len(suspects), rows)
    if wanted is None:
        return suspects, None
    if engaged is None:
        return frozenset(), Brake(wanted, scan_ms, scan_ms, rows, suspects)
    if engaged.strength is Strength.OPERATOR:
        wanted = Strength.OPERATOR
    ripe = wanted is Strength.SCAN and scan_ms - engaged.scan_ms >= lag_ms
    if engaged.released or ripe:
        agreed = suspects & engaged.ids
        rest = suspects - agreed
        left = strength(len(rest), rows)
        if left is None:
            return suspects, None
        return agreed, Brake(left, engaged.since_ms, scan_ms, rows, rest)
    if wanted is Strength.SCAN:
        return frozenset(), engaged
    return frozenset(), replace(engaged, strength=wanted, scan_ms=scan_ms, rows=rows, ids=suspects)
