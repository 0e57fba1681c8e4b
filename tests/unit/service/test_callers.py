"""Who calls, and what the settings let them do."""

import asyncio
import hashlib
from pathlib import Path

import pytest

from service.callers import ApiCallers, Caller, bearer_token
from workers.contract.errors import BadRequest, Forbidden, NotFound, Unauthenticated
from workers.contract.settings import Settings, load


def digest(token: str) -> str:
    """Give the digest of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


TENANT = """
[tenants.{slug}]
tenant_id = "{slug}-id"
region = "production"
api_secret = "s"
webhook_auth = "signature"
webhook_secrets = "s"
api_tokens = "{tokens}"
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Give two tenants: one token opens all, one each its own, one both with other scopes."""
    one = f"{digest('one')}:feed:read,{digest('shared')}:feed:read"
    two = f"{digest('shared')}:admin"
    file = tmp_path / "cpdfeed.toml"
    file.write_text(
        f'api_tokens = "{digest("all")}:feed:read,{digest("one")}:feed:write"\n'
        + TENANT.format(slug="one", tokens=one)
        + TENANT.format(slug="two", tokens=two)
    )
    return load({}, tmp_path)


@pytest.fixture
def callers(settings: Settings) -> ApiCallers:
    """Give the callers of those settings."""
    return ApiCallers(settings, None)


def caller(callers: ApiCallers, token: str) -> Caller:
    """Give the caller who presents a token."""
    return asyncio.run(callers.authenticate([f"Bearer {token}"]))


def test_scopes_of_a_tenant_stay_with_it(callers: ApiCallers) -> None:
    """A token of two tenants has in each the scopes it was given there, and no others."""
    shared = caller(callers, "shared")
    assert shared.scopes("one") == {"feed:read"}
    assert shared.scopes("two") == {"admin", "feed:read", "feed:write"}
    assert shared.scopes("three") == set()
    assert not shared.opens("three")


def test_scopes_of_the_top_level_hold_everywhere(callers: ApiCallers) -> None:
    """A token of the top level has its scopes in every tenant, and its own beside them."""
    one = caller(callers, "one")
    assert one.scopes("one") == {"feed:read", "feed:write"}
    assert one.scopes("two") == {"feed:write"}
    assert one.opens("three")


def test_caller_is_named_without_its_token(callers: ApiCallers) -> None:
    """A log that names a caller helps nobody to call."""
    name = caller(callers, "all").name
    assert name == f"token:{digest('all')[:8]}"


def test_token_of_two_tenants_has_to_name_one(callers: ApiCallers) -> None:
    """With two of its own there is a question."""
    with pytest.raises(BadRequest) as refusal:
        callers.choose_tenant(caller(callers, "shared"), None)
    assert refusal.value.problem == "tenant_required"


def test_unknown_name_is_closed_or_not_found(callers: ApiCallers) -> None:
    """Only who may open every tenant learns that there is none of a name."""
    with pytest.raises(Forbidden):
        callers.choose_tenant(caller(callers, "shared"), "three")
    with pytest.raises(NotFound):
        callers.choose_tenant(caller(callers, "all"), "three")


def test_reading_implies_nothing(callers: ApiCallers) -> None:
    """feed:read is not feed:write, nor the other way round."""
    callers.require(caller(callers, "all"), "one", "feed:read")
    with pytest.raises(Forbidden):
        callers.require(caller(callers, "all"), "one", "feed:write")
    with pytest.raises(Forbidden):
        callers.require(caller(callers, "one"), "two", "feed:read")


def test_only_admin_is_admin(callers: ApiCallers) -> None:
    """Admin implies the others, and none of them implies it."""
    callers.require(caller(callers, "shared"), "two", "admin")
    with pytest.raises(Forbidden):
        callers.require(caller(callers, "one"), "one", "admin")


def test_unknown_token_is_refused(callers: ApiCallers) -> None:
    """Without an issuer only the tokens of the settings are known."""
    with pytest.raises(Unauthenticated) as refusal:
        caller(callers, "nobody")
    assert refusal.value.problem == "invalid_token"


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ([], None),
        ([""], None),
        (["Basic x"], None),
        (["Bearer"], ""),
        (["Bearer x"], "x"),
        (["bEARER   x "], "x"),
        (["Bearer x y"], "x y"),
        (["Bearer\tx"], None),
    ],
)
def test_bearer_token_is_read(headers: list[str], token: str | None) -> None:
    """The scheme is matched whatever its case; another one is no bearer token at all."""
    assert bearer_token(headers) == token


def test_several_headers_are_refused() -> None:
    """Which of them a proxy looked at is not known."""
    with pytest.raises(Unauthenticated):
        bearer_token(["Bearer x", "Bearer y"])
