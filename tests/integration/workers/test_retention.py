"""The log is kept so long and no longer, and nothing points to a change that is gone."""

from datetime import timedelta
from typing import Any

import pytest
import redis

from tests.feed import Feed
from tests.log import Log, id_of
from workers.commands.verify import prove
from workers.contract.codec import pack_id, to_us, unpack_tombstone
from workers.contract.keyspace import Keyspace
from workers.intake.lease import Lease, acquire
from workers.intake.retention import trim
from workers.proof import Proven

MANY = 10**9
"""More changes, or days, than there are."""
DAY_MS = 86_400_000


@pytest.fixture
def lease(store: redis.Redis, keys: Keyspace) -> Lease:
    """Give the tenant's lease."""
    lease = acquire(store, keys)
    assert lease is not None
    return lease


def kept(store: redis.Redis, keys: Keyspace) -> list[int]:
    """Give the sequences of the log."""
    entries: Any = store.xrange(keys.changes)
    return [int(entry_id.partition(b"-")[0]) for entry_id, _ in entries]


def history(store: redis.Redis, keys: Keyspace) -> dict[bytes, list[int]]:
    """Give the sequences that each requirement's history points to."""
    found: Any = store.hgetall(keys.history)
    return {
        id_: [int.from_bytes(packed[at : at + 8], "big") for at in range(0, len(packed), 8)]
        for id_, packed in found.items()
    }


def told(store: redis.Redis, keys: Keyspace) -> dict[bytes, list[int]]:
    """Give the same by the log itself."""
    found: dict[bytes, list[int]] = {}
    entries: Any = store.xrange(keys.changes)
    for entry_id, fields in entries:
        if id_ := fields[b"requirement_id"].decode():
            found.setdefault(pack_id(id_), []).append(int(entry_id.partition(b"-")[0]))
    return found


def updates(count: int, rows: int = 3, step: timedelta = timedelta(seconds=1)) -> Log:
    """Give a log of a baseline and updates of its rows in turn."""
    log = Log(*range(1, rows + 1))
    log.step = step
    log.baseline()
    for number in range(1, count):
        log.update(1 + number % rows, 60 + number)
    return log


def ms(log: Log) -> int:
    """Give the time of a log's last change."""
    return to_us(log.moment) // 1000


def is_whole(store: redis.Redis, keys: Keyspace) -> bool:
    """Tell whether what is left is proven, and history points to all of it and nothing else."""
    assert history(store, keys) == told(store, keys)
    return isinstance(prove(store, keys.tenant, lambda *_: None), Proven)


def test_log_within_bounds_costs_one_look(store: redis.Redis, keys: Keyspace, lease: Lease) -> None:
    """Where nothing is to go nothing is written, and two commands tell so."""
    log = updates(30)
    log.store(store, keys)
    before = store.info("stats")["total_commands_processed"]
    assert trim(store, keys, lease.token, ms(log), 30, 1) == 0
    after = store.info("stats")["total_commands_processed"]
    assert after - before - 1 == 2
    assert kept(store, keys) == list(range(1, 31))


def test_log_that_is_not_there_is_not_trimmed(
    store: redis.Redis, keys: Keyspace, lease: Lease
) -> None:
    """Before the first change there is nothing to do."""
    assert trim(store, keys, lease.token, 0, 1, 1) == 0


def test_log_keeps_so_many_changes(store: redis.Redis, keys: Keyspace, lease: Lease) -> None:
    """Beyond the bound the oldest go, with what points to them; the rest is still proven."""
    log = updates(30)
    log.store(store, keys)
    assert trim(store, keys, lease.token, ms(log), 10, MANY) == 20
    assert kept(store, keys) == list(range(21, 31))
    assert is_whole(store, keys)
    assert trim(store, keys, lease.token, ms(log), 10, MANY) == 0


@pytest.mark.parametrize("first", [1, 2, 15, 29, 30])
def test_log_keeps_changes_for_so_long(
    store: redis.Redis, keys: Keyspace, lease: Lease, first: int
) -> None:
    """What was observed before the bound goes; what was observed at it stays."""
    log = updates(30, step=timedelta(days=1))
    log.store(store, keys)
    assert trim(store, keys, lease.token, ms(log), MANY, 30 - first) == first - 1
    assert kept(store, keys) == list(range(first, 31))
    assert is_whole(store, keys)


def test_changes_of_one_time_go_together(store: redis.Redis, keys: Keyspace, lease: Lease) -> None:
    """Changes of one commit have one time: all of them go, or none."""
    log = updates(10)
    log.step = timedelta(0)
    for minutes in range(200, 210):
        log.update(1, minutes)
    log.step = timedelta(days=1)
    log.update(1, 1)
    log.store(store, keys)
    assert trim(store, keys, lease.token, ms(log), MANY, 1) == 9
    assert trim(store, keys, lease.token, ms(log) + 1, MANY, 1) == 11


@pytest.mark.parametrize(("log_max", "log_days"), [(1, MANY), (MANY, 1), (1, 1)])
def test_last_change_stays(
    store: redis.Redis, keys: Keyspace, lease: Lease, log_max: int, log_days: float
) -> None:
    """However old it is, and few may stay, the log is never emptied."""
    log = updates(30)
    log.store(store, keys)
    for _ in range(2):
        trim(store, keys, lease.token, ms(log) + 2 * DAY_MS, log_max, log_days)
        assert kept(store, keys) == [30]
    assert is_whole(store, keys)


def test_history_loses_what_is_gone_alone(store: redis.Redis, keys: Keyspace, lease: Lease) -> None:
    """A requirement's later changes stay in its history; without any it has none."""
    log = Log(1, 2)
    log.baseline()
    for number in (1, 2, 1, 1):
        log.update(number, 100 + len(log.events))
    log.store(store, keys)
    trim(store, keys, lease.token, ms(log), 2, MANY)
    assert history(store, keys) == {pack_id(id_of(1)): [4, 5]}


def test_tombstone_goes_with_its_removal(store: redis.Redis, keys: Keyspace, lease: Lease) -> None:
    """What is kept of a removed row goes with that change, and not with an earlier one."""
    log = Log(1, 2, 3)
    log.baseline()
    log.remove(1)
    log.remove(2)
    log.restore(2)
    log.remove(2)
    log.remove(3)
    log.store(store, keys)

    def buried() -> dict[bytes, int]:
        found: Any = store.hgetall(keys.tombstones)
        return {id_: unpack_tombstone(packed).sequence for id_, packed in found.items()}

    one, two, three = (pack_id(id_of(number)) for number in (1, 2, 3))
    assert buried() == {one: 2, two: 5, three: 6}
    trim(store, keys, lease.token, ms(log), 4, MANY)
    assert buried() == {two: 5, three: 6}
    trim(store, keys, lease.token, ms(log), 2, MANY)
    assert buried() == {two: 5, three: 6}
    trim(store, keys, lease.token, ms(log), 1, MANY)
    assert buried() == {three: 6}


def test_stale_holder_trims_nothing(store: redis.Redis, keys: Keyspace, lease: Lease) -> None:
    """Who lost the lease, to somebody or to nobody, writes nothing at all."""
    log = updates(30)
    log.remove(1)
    log.store(store, keys)
    store.delete(keys.lease)
    assert trim(store, keys, lease.token, ms(log), 1, MANY) == 0
    assert acquire(store, keys) is not None
    assert trim(store, keys, lease.token, ms(log), 1, MANY) == 0
    assert len(kept(store, keys)) == 31
    assert is_whole(store, keys)
    assert store.hlen(keys.tombstones) == 1


def test_long_log_is_trimmed_in_bounded_calls(
    store: redis.Redis, keys: Keyspace, lease: Lease
) -> None:
    """A call drops 20,000 changes at most, a thousand in a step; the next ones go on."""
    log = updates(21_500, rows=1)
    log.store(store, keys)
    store.pexpire(keys.lease, 600_000)  # nobody renews it here
    later = ms(log) + DAY_MS
    assert trim(store, keys, lease.token, later, 5, MANY) == 20_000
    assert kept(store, keys)[0] == 20_001
    assert trim(store, keys, lease.token, later, MANY, 0.5) == 1_499
    assert history(store, keys) == {pack_id(id_of(1)): [21_500]}


def test_refresh_goes_on_behind_a_trimmed_log(feed: Feed) -> None:
    """After its removal was trimmed, an id that comes back is a new one, and all is proven."""
    feed.reconcile()
    feed.collection.create("a" * 24, "b" * 24, 90, None)
    feed.reconcile()
    feed.collection.delete("a" * 24)
    feed.reconcile()
    feed.collection.update("60d5ec49b60b4b3a2c8f9a10", 720, None)
    feed.reconcile()
    lease = acquire(feed.store, feed.keys)
    assert lease is not None
    assert trim(feed.store, feed.keys, lease.token, feed.now_ms(), 1, MANY) == 3
    lease.release(feed.now_ms(), 0)
    feed.collection.restore("a" * 24)
    feed.reconcile()
    assert feed.kinds() == ["updated", "created"]
    assert is_whole(feed.store, feed.keys)
