"""The token hosts over HTTP."""

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from service.sandbox import Options, Platform

TENANT = "eu-west-2_Sandbox01"
CLIENT = {"client_id": TENANT, "client_secret": "sandbox-client-secret"}
GRANT = {"grant_type": "client_credentials"}


def mint(web: httpx2.Client, host: str = "public", **form: str) -> httpx2.Response:
    """Ask a host for a token with the credentials in the body."""
    return web.post(f"/{host}/oauth2/token/{TENANT}", data=GRANT | CLIENT | form)


def test_token_answer_has_the_four_fields(web: httpx2.Client) -> None:
    """A minted token comes with its type, lifetime and scope, and may not be cached."""
    response = mint(web, scope="api/read")
    body = response.json()
    assert body.pop("access_token")
    assert body == {"token_type": "Bearer", "expires_in": 3600, "scope": "api/read"}
    assert response.headers["cache-control"] == "no-store"


def test_token_is_verified_through_its_issuer(web: httpx2.Client) -> None:
    """The keys below the token's own issuer verify it."""
    token = mint(web).json()["access_token"]
    issuer = f"{web.base_url}".rstrip("/") + f"/idp/{TENANT}"
    keys = KeySet.import_key_set(httpx2.get(f"{issuer}/.well-known/jwks.json").json())
    assert jwt.decode(token, keys, ["RS256"]).claims["iss"] == issuer


@pytest.mark.parametrize(
    ("host", "scope"), [("public", "api/read api/write api/all"), ("user", "api/webhooks api/all")]
)
def test_token_without_a_scope_has_all_of_the_host(
    web: httpx2.Client, host: str, scope: str
) -> None:
    """A request that names no scope is granted all that the host issues."""
    assert mint(web, host).json()["scope"] == scope


def test_token_by_client_secret_basic(web: httpx2.Client) -> None:
    """The client may present its credentials in the header as well."""
    auth = (TENANT, "sandbox-client-secret")
    assert web.post(f"/public/oauth2/token/{TENANT}", data=GRANT, auth=auth).status_code == 200


def test_token_for_a_wrong_secret_is_invalid_client(web: httpx2.Client) -> None:
    """A wrong secret in the body is answered 401 invalid_client."""
    response = mint(web, client_secret="wrong")
    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")


def test_token_for_a_wrong_basic_secret_is_challenged(web: httpx2.Client) -> None:
    """A wrong secret in the header is answered 401 with a Basic challenge."""
    response = web.post(f"/public/oauth2/token/{TENANT}", data=GRANT, auth=(TENANT, "wrong"))
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Basic")


@pytest.mark.parametrize(("host", "scope"), [("public", "api/webhooks"), ("user", "api/read")])
def test_token_for_the_other_hosts_scope_is_invalid_scope(
    web: httpx2.Client, host: str, scope: str
) -> None:
    """A host refuses the scope of the other with 400 invalid_scope."""
    response = mint(web, host, scope=scope)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_scope")


def test_token_for_another_grant_is_unsupported(web: httpx2.Client) -> None:
    """Any other grant type is answered 400 unsupported_grant_type."""
    response = mint(web, grant_type="password")
    assert (response.status_code, response.json()["error"]) == (400, "unsupported_grant_type")


def test_token_for_an_unknown_tenant_is_404(web: httpx2.Client) -> None:
    """The token endpoint of an unknown tenant is answered 404 in the envelope."""
    response = web.post("/public/oauth2/token/nobody", data=GRANT | CLIENT)
    assert (response.status_code, response.json()["error"]) == (404, "Not Found")


def test_introspect_describes_an_opaque_token(web: httpx2.Client, platform: Platform) -> None:
    """An opaque token is described by introspection."""
    platform.put(TENANT, Options(opaque_tokens=True))
    token = mint(web, "user", scope="api/webhooks").json()["access_token"]
    path = f"/user/oauth2/introspect/{TENANT}"
    body = web.post(path, data={"token": token} | CLIENT).json()
    assert token.startswith("opaque_")
    assert (body["active"], body["scope"], body["client_id"], body["token_use"]) == (
        *(True, "api/webhooks"),
        *(TENANT, "access"),
    )
    assert body["iss"].endswith(f"/idp/{TENANT}")
    assert body["exp"] - body["iat"] == 3600


def test_introspect_of_an_unknown_token_is_inactive(web: httpx2.Client) -> None:
    """A token that nobody minted is inactive, and nothing else is said of it."""
    auth = (TENANT, "sandbox-client-secret")
    response = web.post(f"/user/oauth2/introspect/{TENANT}", data={"token": "x"}, auth=auth)
    assert response.json() == {"active": False}


def test_introspect_without_credentials_is_refused(web: httpx2.Client) -> None:
    """Only a client may introspect."""
    response = web.post(f"/user/oauth2/introspect/{TENANT}", data={"token": "x"})
    assert response.status_code == 401
