"""Measure many small tenants in one installation, one of which is slow.

Run ``python -m tests.bench.many_tenants [tenants] [seconds]``, 1,000 and 180 by default. Each
tenant has one page and is scanned every 60 s; one answers after 5 s. Prints how long it took until
all had their baseline, and then, over that time: how late the timed scans were (their distance
less the period), how many requests the platform had, and the processor time of each process.
"""

import json
import os
import random
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Final

import redis
import uvicorn
from msgspec import Struct

from service.sandbox import Options, Platform, Tenant, create_app
from tests.installation import SIGNING_SECRET, Installation, installed, wait_until
from workers.contract.keyspace import Keyspace

SLOW_MS: Final = 5_000
ROWS: Final = 5
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Figures(Struct, frozen=True):
    """What was measured; times in seconds, lateness of all tenants but the slow one."""

    tenants: int
    reconcile_s: float
    baselines_s: float
    watched_s: float
    scans: int
    fewest_scans: int
    slow_scans: int
    requests: int
    late_median_s: float
    late_p99_s: float
    late_max_s: float
    slow_late_max_s: float
    cpu_s: Mapping[str, float]


def put_tenants(platform: Platform, count: int) -> dict[str, Tenant]:
    """Make tenants of one page; the first of them is slow."""
    return {
        f"t{number}": platform.put(
            f"eu-west-2_t{number}", Options(latency_ms=0 if number else SLOW_MS), rows=ROWS
        )
        for number in range(count)
    }


def write_settings(
    folder: Path, base: str, tenants: Mapping[str, Tenant], reconcile_s: float, sweep_s: float
) -> None:
    """Write the settings of them all to a folder."""
    of_tenants = "\n".join(
        f'[tenants.{slug}]\ntenant_id = "{tenant.id}"\napi_secret = "sandbox-secret"'
        for slug, tenant in tenants.items()
    )
    (folder / "cpdfeed.toml").write_text(
        f'api_url = "{base}/public/rest/v1"\n'
        f'webhook_auth = "signature"\nwebhook_secrets = ["{SIGNING_SECRET}"]\n'
        f"reconcile_s = {reconcile_s}\nsweep_s = {sweep_s}\n{of_tenants}\n"
    )


def watch(
    feed: Installation, tenants: Mapping[str, Tenant], reconcile_s: float, watched_s: float
) -> Figures:
    """Wait for all baselines, then look on for a while."""
    started = time.monotonic()
    store = redis.Redis.from_url(str(feed.redis_url))

    def all_known() -> bool:
        pipe = store.pipeline(transaction=False)
        for slug in tenants:
            pipe.hexists(Keyspace(slug).head, "baseline_ms")
        return all(pipe.execute())

    wait_until(all_known, "all baselines", within_s=600)
    store.close()
    baselines_s = time.monotonic() - started
    for tenant in tenants.values():
        tenant.reads.reset()
    before, began = _cpu_s(feed), datetime.now(UTC)
    time.sleep(watched_s)
    cpu_s = {name: round(now - before[name], 1) for name, now in _cpu_s(feed).items()}
    slow, *others = (_scans(tenant) for tenant in tenants.values())
    late = [lateness for scans in others for lateness in _late_s(scans, reconcile_s)]
    return Figures(
        tenants=len(tenants),
        reconcile_s=reconcile_s,
        baselines_s=round(baselines_s, 1),
        watched_s=round((datetime.now(UTC) - began).total_seconds(), 1),
        scans=sum(map(len, others)) + len(slow),
        fewest_scans=min(map(len, others)),
        slow_scans=len(slow),
        requests=sum(tenant.reads.counts.total() for tenant in tenants.values()),
        late_median_s=round(statistics.median(late), 2),
        late_p99_s=round(sorted(late)[int(len(late) * 0.99)], 2),
        late_max_s=round(max(late), 2),
        slow_late_max_s=round(max(_late_s(slow, reconcile_s), default=0), 2),
        cpu_s=cpu_s,
    )


def _scans(tenant: Tenant) -> list[datetime]:
    """Give when a tenant's only page was read."""
    return [read.at for read in list(tenant.reads.requests) if read.kind == "list"]


def _late_s(scans: list[datetime], reconcile_s: float) -> list[float]:
    return [(two - one).total_seconds() - reconcile_s for one, two in pairwise(scans)]


def _cpu_s(feed: Installation) -> dict[str, float]:
    """Give the processor time each process has used so far.

    Source: proc(5), fields utime and stime of /proc/<pid>/stat.
    """
    pids = {name: process.pid for name, process in feed.processes.items()}
    if feed.server is not None:
        pids["server"] = feed.server.process.pid
    used = {}
    for name, pid in pids.items():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        used[name] = (int(fields[11]) + int(fields[12])) / _TICKS
    return used


def main(count: int = 1000, watched_s: float = 180, reconcile_s: float = 60) -> None:
    """Run the benchmark and print its figures."""
    chance = random.Random(1)  # noqa: S311 - reproducible, not secret
    platform = Platform(lambda: datetime.now(UTC), chance, default_tenant=False)
    tenants = put_tenants(platform, count)
    listener = socket.create_server(("127.0.0.1", 0))
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(create_app(platform), log_level="critical"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    with tempfile.TemporaryDirectory() as folder:
        write_settings(Path(folder), base, tenants, reconcile_s, sweep_s=5)
        with installed(Path(folder), {}) as feed:
            figures = watch(feed, tenants, reconcile_s, watched_s)
    server.should_exit = True
    thread.join()
    fields = {name: getattr(figures, name) for name in figures.__struct_fields__}
    print(json.dumps(fields, indent=1))  # noqa: T201 - this is what it is for


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:3]))
