"""The sandbox's edit interface: change rows and audiences, and notify the target of it."""

import random
from itertools import islice
from typing import Annotated, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.sandbox.answers import envelope, json_response
from service.sandbox.collection import Version, format_time
from service.sandbox.control import describe, read_count
from service.sandbox.deliveries import (
    JsonObject,
    Target,
    assignment_updated,
    requirement_changed,
)
from service.sandbox.drift import random_edits
from service.sandbox.notifier import Notifier
from service.sandbox.oauth import base_url
from service.sandbox.platform import Platform, Tenant
from service.sandbox.seed import hex_id

Notify = Literal["none", "assignment", "precise"]
HexId = Annotated[str, msgspec.Meta(pattern="^[0-9a-fA-F]{24}$")]
Minutes = Annotated[int, msgspec.Meta(ge=0)]

SHOWN_DEFAULT = 100


class NewRequirement(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The body of a create."""

    required_minutes: Minutes
    audience_id: HexId | None = None
    audience_requirement_id: HexId | None = None


class RequirementPatch(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The body of an update; `touch` moves `updatedAt` alone."""

    required_minutes: Minutes | None = None
    audience_id: HexId | None = None
    touch: bool = False


class RandomEdits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a burst of edits; the same seed on the same rows makes the same edits."""

    count: Annotated[int, msgspec.Meta(ge=0)]
    seed: int | None = None


class AudienceName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a rename."""

    name: str
    reference: str


class NotifyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to send: a payload as it is, or the usual one about an audience or a requirement."""

    payload: JsonObject | None = None
    audience_id: str | None = None
    requirement_id: str | None = None


class Edits:
    """Edits of a tenant's true rows and audiences, its target, and notifications by hand."""

    def __init__(self, platform: Platform, notifier: Notifier) -> None:
        self._platform = platform
        self._notifier = notifier

    def routes(self) -> list[Route]:
        """List the routes below a tenant."""
        tenant = "/sandbox/tenants/{tenant}"
        return [
            Route(f"{tenant}/requirements", self.newest, methods=["GET"]),
            Route(f"{tenant}/requirements", self.create, methods=["POST"]),
            Route(f"{tenant}/requirements/{{id}}", self.update, methods=["PATCH"]),
            Route(f"{tenant}/requirements/{{id}}", self.delete, methods=["DELETE"]),
            Route(f"{tenant}/requirements/{{id}}/restore", self.restore, methods=["POST"]),
            Route(f"{tenant}/edits", self.edit_at_random, methods=["POST"]),
            Route(f"{tenant}/audiences/{{id}}", self.rename_audience, methods=["POST"]),
            Route(f"{tenant}/audiences/{{id}}", self.delete_audience, methods=["DELETE"]),
            Route(f"{tenant}/target", self.put_target, methods=["PUT"]),
            Route(f"{tenant}/target", self.delete_target, methods=["DELETE"]),
            Route(f"{tenant}/notify", self.notify, methods=["POST"]),
            Route(f"{tenant}/deliveries", self.deliveries, methods=["GET"]),
        ]

    async def newest(self, request: Request) -> Response:
        """Show the rows that came last and those that went last, at most `?limit=` of each."""
        collection = self._tenant(request).collection
        limit = read_count(request, "limit", SHOWN_DEFAULT)
        return json_response(
            {
                "rows": list(islice(reversed(collection.rows.values()), limit)),
                "deleted": list(islice(reversed(collection.deleted), limit)),
                "total": len(collection.rows),
                "version": collection.version,
            }
        )

    async def create(self, request: Request) -> Response:
        """Add a requirement."""
        tenant, how = self._tenant(request), _notify(request)
        body = msgspec.json.decode(await request.body(), type=NewRequirement)
        version = tenant.create(
            body.required_minutes, body.audience_id, body.audience_requirement_id
        )
        return self._edited(request, tenant, version, how, status=201)

    async def update(self, request: Request) -> Response:
        """Change a requirement, or touch it."""
        tenant, how = self._tenant(request), _notify(request)
        body = msgspec.json.decode(await request.body(), type=RequirementPatch)
        if not body.touch and body.required_minutes is None and body.audience_id is None:
            return envelope(400, "Give requiredMinutes, audienceId or touch")
        requirement_id = str(request.path_params["id"])
        version = tenant.update(requirement_id, body.required_minutes, body.audience_id)
        return self._edited(request, tenant, version, how)

    async def delete(self, request: Request) -> Response:
        """Remove a requirement."""
        tenant, how = self._tenant(request), _notify(request)
        version = tenant.collection.delete(str(request.path_params["id"]))
        return self._edited(request, tenant, version, how)

    async def restore(self, request: Request) -> Response:
        """Bring a removed requirement back."""
        tenant, how = self._tenant(request), _notify(request)
        version = tenant.collection.restore(str(request.path_params["id"]))
        return self._edited(request, tenant, version, how)

    async def edit_at_random(self, request: Request) -> Response:
        """Make a burst of random edits."""
        tenant, how = self._tenant(request), _notify(request)
        body = msgspec.json.decode(await request.body(), type=RandomEdits)
        rng = self._platform.rng
        if body.seed is not None:
            rng = random.Random(body.seed)  # noqa: S311 - reproducible, not secret
        versions = random_edits(tenant, body.count, rng)
        edits = [
            describe(version) | {"notification": self._announce(request, tenant, version, how)}
            for version in versions
        ]
        return json_response({"edits": edits, "version": tenant.collection.version})

    async def rename_audience(self, request: Request) -> Response:
        """Name an audience, making it when there is none."""
        tenant = self._tenant(request)
        body = msgspec.json.decode(await request.body(), type=AudienceName)
        audience_id = str(request.path_params["id"])
        return json_response(tenant.directory.rename(audience_id, body.name, body.reference))

    async def delete_audience(self, request: Request) -> Response:
        """Make an audience unresolvable; requirements that name it stay."""
        self._tenant(request).directory.delete(str(request.path_params["id"]))
        return Response(status_code=204)

    async def put_target(self, request: Request) -> Response:
        """Send notifications there from now on."""
        tenant = self._tenant(request)
        tenant.target = msgspec.json.decode(await request.body(), type=Target)
        return json_response(tenant.target)

    async def delete_target(self, request: Request) -> Response:
        """Send notifications nowhere."""
        self._tenant(request).target = None
        return Response(status_code=204)

    async def notify(self, request: Request) -> Response:
        """Send one notification."""
        tenant = self._tenant(request)
        body = msgspec.json.decode(await request.body(), type=NotifyRequest)
        if tenant.target is None:
            return envelope(409, "The tenant has no target")
        if (payload := body.payload) is None:
            if body.audience_id is None and body.requirement_id is None:
                return envelope(400, "Give payload, audience_id or requirement_id")
            payload = self._payload(tenant, body.requirement_id, body.audience_id)
        delivery = self._notifier.send(tenant, payload, base_url(request))
        return json_response({"notification": delivery.id if delivery else None}, 202)

    async def deliveries(self, request: Request) -> Response:
        """List the notifications sent, the last one last; with `?limit=` the last ones alone."""
        sent = self._tenant(request).deliveries
        limit = read_count(request, "limit", len(sent))
        return json_response(list(islice(sent, max(0, len(sent) - limit), None)))

    def _tenant(self, request: Request) -> Tenant:
        return self._platform.tenant(request.path_params["tenant"])

    def _edited(
        self, request: Request, tenant: Tenant, version: Version, how: Notify, status: int = 200
    ) -> Response:
        notification = self._announce(request, tenant, version, how)
        return json_response(
            {
                "row": version.row,
                "version": version.version,
                "at": format_time(version.at),
                "notification": notification,
            },
            status,
        )

    def _announce(
        self, request: Request, tenant: Tenant, version: Version, how: Notify
    ) -> str | None:
        row = version.row or version.before
        if how == "none" or row is None:
            return None
        requirement_id = version.id if how == "precise" else None
        payload = self._payload(tenant, requirement_id, row.audience_id)
        delivery = self._notifier.send(tenant, payload, base_url(request))
        return delivery.id if delivery else None

    def _payload(
        self, tenant: Tenant, requirement_id: str | None, audience_id: str | None
    ) -> JsonObject:
        alias = tenant.target.tenant_alias if tenant.target else None
        tenant_id, now = alias or tenant.id, format_time(tenant.now())
        if requirement_id is not None:
            return requirement_changed(tenant_id, requirement_id, audience_id, now)
        return assignment_updated(tenant_id, hex_id(self._platform.rng), audience_id, now)


def _notify(request: Request) -> Notify:
    notify: Notify = msgspec.convert(request.query_params.get("notify", "none"), Notify)
    return notify
