"""Find out whether Redis still holds what it once acknowledged.

A log that has lost its end must not go on under the same name: its next changes would bear ids
that consumers have seen with another content. So it gets a new epoch.
"""

from typing import Any, NamedTuple

import msgspec
import redis

from workers.contract.codec import Cursor
from workers.contract.keyspace import Keyspace
from workers.contract.model import Head


class Place(NamedTuple):
    """Where a process saw a log stand, and the digest there."""

    cursor: Cursor
    digest: str


class _Data(msgspec.Struct):
    digest: str


class _Event(msgspec.Struct):
    data: _Data


_events = msgspec.json.Decoder(_Event)


def loss(
    store: redis.Redis, keys: Keyspace, head: Head, remembered: Place | None, server: str | None
) -> str | None:
    """Say how it is known that the log is not what it was; None while nothing speaks for that.

    Args:
        store: The server.
        keys: Of the tenant.
        head: As it was claimed.
        remembered: Where this process saw the log stand last, in the head's epoch.
        server: What ``run_id`` gave.

    Keys: changes. After a restart of the server, asks INFO and CONFIG as well.
    """
    if head.baseline_ms is None:
        return None
    if not head.epoch:
        return "an operator has taken its name away"
    if remembered is not None and _contradicts(store, keys, head, remembered):
        return "a worker saw another one"
    # It was written when the log stood lower, and may have been overtaken since.
    if head.remembered and Cursor.parse(head.remembered).epoch == head.epoch:
        return "a web process saw more of it"
    if not head.server or server in {None, head.server}:
        return None
    return _lost_by_restart(store)


def run_id(store: redis.Redis) -> str | None:
    """Give what names this run of the server, None where it does not tell.

    Source: INFO, section server; it is another one after each start.
    """
    try:
        info: Any = store.info("server")
    except redis.ResponseError:
        return None
    found = info.get("run_id")
    return None if found is None else str(found)


def _contradicts(store: redis.Redis, keys: Keyspace, head: Head, remembered: Place) -> bool:
    sequence = remembered.cursor.sequence
    if sequence >= head.sequence:
        return sequence > head.sequence or remembered.digest != head.digest
    entries: Any = store.xrange(keys.changes, f"{sequence}-0", f"{sequence}-0")
    return any(
        _events.decode(fields[b"event"]).data.digest != remembered.digest for _, fields in entries
    )


def _lost_by_restart(store: redis.Redis) -> str | None:
    """Tell whether the server that was restarted, or took over, can have lost something."""
    replication: Any = store.info("replication")
    if replication.get("second_repl_offset", -1) != -1:  # set by a promotion
        return "a replica took over, which may not have had all of it"
    try:
        configured: Any = store.config_get("append*")
    except redis.ResponseError:
        configured = {}
    if (configured.get("appendonly"), configured.get("appendfsync")) == ("yes", "always"):
        return None
    return "the server was restarted, and did not sync every write"
