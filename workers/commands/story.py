"""Tell what becomes of each edit: the part of `cpdfeed demo` that makes them and looks on.

It has the sandbox edited, follows the change stream in Redis as any consumer would, and in the end
compares what was published with the platform's own history.
"""

import queue
import random
import signal
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from typing import Any, Final, NamedTuple

import click
import msgspec
import redis
from msgspec import Struct

from workers.commands import rendering, tail
from workers.commands.client import Client, find_client
from workers.commands.editor import Edit, Editor, Kind, Reads, Version
from workers.commands.refresh import await_covered
from workers.commands.rendering import Event
from workers.contract import settings as settings_table
from workers.contract.keyspace import Keyspace
from workers.contract.settings import Tenant

_START_S: Final = 60.0
_CHANGE_S: Final = 20.0
_PAUSE_S: Final = 3.0
"""Between edits when there is no end to them: long enough to read a row."""
_MARGIN_S: Final = 0.3
_POLL_S: Final = 0.05
_GROUP: Final = "demo"
_CONSUMER: Final = "onlooker"
_KINDS: Final = {
    "create": Kind.CREATED,
    "update": Kind.UPDATED,
    "delete": Kind.REMOVED,
    "restore": Kind.RESTORED,
}
"""The sandbox's operations that are to be published, and as what."""
_LAYOUT: Final = "{:>3}  {:<32}  {:<23}  {:<17}  {:<30}  {}"


class Received(NamedTuple):
    """A change as the consumer received it, and when."""

    event: Event
    at_s: float


class Report(Struct):
    """Everything about one edit; ``change`` is None when none came."""

    number: int
    edit: Kind
    requirement_id: str
    before_minutes: int | None
    after_minutes: int | None
    status: int | None
    notification: str
    reads: Reads
    change: str | None
    published: str
    received_ms: float | None


class Consumer:
    """A consumer group of the change stream, with one member."""

    def __init__(self, url: str, keys: Keyspace) -> None:
        self._store = redis.Redis.from_url(url)
        self._stream = keys.changes
        self._inbox = keys.inbox
        self._received: queue.SimpleQueue[Received] = queue.SimpleQueue()
        self._store.xgroup_create(self._stream, _GROUP, id="0", mkstream=False)
        threading.Thread(target=self._read, name="consumer", daemon=True).start()
