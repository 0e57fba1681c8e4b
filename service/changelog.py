"""Read the change log: for the feed, for undoing it from its head, and for look-ups.

Entries are ``<sequence>-0`` without a gap; only the oldest are ever trimmed. The head and the
entries after a place are read in one transaction, so what is missing is known to be gone.
"""

import struct
from asyncio import Semaphore
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, Final, NamedTuple

import msgspec
from redis.asyncio import Redis
from sse_starlette import ServerSentEvent

from workers.contract.codec import GENESIS, Cursor
from workers.contract.errors import Gone, TemporarilyUnavailable
from workers.contract.keyspace import Keyspace

HEAD_FIELDS: Final = ["epoch", "sequence", "digest", "baseline_ms", "time_ms"]
REBASELINE: Final = (
    "The log does not hold what follows this cursor. Read the snapshot anew (GET /v1/requirements "
    "without `after`, all its pages), then go on from its changes_cursor."
)
_NO_BASELINE_RETRY_S: Final = 5
_CONCURRENT_READS: Final = 16  # a thousand streams that fall behind share these connections


class Head(NamedTuple):
    """Where the log stands; ``baseline_ms`` is None until the snapshot is whole."""

    epoch: str
    sequence: int
    digest: str
    baseline_ms: int | None
    time_ms: int

    @property
    def cursor(self) -> Cursor:
        """Give the place after the last change."""
        return Cursor(self.epoch, self.sequence)


def head_of(values: Sequence[bytes | None]) -> Head | None:
    """Give the head from its ``HEAD_FIELDS``; None while the tenant has no log."""
    epoch, sequence, digest, baseline_ms, time_ms = values
    if epoch is None:
        return None
    return Head(
        epoch.decode(),
        int(sequence or 0),
        digest.decode() if digest else GENESIS,
        None if baseline_ms is None else int(baseline_ms),
        int(time_ms or 0),
    )


def standing(head: Head | None) -> Head:
    """Give the head of a log that has its baseline.

    Raises:
        TemporarilyUnavailable: ``no_baseline``.
    """
    if head is None or head.baseline_ms is None:
        raise TemporarilyUnavailable(
            "The first complete read of the platform is still to come.",
            reason="no_baseline",
            retry_after_s=_NO_BASELINE_RETRY_S,
        )
    return head


def unpack_sequences(packed: bytes | None) -> tuple[int, ...]:
    """Give the sequences of a field of ``history``: 8 bytes each, big-endian, the oldest first."""
    return () if packed is None else struct.unpack(f">{len(packed) // 8}Q", packed)


class Cause(msgspec.Struct, frozen=True):
    """Why the read was made that found a change."""

    notifications: tuple[str, ...] = ()


class Data(msgspec.Struct, frozen=True):
    """What is read of a change's ``data``; its sides are ``codec.served_row`` forms."""

    kind: str = ""
    requirement_id: str | None = None
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    previous_digest: str = GENESIS
    cause: Cause = Cause()

    @property
    def audiences(self) -> frozenset[str]:
        """Give the audiences it concerns, before and after."""
        return frozenset(side["audienceId"] for side in (self.before, self.after) if side)


class _Event(msgspec.Struct):
    data: Data


class _Dated(msgspec.Struct):
    time: datetime


_events: Final = msgspec.json.Decoder(_Event)
_dates: Final = msgspec.json.Decoder(_Dated)


class Entry:
    """One change of the log: its CloudEvent as it was written, decoded only when asked.

    ``requirement_id`` is empty for a baseline.
    """

    def __init__(self, cursor: Cursor, type_: str, event: bytes, requirement_id: str = "") -> None:
        self.cursor = cursor
        self.type = type_
        self.event = event
        self.requirement_id = requirement_id

    @classmethod
    def parse(cls, epoch: str, entry: tuple[bytes, Mapping[bytes, bytes]]) -> "Entry":
        """Read an entry as Redis gives it."""
        id_, fields = entry
        cursor = Cursor(epoch, int(id_.partition(b"-")[0]))
        requirement_id = fields.get(b"requirement_id", b"").decode()
        return cls(cursor, fields[b"type"].decode(), fields[b"event"], requirement_id)

    @cached_property
    def data(self) -> Data:
        """Give what the event says happened."""
        return _events.decode(self.event).data

    @property
    def time(self) -> datetime:
        """Give when it was observed."""
        return _dates.decode(self.event).time

    @cached_property
    def frame(self) -> bytes:
        """Give it as a server-sent event."""
        data = self.event.decode()
        return ServerSentEvent(data, event=self.type, id=str(self.cursor), sep="\n").encode()


class Filter(NamedTuple):
    """The changes a consumer wants; an empty set wants all."""

    types: frozenset[str] = frozenset()
    audiences: frozenset[str] = frozenset()

    def matches(self, entry: Entry) -> bool:
        """Tell whether a change is wanted, by its type and its audience before or after."""
        if self.types and entry.type not in self.types:
            return False
        return not self.audiences or not self.audiences.isdisjoint(entry.data.audiences)


class ChangeLog:
    """The logs of all tenants; few of its reads run at a time, the others queue."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._turn = Semaphore(_CONCURRENT_READS)

    async def head(self, tenant: str) -> Head | None:
        """Give where the log stands, None before there is one.

        Keys: ``head``.
        """
        async with self._turn:
            values: list[Any] = await self._redis.hmget(Keyspace(tenant).head, HEAD_FIELDS)
        return head_of(values)

    async def tail(self, tenant: str) -> Cursor | None:
        """Give the place before the oldest change that is left, None before there is a log.

        Keys: ``head``, ``changes``. Atomic: one transaction.
        """
        head, oldest = await self.span(tenant)
        if head is None or oldest is None:
            return head and head.cursor
        return Cursor(head.epoch, oldest.cursor.sequence - 1)

    async def span(self, tenant: str) -> tuple[Head | None, Entry | None]:
        """Give where the log stands, and the oldest change that is left, if any.

        Keys: ``head``, ``changes``. Atomic: one transaction.
        """
        head, entries = await self._read(tenant, "-", 1)
        return head, entries[0] if entries else None

    async def pick(self, tenant: str, epoch: str, sequences: Iterable[int]) -> dict[int, Entry]:
        """Give single changes by sequence, without those that were trimmed or are still to come.

        Keys: ``changes``.
        """
        key = Keyspace(tenant).changes
        async with self._turn, self._redis.pipeline(transaction=False) as pipeline:
            for sequence in sequences:
                pipeline.xrange(key, min=f"{sequence}", max=f"{sequence}", count=1)
            replies = await pipeline.execute()
        entries = [Entry.parse(epoch, entry) for reply in replies for entry in reply]
        return {entry.cursor.sequence: entry for entry in entries}

    async def follow(self, tenant: str, cursor: Cursor, count: int) -> list[Entry]:
        """Give up to ``count`` changes after a place, without a gap.

        Keys: ``head``, ``changes``. Atomic: one transaction.

        Raises:
            Gone: The place is of another epoch, off the log's tail, or ahead of its head.
        """
        head, entries = await self._read(tenant, f"{cursor.sequence + 1}", count)
        if head is None or head.epoch != cursor.epoch:
            raise Gone(REBASELINE)
        first = entries[0].cursor.sequence if entries else head.sequence + 1
        if first != cursor.sequence + 1:
            raise Gone(REBASELINE)
        return entries

    async def _read(self, tenant: str, first: str, count: int) -> tuple[Head | None, list[Entry]]:
        keys = Keyspace(tenant)
        async with self._turn, self._redis.pipeline(transaction=True) as transaction:
            transaction.hmget(keys.head, HEAD_FIELDS)
            transaction.xrange(keys.changes, min=first, count=count)
            values, entries = await transaction.execute()
        head = head_of(values)
        return head, [] if head is None else [Entry.parse(head.epoch, entry) for entry in entries]
