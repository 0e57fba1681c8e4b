"""Follow the end of every watched log once, for all who wait for it.

A commit announces itself; one subscription of the process hears it, one read fetches what is new
into a bounded window, and every stream and long poll of that tenant is woken to take it from
there. An announcement may be lost: watched logs are looked at again every few seconds, and
whenever the subscription was made anew.

A log that stands lower than it was seen has lost changes that were served under its name. The
workers are told, and begin a new epoch.
"""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import stamina
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from service.changelog import ChangeLog, Entry, Filter
from workers.contract import logs
from workers.contract.codec import Cursor
from workers.contract.errors import Gone
from workers.contract.keyspace import Keyspace
from workers.contract.model import Due, Trigger
from workers.contract.settings import Secret

WINDOW: Final = 1000
"""Changes a tenant's window holds; whoever is further behind reads from Redis."""
BATCH: Final = 200
"""Changes read from Redis at a time."""
CHUNK_BYTES: Final = 64 * 1024
"""A chunk ends with the frame that reaches this: what one slow reader can make us hold."""
_CHUNKS_KEPT: Final = 64

_WENT_BACK: Final = Path(__file__).with_name("went_back.lua").read_text(encoding="utf-8")
_WHY: Final = msgspec.json.encode(Due(Trigger.RECONCILE))
_PATTERN: Final = Keyspace("*").committed  # in a glob, braces stand for themselves
_PREFIX, _, _SUFFIX = _PATTERN.partition("*")

_log = logs.get_logger(__name__)


class Chunk(NamedTuple):
    """Frames to send at once, and the place after the last change that was looked at."""

    frames: bytes
    end: Cursor


def chunk(start: Cursor, entries: Iterable[Entry], wanted: Filter) -> Chunk:
    """Join the frames of the wanted changes, up to ``CHUNK_BYTES`` and one frame."""
    frames, size, end = [], 0, start
    for entry in entries:
        if size >= CHUNK_BYTES:
            break
        end = entry.cursor
        if wanted.matches(entry):
            frames.append(entry.frame)
            size += len(entry.frame)
    return Chunk(b"".join(frames), end)


class Window:
    """The last changes of one log, shared by all who watch it.

    ``moved`` is set, and replaced, when there may be something new: take it before looking, wait
    for it after. ``end`` is None until the log was first looked at, and while there is none.
    """

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.end: Cursor | None = None
        self.moved = asyncio.Event()
        self.watchers = 0
        self.stale = False
        self.refresher: asyncio.Task[None] | None = None
        self._entries: list[Entry] = []
        self._chunks: dict[tuple[Cursor, Filter], Chunk] = {}

    def after(self, cursor: Cursor) -> list[Entry] | None:
        """Give the changes after a place, None when the window does not reach back to it."""
        if self.end is None or self.end.epoch != cursor.epoch:
            return None
        start = cursor.sequence - self.end.sequence + len(self._entries)
        return self._entries[start:] if 0 <= start <= len(self._entries) else None

    def chunk_after(self, cursor: Cursor, wanted: Filter) -> Chunk | None:
        """Give what to send after a place, made once for all who stand there and want the same."""
        made = self._chunks.get((cursor, wanted))
        if made is None:
            entries = self.after(cursor)
            if entries is None:
                return None
            made = chunk(cursor, entries, wanted)
            if len(self._chunks) < _CHUNKS_KEPT:
                self._chunks[cursor, wanted] = made
        return made

    def extend(self, entries: list[Entry]) -> None:
        """Take in the changes that follow ``end``, and wake everyone if there are any."""
        if entries:
            self._entries = [*self._entries, *entries][-WINDOW:]
            self.end = entries[-1].cursor
            self.wake()

    def restart(self, end: Cursor | None) -> None:
        """Begin anew at a place, and wake everyone if it is another one."""
        if end != self.end:
            self._entries, self.end = [], end
            self.wake()

    def wake(self) -> None:
        """Let everyone who waits look again."""
        self._chunks.clear()
        moved, self.moved = self.moved, asyncio.Event()
        moved.set()


class Tail:
    """The windows of one process, and the tasks that keep them fresh until it shuts down.

    Args:
        redis: For reading, as in ``State``.
        url: Of the same server, for a subscription with a connection of its own.
        shutting_down: Ends everything.
        recheck_s: How often watched logs are looked at unasked.
    """

    def __init__(
        self, redis: Redis, url: Secret, shutting_down: asyncio.Event, recheck_s: float
    ) -> None:
        self.log = ChangeLog(redis)
        self._url = url
        self._shutting_down = shutting_down
        self._recheck_s = recheck_s
        self._went_back = redis.register_script(_WENT_BACK)
        self._windows: dict[str, Window] = {}
        self._stood: dict[str, Cursor] = {}
        self._run = asyncio.create_task(self._keep_fresh())

    @property
    def ending(self) -> bool:
        """Tell whether whoever waits has to stop."""
        return self._shutting_down.is_set()

    @property
    def watchers(self) -> int:
        """Give how many streams and long polls are being served."""
        return sum(window.watchers for window in self._windows.values())

    @contextmanager
    def watching(self, tenant: str) -> Iterator[Window]:
        """Have the end of a tenant's log followed meanwhile."""
        window = self._windows.setdefault(tenant, Window(tenant))
        window.watchers += 1
        if window.watchers == 1:
            self._refresh(window)
        try:
            yield window
        finally:
            window.watchers -= 1
            if not window.watchers:
                del self._windows[tenant]

    async def _keep_fresh(self) -> None:
        tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._recheck())]
        try:
            await self._shutting_down.wait()
        finally:
            for window in self._windows.values():
                window.wake()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self) -> None:
        """Hear announcements; whatever breaks the subscription, it is made again."""
        async for attempt in stamina.retry_context(
            on=Exception, attempts=None, timeout=None, wait_max=2.0
        ):
            with attempt:
                # A connection of its own: reads on it block for as long as nothing happens.
                client = Redis.from_url(
                    self._url.reveal(), retry=Retry(NoBackoff(), 0), socket_keepalive=True
                )
                async with client, client.pubsub() as subscription:
                    await subscription.psubscribe(_PATTERN)
                    async for message in subscription.listen():
                        self._hear(message)

    def _hear(self, message: dict[str, Any]) -> None:
        if message["type"] == "psubscribe":  # what was announced before was not heard
            self._refresh(*self._windows.values())
        elif message["type"] == "pmessage":
            channel: str = message["channel"].decode()
            window = self._windows.get(channel.removeprefix(_PREFIX).removesuffix(_SUFFIX))
            if window is not None:
                self._refresh(window)

    async def _recheck(self) -> None:
        while True:
            await asyncio.sleep(self._recheck_s)
            self._refresh(*self._windows.values())

    def _refresh(self, *windows: Window) -> None:
        """Have windows read on; one read of each at a time, and one more if it was asked for."""
        for window in windows:
            window.stale = True
            if window.refresher is None or window.refresher.done():
                window.refresher = asyncio.create_task(self._read_on(window))

    async def _read_on(self, window: Window) -> None:
        try:
            while window.stale:
                window.stale = False
                window.stale = await self._read_batch(window) or window.stale
        except RedisError as error:
            _log.warning("tail_read_failed", tenant=window.tenant, error=type(error).__name__)

    async def _read_batch(self, window: Window) -> bool:
        """Take in what follows the window's end; tell whether there may be more."""
        if window.end is not None:
            try:
                entries = await self.log.follow(window.tenant, window.end, BATCH)
            except Gone:
                pass  # another epoch, or too far behind: begin at the head
            else:
                window.extend(entries)
                self._stood[window.tenant] = window.end
                return len(entries) == BATCH
        head = await self.log.head(window.tenant)
        if head is not None:
            await self._compare(window.tenant, head.cursor)
        window.restart(head and head.cursor)
        return False

    async def _compare(self, tenant: str, now: Cursor) -> None:
        """Remember where a log stands; if that is lower than before, tell the workers.

        Keys: ``head``, ``due``, ``due:why``. Atomic: see ``went_back.lua``.
        """
        stood = self._stood.get(tenant, now)
        if stood.epoch == now.epoch and stood.sequence > now.sequence:
            keys = Keyspace(tenant)
            if await self._went_back(
                [keys.head, keys.due, keys.due_why],
                [stood.epoch, stood.sequence, str(stood), _WHY],
            ):
                _log.error("log.went_back", tenant=tenant, seen=stood.sequence, now=now.sequence)
        self._stood[tenant] = now
