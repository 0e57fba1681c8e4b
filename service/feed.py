"""Serve the change log to consumers: pages, long polls and a stream of server-sent events."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Annotated, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct
from redis.exceptions import RedisError
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import SendTimeoutError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from service.auth import authorize
from service.changelog import Entry, Filter
from service.parameters import Id, Limit, read_cursor, read_query
from service.state import state_of
from service.tail import BATCH, Chunk, Tail, Window, chunk
from workers.contract import logs
from workers.contract.codec import Cursor
from workers.contract.errors import Gone

SCAN_MAX: Final = 10_000
"""Changes one filtered request looks at; its cursor says how far it came."""

_log = logs.get_logger(__name__)


class Pace(NamedTuple):
    """How streams are kept alive, and when they are given up."""

    heartbeat_s: float = 15.0
    send_timeout_s: float = 10.0
    recheck_s: float = 3.0


ChangeType = Annotated[
    Literal[
        "cpd.requirement.created",
        "cpd.requirement.updated",
        "cpd.requirement.removed",
        "cpd.requirement.restored",
        "cpd.requirements.baseline",
    ],
    Meta(description="types of changes, such as cpd.requirement.updated"),
]
_Place = Annotated[str, Meta(description="one cursor")]


class StreamQuery(Struct, frozen=True):
    """What the stream can be asked for."""

    after: _Place | None = None
    type: tuple[ChangeType, ...] = ()
    audience_id: tuple[Id, ...] = ()

    @property
    def wanted(self) -> Filter:
        """Give the filter it names."""
        return Filter(frozenset(self.type), frozenset(self.audience_id))


class ChangesQuery(StreamQuery, frozen=True):
    """What a page of changes can be asked for; ``wait`` is seconds."""

    limit: Limit = 100
    wait: Annotated[float, Meta(ge=0, le=30, description="seconds from 0 to 30")] = 0


class Page(Struct, frozen=True):
    """One answer: events as they were written, and where to go on; null before there is a log."""

    changes: list[msgspec.Raw]
    cursor: str | None


class _Found(NamedTuple):
    entries: list[Entry]
    end: Cursor
    more: bool


_ReadOn = Callable[[Cursor, int], Awaitable[list[Entry]]]


async def list_changes(request: Request, pace: Pace) -> Response:
    """Answer with the changes after a cursor, at once or as soon as there are some.

    Raises:
        BadRequest: A parameter or the cursor is malformed.
        Gone: The cursor's place is not in the log.
    """
    tenant = await authorize(request, "feed:read")
    query = read_query(request, ChangesQuery)
    cursor = None if query.after is None else read_cursor(query.after)
    tail = _tail_of(request, pace)
    found = await _look(tail, tenant, cursor, query, None)
    if query.wait and not _is_answer(found):
        found = await _wait(tail, tenant, found.end if found else cursor, query)
    events = [msgspec.Raw(entry.event) for entry in found.entries] if found else []
    page = Page(events, str(found.end) if found else None)
    return Response(msgspec.json.encode(page), media_type="application/json")


async def _wait(
    tail: Tail, tenant: str, cursor: Cursor | None, query: ChangesQuery
) -> _Found | None:
    until = asyncio.get_running_loop().time() + query.wait
    with tail.watching(tenant) as window:
        while True:
            moved = window.moved  # taken before looking: what comes meanwhile is not missed
            found = await _look(tail, tenant, cursor, query, window)
            if _is_answer(found) or tail.ending:
                return found
            cursor = found.end if found else cursor
            try:
                async with asyncio.timeout_at(until):
                    await moved.wait()
            except TimeoutError:
                return found


def _is_answer(found: _Found | None) -> bool:
    return found is not None and (bool(found.entries) or found.more)


async def _look(
    tail: Tail, tenant: str, cursor: Cursor | None, query: ChangesQuery, window: Window | None
) -> _Found | None:
    """Give what is wanted after a place, or after the log's start; None before there is a log."""

    async def read_on(cursor: Cursor, count: int) -> list[Entry]:
        held = window.after(cursor) if window else None
        return await tail.log.follow(tenant, cursor, count) if held is None else held[:count]

    start = cursor or await tail.log.tail(tenant)
    return start and await _scan(read_on, start, query.wanted, query.limit)


async def _scan(read_on: _ReadOn, start: Cursor, wanted: Filter, limit: int) -> _Found:
    count = BATCH if any(wanted) else limit
    found: list[Entry] = []
    end = start
    while end.sequence - start.sequence < SCAN_MAX:
        entries = await read_on(end, count)
        for entry in entries:
            end = entry.cursor
            if wanted.matches(entry):
                found.append(entry)
                if len(found) == limit:
                    return _Found(found, end, more=True)
        if len(entries) < count:
            return _Found(found, end, more=False)
    return _Found(found, end, more=True)


async def stream_changes(request: Request, pace: Pace) -> Response:
    """Send changes as they are committed, from a cursor on or from now.

    Raises:
        BadRequest: A parameter or the cursor is malformed.
        Gone: The cursor's place is not in the log.
    """
    tenant = await authorize(request, "feed:read")
    query = read_query(request, StreamQuery)
    tail = _tail_of(request, pace)
    text = request.headers.get("last-event-id") or query.after
    if text is None:
        head = await tail.log.head(tenant)
        cursor = head and head.cursor
    else:
        cursor = read_cursor(text)
        await tail.log.follow(tenant, cursor, 1)
    return _EventStream(_Stream(tail, tenant, cursor, query.wanted), pace)


class _Stream:
    """One consumer's place in a log; None before there is a log, which it then reads whole."""

    def __init__(self, tail: Tail, tenant: str, cursor: Cursor | None, wanted: Filter) -> None:
        self.tenant = tenant
        self._tail = tail
        self._cursor = cursor
        self._wanted = wanted

    async def chunks(self) -> AsyncIterator[bytes]:
        """Give frames, many at once when many are due, until the log or the process ends."""
        with (
            suppress(Gone, RedisError),  # the consumer comes back with its cursor and is told
            self._tail.watching(self.tenant) as window,
        ):
            while not self._tail.ending:
                moved = window.moved  # taken before looking: what comes meanwhile is not missed
                due = await self._due(window)
                if due is None or due.end == self._cursor:
                    await moved.wait()
                    continue
                self._cursor = due.end
                if due.frames:
                    yield due.frames

    async def _due(self, window: Window) -> Chunk | None:
        if self._cursor is None:
            self._cursor = await self._tail.log.tail(self.tenant)
        if self._cursor is None:
            return None
        due = window.chunk_after(self._cursor, self._wanted)
        if due is None:
            entries = await self._tail.log.follow(self.tenant, self._cursor, BATCH)
            due = chunk(self._cursor, entries, self._wanted)
        return due

    def heartbeat(self) -> ServerSentEvent:
        """Give a comment, with the cursor, so that a filtered consumer's place moves on too."""
        place = None if self._cursor is None else str(self._cursor)
        return ServerSentEvent(comment="", id=place, sep="\n")


class _EventStream(EventSourceResponse):
    """A stream that is closed on a reader who takes nothing for too long."""

    def __init__(self, stream: _Stream, pace: Pace) -> None:
        super().__init__(
            stream.chunks(),
            ping=pace.heartbeat_s,
            ping_message_factory=stream.heartbeat,
            send_timeout=pace.send_timeout_s,
        )
        self._tenant = stream.tenant

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve until either side ends it."""
        try:
            await super().__call__(scope, receive, send)
        except SendTimeoutError:
            _log.info("stream_closed", tenant=self._tenant, cause="slow_reader")


def _tail_of(request: Request, pace: Pace) -> Tail:
    """Give the tail of the application, started when it is first needed."""
    tail: Tail | None = getattr(request.app.state, "tail", None)
    if tail is None:
        state = state_of(request)
        tail = Tail(state.redis, state.settings.redis_url, state.shutting_down, pace.recheck_s)
        request.app.state.tail = tail
    return tail


def routes(pace: Pace) -> list[Route]:
    """Give the endpoints, at a pace."""
    return [
        Route("/v1/changes", partial(list_changes, pace=pace)),
        Route("/v1/changes/stream", partial(stream_changes, pace=pace)),
    ]


ROUTES: Final = routes(Pace())
