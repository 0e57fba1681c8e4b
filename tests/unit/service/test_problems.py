"""The error table: one form, and one status for each class."""

import asyncio
import json
from typing import Any

import pytest
from redis import exceptions
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from structlog.testing import capture_logs

from service.problems import HANDLERS, STATUS, problem
from workers.contract import errors
from workers.contract.errors import RequestRefused


def answer_to(error: Exception) -> Response:
    """Give the answer for an error, by the handler that would be chosen."""
    handler: Any = next(HANDLERS[kind] for kind in type(error).__mro__ if kind in HANDLERS)
    request = Request({"type": "http", "method": "GET", "path": "/", "headers": []})
    with capture_logs():
        response: Response = asyncio.run(handler(request, error))
    return response


def members(response: Response) -> dict[str, Any]:
    """Give the members of a problem."""
    parsed: dict[str, Any] = json.loads(bytes(response.body))
    return parsed


def test_problem_is_pinned() -> None:
    """The form of RFC 9457, with our reason as an extension."""
    response = problem(404, "unknown_tenant", "There is no such tenant.")
    assert response.headers["content-type"] == "application/problem+json"
    assert members(response) == {
        "type": "urn:cpdfeed:problem:unknown_tenant",
        "title": "Unknown tenant",
        "status": 404,
        "detail": "There is no such tenant.",
        "reason": "unknown_tenant",
    }


@pytest.mark.parametrize(
    ("kind", "status", "reason"),
    [
        (errors.BadRequest, 400, "bad_request"),
        (errors.Unauthenticated, 401, "unauthenticated"),
        (errors.Forbidden, 403, "forbidden"),
        (errors.NotFound, 404, "not_found"),
        (errors.Gone, 410, "cursor_gone"),
        (errors.BodyTooLarge, 413, "body_too_large"),
        (errors.UnsupportedMedia, 415, "unsupported_media_type"),
        (errors.InboxFull, 429, "inbox_full"),
        (errors.TemporarilyUnavailable, 503, "temporarily_unavailable"),
    ],
)
def test_refusal_has_its_status(kind: type[RequestRefused], status: int, reason: str) -> None:
    """Each class of refusal is one status and has one reason of its own."""
    response = answer_to(kind("Said."))
    assert response.status_code == status
    told = members(response)
    assert (told["reason"], told["detail"]) == (reason, "Said.")


def test_every_refusal_is_in_the_table() -> None:
    """No refusal is forgotten."""
    assert set(STATUS) == set(RequestRefused.__subclasses__())


def test_refusal_may_name_its_own_reason() -> None:
    """Where a status has several reasons, the error says which."""
    error = errors.Forbidden("No.", reason="wrong_tenant")
    assert members(answer_to(error))["reason"] == "wrong_tenant"


def test_each_challenge_has_its_own_line() -> None:
    """Two challenges are two header lines."""
    error = errors.Unauthenticated("No.", challenges=["Bearer", "Signature"])
    assert answer_to(error).headers.getlist("www-authenticate") == ["Bearer", "Signature"]


def test_refusal_without_challenges_has_no_line() -> None:
    """Nobody is challenged for nothing, nor told to come back."""
    headers = answer_to(errors.BadRequest("No.")).headers
    assert "www-authenticate" not in headers
    assert "retry-after" not in headers


def test_time_to_come_back_is_told() -> None:
    """A refusal that passes says when."""
    assert answer_to(errors.InboxFull("No.", retry_after_s=7)).headers["retry-after"] == "7"


@pytest.mark.parametrize(
    "error",
    [
        errors.StoreUnavailable("secret"),
        exceptions.ConnectionError("secret"),
        exceptions.TimeoutError("secret"),
        exceptions.OutOfMemoryError("secret"),
        exceptions.ReadOnlyError("secret"),
        exceptions.BusyLoadingError("secret"),
        exceptions.ResponseError("secret"),
        exceptions.MaxConnectionsError("secret"),
    ],
)
def test_store_that_fails_is_told(error: Exception) -> None:
    """Whatever Redis says, the caller hears that it is away, and when to come back."""
    response = answer_to(error)
    assert response.status_code == 503
    assert members(response)["reason"] == "store_unavailable"
    assert response.headers["retry-after"] == "5"
    assert b"secret" not in bytes(response.body)


def test_unknown_schema_is_told() -> None:
    """Data of another version is a state of ours, not the caller's fault."""
    response = answer_to(errors.SchemaUnknown("9", "1"))
    assert (response.status_code, members(response)["reason"]) == (503, "schema_unknown")


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (404, "not_found"),
        (405, "method_not_allowed"),
        (400, "bad_request"),
        (426, "upgrade_required"),
    ],
)
def test_error_of_the_router_is_a_problem(status: int, reason: str) -> None:
    """What Starlette refuses has our form; its own words are not repeated."""
    response = answer_to(HTTPException(status, "secret", headers={"Allow": "POST"}))
    assert (response.status_code, members(response)["reason"]) == (status, reason)
    assert response.headers["allow"] == "POST"
    assert b"secret" not in bytes(response.body)


def test_client_that_left_is_no_fault() -> None:
    """Nobody reads this answer, and nothing is raised."""
    assert answer_to(ClientDisconnect()).status_code == 400


@pytest.mark.parametrize("error", [ValueError("secret"), errors.CommitConflict("secret")])
def test_anything_else_is_internal(error: Exception) -> None:
    """What is not in the table is our fault and says nothing."""
    response = answer_to(error)
    assert (response.status_code, members(response)["reason"]) == (500, "internal")
    assert b"secret" not in bytes(response.body)


@pytest.mark.parametrize("kind", [RequestRefused, HTTPException])
def test_handlers_refuse_what_they_were_not_made_for(kind: type[Exception]) -> None:
    """A handler that is registered for the wrong class says so at once."""
    handler: Any = HANDLERS[kind]
    request = Request({"type": "http"})
    with pytest.raises(TypeError):
        asyncio.run(handler(request, ValueError("x")))
