"""Which places are remembered, so that their log need not be walked again."""

import asyncio
from collections.abc import Sequence

import pytest
import redis
from redis.asyncio import Redis

from service.changelog import ChangeLog
from service.past import Pasts
from tests.integration.service.feed.conftest import Log
from workers.contract.codec import Cursor
from workers.contract.errors import Gone


@pytest.fixture
def wide(log: Log) -> Log:
    """Give a log in which each of 40 changes touches another requirement."""
    log.baseline()
    log.put(*(log.row(number) for number in range(40)))
    return log


def forgotten(
    log: Log, url: str, places: Sequence[int], *, places_kept: int, touched_kept: int
) -> list[int]:
    """Ask for places in turn; give those that have to be looked up anew."""

    async def run() -> list[int]:
        async with Redis.from_url(url) as client:
            changes = ChangeLog(client)
            pasts = Pasts(changes, places_kept=places_kept, touched_kept=touched_kept)
            head = await changes.head("acme")
            assert head is not None
            for sequence in places:
                past = await pasts.at("acme", head, Cursor("e1", sequence))
                assert len(past.touched) == head.sequence - sequence
            log.store.xtrim(log.keys.changes, maxlen=0, approximate=False)
            missing = []
            for sequence in dict.fromkeys(places):
                try:
                    await pasts.at("acme", head, Cursor("e1", sequence))
                except Gone:
                    missing.append(sequence)
            return missing

    return asyncio.run(run())


def test_places_asked_for_last_are_remembered(wide: Log, redis_url: str) -> None:
    """As many places as are kept are remembered, and asking for one again keeps it."""
    asked = [1, 2, 3, 1, 4]
    assert forgotten(wide, redis_url, asked, places_kept=3, touched_kept=1000) == [2]


def test_places_that_take_much_room_are_fewer(wide: Log, redis_url: str) -> None:
    """However many places there may be, what they hold between them is bounded."""
    asked = [1, 2, 31, 32]
    assert forgotten(wide, redis_url, asked, places_kept=100, touched_kept=60) == [1]


def test_place_that_is_asked_for_is_kept_whatever_it_takes(wide: Log, redis_url: str) -> None:
    """A place larger than all that may be kept is served, and remembered until the next."""
    assert forgotten(wide, redis_url, [1], places_kept=1, touched_kept=1) == []


def test_place_that_was_not_reached_is_not_remembered(
    wide: Log, redis_url: str, store: redis.Redis
) -> None:
    """Who asks for a place off the log is refused each time."""
    store.xtrim(wide.keys.changes, minid="5-0", approximate=False)

    async def run() -> None:
        async with Redis.from_url(redis_url) as client:
            changes = ChangeLog(client)
            head = await changes.head("acme")
            assert head is not None
            pasts = Pasts(changes)
            for _ in range(2):
                with pytest.raises(Gone):
                    await pasts.at("acme", head, Cursor("e1", 2))

    asyncio.run(run())
