"""Count what finding one change costs the platform, and write it to ``docs/cost.md``.

Run ``python -m tests.bench.api_cost``. The settings are the defaults, but for pages of 20 rows, so
that 100 pages are quickly made; time moves on by itself, a quarter of a second a step, for two
minutes after the last notification, so settle reads are counted. A row is edited first; then it is
notified, or the timer finds it. In the burst, 10,000 notifications arrive within 20 s, and the row
is edited in the middle of it.
"""

import asyncio
import hashlib
import random
import socket
import tempfile
import threading
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

import uvicorn
from redis.asyncio import Redis

from service.inbox import Inbox, Incoming
from service.sandbox import Options, Platform, create_app
from service.schema import Schema
from tests.feed import TENANT_ID, Feed
from workers import embedded
from workers.contract import logs
from workers.contract.scope import Scope
from workers.upstream.client import Connections

PAGES: Final = (1, 5, 100)
PER_PAGE: Final = 20
BURST: Final = 10_000
BURST_STEPS: Final = 80
STEP_MS: Final = 250
QUIET_STEPS: Final = 480
UNKNOWN: Final = "f" * 24
DOCUMENT: Final = Path(__file__).parent.parent.parent / "docs" / "cost.md"
_BEGIN, _END = "<!-- figures -->\n", "<!-- end of figures -->\n"
_DEFAULTS: Final = {
    "CPDFEED_REFRESH_MIN_S": "1",
    "CPDFEED_SCAN_MIN_S": "30",
    "CPDFEED_LAG_S": "60",
    "CPDFEED_SETTLE_S": "5,60",
    "CPDFEED_RATE_PER_MIN": "0",
    "CPDFEED_RECONCILE_S": "86400",
    "CPDFEED_PER_PAGE": str(PER_PAGE),
}


class Tenant:
    """One tenant of so many pages, whose baseline is a while ago."""

    def __init__(self, feed: Feed, pages: int) -> None:
        feed.store.flushall()
        feed.platform.put(TENANT_ID, Options(), rows=pages * PER_PAGE)
        feed.ahead_ms = 0
        feed.env |= _DEFAULTS
        feed.reconcile()
        feed.ahead_ms = 120_000
        rows = list(feed.collection.rows.values())
        self.feed = feed
        self.row = rows[len(rows) // 2]
        self.before = feed.platform.tenant(TENANT_ID).reads.counts.copy()

    def edit(self) -> None:
        """Change a requirement at the platform."""
        minutes = self.row.required_minutes + 15
        self.feed.collection.update(self.row.audience_requirement_id, minutes, None)

    def go_on(self, steps: int) -> None:
        """Let time pass, and serve what is due."""
        for _ in range(steps):
            self.feed.ahead_ms += STEP_MS
            self.feed.refresh()

    def cost(self) -> str:
        """Give what was read since the baseline, once there is the one change."""
        assert self.feed.kinds() == ["baseline", "updated"], self.feed.kinds()
        return self.reads()

    def reads(self) -> str:
        """Give what was read since the baseline: pages, and what else."""
        counts = self.feed.platform.tenant(TENANT_ID).reads.counts - self.before
        more = [f"{counts[kind]} {name}" for kind, name in _KINDS.items() if counts[kind]]
        return " + ".join([str(counts["list"]), *more])


_KINDS: Final[dict[Literal["one", "audience"], str]] = {"one": "by id", "audience": "name"}


def known_audience(tenant: Tenant) -> str:
    """Notify the audience of the row that changed."""
    tenant.edit()
    tenant.feed.accept(f"audience:{tenant.row.audience_id}")
    tenant.go_on(QUIET_STEPS)
    return tenant.cost()


def unknown_audience(tenant: Tenant) -> str:
    """Notify an audience that has no requirement."""
    tenant.edit()
    tenant.feed.accept(f"audience:{UNKNOWN}")
    tenant.go_on(QUIET_STEPS)
    return tenant.cost()


def found_by_the_timer(tenant: Tenant) -> str:
    """Let the timed scan find it."""
    tenant.edit()
    tenant.feed.reconcile()
    return tenant.cost()


def nothing_new(tenant: Tenant) -> str:
    """Scan a collection that stands still."""
    tenant.feed.reconcile()
    return tenant.reads()


def idle_hint(tenant: Tenant) -> str:
    """Notify a known audience about which nothing has changed: it is read again twice."""
    tenant.feed.accept(f"audience:{tenant.row.audience_id}")
    tenant.go_on(QUIET_STEPS)
    return tenant.reads()


def burst(tenant: Tenant) -> str:
    """Notify one audience 10,000 times, and edit its row in the middle of that."""
    scope = Scope.parse(f"audience:{tenant.row.audience_id}")
    for step in range(BURST_STEPS):
        if step == BURST_STEPS // 2:
            tenant.edit()
        asyncio.run(_accept(tenant.feed, scope, BURST // BURST_STEPS))
        tenant.go_on(1)
    tenant.go_on(QUIET_STEPS)
    return tenant.cost()


async def _accept(feed: Feed, scope: Scope, count: int) -> None:
    client = Redis.from_url(feed.url)
    inbox = Inbox(
        client,
        Schema(client),
        "acme",
        now_ms=feed.now_ms,
        dedupe=timedelta(days=1),
        limit=BURST * 2,
        wake=lambda: None,
    )

    def note() -> Incoming:
        identity = hashlib.sha256(uuid.uuid4().bytes).hexdigest()
        return Incoming(identity, dated=True, event_type="test", scopes=(scope,), via="signature")

    await asyncio.gather(*(inbox.accept(note()) for _ in range(count)))
    await client.aclose()


def measure(feed: Feed) -> list[str]:
    """Give the table's lines."""
    lines = [
        f"| pages of the tenant | {' | '.join(map(str, PAGES))} |",
        f"|---|{'---|' * len(PAGES)}",
    ]
    for what, case in {
        "one change, its audience notified": known_audience,
        "one change, an unknown audience notified": unknown_audience,
        "one change, found by the timer": found_by_the_timer,
        "a timed scan that finds nothing": nothing_new,
        "a notification about nothing": idle_hint,
        "one change in a burst of 10,000 notifications": burst,
    }.items():
        figures = [case(Tenant(feed, pages)) for pages in PAGES]
        lines.append(f"| {what} | {' | '.join(figures)} |")
        print(lines[-1], flush=True)  # noqa: T201 - a report
    return lines


def main() -> None:
    """Count, and write the table."""
    logs.configure("console", "error")
    platform = Platform(lambda: datetime.now(UTC), random.Random(1))  # noqa: S311 - reproducible
    listener = socket.create_server(("127.0.0.1", 0))
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(create_app(platform), log_level="critical"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    connections = Connections()
    with tempfile.TemporaryDirectory() as folder, embedded.running(Path(folder)) as store:
        lines = measure(Feed(store.url.reveal(), base, platform, connections))
    connections.close()
    server.should_exit = True
    thread.join()
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    dated = f"Counted on {datetime.now(UTC):%Y-%m-%d} by `python -m tests.bench.api_cost`."
    table = "\n".join([dated, "", *lines, ""])
    DOCUMENT.write_text(f"{before}{_BEGIN}{table}{_END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
