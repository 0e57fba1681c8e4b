"""What `cpdfeed notify` sends."""

import json
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec
import pytest

from workers.commands.notify import choose_tenant, compose, credentials
from workers.contract import settings as settings_table
from workers.contract.scope import COLLECTION, Scope, ScopeKind, extract
from workers.contract.settings import Secret, Tenant
from workers.contract.signing import HEADER, verify

ID = "60d5ec49b60b4b3a2c8f9a11"
NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def tenant(tmp_path: Path) -> Tenant:
    """Give a tenant whose notifications are signed."""
    env = {
        "CPDFEED_TENANT_ID": "eu-west-2_One",
        "CPDFEED_API_URL": "https://example.com/rest/v1",
        "CPDFEED_API_SECRET": "secret",
        "CPDFEED_WEBHOOK_AUTH": "signature",
        "CPDFEED_WEBHOOK_SECRETS": "new-secret,old-secret",
    }
    return settings_table.load(env, tmp_path).tenants["default"]


@pytest.mark.parametrize(
    ("audience", "requirement", "scope"),
    [
        (ID, None, Scope(ScopeKind.AUDIENCE, ID)),
        (None, ID, Scope(ScopeKind.REQUIREMENT, ID)),
        (None, None, COLLECTION),
    ],
)
def test_payload_names_what_is_to_be_read(
    tenant: Tenant, audience: str | None, requirement: str | None, scope: Scope
) -> None:
    """The service finds in the payload exactly what was asked for."""
    payload = json.loads(compose(tenant, audience, requirement, NOW))
    assert extract(payload, tenant.rules) == (scope,)
    assert payload["tenantId"] == "eu-west-2_One"
    assert payload["createdAt"] == "2026-01-02T00:00:00.000Z"


def test_notification_is_signed_with_the_first_secret(tenant: Tenant) -> None:
    """While secrets are rotated, the first one signs."""
    headers = credentials(tenant, b"body")
    assert verify(b"body", headers[HEADER], [Secret("new-secret")])
    assert "Authorization" not in headers


def test_token_without_a_place_to_mint_it_is_refused(tenant: Tenant) -> None:
    """Where a token is needed and nobody says from where, the setting is named."""
    bearer = msgspec.structs.replace(tenant, webhook_auth="bearer")
    with pytest.raises(click.ClickException, match="CPDFEED_WEBHOOK_TOKEN_URL"):
        credentials(bearer, b"body")


def test_tenant_must_be_said_where_there_are_several(tenant: Tenant) -> None:
    """The only one is meant without saying; of several, one must be named."""
    assert choose_tenant({"one": tenant}, None) is tenant
    assert choose_tenant({"one": tenant, "two": tenant}, "two") is tenant
    for slug in (None, "three"):
        with pytest.raises(click.UsageError, match="one, two"):
            choose_tenant({"one": tenant, "two": tenant}, slug)
