"""A claim takes all that is to be read again, and what comes later calls for another one."""

import redis

from tests.feed import Feed
from workers.contract.keyspace import Keyspace
from workers.contract.model import Due, Source, Trigger
from workers.contract.scope import COLLECTION, Scope
from workers.intake.claim import Claim, Early, Idle, Lost, claim
from workers.intake.lease import acquire

FIRST, SECOND = "audience:" + "a" * 24, "requirement:" + "b" * 24


def token(store: redis.Redis, keys: Keyspace) -> str:
    """Take the lease."""
    lease = acquire(store, keys)
    assert lease is not None
    return lease.token


def claimed(feed: Feed) -> Claim:
    """Claim what there is."""
    found = claim(feed.store, feed.keys, token(feed.store, feed.keys), feed.now_ms())
    assert isinstance(found, Claim)
    return found


def source(found: Claim, scope: str) -> Source:
    """Give the one source of a scope."""
    (only,) = [one for one in found.sources if str(one.scope) == scope]
    return only


def test_marks_are_claimed_with_their_counts(feed: Feed) -> None:
    """Each mark says its first, its last, how many, and how many by hand."""
    first = feed.accept(FIRST)
    feed.accept(SECOND, via="api")
    feed.accept(FIRST, SECOND)
    found = claimed(feed)
    marks = {str(mark.scope): mark for mark in found.marks}
    assert set(marks) == {FIRST, SECOND}
    assert marks[FIRST].first_id == first.id
    assert [(marks[s].last, marks[s].count, marks[s].manual) for s in (FIRST, SECOND)] == [
        (3, 2, 0),
        (3, 2, 1),
    ]


def test_claim_records_the_accept_sequence(feed: Feed) -> None:
    """Everything accepted so far is claimed, and that is written before anything is read."""
    for _ in range(3):
        feed.accept(FIRST)
    assert claimed(feed).head.claimed == 3
    assert feed.head("claimed") == "3"


def test_notifications_are_named(feed: Feed) -> None:
    """A source names its own notifications, in their order."""
    receipts = [feed.accept(FIRST), feed.accept(SECOND), feed.accept(SECOND, FIRST)]
    found = claimed(feed)
    ids = [receipt.id for receipt in receipts]
    assert source(found, FIRST) == Source(
        Scope.parse(FIRST), Trigger.NOTIFICATION, (ids[0], ids[2]), 2
    )
    assert source(found, SECOND).notifications == (ids[1], ids[2])


def test_twenty_notifications_are_named_and_all_counted(feed: Feed) -> None:
    """Of many notifications the first 20 are named."""
    ids = [feed.accept(FIRST).id for _ in range(25)]
    found = source(claimed(feed), FIRST)
    assert found.notifications == tuple(ids[:20])
    assert found.count == 25


def test_notifications_are_found_behind_many_others(feed: Feed) -> None:
    """A notification far down the inbox is named all the same."""
    feed.accept(FIRST)
    entries = 1200
    last_ms = int(feed.head("last_ms"))
    for n in range(2, entries):
        fields = {"type": "test", "scopes": SECOND, "via": "bearer"}
        feed.store.xadd(feed.keys.inbox, fields, id=f"{last_ms}-{n}")  # type: ignore[arg-type]
    feed.store.hset(feed.keys.head, "accept", entries - 1)
    last = feed.accept(FIRST)
    assert source(claimed(feed), FIRST).notifications[-1] == last.id


def test_request_by_hand_is_manual(feed: Feed) -> None:
    """What only people asked for has the trigger ``manual``; one notification changes that."""
    feed.accept(FIRST, via="api")
    feed.accept(SECOND, via="api")
    feed.accept(SECOND)
    found = claimed(feed)
    assert source(found, FIRST).trigger is Trigger.MANUAL
    assert source(found, SECOND).trigger is Trigger.NOTIFICATION


def test_due_rereads_are_claimed(feed: Feed) -> None:
    """What has become due comes with its reason, and what is due later does not."""
    now_ms = feed.now_ms()
    feed.store.zadd(feed.keys.due, {FIRST: now_ms - 1, SECOND: now_ms + 60_000, "reconcile": 0})
    feed.store.hset(feed.keys.due_why, FIRST, '{"trigger":"settle","step":1,"count":2}')
    feed.store.hset(feed.keys.due_why, "reconcile", '{"trigger":"reconcile"}')
    found = claimed(feed)
    assert found.due == {
        FIRST: Due(Trigger.SETTLE, 1, (), 2),
        "reconcile": Due(Trigger.RECONCILE),
    }
    assert source(found, "collection") == Source(COLLECTION, Trigger.RECONCILE)


def test_due_reread_without_a_reason_is_served(feed: Feed) -> None:
    """A reason that was lost does not lose the re-read."""
    feed.store.zadd(feed.keys.due, {FIRST: 0})
    assert claimed(feed).due == {FIRST: Due(Trigger.SETTLE)}


def test_wake_flag_is_deleted(feed: Feed) -> None:
    """After a claim the next notification calls for another one."""
    feed.accept(FIRST)
    assert feed.store.exists(feed.keys.wake)
    claimed(feed)
    assert not feed.store.exists(feed.keys.wake)


def test_claim_takes_nothing_away(feed: Feed) -> None:
    """A worker that dies after its claim leaves all of it to the next one."""
    feed.accept(FIRST)
    before = claimed(feed)
    feed.store.delete(feed.keys.lease)
    assert claimed(feed).sources == before.sources


def test_round_may_not_start_early(feed: Feed) -> None:
    """Before its time a round claims nothing, and learns when that is; at its time it does."""
    feed.accept(FIRST)
    holder = token(feed.store, feed.keys)
    feed.store.hset(feed.keys.head, "not_before_ms", 5000)
    assert claim(feed.store, feed.keys, holder, 4999) == Early(5000)
    assert feed.head("claimed") == ""
    assert isinstance(claim(feed.store, feed.keys, holder, 5000), Claim)


def test_nothing_to_do_is_idle(store: redis.Redis, keys: Keyspace) -> None:
    """Without a mark and with nothing due there is nothing to do."""
    store.zadd(keys.due, {"reconcile": 1001})
    assert isinstance(claim(store, keys, token(store, keys), 1000), Idle)


def test_lost_lease_claims_nothing(feed: Feed) -> None:
    """Who lost the lease claims nothing, and leaves the wake flag."""
    feed.accept(FIRST)
    holder = token(feed.store, feed.keys)
    feed.store.delete(feed.keys.lease)
    assert isinstance(claim(feed.store, feed.keys, holder, feed.now_ms()), Lost)
    assert feed.head("claimed") == ""
    assert feed.store.exists(feed.keys.wake)
