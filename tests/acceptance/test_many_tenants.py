"""Many tenants in one installation: each gets its turn, whatever one of them does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from service.sandbox import Platform, create_app
from tests.bench.many_tenants import put_tenants, watch, write_settings
from tests.installation import installed

TENANTS = 150
RECONCILE_S, WATCHED_S = 6.0, 15.0
LATE_S = 4.0


def test_slow_tenant_starves_nobody(
    platform: Platform, serve: Callable[[Any], str], tmp_path: Path
) -> None:
    """150 tenants, one of which answers after 5 s: all are read at once and then on time."""
    tenants = put_tenants(platform, TENANTS)
    write_settings(tmp_path, serve(create_app(platform)), tenants, RECONCILE_S, sweep_s=1)
    with installed(tmp_path, {}, parts=("web", "refresh", "beat")) as feed:
        figures = watch(feed, tenants, RECONCILE_S, WATCHED_S)
    assert figures.baselines_s < 30, figures
    assert figures.fewest_scans >= 1, figures
    assert figures.slow_scans >= 1, figures
    assert figures.late_max_s < LATE_S, figures
    assert figures.scans <= TENANTS * (WATCHED_S / RECONCILE_S + 1), figures
