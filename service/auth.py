"""Let callers of ``/v1`` in: the first line of each of its endpoints."""

from starlette.requests import Request

from service.state import state_of


async def authorize(request: Request, scope: str) -> str:
    """Give the slug of the tenant that a request is about, if its caller may do this there.

    Args:
        request: Its ``Authorization`` header says who calls, ``?tenant=`` about whom.
        scope: ``feed:read``, ``feed:write`` or ``admin``.

    Raises:
        Unauthenticated: No token, or a wrong one.
        BadRequest: ``tenant_required``, several tenants and none named.
        Forbidden: ``wrong_tenant`` or ``insufficient_scope``.
        NotFound: ``unknown_tenant``.
        TemporarilyUnavailable: The keys that would verify the token cannot be had.
        SchemaUnknown: Redis holds data this version must not touch.
    """
    state = state_of(request)
    caller = await state.callers.authenticate(request.headers.getlist("authorization"))
    tenant = state.callers.choose_tenant(caller, request.query_params.get("tenant"))
    state.callers.require(caller, tenant, scope)
    await state.schema.check()
    return tenant
