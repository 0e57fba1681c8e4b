"""The Procfile, run as a process manager runs it: real processes, a real server."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
import redis
from starlette.applications import Starlette

from service.sandbox import Options, Platform, create_app
from workers import embedded

ROOT: Final = Path(__file__).parents[2]
TENANT_ID: Final = "eu-west-2_Sandbox01"
START_S: Final = 60.0
STOP_S: Final = 20.0


def environment(redis_url: str, platform: str, port: int) -> dict[str, str]:
    """Give what the processes know: the tenant of the sandbox, and where everything is."""
    return {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "ignore",  # Celery's, of being run by root
        "PYTHONUNBUFFERED": "1",
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "REDIS_URL": redis_url,
        "CPDFEED_TENANT_ID": TENANT_ID,
        "CPDFEED_API_URL": f"{platform}/public/rest/v1",
        "CPDFEED_API_SECRET": "sandbox-secret",
        "CPDFEED_WEBHOOK_AUTH": "signature",
        "CPDFEED_WEBHOOK_SECRETS": "acceptance-signing-secret",
        "CPDFEED_SWEEP_S": "1",
    }


class Installation:
    """The processes under their manager, and where to find them."""

    def __init__(self, manager: subprocess.Popen[bytes], base: str, output: Path) -> None:
        self.manager = manager
        self.base = base
        self.output = output

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return once a condition holds; fail when it does not, or the manager ends."""
        deadline = time.monotonic() + START_S
        while not condition():
            assert self.manager.poll() is None, self.output.read_text()
            assert time.monotonic() < deadline, self.output.read_text()
            time.sleep(0.05)

    def answers(self, path: str) -> bool:
        """Tell whether a path is answered 200."""
        try:
            return httpx2.get(self.base + path, trust_env=False).status_code == 200
        except httpx2.HTTPError:
            return False

    def members(self) -> list[int]:
        """Give the processes below the manager that still run: they share its environment."""
        mark = f"PORT={self.base.rpartition(':')[2]}".encode()
        return [
            int(path.parent.name)
            for path in Path("/proc").glob("[0-9]*/environ")
            if _has(path, mark)
        ]


def _has(path: Path, mark: bytes) -> bool:
    try:
        return mark in path.read_bytes().split(b"\0")
    except OSError:  # it has ended, or is not ours
        return False


@contextmanager
def running(env: dict[str, str], folder: Path) -> Iterator[Installation]:
    """Run the Procfile until the block ends; nothing of it is left."""
    output = folder / "output"
    with output.open("wb") as file:
        manager = subprocess.Popen(
            [sys.executable, "-m", "honcho", "start", "-f", str(ROOT / "Procfile"), "-d", folder],
            env=env,
            cwd=folder,
            stdout=file,
            stderr=file,
        )
    installation = Installation(manager, f"http://127.0.0.1:{env['PORT']}", output)
    try:
        yield installation
    finally:
        manager.terminate()
        try:
            manager.wait(STOP_S)
        finally:
            for process in installation.members():
                os.kill(process, signal.SIGKILL)


@pytest.fixture
def installation(
    redis_url: str, platform: Platform, serve: Callable[[Starlette], str], tmp_path: Path
) -> Iterator[Installation]:
    """Give the Procfile's processes, beside a sandbox with the seed's two rows."""
    platform.put(TENANT_ID, Options(), rows="seed")
    env = environment(redis_url, serve(create_app(platform)), embedded.free_port())
    with running(env, tmp_path) as installation:
        yield installation


def test_procfile_brings_up_a_feed_and_ends_in_time(
    installation: Installation, store: redis.Redis
) -> None:
    """What the Procfile starts gets ready, makes the baseline by itself, and ends when told."""
    installation.wait_until(lambda: installation.answers("/livez"))
    assert installation.answers("/readyz")

    def log_length() -> int:
        length: Any = store.xlen("cpdfeed:{default}:changes")
        return int(length)

    installation.wait_until(lambda: log_length() >= 1)
    assert len(installation.members()) > 4, "its parts are found by their environment"
    installation.manager.send_signal(signal.SIGTERM)
    installation.manager.wait(STOP_S)
    assert installation.members() == []
