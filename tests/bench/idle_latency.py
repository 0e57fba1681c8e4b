"""Measure one notification → its change on the long poll, on an idle installation.

Run ``python -m tests.bench.idle_latency``. The platform answers after 100 ms; each of 50 tenants
gets one edit and one notification, one after another. Prints medians in ms: the whole, what is
not the platform's latency, and of that the time from the accept to the start of the read, which
is spent waiting for the broker.
"""

import json
import random
import socket
import statistics
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import uvicorn

from service.sandbox import Options, Platform, create_app
from tests.installation import SIGNING_SECRET, Installation, installed, wait_until

TENANTS: Final = 50
LATENCY_MS: Final = 100


def main() -> None:
    """Run the benchmark and print its figures."""
    platform = Platform(lambda: datetime.now(UTC), random.Random(1))  # noqa: S311 - reproducible
    listener = socket.create_server(("127.0.0.1", 0))
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(create_app(platform), log_level="critical"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    slugs = [f"t{number}" for number in range(TENANTS)]
    for slug in slugs:
        platform.put(f"eu-west-2_{slug}", Options(latency_ms=LATENCY_MS))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "cpdfeed.toml").write_text(_settings(slugs, base))
        with installed(Path(folder), {}) as feed:
            for slug in slugs:
                feed.has_baseline(slug)
            figures = [_one(feed, platform, slug) for slug in slugs]
    server.should_exit = True
    thread.join()
    totals, waits = zip(*figures, strict=True)
    total, wait = statistics.median(totals), statistics.median(waits)
    result = {
        "tenants": TENANTS,
        "median_ms": round(total, 1),
        "p95_ms": round(sorted(totals)[int(TENANTS * 0.95)], 1),
        "ours_ms": round(total - LATENCY_MS, 1),
        "of_that_waiting_for_the_broker_ms": round(wait, 1),
    }
    print(json.dumps(result, indent=1))  # noqa: T201 - this is what it is for


def _settings(slugs: list[str], base: str) -> str:
    tenants = "\n".join(
        f'[tenants.{slug}]\ntenant_id = "eu-west-2_{slug}"\napi_secret = "sandbox-secret"'
        for slug in slugs
    )
    return (
        f'api_url = "{base}/public/rest/v1"\nwebhook_auth = "signature"\n'
        f'webhook_secrets = ["{SIGNING_SECRET}"]\nrate_per_min = 0\n{tenants}\n'
    )


def _one(feed: Installation, platform: Platform, slug: str) -> tuple[float, float]:
    """Give (ms from the notification to its change, ms from its accept to the read)."""
    tenant = platform.tenant(f"eu-west-2_{slug}")
    row = next(iter(tenant.collection.rows.values()))
    cursor = feed.get("/v1/changes", tenant=slug)["cursor"]
    tenant.update(row.audience_requirement_id, row.required_minutes + 60)
    with ThreadPoolExecutor() as pool:
        poll = pool.submit(
            lambda: (feed.get("/v1/changes", tenant=slug, after=cursor, wait=20), time.monotonic())
        )
        time.sleep(0.05)  # the poll is waiting by then; that is part of the set-up, not a check
        started = time.monotonic()
        answer = feed.notify({"audienceId": row.audience_id}, slug)
        got, seen = poll.result()
    assert len(got["changes"]) == 1, got
    id_ = answer.json()["notification"]
    found = wait_until(
        lambda: (n := feed.get(f"/v1/notifications/{id_}", tenant=slug))["read"] and n, "its read"
    )
    begun = datetime.fromisoformat(found["read"]["started_at"])
    received = datetime.fromisoformat(found["received_at"])
    return (seen - started) * 1000, (begun - received).total_seconds() * 1000


if __name__ == "__main__":
    main()
