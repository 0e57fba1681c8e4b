"""The platform's public API: CPD requirements and audiences, read-only."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.sandbox.gate import Gate, Resource
from service.sandbox.platform import Platform, Tenant

REST = "/public/rest/v1"
PER_PAGE_DEFAULT = 100
PER_PAGE_MAX = 1000
DIGITS_MAX = 18


class PublicApi:
    """The three reads of the emulated platform."""

    def __init__(self, platform: Platform) -> None:
        self._gate = Gate(platform)

    def routes(self) -> list[Route]:
        """List the routes, the list first: it is asked for most."""
        return [
            Route(f"{REST}/cpdRequirementSummaries", self.requirements, methods=["GET"]),
            Route(f"{REST}/cpdRequirementSummaries/{{id}}", self.requirement, methods=["GET"]),
            Route(f"{REST}/audiences/{{id}}", self.audience, methods=["GET"]),
        ]

    async def requirements(self, request: Request) -> Response:
        """Serve a page of the list."""
        page = _whole_number(request, "page", 1)
        per_page = _whole_number(request, "perPage", PER_PAGE_DEFAULT)

        def produce(tenant: Tenant) -> bytes:
            if page is None or page < 1:
                raise ValueError("page must be an integer of at least 1")
            if per_page is None or not 1 <= per_page <= PER_PAGE_MAX:
                raise ValueError(f"perPage must be an integer from 1 to {PER_PAGE_MAX}")
            return tenant.list_page(page, per_page)

        resource = Resource("list", page=page, per_page=per_page)
        return await self._gate.answer_read(request, resource, produce)

    async def requirement(self, request: Request) -> Response:
        """Serve one requirement, bare."""
        wanted = str(request.path_params["id"])
        return await self._gate.answer_read(
            request,
            Resource("one", id=wanted),
            lambda tenant: msgspec.json.encode(tenant.one(wanted)),
        )

    async def audience(self, request: Request) -> Response:
        """Serve one audience, by id or by reference."""
        wanted = str(request.path_params["id"])
        return await self._gate.answer_read(
            request,
            Resource("audience", id=wanted),
            lambda tenant: msgspec.json.encode(tenant.directory.find(wanted)),
        )


def _whole_number(request: Request, name: str, default: int) -> int | None:
    """Parse a query parameter; nothing when it is not a whole number."""
    text = request.query_params.get(name)
    if text is None:
        return default
    digits = text.removeprefix("-")
    fits = digits.isascii() and digits.isdigit() and len(digits) <= DIGITS_MAX
    return int(text) if fits else None
