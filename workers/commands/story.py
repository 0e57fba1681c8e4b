"""Tell what becomes of each edit: the part of `cpdfeed demo` that makes them and looks on.

It edits the sandbox as an editor of the platform would, follows the change stream in Redis as a
consumer would, and in the end compares what was published with the platform's own history.
"""

import queue
import random
import signal
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from itertools import cycle
from types import FrameType
from typing import Annotated, Any, Final, NamedTuple

import click
import httpx
import msgspec
import redis
from msgspec import Meta, Struct

from workers.commands import rendering, tail
from workers.commands.client import Client, find_client
from workers.commands.refresh import await_covered
from workers.commands.rendering import Event, duration
from workers.contract import settings as settings_table
from workers.contract.keyspace import Keyspace
from workers.contract.settings import Settings, Tenant

_START_S: Final = 60.0
_CHANGE_S: Final = 20.0
_POLL_S: Final = 0.01
_PAUSE_S: Final = 3.0
"""Between edits when there is no end to them: long enough to read a row."""
_MARGIN_S: Final = 0.3
_GROUP: Final = "demo"


class Kind(StrEnum):
    """What an editor does, one after another, to one requirement."""

    CREATED = "created"
    UPDATED = "updated"
    REMOVED = "removed"
    RESTORED = "restored"
    TOUCHED = "touched"


_KIND_OF: Final = {
    "create": Kind.CREATED,
    "update": Kind.UPDATED,
    "delete": Kind.REMOVED,
    "restore": Kind.RESTORED,
}
"""The sandbox's operations that are to be published, and as what."""


class Reads(Struct):
    """Requests the platform was asked."""

    list: int = 0
    one: int = 0
    audience: int = 0
    token: int = 0

    def since(self, before: "Reads") -> "Reads":
        """Give those that came after."""
        return Reads(
            *(
                now - then
                for now, then in zip(*map(msgspec.structs.astuple, (self, before)), strict=True)
            )
        )


class Report(Struct):
    """Everything about one edit; what was not to come, or did not, is None."""

    number: int
    edit: Kind
    requirement_id: str
    before_minutes: int | None
    after_minutes: int | None
    status: int | None
    notification: str
    reads: Reads
    change: str | None = None
    sequence: int | None = None
    published: str = ""
    received_ms: float | None = None


class _Row(Struct, rename="camel"):
    audience_requirement_id: str
    required_minutes: int


class _Edited(Struct):
    row: _Row | None
    notification: str


class Version(Struct):
    """One edit as the platform's history has it."""

    id: str
    op: str
    before: _Row | None
    row: _Row | None


class _Attempt(Struct):
    status: int | None


class _Delivery(Struct):
    id: str
    state: str
    attempts: Annotated[list[_Attempt], Meta()]


class _Received(NamedTuple):
    event: Event
    at_s: float
