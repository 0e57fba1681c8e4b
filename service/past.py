"""Undo the change log from its head: how the requirements stood at an earlier place.

Changes carry before and after, so the oldest change of a requirement since a place tells how it
stood there. What was undone is kept for the places that were asked for last: the next request for
one of them looks only at what was committed since.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Container, Iterable
from typing import Final

from service.changelog import REBASELINE, ChangeLog, Entry, Head
from workers.contract.codec import Cursor, parse_served_row
from workers.contract.errors import Gone
from workers.contract.model import Requirement

PLACES_KEPT: Final = 64
TOUCHED_KEPT: Final = 400_000
"""Each requirement takes some 300 bytes."""
_BATCH: Final = 1000
_FIRST: Final = 1
"""The sequence of a log's first change, which is its baseline."""


class Past:
    """How the requirements stood at a place that were touched since.

    ``touched`` has None for one that was not there; ``digest`` is the chain's at the place.
    Changes up to ``end`` are undone. It serves whoever read the rows at ``end`` or before: what
    was not touched until then stood as it stands, and is told alike by a change that came later.
    """

    def __init__(self, place: Cursor) -> None:
        self.digest = ""
        self.end = place
        self.touched: dict[str, Requirement | None] = {}
        self.turn = asyncio.Lock()


def undo(entries: Iterable[Entry], known: Container[str]) -> dict[str, Requirement | None]:
    """Give how each requirement but the known ones stood before the first of its changes.

    A baseline of a new epoch keeps every row, so there is nothing in it to undo.

    Raises:
        Gone: The log's first baseline is among them: what was before it is not known.
    """
    stood: dict[str, Requirement | None] = {}
    for entry in entries:
        id_ = entry.requirement_id
        if not id_ and entry.cursor.sequence == _FIRST:
            raise Gone(REBASELINE)
        if id_ and id_ not in stood and id_ not in known:
            before = entry.data.before
            stood[id_] = None if before is None else parse_served_row(id_, before)
    return stood


class Pasts:
    """The pasts of the places that were asked for last, of all tenants.

    Args:
        log: Where changes are read.
        places_kept: Places that are remembered at most.
        touched_kept: Requirements that these may have between them.
    """

    def __init__(
        self,
        log: ChangeLog,
        *,
        places_kept: int = PLACES_KEPT,
        touched_kept: int = TOUCHED_KEPT,
    ) -> None:
        self._log = log
        self._places_kept = places_kept
        self._touched_kept = touched_kept
        self._kept: OrderedDict[tuple[str, Cursor], Past] = OrderedDict()

    async def at(self, tenant: str, head: Head, place: Cursor) -> Past:
        """Give the past of a place, as seen from a head.

        Keys: ``head``, ``changes``.

        Raises:
            Gone: The place is of another epoch, off the log's tail, or ahead of its head.
        """
        if place.epoch != head.epoch or place.sequence > head.sequence:
            raise Gone(REBASELINE)
        key = (tenant, place)
        past = self._kept.setdefault(key, Past(place))
        self._kept.move_to_end(key)
        async with past.turn:  # who comes meanwhile finds the work done
            try:
                await self._extend(tenant, past, head, place)
            except Gone:
                self._kept.pop(key, None)
                raise
        self._forget()
        return past

    async def _extend(self, tenant: str, past: Past, head: Head, place: Cursor) -> None:
        """Undo what was committed since the past was last extended."""
        if past.end == place:
            past.digest = head.digest
        while past.end.sequence < head.sequence:
            count = min(_BATCH, head.sequence - past.end.sequence)
            entries = await self._log.follow(tenant, past.end, count)
            if not entries:
                raise Gone(REBASELINE)  # the log is older than it was a moment ago
            # A thousand changes take some ten milliseconds: others are served meanwhile.
            stood = await asyncio.to_thread(undo, entries, past.touched)
            if past.end == place:
                past.digest = entries[0].data.previous_digest
            past.touched |= stood
            past.end = entries[-1].cursor

    def _forget(self) -> None:
        touched = sum(len(past.touched) for past in self._kept.values())
        while len(self._kept) > 1:
            if len(self._kept) <= self._places_kept and touched <= self._touched_kept:
                break
            _, past = self._kept.popitem(last=False)
            touched -= len(past.touched)
