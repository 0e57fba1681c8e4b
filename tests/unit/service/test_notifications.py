"""What is kept of a payload."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.notifications import read
from workers.contract.scope import COLLECTION, Scope, ScopeKind
from workers.contract.settings import Tenant, load

ID = "60d5ec49b60b4b3a2c8f9a11"


def tenant(**more: str) -> Tenant:
    """Give a tenant with some settings."""
    env = {
        "CPDFEED_TENANT_ID": "x",
        "CPDFEED_REGION": "production",
        "CPDFEED_API_SECRET": "s",
        "CPDFEED_WEBHOOK_AUTH": "signature",
        "CPDFEED_WEBHOOK_SECRETS": "s",
    }
    given_ = {f"CPDFEED_{name.upper()}": value for name, value in more.items()}
    return load(env | given_, Path("no-such-folder")).tenants["default"]


TENANT = tenant()

payloads = st.dictionaries(
    st.text(max_size=10),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=10),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=10,
    ),
    max_size=5,
)


@given(payloads, st.text())
def test_identity_does_not_depend_on_dispatch_or_order(
    payload: dict[str, object], dispatched: str
) -> None:
    """Deliveries of one notification are one, in whatever order their members come."""
    turned = dict(reversed(payload.items())) | {"dispatchedAt": dispatched}
    same = {name: value for name, value in payload.items() if name != "dispatchedAt"}
    assert read(turned, TENANT, "bearer").identity == read(same, TENANT, "bearer").identity


@given(payloads)
def test_identity_depends_on_everything_else(payload: dict[str, object]) -> None:
    """Any other difference makes another notification, even a nested dispatch time."""
    other = payload | {"data": {"dispatchedAt": "x"}}
    another = payload | {"data": {"dispatchedAt": "y"}}
    assert read(other, TENANT, "bearer").identity != read(another, TENANT, "bearer").identity


@pytest.mark.parametrize(
    ("payload", "dated"),
    [
        ({"createdAt": "2024-03-15T10:30:00.000Z"}, True),
        ({"createdAt": 1710498600000}, True),
        ({"createdAt": None}, False),
        ({"createdAt": ""}, False),
        ({"dispatchedAt": "2024-03-15T10:30:00.000Z"}, False),
        ({"data": {"createdAt": "2024-03-15T10:30:00.000Z"}}, False),
        ({}, False),
    ],
)
def test_date_is_the_senders(payload: dict[str, object], dated: bool) -> None:
    """Only a creation time of its own makes a notification a dated one."""
    assert read(payload, TENANT, "bearer").dated is dated


def test_scopes_and_type_are_read() -> None:
    """The type and what it is about are kept, and by what it was believed."""
    note = read({"eventType": "assignment.updated", "audienceId": ID}, TENANT, "both")
    assert note.event_type == "assignment.updated"
    assert note.scopes == (Scope(ScopeKind.AUDIENCE, ID),)
    assert note.via == "both"


def test_rules_of_the_tenant_go_first() -> None:
    """A tenant may know better what its events mean."""
    payload: dict[str, object] = {"eventType": "user.updated"}
    assert read(payload, TENANT, "bearer").scopes == ()
    knowing = tenant(scope_rules="user.*=collection")
    assert read(payload, knowing, "bearer").scopes == (COLLECTION,)
