"""Tell what became of a notification: whether a read covered it, which one, and what it found."""

import re
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct
from redis.asyncio import Redis
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.auth import authorize
from service.changelog import Data, Entry
from service.parameters import NoQuery, read_query
from service.state import state_of
from workers.contract.codec import ms_text
from workers.contract.errors import BadRequest, NotFound
from workers.contract.keyspace import Keyspace
from workers.contract.scope import COLLECTION, Scope, ScopeKind

READS_MAX: Final = 10_000
"""Reads that are looked through for those that covered a notification."""
CHANGES_MAX: Final = 10_000
"""Changes that are looked through for those of one notification."""
_BATCH: Final = 500
_LATENESS_MS: Final = 10_000
"""How much later than due a settle read may start and still be told of."""
_ID: Final = re.compile(r"(\d{1,15})-(\d{1,15})", re.ASCII)


State = Literal["pending", "covered", "ignored"]


class Notification(Struct, frozen=True):
    """What the inbox holds; no scopes means that it was ignored."""

    id: str
    ms: int
    accept: int
    event_type: str
    scopes: tuple[str, ...]


class ReadSeen(Struct, frozen=True):
    """The read that covered it."""

    id: str
    started_at: str


class Answer(Struct, frozen=True):
    """What a look-up answers with."""

    id: str
    state: State
    accept_sequence: int
    received_at: str
    event_type: str
    scope: str
    read: ReadSeen | None = None
    changes: Sequence[int] = ()


class Read(Struct, frozen=True):
    """A committed read: when it started, what it served, and what it found."""

    id: str
    started_ms: int
    scopes: frozenset[str]
    first: int
    last: int

    def served(self, scope: str) -> bool:
        """Tell whether a scope was read."""
        return scope in self.scopes or str(COLLECTION) in self.scopes


async def read_notification(request: Request) -> Response:
    """Answer with the state of one notification.

    Raises:
        BadRequest: ``id_malformed``, or a parameter was given.
        NotFound: None by that id was accepted, or it was long ago.
    """
    tenant = await authorize(request, "feed:read")
    read_query(request, NoQuery)
    state = state_of(request)
    lookup = Lookup(state.redis, Keyspace(tenant), sum(state.settings.tenants[tenant].settle_s))
    answer = await lookup.answer(request.path_params["id"])
    return Response(msgspec.json.encode(answer), media_type="application/json")


class Lookup:
    """The records of one tenant that tell what became of its notifications.

    Args:
        redis: As in ``State``.
        keys: Of the tenant.
        settle_s: How long after a read its scopes are read again.
    """

    def __init__(self, redis: Redis, keys: Keyspace, settle_s: float) -> None:
        self._redis = redis
        self._keys = keys
        self._settle_ms = int(settle_s * 1000) + _LATENESS_MS
        self._left = CHANGES_MAX

    async def answer(self, id_: str) -> Answer:
        """Tell what became of one notification.

        Keys: ``inbox``, ``marks``, ``reads``, ``changes``. Marks are read before reads: whoever
        clears a mark records its read in the same step, so what is covered has its read.

        Raises:
            BadRequest: ``id_malformed``.
            NotFound: There is none by that id.
        """
        notification = await self._notification(id_)
        if not notification.scopes:
            return _answer(notification, "ignored")
        if not await self._is_covered(notification):
            return _answer(notification, "pending")
        covering = await self._covering(notification)
        if not covering:  # its record was trimmed
            return _answer(notification, "covered")
        found = await self._found(notification, covering)
        last = covering[-1]
        read = ReadSeen(last.id, ms_text(last.started_ms))
        return _answer(notification, "covered", read, sorted(found))

    async def _notification(self, id_: str) -> Notification:
        parts = _ID.fullmatch(id_)
        if parts is None:
            raise BadRequest("This is no id of a notification.", reason="id_malformed")
        entries = await self._range(self._keys.inbox, id_, id_)
        if not entries:
            raise NotFound("There is no notification by this id.")
        fields: dict[bytes, bytes] = entries[0][1]
        return Notification(
            id_,
            int(parts[1]),
            int(parts[2]),
            fields[b"type"].decode(),
            tuple(fields[b"scopes"].decode().split()),
        )

    async def _is_covered(self, notification: Notification) -> bool:
        """Tell whether each of its scopes has no mark, or one that begins after it."""
        marks: list[Any] = await self._redis.hmget(self._keys.marks, list(notification.scopes))
        return all(mark is None or _first_of(mark) > notification.accept for mark in marks)

    async def _covering(self, notification: Notification) -> list[Read]:
        """Give the first read that served each of its scopes after it was accepted."""
        missing = set(notification.scopes)
        covering = []
        async for read in self._reads(f"{notification.accept}-0"):
            served = {scope for scope in missing if read.served(scope)}
            if served:
                covering.append(read)
                missing -= served
            if not missing:
                break
        return covering

    async def _found(self, notification: Notification, covering: list[Read]) -> set[int]:
        """Give the sequences of what the covering reads found about its scopes.

        And of what later reads found on its account, when it outran the platform: those that
        settle it, which may coincide with reads for other reasons.
        """
        scopes = [Scope.parse(text) for text in notification.scopes]
        found: set[int] = set()
        for read in covering:
            found |= {
                entry.cursor.sequence
                async for entry in self._changes(read)
                if _concerns(scopes, entry.data)
            }
        until_ms = covering[-1].started_ms + self._settle_ms
        async for read in self._reads(f"({covering[0].id}"):
            if read.started_ms > until_ms:
                break
            if any(map(read.served, notification.scopes)):
                found |= {
                    entry.cursor.sequence
                    async for entry in self._changes(read)
                    if notification.id in entry.data.cause.notifications
                }
        return found

    async def _reads(self, start: str) -> AsyncIterator[Read]:
        for _ in range(READS_MAX // _BATCH):
            entries = await self._range(self._keys.reads, start, "+")
            for id_, fields in entries:
                yield _read(id_, fields)
            if len(entries) < _BATCH:
                return
            start = f"({entries[-1][0].decode()}"

    async def _changes(self, read: Read) -> AsyncIterator[Entry]:
        """Give the changes of a read, until as many were looked at as may be."""
        first = read.first
        while 0 < first <= read.last and self._left > 0:
            entries = await self._range(self._keys.changes, f"{first}", f"{read.last}")
            for entry in entries:
                yield Entry.parse("", entry)
            self._left -= len(entries)
            if len(entries) < _BATCH:
                return
            first += _BATCH

    async def _range(self, key: str, start: str, end: str) -> list[Any]:
        """Give the next entries of a stream, ``_BATCH`` at most."""
        entries: Any = await self._redis.xrange(key, min=start, max=end, count=_BATCH)
        return list(entries)


def _answer(
    notification: Notification,
    state: State,
    read: ReadSeen | None = None,
    changes: Sequence[int] = (),
) -> Answer:
    return Answer(
        notification.id,
        state,
        notification.accept,
        ms_text(notification.ms),
        notification.event_type,
        " ".join(notification.scopes),
        read,
        changes,
    )


def _first_of(mark: bytes) -> int:
    """Give the accept sequence with which a mark begins: ``<ms>-<sequence> …``."""
    return int(mark.split()[0].partition(b"-")[2])


def _read(id_: bytes, fields: dict[bytes, bytes]) -> Read:
    return Read(
        id_.decode(),
        int(fields[b"started_ms"]),
        frozenset(fields[b"scopes"].decode().split()),
        int(fields[b"first"]),
        int(fields[b"last"]),
    )


def _concerns(scopes: Sequence[Scope], change: Data) -> bool:
    """Tell whether a change is about any of the scopes, before or after it."""
    return any(
        scope == COLLECTION
        or (scope.kind is ScopeKind.REQUIREMENT and scope.id == change.requirement_id)
        or (scope.kind is ScopeKind.AUDIENCE and scope.id in change.audiences)
        for scope in scopes
    )


ROUTES: Final = [Route("/v1/notifications/{id}", read_notification)]
