"""``POST /v1/refresh`` over HTTP."""

from typing import Any

import httpx2
import pytest
import redis

from tests.integration.service.conftest import ADMIN, READER, WRITER, Refuse, Site, Start
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
        {"release_brake": True},
        {"unknown": ID},
    ],
)
def test_other_bodies_are_refused(start: Start, refused: Refuse, body: object) -> None:
    """Anything but exactly one of the three forms is refused."""
    refused(ask(start(), body), 400, "bad_request")


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


def test_location_names_the_tenant_where_there_are_several(two_tenants: Site) -> None:
    """The address that is answered can be read as it is."""
    answer = ask(two_tenants, {"scope": "collection"}, query="?tenant=other")
    assert answer.headers["location"].endswith("-1?tenant=other")
