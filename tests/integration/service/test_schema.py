"""The version of the data in Redis."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import redis
from redis.asyncio import Redis

from service.schema import Schema
from workers.contract.errors import SchemaUnknown


def checking(url: str, use: Callable[[Schema], Awaitable[None]]) -> None:
    """Do something with the check."""

    async def run() -> None:
        client = Redis.from_url(url)
        try:
            await use(Schema(client))
        finally:
            await client.aclose()

    asyncio.run(run())


def test_empty_store_gets_our_version(redis_url: str, store: redis.Redis) -> None:
    """The first process writes which version the data will have."""
    checking(redis_url, Schema.check)
    assert store.get("cpdfeed:schema") == b"1"


def test_our_version_is_accepted(redis_url: str, store: redis.Redis) -> None:
    """Data of our version is ours."""
    store.set("cpdfeed:schema", "1")
    checking(redis_url, Schema.check)


@pytest.mark.parametrize("found", [b"2", b"0", b"", b"\xff", b"1.0", b"x" * 1000])
def test_other_version_is_refused(redis_url: str, store: redis.Redis, found: bytes) -> None:
    """Data of any other version is refused, and left as it is."""
    store.set("cpdfeed:schema", found)

    async def use(schema: Schema) -> None:
        with pytest.raises(SchemaUnknown) as refusal:
            await schema.check()
        assert len(refusal.value.found) <= 20

    checking(redis_url, use)
    assert store.get("cpdfeed:schema") == found


def test_version_is_asked_for_once(redis_url: str, store: redis.Redis) -> None:
    """Once it is known, a check costs nothing; a look asks again."""

    async def use(schema: Schema) -> None:
        await schema.check()
        store.set("cpdfeed:schema", "2")
        await schema.check()
        with pytest.raises(SchemaUnknown):
            await schema.look()
        with pytest.raises(SchemaUnknown):
            await schema.check()

    checking(redis_url, use)
