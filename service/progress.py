"""Read how far each tenant has come: its counters, what is pending, what is held back."""

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct
from redis.asyncio import Redis

from workers.contract.keyspace import STATS, Keyspace
from workers.contract.model import Strength

_BATCH: Final = 100
"""Tenants of one round trip; between two of them, others are served."""
_HEAD: Final = ["sequence", "pending", "oldest_ms", "complete_ms"]
_BRAKE: Final = ["strength", "since_ms", "suspects", "rows", "released"]


class Held(Struct, frozen=True):
    """Removals that the brake holds back: what lets them go, since when, how many of how many."""

    strength: Strength
    since_ms: int
    suspects: int
    rows: int
    released: bool


class Progress(Struct, frozen=True):
    """How far a tenant has come; ``counters`` has every name of ``keyspace.STATS``."""

    counters: dict[str, int]
    sequence: int
    rows: int
    pending: int
    lag_s: float
    complete_ms: int | None
    quarantined: int
    brake: Held | None


async def read_progress(redis: Redis, tenants: Sequence[str], now_ms: int) -> list[Progress]:
    """Give the progress of tenants, in their order, many of them in one round trip.

    Keys: ``stats``, ``head``, ``rows``, ``quarantine``, ``brake``.
    """
    found: list[Progress] = []
    for start in range(0, len(tenants), _BATCH):
        found += await _read_batch(redis, tenants[start : start + _BATCH], now_ms)
    return found


async def _read_batch(redis: Redis, tenants: Sequence[str], now_ms: int) -> list[Progress]:
    pipeline = redis.pipeline(transaction=False)
    for tenant in tenants:
        keys = Keyspace(tenant)
        pipeline.hmget(keys.stats, list(STATS))
        pipeline.hmget(keys.head, _HEAD)
        pipeline.hlen(keys.rows)
        pipeline.hlen(keys.quarantine)
        pipeline.hmget(keys.brake, _BRAKE)
    replies = iter(await pipeline.execute())
    return [
        _progress(*parts, now_ms=now_ms)
        for parts in zip(replies, replies, replies, replies, replies, strict=True)
    ]


def coverage_lag_s(pending: bytes | None, oldest_ms: bytes | None, now_ms: int) -> float:
    """Give for how long the oldest pending notification has waited at most, 0 if none is."""
    if not int(pending or 0) or oldest_ms is None:
        return 0.0
    return max(now_ms - int(oldest_ms), 0) / 1000


def _progress(
    stats: list[Any],
    head: list[Any],
    rows: int,
    quarantined: int,
    brake: list[Any],
    *,
    now_ms: int,
) -> Progress:
    sequence, pending, oldest_ms, complete_ms = head
    return Progress(
        {name: int(count or 0) for name, count in zip(STATS, stats, strict=True)},
        int(sequence or 0),
        rows,
        int(pending or 0),
        coverage_lag_s(pending, oldest_ms, now_ms),
        None if complete_ms is None else int(complete_ms),
        quarantined,
        _held(*brake),
    )


def _held(
    strength: bytes | None,
    since_ms: bytes | None,
    suspects: bytes | None,
    rows: bytes | None,
    released: bytes | None,
) -> Held | None:
    if strength is None:
        return None
    return Held(
        Strength(strength.decode()),
        int(since_ms or 0),
        int(suspects or 0),
        int(rows or 0),
        released == b"1",
    )
