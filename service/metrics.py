"""Serve ``/metrics``: every tenant's counters and state in the text format of Prometheus.

Series are made from Redis for each answer, so all processes tell the same and none keeps state.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.progress import Progress, read_progress
from service.state import state_of
from workers.contract.keyspace import HEAD_FIELDS, STATS
from workers.contract.model import Strength

_BRAKE: Final = {Strength.SCAN: 1, Strength.OPERATOR: 2}

GAUGES: Final[Mapping[str, tuple[str, Callable[[Progress], float | None]]]] = {
    "pending_notifications": (HEAD_FIELDS["pending"], lambda it: it.pending),
    "coverage_lag_seconds": (
        "For how long the oldest pending notification has waited at most",
        lambda it: it.lag_s,
    ),
    "last_complete_scan_timestamp_seconds": (
        HEAD_FIELDS["complete_ms"],
        lambda it: None if it.complete_ms is None else it.complete_ms / 1000,
    ),
    "sequence": ("Sequence of the last change", lambda it: it.sequence),
    "quarantined_rows": (
        "Rows kept apart because they do not fit the schema",
        lambda it: it.quarantined,
    ),
    "brake_engaged": (
        "Whether removals are held back: 1 until a second scan agrees, 2 until an operator lets go",
        lambda it: 0 if it.brake is None else _BRAKE[it.brake.strength],
    ),
    "requirements": ("Rows of the snapshot", lambda it: it.rows),
}
"""Gauge → (help, its value for a tenant; None where there is none yet)."""


class _Report(Collector):
    """The state of tenants as metrics."""

    def __init__(self, tenants: Mapping[str, Progress]) -> None:
        self._tenants = tenants

    def collect(self) -> Iterator[Metric]:
        """Give each metric with a sample of every tenant."""
        for name, help_ in STATS.items():
            counter = CounterMetricFamily(f"cpdfeed_{name}", help_, labels=["tenant"])
            for slug, progress in self._tenants.items():
                counter.add_metric([slug], progress.counters[name])
            yield counter
        for name, (help_, value_of) in GAUGES.items():
            gauge = GaugeMetricFamily(f"cpdfeed_{name}", help_, labels=["tenant"])
            for slug, progress in self._tenants.items():
                value = value_of(progress)
                if value is not None:
                    gauge.add_metric([slug], value)
            yield gauge


async def report_metrics(request: Request) -> Response:
    """Answer with all series; the only names in them are the tenants' slugs.

    Raises:
        SchemaUnknown: Redis holds data of another version.
        RedisError: It cannot be asked.
    """
    state = state_of(request)
    await state.schema.check()
    slugs = list(state.settings.tenants)
    found = await read_progress(state.redis, slugs, state.now_ms())
    # A thousand tenants take a while to write down: others are served meanwhile.
    text = await asyncio.to_thread(_write, dict(zip(slugs, found, strict=True)))
    return Response(text, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})


def _write(tenants: Mapping[str, Progress]) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Report(tenants))
    return generate_latest(registry)


ROUTES: Final = [Route("/metrics", report_metrics, methods=["GET"])]
