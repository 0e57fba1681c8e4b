"""Only the platform's own word for one id, beside a control, removes a requirement."""

from collections.abc import Iterable

import pytest

from workers.changes.witness import Answer, Verdict, witness
from workers.changes.witness import Testimony as Heard  # pytest collects what begins with Test
from workers.contract.errors import UpstreamRefused, UpstreamThrottled, UpstreamUnavailable
from workers.contract.model import Requirement, Row

SUSPECT, OTHER, CONTROL = "a" * 24, "b" * 24, "c" * 24
NOW_MS, LAG_MS = 1_000_000, 60_000
OLD_MS, YOUNG_MS = NOW_MS - LAG_MS, NOW_MS - LAG_MS + 1
FOUND = Requirement(SUSPECT, "d" * 24, 1, 0, None)
ROW = Row(FOUND, 1, OLD_MS)
THERE = Requirement(CONTROL, "d" * 24, 1, 0, None)


class Asked:
    """A platform that answers by id, and the run's control."""

    def __init__(self, answers: dict[str, Answer], control: str | None = CONTROL) -> None:
        self.answers = answers
        self.control_id = control
        self.controls = 0

    def read_many(self, ids: Iterable[str]) -> list[Answer]:
        """Answer in the order asked for."""
        return [self.answers[id_] for id_ in ids]

    def control(self) -> list[str]:
        """Give the control."""
        self.controls += 1
        return [] if self.control_id is None else [self.control_id]

    def testify(self, row: Row = ROW, missing_ms: dict[str, int] | None = None) -> Heard:
        """Give the verdict on the one suspect."""
        (testimony,) = witness(
            {SUSPECT: row},
            missing_ms or {},
            self.read_many,
            self.control,
            now_ms=NOW_MS,
            lag_ms=LAG_MS,
        )
        return testimony


def test_controlled_404_removes() -> None:
    """A 404 beside a control that answers 200 is the evidence."""
    assert Asked({SUSPECT: None, CONTROL: THERE}).testify() == Heard(ROW, Verdict.REMOVED)


@pytest.mark.parametrize(
    "control",
    [
        None,
        UpstreamUnavailable("no"),
        UpstreamRefused("no"),
        UpstreamThrottled("no", retry_after_s=None),
    ],
)
def test_failing_control_proves_nothing(control: Answer) -> None:
    """When the control, too, is not there, a 404 says nothing at all."""
    asked = Asked({SUSPECT: None, CONTROL: control})
    assert asked.testify(missing_ms={SUSPECT: 0}).verdict is Verdict.UNKNOWN


def test_200_heals() -> None:
    """A suspect that answers is still there, and its row is given; no control is needed."""
    asked = Asked({SUSPECT: FOUND})
    assert asked.testify() == Heard(ROW, Verdict.HEALED, FOUND)
    assert asked.controls == 0


def test_young_row_is_asked_again() -> None:
    """A row first seen within the lag horizon is not removed yet; one seen at its edge is."""
    asked = Asked({SUSPECT: None, CONTROL: THERE})
    assert asked.testify(Row(FOUND, 1, YOUNG_MS)).verdict is Verdict.TOO_YOUNG
    assert asked.testify(Row(FOUND, 1, OLD_MS)).verdict is Verdict.REMOVED


def test_404_without_a_control_waits() -> None:
    """With no row left to serve as control, a first 404 does not count."""
    asked = Asked({SUSPECT: None}, control=None)
    assert asked.testify().verdict is Verdict.UNCONTROLLED
    assert asked.testify(missing_ms={SUSPECT: YOUNG_MS}).verdict is Verdict.UNCONTROLLED


def test_404_without_a_control_counts_when_repeated() -> None:
    """Repeated after the lag horizon it counts."""
    asked = Asked({SUSPECT: None}, control=None)
    assert asked.testify(missing_ms={SUSPECT: OLD_MS}).verdict is Verdict.REMOVED


@pytest.mark.parametrize(
    "error", [UpstreamUnavailable("no"), UpstreamThrottled("no", retry_after_s=1)]
)
def test_error_leaves_it_unknown(error: Answer) -> None:
    """A suspect that could not be asked for stays, and is asked again."""
    assert Asked({SUSPECT: error}).testify().verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("status", [403, 405])
def test_refusal_is_final(status: int) -> None:
    """Where reads by id are not for us, or not offered, asking again does not help."""
    asked = Asked({SUSPECT: UpstreamRefused("no", status=status)})
    assert asked.testify().verdict is Verdict.REFUSED


@pytest.mark.parametrize("status", [400, 401, 404, 422])
def test_other_refusals_leave_it_unknown(status: int) -> None:
    """A refusal that may pass, or a 404 that is not the platform's, says nothing of a row."""
    asked = Asked({SUSPECT: UpstreamRefused("no", status=status)})
    assert asked.testify().verdict is Verdict.UNKNOWN


def test_suspects_are_judged_one_by_one() -> None:
    """Each suspect has its own verdict, in order, beside one control."""
    other = Row(Requirement(OTHER, "d" * 24, 1, 0, None), 1, OLD_MS)
    asked = Asked({SUSPECT: None, OTHER: UpstreamUnavailable("no"), CONTROL: THERE})
    testimonies = witness(
        {SUSPECT: ROW, OTHER: other},
        {},
        asked.read_many,
        asked.control,
        now_ms=NOW_MS,
        lag_ms=LAG_MS,
    )
    assert [(testimony.row, testimony.verdict) for testimony in testimonies] == [
        (ROW, Verdict.REMOVED),
        (other, Verdict.UNKNOWN),
    ]
    assert asked.controls == 1


def test_nobody_suspected_asks_nobody() -> None:
    """Without a suspect there is no request."""
    asked = Asked({})
    assert witness({}, {}, asked.read_many, asked.control, now_ms=NOW_MS, lag_ms=LAG_MS) == []
    assert asked.controls == 0
