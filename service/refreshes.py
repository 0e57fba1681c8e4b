"""Serve ``POST /v1/refresh``: a hint by hand, which goes the way of a notification.

An operator may let go with it what the removal brake holds back: the read that follows asks for it.
"""

import hashlib
import uuid
from pathlib import Path
from typing import Final

from redis.asyncio import Redis
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.auth import authorize
from service.bodies import check_media, parse_object, read_body
from service.inbox import Incoming
from service.receipts import receipt_response
from service.state import state_of
from workers.contract import logs
from workers.contract.errors import BadRequest
from workers.contract.keyspace import Keyspace
from workers.contract.scope import COLLECTION, Scope, ScopeKind, is_id

_RELEASE: Final = Path(__file__).with_name("release_brake.lua").read_text(encoding="utf-8")

EVENT_TYPE: Final = "cpdfeed.refresh"
_FORMS: Final = "Give one of scope, audience_id, requirement_id and release_brake."
_IDS: Final = {
    "audience_id": ScopeKind.AUDIENCE,
    "requirement_id": ScopeKind.REQUIREMENT,
}


_log = logs.get_logger(__name__)


async def ask_refresh(request: Request) -> Response:
    """Take a hint from a caller; every one is served, however equal to the last.

    Raises:
        BadRequest: The body is not exactly one of the four forms.
        Forbidden: ``insufficient_scope``; the brake is released by an ``admin`` alone.
        InboxFull: Too many are pending.
    """
    tenant = await authorize(request, "feed:write")
    state = state_of(request)
    check_media(request.headers)
    body = await read_body(request.headers, request.receive, state.settings.max_body_bytes)
    hint = parse_object(body)
    scope = read_scope(hint)
    if "release_brake" in hint:
        await authorize(request, "admin")
        await _release_brake(state.redis, tenant)
    note = Incoming(
        identity=hashlib.sha256(uuid.uuid4().bytes).hexdigest(),
        dated=False,
        event_type=EVENT_TYPE,
        scopes=(scope,),
        via="api",
    )
    receipt = await state.inboxes[tenant].accept(note)
    return receipt_response(receipt, tenant, state.settings)


async def _release_brake(redis: Redis, tenant: str) -> None:
    """Let go what the brake of a tenant holds back, if it is engaged.

    Keys: ``brake``. Atomic: see ``release_brake.lua``.
    """
    if await redis.register_script(_RELEASE)(keys=[Keyspace(tenant).brake]):
        _log.warning("brake.released", tenant=tenant)


def read_scope(body: dict[str, object]) -> Scope:
    """Give what is to be read again; whoever releases the brake has all of it read.

    Raises:
        BadRequest: The body is not exactly one of the four forms.
    """
    if len(body) != 1:
        raise BadRequest(_FORMS)
    ((name, value),) = body.items()
    if name == "scope":
        if value != COLLECTION.kind:
            raise BadRequest('The only scope is "collection".')
        return COLLECTION
    if name == "release_brake":
        if value is not True:
            raise BadRequest("release_brake can only be true.")
        return COLLECTION
    if name not in _IDS:
        raise BadRequest(_FORMS)
    if not is_id(value):
        raise BadRequest(f"{name} must be 24 hexadecimal digits.")
    return Scope(_IDS[name], str(value))


ROUTES: Final = [Route("/v1/refresh", ask_refresh, methods=["POST"])]
