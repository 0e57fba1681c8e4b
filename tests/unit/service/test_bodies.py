"""Bodies of strangers: which are read, which refused."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Message

from service.bodies import MAX_DEPTH, check_media, parse_object, read_body
from workers.contract.errors import BadRequest, BodyTooLarge, UnsupportedMedia


def read(*messages: Message, limit: int = 10, length: str = "") -> bytes:
    """Read a body from the messages of a server."""
    left = list(messages)
    headers = Headers({"content-length": length} if length else {})

    async def receive() -> Message:
        return left.pop(0)

    return asyncio.run(read_body(headers, receive, limit))


def chunk(body: bytes, *, more: bool = False) -> Message:
    """Give one part of a body."""
    return {"type": "http.request", "body": body, "more_body": more}


def test_body_in_parts_is_joined() -> None:
    """A body is given whole, in whatever parts it came."""
    parts = [chunk(b"ab", more=True), chunk(b"", more=True), chunk(b"cd")]
    assert read(*parts) == b"abcd"


def test_body_without_bytes_is_empty() -> None:
    """A server may leave out what is empty."""
    assert read({"type": "http.request"}) == b""


def test_body_at_the_bound_is_read() -> None:
    """The bound itself is permitted."""
    assert read(chunk(b"x" * 9, more=True), chunk(b"y"), length="10") == b"x" * 9 + b"y"


@pytest.mark.parametrize("length", ["11", "9" * 30])
def test_announced_length_over_the_bound_is_refused(length: str) -> None:
    """What says that it is too large is refused unread."""
    with pytest.raises(BodyTooLarge):
        read(length=length)


def test_growing_body_over_the_bound_is_refused() -> None:
    """What turns out too large is refused, whatever it said."""
    with pytest.raises(BodyTooLarge):
        read(chunk(b"x" * 6, more=True), chunk(b"x" * 6, more=True), length="5")


@pytest.mark.parametrize("length", ["", "-1", "abc", "1e9"])
def test_odd_announced_length_is_not_relied_on(length: str) -> None:
    """A length that is no number says nothing; the bytes are counted."""
    assert read(chunk(b"x"), length=length) == b"x"


def test_client_that_leaves_gives_no_body() -> None:
    """Half a body is none."""
    with pytest.raises(ClientDisconnect):
        read(chunk(b"x", more=True), {"type": "http.disconnect"})


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "application/json"},
        {"content-type": " Application/JSON ; charset=utf-8"},
        {"content-type": "application/cloudevents+json"},
        {"content-type": "application/json", "content-encoding": "Identity"},
    ],
)
def test_plain_json_is_permitted(headers: dict[str, str]) -> None:
    """JSON by any of its names is read."""
    check_media(Headers(headers))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": ""},
        {"content-type": "text/json"},
        {"content-type": "image/svg+json"},
        {"content-type": "application/+jsonx"},
        {"content-type": "application/json", "content-encoding": "gzip"},
        {"content-type": "application/json", "content-encoding": ""},
    ],
)
def test_anything_else_is_refused(headers: dict[str, str]) -> None:
    """What is not said to be plain JSON is not read."""
    with pytest.raises(UnsupportedMedia):
        check_media(Headers(headers))


def nested(depth: int, brackets: tuple[bytes, bytes]) -> bytes:
    """Give an object of so many levels."""
    opening, closing = brackets
    return b'{"a":' + opening * (depth - 1) + b"1" + closing * (depth - 1) + b"}"


@pytest.mark.parametrize("brackets", [(b"[", b"]"), (b'{"b":', b"}")])
def test_depth_at_the_bound_is_read(brackets: tuple[bytes, bytes]) -> None:
    """64 levels are permitted, the object itself being the first."""
    assert "a" in parse_object(nested(MAX_DEPTH, brackets))


@pytest.mark.parametrize("brackets", [(b"[", b"]"), (b'{"b":', b"}")])
@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 500, 20_000])
def test_depth_over_the_bound_is_refused(depth: int, brackets: tuple[bytes, bytes]) -> None:
    """65 are not, nor are so many that a decoder gives up."""
    with pytest.raises(BadRequest) as refusal:
        parse_object(nested(depth, brackets))
    assert refusal.value.problem == "too_deep"


def test_deep_sibling_is_found() -> None:
    """The deepest branch counts, wherever it is."""
    shallow = b"[[]," * 3 + b"[]" + b"]" * 3
    body = b'{"a":' + shallow + b',"b":' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}"
    with pytest.raises(BadRequest):
        parse_object(body)


@given(st.binary(max_size=300) | st.text(alphabet='[]{}":,\\u0d8e1-.ntf ', max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes | str) -> None:
    """Whatever arrives is an object or the sender's fault."""
    raw = body.encode() if isinstance(body, str) else body
    try:
        told = type(parse_object(raw)).__name__
    except BadRequest as error:
        told = error.problem
    assert told in {"dict", "not_json", "not_an_object", "too_deep"}
