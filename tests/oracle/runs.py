"""Runs of the oracle: one seed, one reader, one verdict; and many of them side by side."""

import asyncio
import multiprocessing
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from http.client import HTTPConnection
from itertools import chain
from pathlib import Path
from typing import Final, Literal, Protocol
from urllib.parse import urlsplit

from msgspec import Struct
from redis.asyncio import Redis

from tests.oracle.cpdfeed import InTurn, Pipeline, WorldFeed
from tests.oracle.judge import Account, Verdict, judge
from tests.oracle.script import Script
from tests.oracle.world import Course, Step, World, draw, serving
from workers import embedded
from workers.contract import logs

Name = Literal["cpdfeed", "script", "counting script"]
NAMES: Final[tuple[Name, ...]] = ("cpdfeed", "script", "counting script")
_FIRST: Final = Step(purged=0, edits=0, wait_ms=0, meanwhile=2, look="scan")
MOST_AT_ONCE: Final = 100
"""Runs that share a server and its platform."""


class Reader(Protocol):
    """Whoever reads a world, and tells what changed."""

    def look(self, step: Step) -> None:
        """Look as a step says; the first time, nothing is known."""

    def finish(self) -> None:
        """Look as often as it takes, now that nobody edits any more."""

    def account(self) -> Account:
        """Give all that was told."""


class Result(Struct, frozen=True):
    """What a reader made of the world of a seed."""

    reader: Name
    course: Course
    edits: int
    scans: int
    told: int
    verdict: Verdict

    @property
    def wrong(self) -> bool:
        """Tell whether anything was."""
        found = self.verdict
        return bool(found.phantoms or found.missed or found.faults)


class Oracle:
    """A world, and what its readers need to read it."""

    def __init__(
        self,
        world: World,
        feed: WorldFeed,
        client: Redis,
        runner: asyncio.Runner,
        http: HTTPConnection,
    ) -> None:
        self.world = world
        self.feed = feed
        self._client = client
        self._runner = runner
        self._http = http

    def run(self, seed: int, name: Name) -> Result:
        """Let a reader read the world of a seed, and judge what it told."""
        world = self.world
        world.begin(draw(seed))
        reader = self._reader(name)
        for step in (_FIRST, *world.course.steps):
            world.before(step)
            reader.look(step)
        world.rest()
        reader.finish()
        account, collection = reader.account(), world.tenant.collection
        verdict = judge(account, collection)
        told = len(account.told)
        return Result(name, world.course, collection.version, account.scans, told, verdict)

    def _reader(self, name: Name) -> Reader:
        if name == "cpdfeed":
            return Pipeline(self.feed, self._client, self._runner)
        return Script(self.world, self._http, counts=name == "counting script")


@contextmanager
def opened() -> Iterator[Oracle]:
    """Start what runs share: a platform, a server of their own, connections to both."""
    world = World()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(embedded.running(folder)).url.reveal()
        base = stack.enter_context(serving(world))
        runner = stack.enter_context(asyncio.Runner())
        connections = InTurn()
        stack.callback(connections.close)
        feed = WorldFeed(url, base, world, connections)
        stack.callback(feed.store.close)
        feed.store.config_set("appendonly", "no")  # nothing here outlives the process
        client = Redis.from_url(url)
        stack.callback(lambda: runner.run(client.aclose()))
        http = HTTPConnection(urlsplit(base).netloc)
        stack.callback(http.close)
        yield Oracle(world, feed, client, runner, http)


class Runs:
    """Runs in processes of their own, each with its own world and server."""

    def __init__(self, pool: ProcessPoolExecutor, processes: int) -> None:
        self._pool = pool
        self._processes = processes

    def of(self, name: Name, seeds: Iterable[int]) -> Iterator[Result]:
        """Give the results of a reader, in the order of the seeds."""
        every = list(seeds)
        size = max(1, min(MOST_AT_ONCE, -(-len(every) // self._processes)))
        chunks = [every[start : start + size] for start in range(0, len(every), size)]
        return chain.from_iterable(self._pool.map(partial(_run_all, name), chunks))


@contextmanager
def side_by_side(processes: int) -> Iterator[Runs]:
    """Start so many processes for runs."""
    spawn = multiprocessing.get_context("spawn")  # threads and servers do not survive a fork
    with ProcessPoolExecutor(processes, spawn, initializer=_silence) as pool:
        yield Runs(pool, processes)


def _silence() -> None:
    logs.configure("json", "critical")


def _run_all(name: Name, seeds: list[int]) -> list[Result]:
    with opened() as oracle:
        return [oracle.run(seed, name) for seed in seeds]
