"""Read the snapshot as it stood at a place of the change log, by undoing the log from its head.

Rows are read as they are now, together with the head. Changes carry before and after, so the
oldest change of a requirement since the place tells how it stood there. Material fields and the
set of ids are exact: neither changes without a change. Times may be those of a later sighting.
"""

import asyncio
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from redis.asyncio import Redis

from service.changelog import HEAD_FIELDS, REBASELINE, ChangeLog, Entry, Head, head_of
from workers.contract.codec import (
    Cursor,
    pack_id,
    parse_served_row,
    unpack_id,
    unpack_ids,
    unpack_row,
)
from workers.contract.errors import Gone, NotFound, TemporarilyUnavailable
from workers.contract.keyspace import Keyspace
from workers.contract.model import Kind, Requirement

UNDO_MAX: Final = 50_000
"""Changes after which the pages of a snapshot have to be begun anew."""
_BATCH: Final = 1000
_INDEXES_KEPT: Final = 8
_NO_BASELINE_RETRY_S: Final = 5

_Index = tuple[str, Cursor, frozenset[str]]


class Past(NamedTuple):
    """How the requirements stood that were touched since a place, and the digest there."""

    touched: Mapping[str, Requirement | None]
    digest: str


class Page(NamedTuple):
    """Some rows of a snapshot in the order of ids, its digest, and whether more follow."""

    rows: list[Requirement]
    digest: str
    more: bool


def undo(entries: Iterable[Entry], touched: dict[str, Requirement | None]) -> None:
    """Note how each requirement stood before the first of its changes, the oldest first.

    Raises:
        Gone: A baseline is among them: what was before it is not known.
    """
    for entry in entries:
        change = entry.data
        if change.kind == Kind.BASELINE:
            raise Gone(REBASELINE)
        id_ = change.requirement_id
        if id_ is not None and id_ not in touched:
            before = change.before
            touched[id_] = None if before is None else parse_served_row(id_, before)


class Snapshots:
    """The snapshots of all tenants; the sorted ids of the last ones read are kept."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._log = ChangeLog(redis)
        self._indexes: OrderedDict[_Index, list[bytes]] = OrderedDict()

    async def one(self, tenant: str, id_: str) -> tuple[Requirement, Head]:
        """Give one requirement as it stands, and the head it stands at.

        Keys: ``head``, ``rows``. Atomic: one transaction.

        Raises:
            NotFound: There is none by that id.
            TemporarilyUnavailable: ``no_baseline``.
        """
        packed, head = await self._with_head(tenant, "HGET", Keyspace(tenant).rows, pack_id(id_))
        if packed is None:
            raise NotFound("There is no requirement by this id.")
        return unpack_row(id_, packed).requirement, head

    async def pin(self, tenant: str) -> Cursor:
        """Give the place at which the snapshot stands now.

        Raises:
            TemporarilyUnavailable: ``no_baseline``.
        """
        return _standing(await self._log.head(tenant)).cursor

    async def page(
        self, tenant: str, pinned: Cursor, audiences: frozenset[str], last_id: str, limit: int
    ) -> Page:
        """Give the rows that follow an id, as they stood at a place.

        Keys: ``head``, ``rows``, ``audiences``, ``changes``. Atomic: rows with the head they
        belong to; the log behind it never changes.

        Raises:
            Gone: The place cannot be reached any more.
            TemporarilyUnavailable: ``no_baseline``.
        """
        ids = await self._ids(tenant, pinned, audiences)
        start = bisect_right(ids, last_id, key=unpack_id)
        wanted = ids[start : start + limit]
        if wanted:
            packed, head = await self._with_head(tenant, "HMGET", Keyspace(tenant).rows, *wanted)
        else:
            packed, head = [], _standing(await self._log.head(tenant))
        past = await self._undo(tenant, head, pinned)
        rows = [
            _as_it_stood(unpack_id(id_), row, past) for id_, row in zip(wanted, packed, strict=True)
        ]
        return Page(rows, past.digest, more=start + limit < len(ids))

    async def _ids(self, tenant: str, pinned: Cursor, audiences: frozenset[str]) -> list[bytes]:
        index = (tenant, pinned, audiences)
        if index not in self._indexes:
            self._indexes[index] = await self._read_ids(tenant, pinned, audiences)
            if len(self._indexes) > _INDEXES_KEPT:
                self._indexes.popitem(last=False)
        self._indexes.move_to_end(index)
        return self._indexes[index]

    async def _read_ids(
        self, tenant: str, pinned: Cursor, audiences: frozenset[str]
    ) -> list[bytes]:
        """Give the packed ids, in the order of ids, that the snapshot held at a place."""
        keys = Keyspace(tenant)
        if audiences:
            fields = [pack_id(audience) for audience in audiences]
            lists, head = await self._with_head(tenant, "HMGET", keys.audiences, *fields)
            ids = [pack_id(id_) for packed in lists for id_ in unpack_ids(packed)]
        else:
            ids, head = await self._with_head(tenant, "HKEYS", keys.rows)
        past = await self._undo(tenant, head, pinned)
        # A hundred thousand ids take a tenth of a second: others are served meanwhile.
        return await asyncio.to_thread(_index, ids, past, audiences)

    async def _undo(self, tenant: str, head: Head, pinned: Cursor) -> Past:
        if pinned.epoch != head.epoch or not 0 <= head.sequence - pinned.sequence <= UNDO_MAX:
            raise Gone(REBASELINE)
        touched: dict[str, Requirement | None] = {}
        digest, place = head.digest, pinned
        while place.sequence < head.sequence:
            count = min(_BATCH, head.sequence - place.sequence)
            entries = await self._log.follow(tenant, place, count)
            if not entries:
                raise Gone(REBASELINE)  # the log is older than it was a moment ago
            if place is pinned:
                digest = entries[0].data.previous_digest
            undo(entries, touched)
            place = entries[-1].cursor
        return Past(touched, digest)

    async def _with_head(self, tenant: str, *command: str | bytes) -> tuple[Any, Head]:
        """Read something and the head it belongs to, in one transaction."""
        async with self._redis.pipeline(transaction=True) as transaction:
            transaction.hmget(Keyspace(tenant).head, HEAD_FIELDS)
            transaction.execute_command(*command)
            values, reply = await transaction.execute()
        return reply, _standing(head_of(values))


def _index(ids: Iterable[bytes], past: Past, audiences: frozenset[str]) -> list[bytes]:
    """Give the packed ids of a place, in the order of ids, from those of the head."""
    stood = set(ids)
    for id_, before in past.touched.items():
        if before is not None and (not audiences or before.audience_id in audiences):
            stood.add(pack_id(id_))
        else:
            stood.discard(pack_id(id_))
    return sorted(stood, key=unpack_id)


def _standing(head: Head | None) -> Head:
    if head is None or head.baseline_ms is None:
        raise TemporarilyUnavailable(
            "The first complete read of the platform is still to come.",
            reason="no_baseline",
            retry_after_s=_NO_BASELINE_RETRY_S,
        )
    return head


def _as_it_stood(id_: str, packed: bytes | None, past: Past) -> Requirement:
    before = past.touched.get(id_)
    if before is not None:
        return before
    if packed is None:
        raise Gone(REBASELINE)  # a row left without a change: the store was put back
    return unpack_row(id_, packed).requirement
