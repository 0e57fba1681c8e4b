"""The answers that are not a resource: the error envelope, RFC 6749 errors, and broken ones."""

from datetime import datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.sandbox.collection import ConflictError, UnknownIdError
from service.sandbox.faults import StatusFault

JSON = "application/json"
HTTP_DATE_AHEAD = timedelta(seconds=2)  # how far ahead a Retry-After given as a date lies
GATEWAY_PAGE = b"<html><head><title>%d</title></head><body><h1>%d</h1><hr>gateway</body></html>"


def json_response(
    body: object, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Encode a body as JSON."""
    return Response(msgspec.json.encode(body), status, headers, JSON)


def envelope(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    """Answer with the platform's error shape."""
    error = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Error"
    return json_response({"status": status, "error": error, "message": message}, status, headers)


def oauth_error(status: int, error: str, description: str, *, basic: bool = False) -> Response:
    """Answer as RFC 6749 section 5.2 has it; a client that used Basic is challenged with it."""
    headers = {"Cache-Control": "no-store"}
    if basic and status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Basic realm="oauth2"'
    return json_response({"error": error, "error_description": description}, status, headers)


def faulty_status(fault: StatusFault, now: datetime) -> Response:
    """Answer with the status of a fault, as the platform or as a gateway."""
    headers = {}
    if fault.retry_after == "http-date":
        headers["Retry-After"] = format_datetime(now + HTTP_DATE_AHEAD, usegmt=True)
    elif fault.retry_after is not None:
        headers["Retry-After"] = f"{fault.retry_after:g}"
    if fault.html:
        page = GATEWAY_PAGE % (fault.status, fault.status)
        return Response(page, fault.status, headers, "text/html")
    return envelope(fault.status, "A fault of the sandbox", headers)


def garbage() -> Response:
    """Answer 200 with a page where JSON is due, as a captive portal does."""
    return Response(GATEWAY_PAGE % (200, 200), 200, media_type="text/html")


class TruncatedResponse(Response):
    """Promises the whole body, sends half of it and lets the server close the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head and half of the body, and leave the answer unfinished."""
        del scope, receive
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        half = bytes(self.body)[: len(self.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})


def on_http_exception(_: Request, error: Exception) -> Response:
    """Put Starlette's own refusals into the envelope."""
    if not isinstance(error, HTTPException):
        raise error
    return envelope(error.status_code, error.detail, dict(error.headers or {}))


def on_unknown_id(_: Request, error: Exception) -> Response:
    """Answer 404 for what is not there."""
    return envelope(404, str(error))


def on_conflict(_: Request, error: Exception) -> Response:
    """Answer 409 for an edit that the row's state rules out."""
    return envelope(409, str(error))


def on_invalid(_: Request, error: Exception) -> Response:
    """Answer 400 for a body that is not what the call takes."""
    return envelope(400, str(error))


EXCEPTION_HANDLERS = {
    HTTPException: on_http_exception,
    UnknownIdError: on_unknown_id,
    ConflictError: on_conflict,
    msgspec.DecodeError: on_invalid,
}
