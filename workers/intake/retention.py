"""Forget notifications that are too old to be looked up, and the reads that covered them."""

from typing import Any

import redis

from workers.contract.keyspace import Keyspace


def forget(store: redis.Redis, keys: Keyspace, before_ms: int) -> None:
    """Trim the inbox to what was received since, and the reads to what that needs.

    A notification that is still pending keeps its mark, so it is covered all the same.

    Keys: inbox, reads. May run twice.
    """
    store.xtrim(keys.inbox, minid=f"{before_ms}-0", approximate=False)
    oldest: Any = store.xrange(keys.inbox, count=1)
    if oldest:
        sequence = oldest[0][0].decode().partition("-")[2]
        store.xtrim(keys.reads, minid=f"{sequence}-0", approximate=False)
