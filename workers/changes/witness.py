"""Ask for suspects by id: the only evidence on which a requirement is removed.

``GET /cpdRequirementSummaries/{id}`` answers 404 for one that does not exist. A wrong base URL or
a gateway answers 404 to everything, so a 404 counts only beside a control: a row just seen, asked
for in the same run, that answers 200.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import Enum, auto
from http import HTTPStatus

from msgspec import Struct

from workers.contract.errors import UpstreamError, UpstreamRefused
from workers.contract.model import Requirement, Row

Answer = Requirement | UpstreamError | None


class Verdict(Enum):
    """What became of a suspect."""

    REMOVED = auto()
    HEALED = auto()
    """It is still there: the list skipped it."""
    TOO_YOUNG = auto()
    """404, but a replica may not have what we saw yet: to be asked again after the lag horizon."""
    UNCONTROLLED = auto()
    """404, with no row left to hold that against: counts when repeated after the horizon."""
    UNKNOWN = auto()
    """Nobody could say: to be asked again."""
    REFUSED = auto()
    """Reads by id are not for us, or not offered: only the next scan will ask again."""


_NOT_FOR_US = {HTTPStatus.FORBIDDEN, HTTPStatus.METHOD_NOT_ALLOWED}


class Testimony(Struct, frozen=True):
    """A suspect, what became of it, and the row that a 200 showed."""

    row: Row
    verdict: Verdict
    found: Requirement | None = None


def witness(
    suspects: Mapping[str, Row],
    missing_ms: Mapping[str, int],
    read_many: Callable[[Iterable[str]], Iterable[Answer]],
    control: Callable[[], list[str] | None],
    *,
    now_ms: int,
    lag_ms: int,
) -> list[Testimony]:
    """Give each suspect its verdict.

    Args:
        suspects: Known rows that a read did not show.
        missing_ms: When a suspect was first answered 404 with no control.
        read_many: Reads by id, answers in the order asked for.
        control: Gives ids of known rows seen in this very run, none where the list is empty, and
            None where nobody can say; asked only when there is a 404.
        now_ms: The time.
        lag_ms: The lag horizon.
    """
    answers = dict(zip(suspects, read_many(suspects), strict=True))
    controlled: bool | None = False
    if any(answer is None for answer in answers.values()):
        seen = control()  # one that answers is enough, so they are asked for one by one
        if seen != []:
            one_by_one = (answer for id_ in seen or () for answer in read_many([id_]))
            controlled = any(isinstance(answer, Requirement) for answer in one_by_one)
        else:
            controlled = None
    return [
        _judge(row, answers[id_], controlled, missing_ms.get(id_), now_ms - lag_ms)
        for id_, row in suspects.items()
    ]


def _judge(
    row: Row, answer: Answer, controlled: bool | None, missing_ms: int | None, horizon_ms: int
) -> Testimony:
    if isinstance(answer, Requirement):
        return Testimony(row, Verdict.HEALED, answer)
    if isinstance(answer, UpstreamRefused) and answer.status in _NOT_FOR_US:
        return Testimony(row, Verdict.REFUSED)
    if isinstance(answer, UpstreamError) or controlled is False:
        return Testimony(row, Verdict.UNKNOWN)
    if row.since_ms > horizon_ms:
        return Testimony(row, Verdict.TOO_YOUNG)
    if controlled is None and (missing_ms is None or missing_ms > horizon_ms):
        return Testimony(row, Verdict.UNCONTROLLED)
    return Testimony(row, Verdict.REMOVED)
