"""Turn whatever went wrong into one answer: ``application/problem+json`` (RFC 9457)."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ExceptionHandler

from workers.contract import errors, logs
from workers.contract.codec import jcs

_log = logs.get_logger(__name__)

STATUS: Final[dict[type[errors.RequestRefused], int]] = {
    errors.BadRequest: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Gone: 410,
    errors.BodyTooLarge: 413,
    errors.UnsupportedMedia: 415,
    errors.InboxFull: 429,
    errors.TemporarilyUnavailable: 503,
}
"""The status of each refusal."""

STORE_RETRY_S: Final = 5
"""When to come back while Redis is away."""

_OF_THE_ROUTER: Final = {
    404: ("not_found", "There is nothing at this path."),
    405: ("method_not_allowed", "This path does not take that method."),
}


def problem(
    status: int,
    reason: str,
    detail: str,
    *,
    challenges: Iterable[str] = (),
    retry_after_s: int | None = None,
) -> Response:
    """Give the answer for one problem.

    Source: RFC 9457, section 3; ``reason`` is an extension member, stable like ``type``.
    """
    members = {
        "type": f"urn:cpdfeed:problem:{reason}",
        "title": reason.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "reason": reason,
    }
    response = Response(jcs(members), status, media_type="application/problem+json")
    for challenge in challenges:
        response.headers.append("WWW-Authenticate", challenge)
    if retry_after_s is not None:
        response.headers["Retry-After"] = str(retry_after_s)
    return response


async def _refused(_: Request, error: Exception) -> Response:
    if not isinstance(error, errors.RequestRefused):
        raise TypeError("registered for RequestRefused alone") from error
    return problem(
        STATUS[type(error)],
        error.problem,
        error.detail,
        challenges=error.challenges,
        retry_after_s=error.retry_after_s,
    )


async def _store_unavailable(_: Request, error: Exception) -> Response:
    _log.warning("store_unavailable", error=type(error.__cause__ or error).__name__)
    return problem(
        503,
        errors.StoreUnavailable.reason,
        "The store is away or does not accept writes; nothing was accepted.",
        retry_after_s=STORE_RETRY_S,
    )


async def _schema_unknown(_: Request, error: Exception) -> Response:
    _log.error("schema_unknown", error=str(error))
    return problem(
        503,
        errors.SchemaUnknown.reason,
        "The store holds data of a version that this one does not know.",
        retry_after_s=STORE_RETRY_S,
    )


async def _of_the_router(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise TypeError("registered for HTTPException alone") from error
    phrase = HTTPStatus(error.status_code).phrase
    fallback = (phrase.lower().replace(" ", "_"), f"{phrase}.")
    reason, detail = _OF_THE_ROUTER.get(error.status_code, fallback)
    response = problem(error.status_code, reason, detail)
    response.headers.update(error.headers or {})
    return response


async def _gone_away(_: Request, error: Exception) -> Response:
    _log.info("client_disconnected", error=type(error).__name__)
    return problem(400, "client_disconnected", "The body did not arrive.")  # nobody reads this


async def _internal(request: Request, error: Exception) -> Response:
    """Answer for a fault of ours; Starlette raises it again, so the server logs the traceback."""
    _log.error("internal", error=type(error).__name__, method=request.method)
    return problem(500, errors.CpdfeedError.reason, "Something failed here; it has been logged.")


HANDLERS: Final[dict[Any, ExceptionHandler]] = {
    errors.RequestRefused: _refused,
    errors.StoreUnavailable: _store_unavailable,
    errors.SchemaUnknown: _schema_unknown,
    RedisError: _store_unavailable,
    HTTPException: _of_the_router,
    ClientDisconnect: _gone_away,
    Exception: _internal,
}
"""The error table of the application."""
