"""Measure a tenant of 100,000 rows on 100 pages, in one process, pacing off.

Run ``python -m tests.bench.scale [rows]``. A line each for: the first scan, an unchanged one, a
targeted refresh of one changed row, a reconcile that finds one changed row, and a deletion on the
first page, which shifts every page after it: seconds, pages and single rows read, changes found.
Then the peak memory of the process above what it had before, what a row takes in Redis, and
``cpdfeed verify`` over what came of it. The platform runs in a process of its own.
"""

import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx2

from service.sandbox import Platform
from tests.feed import TENANT_ID, Feed
from tests.installation import wait_until
from workers import embedded
from workers.commands.verify import prove
from workers.contract import logs
from workers.contract.codec import pack_id, unpack_ids, unpack_row
from workers.contract.model import Requirement
from workers.upstream.client import Connections

ROWS: Final = 100_000
SEED: Final = 1


@contextmanager
def emulated(rows: int) -> Iterator[str]:
    """Run the platform with so many rows; gives its base URL."""
    port = embedded.free_port()
    arguments = ["--port", str(port), "--rows", str(rows), "--seed", str(SEED)]
    process = subprocess.Popen(
        [sys.executable, "-m", "service.sandbox", *arguments], stdout=subprocess.DEVNULL
    )
    base = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _answers(base), "the sandbox")
        yield base
    finally:
        process.terminate()
        process.wait()


def _answers(base: str) -> bool:
    try:
        return httpx2.get(f"{base}/sandbox/tenants").is_success
    except httpx2.TransportError:
        return False


class Bench:
    """One tenant, and what its refreshes cost."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.tenant = f"{feed.base}/sandbox/tenants/{TENANT_ID}"

    def first_of(self, page: int) -> Requirement:
        """Give the first row of a page, as it was last seen."""
        packed: Any = self.feed.store.hget(self.feed.keys.pages, str(page))
        id_ = unpack_ids(packed)[0]
        row: Any = self.feed.store.hget(self.feed.keys.rows, pack_id(id_))
        return unpack_row(id_, row).requirement

    def edit(self, row: Requirement) -> None:
        """Change the minutes of a row at the platform."""
        url = f"{self.tenant}/requirements/{row.id}"
        httpx2.patch(url, json={"requiredMinutes": row.required_minutes + 15}).raise_for_status()

    def delete(self, row: Requirement) -> None:
        """Delete a row at the platform."""
        httpx2.delete(f"{self.tenant}/requirements/{row.id}").raise_for_status()

    def measure(self, what: str, work: Callable[[], Any]) -> None:
        """Do some work and print what it cost."""
        before = len(self.feed.changes())
        httpx2.delete(f"{self.tenant}/reads").raise_for_status()
        begun = time.perf_counter()
        work()
        took_s = time.perf_counter() - begun
        reads = httpx2.get(f"{self.tenant}/reads").json()
        print(  # noqa: T201 - a report
            f"{what:<44} {took_s:6.2f} s  {reads['list']:4} pages  {reads['one']:2} by id  "
            f"{reads['audience']:2} names  {len(self.feed.changes()) - before} changes"
        )


def main() -> None:
    """Run the measurements and print them."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    logs.configure("console", "warning")
    chance = random.Random(SEED)  # noqa: S311 - reproducible
    platform = Platform(lambda: datetime.now(UTC), chance, default_tenant=False)
    connections = Connections()
    with (
        tempfile.TemporaryDirectory() as folder,
        embedded.running(Path(folder)) as server,
        emulated(count) as base,
    ):
        feed = Feed(server.url.reveal(), base, platform, connections)
        bench = Bench(feed)
        before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        bench.measure(f"first scan of {count} rows", feed.reconcile)
        bench.measure("unchanged", feed.reconcile)
        row = bench.first_of(count // 2000)
        bench.edit(row)
        feed.accept(f"audience:{row.audience_id}")
        bench.measure("one row changed, its audience notified", feed.refresh)
        bench.edit(bench.first_of(count // 3000))
        bench.measure("one row changed, found by the timer", feed.reconcile)
        bench.delete(bench.first_of(1))
        bench.measure("one deleted on the first page", feed.reconcile)
        peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        held: Any = feed.store.keys(f"{feed.keys.prefix}*")
        used = sum(int(feed.store.memory_usage(key, samples=0) or 0) for key in held)
        print(  # noqa: T201 - a report
            f"peak memory of the process +{(peak_kb - before_kb) / 1024:.0f} MB, "
            f"{used / count:.0f} bytes a row in Redis"
        )
        print(f"verify: {prove(feed.store, 'acme', lambda *_: None)}")  # noqa: T201 - a report
    connections.close()


if __name__ == "__main__":
    main()
