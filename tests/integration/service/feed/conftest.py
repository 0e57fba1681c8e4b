"""A tenant's log as commits write it, and the web application that serves it to a consumer."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx2
import msgspec
import pytest
import redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service import feed
from service.app import create_app
from service.state import state_of
from service.tail import Tail
from workers.contract import settings as configuration
from workers.contract.codec import (
    GENESIS,
    Cursor,
    chain_digest,
    ms_text,
    pack_id,
    pack_ids,
    pack_row,
    served_row,
)
from workers.contract.keyspace import Keyspace
from workers.contract.model import Requirement, Row

DEADLINE_S = 20.0
TOKEN = "reader"
START_MS = 1_700_000_000_000
_ENV = {
    "CPDFEED_TENANT": "acme",
    "CPDFEED_TENANT_ID": "eu-west-2_Example01",
    "CPDFEED_API_URL": "http://127.0.0.1:9/rest/v1",
    "CPDFEED_API_SECRET": "secret",
    "CPDFEED_WEBHOOK_AUTH": "signature",
    "CPDFEED_WEBHOOK_SECRETS": "secret",
    "CPDFEED_SETTLE_S": "5,60",
    "CPDFEED_API_TOKENS": hashlib.sha256(TOKEN.encode()).hexdigest() + ":feed:read",
}


def wait_until(condition: Callable[[], bool]) -> None:
    """Return once a condition holds; fail when it does not come to."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


class Log:
    """Writes what the worker's commits write: rows, changes, head, and the announcement."""

    def __init__(self, store: redis.Redis, keys: Keyspace, epoch: str = "e1") -> None:
        self.store, self.keys, self.epoch = store, keys, epoch
        self.sequence, self.digest = 0, GENESIS
        self.rows: dict[str, Requirement] = {}
        self.events: list[dict[str, Any]] = []
        self.history: dict[str, bytes] = {}
        self.padding = ""
        self.time_ms = START_MS

    def id(self, number: int) -> str:
        """Give an id, in the order of numbers."""
        return f"{number:024x}"

    def row(self, number: int, audience: int = 1, minutes: int = 60) -> Requirement:
        """Give a row that is not in the log yet."""
        return Requirement(self.id(number), self.id(audience), minutes, 1_000_000, None)

    def baseline(self, *rows: Requirement) -> None:
        """Commit a first load."""
        self.rows = {row.id: row for row in rows}
        data = {"kind": "baseline", "count": len(rows), "rows_digest": "", "cause": _cause(())}
        self._commit([("cpd.requirements.baseline", "", "", data)], {"baseline_ms": 1})

    def put(self, *rows: Requirement, notifications: tuple[str, ...] = (), trim: int = 0) -> Cursor:
        """Commit rows as created or updated, and trim; give the place after them."""
        changes = []
        for row in rows:
            before = self.rows.get(row.id)
            changes.append(self._change(row.id, before, row, notifications))
            self.rows[row.id] = row
        return self._commit(changes, trim=trim)

    def remove(self, number: int) -> Cursor:
        """Commit a row as removed; give the place after it."""
        before = self.rows.pop(self.id(number))
        return self._commit([self._change(before.id, before, None, ())])

    def trim(self, first: int) -> None:
        """Drop the changes before a sequence."""
        self.store.xtrim(self.keys.changes, minid=f"{first}-0", approximate=False)

    def begin_epoch(self, epoch: str) -> None:
        """Go on in a new epoch, whose baseline keeps every row."""
        self.epoch = epoch
        self.baseline(*self.rows.values())

    def go_back(self, sequence: int) -> None:
        """Lose the changes after a sequence, as a server does that comes back older."""
        left: Any = self.store.xrange(self.keys.changes, max=f"{sequence}")
        del self.events[sequence:]
        self.sequence, self.digest = sequence, self.events[-1]["data"]["digest"]
        pipe = self.store.pipeline(transaction=True)
        pipe.delete(self.keys.changes)
        for id_, fields in left:
            pipe.xadd(self.keys.changes, fields, id=id_)
        pipe.hset(self.keys.head, mapping={"sequence": self.sequence, "digest": self.digest})
        pipe.execute()

    def served(self) -> list[dict[str, Any]]:
        """Give the snapshot as it is to be served."""
        return [
            {"audienceRequirementId": id_, **served_row(row)}
            for id_, row in sorted(self.rows.items())
        ]

    def _change(
        self,
        id_: str,
        before: Requirement | None,
        after: Requirement | None,
        notifications: tuple[str, ...],
    ) -> tuple[str, str, str, dict[str, Any]]:
        kind = "updated" if before and after else "created" if after else "removed"
        about = after or before
        data = {
            "kind": kind,
            "requirement_id": id_,
            "audience": {"id": about and about.audience_id, "name": self.padding},
            "before": before and served_row(before),
            "after": after and served_row(after),
            "cause": _cause(notifications),
        }
        return f"cpd.requirement.{kind}", id_, about.audience_id if about else "", data

    def _commit(
        self,
        changes: list[tuple[str, str, str, dict[str, Any]]],
        head: dict[Any, Any] | None = None,
        trim: int = 0,
    ) -> Cursor:
        pipe = self.store.pipeline(transaction=True)
        for type_, id_, audience, data in changes:
            self.sequence += 1
            event: dict[str, Any] = {
                "specversion": "1.0",
                "id": f"{self.epoch}:{self.sequence}",
                "source": "/tenants/acme/cpdRequirementSummaries",
                "type": type_,
                "time": ms_text(self.time_ms),
                "data": {**data, "sequence": self.sequence, "previous_digest": self.digest},
            }
            self.digest = chain_digest(self.digest, event)
            event["data"]["digest"] = self.digest
            self.events.append(event)
            fields = {
                "event": msgspec.json.encode(event),
                "type": type_,
                "requirement_id": id_,
                "audience_id": audience,
                "tenant": "acme",
            }
            pipe.xadd(self.keys.changes, fields, id=f"{self.sequence}-0")  # type: ignore[arg-type]
            if id_:
                self.history[id_] = self.history.get(id_, b"") + self.sequence.to_bytes(8, "big")
                pipe.hset(self.keys.history, pack_id(id_), self.history[id_])
        pipe.xtrim(self.keys.changes, minid=f"{trim}-0", approximate=False)
        self._write_rows(pipe)
        state: dict[Any, Any] = {
            "epoch": self.epoch,
            "sequence": self.sequence,
            "digest": self.digest,
            "time_ms": self.time_ms,
        }
        pipe.hset(self.keys.head, mapping={**state, **(head or {})})
        pipe.publish(self.keys.committed, self.sequence)
        pipe.execute()
        return Cursor(self.epoch, self.sequence)

    def _write_rows(self, pipe: Any) -> None:  # noqa: ANN401 - redis-py's pipeline of either colour
        pipe.delete(self.keys.rows, self.keys.audiences)
        audiences: dict[str, list[str]] = {}
        for id_, row in self.rows.items():
            pipe.hset(self.keys.rows, pack_id(id_), pack_row(Row(row, 1, 1)))
            audiences.setdefault(row.audience_id, []).append(id_)
        for audience, ids in audiences.items():
            pipe.hset(self.keys.audiences, pack_id(audience), pack_ids(ids))


def _cause(notifications: tuple[str, ...]) -> dict[str, Any]:
    return {"trigger": "notification", "notifications": list(notifications)}


class Event(NamedTuple):
    """One server-sent event; a heartbeat has no type."""

    id: str
    type: str
    data: str


class Stream:
    """A consumer of the stream that knows the format's rules, but for data of several lines."""

    def __init__(self, response: httpx2.Response) -> None:
        self._lines = response.iter_lines()

    def blocks(self) -> Iterator[Event]:
        """Give each block of fields as it arrives, until the stream ends."""
        fields: dict[str, str] = {}
        for line in self._lines:
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            else:
                yield Event(fields.get("id", ""), fields.get("event", ""), fields.get("data", ""))
                fields = {}

    def events(self, count: int) -> list[Event]:
        """Give the next events, without heartbeats."""
        found: list[Event] = []
        for block in self.blocks() if count else ():
            found += [block] if block.data else []
            if len(found) == count:
                break
        assert len(found) == count, "the stream ended too early"
        return found

    def sequences(self, count: int) -> list[int]:
        """Give the sequences of the next events."""
        return [json.loads(event.data)["data"]["sequence"] for event in self.events(count)]


class Consumer:
    """Someone who reads over HTTP, and the application that answers."""

    def __init__(self, url: str, app: Starlette) -> None:
        self.url, self.app = url, app
        self.http = httpx2.Client(
            base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=DEADLINE_S + 30
        )

    def get(self, path: str, **query: str | float | list[str]) -> dict[str, Any]:
        """Give the answer to a request that is to succeed."""
        answer = self.http.get(path, params=query)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def refusal(self, path: str, **query: str | float) -> tuple[int, str]:
        """Give (status, reason) of a request that is to be refused."""
        answer = self.http.get(path, params=query)
        assert answer.headers["content-type"] == "application/problem+json"
        return answer.status_code, answer.json()["reason"]

    def sequences(self, **query: str | float | list[str]) -> list[int]:
        """Give the sequences of one page of changes."""
        page = self.get("/v1/changes", **query)
        return [event["data"]["sequence"] for event in page["changes"]]

    @contextmanager
    def stream(self, last_event_id: str | None = None, **query: str) -> Iterator[Stream]:
        """Open a stream."""
        headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        with self.http.stream(
            "GET", "/v1/changes/stream", params=query, headers=headers
        ) as response:
            assert response.status_code == 200
            assert response.headers["content-type"].startswith("text/event-stream")
            yield Stream(response)

    def watchers(self) -> int:
        """Give how many streams and long polls are being served."""
        tail: Tail | None = getattr(self.app.state, "tail", None)
        return tail.watchers if tail else 0

    def shut_down(self) -> None:
        """Tell the application that its process was asked to end, as ``service.shutdown`` does."""
        self.get("/shut-down")


@pytest.fixture
def log(store: redis.Redis, keys: Keyspace) -> Log:
    """Give the empty log of the tenant ``acme``."""
    return Log(store, keys)


async def _shut_down(request: Request) -> Response:
    state_of(request).shutting_down.set()
    return JSONResponse({})


Connect = Callable[[feed.Pace], Consumer]


@pytest.fixture
def connect(redis_url: str, serve: Callable[[Starlette], str]) -> Iterator[Connect]:
    """Give a function that serves the application at a pace, to a consumer of ``acme``."""
    consumers: list[Consumer] = []

    def start(pace: feed.Pace) -> Consumer:
        settings = configuration.load({**_ENV, "REDIS_URL": redis_url})
        app = create_app(settings, enqueue=lambda _: None)
        app.router.routes[:0] = [*feed.routes(pace), Route("/shut-down", _shut_down)]
        consumers.append(Consumer(serve(app), app))
        return consumers[-1]

    yield start
    for consumer in consumers:
        consumer.http.close()


@pytest.fixture
def consumer(connect: Connect) -> Consumer:
    """Give a consumer of the application at a pace that only its announcements wake."""
    return connect(feed.Pace(recheck_s=1000))
