"""Know what audiences are called, for people who read a change.

A name is part of a change's digest, so it is read before the commit: once, shortly, within the
request budget, and null when it cannot be had then. A renamed audience is no change of a
requirement; its new name is seen when the known one has become old.
"""

import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import redis
from msgspec.structs import replace

from workers.contract.codec import pack_id, pack_name, unpack_name
from workers.contract.keyspace import Keyspace
from workers.contract.model import Name
from workers.upstream.client import Client

MOST_ASKED: Final = 20
"""Audiences asked for at once: as many as the budget lets through without a wait."""
LONGEST_WAIT_S: Final = 2.0


class Names:
    """The names of a tenant's audiences, kept in Redis; one for each round.

    All that a round asks takes no longer than one short read may. An audience that nobody has
    named yet is asked for with each of its changes.
    """

    def __init__(
        self,
        store: redis.Redis,
        keys: Keyspace,
        client: Client,
        now_ms: Callable[[], int],
        known_s: float,
    ) -> None:
        self._store = store
        self._keys = keys
        self._client = client
        self._now_ms = now_ms
        self._known_ms = int(known_s * 1000)
        self._left_s = LONGEST_WAIT_S

    def of(self, audiences: Collection[str]) -> Mapping[str, Name]:
        """Give the names of these audiences, of those that have one.

        An audience that is gone, or that we may not ask about, keeps the name it had.

        Keys: names. May run twice.
        """
        wanted = sorted(audiences)
        found: Any = self._store.hmget(self._keys.names, [pack_id(id_) for id_ in wanted])
        known = {
            id_: unpack_name(packed)
            for id_, packed in zip(wanted, found, strict=True)
            if packed is not None
        }
        now_ms = self._now_ms()
        old = [
            id_
            for id_ in wanted
            if id_ not in known or known[id_].asked_ms + self._known_ms <= now_ms
        ]
        if not old or self._left_s <= 0:
            return known
        begun = time.monotonic()
        answers = self._client.read_names(old[:MOST_ASKED], self._left_s)
        self._left_s -= time.monotonic() - begun
        fresh: dict[str, Name] = {}
        for id_, told in answers.items():
            if told is not None:
                fresh[id_] = Name(told.name, told.reference, now_ms)
            elif id_ in known:
                fresh[id_] = replace(known[id_], asked_ms=now_ms)
        if fresh:
            mapping = {pack_id(id_): pack_name(name) for id_, name in fresh.items()}
            self._store.hset(self._keys.names, mapping=mapping)  # type: ignore[arg-type]
        return known | fresh
