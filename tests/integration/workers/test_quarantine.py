"""Rows that do not fit the schema are kept apart, with their page, until they fit again."""

import json
from typing import Any

import httpx2
import pytest

from tests.feed import TENANT_ID, Feed
from workers import pipeline

FIRST, SECOND = "60d5ec49b60b4b3a2c8f9a10", "64b6f4a8c2e4a1b9d3f2c4a0"


def malform(feed: Feed, field: str, value: object, requirement: str = FIRST) -> None:
    """Have the platform serve one row with a wrong value."""
    fault = {"kind": "malformed_row", "field": field, "value": value, "on": "list"}
    url = f"{feed.base}/sandbox/tenants/{TENANT_ID}/faults"
    httpx2.put(url, json=[fault | {"requirement_id": requirement}]).raise_for_status()


def mend(feed: Feed) -> None:
    """Have the platform serve what it has."""
    httpx2.delete(f"{feed.base}/sandbox/tenants/{TENANT_ID}/faults").raise_for_status()


def quarantined(feed: Feed) -> dict[str, dict[str, Any]]:
    """Give what is kept apart."""
    found: Any = feed.store.hgetall(feed.keys.quarantine)
    return {field.decode(): json.loads(value) for field, value in found.items()}


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("requiredMinutes", "many", "$.requiredMinutes"),
        ("requiredMinutes", -1, "$.requiredMinutes"),
        ("requiredMinutes", 1.5, "$.requiredMinutes"),
        ("audienceId", "nobody", "24 hexadecimal digits"),
        ("createdAt", "yesterday", "$.createdAt"),
    ],
)
def test_misfit_row_is_kept_and_never_published(
    feed: Feed, field: str, value: object, says: str
) -> None:
    """A known row that stops fitting stays as it was, and stands in quarantine with its page."""
    feed.reconcile()
    malform(feed, field, value)
    feed.collection.update(SECOND, 5, None)
    feed.reconcile()
    assert [change["data"]["requirement_id"] for change in feed.changes()[1:]] == [SECOND]
    entry = quarantined(feed)[FIRST]
    assert (entry["requirement_id"], entry["page"]) == (FIRST, 1)
    assert says in entry["reason"]
    assert json.loads(entry["row"])[field] == value


def test_misfit_row_is_freed_when_it_fits_again(feed: Feed) -> None:
    """Once the platform serves it properly it is taken in, and leaves the quarantine."""
    feed.reconcile()
    malform(feed, "requiredMinutes", "many")
    feed.reconcile()
    since_ms = quarantined(feed)[FIRST]["since_ms"]
    feed.ahead_ms = 5000
    feed.reconcile()
    assert quarantined(feed)[FIRST]["since_ms"] == since_ms
    feed.collection.update(FIRST, 720, None)
    mend(feed)
    feed.reconcile()
    assert quarantined(feed) == {}
    assert feed.kinds() == ["baseline", "updated"]


def test_misfit_row_of_the_first_scan_is_no_part_of_the_baseline(feed: Feed) -> None:
    """What never fitted is not counted, and is created once it fits."""
    malform(feed, "requiredMinutes", None)
    feed.reconcile()
    assert feed.changes()[0]["data"]["count"] == 1
    assert list(quarantined(feed)) == [FIRST]
    mend(feed)
    feed.reconcile()
    assert feed.kinds() == ["baseline", "created"]
    assert feed.changes()[1]["data"]["late"] is True


def test_row_with_a_bad_id_is_kept_by_its_text(feed: Feed) -> None:
    """A row without an id stands under its page; the row it may be is asked for by id."""
    feed.reconcile()
    malform(feed, "audienceRequirementId", "nonsense")
    feed.reconcile()
    (entry,) = quarantined(feed).values()
    assert (entry["requirement_id"], entry["page"]) == (None, 1)
    assert feed.kinds() == ["baseline"]
    assert feed.store.hlen(feed.keys.rows) == 2
    mend(feed)
    feed.reconcile()
    assert quarantined(feed) == {}


def test_deleted_misfit_leaves_the_quarantine(feed: Feed) -> None:
    """A misfit the platform deletes is removed on the same evidence as any row."""
    feed.reconcile()
    malform(feed, "requiredMinutes", "many")
    feed.reconcile()
    feed.collection.delete(FIRST)
    feed.reconcile()
    assert quarantined(feed) == {}
    assert feed.kinds() == ["baseline", "removed"]


def test_long_misfit_is_cut(feed: Feed) -> None:
    """However much a row holds, little of it is kept."""
    malform(feed, "requiredMinutes", "9" * 100_000)
    feed.reconcile()
    assert len(quarantined(feed)[FIRST]["row"]) <= 4096


@pytest.mark.parametrize("fault", ["garbage", "truncate"])
def test_answer_that_is_no_page_is_an_error(feed: Feed, fault: str) -> None:
    """HTML, or half a body, in a page's place is no empty page: nothing is missing for it."""
    feed.reconcile()
    url = f"{feed.base}/sandbox/tenants/{TENANT_ID}/faults"
    httpx2.put(url, json=[{"kind": fault, "on": "list"}]).raise_for_status()
    complete_ms = feed.head("complete_ms")
    feed.reconcile()
    assert (feed.kinds(), feed.head("complete_ms")) == (["baseline"], complete_ms)
    assert pipeline.sweep(feed.context()) == []
