"""Hearing of the end in time."""

import asyncio
import signal
from types import FrameType

from service.shutdown import announced


def test_signal_is_announced_and_passed_on() -> None:
    """Whoever waits hears of the signal at once, and the server's own handler too."""
    heard: list[int] = []

    def serve(number: int, _: FrameType | None) -> None:
        heard.append(number)

    before = signal.signal(signal.SIGTERM, serve)
    try:

        async def run() -> None:
            event = asyncio.Event()
            with announced(event):
                signal.raise_signal(signal.SIGTERM)
                await asyncio.wait_for(event.wait(), 5)

        asyncio.run(run())
        assert heard == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) is serve
    finally:
        signal.signal(signal.SIGTERM, before)


def test_default_handler_is_left_alone() -> None:
    """Where nobody handles a signal, it goes on to end the process as before."""

    async def run() -> None:
        with announced(asyncio.Event()):
            assert signal.getsignal(signal.SIGTERM) is before

    before = signal.getsignal(signal.SIGTERM)
    assert before is signal.SIG_DFL
    asyncio.run(run())


def test_end_without_a_signal_is_announced() -> None:
    """When the block ends, so does the waiting; outside the main thread that is all there is."""

    async def run() -> None:
        event = asyncio.Event()
        with announced(event):
            assert not event.is_set()
        assert event.is_set()

    def in_a_thread() -> None:
        asyncio.run(run())

    async def both() -> None:
        await run()
        await asyncio.to_thread(in_a_thread)

    asyncio.run(both())
