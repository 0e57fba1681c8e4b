"""The platform's public API over HTTP."""

import httpx2
import msgspec
import pytest

from service.sandbox import Platform
from service.sandbox.faults import SlowFault
from service.sandbox.seed import SEED_ROWS

TENANT = "eu-west-2_Sandbox01"
SEED_LIST = (
    '{"pagination":{"totalResults":2,"totalPages":1,"page":1,"perPage":20},"results":['
    '{"audienceRequirementId":"60d5ec49b60b4b3a2c8f9a10","audienceId":"60d5ec49b60b4b3a2c8f9a11",'
    '"requiredMinutes":660,"createdAt":"2020-05-27T10:44:05.687Z",'
    '"updatedAt":"2020-08-05T09:37:47.824Z"},'
    '{"audienceRequirementId":"64b6f4a8c2e4a1b9d3f2c4a0","audienceId":"64b6f4a8c2e4a1b9d3f2c4a1",'
    '"requiredMinutes":1200,"createdAt":"2020-06-11T21:03:55.798Z","updatedAt":null}]}'
)


def test_requirements_are_the_documented_example(api: httpx2.Client) -> None:
    """The default tenant's list is byte for byte the example of the platform's documentation."""
    response = api.get("/cpdRequirementSummaries", params={"page": 1, "perPage": 20})
    assert response.headers["content-type"] == "application/json"
    assert response.text == SEED_LIST


def test_requirements_default_to_the_first_hundred(api: httpx2.Client) -> None:
    """Without parameters the first page of 100 is served."""
    pagination = api.get("/cpdRequirementSummaries").json()["pagination"]
    assert (pagination["page"], pagination["perPage"]) == (1, 100)


@pytest.mark.parametrize(
    "query",
    [
        "page=0",
        "page=x",
        "page=-1",
        f"page={'9' * 5000}",
        "perPage=0",
        "perPage=1001",
        "perPage=1.5",
    ],
)
def test_requirements_refuse_parameters_out_of_bounds(api: httpx2.Client, query: str) -> None:
    """A page or page size outside its bounds is answered 400 in the envelope."""
    response = api.get(f"/cpdRequirementSummaries?{query}")
    assert response.status_code == 400
    assert response.json()["error"] == "Bad Request"
    assert set(response.json()) == {"status", "error", "message"}


@pytest.mark.parametrize("query", ["page=1", "page=7", "perPage=1", "perPage=1000"])
def test_requirements_accept_parameters_at_their_bounds(api: httpx2.Client, query: str) -> None:
    """The bounds themselves are served, and so is a page past the end."""
    assert api.get(f"/cpdRequirementSummaries?{query}").status_code == 200


def test_requirement_is_a_bare_object(api: httpx2.Client) -> None:
    """One requirement is served without a wrapper."""
    row = SEED_ROWS[0]
    response = api.get(f"/cpdRequirementSummaries/{row.audience_requirement_id}")
    assert response.content == msgspec.json.encode(row)


def test_requirement_that_is_gone_is_404_in_the_envelope(api: httpx2.Client) -> None:
    """A requirement that does not exist is answered 404 in the platform's own shape."""
    response = api.get(f"/cpdRequirementSummaries/{'0' * 24}")
    assert response.status_code == 404
    assert response.json() == {
        "status": 404,
        "error": "Not Found",
        "message": f"CPD requirement {'0' * 24} not found",
    }


@pytest.mark.parametrize("name", ["60d5ec49b60b4b3a2c8f9a11", "audience123"])
def test_audience_is_found_by_id_and_reference(api: httpx2.Client, name: str) -> None:
    """The example's audience is served by its id and by its reference, with all fields."""
    audience = api.get(f"/audiences/{name}").json()
    assert (audience["name"], audience["reference"]) == ("Tech Team", "audience123")
    assert set(audience) == {
        *("id", "name", "reference", "apiControlled", "category", "type", "parent"),
        *("createdAt", "updatedAt"),
    }


def test_audience_that_is_gone_is_404(api: httpx2.Client) -> None:
    """An audience that does not resolve is answered 404."""
    assert api.get("/audiences/nobody").status_code == 404


@pytest.mark.parametrize(
    ("name", "secret"), [(TENANT, "wrong"), ("eu-west-2_Nobody", "sandbox-secret"), ("", "")]
)
def test_basic_with_wrong_credentials_is_401(web: httpx2.Client, name: str, secret: str) -> None:
    """A wrong tenant or secret is answered 401 in the envelope, with a challenge."""
    path = "/public/rest/v1/cpdRequirementSummaries"
    response = web.get(path, auth=(name, secret))
    assert (response.status_code, response.json()["status"]) == (401, 401)
    assert "Basic" in response.headers["www-authenticate"]


def test_no_credentials_are_401(web: httpx2.Client) -> None:
    """A request without credentials is answered 401."""
    assert web.get("/public/rest/v1/cpdRequirementSummaries").status_code == 401


def bearer_status(web: httpx2.Client, host: str, scope: str) -> int:
    """Read the list with a token of a host and scope."""
    form = {
        "grant_type": "client_credentials",
        "client_id": TENANT,
        "client_secret": "sandbox-client-secret",
        "scope": scope,
    }
    token = web.post(f"/{host}/oauth2/token/{TENANT}", data=form).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    return web.get("/public/rest/v1/cpdRequirementSummaries", headers=headers).status_code


@pytest.mark.parametrize("scope", ["api/read", "api/all", "api/read api/write"])
def test_bearer_with_a_read_scope_is_served(web: httpx2.Client, scope: str) -> None:
    """A public token that may read is served."""
    assert bearer_status(web, "public", scope) == 200


@pytest.mark.parametrize(("host", "scope"), [("public", "api/write"), ("user", "api/webhooks")])
def test_bearer_without_a_read_scope_is_403(web: httpx2.Client, host: str, scope: str) -> None:
    """A valid token that may not read is answered 403."""
    assert bearer_status(web, host, scope) == 403


def test_bearer_that_nobody_minted_is_401(web: httpx2.Client) -> None:
    """A token of unknown origin is answered 401."""
    headers = {"Authorization": "Bearer made.up.token"}
    assert web.get("/public/rest/v1/cpdRequirementSummaries", headers=headers).status_code == 401


def test_tenants_see_their_own_rows(web: httpx2.Client, platform: Platform) -> None:
    """The credentials decide whose rows are served."""
    platform.put("eu-west-2_Other", rows=7)
    path, auth = "/public/rest/v1/cpdRequirementSummaries", ("eu-west-2_Other", "sandbox-secret")
    assert web.get(path, auth=auth).json()["pagination"]["totalResults"] == 7


def test_unknown_path_is_404_in_the_envelope(web: httpx2.Client) -> None:
    """A path that is not there is answered in the envelope as well."""
    assert web.get("/public/rest/v1/nothing").json()["status"] == 404


def test_fault_of_another_tenant_is_not_felt(api: httpx2.Client, platform: Platform) -> None:
    """Faults of one tenant leave the others alone."""
    platform.put("eu-west-2_Other").faults.replace([SlowFault(delay_ms=60_000)])
    assert api.get("/cpdRequirementSummaries").status_code == 200
