"""The sandbox's own interface: tenants, faults, keys, and the truth that a test compares with."""

from importlib.resources import files
from typing import Annotated, Literal, cast

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from service.sandbox.answers import json_response
from service.sandbox.collection import Version, format_time, rows_digest
from service.sandbox.faults import AnyFault, ArmedFault
from service.sandbox.platform import Options, Platform, Tenant

JsonObject = dict[str, object]
Count = Annotated[int, msgspec.Meta(ge=0)]


class KeyRotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What becomes of the old key."""

    keep_old: bool = True


def describe(version: Version) -> JsonObject:
    """Shape one edit for an answer."""
    return {
        "version": version.version,
        "at": format_time(version.at),
        "id": version.id,
        "op": version.op,
        "before": version.before,
        "row": version.row,
    }


def read_count(request: Request, name: str, default: int) -> int:
    """Parse a query parameter that counts something.

    Raises:
        msgspec.ValidationError: it is not a whole number of at least 0.
    """
    text = request.query_params.get(name, str(default))
    return msgspec.convert(text, Count, strict=False)


class Control:
    """Tenants and their options, faults, keys; rows, history and reads as they truly are."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._page = files("service.sandbox").joinpath("page.html").read_text("utf-8")

    def routes(self) -> list[Route]:
        """List the routes below /sandbox."""
        tenant = "/sandbox/tenants/{tenant}"
        return [
            Route("/sandbox", self.page, methods=["GET"]),
            Route("/sandbox/tenants", self.list_tenants, methods=["GET"]),
            Route(tenant, self.put_tenant, methods=["PUT"]),
            Route(tenant, self.patch_tenant, methods=["PATCH"]),
            Route(f"{tenant}/keys", self.rotate_key, methods=["POST"]),
            Route(f"{tenant}/faults", self.list_faults, methods=["GET"]),
            Route(f"{tenant}/faults", self.put_faults, methods=["PUT"]),
            Route(f"{tenant}/faults", self.clear_faults, methods=["DELETE"]),
            Route(f"{tenant}/truth", self.truth, methods=["GET"]),
            Route(f"{tenant}/history", self.history, methods=["GET"]),
            Route(f"{tenant}/reads", self.reads, methods=["GET"]),
            Route(f"{tenant}/reads", self.reset_reads, methods=["DELETE"]),
        ]

    async def page(self, _: Request) -> Response:
        """Serve the page for a browser."""
        return HTMLResponse(self._page)

    async def list_tenants(self, _: Request) -> Response:
        """List the tenants with their options."""
        tenants = [_describe_tenant(tenant) for tenant in self._platform.tenants.values()]
        return json_response({"tenants": tenants})

    async def put_tenant(self, request: Request) -> Response:
        """Make a tenant, or make it anew."""
        body = await _json_object(request)
        rows = msgspec.convert(body.pop("rows", "seed"), int | Literal["seed"])
        options = msgspec.convert(body, Options)
        tenant_id = str(request.path_params["tenant"])
        status = 200 if tenant_id in self._platform.tenants else 201
        return json_response(_describe_tenant(self._platform.put(tenant_id, options, rows)), status)

    async def patch_tenant(self, request: Request) -> Response:
        """Change options of a tenant; what it holds stays."""
        tenant = self._tenant(request)
        options = cast("JsonObject", msgspec.to_builtins(tenant.options))
        tenant.options = msgspec.convert(options | await _json_object(request), Options)
        return json_response(_describe_tenant(tenant))

    async def rotate_key(self, request: Request) -> Response:
        """Sign with a new key from now on."""
        tenant = self._tenant(request)
        rotation = msgspec.json.decode(await request.body() or b"{}", type=KeyRotation)
        kid = tenant.issuer.rotate(keep_old=rotation.keep_old)
        return json_response({"kid": kid, "kids": tenant.issuer.kids()})

    async def list_faults(self, request: Request) -> Response:
        """List the faults and how often each matched and fired."""
        return _faults(self._tenant(request).faults.armed)

    async def put_faults(self, request: Request) -> Response:
        """Arm these faults and no others."""
        tenant = self._tenant(request)
        tenant.faults.replace(msgspec.json.decode(await request.body(), type=list[AnyFault]))
        return _faults(tenant.faults.armed)

    async def clear_faults(self, request: Request) -> Response:
        """Switch all faults off."""
        self._tenant(request).faults.replace([])
        return Response(status_code=204)

    async def truth(self, request: Request) -> Response:
        """Give the rows as they truly are, or were at `?version=`, by id."""
        collection = self._tenant(request).collection
        version = read_count(request, "version", collection.version)
        rows = collection.rows_at(version)
        return json_response(
            {
                "rows": [rows[requirement_id] for requirement_id in sorted(rows)],
                "version": min(version, collection.version),
                "digest": rows_digest(rows.values()),
            }
        )

    async def history(self, request: Request) -> Response:
        """List every edit after `?since=`."""
        history = self._tenant(request).collection.history
        since = read_count(request, "since", 0)
        return json_response([describe(version) for version in history[since:]])

    async def reads(self, request: Request) -> Response:
        """Count what was asked of the platform, with the last requests."""
        log = self._tenant(request).reads
        requests = [
            msgspec.to_builtins(read) | {"at": format_time(read.at)} for read in log.requests
        ]
        counts = {kind: log.counts[kind] for kind in ("list", "one", "audience", "token")}
        return json_response({**counts, "requests": requests})

    async def reset_reads(self, request: Request) -> Response:
        """Count from zero again."""
        self._tenant(request).reads.reset()
        return Response(status_code=204)

    def _tenant(self, request: Request) -> Tenant:
        return self._platform.tenant(request.path_params["tenant"])


def _describe_tenant(tenant: Tenant) -> JsonObject:
    options = cast("JsonObject", msgspec.to_builtins(tenant.options))
    return {
        "tenant_id": tenant.id,
        **options,
        "client_id": tenant.client_id,
        "rows": len(tenant.collection.rows),
        "version": tenant.collection.version,
        "target": tenant.target,
    }


def _faults(armed: list[ArmedFault]) -> Response:
    faults = [
        cast("JsonObject", msgspec.to_builtins(one.fault))
        | {"matched": one.matched, "fired": one.fired}
        for one in armed
    ]
    return json_response(faults)


async def _json_object(request: Request) -> JsonObject:
    return msgspec.json.decode(await request.body() or b"{}", type=JsonObject)
