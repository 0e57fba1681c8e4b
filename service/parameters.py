"""Read the query of a GET: which names it may bear, and what each value must be.

A call declares its query as a record; each field's ``Meta`` bounds the value and describes it for
the caller. Lists may be repeated, comma-separated, or both.
"""

import re
from datetime import datetime
from typing import Annotated, Any, Final, TypeVar, get_origin

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import FieldInfo
from starlette.requests import Request

from workers.contract.codec import Cursor
from workers.contract.errors import BadRequest

Id = Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{24}\Z", description="24 hexadecimal digits")]
"""An id of the platform, as ``contract.scope.is_id`` knows it."""
Limit = Annotated[int, Meta(ge=1, le=1000, description="a whole number from 1 to 1000")]


_SEQUENCE: Final = re.compile(r"\d{1,16}", re.ASCII)


class NoQuery(Struct, frozen=True):
    """The query of a call that takes no parameters."""


_TENANT: Final = "tenant"
"""Every call of ``/v1`` may bear it; ``authorize`` reads it."""


Query = TypeVar("Query", bound=Struct)


def read_query(request: Request, record: type[Query]) -> Query:
    """Give the query of a request as a record.

    Raises:
        BadRequest: ``unknown_parameter`` or ``bad_parameter``; it names no more than our own
            parameters and what they must be.
    """
    fields = {field.name: field for field in msgspec.structs.fields(record)}
    if not set(request.query_params) <= {*fields, _TENANT}:
        known = ", ".join((*fields, _TENANT))
        raise BadRequest(f"Known parameters here: {known}.", reason="unknown_parameter")
    texts = {name: request.query_params.getlist(name) for name in fields}
    values = {name: _value(fields[name], given) for name, given in texts.items() if given}
    return record(**values)


def read_id(request: Request) -> str:
    """Give the platform's id in the path.

    Raises:
        BadRequest: ``id_malformed``.
    """
    try:
        return msgspec.convert(request.path_params["id"], Id)
    except msgspec.ValidationError as error:
        raise BadRequest("An id is 24 hexadecimal digits.", reason="id_malformed") from error


def read_cursor(text: str) -> Cursor:
    """Give the place in the change log that a caller names.

    Raises:
        BadRequest: ``cursor_malformed``.
    """
    try:
        return Cursor.parse(text)
    except ValueError as error:
        raise BadRequest("This is no cursor of this feed.", reason="cursor_malformed") from error


def read_as_of(text: str) -> int | datetime:
    """Give the sequence or the time that a caller names.

    Raises:
        BadRequest: ``bad_parameter``.
    """
    if _SEQUENCE.fullmatch(text):
        return int(text)
    try:
        moment: datetime = msgspec.convert(text, Annotated[datetime, Meta(tz=True)])
    except msgspec.ValidationError as error:
        raise BadRequest(
            "as_of must be a sequence, or an RFC 3339 time with its zone (in a URL, + is %2B).",
            reason="bad_parameter",
        ) from error
    return moment


def _value(field: FieldInfo, given: list[str]) -> Any:  # noqa: ANN401 - the field's type is data
    several = get_origin(field.type) is tuple
    parts = [part for text in given for part in text.split(",")] if several else given
    value = parts if several or len(parts) > 1 else parts[0]  # no single value is a list
    try:
        return msgspec.convert(value, field.type, strict=False)
    except msgspec.ValidationError as error:
        raise BadRequest(
            f"{field.name} must be {_description(field)}.", reason="bad_parameter"
        ) from error


def _description(field: FieldInfo) -> str:
    """Give what the field's ``Meta``, or that of a list's items, says it must be."""
    kinds = [field.type, *getattr(field.type, "__args__", ())]
    metas = [meta for kind in kinds for meta in getattr(kind, "__metadata__", ())]
    return next((meta.description for meta in metas if meta.description), "given once")
