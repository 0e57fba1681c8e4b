"""Hold what the requests of one web process share, and hand it to them."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from redis.asyncio import Redis
from starlette.requests import Request

from service.callers import ApiCallers
from service.credentials import NotificationVerifier
from service.inbox import Inbox
from service.owners import Owners
from service.schema import Schema
from workers.contract.settings import Settings


@dataclass(frozen=True, slots=True)
class State:
    """Everything made at start-up; ``inboxes`` and ``verifiers`` are by slug.

    ``redis`` gives bytes and never retries. ``now_ms`` is the clock, Unix milliseconds.
    ``shutting_down`` is set when the process is asked to end: whoever waits for long watches it.
    """

    settings: Settings
    redis: Redis
    schema: Schema
    callers: ApiCallers
    verifiers: Mapping[str, NotificationVerifier]
    owners: Owners
    inboxes: Mapping[str, Inbox]
    now_ms: Callable[[], int]
    shutting_down: asyncio.Event


def state_of(request: Request) -> State:
    """Give the state of the application that serves a request."""
    state: State = request.app.state.cpdfeed
    return state
