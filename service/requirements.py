"""Serve the snapshot: the requirements as they stood at one place of the change log.

That is where the log stands, or an earlier place that ``as_of`` names. The first page pins it; the
following ones show the same moment, whatever is committed in between, and the change log
continues from there without a gap.
"""

from typing import Annotated, Any, Final, NamedTuple, Self

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.auth import authorize
from service.parameters import Id, Limit, read_as_of, read_cursor, read_id, read_query
from service.snapshot import Snapshots
from service.state import state_of
from workers.contract.codec import Cursor, served_row
from workers.contract.errors import BadRequest
from workers.contract.model import Requirement
from workers.contract.scope import is_id

_AsOf = Annotated[str, Meta(description="one sequence, or one time")]


class RequirementsQuery(Struct, frozen=True):
    """What a page of the snapshot can be asked for."""

    limit: Limit = 1000
    after: Annotated[str, Meta(description="one cursor")] | None = None
    audience_id: tuple[Id, ...] = ()
    as_of: _AsOf | None = None


class RequirementQuery(Struct, frozen=True):
    """What one requirement can be asked for with."""

    as_of: _AsOf | None = None


class Place(NamedTuple):
    """Where a page begins: after an id, in the snapshot that stood at ``pinned``."""

    pinned: Cursor
    last_id: str

    def __str__(self) -> str:
        """Give the text that a consumer takes to the next page."""
        return f"{self.pinned}:{self.last_id}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read that text.

        Raises:
            BadRequest: ``cursor_malformed``.
        """
        pinned, _, last_id = text.rpartition(":")
        if not is_id(last_id):
            raise BadRequest("This is no cursor of these pages.", reason="cursor_malformed")
        return cls(read_cursor(pinned), last_id)


class Page(Struct, frozen=True):
    """One answer; ``cursor`` is null on the last page, ``changes_cursor`` the same on all."""

    requirements: list[dict[str, Any]]
    sequence: int
    digest: str
    cursor: str | None
    changes_cursor: str


class One(Struct, frozen=True):
    """One requirement, and the place at which it stands, or stood."""

    requirement: dict[str, Any]
    sequence: int
    digest: str


async def list_requirements(request: Request) -> Response:
    """Answer with one page of the snapshot.

    Raises:
        BadRequest: A parameter or the cursor is malformed, or ``as_of`` still to come.
        Gone: The pinned place, or ``as_of``, cannot be reached any more.
        TemporarilyUnavailable: ``no_baseline``.
    """
    tenant = await authorize(request, "feed:read")
    query = read_query(request, RequirementsQuery)
    snapshots = _snapshots_of(request)
    as_of = None if query.as_of is None else read_as_of(query.as_of)
    if query.after is None:
        pinned, last_id = await snapshots.pin(tenant, as_of), ""
    elif as_of is not None:
        raise BadRequest(
            "as_of begins a snapshot, after goes on with the one it began: give one of them.",
            reason="bad_parameter",
        )
    else:
        pinned, last_id = Place.parse(query.after)
    audiences = frozenset(query.audience_id)
    rows, digest, more = await snapshots.page(tenant, pinned, audiences, last_id, query.limit)
    page = Page(
        [_served(row) for row in rows],
        pinned.sequence,
        digest,
        str(Place(pinned, rows[-1].id)) if more else None,
        str(pinned),
    )
    return _json(page)


async def read_requirement(request: Request) -> Response:
    """Answer with one requirement as it stands, or stood.

    Raises:
        BadRequest: ``id_malformed``, or a parameter is, or ``as_of`` is still to come.
        Gone: ``as_of`` cannot be reached any more.
        NotFound: There is none by that id.
        TemporarilyUnavailable: ``no_baseline``.
    """
    tenant = await authorize(request, "feed:read")
    query = read_query(request, RequirementQuery)
    id_ = read_id(request)
    snapshots = _snapshots_of(request)
    if query.as_of is None:
        stood = await snapshots.one(tenant, id_)
    else:
        place = await snapshots.pin(tenant, read_as_of(query.as_of))
        stood = await snapshots.one_at(tenant, id_, place)
    return _json(One(_served(stood.requirement), stood.sequence, stood.digest))


def _served(requirement: Requirement) -> dict[str, Any]:
    return {"audienceRequirementId": requirement.id, **served_row(requirement)}


def _json(answer: Struct) -> Response:
    return Response(msgspec.json.encode(answer), media_type="application/json")


def _snapshots_of(request: Request) -> Snapshots:
    """Give the snapshots of the application, made when they are first needed."""
    snapshots: Snapshots | None = getattr(request.app.state, "snapshots", None)
    if snapshots is None:
        snapshots = request.app.state.snapshots = Snapshots(state_of(request).redis)
    return snapshots


ROUTES: Final = [
    Route("/v1/requirements", list_requirements),
    Route("/v1/requirements/{id}", read_requirement),
]
