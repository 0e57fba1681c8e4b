"""cpdfeed's own pipeline as a reader: over HTTP, on a real server, at the world's time."""

import asyncio
from collections.abc import Coroutine, Mapping
from concurrent.futures import Future, wait
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final, TypeVar

import msgspec
from redis.asyncio import Redis

from service.inbox import Inbox, Incoming
from service.sandbox.collection import Row
from service.schema import Schema
from tests.feed import Feed
from tests.oracle.judge import Account, Material, State, Told, state_of
from tests.oracle.world import Step, World
from workers import pipeline
from workers.contract.codec import GENESIS, chain_digest, jcs, to_us, unpack_id, unpack_row
from workers.contract.scope import Scope
from workers.upstream.client import Connections

_T = TypeVar("_T")

FINAL_SCANS: Final = 8
"""Timed scans after the last edit, at most: where each read is shuffled anew, one scan shows most
rows and seldom all."""
MOST_LOOKS: Final = 30
"""Re-reads that may come due one after another, before we say that they never end."""


class InTurn(Connections):
    """Connections that make one request at a time, in the order asked for.

    So the platform moves the same way between the same reads, each time.
    """

    def submit(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        """Run a coroutine in the loop, to its end."""
        future = super().submit(work)
        wait([future])
        return future


class WorldFeed(Feed):
    """The tenant of a world, whose time the pipeline shares to the millisecond."""

    def __init__(self, url: str, base: str, world: World, connections: Connections) -> None:
        super().__init__(url, base, world.platform, connections)
        self.world = world

    def now_ms(self) -> int:
        """Give the world's time, without a float between."""
        return to_us(self.world.clock()) // 1000


class Pipeline:
    """cpdfeed's pipeline, over HTTP and on a real server."""

    def __init__(self, feed: WorldFeed, client: Redis, runner: asyncio.Runner) -> None:
        self._feed = feed
        self._world = feed.world
        self._runner = runner
        self._faults: list[str] = []
        feed.store.flushdb()
        course = feed.world.course
        self._context = feed.context(
            CPDFEED_PER_PAGE=str(course.per_page),
            CPDFEED_LAG_S=str(course.lag_s),
            CPDFEED_SETTLE_S=",".join(map(str, course.settle_s)),
        )
        self._inbox = Inbox(
            client,
            Schema(client),
            "acme",
            now_ms=feed.now_ms,
            dedupe=timedelta(days=1),
            limit=1000,
            wake=lambda: None,
        )
        self._accepted = 0

    def look(self, step: Step) -> None:
        """Scan on a timer, or be notified of what was edited, or do what is due."""
        if step.look == "scan":
            self._reconcile()
        elif step.look == "notify":
            self._notify()
        self._refresh()

    def finish(self) -> None:
        """Do all that is due, and scan on the timer until the snapshot is as long as the list."""
        for scan in range(1 + FINAL_SCANS):
            if scan:
                self._reconcile()
                self._refresh()
            if not self._come_to_rest():
                self._faults.append("it never comes to rest")
                return
            if scan and self._feed.head("total") == str(len(self._rows())):
                return

    def account(self) -> Account:
        """Give what the log tells, the snapshot, and the rows the log began with."""
        changes = self._feed.changes()
        rows = self._rows()
        told = tuple(_told(change) for change in changes[1:])
        first = _undo(rows, told)
        faults = [*self._faults, *_broken(changes, first)]
        last = changes[-1]["data"]
        if (self._feed.head("sequence"), self._feed.head("digest")) != (
            str(last["sequence"]),
            last["digest"],
        ):
            faults.append("the head does not stand where the log ends")
        return Account(
            first=first,
            first_at=datetime.fromisoformat(changes[0]["time"]),
            told=told,
            rows=rows,
            scans=self._feed.stat("scans"),
            faults=tuple(faults),
        )

    # --- what a process does ----------------------------------------------------------------------

    def _rows(self) -> dict[str, Material]:
        """Give the snapshot."""
        found: Any = self._feed.store.hgetall(self._feed.keys.rows)
        rows = [unpack_row(unpack_id(id_), packed).requirement for id_, packed in found.items()]
        return {row.id: Material(row.audience_id, row.required_minutes) for row in rows}

    def _refresh(self) -> None:
        pipeline.refresh(self._context, "acme")

    def _reconcile(self) -> None:
        """Make the timed scan due."""
        self._feed.store.zadd(self._feed.keys.due, {"reconcile": 0})
        self._feed.store.hset(self._feed.keys.due_why, "reconcile", '{"trigger":"reconcile"}')

    def _notify(self) -> None:
        """Accept a notification about each edit that nobody was notified of."""
        notes = []
        for edited in self._world.take_edited():
            names = [f"audience:{id_}" for id_ in edited.audiences]
            self._accepted += 1
            if self._accepted % 4 == 0:
                names = [f"requirement:{edited.id}"]
            scopes = tuple(Scope.parse(name) for name in names)
            identity = sha256(str(self._accepted).encode()).hexdigest()
            notes.append(
                Incoming(identity, dated=False, event_type="test", scopes=scopes, via="signature")
            )

        async def accept() -> None:
            for note in notes:
                await self._inbox.accept(note)

        self._runner.run(accept())

    def _come_to_rest(self) -> bool:
        """Let time go on to whatever is due next, until only the timed scan is left, if ever."""
        feed = self._feed
        for _ in range(MOST_LOOKS):
            entries: Any = feed.store.zrange(feed.keys.due, 0, -1, withscores=True)
            times = [int(at_ms) for member, at_ms in entries if member != b"reconcile"]
            if feed.marked():
                times.append(0)
            if not times:
                return True
            next_ms = max(min(times), int(feed.head("not_before_ms") or 0))
            self._world.now_ms += max(0, next_ms - feed.now_ms())
            self._refresh()
        return False


def _told(change: Mapping[str, Any]) -> Told:
    data = change["data"]
    return Told(
        data["kind"],
        data["requirement_id"],
        None if data["before"] is None else _state(data["before"]),
        None if data["after"] is None else _state(data["after"]),
        datetime.fromisoformat(change["time"]),
    )


def _state(row: Mapping[str, Any]) -> State:
    id_ = {"audienceRequirementId": ""}
    return state_of(msgspec.convert({**id_, **row}, Row))


def _undo(rows: Mapping[str, Material], told: tuple[Told, ...]) -> dict[str, Material]:
    """Give the rows there were before the changes."""
    first = dict(rows)
    for one in reversed(told):
        first.pop(one.id, None)
        if one.before is not None:
            first[one.id] = one.before.material
    return first


def _broken(changes: list[dict[str, Any]], first: Mapping[str, Material]) -> list[str]:
    """Give where a log is broken: its sequences, its chain, and what its baseline counted."""
    faults = []
    previous = GENESIS
    for number, change in enumerate(changes, 1):
        data = change["data"]
        if data["sequence"] != number:
            faults.append(f"change {data['sequence']} stands where {number} belongs")
        if data["previous_digest"] != previous or data["digest"] != chain_digest(previous, change):
            faults.append(f"the chain breaks at change {number}")
        previous = data["digest"]
    baseline = changes[0]["data"]
    digest = sha256()
    for id_, row in sorted(first.items()):
        digest.update(jcs([id_, row.audience_id, row.minutes]))
    if (baseline["count"], baseline["rows_digest"]) != (len(first), digest.hexdigest()):
        faults.append("undoing the log does not give the rows of the baseline")
    return faults
