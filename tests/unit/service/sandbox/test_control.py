"""The sandbox's own interface: tenants, keys, faults, truth."""

import httpx2
import pytest

from service.sandbox.collection import rows_digest
from service.sandbox.seed import SEED_ROWS

TENANT = "eu-west-2_Sandbox01"
LIST = "/cpdRequirementSummaries"
FIRST = "60d5ec49b60b4b3a2c8f9a10"


def test_put_tenant_makes_one(web: httpx2.Client) -> None:
    """A new tenant has the rows and the options that were asked for."""
    path = "/sandbox/tenants/eu-west-2_New"
    response = web.put(path, json={"rows": 12, "api_secret": "mine", "order": "id"})
    assert response.status_code == 201
    listed = web.get(
        "/public/rest/v1/cpdRequirementSummaries", auth=("eu-west-2_New", "mine")
    ).json()["results"]
    ids = [row["audienceRequirementId"] for row in listed]
    assert len(ids) == 12
    assert ids == sorted(ids)


@pytest.mark.parametrize(
    "body", [{"nonsense": 1}, {"rows": "many"}, {"order": "best"}, {"token_ttl_s": 0}]
)
def test_put_tenant_refuses_unknown_options(web: httpx2.Client, body: dict[str, object]) -> None:
    """A misspelt option or a wrong value is answered 400 and changes nothing."""
    assert web.put("/sandbox/tenants/eu-west-2_New", json=body).status_code == 400
    tenants = web.get("/sandbox/tenants").json()["tenants"]
    assert [tenant["tenant_id"] for tenant in tenants] == [TENANT]


def test_patch_tenant_keeps_the_rest(control: httpx2.Client) -> None:
    """Changing one option leaves rows, history and the other options as they are."""
    control.delete(f"/requirements/{FIRST}")
    body = control.patch("", json={"direction": "descending"}).json()
    assert (body["direction"], body["rows"], body["version"]) == ("descending", 1, 1)
    assert body["api_secret"] == "sandbox-secret"


def test_unknown_tenant_is_404(web: httpx2.Client) -> None:
    """The controls of a tenant that is not there are answered 404."""
    assert web.get("/sandbox/tenants/nobody/truth").status_code == 404


@pytest.mark.parametrize(("keep_old", "kept"), [(True, 2), (False, 1)])
def test_rotate_key_publishes_the_new_key(
    web: httpx2.Client, control: httpx2.Client, *, keep_old: bool, kept: int
) -> None:
    """After a rotation the key set has the new key first, and the old one if it was kept."""
    jwks = f"/idp/{TENANT}/.well-known/jwks.json"
    old = web.get(jwks).json()["keys"][0]["kid"]
    rotated = control.post("/keys", json={"keep_old": keep_old}).json()
    kids = [key["kid"] for key in web.get(jwks).json()["keys"]]
    assert kids == rotated["kids"]
    assert (kids[0], len(kids), old in kids) == (rotated["kid"], kept, keep_old)


def test_faults_count_what_they_hit(api: httpx2.Client, control: httpx2.Client) -> None:
    """The list of faults says how often each matched and fired."""
    control.put("/faults", json=[{"kind": "garbage", "skip": 1}])
    for _ in range(3):
        api.get(LIST)
    (fault,) = control.get("/faults").json()
    assert (fault["kind"], fault["matched"], fault["fired"]) == ("garbage", 3, 2)


def test_faults_are_cleared(api: httpx2.Client, control: httpx2.Client) -> None:
    """With the faults switched off the platform answers as ever."""
    control.put("/faults", json=[{"kind": "status", "status": 500}])
    assert control.delete("/faults").status_code == 204
    assert api.get(LIST).status_code == 200


@pytest.mark.parametrize(
    "fault", [{"kind": "gremlin"}, {"kind": "status", "status": 200}, {"kind": "slow", "delay": 1}]
)
def test_faults_refuse_what_is_none(control: httpx2.Client, fault: dict[str, object]) -> None:
    """An unknown kind, value or field is answered 400."""
    assert control.put("/faults", json=[fault]).status_code == 400


def test_truth_is_what_is_there_now_and_was_before(control: httpx2.Client) -> None:
    """The truth of now lacks the deleted row, and that of version 0 has it."""
    control.delete(f"/requirements/{FIRST}")
    now, before = control.get("/truth").json(), control.get("/truth?version=0").json()
    ids = [row["audienceRequirementId"] for row in before["rows"]]
    assert (now["version"], len(now["rows"])) == (1, 1)
    assert ids == [row.audience_requirement_id for row in SEED_ROWS]
    assert before["digest"] == rows_digest(SEED_ROWS) != now["digest"]


def test_truth_does_not_lag(control: httpx2.Client) -> None:
    """The truth shows an edit that the lagging platform hides."""
    control.patch("", json={"lag_list_s": 3600, "lag_by_id_s": 3600})
    control.delete(f"/requirements/{FIRST}")
    assert len(control.get("/truth").json()["rows"]) == 1


def test_history_has_every_edit_since(control: httpx2.Client) -> None:
    """The history lists the edits after a version, each with the row before and after."""
    control.patch(f"/requirements/{FIRST}", json={"requiredMinutes": 720})
    control.delete(f"/requirements/{FIRST}")
    (deleted,) = control.get("/history?since=1").json()
    assert (deleted["version"], deleted["op"], deleted["row"]) == (2, "delete", None)
    assert deleted["before"]["requiredMinutes"] == 720


def test_reads_count_by_kind(api: httpx2.Client, control: httpx2.Client) -> None:
    """Every request to the platform is counted and listed with its parameters and status."""
    api.get(LIST, params={"page": 2, "perPage": 50})
    api.get(f"{LIST}/{'0' * 24}")
    api.get("/audiences/audience123")
    reads = control.get("/reads").json()
    assert (reads["list"], reads["one"], reads["audience"], reads["token"]) == (1, 1, 1, 0)
    listed, one, _ = reads["requests"]
    assert listed.pop("at")
    assert listed == {"kind": "list", "page": 2, "per_page": 50, "id": None, "status": 200}
    assert (one["id"], one["status"]) == ("0" * 24, 404)


def test_reads_are_reset(api: httpx2.Client, control: httpx2.Client) -> None:
    """After a reset nothing is counted."""
    api.get(LIST)
    control.delete("/reads")
    assert control.get("/reads").json() == {
        **dict.fromkeys(("list", "one", "audience", "token"), 0),
        "requests": [],
    }


def test_page_loads_nothing_from_elsewhere(web: httpx2.Client) -> None:
    """The page for the browser is HTML that names no other host."""
    response = web.get("/sandbox")
    assert response.headers["content-type"].startswith("text/html")
    assert "://" not in response.text
