"""A tenant of the sandbox, as tests drive it: refreshed in this process, on a real server."""

import asyncio
import hashlib
import json
import random
import threading
import uuid
from datetime import timedelta
from typing import Any

import redis
from redis.asyncio import Redis

from service.inbox import Inbox, Incoming, Receipt
from service.sandbox import Platform
from service.schema import Schema
from workers import pipeline
from workers.context import Context
from workers.contract.keyspace import Keyspace
from workers.contract.scope import Scope
from workers.contract.settings import load
from workers.upstream.client import Connections

TENANT_ID = "eu-west-2_Sandbox01"


class Feed:
    """One tenant as a test drives it: edit the platform, notify, refresh, read the log."""

    def __init__(self, url: str, base: str, platform: Platform, connections: Connections) -> None:
        self.url, self.base, self.platform = url, base, platform
        self.connections = connections
        self.store = redis.Redis.from_url(url)
        self.keys = Keyspace("acme")
        self.env: dict[str, str] = {
            "REDIS_URL": url,
            "CPDFEED_TENANT": "acme",
            "CPDFEED_TENANT_ID": TENANT_ID,
            "CPDFEED_API_URL": f"{base}/public/rest/v1",
            "CPDFEED_API_SECRET": "sandbox-secret",
            "CPDFEED_CLIENT_SECRET": "sandbox-client-secret",
            "CPDFEED_WEBHOOK_AUTH": "signature",
            "CPDFEED_WEBHOOK_SECRETS": "test-secret",
            "CPDFEED_REFRESH_MIN_S": "0",
            "CPDFEED_SCAN_MIN_S": "0",
            "CPDFEED_LAG_S": "0",
            "CPDFEED_SETTLE_S": "100000",
            "CPDFEED_RATE_PER_MIN": "0",
        }
        self.ahead_ms = 0

    @property
    def collection(self) -> Any:  # noqa: ANN401 - the sandbox's own model
        """Give the platform's rows."""
        return self.platform.tenant(TENANT_ID).collection

    def now_ms(self) -> int:
        """Give the time, which a test moves on as it likes."""
        return int(self.platform.clock().timestamp() * 1000) + self.ahead_ms

    def context(self, **settings: str) -> Context:
        """Give what the pipeline works with."""
        return Context(
            settings=load(self.env | settings),
            store=self.store,
            connections=self.connections,
            now_ms=self.now_ms,
            new_id=lambda: uuid.uuid4().hex[:16],
            chance=random.Random(1),  # noqa: S311 - reproducible, not secret
            stopping=threading.Event(),
        )

    def accept(self, *scopes: str, dated: bool = False, via: Any = "signature") -> Receipt:  # noqa: ANN401
        """Accept a notification about these scopes."""

        async def run() -> Receipt:
            client = Redis.from_url(self.url)
            inbox = Inbox(  # the service's own: what it writes is what is claimed
                client,
                Schema(client),
                "acme",
                now_ms=self.now_ms,
                dedupe=timedelta(days=1),
                limit=1000,
                wake=lambda: None,
            )
            named = tuple(Scope.parse(scope) for scope in scopes)
            identity = hashlib.sha256(uuid.uuid4().bytes).hexdigest()
            receipt = await inbox.accept(Incoming(identity, dated, "test", named, via))
            await client.aclose()
            return receipt

        return asyncio.run(run())

    def refresh(self, **settings: str) -> list[Any]:
        """Refresh until there is nothing to do; give the calls that were asked for last."""
        return pipeline.refresh(self.context(**settings), "acme")

    def reconcile(self, **settings: str) -> None:
        """Make the timed scan due, and refresh."""
        self.store.zadd(self.keys.due, {"reconcile": 0})
        self.store.hset(self.keys.due_why, "reconcile", '{"trigger":"reconcile"}')
        self.refresh(**settings)

    def changes(self) -> list[dict[str, Any]]:
        """Give the whole log."""
        entries: Any = self.store.xrange(self.keys.changes)
        return [json.loads(fields[b"event"]) for _, fields in entries]

    def kinds(self) -> list[str]:
        """Give the kinds of the changes in the log."""
        return [change["data"]["kind"] for change in self.changes()]

    def head(self, field: str) -> str:
        """Give a field of the head."""
        value: Any = self.store.hget(self.keys.head, field)
        return "" if value is None else value.decode()

    def list_reads(self) -> int:
        """Give how many pages were read so far."""
        return self.platform.tenant(TENANT_ID).reads.counts["list"]

    def stat(self, name: str) -> int:
        """Give one of the tenant's counters."""
        value: Any = self.store.hget(self.keys.stats, name)
        return int(value or 0)

    def marked(self) -> list[str]:
        """Give the scopes that are marked."""
        scopes: Any = self.store.hkeys(self.keys.marks)
        return [scope.decode() for scope in scopes]

    def due_in_ms(self, member: str) -> float | None:
        """Give in how many ms something is due, None if it is not on the timetable."""
        at_ms: Any = self.store.zscore(self.keys.due, member)
        return None if at_ms is None else at_ms - self.now_ms()
