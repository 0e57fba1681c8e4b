"""Describe wake-up calls as values, so that what decides on them need not know the broker."""

from enum import StrEnum
from typing import Final

from msgspec import Struct

REFRESH_QUEUE: Final = "refresh"
DISPATCH_QUEUE: Final = "dispatch"


class Task(StrEnum):
    """The names under which Celery knows our tasks."""

    REFRESH = "cpdfeed.refresh"
    SWEEP = "cpdfeed.sweep"


class Call(Struct, frozen=True):
    """One wake-up call: a hint to look at Redis, which alone remembers what is to be done.

    A call may be lost, repeated or late without harm.
    """

    task: Task
    args: tuple[str, ...] = ()
    delay_s: float = 0


def refresh(tenant: str, delay_s: float = 0) -> Call:
    """Wake a refresh of one tenant."""
    return Call(Task.REFRESH, (tenant,), delay_s)
