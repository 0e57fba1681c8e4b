"""Serve ``/livez`` and ``/readyz``: counts and states, nothing private, no token needed."""

from collections.abc import Sequence
from typing import Any, Final, Literal

from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.progress import coverage_lag_s
from service.state import State, state_of
from workers.contract.errors import SchemaUnknown
from workers.contract.keyspace import Keyspace


class Durability(Struct, frozen=True):
    """What the server promises about an acknowledged write."""

    appendonly: str
    appendfsync: str
    promise: Literal["disk", "memory", "unknown"]
    detail: str


async def say_alive(_: Request) -> Response:
    """Say that the process serves; nothing else is touched."""
    return JSONResponse({"status": "ok"})


async def say_ready(request: Request) -> Response:
    """Say whether notifications can be accepted; a weaker durability is said, not a failure."""
    checks = await _check(state_of(request))
    ready = all(check.get("ok", True) for check in checks.values())
    status = "ready" if ready else "unready"
    return JSONResponse(
        {"status": status, "checks": checks},
        200 if ready else 503,
        {"Cache-Control": "no-store"},
    )


async def _check(state: State) -> dict[str, dict[str, Any]]:
    schema = {"ok": True}
    try:
        try:
            await state.schema.look()
        except SchemaUnknown:
            schema = {"ok": False}
        durability = await read_durability(state.redis)
        tenants = await _count(state.redis, list(state.settings.tenants), state.now_ms())
    except RedisError:
        return {"redis": {"ok": False}}
    return {
        "redis": {"ok": True},
        "schema": schema,
        "durability": {
            "appendonly": durability.appendonly,
            "appendfsync": durability.appendfsync,
            "promise": durability.promise,
            "detail": durability.detail,
        },
        "tenants": tenants,
    }


async def _count(redis: Redis, tenants: Sequence[str], now_ms: int) -> dict[str, int | float]:
    """Count tenants with a baseline or a brake, and what is pending in all of them.

    The coverage lag is that of the oldest notification that no read covers; a brake needs a look
    and keeps nothing from being accepted.
    """
    pipeline = redis.pipeline(transaction=False)
    for tenant in tenants:
        keys = Keyspace(tenant)
        pipeline.hmget(keys.head, "baseline_ms", "pending", "oldest_ms")
        pipeline.hexists(keys.brake, "strength")
    replies = await pipeline.execute()
    heads = replies[::2]
    return {
        "configured": len(tenants),
        "with_baseline": sum(baseline is not None for baseline, _, _ in heads),
        "pending": sum(int(pending or 0) for _, pending, _ in heads),
        "coverage_lag_s": max(
            (coverage_lag_s(pending, oldest, now_ms) for _, pending, oldest in heads), default=0.0
        ),
        "brakes_engaged": sum(replies[1::2]),
    }


async def read_durability(redis: Redis) -> Durability:
    """Find out what the server promises.

    Hosted servers may forbid CONFIG; INFO then tells whether there is an append-only file, not
    when it is synced.

    Raises:
        RedisError: The server cannot be asked.
    """
    try:
        found = await redis.config_get("appendonly", "appendfsync")
    except ResponseError:
        found = {}
    appendonly = found.get("appendonly")
    appendfsync = found.get("appendfsync") or _UNTOLD
    if appendonly is None:
        persistence = await redis.info("persistence")
        appendonly = {0: "no", 1: "yes"}.get(int(persistence.get("aof_enabled", -1)), _UNTOLD)
    if appendonly == "no":
        return Durability(appendonly, appendfsync, "memory", _IN_MEMORY)
    if _UNTOLD in {appendonly, appendfsync}:
        return Durability(appendonly, appendfsync, "unknown", _NOT_TOLD)
    if appendfsync == "always":
        return Durability(appendonly, appendfsync, "disk", _ON_DISK)
    return Durability(appendonly, appendfsync, "memory", _SOON_ON_DISK)


_UNTOLD: Final = "unknown"
_ON_DISK: Final = "An accepted notification is on this server's disk before it is answered."
_SOON_ON_DISK: Final = "An accepted notification reaches the disk a moment after it is answered."
_IN_MEMORY: Final = "An accepted notification is lost if the server restarts without saving."
_NOT_TOLD: Final = "The server does not tell when it writes to disk."

ROUTES: Final = [
    Route("/livez", say_alive, methods=["GET"]),
    Route("/readyz", say_ready, methods=["GET"]),
]
