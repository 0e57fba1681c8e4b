"""Serve what ever happened to one requirement: the changes of its id, oldest first."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct
from redis.asyncio import Redis
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.auth import authorize
from service.changelog import (
    HEAD_FIELDS,
    REBASELINE,
    ChangeLog,
    Entry,
    Head,
    head_of,
    standing,
    unpack_sequences,
)
from service.parameters import Limit, read_cursor, read_id, read_query
from service.state import state_of
from workers.contract.codec import Cursor, pack_id
from workers.contract.errors import Gone, NotFound
from workers.contract.keyspace import Keyspace


class HistoryQuery(Struct, frozen=True):
    """What a page of a history can be asked for."""

    limit: Limit = 100
    after: Annotated[str, Meta(description="one cursor")] | None = None


class Page(Struct, frozen=True):
    """One answer: events as they were written; ``cursor`` is null on the last page."""

    requirement_id: str
    history: list[msgspec.Raw]
    sequence: int
    digest: str
    cursor: str | None


async def read_history(request: Request) -> Response:
    """Answer with changes of one requirement, as far as the log reaches back.

    Raises:
        BadRequest: The id, a parameter or the cursor is malformed.
        Gone: The cursor is of another epoch, or ahead of the log.
        NotFound: There is and was none by that id.
        TemporarilyUnavailable: ``no_baseline``.
    """
    tenant = await authorize(request, "feed:read")
    query = read_query(request, HistoryQuery)
    id_ = read_id(request)
    after = None if query.after is None else read_cursor(query.after)
    redis = state_of(request).redis
    head, sequences = await _read_index(redis, tenant, id_)
    if after is not None and (after.epoch != head.epoch or after.sequence > head.sequence):
        raise Gone(REBASELINE)
    due = [sequence for sequence in sequences if after is None or sequence > after.sequence]
    wanted = due[: query.limit]
    entries = await ChangeLog(redis).pick(tenant, head.epoch, wanted)
    page = Page(
        id_,
        [msgspec.Raw(entry.event) for entry in entries.values()],
        head.sequence,
        head.digest,
        str(Cursor(head.epoch, wanted[-1])) if len(due) > len(wanted) else None,
    )
    return Response(msgspec.json.encode(page), media_type="application/json")


async def _read_index(redis: Redis, tenant: str, id_: str) -> tuple[Head, list[int]]:
    """Give the head and the sequences of a requirement's changes that are in the log.

    Keys: ``head``, ``history``, ``rows``, ``tombstones``, ``changes``. Atomic: one transaction.

    Raises:
        NotFound: There is and was none by that id.
        TemporarilyUnavailable: ``no_baseline``.
    """
    keys, field = Keyspace(tenant), pack_id(id_)
    async with redis.pipeline(transaction=True) as transaction:
        transaction.hmget(keys.head, HEAD_FIELDS)
        transaction.hget(keys.history, field)
        transaction.hexists(keys.rows, field)
        transaction.hexists(keys.tombstones, field)
        transaction.xrange(keys.changes, count=1)
        values, packed, *known, oldest = await transaction.execute()
    head = standing(head_of(values))
    if packed is None and not any(known):
        raise NotFound("There is and was no requirement by this id.")
    first = Entry.parse(head.epoch, oldest[0]).cursor.sequence if oldest else head.sequence + 1
    return head, [sequence for sequence in unpack_sequences(packed) if sequence >= first]


ROUTES: Final = [Route("/v1/requirements/{id}/history", read_history)]
