"""Find the place in the change log that an ``as_of`` names: a sequence, or a time.

A time means the state after the last change that was observed then or before. Times in a log
never go back, so that change is found by halving.
"""

from datetime import datetime
from typing import Final, NamedTuple, Self

from service.changelog import ChangeLog, Entry, Head, standing
from workers.contract.codec import Cursor, to_us, us_text
from workers.contract.errors import BadRequest, Gone

AsOf = int | datetime

_FIRST: Final = 1
"""The sequence of a log's first change, its baseline: what was before it is not known."""


class _Reach(NamedTuple):
    """How far back a log reaches: the first place, and the first time whose place is known."""

    sequence: int
    time_us: int

    @classmethod
    def of(cls, head: Head, oldest: Entry | None) -> Self:
        """Give the reach of a log whose oldest change, if any is left, is this one."""
        if oldest is None:
            return cls(head.sequence, head.time_ms * 1000)
        return cls(max(oldest.cursor.sequence - 1, _FIRST), to_us(oldest.time))

    def refusal(self) -> Gone:
        """Give the error for a place before."""
        return Gone(
            f"The log does not reach back so far: as_of can be sequence {self.sequence} or a later "
            f"one, or a time from {us_text(self.time_us)} on.",
            reason="as_of_gone",
        )


async def find_place(log: ChangeLog, tenant: str, as_of: AsOf) -> Cursor:
    """Give the place in a tenant's log.

    Keys: ``head``, ``changes``.

    Raises:
        BadRequest: ``bad_parameter``, the sequence is still to come.
        Gone: ``as_of_gone``, what stood then is not known, or not any more.
        TemporarilyUnavailable: ``no_baseline``.
    """
    head, oldest = await log.span(tenant)
    head = standing(head)
    reach = _Reach.of(head, oldest)
    if isinstance(as_of, datetime):
        if to_us(as_of) < reach.time_us:
            raise reach.refusal()
        first = head.sequence if oldest is None else oldest.cursor.sequence
        return await _last_by(log, tenant, head, first, as_of)
    if as_of < reach.sequence:
        raise reach.refusal()
    if as_of > head.sequence:
        raise BadRequest(
            f"as_of is ahead of the log, whose last sequence is {head.sequence}.",
            reason="bad_parameter",
        )
    return Cursor(head.epoch, as_of)


async def _last_by(log: ChangeLog, tenant: str, head: Head, first: int, moment: datetime) -> Cursor:
    """Give the place after the last change up to a moment; the first one is not later."""
    low, high = first, head.sequence
    while low < high:
        middle = (low + high + 1) // 2
        entries = await log.pick(tenant, head.epoch, [middle])
        if not entries:  # trimmed since the search began
            return await find_place(log, tenant, moment)
        if entries[middle].time <= moment:
            low = middle
        else:
            high = middle - 1
    return Cursor(head.epoch, low)
