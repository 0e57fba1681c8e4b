"""The way of a change against the sandbox: what is notified or due is read, diffed, committed."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from service.sandbox import Options
from tests.feed import TENANT_ID, Feed
from workers import pipeline
from workers.contract.codec import GENESIS, chain_digest
from workers.contract.errors import CommitConflict
from workers.intake.lease import acquire

FIRST = "60d5ec49b60b4b3a2c8f9a10"
FIRST_AUDIENCE = "60d5ec49b60b4b3a2c8f9a11"


@pytest.fixture
def known(feed: Feed) -> Feed:
    """Give a tenant whose baseline is taken."""
    feed.reconcile()
    return feed


@pytest.mark.parametrize("auth", ["basic", "oauth"])
def test_first_scan_is_one_baseline(feed: Feed, auth: str) -> None:
    """The seed's rows become the snapshot, with one change, by Basic and by OAuth."""
    feed.reconcile(CPDFEED_API_AUTH=auth)
    assert feed.kinds() == ["baseline"]
    assert feed.changes()[0]["data"]["count"] == 2
    assert feed.store.hlen(feed.keys.rows) == 2


def test_notified_update_is_published_with_its_cause(known: Feed) -> None:
    """660 → 720 minutes gives one change with before, after, delta and the notification."""
    known.collection.update(FIRST, 720, None)
    receipt = known.accept(f"audience:{FIRST_AUDIENCE}")
    known.refresh()
    change = known.changes()[1]
    assert change["type"] == "cpd.requirement.updated"
    assert change["data"]["before"]["requiredMinutes"] == 660
    assert change["data"]["after"]["requiredMinutes"] == 720
    assert change["data"]["changed"] == ["requiredMinutes"]
    assert change["data"]["delta_minutes"] == 60
    assert change["data"]["cause"] == {
        "trigger": "notification",
        "notifications": [receipt.id],
        "notification_count": 1,
    }


def test_touched_row_is_not_published(known: Feed) -> None:
    """A row whose ``updatedAt`` alone moved is stored, and no change is published."""
    known.collection.update(FIRST, None, None)
    known.reconcile()
    assert known.kinds() == ["baseline"]


def test_created_removed_and_restored_rows_are_published(known: Feed) -> None:
    """A new row, a row the platform says is gone, and one that is back, each give one change."""
    created = known.collection.create("a" * 24, "b" * 24, 90, None)
    known.reconcile()
    known.collection.delete(created.id)
    known.reconcile()
    known.collection.restore(created.id)
    known.reconcile()
    assert known.kinds() == ["baseline", "created", "removed", "restored"]
    assert [change["data"].get("delta_minutes") for change in known.changes()[1:]] == [90, -90, 90]
    assert known.changes()[2]["data"]["evidence"]["kind"] == "not_found"
    assert known.changes()[3]["data"]["evidence"]["kind"] == "found"


def test_chain_holds_from_the_first_change(known: Feed) -> None:
    """Each change's digest follows from the one before it, and sequences have no gap."""
    for minutes in (1, 2, 3):
        known.collection.update(FIRST, minutes, None)
        known.reconcile()
    previous = GENESIS
    for sequence, change in enumerate(known.changes(), 1):
        assert change["data"]["sequence"] == sequence
        assert change["data"]["previous_digest"] == previous
        previous = chain_digest(previous, change)
        assert change["data"]["digest"] == previous
    assert known.head("digest") == previous


def test_known_audience_costs_one_page(feed: Feed) -> None:
    """A notification about a known audience reads one page of five."""
    feed.platform.put(TENANT_ID, Options(), rows=5000)
    feed.reconcile()
    before = feed.list_reads()
    assert before == 5
    row = list(feed.collection.rows.values())[2500]
    feed.collection.update(row.audience_requirement_id, row.required_minutes + 60, None)
    feed.accept(f"audience:{row.audience_id}")
    feed.refresh()
    assert feed.list_reads() - before == 1
    assert feed.kinds() == ["baseline", "updated"]


def test_unknown_audience_scans_the_collection(feed: Feed) -> None:
    """A notification about an unknown audience reads every page, and finds the new row."""
    feed.platform.put(TENANT_ID, Options(), rows=5000)
    feed.reconcile()
    before = feed.list_reads()
    feed.collection.create("a" * 24, "b" * 24, 90, None)
    feed.accept(f"audience:{'b' * 24}")
    feed.refresh()
    assert feed.list_reads() - before == 6
    assert feed.kinds() == ["baseline", "created"]


def test_shifted_pages_widen_to_a_scan(feed: Feed) -> None:
    """A page that no longer holds what it held makes us scan; the deleted row is found."""
    feed.platform.put(TENANT_ID, Options(), rows=5000)
    feed.reconcile()
    rows = list(feed.collection.rows.values())
    feed.collection.delete(rows[0].audience_requirement_id)
    feed.accept(f"audience:{rows[2500].audience_id}")
    feed.refresh()
    assert feed.kinds() == ["baseline", "removed"]
    assert feed.head("pending") == "0"


def test_unchanged_scan_is_recognised_by_digests(feed: Feed) -> None:
    """A scan of pages that did not change decodes none of them."""
    feed.platform.put(TENANT_ID, Options(), rows=3000)
    feed.reconcile()
    feed.reconcile()
    assert feed.stat("pages_unchanged") == 3


def test_quiet_hint_is_read_again(known: Feed) -> None:
    """A hint that showed no change is read again at each settle delay, and finds it then."""
    settle, hint = {"CPDFEED_SETTLE_S": "5,60"}, f"audience:{FIRST_AUDIENCE}"
    known.accept(hint)
    known.refresh(**settle)
    assert known.head("pending") == "0"
    assert known.due_in_ms(hint) == pytest.approx(5000, abs=3000)
    known.ahead_ms = 6000
    known.refresh(**settle)
    assert known.due_in_ms(hint) == pytest.approx(55_000, abs=3000)
    known.collection.update(FIRST, 720, None)
    known.ahead_ms = 70_000
    known.refresh(**settle)
    assert known.kinds() == ["baseline", "updated"]
    assert known.changes()[1]["data"]["cause"]["trigger"] == "settle"
    assert known.changes()[1]["data"]["cause"]["notification_count"] == 1
    assert known.due_in_ms(hint) is None


def test_young_row_is_not_removed_before_the_lag_horizon(feed: Feed) -> None:
    """A 404 for a row first seen less than the lag ago is asked again after it."""
    lag = {"CPDFEED_LAG_S": "60"}
    feed.reconcile(**lag)
    feed.collection.delete(FIRST)
    feed.reconcile(**lag)
    assert feed.kinds() == ["baseline"]
    feed.ahead_ms = 61_000
    feed.refresh(**lag)
    assert feed.kinds() == ["baseline", "removed"]


def test_gateway_404_removes_nothing(known: Feed) -> None:
    """When every read by id answers 404, nothing is removed: the control fails too."""
    known.collection.delete(FIRST)
    known.platform.tenant(TENANT_ID).options = Options(lag_by_id_s=10**6)
    known.reconcile()
    assert known.kinds() == ["baseline"]


def test_emptied_collection_is_removed_when_repeated(feed: Feed) -> None:
    """With no row left to serve as control, a 404 counts once repeated after the horizon."""
    lag = {"CPDFEED_LAG_S": "60"}
    feed.reconcile(**lag)
    feed.ahead_ms = 100_000
    for id_ in list(feed.collection.rows):
        feed.collection.delete(id_)
    feed.reconcile(**lag)
    assert feed.kinds() == ["baseline"]
    feed.ahead_ms = 200_000
    feed.refresh(**lag)
    assert feed.kinds() == ["baseline", "removed", "removed"]


def test_second_refresh_finds_the_lease_taken(known: Feed) -> None:
    """While somebody refreshes a tenant, another refresh does nothing."""
    known.accept("collection")
    lease = acquire(known.store, known.keys)
    assert lease is not None
    assert known.refresh() == []
    assert known.head("pending") == "1"
    assert lease.release(known.now_ms(), 0) is not None


def test_overtaken_worker_publishes_nothing(known: Feed) -> None:
    """A worker that lost its lease while it was reading gets a conflict, and writes nothing."""
    known.collection.update(FIRST, 720, None)
    known.accept("collection")
    known.platform.tenant(TENANT_ID).options = Options(latency_ms=1000)
    scanned = known.head("scan_ms")
    with ThreadPoolExecutor() as pool:
        refreshed = pool.submit(known.refresh)
        deadline = time.monotonic() + 10
        while known.head("scan_ms") == scanned:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        known.store.set(known.keys.lease, "999999", px=15_000)
        with pytest.raises(CommitConflict):
            refreshed.result()
    assert known.kinds() == ["baseline"]
    assert known.head("pending") == "1"


def test_stuck_page_holds_back_only_its_own_scopes(feed: Feed) -> None:
    """When one page cannot be had, hints about other pages are covered all the same."""
    feed.platform.put(TENANT_ID, Options(), rows=5000)
    feed.reconcile()
    rows = list(feed.collection.rows.values())
    fault = {"kind": "status", "status": 500, "on": "list", "page": 2}
    httpx2.put(f"{feed.base}/sandbox/tenants/{TENANT_ID}/faults", json=[fault]).raise_for_status()
    feed.accept(f"audience:{rows[1500].audience_id}")
    feed.accept(f"audience:{rows[4500].audience_id}")
    feed.refresh()
    assert feed.marked() == [f"audience:{rows[1500].audience_id}"]
    assert feed.head("pending") == "1"


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 502, "html": True},
        {"kind": "status", "status": 429},
        {"kind": "status", "status": 429, "retry_after": 30},
        {"kind": "truncate"},
        {"kind": "garbage"},
    ],
)
def test_failing_platform_loses_nothing(known: Feed, fault: dict[str, Any]) -> None:
    """Whatever answers in the platform's place, the hint stays and is served afterwards."""
    faults = f"{known.base}/sandbox/tenants/{TENANT_ID}/faults"
    httpx2.put(faults, json=[fault | {"on": "list"}]).raise_for_status()
    known.collection.update(FIRST, 720, None)
    known.accept(f"audience:{FIRST_AUDIENCE}")
    known.refresh()
    assert known.kinds() == ["baseline"]
    assert known.head("pending") == "1"
    httpx2.delete(faults).raise_for_status()
    known.store.delete(known.keys.budget)
    known.ahead_ms = 60_000
    known.refresh()
    assert known.kinds() == ["baseline", "updated"]
    assert known.head("pending") == "0"


def test_expired_token_is_minted_anew_once(feed: Feed) -> None:
    """A refused token is replaced, and the read goes on."""
    oauth = {"CPDFEED_API_AUTH": "oauth"}
    feed.reconcile(**oauth)
    faults = f"{feed.base}/sandbox/tenants/{TENANT_ID}/faults"
    httpx2.put(faults, json=[{"kind": "expire_tokens"}]).raise_for_status()
    feed.collection.update(FIRST, 720, None)
    feed.reconcile(**oauth)
    assert feed.kinds() == ["baseline", "updated"]
    assert feed.platform.tenant(TENANT_ID).reads.counts["token"] == 2


def test_misfit_row_leaves_its_neighbours_alone(known: Feed) -> None:
    """A row that does not fit is not taken, not removed, and its neighbours go on."""
    fault = {
        "kind": "malformed_row",
        "field": "requiredMinutes",
        "value": "many",
        "requirement_id": FIRST,
        "on": "list",
    }
    url = f"{known.base}/sandbox/tenants/{TENANT_ID}/faults"
    httpx2.put(url, json=[fault]).raise_for_status()
    known.collection.update("64b6f4a8c2e4a1b9d3f2c4a0", 5, None)
    known.reconcile()
    assert known.kinds() == ["baseline", "updated"]
    assert known.store.hlen(known.keys.rows) == 2
    assert known.stat("misfits") == 1


def test_sweep_calls_for_what_waits(feed: Feed) -> None:
    """A tenant without a baseline is called for at once, and again when a mark waits."""
    assert [call.args for call in pipeline.sweep(feed.context())] == [("acme",)]
    feed.refresh()
    assert pipeline.sweep(feed.context()) == []
    feed.accept("collection")
    feed.store.delete(feed.keys.wake)  # the call and its flag were lost
    assert [call.args for call in pipeline.sweep(feed.context())] == [("acme",)]
    assert pipeline.sweep(feed.context()) == []


def test_old_notifications_are_forgotten(known: Feed) -> None:
    """A scan trims what is too old to be looked up, and keeps the rest."""
    for _ in range(30):
        known.accept("collection")
    known.refresh()
    known.ahead_ms = 3_600_000
    kept = known.accept("collection")
    known.reconcile(CPDFEED_INBOX_DAYS="0.01")
    assert known.store.xlen(known.keys.inbox) == 1
    assert known.store.xrange(known.keys.inbox, kept.id, kept.id)


def test_deferred_reread_does_not_spin(feed: Feed) -> None:
    """What waits for the next scan is called for then, not over and over before."""
    apart = {"CPDFEED_SCAN_MIN_S": "30", "CPDFEED_SETTLE_S": "5"}
    feed.platform.put(TENANT_ID, Options(), rows=2000)
    feed.reconcile(**apart)
    feed.ahead_ms = 31_000
    feed.accept(f"audience:{'b' * 24}")
    feed.refresh(**apart)
    feed.ahead_ms = 37_000
    before = feed.list_reads()
    (call,) = feed.refresh(**apart)
    assert feed.list_reads() == before
    assert 15 < call.delay_s <= 30


def test_cause_is_not_an_earlier_notification(feed: Feed) -> None:
    """While an older hint waits, a change names its own notification, not one covered before."""
    apart = {"CPDFEED_SCAN_MIN_S": "1000"}
    feed.platform.put(TENANT_ID, Options(), rows=2000)
    feed.reconcile(**apart)
    row = next(iter(feed.collection.rows.values()))
    hint = f"audience:{row.audience_id}"
    feed.accept("collection")  # waits for the next scan
    feed.accept(hint)
    feed.refresh(**apart)
    assert feed.marked() == ["collection"]
    feed.collection.update(row.audience_requirement_id, row.required_minutes + 1, None)
    feed.ahead_ms = 1000
    receipt = feed.accept(hint)
    feed.refresh(**apart)
    named = feed.changes()[-1]["data"]["cause"]["notifications"]
    assert receipt.id in named
    assert len(named) == 2  # its own, and the collection's, which names everything


def test_rounds_that_find_nothing_grow_apart(known: Feed) -> None:
    """Spacing doubles to 30 s and stays there while a burst goes on and nothing is found."""
    apart = {"CPDFEED_REFRESH_MIN_S": "1"}
    spacings = []
    known.ahead_ms = 120_000
    for _ in range(8):
        known.accept("collection")
        known.ahead_ms = int(known.head("not_before_ms") or 0) - known.now_ms() + known.ahead_ms
        known.ahead_ms = max(known.ahead_ms, 120_000)
        known.refresh(**apart)
        spacings.append(int(known.head("spacing_ms")))
    assert spacings == [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]


def test_row_with_an_impossible_time_is_a_misfit(known: Feed) -> None:
    """A time that UTC cannot express makes its row a misfit, and stops nothing else."""
    fault = {
        "kind": "malformed_row",
        "field": "createdAt",
        "value": "9999-12-31T23:59:59-01:00",
        "requirement_id": FIRST,
        "on": "list",
    }
    url = f"{known.base}/sandbox/tenants/{TENANT_ID}/faults"
    httpx2.put(url, json=[fault]).raise_for_status()
    known.collection.update("64b6f4a8c2e4a1b9d3f2c4a0", 5, None)
    known.reconcile()
    assert known.kinds() == ["baseline", "updated"]


def test_refused_page_past_the_end_widens_to_a_scan(feed: Feed) -> None:
    """A hint about a page that the shrunken list refuses is served by a scan."""
    feed.platform.put(TENANT_ID, Options(), rows=2001)
    feed.reconcile()
    last = list(feed.collection.rows.values())[-1]
    feed.collection.delete(last.audience_requirement_id)
    fault = {"kind": "status", "status": 400, "on": "list", "page": 3}
    httpx2.put(f"{feed.base}/sandbox/tenants/{TENANT_ID}/faults", json=[fault]).raise_for_status()
    feed.accept(f"audience:{last.audience_id}")
    feed.refresh()
    assert feed.kinds() == ["baseline", "removed"]
    assert feed.head("pending") == "0"


def test_endless_retry_after_is_not_believed(known: Feed) -> None:
    """No answer can silence a tenant for longer than a quarter of an hour."""
    fault = {"kind": "status", "status": 429, "retry_after": 86_400, "on": "list"}
    url = f"{known.base}/sandbox/tenants/{TENANT_ID}/faults"
    httpx2.put(url, json=[fault]).raise_for_status()
    known.accept("collection")
    known.refresh()
    assert int(known.head("not_before_ms")) - known.now_ms() <= 900_000


def test_log_is_kept_within_its_bounds(known: Feed) -> None:
    """A scan drops changes beyond the number and the age that the settings name."""
    for minutes in range(1, 6):
        known.collection.update(FIRST, minutes, None)
        known.reconcile()
    known.reconcile(CPDFEED_LOG_MAX="3")
    assert [change["data"]["sequence"] for change in known.changes()] == [4, 5, 6]
    known.ahead_ms = 2 * 86_400_000
    known.reconcile(CPDFEED_LOG_DAYS="1")
    assert [change["data"]["sequence"] for change in known.changes()] == [6]


def test_timed_scans_are_spread(feed: Feed) -> None:
    """After the baseline the timer fires at a random phase, then once a period or a bit sooner."""
    hourly = {"CPDFEED_RECONCILE_S": "3600"}
    feed.reconcile(**hourly)
    first_ms = feed.due_in_ms("reconcile")
    assert first_ms is not None
    assert 0 < first_ms < 3_590_000
    feed.reconcile(**hourly)
    assert feed.due_in_ms("reconcile") == pytest.approx(3_420_000, abs=183_000)
