"""Absence is no evidence: what a read does not show is asked for, held back, or left open."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import httpx2
import pytest

from service.sandbox import Options
from tests.feed import TENANT_ID, Feed
from tests.installation import wait_until
from workers import pipeline
from workers.contract.codec import ms_text

LAG = {"CPDFEED_LAG_S": "60"}
AFTER_LAG_MS = 61_000


def faults(feed: Feed, *given: dict[str, Any]) -> None:
    """Arm these faults of the platform, and no others."""
    url = f"{feed.base}/sandbox/tenants/{TENANT_ID}/faults"
    httpx2.put(url, json=list(given)).raise_for_status()


def of_rows(feed: Feed, count: int, **settings: str) -> list[str]:
    """Take the baseline of so many rows, a lag horizon ago; give their ids."""
    feed.platform.put(TENANT_ID, Options(), rows=count)
    feed.reconcile(**settings)
    feed.ahead_ms = AFTER_LAG_MS
    return list(feed.collection.rows)


def delete(feed: Feed, ids: list[str]) -> None:
    """Delete rows at the platform."""
    for id_ in ids:
        feed.collection.delete(id_)


def brake(feed: Feed, field: str) -> str | None:
    """Give a field of the brake, None while nothing is held back."""
    value: Any = feed.store.hget(feed.keys.brake, field)
    return None if value is None else value.decode()


# --- the brake ----------------------------------------------------------------------------------


def test_many_removals_wait_for_a_second_scan(feed: Feed) -> None:
    """20 of 100 rows are gone: nothing is removed until a scan after the lag horizon agrees."""
    delete(feed, of_rows(feed, 100, **LAG)[:20])
    feed.reconcile(**LAG)
    assert feed.kinds() == ["baseline"]
    assert (brake(feed, "strength"), brake(feed, "suspects")) == ("scan", "20")
    assert feed.due_in_ms("collection") == pytest.approx(60_000, abs=5_000)
    feed.ahead_ms += AFTER_LAG_MS
    feed.refresh(**LAG)
    assert feed.kinds() == ["baseline", *["removed"] * 20]
    assert brake(feed, "strength") is None


def test_most_of_a_collection_waits_for_an_operator(feed: Feed) -> None:
    """80 of 100 rows are gone: however often a scan agrees, only an operator lets them go."""
    delete(feed, of_rows(feed, 100, **LAG)[:80])
    for _ in range(3):
        feed.reconcile(**LAG)
        feed.ahead_ms += AFTER_LAG_MS
    assert feed.kinds() == ["baseline"]
    assert brake(feed, "strength") == "operator"
    feed.store.hset(feed.keys.brake, "released", "1")
    feed.accept("collection", via="api")
    feed.refresh(**LAG)
    assert feed.kinds() == ["baseline", *["removed"] * 80]
    assert brake(feed, "strength") is None


def test_rows_that_come_back_let_the_brake_go(feed: Feed) -> None:
    """A list that was cut short for a while removes nothing, and leaves no brake behind."""
    gone = of_rows(feed, 100, **LAG)[:80]
    delete(feed, gone)
    feed.reconcile(**LAG)
    for id_ in gone:
        feed.collection.restore(id_)
    feed.reconcile(**LAG)
    assert feed.kinds() == ["baseline"]
    assert not feed.store.exists(feed.keys.brake)


def test_release_while_a_read_is_under_way_is_kept(feed: Feed) -> None:
    """An operator who lets go during a scan is heard by the next one."""
    delete(feed, of_rows(feed, 100, **LAG)[:80])
    feed.reconcile(**LAG)
    held = brake(feed, "scan_ms")
    faults(feed, {"kind": "slow", "delay_ms": 300, "on": "list"})
    scanned = feed.head("scan_ms")
    with ThreadPoolExecutor() as pool:
        read = pool.submit(feed.reconcile, **LAG)
        wait_until(lambda: feed.head("scan_ms") != scanned, "the scan")
        feed.store.hset(feed.keys.brake, "released", "1")
        read.result()
    assert feed.kinds() == ["baseline", *["removed"] * 80] or brake(feed, "scan_ms") != held
    feed.reconcile(**LAG)
    assert feed.kinds() == ["baseline", *["removed"] * 80]


# --- the witness --------------------------------------------------------------------------------


def test_forbidden_reads_by_id_remove_nothing(feed: Feed) -> None:
    """Where the platform refuses reads by id, absence stays absence, scan after scan."""
    delete(feed, of_rows(feed, 5, **LAG)[:1])
    faults(feed, {"kind": "status", "status": 403, "on": "one"})
    for _ in range(3):
        feed.reconcile(**LAG)
        feed.ahead_ms += AFTER_LAG_MS
    assert feed.kinds() == ["baseline"]
    assert feed.stat("witness_refused") == 3


def test_two_scans_remove_where_an_operator_opted_in(feed: Feed) -> None:
    """With the setting on, two complete scans the lag horizon apart are the evidence."""
    opted = LAG | {"CPDFEED_REMOVE_UNSEEN": "true"}
    delete(feed, of_rows(feed, 5, **opted)[:1])
    faults(feed, {"kind": "status", "status": 405, "on": "one"})
    feed.reconcile(**opted)
    feed.reconcile(**opted)  # too early to count
    assert feed.kinds() == ["baseline"]
    feed.ahead_ms += AFTER_LAG_MS
    feed.refresh(**opted)
    assert feed.kinds() == ["baseline", "removed"]
    assert feed.changes()[1]["data"]["evidence"]["kind"] == "two_scans"
    assert not feed.store.exists(feed.keys.unseen)


def test_row_seen_between_two_scans_is_not_removed(feed: Feed) -> None:
    """Two scans agree only on what neither showed."""
    opted = LAG | {"CPDFEED_REMOVE_UNSEEN": "true"}
    first, *_ = of_rows(feed, 5, **opted)
    faults(feed, {"kind": "status", "status": 405, "on": "one"})
    for _ in range(3):
        feed.collection.delete(first)
        feed.reconcile(**opted)
        feed.collection.restore(first)
        feed.reconcile(**opted)
        feed.ahead_ms += AFTER_LAG_MS
    assert feed.kinds() == ["baseline"]


def test_unanswered_suspect_is_asked_for_again(feed: Feed) -> None:
    """A suspect nobody can speak for is asked for by id after the lag, without another scan."""
    delete(feed, of_rows(feed, 12, CPDFEED_PER_PAGE="4", **LAG)[:1])
    paged = LAG | {"CPDFEED_PER_PAGE": "4"}
    faults(feed, {"kind": "status", "status": 503, "on": "one"})
    feed.reconcile(**paged)
    assert feed.kinds() == ["baseline"]
    faults(feed)
    before = feed.list_reads()
    feed.ahead_ms += AFTER_LAG_MS
    feed.refresh(**paged)
    assert feed.kinds() == ["baseline", "removed"]
    assert feed.list_reads() - before <= 1


def test_deletion_on_the_first_page_costs_one_scan_and_two_reads(feed: Feed) -> None:
    """Every page shifts, none is read twice: the suspect and its control are all there is more."""
    paged = LAG | {"CPDFEED_PER_PAGE": "100"}
    delete(feed, of_rows(feed, 1000, **paged)[:1])
    counts = feed.platform.tenant(TENANT_ID).reads.counts
    before = counts["list"], counts["one"]
    feed.reconcile(**paged)
    assert feed.kinds() == ["baseline", "removed"]
    assert (counts["list"] - before[0], counts["one"] - before[1]) == (10, 2)


@pytest.mark.parametrize("direction", ["ascending", "descending"])
@pytest.mark.parametrize("position", ["first", "last", "random"])
@pytest.mark.parametrize("op", ["create", "delete", "update"])
def test_edit_between_two_pages_is_no_phantom(
    feed: Feed, op: str, position: str, direction: Literal["ascending", "descending"]
) -> None:
    """Whatever moves while a scan is under way, only what is true is published."""
    paged = {"CPDFEED_PER_PAGE": "3"}
    feed.platform.put(TENANT_ID, Options(direction=direction), rows=12)
    feed.reconcile(**paged)
    faults(feed, {"kind": "edit", "op": op, "position": position, "skip": 1, "times": 1})
    feed.reconcile(**paged)
    faults(feed)
    feed.reconcile(**paged)
    expected = {"create": "created", "delete": "removed", "update": "updated"}[op]
    assert feed.kinds() == ["baseline", expected]


# --- observation --------------------------------------------------------------------------------


def test_change_is_not_older_than_the_last_clean_scan(feed: Feed) -> None:
    """``observed.not_before`` is the start of the last scan that left nothing open."""
    first, second, *_ = of_rows(feed, 5, **LAG)
    feed.reconcile(**LAG)
    clean_ms = feed.head("clean_ms")
    feed.collection.delete(first)
    faults(feed, {"kind": "status", "status": 503, "on": "one"})
    feed.ahead_ms += 1000
    feed.reconcile(**LAG)  # leaves a suspect open
    assert feed.head("clean_ms") == clean_ms
    assert int(feed.head("complete_ms")) > int(clean_ms)
    feed.collection.update(second, 7, None)
    feed.reconcile(**LAG)
    assert feed.changes()[-1]["data"]["observed"]["not_before"] == ms_text(int(clean_ms))


def test_older_row_never_wins(feed: Feed) -> None:
    """A row older than the stored one is counted, ignored, and read again."""
    lagging = Options(lag_list_s=3600)
    first, *_ = of_rows(feed, 5)
    feed.ahead_ms = 0
    feed.collection.update(first, 720, None)
    feed.reconcile()
    feed.platform.tenant(TENANT_ID).options = lagging
    feed.reconcile()
    assert feed.kinds() == ["baseline", "updated"]
    assert feed.stat("stale") == 1
    assert feed.due_in_ms(f"requirement:{first}") is not None


def test_emptied_collection_goes_once_the_brake_and_the_horizon_allow(feed: Feed) -> None:
    """With nothing left to hold a 404 against, it is repeated; the brake is asked but once."""
    delete(feed, of_rows(feed, 30, **LAG))
    feed.reconcile(**LAG)
    assert brake(feed, "strength") == "scan"
    for _ in range(2):  # the second scan agrees, then the 404s are repeated
        feed.ahead_ms += AFTER_LAG_MS
        feed.refresh(**LAG)
    assert feed.kinds() == ["baseline", *["removed"] * 30]
    assert feed.due_in_ms("collection") is None


def test_row_whose_state_is_new_is_not_removed_before_the_horizon(feed: Feed) -> None:
    """A replica that does not have yet what we just saw may still say 404."""
    first, *_ = of_rows(feed, 5, **LAG)
    feed.collection.update(first, 7, None)
    feed.reconcile(**LAG)
    feed.collection.delete(first)
    feed.reconcile(**LAG)
    assert feed.kinds() == ["baseline", "updated"]
    feed.ahead_ms += AFTER_LAG_MS
    feed.refresh(**LAG)
    assert feed.kinds() == ["baseline", "updated", "removed"]


def test_control_that_cannot_be_read_removes_nothing(feed: Feed) -> None:
    """When the list is away and everything is answered 404, nobody can say what is gone."""
    paged = LAG | {"CPDFEED_PER_PAGE": "4"}
    gone = of_rows(feed, 12, **paged)[0]
    delete(feed, [gone])
    faults(feed, {"kind": "status", "status": 503, "on": "one"})
    feed.reconcile(**paged)
    faults(
        feed,
        {"kind": "status", "status": 404, "on": "one"},
        {"kind": "status", "status": 503, "on": "list"},
    )
    feed.collection.restore(gone)
    for _ in range(3):
        feed.ahead_ms += AFTER_LAG_MS
        feed.refresh(**paged)
    assert feed.kinds() == ["baseline"]


def test_two_scans_remove_many_rows_after_the_brake(feed: Feed) -> None:
    """The brake holds them once; then two scans decide, where nobody answers by id."""
    opted = LAG | {"CPDFEED_REMOVE_UNSEEN": "true"}
    delete(feed, of_rows(feed, 100, **opted)[:20])
    faults(feed, {"kind": "status", "status": 405, "on": "one"})
    for _ in range(4):
        feed.reconcile(**opted)
        feed.ahead_ms += AFTER_LAG_MS
    assert feed.kinds() == ["baseline", *["removed"] * 20]
    assert not feed.store.exists(feed.keys.brake)


def test_refused_suspects_do_not_keep_the_brake_going(feed: Feed) -> None:
    """Where nobody answers by id and nobody opted in, no scan is started for their sake."""
    delete(feed, of_rows(feed, 100, **LAG)[:20])
    faults(feed, {"kind": "status", "status": 405, "on": "one"})
    for _ in range(3):
        feed.reconcile(**LAG)
        feed.ahead_ms += AFTER_LAG_MS
    feed.reconcile(**LAG)
    assert feed.kinds() == ["baseline"]
    assert feed.stat("held") == 1
    assert feed.due_in_ms("collection") is None


class Slowly:
    """A worker to whom everything takes long: each look at the clock is a third of a second."""

    def __init__(self, feed: Feed) -> None:
        self.feed, self.context = feed, feed.context()
        self.context.now_ms = self.now_ms

    def now_ms(self) -> int:
        """Give the time, and let some of it pass."""
        self.feed.ahead_ms += 333
        return self.feed.now_ms()

    def reconcile(self) -> None:
        """Make the timed scan due, and refresh."""
        self.feed.store.zadd(self.feed.keys.due, {"reconcile": 0})
        pipeline.refresh(self.context, "acme")

    def come_to_rest(self) -> None:
        """Refresh until nothing is due but the timed scan."""
        for _ in range(100):
            self.feed.ahead_ms += 5000
            pipeline.refresh(self.context, "acme")
            if self.feed.store.zcard(self.feed.keys.due) == 1:
                return
        raise AssertionError("it never comes to rest")


def test_what_there_was_no_time_for_is_asked_for_later(feed: Feed) -> None:
    """More suspects, and more sightings, than a task can ask for are left to the next ones."""
    gone = of_rows(feed, 200)[:100]
    worker = Slowly(feed)
    delete(feed, gone)
    worker.reconcile()
    feed.store.hset(feed.keys.brake, "released", "1")
    worker.reconcile()
    worker.come_to_rest()
    assert feed.kinds().count("removed") == 100
    assert feed.stat("suspects") > 100  # some more than once
    for id_ in gone:
        feed.collection.restore(id_)
    worker.reconcile()
    worker.come_to_rest()
    assert feed.kinds().count("restored") == 100
