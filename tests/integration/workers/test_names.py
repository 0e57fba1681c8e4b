"""A change says what its audience is called, if that can be had shortly; it waits for no more."""

import time
from typing import Any

import httpx2

from service.sandbox import Options
from tests.feed import TENANT_ID, Feed

FIRST, FIRST_AUDIENCE = "60d5ec49b60b4b3a2c8f9a10", "60d5ec49b60b4b3a2c8f9a11"


def named(feed: Feed) -> dict[str, Any]:
    """Give the audience of the last change."""
    return dict(feed.changes()[-1]["data"]["audience"])


def edit(feed: Feed, minutes: int) -> None:
    """Change one requirement, and find it."""
    feed.collection.update(FIRST, minutes, None)
    feed.reconcile()


def fault(feed: Feed, **given: object) -> None:
    """Arm a fault of the platform's audiences."""
    url = f"{feed.base}/sandbox/tenants/{TENANT_ID}/faults"
    httpx2.put(url, json=[given | {"on": "audience"}]).raise_for_status()


def asked(feed: Feed) -> int:
    """Give how many audiences were asked for."""
    return feed.platform.tenant(TENANT_ID).reads.counts["audience"]


def test_change_names_its_audience(feed: Feed) -> None:
    """Name and reference are the platform's, asked for once while they are known."""
    feed.platform.tenant(TENANT_ID).directory.rename(FIRST_AUDIENCE, "Tech Team", "audience123")
    feed.reconcile()
    assert asked(feed) == 0
    edit(feed, 720)
    edit(feed, 780)
    assert named(feed) == {"id": FIRST_AUDIENCE, "name": "Tech Team", "reference": "audience123"}
    assert asked(feed) == 1


def test_renamed_audience_is_no_change(feed: Feed) -> None:
    """A new name changes no requirement; it is seen once the known one has become old."""
    directory = feed.platform.tenant(TENANT_ID).directory
    feed.reconcile()
    edit(feed, 720)
    directory.rename(FIRST_AUDIENCE, "Renamed", "other")
    feed.reconcile()
    assert len(feed.changes()) == 2
    feed.ahead_ms = 90_000_000
    edit(feed, 780)
    assert named(feed)["name"] == "Renamed"


def test_name_that_cannot_be_had_is_null(feed: Feed) -> None:
    """Errors and refusals leave the name null and the change published."""
    feed.reconcile()
    for status in (500, 403):
        fault(feed, kind="status", status=status)
        edit(feed, status)
        assert named(feed) == {"id": FIRST_AUDIENCE, "name": None, "reference": None}


def test_audience_that_a_replica_does_not_know_yet_is_asked_for_again(feed: Feed) -> None:
    """A 404 about an audience that nobody has named yet is no answer to keep."""
    feed.reconcile()
    fault(feed, kind="status", status=404, times=1)
    edit(feed, 720)
    edit(feed, 780)
    names = [change["data"]["audience"]["name"] for change in feed.changes()[1:]]
    assert names[0] is None
    assert names[1] is not None


def test_name_is_not_waited_for(feed: Feed) -> None:
    """A platform that hangs over a name holds a change back for one short read alone."""
    feed.reconcile()
    fault(feed, kind="slow", delay_ms=20_000)
    begun = time.monotonic()
    edit(feed, 720)
    assert time.monotonic() - begun < 10
    assert named(feed)["name"] is None


def test_gone_audience_keeps_its_name(feed: Feed) -> None:
    """A removed requirement still tells whose it was, when its audience is gone as well."""
    directory = feed.platform.tenant(TENANT_ID).directory
    directory.rename(FIRST_AUDIENCE, "Tech Team", "audience123")
    feed.reconcile()
    edit(feed, 720)
    directory.delete(FIRST_AUDIENCE)
    feed.ahead_ms = 90_000_000
    feed.collection.delete(FIRST)
    feed.reconcile()
    assert named(feed)["name"] == "Tech Team"


def test_many_audiences_ask_no_more_than_the_budget(feed: Feed) -> None:
    """Changes of many audiences at once ask for a few of them, and publish all."""
    feed.platform.put(TENANT_ID, Options(), rows=0)
    feed.reconcile()
    for number in range(100):
        feed.collection.create(f"{number:024x}", f"{number + 1000:024x}", 60, None)
    feed.reconcile()
    assert len(feed.changes()) == 101
    assert asked(feed) == 20
