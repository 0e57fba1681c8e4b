"""What every test has: a real server, an environment without settings, and loopback alone."""

import logging
import os
import random
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis
import structlog
import uvicorn
from starlette.applications import Starlette

from service.sandbox import Platform
from workers import embedded
from workers.contract.keyspace import KEYS, Keyspace

START_S = 10.0
_PERMANENT = {key.suffix for key in KEYS if key.lifetime == "permanent"}


@pytest.fixture(scope="session", params=["valkey", "redis"])
def redis_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[embedded.EmbeddedServer]:
    """Run the embedded Valkey, and Debian's Redis where it is installed."""
    binary = None
    if request.param == "redis":
        found = shutil.which("redis-server")
        if found is None:
            pytest.skip("redis-server is not installed")
        binary = Path(found)
    with embedded.running(tmp_path_factory.mktemp(request.param), binary) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: embedded.EmbeddedServer) -> Iterator[str]:
    """Give the URL of an empty server; afterwards every key lives as the key table says."""
    url = redis_server.url.reveal()
    client = redis.Redis.from_url(url)
    client.flushall()
    yield url
    undeclared = [
        key.decode()
        for key in client.scan_iter("cpdfeed:{*")
        if client.ttl(key) == -1 and key.decode().partition("}:")[2] not in _PERMANENT
    ]
    client.close()
    assert undeclared == [], "keys without a TTL that the key table does not call permanent"


@pytest.fixture
def store(redis_url: str) -> Iterator[redis.Redis]:
    """Give a client of the empty server, as the workers use it."""
    client = redis.Redis.from_url(redis_url)
    yield client
    client.close()


@pytest.fixture
def keys() -> Keyspace:
    """Give the keys of the tenant ``acme``."""
    return Keyspace("acme")


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the settings of whoever runs the tests out of them."""
    for name in list(os.environ):
        if name.startswith("CPDFEED_") or name in {"REDIS_URL", "CELERY_BROKER_URL", "PORT"}:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Give every test the logging that the one before it found."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.configure(**before)
    root.handlers[:], root.level = handlers, level


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    """Give every test the signal handlers that the one before it found."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that connects anywhere but to this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if self.family in {socket.AF_INET, socket.AF_INET6}:
            host = str(address[0]) if isinstance(address, tuple) else ""
            assert host.startswith("127.") or host in {"::1", "localhost"}, f"not loopback: {host}"
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)


@contextmanager
def running(app: Starlette, threads: list[threading.Thread]) -> Iterator[str]:
    """Serve an app on a free port of the loopback address; gives its base URL.

    Its thread ends soon after the block and is left in `threads` to be joined.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="critical", ws="none", lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    threads.append(thread)
    deadline = time.monotonic() + START_S
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        assert time.monotonic() < deadline, "the server did not start in time"
        time.sleep(0.002)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True


@pytest.fixture(scope="session")
def server_threads() -> Iterator[list[threading.Thread]]:
    """Wait for all servers at the end: each takes a fraction of a second to stop."""
    threads: list[threading.Thread] = []
    yield threads
    deadline = time.monotonic() + 10  # they are daemons: what still hangs ends with the process
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))


@pytest.fixture
def serve(server_threads: list[threading.Thread]) -> Iterator[Callable[[Starlette], str]]:
    """Give a function that serves an app until the test ends and answers its base URL."""
    with ExitStack() as stack:
        yield lambda app: stack.enter_context(running(app, server_threads))


@pytest.fixture
def platform() -> Platform:
    """Give a platform with the default tenant and quick retries."""
    chance = random.Random(1)  # noqa: S311 - reproducible, not secret
    return Platform(lambda: datetime.now(UTC), chance, retry_base_s=0.005)
