"""Read JSON bodies that strangers send: bounded, and refused in words rather than by a fault."""

from typing import Final

import msgspec
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from workers.contract.errors import BadRequest, BodyTooLarge, UnsupportedMedia

MAX_DEPTH: Final = 64

_TOO_DEEP: Final = "The body is nested too deep."
Container = dict[str, object] | list[object]

_decode: Final = msgspec.json.Decoder().decode


def check_media(headers: Headers) -> None:
    """Make sure that a body is JSON, and not compressed.

    Raises:
        UnsupportedMedia: It says otherwise, or does not say.
    """
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json" and not (
        media.startswith("application/") and media.endswith("+json")
    ):
        raise UnsupportedMedia("The body must be application/json.")
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMedia("The body must not be compressed.")


async def read_body(headers: Headers, receive: Receive, limit: int) -> bytes:
    """Give the raw body; what exceeds ``limit`` bytes is not read.

    Raises:
        BodyTooLarge: It is longer, or says that it will be.
        ClientDisconnect: The rest will not come.
    """
    announced = headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > limit:
        raise BodyTooLarge(f"The body may have {limit} bytes.")
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise BodyTooLarge(f"The body may have {limit} bytes.")
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def parse_object(body: bytes) -> dict[str, object]:
    """Give the JSON object that a body is. Of members that occur twice the last counts.

    Raises:
        BadRequest: ``not_json``, ``not_an_object`` or ``too_deep``.
    """
    try:
        parsed = _decode(body)
    except RecursionError:
        raise BadRequest(_TOO_DEEP, reason="too_deep") from None
    except ValueError:  # malformed, not UTF-8, or a number out of range
        raise BadRequest("The body is not JSON.", reason="not_json") from None
    if not isinstance(parsed, dict):
        raise BadRequest("The body is not a JSON object.", reason="not_an_object")
    # A body with fewer brackets cannot be deeper; most need not be walked.
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _is_too_deep(parsed):
        raise BadRequest(_TOO_DEEP, reason="too_deep")
    return parsed


def _is_too_deep(parsed: Container) -> bool:
    """Walk level by level, without recursion; the object itself is the first level."""
    level = [parsed]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _containers(outer)]
        if not level:
            return False
    return True


def _containers(outer: Container) -> list[Container]:
    members = outer.values() if isinstance(outer, dict) else outer
    return [member for member in members if isinstance(member, (dict, list))]
