"""What every test has: a real server, an environment without settings, and loopback alone."""

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from workers import embedded
from workers.contract.keyspace import KEYS, Keyspace

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
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that connects anywhere but to this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if self.family in {socket.AF_INET, socket.AF_INET6}:
            host = str(address[0]) if isinstance(address, tuple) else ""
            assert host.startswith("127.") or host in {"::1", "localhost"}, f"not loopback: {host}"
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)
