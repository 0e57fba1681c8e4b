"""``POST /webhooks/{tenant}`` over HTTP: what is accepted, and every refusal."""

import asyncio
import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx2
import pytest
import redis
from starlette.types import Message

from tests.integration.service.conftest import BODY, Refuse, Site, Start, signed
from workers import embedded
from workers.contract.calls import Call, refresh
from workers.contract.keyspace import Keyspace

VECTOR = (
    b'{"eventType":"user.activated","tenantId":"acme-corp","user":{"id":"usr_abc123",'
    b'"reference":"EMP-00042","firstName":"Jane","lastName":"Smith",'
    b'"email":"jane.smith@acme.com","status":"active","role":"learner"},'
    b'"createdAt":"2024-03-15T10:30:00.000Z","dispatchedAt":"2024-03-15T10:30:01.234Z"}'
)
VECTOR_SIGNATURE = "sha256=0cba79384557ec24a5e346ab88340f93dd2ca000b792e6d47832a0e06fa3b320"
ASSIGNMENT = {
    "eventType": "assignment.updated",
    "tenantId": "acme-corp",
    "assignment": {"audienceId": "60d5ec49b60b4b3a2c8f9a11"},
    "createdAt": "2024-03-15T10:30:00.000Z",
    "dispatchedAt": "2024-03-15T10:30:01.234Z",
}


def wait_until(true: Callable[[], object], within_s: float = 5) -> None:
    """Wait for something that happens beside the request."""
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"


def body_of(**members: object) -> bytes:
    """Give the assignment's payload with other members."""
    return json.dumps(ASSIGNMENT | members).encode()


def test_notification_is_stored_before_it_is_answered(
    start: Start, store: redis.Redis, keys: Keyspace
) -> None:
    """A 202 names a notification that is in Redis, with its scope marked and a refresh woken."""
    site = start()
    answer = site.notify(body_of())
    assert answer.status_code == 202
    assert answer.headers["content-type"] == "application/json"
    id_ = answer.json()["notification"]
    assert answer.json() == {"notification": id_, "status": "accepted"}
    assert answer.headers["location"] == f"/v1/notifications/{id_}"
    assert id_.endswith("-1")
    entry = {
        b"type": b"assignment.updated",
        b"scopes": b"audience:60d5ec49b60b4b3a2c8f9a11",
        b"via": b"signature",
    }
    assert store.xrange(keys.inbox) == [(id_.encode(), entry)]
    assert list(store.hgetall(keys.marks)) == [b"audience:60d5ec49b60b4b3a2c8f9a11"]
    wait_until(lambda: site.calls == [refresh("acme")])


def test_vector_of_the_platform_is_accepted(start: Start) -> None:
    """A body signed the platform's way passes, byte for byte, and a user's is ignored."""
    assert len(VECTOR) == 288
    headers = {"content-type": "application/json", "x-hmac-signature": VECTOR_SIGNATURE}
    answer = start().notify(VECTOR, headers)
    assert (answer.status_code, answer.json()["status"]) == (202, "ignored")


def test_vector_with_one_byte_changed_is_refused(start: Start, refused: Refuse) -> None:
    """A signature is good for the very bytes it was made of."""
    headers = {"content-type": "application/json", "x-hmac-signature": VECTOR_SIGNATURE}
    answer = start().notify(VECTOR.replace(b"Jane", b"June"), headers)
    refused(answer, 401, "invalid_signature")


def test_signed_body_with_other_space_is_refused(start: Start, refused: Refuse) -> None:
    """Equal JSON is not enough: the raw bytes are what was signed."""
    respaced = json.dumps(json.loads(VECTOR)).encode()
    headers = {"content-type": "application/json", "x-hmac-signature": VECTOR_SIGNATURE}
    refused(start().notify(respaced, headers), 401, "invalid_signature")


def test_redelivery_is_a_duplicate(start: Start, store: redis.Redis, keys: Keyspace) -> None:
    """A delivery that differs in ``dispatchedAt`` alone gets the first one's id."""
    site = start()
    first = site.notify(body_of()).json()
    again = site.notify(body_of(dispatchedAt="2024-03-15T11:00:00.000Z")).json()
    assert again == {"notification": first["notification"], "status": "duplicate"}
    assert store.xlen(keys.inbox) == 1


def test_other_notification_is_no_duplicate(
    start: Start, store: redis.Redis, keys: Keyspace
) -> None:
    """One that differs in anything else is accepted."""
    site = start()
    site.notify(body_of())
    assert site.notify(body_of(createdAt="2024-03-15T11:00:00Z")).json()["status"] == "accepted"
    assert store.xlen(keys.inbox) == 2


def test_order_of_members_does_not_matter(start: Start) -> None:
    """A payload is the same whatever the order of its members."""
    site = start()
    site.notify(body_of())
    turned = json.dumps(dict(reversed(ASSIGNMENT.items()))).encode()
    assert site.notify(turned).json()["status"] == "duplicate"


def test_no_payload_is_stored(start: Start, store: redis.Redis) -> None:
    """Nothing of a person's data reaches Redis."""
    start().notify(body_of(users=[{"email": "jane.smith@acme.com"}]))
    for key in store.scan_iter("cpdfeed:*"):
        assert b"jane" not in (store.dump(key) or b"")


@pytest.mark.parametrize(
    "media",
    [
        "application/json",
        "application/json; charset=utf-8",
        "APPLICATION/JSON",
        "application/cloudevents+json",
    ],
)
def test_json_media_types_are_read(start: Start, media: str) -> None:
    """JSON under any of its names, with parameters, is read."""
    headers = signed(BODY) | {"content-type": media}
    assert start().notify(BODY, headers).status_code == 202


@pytest.mark.parametrize(
    "media", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "json", ""]
)
def test_other_media_types_are_refused(start: Start, refused: Refuse, media: str) -> None:
    """What is not said to be JSON is not read."""
    headers = signed(BODY) | {"content-type": media}
    refused(start().notify(BODY, headers), 415, "unsupported_media_type")


def test_missing_media_type_is_refused(start: Start, refused: Refuse) -> None:
    """A body of no stated type is not read."""
    headers = {"x-hmac-signature": signed(BODY)["x-hmac-signature"]}
    refused(start().notify(BODY, headers), 415, "unsupported_media_type")


@pytest.mark.parametrize("coding", ["gzip", "br", "identity, gzip"])
def test_compressed_body_is_refused(start: Start, refused: Refuse, coding: str) -> None:
    """A small body cannot become a large one."""
    headers = signed(BODY) | {"content-encoding": coding}
    refused(start().notify(BODY, headers), 415, "unsupported_media_type")


def test_identity_coding_is_read(start: Start) -> None:
    """A body that is said not to be compressed is read."""
    headers = signed(BODY) | {"content-encoding": "identity"}
    assert start().notify(BODY, headers).status_code == 202


def padded(size: int) -> bytes:
    """Give a payload of exactly so many bytes."""
    bare = b'{"pad":""}'
    return bare.replace(b'""', b'"' + b"x" * (size - len(bare)) + b'"')


def test_body_at_the_bound_is_accepted(start: Start) -> None:
    """A body of exactly the permitted size passes."""
    assert start(max_body_bytes="1000").notify(padded(1000)).status_code == 202


def test_body_over_the_bound_is_refused(start: Start, refused: Refuse) -> None:
    """One byte more does not, and is told by its announced length."""
    refused(start(max_body_bytes="1000").notify(padded(1001)), 413, "body_too_large")


def test_unannounced_body_over_the_bound_is_refused(start: Start, refused: Refuse) -> None:
    """A body of no announced length is counted as it comes."""

    def chunks() -> Iterator[bytes]:
        yield from [b"x" * 600, b"x" * 600]

    site = start(max_body_bytes="1000")
    answer = site.client.post("/webhooks/acme", content=chunks(), headers=signed(b""))
    refused(answer, 413, "body_too_large")


def call(site: Site, messages: list[Message], headers: Mapping[str, str]) -> list[Message]:
    """Call the endpoint below the server, and give what it sent; `messages` are consumed."""
    sent: list[Message] = []
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/webhooks/acme",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(site.app(scope, receive, send))
    return sent


def test_body_is_not_read_past_the_bound(start: Start) -> None:
    """As soon as a body is too large, nothing more of it is taken."""
    chunk: Message = {"type": "http.request", "body": b"x" * 600, "more_body": True}
    messages = [chunk] * 5
    sent = call(start(max_body_bytes="1000"), messages, signed(b""))
    assert sent[0]["status"] == 413
    assert len(messages) == 3


def test_announced_body_is_not_read_at_all(start: Start) -> None:
    """A body that says that it is too large is refused unread."""
    headers = signed(b"") | {"content-length": "99999999999999999999999"}
    messages: list[Message] = [{"type": "http.request", "body": b"x"}]
    assert call(start(), messages, headers)[0]["status"] == 413
    assert len(messages) == 1


def test_client_that_leaves_is_not_answered(start: Start, logged: list[Any]) -> None:
    """A body that breaks off is no fault of ours: no answer, nothing logged, nothing raised."""
    messages: list[Message] = [
        {"type": "http.request", "body": b'{"a"', "more_body": True},
        {"type": "http.disconnect"},
    ]
    assert call(start(), messages, signed(BODY)) == []
    assert logged == []


def test_others_are_served_after_a_client_left(start: Start, store: redis.Redis) -> None:
    """A connection that breaks off in its body harms nobody and leaves nothing."""
    site = start()
    url = site.client.base_url
    with socket.create_connection((url.host, url.port or 0)) as connection:
        head = "POST /webhooks/acme HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        connection.sendall(f'{head}Content-Length: 100\r\n\r\n{{"a"'.encode())
    assert site.notify().status_code == 202
    assert store.xlen("cpdfeed:{acme}:inbox") == 1


NESTED = b'{"a":' + b"[" * 63 + b"]" * 63 + b"}"
TOO_DEEP = b'{"a":' + b"[" * 64 + b"]" * 64 + b"}"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b"", "not_json", id="empty"),
        pytest.param(b"{", "not_json", id="truncated"),
        pytest.param(b"{} {}", "not_json", id="two"),
        pytest.param(b'{"a":NaN}', "not_json", id="NaN"),
        pytest.param(b'{"a":Infinity}', "not_json", id="Infinity"),
        pytest.param(b'{"a":1e400}', "not_json", id="too great"),
        pytest.param(b'{"a":' + b"9" * 5000 + b"}", "not_json", id="far too great"),
        pytest.param(b'{"a":"\xff"}', "not_json", id="not UTF-8"),
        pytest.param(b'{"a":"\\ud800"}', "not_json", id="half a surrogate pair"),
        pytest.param(b"\xef\xbb\xbf{}", "not_json", id="byte order mark"),
        pytest.param(b"{'a':1}", "not_json", id="single quotes"),
        pytest.param(b"[]", "not_an_object", id="array"),
        pytest.param(b"null", "not_an_object", id="null"),
        pytest.param(b'"text"', "not_an_object", id="string"),
        pytest.param(b"1", "not_an_object", id="number"),
        pytest.param(TOO_DEEP, "too_deep", id="65 levels"),
        pytest.param(b'{"a":' * 65 + b"1" + b"}" * 65, "too_deep", id="65 objects"),
        pytest.param(b'{"a":' * 100_000, "too_deep", id="unclosed"),
        pytest.param(b"[" * 500_000, "too_deep", id="far too deep"),
    ],
)
def test_signed_body_that_is_no_object_is_refused(
    start: Start, refused: Refuse, body: bytes, reason: str
) -> None:
    """What is verified and yet no JSON object of sane depth is the sender's fault, never ours."""
    refused(start().notify(body), 400, reason)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(NESTED, id="64 levels"),
        pytest.param(b'{"a":1,"a":2}', id="a name twice"),
        pytest.param(b"{}", id="empty object"),
        pytest.param(b'{"a":"' + b"[" * 100 + b'"}', id="brackets in a string"),
        pytest.param(b'{"a":[' + b"[]," * 100 + b"[]]}", id="many shallow arrays"),
        pytest.param(b'{"a":' + b"9" * 400 + b"}", id="great integer"),
        pytest.param(b'{"eventType":7,"tenantId":[],"data":"x"}', id="other types"),
    ],
)
def test_unusual_object_is_accepted(start: Start, body: bytes) -> None:
    """Any JSON object of sane depth is taken for what it may mean: read everything."""
    assert start().notify(body).json()["status"] == "accepted"


@pytest.mark.parametrize("body", [b"{", b"[]", TOO_DEEP])
def test_unverified_body_is_not_parsed(start: Start, refused: Refuse, body: bytes) -> None:
    """Whoever has no credentials learns nothing about the body."""
    answer = start().notify(body, {"content-type": "application/json"})
    refused(answer, 401, "unauthenticated")


def test_unknown_tenant_is_said_before_anything_else(start: Start, refused: Refuse) -> None:
    """An unknown tenant is 404 whatever the method, type or credentials."""
    site = start()
    refused(site.notify(b"", {}, tenant="nobody"), 404, "unknown_tenant")
    refused(site.client.get("/webhooks/nobody"), 404, "unknown_tenant")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods_are_refused(start: Start, refused: Refuse, method: str) -> None:
    """Only POST is taken, and the answer says so."""
    answer = start().client.request(method, "/webhooks/acme")
    refused(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/webhooks", "/webhooks/", "/webhooks/acme/", "/webhooks/a/b"])
def test_other_paths_are_refused(start: Start, refused: Refuse, path: str) -> None:
    """A path that is not quite right is not found, and leads nowhere else."""
    refused(start().client.post(path, content=BODY, headers=signed(BODY)), 404, "not_found")


def test_payload_of_another_tenant_is_refused(two_tenants: Site, refused: Refuse) -> None:
    """What names another tenant's id or alias is not taken as this one's."""
    for name in ("other-corp", "eu-west-2_Other"):
        refused(two_tenants.notify(body_of(tenantId=name)), 403, "wrong_tenant")


@pytest.mark.parametrize("name", ["acme-corp", "eu-west-2_AbcdEfghI", "never heard of", None, 7])
def test_payload_of_no_other_tenant_is_accepted(two_tenants: Site, name: object) -> None:
    """Its own names, unknown ones, and none at all are taken: an alias may not be set yet."""
    answer = two_tenants.notify(body_of(tenantId=name))
    assert answer.status_code == 202
    assert answer.headers["location"].endswith("?tenant=acme")


def test_secret_of_another_tenant_is_refused(two_tenants: Site, refused: Refuse) -> None:
    """A secret opens its own tenant alone."""
    refused(two_tenants.notify(BODY, signed(BODY, "other-secret")), 401, "invalid_signature")
    assert two_tenants.notify(BODY, signed(BODY, "other-secret"), "other").status_code == 202


def test_full_inbox_is_refused(start: Start) -> None:
    """When too much is pending, the sender is told when to come back; a duplicate still passes."""
    site = start(inbox_max="1")
    assert site.notify(body_of()).status_code == 202
    answer = site.notify(body_of(createdAt="2024-03-16T00:00:00Z"))
    assert (answer.status_code, answer.json()["reason"]) == (429, "inbox_full")
    assert answer.headers["retry-after"] == "5"
    assert site.notify(body_of()).json()["status"] == "duplicate"


def is_store_unavailable(answer: httpx2.Response) -> bool:
    """Tell whether an answer says that Redis is away, and when to come back."""
    return (answer.status_code, answer.json()["reason"], answer.headers["retry-after"]) == (
        503,
        "store_unavailable",
        "5",
    )


def test_absent_store_is_said(start: Start) -> None:
    """Without Redis the process starts, accepts nothing, and says when to come back."""
    site = start(redis_url=f"redis://127.0.0.1:{embedded.free_port()}/0")
    assert is_store_unavailable(site.notify())


def test_store_that_dies_is_said(start: Start, tmp_path_factory: pytest.TempPathFactory) -> None:
    """When Redis goes away nothing more is accepted."""
    with embedded.running(tmp_path_factory.mktemp("dying")) as server:
        site = start(redis_url=server.url.reveal())
        assert site.notify().status_code == 202
    assert is_store_unavailable(site.notify())


def test_store_that_hangs_is_said(start: Start, store: redis.Redis) -> None:
    """When Redis does not answer, the sender does not wait for long."""
    site = start()
    assert site.notify().status_code == 202
    store.client_pause(60_000, all=False)
    try:
        began = time.monotonic()
        assert is_store_unavailable(site.notify(body_of()))
        assert time.monotonic() - began < 5
    finally:
        store.client_unpause()


def test_full_store_is_said(start: Start, store: redis.Redis, keys: Keyspace) -> None:
    """When Redis has no memory left it takes nothing, and neither do we."""
    site = start()
    assert site.notify().status_code == 202
    store.config_set("maxmemory", "1")
    try:
        assert is_store_unavailable(site.notify(body_of()))
    finally:
        store.config_set("maxmemory", "0")
    assert store.xlen(keys.inbox) == 1
    assert site.notify(body_of()).json()["status"] == "accepted"


def test_replica_is_said(start: Start, store: redis.Redis, keys: Keyspace) -> None:
    """A server that was demoted takes no writes, and we accept nothing."""
    site = start()
    assert site.notify().status_code == 202
    store.replicaof("127.0.0.1", str(embedded.free_port()))
    try:
        assert is_store_unavailable(site.notify(body_of()))
    finally:
        store.replicaof("NO", "ONE")
    assert store.xlen(keys.inbox) == 1


def test_foreign_schema_is_said(start: Start, store: redis.Redis, keys: Keyspace) -> None:
    """Data of another version is never written beside."""
    store.set("cpdfeed:schema", "99")
    answer = start().notify()
    assert (answer.status_code, answer.json()["reason"]) == (503, "schema_unknown")
    assert not store.exists(keys.inbox, keys.head)


def test_hanging_broker_holds_up_no_answer(start: Start) -> None:
    """A broker that does not answer is nothing a sender notices."""
    released = threading.Event()

    def hang(_: Call) -> None:
        released.wait(60)

    try:
        site = start(hang)
        began = time.monotonic()
        for number in range(5):
            assert site.notify(body_of(number=number)).status_code == 202
        assert time.monotonic() - began < 5
    finally:
        released.set()


def test_failing_broker_is_logged(start: Start, logged: list[Any]) -> None:
    """A broker that is away costs a line in the log, and the notification stays."""

    def fail(_: Call) -> None:
        raise OSError("broker password")

    assert start(fail).notify().status_code == 202
    wait_until(lambda: [entry["event"] for entry in logged] == ["wake_failed"])
    assert "broker password" not in str(logged)


def test_identity_is_pinned(start: Start, store: redis.Redis) -> None:
    """The identity of a notification is the SHA-256 of its sorted JSON without dispatchedAt."""
    start().notify(b'{"dispatchedAt":"x","b":[1,{"d":2,"c":"\\u00e9"}],"a":null}')
    identity = hashlib.sha256('{"a":null,"b":[1,{"c":"é","d":2}]}'.encode()).hexdigest()
    assert store.exists("cpdfeed:{acme}:dedupe:" + identity) == 1


def test_signature_header_is_pinned(start: Start) -> None:
    """The header is the hex HMAC-SHA256 of the body behind ``sha256=``."""
    digest = hmac.new(b"test-secret", BODY, "sha256").hexdigest()
    headers = {"content-type": "application/json", "X-HMAC-Signature": f"sha256={digest}"}
    assert start().notify(BODY, headers).status_code == 202
