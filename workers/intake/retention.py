"""Forget what is too old: notifications and the reads that covered them; changes of the log."""

from bisect import bisect_left
from datetime import datetime
from importlib.resources import files
from typing import Any, Final

import msgspec
import redis

from workers.contract.codec import pack_id, to_us, unpack_tombstone
from workers.contract.keyspace import Keyspace

MOST_TRIMMED: Final = 1_000
"""Changes dropped in one step: more would hold the server for too long."""
MOST_STEPS: Final = 20
"""Steps of one call: the rest goes with the next."""

DAY_MS: Final = 86_400_000
_TRIM: Final = (files("workers.intake") / "trim.lua").read_text()


class _Dated(msgspec.Struct):
    time: datetime


_dated: Final = msgspec.json.Decoder(_Dated)


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


def trim(
    store: redis.Redis, keys: Keyspace, token: str, now_ms: int, log_max: int, log_days: float
) -> int:
    """Drop the oldest changes beyond a number and an age; give how many went.

    The last change always stays. Ends early when the lease is lost, and after ``MOST_STEPS``.

    Args:
        store: The server.
        keys: Of the tenant.
        token: Of the lease.
        now_ms: The time.
        log_max: Changes to keep at most.
        log_days: Days to keep them.

    Keys: lease, changes, history, tombstones. Each step is atomic, and may run twice.
    """
    ends = store.pipeline(transaction=False)
    ends.xrange(keys.changes, count=1)
    ends.xrevrange(keys.changes, count=1)
    oldest, newest = ends.execute()
    if not oldest:
        return 0
    first, last = _sequence(oldest[0]), _sequence(newest[0])
    keep = max(first, last - log_max + 1)
    before_ms = now_ms - int(log_days * DAY_MS)
    if keep == first and _time_ms(oldest[0]) >= before_ms:
        return 0
    limit = min(last, first + MOST_TRIMMED * MOST_STEPS)
    keep = min(limit, max(keep, _first_since(store, keys, range(first, limit), before_ms)))
    for start in range(first, keep, MOST_TRIMMED):
        if not _drop(store, keys, token, start, min(start + MOST_TRIMMED, keep)):
            return start - first
    return keep - first


def _first_since(store: redis.Redis, keys: Keyspace, among: range, before_ms: int) -> int:
    """Give the first of these changes since then, or the one after them; times never go back."""

    def time_ms(sequence: int) -> int:
        found: Any = store.xrange(keys.changes, min=f"{sequence}-0", count=1)
        return _time_ms(found[0])

    return among.start + bisect_left(among, before_ms, key=time_ms)


def _drop(store: redis.Redis, keys: Keyspace, token: str, start: int, keep: int) -> bool:
    """Drop the changes from one up to, but not with, another; False when the lease is lost.

    Keys: lease, changes, history, tombstones. Atomic.
    """
    entries: Any = store.xrange(keys.changes, min=f"{start}-0", max=f"({keep}-0")
    changed = {fields[b"requirement_id"]: fields[b"type"] for _, fields in entries}
    changed.pop(b"", None)
    ids = [pack_id(id_.decode()) for id_ in changed]
    removed = [
        pack_id(id_.decode())
        for id_, type_ in changed.items()
        if type_ == b"cpd.requirement.removed"
    ]
    tombstones: Any = store.hmget(keys.tombstones, removed) if removed else []
    buried = [
        id_
        for id_, packed in zip(removed, tombstones, strict=True)
        if packed is not None and unpack_tombstone(packed).sequence < keep
    ]
    script = store.register_script(_TRIM)
    done = script(
        [keys.lease, keys.changes, keys.history, keys.tombstones],
        [token, keep, len(ids), *ids, *buried],
    )
    return done is not None


def _sequence(entry: tuple[bytes, Any]) -> int:
    return int(entry[0].partition(b"-")[0])


def _time_ms(entry: tuple[Any, dict[bytes, bytes]]) -> int:
    return to_us(_dated.decode(entry[1][b"event"]).time) // 1000
