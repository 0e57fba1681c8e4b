"""Refuse data of a version this code does not know, before anything is written beside it."""

from redis.asyncio import Redis

from workers.contract.errors import SchemaUnknown
from workers.contract.keyspace import SCHEMA_KEY, SCHEMA_VERSION


class Schema:
    """The version of the data in Redis, looked at until it is known once."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._known = False

    async def check(self) -> None:
        """Make sure that Redis holds data of our version, or none; costs nothing once known.

        Raises:
            SchemaUnknown: It holds another version's.
            RedisError: It cannot be asked.
        """
        if not self._known:
            await self.look()

    async def look(self) -> None:
        """Ask Redis, even if it was asked before; an empty one gets our version.

        Keys: ``cpdfeed:schema``. Atomic: SET NX, so two first processes agree.

        Raises:
            SchemaUnknown: It holds another version's.
            RedisError: It cannot be asked.
        """
        self._known = False
        await self._redis.set(SCHEMA_KEY, SCHEMA_VERSION, nx=True)
        found = await self._redis.get(SCHEMA_KEY)
        if found != SCHEMA_VERSION.encode():
            raise SchemaUnknown(ascii(found)[:20], SCHEMA_VERSION)
        self._known = True
