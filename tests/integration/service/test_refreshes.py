"""``POST /v1/refresh`` over HTTP."""

from typing import Any

import httpx2
import pytest
import redis

from tests.integration.service.conftest import ADMIN, READER, WRITER, Refuse, Site, Start
from workers.contract.codec import read_brake
from workers.contract.keyspace import Keyspace

ID = "60d5ec49b60b4b3a2c8f9a11"


def ask(site: Site, body: object, token: str = WRITER, query: str = "") -> httpx2.Response:
    """Ask for a refresh."""
    headers = {"authorization": f"Bearer {token}"}
    return site.client.post(f"/v1/refresh{query}", json=body, headers=headers)


@pytest.mark.parametrize(
    ("body", "scope"),
    [
        ({"scope": "collection"}, "collection"),
        ({"audience_id": ID}, f"audience:{ID}"),
        ({"requirement_id": ID}, f"requirement:{ID}"),
    ],
)
@pytest.mark.parametrize("token", [WRITER, ADMIN])
def test_refresh_goes_the_way_of_a_notification(
    start: Start,
    store: redis.Redis,
    keys: Keyspace,
    body: dict[str, str],
    scope: str,
    token: str,
) -> None:
    """A hint by hand is stored, marked as manual, and answered as a notification is."""
    answer = ask(start(), body, token)
    assert answer.status_code == 202
    id_ = answer.json()["notification"]
    assert answer.json() == {"notification": id_, "status": "accepted"}
    assert answer.headers["location"] == f"/v1/notifications/{id_}"
    fields = {b"type": b"cpdfeed.refresh", b"scopes": scope.encode(), b"via": b"api"}
    entries: Any = store.xrange(keys.inbox)
    assert entries == [(id_.encode(), fields)]
    assert store.hget(keys.marks, scope) == f"{id_} 1 1 1".encode()


def test_equal_refreshes_are_all_served(start: Start) -> None:
    """Who asks again means it."""
    site = start()
    answers = [ask(site, {"scope": "collection"}).json() for _ in range(3)]
    assert [answer["status"] for answer in answers] == ["accepted"] * 3


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"scope": "audience"},
        {"scope": None},
        {"scope": ["collection"]},
        {"audience_id": ID[:-1]},
        {"audience_id": ID + "0"},
        {"audience_id": "z" * 24},
        {"audience_id": f"{ID}\n"},
        {"audience_id": 7},
        {"audience_id": [ID]},
        {"requirement_id": None},
        {"audience_id": ID, "requirement_id": ID},
        {"scope": "collection", "audience_id": ID},
        {"scope": "collection", "unknown": 1},
        {"release_brake": False},
        {"release_brake": 1},
        {"release_brake": "true"},
        {"release_brake": True, "scope": "collection"},
        {"unknown": ID},
    ],
)
def test_other_bodies_are_refused(start: Start, refused: Refuse, body: object) -> None:
    """Anything but exactly one of the four forms is refused, whoever asks."""
    refused(ask(start(), body, ADMIN), 400, "bad_request")


@pytest.mark.parametrize(("content", "reason"), [(b"{", "not_json"), (b"[]", "not_an_object")])
def test_body_that_is_no_object_is_refused(
    start: Start, refused: Refuse, content: bytes, reason: str
) -> None:
    """A body is read as strictly as a notification's."""
    headers = {"authorization": f"Bearer {WRITER}", "content-type": "application/json"}
    refused(start().client.post("/v1/refresh", content=content, headers=headers), 400, reason)


def test_other_media_type_is_refused(start: Start, refused: Refuse) -> None:
    """A form is not JSON."""
    headers = {"authorization": f"Bearer {WRITER}"}
    answer = start().client.post("/v1/refresh", data={"scope": "collection"}, headers=headers)
    refused(answer, 415, "unsupported_media_type")


def test_large_body_is_refused(start: Start, refused: Refuse) -> None:
    """The bound of notifications holds here too."""
    answer = ask(start(max_body_bytes="100"), {"audience_id": "x" * 100})
    refused(answer, 413, "body_too_large")


def test_reader_is_refused(start: Start, refused: Refuse) -> None:
    """Who may read may not refresh."""
    answer = ask(start(), {"scope": "collection"}, READER)
    refused(answer, 403, "insufficient_scope")


def test_caller_is_asked_for_before_the_body_is_read(start: Start, refused: Refuse) -> None:
    """Whoever has no token learns nothing about the body."""
    refused(start().client.post("/v1/refresh", content=b"{"), 401, "unauthenticated")


def test_other_method_is_refused(start: Start, refused: Refuse) -> None:
    """Only POST is taken."""
    answer = start().client.get("/v1/refresh")
    refused(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


def test_full_inbox_refuses_a_refresh(start: Start) -> None:
    """A hint by hand takes room like any other."""
    site = start(inbox_max="1")
    ask(site, {"scope": "collection"})
    answer = ask(site, {"scope": "collection"})
    assert (answer.status_code, answer.json()["reason"]) == (429, "inbox_full")


# --- the brake --------------------------------------------------------------------------------

BRAKE: dict[Any, Any] = {
    "strength": "operator",
    "since_ms": 1_700_000_000_000,
    "scan_ms": 1_700_000_000_000,
    "rows": 100,
    "suspects": 0,
    "ids": b"\x90",
}


@pytest.mark.parametrize("strength", ["operator", "scan"])
def test_admin_releases_the_brake(
    start: Start, store: redis.Redis, keys: Keyspace, logged: list[Any], strength: str
) -> None:
    """An operator lets go what the brake holds, and the collection is read for it."""
    held = BRAKE | {"strength": strength}
    store.hset(keys.brake, mapping=held)
    site = start()
    answer = ask(site, {"release_brake": True}, ADMIN)
    assert answer.status_code == 202
    id_ = answer.json()["notification"]
    assert answer.json() == {"notification": id_, "status": "accepted"}
    assert store.hget(keys.marks, "collection") == f"{id_} 1 1 1".encode()
    found: Any = store.hgetall(keys.brake)
    brake = read_brake(found)
    assert brake is not None
    assert (brake.released, brake.strength, brake.rows) == (True, strength, 100)
    said = [entry for entry in logged if entry["event"] == "brake.released"]
    assert [entry["tenant"] for entry in said] == ["acme"]


def test_brake_that_is_not_engaged_stays_so(
    start: Start, store: redis.Redis, keys: Keyspace, logged: list[Any]
) -> None:
    """A release finds nothing held back: nothing is left that would let go a later brake."""
    assert ask(start(), {"release_brake": True}, ADMIN).status_code == 202
    assert not store.exists(keys.brake)
    assert store.hexists(keys.marks, "collection")
    assert [entry for entry in logged if entry["event"] == "brake.released"] == []


@pytest.mark.parametrize("token", [READER, WRITER])
def test_only_an_admin_releases_the_brake(
    start: Start, store: redis.Redis, keys: Keyspace, refused: Refuse, token: str
) -> None:
    """Who may refresh may not release the brake, and nothing comes of the attempt."""
    store.hset(keys.brake, mapping=BRAKE)
    answer = ask(start(), {"release_brake": True}, token)
    refused(answer, 403, "insufficient_scope")
    assert not store.hexists(keys.brake, "released")


def test_scope_that_is_needed_for_the_brake_is_named(start: Start) -> None:
    """The challenge says which scope it takes."""
    answer = ask(start(), {"release_brake": True})
    challenge = 'Bearer error="insufficient_scope", scope="admin"'
    assert answer.headers["www-authenticate"] == challenge


def test_location_names_the_tenant_where_there_are_several(two_tenants: Site) -> None:
    """The address that is answered can be read as it is."""
    answer = ask(two_tenants, {"scope": "collection"}, query="?tenant=other")
    assert answer.headers["location"].endswith("-1?tenant=other")
