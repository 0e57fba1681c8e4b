"""A log that comes back older than a web process saw it: the workers are told."""

from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from service.feed import Pace
from tests.integration.service.feed.conftest import Connect, Consumer, Log, wait_until


@pytest.fixture
def watcher(connect: Connect, log: Log) -> Consumer:
    """Give a consumer of an application that saw the log at sequence 4."""
    consumer = connect(Pace(recheck_s=0.02))
    log.baseline()
    log.put(log.row(1), log.row(2), log.row(3))
    assert consumer.sequences(after="e1:4", wait=0.1) == []
    return consumer


def remembered(log: Log) -> str | None:
    """Give what the head remembers."""
    found: Any = log.store.hget(log.keys.head, "remembered")
    return None if found is None else str(found.decode())


@pytest.mark.parametrize("watched", [True, False])
def test_log_that_went_back_is_told_to_the_workers(
    watcher: Consumer, log: Log, store: redis.Redis, *, watched: bool
) -> None:
    """What was seen is remembered, and a look is due at once: while it is watched, or after."""
    with capture_logs() as logged:
        if watched:
            with watcher.stream(after="e1:4") as stream:
                wait_until(lambda: watcher.watchers() == 1)
                log.go_back(2)
                assert list(stream.blocks()) == []
        else:
            log.go_back(2)
            assert watcher.sequences(after="e1:2", wait=0.1) == []
        wait_until(lambda: remembered(log) == "e1:4")
    assert store.zscore(log.keys.due, "reconcile") == 0
    assert store.hget(log.keys.due_why, "reconcile") == b'{"trigger":"reconcile"}'
    said = [entry for entry in logged if entry["event"] == "log.went_back"]
    assert [(entry["tenant"], entry["seen"], entry["now"]) for entry in said] == [("acme", 4, 2)]


def test_scan_that_is_due_is_due_at_once(watcher: Consumer, log: Log, store: redis.Redis) -> None:
    """A scan that was to come later comes now, for the reason it had."""
    store.zadd(log.keys.due, {"reconcile": 9e15})
    store.hset(log.keys.due_why, "reconcile", '{"trigger":"manual"}')
    log.go_back(2)
    watcher.sequences(after="e1:2", wait=0.1)
    wait_until(lambda: store.zscore(log.keys.due, "reconcile") == 0)
    assert store.hget(log.keys.due_why, "reconcile") == b'{"trigger":"manual"}'


def test_log_that_only_grows_is_remembered_by_nobody(watcher: Consumer, log: Log) -> None:
    """New changes, however far ahead or behind the watcher is, mean no loss."""
    log.put(log.row(4))
    assert watcher.sequences(after="e1:4", wait=5) == [5]
    log.put(*(log.row(number) for number in range(10, 20)), trim=12)
    with watcher.stream() as stream:
        log.put(log.row(5))
        assert stream.sequences(1) == [16]
    assert remembered(log) is None
    assert not log.store.exists(log.keys.due)


def test_new_epoch_is_no_loss(watcher: Consumer, log: Log) -> None:
    """A log that was begun anew may stand anywhere."""
    log.go_back(1)
    log.begin_epoch("e2")
    assert watcher.sequences(after="e2:2", wait=0.1) == []
    assert remembered(log) is None


def test_empty_store_is_left_empty(watcher: Consumer, log: Log, store: redis.Redis) -> None:
    """When nothing is left, there is nothing to remember it by."""
    store.flushall()
    assert watcher.get("/v1/changes", wait=0.1)["cursor"] is None
    assert not store.exists(log.keys.head, log.keys.due)
