"""Serve ``POST /v1/refresh``: a hint by hand, which goes the way of a notification."""

import hashlib
import uuid
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.auth import authorize
from service.bodies import check_media, parse_object, read_body
from service.inbox import Incoming
from service.receipts import receipt_response
from service.state import state_of
from workers.contract.errors import BadRequest
from workers.contract.scope import COLLECTION, Scope, ScopeKind, is_id

EVENT_TYPE: Final = "cpdfeed.refresh"
_IDS: Final = {
    "audience_id": ScopeKind.AUDIENCE,
    "requirement_id": ScopeKind.REQUIREMENT,
}


async def ask_refresh(request: Request) -> Response:
    """Take a hint from a caller; every one is served, however equal to the last."""
    tenant = await authorize(request, "feed:write")
    state = state_of(request)
    check_media(request.headers)
    body = await read_body(request.headers, request.receive, state.settings.max_body_bytes)
    note = Incoming(
        identity=hashlib.sha256(uuid.uuid4().bytes).hexdigest(),
        dated=False,
        event_type=EVENT_TYPE,
        scopes=(read_scope(parse_object(body)),),
        via="api",
    )
    receipt = await state.inboxes[tenant].accept(note)
    return receipt_response(receipt, tenant, state.settings)


def read_scope(body: dict[str, object]) -> Scope:
    """Give what is to be read again.

    Raises:
        BadRequest: The body is not exactly one of the three forms.
    """
    if len(body) != 1:
        raise BadRequest("Give one of scope, audience_id and requirement_id.")
    ((name, value),) = body.items()
    if name == "scope":
        if value != COLLECTION.kind:
            raise BadRequest('The only scope is "collection".')
        return COLLECTION
    if name not in _IDS:
        raise BadRequest("Give one of scope, audience_id and requirement_id.")
    if not is_id(value):
        raise BadRequest(f"{name} must be 24 hexadecimal digits.")
    return Scope(_IDS[name], str(value))


ROUTES: Final = [Route("/v1/refresh", ask_refresh, methods=["POST"])]
