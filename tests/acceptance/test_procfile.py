"""The Procfile as it stands, run by honcho against a server of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import redis

from service.sandbox import Platform, create_app
from tests.installation import ROOT, sandbox_settings, wait_until
from workers import embedded


def test_procfile_runs_the_whole(
    redis_url: str, platform: Platform, serve: Callable[[Any], str], tmp_path: Path
) -> None:
    """Honcho starts all four, they become ready and take the baseline, and SIGTERM ends them."""
    port = embedded.free_port()
    programs = str(Path(sys.executable).parent)
    env = {
        **sandbox_settings(serve(create_app(platform))),
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "ignore",
        "REDIS_URL": redis_url,
        "HOST": "127.0.0.1",
        "PORT": str(port),
    }
    command = [sys.executable, "-m", "honcho", "-d", str(ROOT), "start"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)  # noqa: S603
    store = redis.Redis.from_url(redis_url)
    try:
        wait_until(lambda: _status(f"http://127.0.0.1:{port}/livez") == 200, "livez")
        assert _status(f"http://127.0.0.1:{port}/readyz") == 200
        wait_until(lambda: store.xlen("cpdfeed:{default}:changes"), "the baseline")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        store.close()
    said = (tmp_path / "log").read_text()
    for part in ("web", "refresh", "dispatch", "beat"):
        assert f"{part}" in said
    assert "Traceback" not in said


def _status(url: str) -> int:
    try:
        return httpx2.get(url).status_code
    except httpx2.TransportError:
        return 0
