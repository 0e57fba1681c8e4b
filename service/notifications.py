"""Serve ``POST /webhooks/{tenant}``: raw body → verify → parse → accept → 202."""

import hashlib
from typing import Final

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from service.bodies import check_media, parse_object, read_body
from service.inbox import Incoming, Via
from service.receipts import receipt_response
from service.state import State
from workers.contract import signing
from workers.contract.codec import jcs
from workers.contract.errors import Forbidden, NotFound
from workers.contract.scope import event_type, extract
from workers.contract.settings import Tenant


class Notifications:
    """The endpoint, as a plain ASGI application: of all forms the cheapest per request."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; refusals are raised for the error table."""
        state: State = scope["app"].state.cpdfeed
        tenant = state.settings.tenants.get(scope["path_params"]["tenant"])
        if tenant is None:
            raise NotFound("There is no such tenant.", reason="unknown_tenant")
        if scope["method"] != "POST":
            raise HTTPException(405, headers={"Allow": "POST"})
        headers = Headers(scope=scope)
        check_media(headers)
        try:
            body = await read_body(headers, receive, state.settings.max_body_bytes)
        except ClientDisconnect:
            return  # nobody is left to be answered
        via = await state.verifiers[tenant.slug].verify(
            body, headers.getlist("authorization"), headers.getlist(signing.HEADER)
        )
        payload = parse_object(body)
        if state.owners.is_foreign(payload.get("tenantId"), tenant.slug):
            raise Forbidden("The payload names another tenant.", reason="wrong_tenant")
        receipt = await state.inboxes[tenant.slug].accept(read(payload, tenant, via))
        response = receipt_response(receipt, tenant.slug, state.settings)
        await response(scope, receive, send)


def read(payload: dict[str, object], tenant: Tenant, via: Via) -> Incoming:
    """Give what is kept of a payload: its identity, its type and its scopes.

    ``dispatchedAt`` may differ between deliveries of one notification, so it is no part of its
    identity.
    """
    same = {name: value for name, value in payload.items() if name != "dispatchedAt"}
    return Incoming(
        identity=hashlib.sha256(jcs(same)).hexdigest(),
        dated=bool(payload.get("createdAt")),
        event_type=event_type(payload),
        scopes=extract(payload, tenant.rules),
        via=via,
    )


ROUTES: Final = [Route("/webhooks/{tenant}", Notifications())]
