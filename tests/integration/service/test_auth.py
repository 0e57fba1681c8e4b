"""Who may call ``/v1``, about which tenant, and with which scope."""

from typing import Any

import httpx2
import pytest

from tests.integration.service.conftest import (
    ADMIN,
    READER,
    WRITER,
    Issuer,
    Refuse,
    Site,
    Start,
    sha256,
)


def call(
    site: Site, authorization: str | None, method: str = "POST", query: str = ""
) -> httpx2.Response:
    """Call an endpoint that writes, or one that reads."""
    headers = {} if authorization is None else {"authorization": authorization}
    if method == "GET":
        return site.client.get(f"/v1/changes{query}", headers=headers)
    body = {"scope": "collection"}
    return site.client.post(f"/v1/refresh{query}", json=body, headers=headers)


@pytest.mark.parametrize(
    ("token", "method"),
    [(READER, "GET"), (WRITER, "POST"), (ADMIN, "GET"), (ADMIN, "POST")],
)
def test_scope_opens_what_it_names(start: Start, token: str, method: str) -> None:
    """Reading needs feed:read, writing feed:write, and admin has both."""
    assert call(start(), f"Bearer {token}", method).status_code < 300


@pytest.mark.parametrize(
    ("token", "method", "needed"),
    [(READER, "POST", "feed:write"), (WRITER, "GET", "feed:read")],
)
def test_other_scope_is_refused(
    start: Start, refused: Refuse, token: str, method: str, needed: str
) -> None:
    """A good token without the scope is told which one it needs."""
    answer = call(start(), f"Bearer {token}", method)
    refused(answer, 403, "insufficient_scope")
    wanted = f'Bearer error="insufficient_scope", scope="{needed}"'
    assert answer.headers.get_list("www-authenticate") == [wanted]


@pytest.mark.parametrize("authorization", [None, "", "Basic dXNlcjpwYXNz", f"Token {WRITER}"])
def test_caller_without_a_token_is_refused(
    start: Start, refused: Refuse, authorization: str | None
) -> None:
    """Who presents no bearer token is asked for one, without an error code."""
    answer = call(start(), authorization)
    refused(answer, 401, "unauthenticated")
    assert answer.headers.get_list("www-authenticate") == ["Bearer"]


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer",
        "Bearer wrong",
        f"Bearer {WRITER}x",
        f"Bearer {WRITER[:-1]}",
        f"Bearer {WRITER.upper()}",
        f"Bearer {WRITER} {WRITER}",
        f"Bearer {sha256(WRITER)}",
        "Bearer a.b.c",
        "Bearer " + "x" * 10_000,
    ],
)
def test_wrong_token_is_refused(start: Start, refused: Refuse, authorization: str) -> None:
    """A wrong token is refused in one way; the stored digest itself opens nothing."""
    answer = call(start(), authorization)
    refused(answer, 401, "invalid_token", never=(sha256(WRITER),))
    assert answer.headers.get_list("www-authenticate") == ['Bearer error="invalid_token"']


def test_two_tokens_are_refused(start: Start, refused: Refuse) -> None:
    """Two headers are not one good one."""
    header = ("authorization", f"Bearer {WRITER}")
    answer = start().client.post("/v1/refresh", json={}, headers=[header, header])
    refused(answer, 401, "invalid_token")


# --- tenants ------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["", "?tenant=acme"])
def test_only_tenant_need_not_be_named(start: Start, query: str) -> None:
    """With one tenant there is no question."""
    assert call(start(), f"Bearer {WRITER}", query=query).status_code == 202


@pytest.mark.parametrize("query", ["?tenant=nobody", "?tenant=", "?tenant=ACME"])
def test_unknown_tenant_is_not_found(start: Start, refused: Refuse, query: str) -> None:
    """A tenant that is not configured is told as such to who may open every one."""
    refused(call(start(), f"Bearer {WRITER}", query=query), 404, "unknown_tenant")


@pytest.mark.parametrize(
    ("token", "query", "tenant"),
    [
        (WRITER, "?tenant=acme", "acme"),
        (WRITER, "?tenant=other", "other"),
        ("acme-token", "?tenant=acme", "acme"),
        ("acme-token", "", "acme"),
    ],
)
def test_token_opens_its_tenants(two_tenants: Site, token: str, query: str, tenant: str) -> None:
    """A token of the top level opens every tenant, one of a tenant its own, named or not."""
    answer = call(two_tenants, f"Bearer {token}", query=query)
    assert answer.headers["location"].endswith(f"?tenant={tenant}")


def test_tenant_has_to_be_named_where_several_are_open(two_tenants: Site, refused: Refuse) -> None:
    """Who may open several has to say which."""
    refused(call(two_tenants, f"Bearer {WRITER}"), 400, "tenant_required")


@pytest.mark.parametrize("tenant", ["other", "nobody", ""])
def test_token_opens_no_other_tenant(two_tenants: Site, refused: Refuse, tenant: str) -> None:
    """To a tenant's token every other name is closed, and it does not learn which exist."""
    answer = call(two_tenants, "Bearer acme-token", query=f"?tenant={tenant}")
    refused(answer, 403, "wrong_tenant")


def test_unknown_tenant_among_several_is_not_found(two_tenants: Site, refused: Refuse) -> None:
    """A name that is no tenant's is told to who may open all."""
    refused(call(two_tenants, f"Bearer {WRITER}", query="?tenant=nobody"), 404, "unknown_tenant")


# --- JWTs ---------------------------------------------------------------------------------------


def trusting(issuer: Issuer, **more: str) -> dict[str, str]:
    """Give the settings that let an issuer's JWTs in."""
    return {
        "api_issuer": issuer.url,
        "api_jwks_url": f"{issuer.url}/.well-known/jwks.json",
        "api_audience": "cpdfeed",
        **more,
    }


@pytest.mark.parametrize("scope", ["feed:write", "openid feed:write", "admin"])
def test_jwt_of_the_issuer_is_accepted(start: Start, issuer: Issuer, scope: str) -> None:
    """A JWT for our audience carries scopes like an API token."""
    token = issuer.mint(aud="cpdfeed", scope=scope)
    assert call(start(**trusting(issuer)), f"Bearer {token}").status_code == 202


def test_api_token_is_accepted_beside_jwts(start: Start, issuer: Issuer) -> None:
    """An issuer takes nothing from the tokens of the settings, and is not asked about them."""
    assert call(start(**trusting(issuer)), f"Bearer {WRITER}").status_code == 202
    assert issuer.fetched == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "other"},
        {"aud": None},
        {"iss": "https://example.com"},
        {"exp": 1},
        {"token_use": "id"},
    ],
)
def test_jwt_that_is_not_for_us_is_refused(
    start: Start, issuer: Issuer, refused: Refuse, changes: dict[str, Any]
) -> None:
    """A JWT is verified as strictly as a notification's, and its audience is required."""
    token = issuer.mint(**({"aud": "cpdfeed", "scope": "admin"} | changes))
    answer = call(start(**trusting(issuer)), f"Bearer {token}")
    refused(answer, 401, "invalid_token", never=(token,))


@pytest.mark.parametrize("scope", ["feed:read", "api/all", None, "feed"])
def test_jwt_without_the_scope_is_refused(
    start: Start, issuer: Issuer, refused: Refuse, scope: str | None
) -> None:
    """The platform's own scopes mean nothing here."""
    token = issuer.mint(aud="cpdfeed", scope=scope)
    answer = call(start(**trusting(issuer)), f"Bearer {token}")
    refused(answer, 403, "insufficient_scope")


def test_jwts_are_refused_where_no_audience_is_set(
    start: Start, issuer: Issuer, refused: Refuse
) -> None:
    """Without an audience every token of the issuer would open us, so none does."""
    token = issuer.mint(aud="cpdfeed", scope="admin")
    answer = call(start(**trusting(issuer, api_audience="")), f"Bearer {token}")
    refused(answer, 401, "invalid_token", never=(token,))


def test_token_of_notifications_opens_nothing_here(
    start: Start, issuer: Issuer, refused: Refuse
) -> None:
    """Who may notify may not call the feed."""
    site = start(webhook_auth="bearer", webhook_issuer=issuer.url)
    refused(call(site, f"Bearer {issuer.mint(scope='api/all admin')}"), 401, "invalid_token")
