"""Whose a notification says it is."""

from pathlib import Path

import pytest

from service.owners import Owners
from workers.contract.settings import load

TENANT = """
[tenants.{slug}]
tenant_id = "{slug}-id"
tenant_aliases = ["{slug}-alias", "shared"]
region = "production"
api_secret = "s"
webhook_auth = "signature"
webhook_secrets = "s"
"""


@pytest.fixture
def owners(tmp_path: Path) -> Owners:
    """Give two tenants that share an alias."""
    text = TENANT.format(slug="one") + TENANT.format(slug="two")
    (tmp_path / "cpdfeed.toml").write_text(text)
    return Owners(load({}, tmp_path).tenants)


@pytest.mark.parametrize("name", ["two-id", "two-alias"])
def test_name_of_another_is_foreign(owners: Owners, name: str) -> None:
    """An id or alias of another tenant, and not of this one, is another's."""
    assert owners.is_foreign(name, "one")


@pytest.mark.parametrize(
    "name", ["one-id", "one-alias", "shared", "unknown", "two", "", None, 1, ["two-id"], {}]
)
def test_other_names_are_not(owners: Owners, name: object) -> None:
    """Its own, shared, unknown and unreadable names are nobody else's."""
    assert not owners.is_foreign(name, "one")
