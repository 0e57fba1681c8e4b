"""Few missing rows are asked for, many wait for a second scan, most of them for a person."""

import pytest
from msgspec.structs import replace

from workers.changes.brake import hold, strength
from workers.contract.model import Brake, Strength

LAG_MS = 60_000
SCAN_MS = 1_000_000


def ids(count: int, start: int = 0) -> frozenset[bytes]:
    """Give so many packed ids."""
    return frozenset(number.to_bytes(12, "big") for number in range(start, start + count))


SOFT = Brake(Strength.SCAN, SCAN_MS, SCAN_MS, 100, ids(20))
HARD = Brake(Strength.OPERATOR, SCAN_MS, SCAN_MS, 100, ids(80))


@pytest.mark.parametrize(
    ("suspects", "rows", "expected"),
    [
        (0, 0, None),
        (10, 10, None),
        (11, 11, Strength.SCAN),
        (11, 220, None),
        (11, 219, Strength.SCAN),
        (50, 50, Strength.SCAN),
        (51, 101, Strength.OPERATOR),
        (51, 102, Strength.SCAN),
    ],
)
def test_strength_needs_number_and_share(
    suspects: int, rows: int, expected: Strength | None
) -> None:
    """More than 10 and 5 % wait for a scan, more than 50 and half for an operator."""
    assert strength(suspects, rows) is expected


def test_few_suspects_are_asked_for() -> None:
    """A few missing rows are no cause for alarm, and let an old brake go."""
    for engaged in (None, SOFT, HARD):
        assert hold(ids(3), 100, engaged, scan_ms=SCAN_MS, lag_ms=LAG_MS) == (ids(3), None)


def test_many_suspects_are_held() -> None:
    """Nobody is asked for, and what is held is remembered."""
    free, brake = hold(ids(20), 100, None, scan_ms=SCAN_MS, lag_ms=LAG_MS)
    assert (free, brake) == (frozenset(), SOFT)


def test_second_scan_that_agrees_lets_go() -> None:
    """What two scans, the lag horizon apart, did not show may be asked for."""
    late_ms = SCAN_MS + LAG_MS
    assert hold(ids(20), 100, SOFT, scan_ms=late_ms, lag_ms=LAG_MS) == (ids(20), None)


def test_second_scan_that_comes_early_changes_nothing() -> None:
    """Within the lag horizon the replicas may still show the same gap."""
    early_ms = SCAN_MS + LAG_MS - 1
    assert hold(ids(20), 100, SOFT, scan_ms=early_ms, lag_ms=LAG_MS) == (frozenset(), SOFT)


def test_second_scan_that_misses_others_holds_those() -> None:
    """Only the suspects of both scans are asked for, when the others are many too."""
    late_ms = SCAN_MS + LAG_MS
    free, brake = hold(ids(25, start=15), 100, SOFT, scan_ms=late_ms, lag_ms=LAG_MS)
    assert free == ids(5, start=15)
    assert brake == Brake(Strength.SCAN, SCAN_MS, late_ms, 100, ids(20, start=20))


def test_operator_s_brake_does_not_let_go_by_itself() -> None:
    """However often a scan agrees, most of a collection goes only when a person says so."""
    late_ms = SCAN_MS + 10 * LAG_MS
    free, brake = hold(ids(80), 100, HARD, scan_ms=late_ms, lag_ms=LAG_MS)
    assert (free, brake) == (frozenset(), replace(HARD, scan_ms=late_ms))
    free, brake = hold(ids(20), 100, HARD, scan_ms=late_ms, lag_ms=LAG_MS)
    assert (free, brake) == (frozenset(), replace(HARD, scan_ms=late_ms, ids=ids(20)))


def test_released_brake_lets_go_of_what_it_held() -> None:
    """What the operator saw goes; what is missing since then is judged anew."""
    released = replace(HARD, released=True)
    assert hold(ids(80), 100, released, scan_ms=SCAN_MS + 1, lag_ms=LAG_MS) == (ids(80), None)
    free, brake = hold(ids(95), 100, released, scan_ms=SCAN_MS + 1, lag_ms=LAG_MS)
    assert free == ids(80)
    assert brake == Brake(Strength.SCAN, SCAN_MS, SCAN_MS + 1, 100, ids(15, start=80))


def test_growing_gap_needs_an_operator() -> None:
    """A brake that a scan could have released becomes an operator's when most are missing."""
    late_ms = SCAN_MS + LAG_MS
    free, brake = hold(ids(80), 100, SOFT, scan_ms=late_ms, lag_ms=LAG_MS)
    assert free == frozenset()
    assert brake == Brake(Strength.OPERATOR, SCAN_MS, late_ms, 100, ids(80))
