"""The list in its orders, cut into pages."""

# ruff: noqa: S311 - the randomness of tests is reproducible, not secret

import random
from datetime import UTC, datetime

import msgspec
import pytest

from service.sandbox.drift import random_edits
from service.sandbox.listing import Direction, Order, Page, in_order
from service.sandbox.platform import Options, Platform, Tenant

NOON = datetime(2024, 3, 15, 12, tzinfo=UTC)


def make_tenant(rows: int, order: Order = "created") -> Tenant:
    """Make a tenant with generated rows."""
    platform = Platform(lambda: NOON, random.Random(2))
    return platform.put("t", Options(order=order), rows)


def read(tenant: Tenant, page: int, per_page: int, direction: Direction = "ascending") -> Page:
    """Read a page of the current version."""
    version, order = tenant.collection.version, tenant.options.order
    body = tenant.listing.page(version, order, direction, page, per_page)
    return msgspec.json.decode(body, type=Page)


@pytest.mark.parametrize("order", ["created", "id", "updated"])
@pytest.mark.parametrize("direction", ["ascending", "descending"])
def test_page_follows_every_edit_in_every_order(order: Order, direction: Direction) -> None:
    """After any burst of edits the list is what sorting the rows anew gives."""
    tenant, rng = make_tenant(30, order), random.Random(3)
    for burst in range(60):
        random_edits(tenant, burst % 5, rng)
        expected = in_order(tenant.collection.rows, order)
        if direction == "descending":
            expected.reverse()
        assert read(tenant, 1, 1000, direction).results == expected


@pytest.mark.parametrize("direction", ["ascending", "descending"])
def test_pages_together_are_the_list(direction: Direction) -> None:
    """The pages of a version hold each row once, in the order of the list."""
    tenant = make_tenant(25)
    pages = [read(tenant, page, 10, direction) for page in (1, 2, 3)]
    assert [len(page.results) for page in pages] == [10, 10, 5]
    assert [row for page in pages for row in page.results] == read(
        tenant, 1, 100, direction
    ).results


def test_page_of_an_older_version_is_as_it_was() -> None:
    """A lagging reader is served the list of before the edit, also after newer reads."""
    tenant = make_tenant(10)
    before = read(tenant, 1, 100)
    random_edits(tenant, 10, random.Random(4))
    read(tenant, 1, 100)
    body = tenant.listing.page(0, "created", "ascending", 1, 100)
    assert msgspec.json.decode(body, type=Page) == before


def test_page_past_the_end_is_empty_with_live_totals() -> None:
    """A page that is not there has no results and the true totals."""
    page = read(make_tenant(25), 9, 10)
    assert page.results == []
    assert (page.pagination.total_results, page.pagination.total_pages) == (25, 3)


def test_empty_list_has_no_pages() -> None:
    """An empty list says that it has 0 pages."""
    assert read(make_tenant(0), 1, 10).pagination.total_pages == 0


def test_unstable_order_differs_from_read_to_read() -> None:
    """In unstable order two reads of the same version serve the same rows in another order."""
    tenant = make_tenant(50, "unstable")
    first, second = read(tenant, 1, 100).results, read(tenant, 1, 100).results
    assert first != second
    assert set(map(str, first)) == set(map(str, second))
