"""Two of everything over one Redis: what one does, the other does not do again."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from service.sandbox import Platform, create_app
from service.sandbox.platform import Tenant
from tests.installation import (
    SIGNING_SECRET,
    Installation,
    about,
    assert_log_holds,
    installed,
    wait_until,
)

SLUGS = ("one", "two", "three")
ROWS = 8
RECONCILE_S = 3.0
WATCHED_S = 12.0
PARTS = ("web", "web-2", "refresh", "refresh-2", "beat", "beat-2")


@pytest.fixture
def tenants(platform: Platform) -> dict[str, Tenant]:
    """Give a few tenants of the platform."""
    return {slug: platform.put(f"eu-west-2_{slug}", rows=ROWS) for slug in SLUGS}


@pytest.fixture
def feed(
    platform: Platform,
    tenants: dict[str, Tenant],
    serve: Callable[[Any], str],
    tmp_path: Path,
) -> Iterator[Installation]:
    """Give an installation with two of each process, all baselines taken."""
    of_tenants = "\n".join(
        f'[tenants.{slug}]\ntenant_id = "{tenant.id}"\napi_secret = "sandbox-secret"'
        for slug, tenant in tenants.items()
    )
    (tmp_path / "cpdfeed.toml").write_text(
        f"""
        api_url = "{serve(create_app(platform))}/public/rest/v1"
        webhook_auth = "signature"
        webhook_secrets = ["{SIGNING_SECRET}"]
        lag_s = 1
        settle_s = [1000]
        sweep_s = 0.5
        reconcile_s = {RECONCILE_S}
        rate_per_min = 0
        {of_tenants}
        """
    )
    with installed(tmp_path, {}, parts=PARTS) as feed:
        feed.ready("web-2")
        for slug in SLUGS:
            feed.has_baseline(slug)
        yield feed


def test_timed_scans_are_not_doubled(feed: Installation, tenants: dict[str, Tenant]) -> None:
    """Two beats and two workers: one scan for each period and tenant, and no change from it."""
    time.sleep(RECONCILE_S)  # the first comes at a phase of its own
    for tenant in tenants.values():
        tenant.reads.reset()
    time.sleep(WATCHED_S)  # what is watched is that nothing more happens
    scans = {slug: tenant.reads.counts["list"] for slug, tenant in tenants.items()}
    periods = WATCHED_S / RECONCILE_S
    assert all(periods / 2 <= count <= periods + 1 for count in scans.values()), scans
    for tenant in tenants.values():
        times = [read.at for read in tenant.reads.requests if read.kind == "list"]
        apart = [(two - one).total_seconds() for one, two in pairwise(times)]
        assert min(apart) > RECONCILE_S * 0.9, apart
    assert all(len(feed.changes(slug)) == 1 for slug in SLUGS)


def test_every_change_comes_once(feed: Installation, tenants: dict[str, Tenant]) -> None:
    """Edits told to both webs at once: each change once, the second notification a duplicate."""
    edited: dict[str, list[str]] = {slug: [] for slug in SLUGS}
    accepted: list[tuple[str, str]] = []

    def tell_both(slug: str, payload: dict[str, Any]) -> None:
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda web: feed.notify(payload, slug, web), ("web", "web-2")))
        told = [answer.json() for answer in answers]
        assert Counter(one["status"] for one in told) == {"accepted": 1, "duplicate": 1}
        assert len({one["notification"] for one in told}) == 1
        accepted.append((slug, told[0]["notification"]))

    for number in range(ROWS):
        for slug, tenant in tenants.items():
            row = list(tenant.collection.rows.values())[number]
            tenant.update(row.audience_requirement_id, row.required_minutes + 15)
            edited[slug].append(row.audience_requirement_id)
            tell_both(slug, about(row.audience_id, createdAt=f"2026-01-01T00:00:0{number}Z"))

    for slug, id_ in accepted:
        wait_until(
            lambda s=slug, n=id_: (  # type: ignore[misc]
                feed.get(f"/v1/notifications/{n}", tenant=s)["state"] == "covered"
            ),
            "coverage",
        )
    for slug in SLUGS:
        changes = feed.changes(slug)
        assert_log_holds(changes)
        assert sorted(change["data"]["requirement_id"] for change in changes[1:]) == sorted(
            edited[slug]
        )
        assert {change["data"]["delta_minutes"] for change in changes[1:]} == {15}
