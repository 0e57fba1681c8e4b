"""Notifications, as their receiver gets them."""

import hashlib
import hmac
import json
import time
from collections.abc import Callable

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.sandbox.notifier import sign

TENANT = "eu-west-2_Sandbox01"
FIRST = "60d5ec49b60b4b3a2c8f9a10"
TECH_TEAM = "60d5ec49b60b4b3a2c8f9a11"
WAIT_S = 10.0

VECTOR_BODY = (
    b'{"eventType":"user.activated","tenantId":"acme-corp","user":{"id":"usr_abc123",'
    b'"reference":"EMP-00042","firstName":"Jane","lastName":"Smith",'
    b'"email":"jane.smith@acme.com","status":"active","role":"learner"},'
    b'"createdAt":"2024-03-15T10:30:00.000Z","dispatchedAt":"2024-03-15T10:30:01.234Z"}'
)
VECTOR_SIGNATURE = "sha256=0cba79384557ec24a5e346ab88340f93dd2ca000b792e6d47832a0e06fa3b320"


class Receiver:
    """Takes notifications, answering each with the next of `statuses`, and then with 202."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.app = Starlette(routes=[Route("/hook", self.take, methods=["POST"])])

    async def take(self, request: Request) -> Response:
        """Take one."""
        self.received.append((dict(request.headers), await request.body()))
        return Response(status_code=self.statuses.pop(0) if self.statuses else 202)


@pytest.fixture
def receiver() -> Receiver:
    """Give a receiver that accepts everything."""
    return Receiver()


@pytest.fixture
def hook(serve: Callable[[Starlette], str], receiver: Receiver) -> str:
    """Give the URL of the running receiver."""
    return f"{serve(receiver.app)}/hook"


def settled(control: httpx2.Client) -> list[dict[str, object]]:
    """Wait until no delivery is on its way and return them all."""
    deadline = time.monotonic() + WAIT_S
    while True:
        deliveries: list[dict[str, object]] = control.get("/deliveries").json()
        if all(delivery["state"] != "pending" for delivery in deliveries):
            return deliveries
        assert time.monotonic() < deadline, "a delivery is still pending"
        time.sleep(0.005)


def test_sign_agrees_with_the_vector() -> None:
    """The signature of the known body under the known secret is the known one."""
    assert len(VECTOR_BODY) == 288
    assert sign(VECTOR_BODY, "test-secret") == VECTOR_SIGNATURE


def test_assignment_notification_has_the_documented_form(
    control: httpx2.Client, receiver: Receiver, hook: str
) -> None:
    """An edit announced as an assignment names the audience under the tenant's alias."""
    control.put("/target", json={"url": hook, "tenant_alias": "acme-corp"})
    control.patch(f"/requirements/{FIRST}?notify=assignment", json={"requiredMinutes": 5})
    settled(control)
    ((headers, raw),) = receiver.received
    body = json.loads(raw)
    assert headers["content-type"] == "application/json"
    assert body["assignment"].pop("id")
    assert body.pop("createdAt") <= body.pop("dispatchedAt")
    assert body == {
        "eventType": "assignment.updated",
        "tenantId": "acme-corp",
        "reason": None,
        "assignment": {
            "audienceId": TECH_TEAM,
            "primaryContentId": None,
            "completionPeriod": 30,
            "recurring": False,
            "recurrence": None,
        },
        "users": [],
    }


def test_precise_notification_names_the_requirement(
    control: httpx2.Client, receiver: Receiver, hook: str
) -> None:
    """A precise notification of a deletion names the requirement and its last audience."""
    control.put("/target", json={"url": hook})
    answer = control.delete(f"/requirements/{FIRST}?notify=precise").json()
    (delivery,) = settled(control)
    body = json.loads(receiver.received[0][1])
    assert answer["notification"] == delivery["id"]
    assert (body["eventType"], body["tenantId"]) == ("cpd.requirement.changed", TENANT)
    assert (body["audienceRequirementId"], body["audienceId"]) == (FIRST, TECH_TEAM)


def test_random_edits_are_announced_each(
    control: httpx2.Client, receiver: Receiver, hook: str
) -> None:
    """A burst that is announced sends one notification per edit."""
    control.put("/target", json={"url": hook})
    control.post("/edits?notify=assignment", json={"count": 7, "seed": 1})
    settled(control)
    assert len(receiver.received) == 7


def test_secret_signs_the_raw_body(control: httpx2.Client, receiver: Receiver, hook: str) -> None:
    """With a secret the header is the HMAC of the bytes that were sent."""
    control.put("/target", json={"url": hook, "secret": "s3cret"})
    control.post("/notify", json={"requirement_id": FIRST})
    settled(control)
    ((headers, raw),) = receiver.received
    expected = hmac.new(b"s3cret", raw, hashlib.sha256).hexdigest()
    assert headers["x-hmac-signature"] == f"sha256={expected}"


def test_no_secret_sends_no_signature(
    control: httpx2.Client, receiver: Receiver, hook: str
) -> None:
    """Without a secret and a token nothing proves the sender; extra headers are sent along."""
    control.put("/target", json={"url": hook, "headers": {"X-Extra": "1"}})
    control.post("/notify", json={"audience_id": TECH_TEAM})
    settled(control)
    ((headers, _),) = receiver.received
    assert headers["x-extra"] == "1"
    assert "x-hmac-signature" not in headers
    assert "authorization" not in headers


def test_bearer_token_has_the_webhooks_scope(
    control: httpx2.Client, web: httpx2.Client, receiver: Receiver, hook: str
) -> None:
    """A token-bearing notification carries a token that the tenant's own keys verify."""
    control.put("/target", json={"url": hook, "bearer": True})
    control.post("/notify", json={"audience_id": TECH_TEAM})
    settled(control)
    token = receiver.received[0][0]["authorization"].removeprefix("Bearer ")
    keys = KeySet.import_key_set(web.get(f"/idp/{TENANT}/.well-known/jwks.json").json())
    claims = jwt.decode(token, keys, ["RS256"]).claims
    assert (claims["scope"], claims["token_use"]) == ("api/webhooks", "access")
    assert claims["iss"] == f"{web.base_url}".rstrip("/") + f"/idp/{TENANT}"


def test_bearer_token_is_of_the_current_key(
    control: httpx2.Client, receiver: Receiver, hook: str
) -> None:
    """Notifications share a token until the key is rotated, and have a new one from then on."""
    control.put("/target", json={"url": hook, "bearer": True})
    for _ in range(2):
        control.post("/notify", json={"audience_id": TECH_TEAM})
        settled(control)
    control.post("/keys", json={"keep_old": True})
    control.post("/notify", json={"audience_id": TECH_TEAM})
    settled(control)
    first, second, third = (headers["authorization"] for headers, _ in receiver.received)
    assert first == second != third


def test_deliveries_are_limited_to_the_last(
    control: httpx2.Client, receiver: Receiver, hook: str
) -> None:
    """With a limit the last deliveries are listed, the latest one last."""
    control.put("/target", json={"url": hook})
    for _ in range(3):
        control.post("/notify", json={"audience_id": TECH_TEAM})
    everything = settled(control)
    assert len(receiver.received) == 3
    assert control.get("/deliveries?limit=2").json() == everything[-2:]


def test_payload_is_sent_as_given_but_for_dispatched_at(
    control: httpx2.Client, receiver: Receiver, hook: str
) -> None:
    """A given payload keeps every member, in order; only `dispatchedAt` is of now."""
    control.put("/target", json={"url": hook})
    payload = {"messageType": "x", "dispatchedAt": "2020-01-01T00:00:00.000Z", "data": {"a": [1]}}
    control.post("/notify", json={"payload": payload})
    settled(control)
    body = json.loads(receiver.received[0][1])
    assert list(body) == ["messageType", "dispatchedAt", "data"]
    assert body.pop("dispatchedAt") > "2020-01-01T00:00:00.000Z"
    assert body == {"messageType": "x", "data": {"a": [1]}}


def test_refused_notification_is_retried_until_taken(
    control: httpx2.Client, receiver: Receiver, hook: str
) -> None:
    """A refused notification is sent again with a later `dispatchedAt` and equal else."""
    receiver.statuses = [500, 302]
    control.put("/target", json={"url": hook, "secret": "s"})
    control.post("/notify", json={"audience_id": TECH_TEAM})
    (delivery,) = settled(control)
    bodies = [json.loads(raw) for _, raw in receiver.received]
    times = [body.pop("dispatchedAt") for body in bodies]
    assert times == sorted(set(times))
    assert bodies[0] == bodies[1] == bodies[2]
    assert delivery["state"] == "delivered"
    attempts = delivery["attempts"]
    assert isinstance(attempts, list)
    assert [attempt["status"] for attempt in attempts] == [500, 302, 202]


def test_refused_notification_is_given_up_after_five_retries(
    control: httpx2.Client, receiver: Receiver, hook: str
) -> None:
    """Six refusals end a delivery."""
    receiver.statuses = [503] * 10
    control.put("/target", json={"url": hook})
    control.post("/notify", json={"audience_id": TECH_TEAM})
    (delivery,) = settled(control)
    assert (delivery["state"], len(receiver.received)) == ("failed", 6)


def test_unreachable_target_is_an_attempt_with_an_error(control: httpx2.Client) -> None:
    """A target that nobody listens at is tried as often, and the error is told."""
    control.put("/target", json={"url": "http://127.0.0.1:9/hook"})
    control.post("/notify", json={"audience_id": TECH_TEAM})
    (delivery,) = settled(control)
    attempts = delivery["attempts"]
    assert isinstance(attempts, list)
    assert (delivery["state"], len(attempts)) == ("failed", 6)
    assert attempts[0]["status"] is None
    assert "ClientConnectorError" in attempts[0]["error"]


def test_edit_without_a_target_sends_nothing(control: httpx2.Client) -> None:
    """Without a target an edit goes through and announces nothing."""
    answer = control.delete(f"/requirements/{FIRST}?notify=precise").json()
    assert answer["notification"] is None
    assert control.get("/deliveries").json() == []


def test_notify_without_a_target_is_refused(control: httpx2.Client) -> None:
    """A notification by hand needs somewhere to go."""
    assert control.post("/notify", json={"audience_id": TECH_TEAM}).status_code == 409


def test_deleted_target_gets_nothing_more(
    control: httpx2.Client, receiver: Receiver, hook: str
) -> None:
    """A target that was removed is not notified."""
    control.put("/target", json={"url": hook})
    control.delete("/target")
    control.delete(f"/requirements/{FIRST}?notify=precise")
    assert settled(control) == []
    assert receiver.received == []
