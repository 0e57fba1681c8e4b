"""One refresh per tenant at a time, and whoever lets go looks once more."""

import redis

from tests.feed import Feed
from workers.contract.keyspace import Keyspace
from workers.intake.claim import claim
from workers.intake.lease import TTL_MS, Lease, acquire, kept


def held(store: redis.Redis, keys: Keyspace) -> Lease:
    """Take a lease that is free."""
    lease = acquire(store, keys)
    assert lease is not None
    return lease


def test_free_lease_is_taken(store: redis.Redis, keys: Keyspace) -> None:
    """A lease that nobody holds is given, for 15 seconds."""
    lease = held(store, keys)
    assert store.get(keys.lease) == lease.token.encode()
    assert TTL_MS == 15_000
    assert 0 < store.pttl(keys.lease) <= TTL_MS


def test_taken_lease_is_refused(store: redis.Redis, keys: Keyspace) -> None:
    """While somebody holds it nobody else gets it; another tenant's is free."""
    held(store, keys)
    assert acquire(store, keys) is None
    assert acquire(store, Keyspace("bolt")) is not None
    store.flushall()


def test_later_holder_has_another_token(store: redis.Redis, keys: Keyspace) -> None:
    """No two holders have the same token, even when all data was lost between them."""
    first = held(store, keys)
    first.release(1, 0)
    second = held(store, keys)
    store.delete(keys.lease)
    third = held(store, keys)
    store.flushall()
    fourth = held(store, keys)
    assert len({lease.token for lease in (first, second, third, fourth)}) == 4


def test_renewed_lease_lives_on(store: redis.Redis, keys: Keyspace) -> None:
    """A lease that is still ours is good for its full life again."""
    lease = held(store, keys)
    store.pexpire(keys.lease, 5000)
    assert lease.renew()
    assert store.pttl(keys.lease) > 5000


def test_lost_lease_is_not_renewed(store: redis.Redis, keys: Keyspace) -> None:
    """A lease that ran out, or is another's, is not ours to renew."""
    first = held(store, keys)
    store.delete(keys.lease)
    assert not first.renew()
    held(store, keys)
    store.pexpire(keys.lease, 5000)
    assert not first.renew()
    assert store.pttl(keys.lease) <= 5000


def test_kept_lease_is_ours_afterwards(store: redis.Redis, keys: Keyspace) -> None:
    """Keeping a lease neither loses nor releases it, and ends with its block."""
    lease = held(store, keys)
    with kept(lease):
        assert acquire(store, keys) is None
    assert lease.renew()


def test_released_lease_is_free(store: redis.Redis, keys: Keyspace) -> None:
    """Whoever has nothing left to do lets go, and nobody is to be woken."""
    assert held(store, keys).release(1000, 0) is None
    assert acquire(store, keys) is not None


def test_anothers_lease_is_not_released(store: redis.Redis, keys: Keyspace) -> None:
    """Who lost the lease does not take it from its new holder."""
    first = held(store, keys)
    store.delete(keys.lease)
    held(store, keys)
    first.release(1000, 0)
    assert acquire(store, keys) is None


def test_release_finds_what_was_accepted_meanwhile(feed: Feed) -> None:
    """What was accepted since the claim is called for at once, whatever was left behind."""
    feed.accept("collection")
    lease = held(feed.store, feed.keys)
    claim(feed.store, feed.keys, lease.token, feed.now_ms())
    feed.accept("audience:" + "a" * 24)
    now_ms = feed.now_ms()
    assert lease.release(now_ms, now_ms + 9000) == now_ms


def test_release_calls_for_what_was_left_behind(feed: Feed) -> None:
    """What was claimed and not served is called for when it can be."""
    feed.accept("collection")
    lease = held(feed.store, feed.keys)
    claim(feed.store, feed.keys, lease.token, feed.now_ms())
    now_ms = feed.now_ms()
    assert lease.release(now_ms, now_ms + 9000) == now_ms + 9000


def test_release_calls_for_what_is_due_first(store: redis.Redis, keys: Keyspace) -> None:
    """What is due later is called for then, the first of it."""
    store.zadd(keys.due, {"reconcile": 9000, "collection": 5000})
    assert held(store, keys).release(1000, 0) == 5000


def test_release_leaves_what_is_overdue_until_it_can_be_served(
    store: redis.Redis, keys: Keyspace
) -> None:
    """What its holder saw and had to leave is not called for before it can be served."""
    store.zadd(keys.due, {"collection": 500})
    assert held(store, keys).release(1000, 4000) == 4000


def test_release_keeps_rounds_apart(store: redis.Redis, keys: Keyspace) -> None:
    """No call comes before the next round may start, nor in the past."""
    store.zadd(keys.due, {"reconcile": 500})
    store.hset(keys.head, "not_before_ms", 3000)
    assert held(store, keys).release(1000, 0) == 3000


def test_alarm_is_not_repeated(store: redis.Redis, keys: Keyspace) -> None:
    """A call that is under way and early enough is not sent twice; an earlier one is sent."""
    store.zadd(keys.due, {"reconcile": 9000})
    assert held(store, keys).release(1000, 0) == 9000
    assert held(store, keys).release(1001, 0) is None
    store.zadd(keys.due, {"collection": 5000})
    assert held(store, keys).release(1002, 0) == 5000


def test_alarm_that_rang_is_set_anew(store: redis.Redis, keys: Keyspace) -> None:
    """Once its time has come, an alarm stands for nothing."""
    store.zadd(keys.due, {"reconcile": 9000})
    assert held(store, keys).release(1000, 0) == 9000
    assert held(store, keys).release(9000, 0) == 9000
