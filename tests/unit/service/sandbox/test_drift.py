"""Random edits, and edits at a position of the list."""

# ruff: noqa: S311 - the randomness of tests is reproducible, not secret

import random
from datetime import UTC, datetime

import pytest

from service.sandbox.drift import apply_edit, random_edits
from service.sandbox.faults import EditFault
from service.sandbox.listing import Direction, Order, in_order
from service.sandbox.platform import Options, Platform, Tenant

NOON = datetime(2024, 3, 15, 12, tzinfo=UTC)


def make_tenant(order: Order = "created", direction: Direction = "ascending") -> Tenant:
    """Make a tenant with ten generated rows."""
    platform = Platform(lambda: NOON, random.Random(2))
    return platform.put("t", Options(order=order, direction=direction), 10)


def list_ids(tenant: Tenant) -> list[str]:
    """Name the rows in the order of the list."""
    rows = in_order(tenant.collection.rows, tenant.options.order)
    if tenant.options.direction == "descending":
        rows.reverse()
    return [row.audience_requirement_id for row in rows]


def test_random_edits_of_a_seed_are_the_same() -> None:
    """The same seed on the same rows makes the same edits."""
    one, other = make_tenant(), make_tenant()
    random_edits(one, 50, random.Random(7))
    random_edits(other, 50, random.Random(7))
    assert one.collection.history == other.collection.history


def test_random_edits_make_every_kind() -> None:
    """A long burst creates, updates, touches, deletes and restores."""
    made = random_edits(make_tenant(), 100, random.Random(7))
    assert {version.op for version in made} == {"create", "update", "touch", "delete", "restore"}


def test_random_edits_may_repeat_a_seed() -> None:
    """A seed that was used before on this tenant makes edits, not a conflict."""
    tenant = make_tenant()
    random_edits(tenant, 20, random.Random(7))
    random_edits(tenant, 20, random.Random(7))
    assert tenant.collection.version == 40


@pytest.mark.parametrize("order", ["created", "id", "updated"])
@pytest.mark.parametrize("direction", ["ascending", "descending"])
@pytest.mark.parametrize(("position", "index"), [("first", 0), ("last", -1)])
def test_apply_edit_creates_at_the_position(
    order: Order, direction: Direction, position: str, index: int
) -> None:
    """A created row stands at the named end of the list, in every order."""
    tenant = make_tenant(order, direction)
    fault = EditFault(op="create", position="first" if position == "first" else "last")
    version = apply_edit(tenant, fault, random.Random(1))
    assert version is not None
    assert list_ids(tenant)[index] == version.id


@pytest.mark.parametrize("op", ["update", "delete", "touch"])
def test_apply_edit_takes_the_row_at_the_position(op: str) -> None:
    """An edit of the first row hits the first row of the list and does what it says."""
    tenant = make_tenant()
    first = list_ids(tenant)[0]
    faults = {name: EditFault(op=name, position="first") for name in ("update", "delete", "touch")}
    version = apply_edit(tenant, faults[op], random.Random(1))
    assert version is not None
    assert (version.op, version.id) == (op, first)


def test_apply_edit_of_an_empty_list_does_nothing() -> None:
    """There is no row to delete in an empty list."""
    tenant = Platform(lambda: NOON, random.Random(2)).put("t", rows=0)
    assert apply_edit(tenant, EditFault(op="delete"), random.Random(1)) is None
