"""Read the snapshot as it stood at a place of the change log, by undoing the log from its head.

Rows are read as they are now, together with the head. Changes carry before and after, so the
oldest change of a requirement since the place tells how it stood there. Material fields and the
set of ids are exact: neither changes without a change. Times may be those of a later sighting.
"""

import asyncio
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from redis.asyncio import Redis

from service.changelog import (
    HEAD_FIELDS,
    REBASELINE,
    ChangeLog,
    Head,
    head_of,
    standing,
    unpack_sequences,
)
from service.moments import AsOf, find_place
from service.past import Past, Pasts
from workers.contract.codec import (
    Cursor,
    pack_id,
    parse_served_row,
    unpack_id,
    unpack_ids,
    unpack_row,
)
from workers.contract.errors import Gone, NotFound
from workers.contract.keyspace import Keyspace
from workers.contract.model import Requirement

_INDEXES_KEPT: Final = 8
_NONE: Final = "There is no requirement by this id."

_Index = tuple[str, Cursor, frozenset[str]]


class Page(NamedTuple):
    """Some rows of a snapshot in the order of ids, its digest, and whether more follow."""

    rows: list[Requirement]
    digest: str
    more: bool


class Stood(NamedTuple):
    """One requirement as it stood at a place, and the digest there."""

    requirement: Requirement
    sequence: int
    digest: str


class Snapshots:
    """The snapshots of all tenants; the sorted ids of the last ones read are kept."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._log = ChangeLog(redis)
        self._pasts = Pasts(self._log)
        self._indexes: OrderedDict[_Index, list[bytes]] = OrderedDict()

    async def one(self, tenant: str, id_: str) -> Stood:
        """Give one requirement as it stands.

        Keys: ``head``, ``rows``. Atomic: one transaction.

        Raises:
            NotFound: There is none by that id.
            TemporarilyUnavailable: ``no_baseline``.
        """
        (packed,), head = await self._with_head(
            tenant, ["HGET", Keyspace(tenant).rows, pack_id(id_)]
        )
        return Stood(_there(id_, packed), head.sequence, head.digest)

    async def one_at(self, tenant: str, id_: str, place: Cursor) -> Stood:
        """Give one requirement as it stood at a place: before the first of its changes since.

        Keys: ``head``, ``rows``, ``history``, ``changes``. Atomic: the row with its history; the
        log behind it never changes.

        Raises:
            Gone: The place cannot be reached any more.
            NotFound: There was none by that id.
            TemporarilyUnavailable: ``no_baseline``.
        """
        keys, field = Keyspace(tenant), pack_id(id_)
        (packed, history), head = await self._with_head(
            tenant, ["HGET", keys.rows, field], ["HGET", keys.history, field]
        )
        if place == head.cursor:
            return Stood(_there(id_, packed), head.sequence, head.digest)
        since = [s for s in unpack_sequences(history) if s > place.sequence][:1]
        following = place.sequence + 1
        entries = await self._log.pick(tenant, head.epoch, {following, *since})
        if place.epoch != head.epoch or not entries.keys() >= {following, *since}:
            raise Gone(REBASELINE)
        if since:
            before = entries[since[0]].data.before
            if before is None:
                raise NotFound(_NONE)
            requirement = parse_served_row(id_, before)
        else:
            requirement = _there(id_, packed)
        return Stood(requirement, place.sequence, entries[following].data.previous_digest)

    async def pin(self, tenant: str, as_of: AsOf | None = None) -> Cursor:
        """Give the place at which the snapshot stands, or stood.

        Raises:
            BadRequest: ``bad_parameter``, the place is still to come.
            Gone: ``as_of_gone``, the log does not reach back so far.
            TemporarilyUnavailable: ``no_baseline``.
        """
        if as_of is None:
            return standing(await self._log.head(tenant)).cursor
        return await find_place(self._log, tenant, as_of)

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
            (packed,), head = await self._with_head(
                tenant, ["HMGET", Keyspace(tenant).rows, *wanted]
            )
        else:
            packed, head = [], standing(await self._log.head(tenant))
        past = await self._pasts.at(tenant, head, pinned)
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
            (lists,), head = await self._with_head(tenant, ["HMGET", keys.audiences, *fields])
            ids = [pack_id(id_) for packed in lists for id_ in unpack_ids(packed)]
        else:
            (ids,), head = await self._with_head(tenant, ["HKEYS", keys.rows])
        past = await self._pasts.at(tenant, head, pinned)
        # A hundred thousand ids take a tenth of a second: others are served meanwhile.
        return await asyncio.to_thread(_index, ids, dict(past.touched), audiences)

    async def _with_head(
        self, tenant: str, *reads: Sequence[str | bytes]
    ) -> tuple[list[Any], Head]:
        """Read something and the head it belongs to, in one transaction."""
        async with self._redis.pipeline(transaction=True) as transaction:
            transaction.hmget(Keyspace(tenant).head, HEAD_FIELDS)
            for read in reads:
                transaction.execute_command(*read)
            values, *replies = await transaction.execute()
        return replies, standing(head_of(values))


def _index(
    ids: Iterable[bytes],
    touched: Mapping[str, Requirement | None],
    audiences: frozenset[str],
) -> list[bytes]:
    """Give the packed ids of a place, in the order of ids, from those of the head."""
    stood = set(ids)
    for id_, before in touched.items():
        if before is not None and (not audiences or before.audience_id in audiences):
            stood.add(pack_id(id_))
        else:
            stood.discard(pack_id(id_))
    return sorted(stood, key=unpack_id)


def _there(id_: str, packed: bytes | None) -> Requirement:
    if packed is None:
        raise NotFound(_NONE)
    return unpack_row(id_, packed).requirement


def _as_it_stood(id_: str, packed: bytes | None, past: Past) -> Requirement:
    before = past.touched.get(id_)
    if before is not None:
        return before
    if packed is None:
        raise Gone(REBASELINE)  # a row left without a change: the store was put back
    return unpack_row(id_, packed).requirement
