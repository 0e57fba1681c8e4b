"""Hear of the end in time: uvicorn waits for open requests before it ends the lifespan."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def announced(event: asyncio.Event) -> Iterator[None]:
    """Set an event as soon as the process is asked to end, and let the server know as before.

    uvicorn 0.54 has no hook for this moment: it waits for long polls and streams to end by
    themselves, and calls the lifespan afterwards. Outside the main thread, where Python gives no
    signals, the event is set when the lifespan ends.
    """
    loop = asyncio.get_running_loop()
    if threading.current_thread() is not threading.main_thread():
        try:
            yield
        finally:
            event.set()
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def heard(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(event.set)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    for number, handler in before.items():
        if callable(handler):  # otherwise nobody serves here who would have to be told
            signal.signal(number, heard)
    try:
        yield
    finally:
        event.set()
        for number, handler in before.items():
            if signal.getsignal(number) is heard:
                signal.signal(number, handler)
