"""A whole installation in real processes, for acceptance tests and benchmarks."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx2

from workers import embedded
from workers.contract.codec import GENESIS, chain_digest
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
        self.ports: dict[str, int] = {}
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
            base_url=f"http://127.0.0.1:{self.port_of('web')}",
            headers={"Authorization": f"Bearer {API_TOKEN}"},
            timeout=40,
        )

    def start_redis(self) -> None:
        """Start the embedded server on the data it left."""
        self.server = embedded.start(self.folder / "data")
        self.redis_url = self.server.url.reveal()

    def start(self, *names: str) -> None:
        """Start parts; all of them when none is named. A second one is named ``web-2``."""
        for name in names or PARTS:
            part = name.partition("-")[0]
            arguments = PARTS[part].format(port=self.port_of(name)).split()
            log = (self.folder / f"{name}.log").open("ab")
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", *arguments],
                cwd=self.folder,
                env=self.env | {"REDIS_URL": str(self.redis_url)},
                stdout=log,
                stderr=log,
            )
            log.close()

    def port_of(self, web: str) -> int:
        """Give the port of a web process."""
        return self.ports.setdefault(web, embedded.free_port())

    def ready(self, web: str = "web") -> None:
        """Wait until a web process answers."""
        url = f"http://127.0.0.1:{self.port_of(web)}/livez"

        def answers() -> bool:
            try:
                return self.client.get(url).status_code == httpx2.codes.OK
            except httpx2.TransportError:
                return False

        wait_until(answers, "an answer of /livez")

    def freeze(self, name: str) -> None:
        """Stop a part where it stands, as a starved machine does."""
        self.processes[name].send_signal(signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """Let a part go on where it stood."""
        self.processes[name].send_signal(signal.SIGCONT)

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
            process.send_signal(signal.SIGCONT)  # a frozen one would not hear
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.client.close()
        if self.server is not None and self.server.process.poll() is None:
            self.server.stop()

    @property
    def port(self) -> int:
        """Give the port of the first web process."""
        return self.port_of("web")

    def notify(
        self, payload: Mapping[str, Any], tenant: str = "default", web: str = "web"
    ) -> httpx2.Response:
        """Send a signed notification."""
        body = json.dumps(payload).encode()
        signed = {HEADER: sign(body, Secret(SIGNING_SECRET)), "Content-Type": "application/json"}
        url = f"http://127.0.0.1:{self.port_of(web)}/webhooks/{tenant}"
        return self.client.post(url, content=body, headers=signed)

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


def about(audience: str, **more: str) -> dict[str, Any]:
    """Give a notification about an audience, as the platform words it."""
    return {
        "eventType": "assignment.updated",
        "assignment": {"id": "64b6f4a8c2e4a1b9d3f2c4aa", "audienceId": audience},
        **more,
    }


def assert_log_holds(changes: list[Any]) -> None:
    """Check that the log has no gap and no repeat, and that its chain holds."""
    previous = GENESIS
    for sequence, change in enumerate(changes, 1):
        assert change["data"]["sequence"] == sequence
        assert change["data"]["previous_digest"] == previous
        previous = chain_digest(previous, change)
        assert change["data"]["digest"] == previous


@contextmanager
def installed(
    folder: Path, env: Mapping[str, str], redis_url: str | None = None, parts: Iterable[str] = PARTS
) -> Iterator[Installation]:
    """Run an installation on a server of its own, or on the one given."""
    installation = Installation(folder, env, redis_url)
    try:
        if redis_url is None:
            installation.start_redis()
        installation.start(*parts)
        installation.ready()
        yield installation
    finally:
        installation.stop()
