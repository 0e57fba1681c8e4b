"""Strike a worker at any of its messages to the server, and put an older state of it back.

A worker is a process with its memory: a context of its own, over a store that counts messages. A
message is what is sent at once: a command, a script, or a whole pipeline.
"""

import threading
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, NamedTuple, TypeVar

import redis
from redis.client import Pipeline

from workers import pipeline
from workers.context import Context
from workers.contract.calls import Call

_T = TypeVar("_T")


class Died(BaseException):
    """The process is gone. Nothing in it may catch this, and none of its messages leave any more.

    Not an ``Exception``: what the pipeline does on errors, a killed process does not do.
    """


class Moment(Enum):
    """When a worker is struck."""

    BEFORE = auto()
    """Its message has not left."""
    AFTER = auto()
    """The server has done what the message says, and its answer is lost."""


class Blow(NamedTuple):
    """What happens at a worker's message of that number, counted from 1."""

    message: int
    moment: Moment
    strike: Callable[[], None]


class Fate:
    """What befalls one process."""

    def __init__(self) -> None:
        self.dead = False
        self._sent = 0
        self._blow: Blow | None = None
        self._repeated: int | None = None

    def await_blow(self, blow: Blow | None) -> None:
        """Begin to count messages, and strike at one of them."""
        self._sent, self._blow, self._repeated = 0, blow, None

    def await_repetition(self, message: int) -> None:
        """Begin to count messages; one of them is sent twice, as a client does that retries."""
        self._sent, self._blow, self._repeated = 0, None, message

    def die(self) -> None:
        """End the process.

        Raises:
            Died: Always.
        """
        self.dead = True
        raise Died

    def send(self, message: Callable[[], _T]) -> _T:
        """Send a message, if it comes to that.

        Raises:
            Died: The process is gone, or died of this message.
            redis.ConnectionError: It is gone; to its other threads.
        """
        if threading.current_thread() is not threading.main_thread():
            # The lease's keeper and the requests under way send when the clock and the platform
            # let them: were they counted, no example would come out the same twice.
            if self.dead:
                raise redis.ConnectionError
            return message()
        if self.dead:
            raise Died
        self._sent += 1
        if self._sent == self._repeated:
            message()
        blow = self._blow
        if blow is None or blow.message != self._sent:
            return message()
        self._blow = None
        if blow.moment is Moment.BEFORE:
            blow.strike()
            return message()
        answer = message()
        blow.strike()
        return answer


class FatefulStore(redis.Redis):
    """A client of the server whose process has a fate."""

    fate: Fate

    def execute_command(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as the client's
        """Send one command."""
        send: Any = super().execute_command
        return self.fate.send(lambda: send(*args, **options))

    def pipeline(self, transaction: bool = True, _shard_hint: object = None) -> Pipeline:
        """Give a pipeline that is sent as one message."""
        made = _FatefulPipeline(self.connection_pool, self.response_callbacks, transaction, None)
        made.fate = self.fate
        return made


class _FatefulPipeline(Pipeline):
    fate: Fate

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        commands, send = list(self.command_stack), super().execute

        def message() -> list[Any]:
            self.command_stack = list(commands)
            return send(raise_on_error)

        return self.fate.send(message)


class Process:
    """A refresh worker's process: what it remembers, and what befalls it."""

    def __init__(self, context: Context, url: str) -> None:
        self.fate = Fate()
        store = FatefulStore(connection_pool=redis.ConnectionPool.from_url(url))
        store.fate = self.fate
        context.store = store
        self._context = context

    def refresh(self) -> list[Call]:
        """Do as the task does."""
        return pipeline.refresh(self._context, "acme")

    def sweep(self) -> list[Call]:
        """Do as the task does."""
        return pipeline.sweep(self._context)

    def close(self) -> None:
        """Let go of its connections."""
        self._context.store.connection_pool.disconnect()


class Backup:
    """All keys of a server as they once were."""

    def __init__(self, store: redis.Redis) -> None:
        """Take them, with the time at which they expire."""
        self._keys: list[tuple[bytes, int, bytes]] = []
        for key in store.scan_iter():
            expires_ms: Any = store.pexpiretime(key)
            value: Any = store.dump(key)
            if value is not None:
                self._keys.append((key, max(expires_ms, 0), value))

    def put_back(self, store: redis.Redis) -> None:
        """Make the server what it was, as one does with a copy of its files."""
        store.flushall()
        for key, expires_ms, value in self._keys:
            store.restore(key, expires_ms, value, absttl=True)
