"""Hand wake-up calls to the broker, away from the requests that caused them.

What is handed over here may be lost: the sweep of the workers finds what nobody was woken for.
"""

import queue
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from workers.contract import logs
from workers.contract.calls import Call

MAX_WAITING: Final = 1000
CLOSE_WAIT: Final = timedelta(seconds=1)

_log = logs.get_logger(__name__)


class Waker:
    """One thread that enqueues, so that a broker that hangs holds up nobody else."""

    def __init__(self, enqueue: Callable[[Call], None], max_waiting: int = MAX_WAITING) -> None:
        self._enqueue = enqueue
        self._waiting: queue.Queue[Call | None] = queue.Queue(max_waiting)
        # A daemon: a broker that never answers must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="waker", daemon=True)
        self._thread.start()

    def wake(self, call: Call) -> None:
        """Take a call and return at once; when too many wait, it is dropped and logged."""
        try:
            self._waiting.put_nowait(call)
        except queue.Full:
            _log.warning("wake_dropped", task=call.task, waiting=self._waiting.maxsize)

    def close(self, wait: timedelta = CLOSE_WAIT) -> None:
        """Hand over what waits, for no longer than ``wait``."""
        try:
            self._waiting.put_nowait(None)
        except queue.Full:
            return
        self._thread.join(wait.total_seconds())

    def _run(self) -> None:
        while (call := self._waiting.get()) is not None:
            try:
                self._enqueue(call)
            except Exception as error:  # noqa: BLE001 - brokers differ, and none may end this thread
                _log.warning("wake_failed", task=call.task, error=type(error).__name__)
