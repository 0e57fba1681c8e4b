"""Asking an issuer about a token, and what happens when it does not answer."""

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.claims import Introspected
from service.introspection import Introspector
from tests.integration.service.conftest import (
    INTROSPECTION_SECRET,
    Issuer,
    Refuse,
    Start,
    borne,
)
from workers import embedded
from workers.contract.errors import TemporarilyUnavailable
from workers.contract.settings import Secret


def ask(url: str, token: str) -> Introspected:
    """Ask once about a token."""

    async def run() -> Introspected:
        introspector = Introspector(url, "cpdfeed", Secret(INTROSPECTION_SECRET))
        try:
            return await introspector.ask(token)
        finally:
            await introspector.close()

    return asyncio.run(run())


def trusting(issuer: Issuer) -> dict[str, str]:
    """Give the settings of a tenant whose tokens are opaque."""
    return {
        "webhook_auth": "bearer",
        "webhook_introspection_url": f"{issuer.url}/introspect",
        "webhook_introspection_client_id": "cpdfeed",
        "webhook_introspection_client_secret": INTROSPECTION_SECRET,
    }


def test_answer_is_read(issuer: Issuer) -> None:
    """What the issuer says is given as claims."""
    issuer.known["opaque"] = {"active": True, "scope": "a b", "client_id": "c", "other": {}}
    answer = ask(f"{issuer.url}/introspect", "opaque")
    assert answer.active
    assert answer.client == "c"
    assert answer.scopes == {"a", "b"}


def test_token_is_sent_as_it_is(issuer: Issuer) -> None:
    """Characters that mean something in a form arrive as they were."""
    ask(f"{issuer.url}/introspect", "a+b/c~d==")
    assert issuer.asked[0]["token"] == "a+b/c~d=="


@pytest.mark.parametrize(
    ("status", "document"),
    [
        pytest.param(200, b"", id="empty"),
        pytest.param(200, b"<html>", id="HTML"),
        pytest.param(200, b"[]", id="a list"),
        pytest.param(200, b'{"active":"true"}', id="active a text"),
        pytest.param(200, b'{"active":1}', id="active a number"),
        pytest.param(200, b'{"active":true,"exp":"never"}', id="expiry a text"),
        pytest.param(200, b'{"active":true,"x":' + b"[" * 5000, id="deep"),
        pytest.param(302, b'{"active":true}', id="redirect"),
        pytest.param(401, b'{"active":true}', id="401"),
        pytest.param(403, b"", id="403"),
        pytest.param(500, b'{"active":true}', id="500"),
    ],
)
def test_answer_that_is_none_is_not_believed(issuer: Issuer, status: int, document: bytes) -> None:
    """Anything but the answer the standard describes leaves the question open."""
    issuer.status, issuer.document = status, document
    with capture_logs() as logged, pytest.raises(TemporarilyUnavailable) as refusal:
        ask(f"{issuer.url}/introspect", "opaque")
    assert refusal.value.problem == "introspection_unavailable"
    assert refusal.value.retry_after_s == 5
    assert INTROSPECTION_SECRET not in str(logged)


def test_absent_issuer_is_said(start: Start, issuer: Issuer, logged: list[Any]) -> None:
    """Over HTTP: 503 with a time to come back, and the token is not told to the log."""
    away = trusting(issuer) | {
        "webhook_introspection_url": f"http://127.0.0.1:{embedded.free_port()}/introspect"
    }
    answer = start(**away).notify(headers=borne("opaque-token"))
    assert (answer.status_code, answer.json()["reason"]) == (503, "introspection_unavailable")
    assert answer.headers["retry-after"] == "5"
    assert "opaque-token" not in str(logged)
    assert "opaque-token" not in answer.text


def test_active_token_opens_the_webhook(start: Start, issuer: Issuer) -> None:
    """A notification that bears an active opaque token with the scope is accepted."""
    issuer.known["opaque-token"] = {"active": True, "scope": "api/webhooks"}
    answer = start(**trusting(issuer)).notify(headers=borne("opaque-token"))
    assert answer.status_code == 202


def test_inactive_token_does_not(start: Start, issuer: Issuer, refused: Refuse) -> None:
    """One that its issuer does not know is refused as invalid."""
    answer = start(**trusting(issuer)).notify(headers=borne("opaque-token"))
    refused(answer, 401, "invalid_token", never=("opaque-token",))


def test_active_token_without_the_scope_does_not(
    start: Start, issuer: Issuer, refused: Refuse
) -> None:
    """An active token for something else is told which scope it needs."""
    issuer.known["opaque-token"] = {"active": True, "scope": "api/read"}
    answer = start(**trusting(issuer)).notify(headers=borne("opaque-token"))
    refused(answer, 403, "insufficient_scope")
