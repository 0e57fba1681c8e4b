"""Handing calls to a broker that may hang, fail or be away."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta

from structlog.testing import capture_logs

from service.waker import Waker
from workers.contract.calls import Call, refresh


def wait_until(true: Callable[[], object], within_s: float = 5) -> None:
    """Wait for what another thread does."""
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"


def test_calls_reach_the_broker_in_order() -> None:
    """What is handed over is enqueued, one after another, before the end."""
    taken: list[Call] = []
    waker = Waker(taken.append)
    calls = [refresh(f"tenant-{number}") for number in range(100)]
    for call in calls:
        waker.wake(call)
    waker.close(timedelta(seconds=5))
    assert taken == calls


def test_failing_broker_ends_nothing() -> None:
    """A call that fails is logged by its kind, and the next one is tried."""
    taken: list[Call] = []

    def enqueue(call: Call) -> None:
        taken.append(call)
        if len(taken) == 1:
            raise ConnectionError("redis://:password@host")

    with capture_logs() as logged:
        waker = Waker(enqueue)
        waker.wake(refresh("a"))
        waker.wake(refresh("b"))
        waker.close(timedelta(seconds=5))
    assert len(taken) == 2
    assert logged == [
        {
            "event": "wake_failed",
            "log_level": "warning",
            "task": "cpdfeed.refresh",
            "error": "ConnectionError",
        }
    ]


def test_hanging_broker_holds_up_nobody() -> None:
    """While the broker hangs calls wait, then are dropped and logged; the end is prompt."""
    released, hanging = threading.Event(), threading.Event()

    def hang(_: Call) -> None:
        hanging.set()
        released.wait(60)

    try:
        with capture_logs() as logged:
            waker = Waker(hang, max_waiting=3)
            began = time.monotonic()
            waker.wake(refresh("first"))
            wait_until(hanging.is_set)
            for _ in range(5):
                waker.wake(refresh("acme"))
            waker.close(timedelta(milliseconds=50))
            assert time.monotonic() - began < 5
        assert [entry["event"] for entry in logged] == ["wake_dropped"] * 2
    finally:
        released.set()


def test_end_does_not_wait_for_a_hanging_broker() -> None:
    """With room to say that it is the end, no more than the wait is spent."""
    released, hanging = threading.Event(), threading.Event()

    def hang(_: Call) -> None:
        hanging.set()
        released.wait(60)

    try:
        waker = Waker(hang)
        waker.wake(refresh("acme"))
        wait_until(hanging.is_set)
        began = time.monotonic()
        waker.close(timedelta(milliseconds=50))
        assert time.monotonic() - began < 5
    finally:
        released.set()
