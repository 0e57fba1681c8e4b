"""What every request to the platform passes: its credentials, the faults, the record of reads."""

import asyncio
from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from service.sandbox.answers import (
    JSON,
    TruncatedResponse,
    envelope,
    faulty_status,
    garbage,
)
from service.sandbox.collection import UnknownIdError
from service.sandbox.credentials import identify, recheck
from service.sandbox.drift import apply_edit
from service.sandbox.faults import (
    AnyFault,
    EditFault,
    ExpireTokensFault,
    ExtraFieldsFault,
    GarbageFault,
    MalformedRowFault,
    ReadKind,
    SlowFault,
    StatusFault,
    TruncateFault,
)
from service.sandbox.platform import Platform, Tenant
from service.sandbox.reads import Read

READ_SCOPES = frozenset({"api/read", "api/all"})
CHALLENGE = {"WWW-Authenticate": 'Basic realm="public", Bearer'}

JsonObject = dict[str, object]


class Resource(msgspec.Struct, frozen=True):
    """What a read asks for."""

    kind: ReadKind
    page: int | None = None
    per_page: int | None = None
    id: str | None = None


class Gate:
    """The way of a request, from its credentials to its recorded answer."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    async def answer_read(
        self, request: Request, resource: Resource, produce: Callable[[Tenant], bytes]
    ) -> Response:
        """Answer a read of the public API, with the faults that hit it."""
        authorization = request.headers.get("authorization", "")
        caller = identify(self._platform, authorization, READ_SCOPES)
        if caller is None:
            return envelope(401, "Missing or invalid credentials", CHALLENGE)
        tenant, refusal = caller.tenant, caller.refusal
        faults = self._faults(tenant, resource, bearer=caller.token is not None)
        if faults or tenant.options.latency_ms:
            response = await self._delay_or_fail(tenant, faults)
            if response is not None:
                return self._recorded(tenant, resource, response)
            refusal = recheck(caller, READ_SCOPES)
        if refusal is not None:
            challenge = CHALLENGE if refusal[0] == 401 else None  # noqa: PLR2004 - a status
            return self._recorded(tenant, resource, envelope(*refusal, challenge))
        try:
            response = Response(produce(tenant), media_type=JSON)
        except UnknownIdError as error:
            response = envelope(404, str(error))
        except ValueError as error:
            response = envelope(400, str(error))
        if faults:
            response = self._damaged(tenant, faults, response)
        return self._recorded(tenant, resource, response)

    async def answer_token(self, tenant: Tenant, mint: Callable[[], Response]) -> Response:
        """Answer a token request, with the faults that hit it."""
        resource = Resource("token")
        faults = self._faults(tenant, resource, bearer=False)
        response = await self._delay_or_fail(tenant, faults) or mint()
        response = self._damaged(tenant, faults, response)
        return self._recorded(tenant, resource, response)

    def _faults(self, tenant: Tenant, resource: Resource, *, bearer: bool) -> list[AnyFault]:
        if not tenant.faults.armed:
            return []
        return tenant.faults.take(resource.kind, resource.page, bearer=bearer)

    async def _delay_or_fail(self, tenant: Tenant, faults: list[AnyFault]) -> Response | None:
        """Wait as long as the tenant is slow; return the answer when a fault gives it."""
        delays = [fault.delay_ms for fault in faults if isinstance(fault, SlowFault)]
        if delay_ms := tenant.options.latency_ms + sum(delays):
            await asyncio.sleep(delay_ms / 1000)
        for fault in faults:
            if isinstance(fault, StatusFault):
                return faulty_status(fault, tenant.now())
            if isinstance(fault, GarbageFault):
                return garbage()
            if isinstance(fault, ExpireTokensFault):
                tenant.issuer.revoke_public()
        return None

    def _damaged(self, tenant: Tenant, faults: list[AnyFault], response: Response) -> Response:
        """Alter a body that was computed, and let the collection move on behind it.

        The edit is made before the body leaves, so that no later read can miss it.
        """
        if response.status_code != 200:  # noqa: PLR2004 - a status
            return response
        for fault in faults:
            if isinstance(fault, EditFault):
                apply_edit(tenant, fault, self._platform.rng)
            elif isinstance(fault, ExtraFieldsFault | MalformedRowFault):
                body = msgspec.json.decode(response.body, type=JsonObject)
                if isinstance(fault, ExtraFieldsFault):
                    _add_fields(body)
                else:
                    _spoil_row(body, fault)
                response = Response(msgspec.json.encode(body), media_type=JSON)
        if any(isinstance(fault, TruncateFault) for fault in faults):
            return TruncatedResponse(bytes(response.body), media_type=JSON)
        return response

    def _recorded(self, tenant: Tenant, resource: Resource, response: Response) -> Response:
        tenant.reads.record(
            Read(
                resource.kind,
                resource.page,
                resource.per_page,
                resource.id,
                tenant.now(),
                response.status_code,
            )
        )
        return response


def _rows(body: JsonObject) -> list[JsonObject]:
    """Find the rows of a list answer, or take a bare object for the only one."""
    results = body.get("results")
    return msgspec.convert(results, list[JsonObject]) if isinstance(results, list) else [body]


def _add_fields(body: JsonObject) -> None:
    rows = _rows(body)
    for row in rows:
        row["frequency"] = {"unit": "year", "every": 1}
    if "results" in body:
        body["results"] = rows
        body["links"] = {"next": None}


def _spoil_row(body: JsonObject, fault: MalformedRowFault) -> None:
    rows = _rows(body)
    wanted = fault.requirement_id
    for row in rows:
        if wanted is None or row.get("audienceRequirementId") == wanted:
            row[fault.field] = fault.value
            break
    if "results" in body:
        body["results"] = rows
