"""A log that Redis has lost some of goes on under a new name, with the rows that are left."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from tests.feed import Feed
from tests.installation import wait_until
from workers import embedded
from workers.context import Context
from workers.contract.codec import RowsDigest, unpack_id, unpack_row
from workers.pipeline import refresh

FIRST = "60d5ec49b60b4b3a2c8f9a10"


class Process:
    """A worker's process: what it remembers lives as long as it does."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.context: Context = feed.context()

    def find(self, minutes: int) -> None:
        """Change a requirement at the platform, and find it by the timer."""
        self.feed.collection.update(FIRST, minutes, None)
        self.wake()

    def wake(self) -> None:
        """Refresh, with the timed scan due."""
        self.feed.store.zadd(self.feed.keys.due, {"reconcile": 0})
        self.feed.store.hset(self.feed.keys.due_why, "reconcile", '{"trigger":"reconcile"}')
        refresh(self.context, "acme")


class Backup:
    """All of Redis as it was."""

    def __init__(self, feed: Feed) -> None:
        self.store = feed.store
        found: Any = self.store.keys("cpdfeed:*")
        self.kept = {key: self.store.dump(key) for key in found}

    def restore(self) -> None:
        """Put it back."""
        self.store.flushall()
        for key, value in self.kept.items():
            self.store.restore(key, 0, value)  # type: ignore[arg-type]


@pytest.fixture
def process(feed: Feed) -> Process:
    """Give a process that has taken the baseline."""
    process = Process(feed)
    process.wake()
    return process


def test_older_state_begins_an_epoch(feed: Feed, process: Process) -> None:
    """A process that has seen more of the log gives it a new name, and publishes what is lost."""
    backup = Backup(feed)
    process.find(720)
    epoch, ids = feed.head("epoch"), {change["id"] for change in feed.changes()}
    backup.restore()
    process.wake()
    assert feed.head("epoch") != epoch
    assert feed.kinds() == ["baseline", "baseline", "updated"]
    kept = {change["id"] for change in feed.changes()[1:]}
    assert not kept & ids
    assert feed.stat("epochs") == 1


def test_epoch_s_baseline_tells_of_the_rows_there_are(feed: Feed, process: Process) -> None:
    """It counts the rows that were left, and bears their digest."""
    process.find(720)
    backup = Backup(feed)
    process.find(780)
    backup.restore()
    rows: Any = feed.store.hgetall(feed.keys.rows)
    digest = RowsDigest()
    for packed in sorted(rows, key=unpack_id):
        digest.add(unpack_row(unpack_id(packed), rows[packed]).requirement)
    process.wake()
    data = feed.changes()[2]["data"]
    assert (data["kind"], data["count"]) == ("baseline", 2)
    assert data["rows_digest"] == digest.hexdigest()


def test_other_log_of_the_same_length_is_noticed(feed: Feed, process: Process) -> None:
    """Where others went on from the older state, the digests tell."""
    backup = Backup(feed)
    process.find(720)
    backup.restore()
    stranger = Process(feed)
    stranger.find(999)
    stranger.find(998)
    epoch = feed.head("epoch")
    process.wake()
    assert feed.head("epoch") != epoch


def test_web_process_that_saw_more_is_believed(feed: Feed, process: Process) -> None:
    """What a web process saw begins an epoch, once, though the log has grown since."""
    epoch = feed.head("epoch")
    process.find(1)
    process.find(2)
    feed.store.hset(feed.keys.head, "remembered", f"{epoch}:2")
    process.wake()
    begun = feed.head("epoch")
    assert begun != epoch
    process.wake()
    assert feed.head("epoch") == begun


def test_operator_can_begin_an_epoch(feed: Feed, process: Process) -> None:
    """Who puts a backup back takes the log's name away: it goes on under another one."""
    process.wake()
    epoch = feed.head("epoch")
    feed.store.hdel(feed.keys.head, "epoch")
    Process(feed).wake()
    assert feed.head("epoch") not in {"", epoch}
    assert feed.kinds() == ["baseline", "baseline"]


def test_emptied_server_begins_an_epoch(feed: Feed, process: Process) -> None:
    """After FLUSHALL the log begins anew, under another name."""
    epoch = feed.head("epoch")
    feed.store.flushall()
    process.wake()
    assert feed.head("epoch") not in {"", epoch}
    assert feed.kinds() == ["baseline"]


def test_nothing_lost_keeps_the_epoch(feed: Feed, process: Process) -> None:
    """Many refreshes, by several processes, go on under one name."""
    epoch, other = feed.head("epoch"), Process(feed)
    for minutes in range(1, 6):
        process.find(minutes)
        other.find(minutes + 100)
    assert feed.head("epoch") == epoch
    assert feed.stat("epochs") == 0


def test_restarted_server_that_syncs_every_write_keeps_the_epoch(
    feed: Feed, process: Process
) -> None:
    """Another run of a server that loses nothing is no reason for a new name."""
    epoch = feed.head("epoch")
    feed.store.hset(feed.keys.head, "server", "another-run")
    process.wake()
    assert feed.head("epoch") == epoch
    assert feed.head("server") != "another-run"


def test_restarted_server_that_may_have_lost_writes_begins_an_epoch(
    feed: Feed, process: Process
) -> None:
    """Another run of a server that syncs now and then may have lost the log's end."""
    process.find(720)
    epoch = feed.head("epoch")
    feed.store.hset(feed.keys.head, "server", "another-run")
    feed.store.config_set("appendfsync", "everysec")
    try:
        Process(feed).wake()
    finally:
        feed.store.config_set("appendfsync", "always")
    assert feed.head("epoch") != epoch


def test_promoted_replica_begins_an_epoch(feed: Feed, process: Process, tmp_path: Path) -> None:
    """A replica that took over may not have had all of the log, however often it syncs."""
    process.wake()
    epoch, url = feed.head("epoch"), urlsplit(feed.url)
    with embedded.running(tmp_path) as second:
        replica = redis.Redis.from_url(second.url.reveal())
        password = {} if url.password is None else {"masterauth": url.password}
        for name, value in password.items():
            replica.config_set(name, value)
        replica.replicaof(str(url.hostname), str(url.port))
        wait_until(lambda: replica.hget(feed.keys.head, "epoch") == epoch.encode(), "the replica")
        replica.replicaof("NO", "ONE")
        feed.store = replica
        Process(feed).wake()
        assert feed.head("epoch") != epoch
        assert feed.kinds() == ["baseline", "baseline"]
        replica.close()


def test_backup_put_back_twice_begins_two_epochs(feed: Feed, process: Process) -> None:
    """A process remembers every epoch it saw: a log it has left is not taken up again."""
    backup = Backup(feed)
    process.find(720)
    first, seen = feed.head("epoch"), {change["id"]: change for change in feed.changes()}
    backup.restore()
    process.wake()
    second = feed.head("epoch")
    seen |= {change["id"]: change for change in feed.changes()}
    backup.restore()
    process.find(780)
    assert feed.head("epoch") not in {first, second}
    assert all(seen.get(change["id"], change) == change for change in feed.changes())
