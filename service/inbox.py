"""Accept notifications: durable first, answered then, the second step of the way of a change.

Requests of a tenant that arrive while a script call is under way share the next one (group
commit), so a burst costs a handful of calls and one fsync each.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final, Literal, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import RedisError

from service.schema import Schema
from workers.contract.errors import InboxFull, StoreUnavailable
from workers.contract.keyspace import Keyspace
from workers.contract.scope import Scope

MAX_BATCH: Final = 256
WAKE_TTL_MS: Final = 5000
"""A wake-up call that was lost silences a tenant no longer than this."""
FULL_RETRY_S: Final = 5

_SCRIPT: Final = Path(__file__).with_name("accept.lua").read_text(encoding="utf-8")
_FULL: Final = b"full"

Via = Literal["bearer", "signature", "both", "api"]


class Status(StrEnum):
    """What became of a notification."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    IGNORED = "ignored"


class Incoming(NamedTuple):
    """A notification that was verified and understood.

    ``identity`` is a hex SHA-256. ``dated`` says whether its sender dated it, which makes an equal
    one a repetition rather than news. No ``scopes`` means that it is to be ignored.
    """

    identity: str
    dated: bool
    event_type: str
    scopes: tuple[Scope, ...]
    via: Via


class Receipt(NamedTuple):
    """What became of a notification, and the id under which it can be looked up.

    The id of a duplicate is the first one's.
    """

    status: Status
    id: str


class _Waiting(NamedTuple):
    note: Incoming
    answer: asyncio.Future[Receipt]


class Inbox:
    """The inbox of one tenant, as one process writes to it."""

    def __init__(
        self,
        redis: Redis,
        schema: Schema,
        tenant: str,
        *,
        now_ms: Callable[[], int],
        dedupe: timedelta,
        limit: int,
        wake: Callable[[], None],
    ) -> None:
        """Take what the inbox needs.

        Args:
            redis: A client that never retries: a repeated accept would be a second one.
            schema: Asked before the first write.
            tenant: Slug.
            now_ms: The clock, Unix milliseconds.
            dedupe: How long an equal notification is a duplicate.
            limit: Notifications that may be pending.
            wake: Called when a refresh has to be woken; at once and without waiting.
        """
        self._keys = Keyspace(tenant)
        self._schema = schema
        self._script = redis.register_script(_SCRIPT)
        self._now_ms = now_ms
        self._dedupe_ms = max(dedupe // timedelta(milliseconds=1), 1)
        self._limit = limit
        self._wake = wake
        self._queue: list[_Waiting] = []
        self._drain: asyncio.Task[None] | None = None

    async def accept(self, note: Incoming) -> Receipt:
        """Store one notification; it is in Redis when this returns.

        Raises:
            InboxFull: Too many are pending.
            StoreUnavailable: Redis is away or refuses; whether it was stored is not known.
            SchemaUnknown: Redis holds data this version must not touch.
        """
        answer: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(note, answer))
        if self._drain is None:
            # Its own task: a request that is given up takes nobody's answer with it.
            self._drain = asyncio.create_task(self._commit_queue())
        return await answer

    async def _commit_queue(self) -> None:
        """Commit until nobody waits, one script call at a time."""
        try:
            while self._queue:
                batch = [w for w in self._queue[:MAX_BATCH] if not w.answer.done()]
                del self._queue[:MAX_BATCH]
                if batch:
                    await self._commit(batch)
        finally:
            self._drain = None
            for waiting in self._queue:  # empty, unless this task was cancelled
                _fail(waiting, StoreUnavailable("shutting down"))
            self._queue.clear()

    async def _commit(self, batch: Sequence[_Waiting]) -> None:
        """Give every one of the batch its answer, whatever happens."""
        try:
            await self._schema.check()
            wake, receipts = await self._run([waiting.note for waiting in batch])
        except RedisError as error:
            for waiting in batch:
                _fail(waiting, _caused(StoreUnavailable("accept failed"), error))
        except asyncio.CancelledError:
            for waiting in batch:
                _fail(waiting, StoreUnavailable("shutting down"))
            raise
        except Exception as error:  # noqa: BLE001 - each waiter raises it in its own request
            for waiting in batch:
                _fail(waiting, error)
        else:
            if wake:
                self._wake()
            for waiting, receipt in zip(batch, receipts, strict=True):
                if receipt is None:
                    _fail(waiting, _full())
                elif not waiting.answer.done():
                    waiting.answer.set_result(receipt)

    async def _run(self, notes: Sequence[Incoming]) -> tuple[bool, list[Receipt | None]]:
        """Run the script; give whether a wake is due, and a receipt each, none if it was full.

        Keys: ``head``, ``inbox``, ``marks``, ``wake``, ``stats``, ``dedupe:<hash>`` of each.
        Atomic: all of it, see ``accept.lua``.
        """
        keys = self._keys
        names = [keys.head, keys.inbox, keys.marks, keys.wake, keys.stats]
        names += [keys.dedupe(note.identity) for note in notes]
        values: list[str | int] = [self._now_ms(), self._dedupe_ms, self._limit, WAKE_TTL_MS]
        for note in notes:
            values += [int(note.dated), note.event_type, " ".join(map(str, note.scopes)), note.via]
        reply = await self._script(keys=names, args=values)
        outcomes = zip(reply[1::2], reply[2::2], strict=True)
        return reply[0] == 1, [_receipt(status, id_) for status, id_ in outcomes]


def _receipt(status: bytes, id_: bytes) -> Receipt | None:
    return None if status == _FULL else Receipt(Status(status.decode()), id_.decode())


def _full() -> InboxFull:
    return InboxFull("Too many notifications are pending.", retry_after_s=FULL_RETRY_S)


def _caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def _fail(waiting: _Waiting, error: Exception) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(error)
