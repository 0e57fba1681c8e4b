"""A whole installation in real processes, for acceptance tests and benchmarks."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx2

from workers import embedded
from workers.contract.settings import Secret
from workers.contract.signing import HEADER, sign

_T = TypeVar("_T")
ROOT: Final = Path(__file__).parent.parent
API_TOKEN: Final = "acceptance-token"
SIGNING_SECRET: Final = "acceptance-signing-secret"
PARTS: Final = {
    "web": "uvicorn --factory service.app:create_app --host 127.0.0.1 --port {port}"
    " --no-access-log --timeout-graceful-shutdown 5 --log-level warning",
    "refresh": "celery -A workers.celery worker -Q refresh --pool threads --concurrency 16"
    " --without-gossip --without-mingle --without-heartbeat",
    "dispatch": "celery -A workers.celery worker -Q dispatch --pool threads --concurrency 4"
    " --without-gossip --without-mingle --without-heartbeat",
    "beat": "celery -A workers.celery beat",
}


def wait_until(condition: Callable[[], _T], what: str, within_s: float = 60) -> _T:
    """Give the condition's value as soon as it is true."""
    deadline = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"did not come: {what}"
        time.sleep(0.02)


class Installation:
    """cpdfeed's processes, one by one, as a supervisor would run them."""

    def __init__(self, folder: Path, env: Mapping[str, str], redis_url: str | None = None) -> None:
        self.folder = folder
        self.port = embedded.free_port()
        self.server: embedded.EmbeddedServer | None = None
        self.redis_url = redis_url
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "CPDFEED_LOG_LEVEL": "warning",
            "CPDFEED_API_TOKENS": f"{hashlib.sha256(API_TOKEN.encode()).hexdigest()}:admin",
            **env,
        }
        self.client = httpx2.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            headers={"Authorization": f"Bearer {API_TOKEN}"},
            timeout=40,
        )

    def start_redis(self) -> None:
        """Start the embedded server on the data it left."""
        self.server = embedded.start(self.folder / "data")
        self.redis_url = self.server.url.reveal()

    def start(self, *names: str) -> None:
        """Start parts; all of them when none is named."""
        for name in names or PARTS:
            arguments = PARTS[name].format(port=self.port).split()
            log = (self.folder / f"{name}.log").open("ab")
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", *arguments],
                cwd=self.folder,
                env=self.env | {"REDIS_URL": str(self.redis_url)},
                stdout=log,
                stderr=log,
            )
            log.close()

    def ready(self) -> None:
        """Wait until the web process answers."""

        def answers() -> bool:
            try:
                return self.client.get("/livez").status_code == httpx2.codes.OK
            except httpx2.TransportError:
                return False

        wait_until(answers, "an answer of /livez")

    def kill(self, *names: str) -> None:
        """End parts with SIGKILL; all of them, and the server, when none is named."""
        for name in names or PARTS:
            self.processes[name].kill()
            self.processes.pop(name).wait()
        if not names and self.server is not None:
            self.server.process.kill()
            self.server.process.wait()

    def stop(self) -> None:
        """End everything."""
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.client.close()
        if self.server is not None and self.server.process.poll() is None:
            self.server.stop()

    def notify(self, payload: Mapping[str, Any], tenant: str = "default") -> httpx2.Response:
        """Send a signed notification."""
        body = json.dumps(payload).encode()
        signed = {HEADER: sign(body, Secret(SIGNING_SECRET)), "Content-Type": "application/json"}
        return self.client.post(f"/webhooks/{tenant}", content=body, headers=signed)

    def get(self, path: str, **query: Any) -> Any:  # noqa: ANN401 - JSON
        """Read from the feed."""
        answer = self.client.get(path, params=query)
        assert answer.status_code == httpx2.codes.OK, answer.text
        return answer.json()

    def changes(self, tenant: str = "default") -> list[Any]:
        """Read the whole log."""
        changes: list[Any] = []
        after: dict[str, str] = {}
        while True:
            got = self.get("/v1/changes", tenant=tenant, limit=1000, **after)
            if not got["changes"]:
                return changes
            changes += got["changes"]
            after = {"after": got["cursor"]}

    def has_baseline(self, tenant: str = "default") -> None:
        """Wait for the baseline."""
        wait_until(lambda: self.changes(tenant), "the baseline")


def sandbox_settings(base: str, tenant_id: str = "eu-west-2_Sandbox01") -> dict[str, str]:
    """Give the settings of one tenant of a sandbox, with intervals too short to wait for."""
    return {
        "CPDFEED_TENANT_ID": tenant_id,
        "CPDFEED_API_URL": f"{base}/public/rest/v1",
        "CPDFEED_API_SECRET": "sandbox-secret",
        "CPDFEED_WEBHOOK_AUTH": "signature",
        "CPDFEED_WEBHOOK_SECRETS": SIGNING_SECRET,
        "CPDFEED_LAG_S": "1",
        "CPDFEED_SETTLE_S": "0.5,2",
        "CPDFEED_SWEEP_S": "1",
        "CPDFEED_RATE_PER_MIN": "0",
    }


@contextmanager
def installed(
    folder: Path, env: Mapping[str, str], redis_url: str | None = None
) -> Iterator[Installation]:
    """Run an installation on a server of its own, or on the one given."""
    installation = Installation(folder, env, redis_url)
    try:
        if redis_url is None:
            installation.start_redis()
        installation.start()
        installation.ready()
        yield installation
    finally:
        installation.stop()
