"""Decode what the platform serves: a page of the list, or one requirement. Pure.

Source: response of *Query CPD requirements*. Unknown fields are ignored: the API adds some.
"""

import hashlib
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from workers.contract.codec import to_us
from workers.contract.errors import UpstreamUnavailable
from workers.contract.model import Misfit, Page, Requirement
from workers.contract.scope import is_id

DECODER_VERSION: Final = b"1"
"""Goes into every body digest: a page that another decoder took in is decoded again."""

_LONGEST_MISFIT_BYTES: Final = 4096

_Time = Annotated[datetime, Meta(tz=True)]
_Count = Annotated[int, Meta(ge=0)]


class _Row(Struct, rename="camel"):
    audience_requirement_id: str
    audience_id: str
    required_minutes: Annotated[int, Meta(ge=0, lt=2**53)]
    created_at: _Time
    updated_at: _Time | None = None


class Audience(Struct):
    """What is read of an audience. Source: *Get audience*."""

    name: str | None = None
    reference: str | None = None


class _Pagination(Struct, rename="camel"):
    total_results: _Count
    total_pages: _Count
    page: _Count


class _Envelope(Struct):
    pagination: _Pagination


class _List(Struct):
    pagination: _Pagination
    results: list[_Row]


class _RawList(Struct):
    results: list[msgspec.Raw]


class _Error(Struct):
    status: int
    error: str
    message: str


_EARLIEST_US: Final = to_us(datetime.min.replace(tzinfo=UTC))
_LATEST_US: Final = to_us(datetime.max.replace(tzinfo=UTC))
_envelopes = msgspec.json.Decoder(_Envelope)
_lists = msgspec.json.Decoder(_List)
_raw_lists = msgspec.json.Decoder(_RawList)
_rows = msgspec.json.Decoder(_Row)
_objects = msgspec.json.Decoder(dict[str, object])
_audiences = msgspec.json.Decoder(Audience)
_errors = msgspec.json.Decoder(_Error)


def body_digest(body: bytes) -> bytes:
    """Give the digest by which an unchanged page is recognised without decoding it."""
    return hashlib.sha256(DECODER_VERSION + body).digest()


def decode_page(body: bytes, started_ms: int, known_digest: bytes | None = None) -> Page:
    """Decode one page; with the digest that is known of it, only its pagination.

    Raises:
        UpstreamUnavailable: This is no page of the list.
    """
    digest = body_digest(body)
    misfits: tuple[Misfit, ...] = ()
    rows: list[Requirement] | None = None
    try:
        if digest == known_digest:
            pagination = _envelopes.decode(body).pagination
        else:
            try:
                page = _lists.decode(body)
                pagination, rows = page.pagination, [_requirement(row) for row in page.results]
            except ValueError:
                pagination = _envelopes.decode(body).pagination
                rows, misfits = _one_by_one(body)
    except (ValueError, RecursionError) as error:
        raise UpstreamUnavailable("what was served is not a page of the list") from error
    return Page(
        number=pagination.page,
        total_results=pagination.total_results,
        total_pages=pagination.total_pages,
        digest=digest,
        started_ms=started_ms,
        rows=None if rows is None else tuple(rows),
        misfits=misfits,
    )


def decode_one(body: bytes) -> Requirement:
    """Decode a single requirement.

    Raises:
        UpstreamUnavailable: This is no requirement.
    """
    try:
        return _requirement(_rows.decode(body))
    except (ValueError, RecursionError) as error:
        raise UpstreamUnavailable("what was served is not a requirement") from error


def decode_audience(body: bytes) -> Audience | None:
    """Decode an audience, None where this is none."""
    try:
        return _audiences.decode(body)
    except (ValueError, RecursionError):
        return None


def is_not_found(body: bytes) -> bool:
    """Tell whether the body of a 404 is the platform's own error envelope.

    A gateway, or a server at a wrong address, also says 404; only the envelope is evidence.
    """
    try:
        return _errors.decode(body).status == 404  # noqa: PLR2004 - the HTTP status
    except (ValueError, RecursionError):
        return False


def _requirement(row: _Row) -> Requirement:
    if not (is_id(row.audience_requirement_id) and is_id(row.audience_id)):
        raise ValueError("an id is not 24 hexadecimal digits")
    updated = row.updated_at
    for moment in (row.created_at, updated or row.created_at):
        if not _EARLIEST_US <= to_us(moment) <= _LATEST_US:
            raise ValueError("a time is outside the years 1 to 9999, in UTC")
    return Requirement(
        row.audience_requirement_id,
        row.audience_id,
        row.required_minutes,
        to_us(row.created_at),
        None if updated is None else to_us(updated),
    )


def _one_by_one(body: bytes) -> tuple[list[Requirement], tuple[Misfit, ...]]:
    """Decode the rows that fit; say of the others why they do not."""
    rows, misfits = [], []
    for raw in _raw_lists.decode(body).results:
        try:
            rows.append(_requirement(_rows.decode(raw)))
        except (ValueError, RecursionError) as error:
            text = bytes(raw)[:_LONGEST_MISFIT_BYTES].decode("utf-8", "replace")
            misfits.append(Misfit(_stated_id(raw), str(error), text))
    return rows, tuple(misfits)


def _stated_id(raw: msgspec.Raw) -> str:
    try:
        stated = _objects.decode(raw).get("audienceRequirementId")
    except (ValueError, RecursionError):
        return ""
    return stated if isinstance(stated, str) and is_id(stated) else ""
