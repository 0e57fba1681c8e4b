"""Tell operators how a tenant is doing: what was counted, what waits, and what does not fit."""

from typing import Any, Final

import msgspec
from msgspec import Struct
from redis.asyncio import Redis
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.auth import authorize
from service.parameters import Limit, NoQuery, read_query
from service.progress import Progress, read_progress
from service.state import state_of
from workers.contract.codec import ms_text
from workers.contract.keyspace import Keyspace
from workers.contract.model import Quarantined

_misfits: Final = msgspec.json.Decoder(Quarantined)


class QuarantineQuery(Struct, frozen=True):
    """What the quarantine can be asked for."""

    limit: Limit = 1000


class Misfit(Struct, frozen=True):
    """A row that does not fit the schema, as text; ``requirement_id`` is null where it has none."""

    requirement_id: str | None
    page: int
    reason: str
    row: str
    since: str
    at: str


class Quarantine(Struct, frozen=True):
    """One answer: the first misfits by page and id, and how many there are in all."""

    quarantine: list[Misfit]
    count: int


async def read_quarantine(request: Request) -> Response:
    """Answer with the rows that do not fit the schema.

    Raises:
        BadRequest: A parameter is out of its bounds.
    """
    tenant = await authorize(request, "feed:read")
    query = read_query(request, QuarantineQuery)
    misfits = await _misfits_of(state_of(request).redis, tenant)
    return _json(Quarantine(misfits[: query.limit], len(misfits)))


async def _misfits_of(redis: Redis, tenant: str) -> list[Misfit]:
    """Give what is kept apart, by page and id.

    Keys: ``quarantine``.
    """
    values: list[Any] = await redis.hvals(Keyspace(tenant).quarantine)
    kept = sorted(map(_misfits.decode, values), key=_place)
    return [
        Misfit(
            misfit.requirement_id,
            misfit.page,
            misfit.reason,
            misfit.row,
            ms_text(misfit.since_ms),
            ms_text(misfit.at_ms),
        )
        for misfit in kept
    ]


def _place(misfit: Quarantined) -> tuple[int, str, str]:
    return misfit.page, misfit.requirement_id or "", misfit.row


async def read_stats(request: Request) -> Response:
    """Answer with what was counted since the first start, and how the tenant stands.

    Raises:
        BadRequest: A parameter was given.
    """
    tenant = await authorize(request, "feed:read")
    read_query(request, NoQuery)
    state = state_of(request)
    [progress] = await read_progress(state.redis, [tenant], state.now_ms())
    return _json(_stats(progress))


def _stats(progress: Progress) -> dict[str, Any]:
    """Give the answer: the counters under their own names, and what is not counted."""
    counters, held = progress.counters, progress.brake
    changes, complete_ms = counters["changes"], progress.complete_ms
    return {
        **counters,
        "reads_per_change": counters["reads"] / changes if changes else None,
        "sequence": progress.sequence,
        "rows": progress.rows,
        "pending": progress.pending,
        "coverage_lag_s": progress.lag_s,
        "last_scan": None if complete_ms is None else ms_text(complete_ms),
        "quarantined": progress.quarantined,
        "brake": held
        and {
            "strength": held.strength,
            "since": ms_text(held.since_ms),
            "suspects": held.suspects,
            "rows": held.rows,
            "released": held.released,
        },
    }


def _json(answer: object) -> Response:
    return Response(msgspec.json.encode(answer), media_type="application/json")


ROUTES: Final = [
    Route("/v1/quarantine", read_quarantine),
    Route("/v1/stats", read_stats),
]
