"""A platform, a server and a time of their own, for tests that go through many short lives."""

import asyncio
import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import structlog
from redis.asyncio import Redis

from service.sandbox import Platform, create_app
from service.sandbox.collection import Collection
from tests.conftest import running
from tests.feed import Feed
from workers import embedded
from workers.upstream.client import Connections

START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """A time that moves only when it is told to."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        """Give the time."""
        return self.now


class Edit(NamedTuple):
    """An edit at the platform: what it does depends on whether the row is there."""

    id: str
    op: str
    audience: str
    minutes: int
    early: bool

    def make(self, collection: Collection, now: datetime) -> None:
        """Edit the platform's requirements."""
        if self.id in collection.deleted:
            collection.restore(self.id)
        elif self.id not in collection.rows:
            age = timedelta(days=self.minutes if self.early else 0)
            collection.create(self.id, self.audience, self.minutes, now - age)
        elif self.op == "delete":
            collection.delete(self.id)
        elif self.op == "touch":
            collection.update(self.id)
        elif self.op == "move":
            collection.update(self.id, audience_id=self.audience)
        else:
            collection.update(self.id, minutes=self.minutes)


class Stage:
    """What all examples share: a server, a platform over HTTP, and the time."""

    def __init__(self, feed: Feed, clock: Clock) -> None:
        self.feed, self.clock = feed, clock
        self.runner = asyncio.Runner()
        self.client = Redis.from_url(feed.url)

    def close(self) -> None:
        """Let go of everything."""
        self.runner.run(self.client.aclose())
        self.runner.close()
        self.feed.store.close()


@contextmanager
def staged(folder: Path) -> Iterator[Stage]:
    """Start all of it, with the server's data in a folder; nobody reads a log of such a time."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    clock, connections = Clock(), Connections()
    platform = Platform(clock, random.Random(1))  # noqa: S311 - reproducible, not secret
    with embedded.running(folder) as server, running(create_app(platform), []) as base:
        stage = Stage(Feed(server.url.reveal(), base, platform, connections), clock)
        yield stage
        stage.close()
    connections.close()
    structlog.configure(**before)
