"""The application as a whole: how it starts, fails and ends."""

import asyncio
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from structlog.testing import capture_logs

from service.app import create_app
from service.state import state_of
from tests.integration.service.conftest import ADMIN, Start, signed
from workers import embedded
from workers.contract import settings
from workers.contract.errors import StoreUnavailable
from workers.contract.settings import Settings

ENV = {
    "CPDFEED_TENANT": "acme",
    "CPDFEED_TENANT_ID": "eu-west-2_AbcdEfghI",
    "CPDFEED_REGION": "production",
    "CPDFEED_API_SECRET": "api-secret",
    "CPDFEED_WEBHOOK_AUTH": "signature",
    "CPDFEED_WEBHOOK_SECRETS": "test-secret",
    "CPDFEED_API_TOKENS": f"{hashlib.sha256(ADMIN.encode()).hexdigest()}:admin",
}


@pytest.fixture
def loaded(redis_url: str) -> Settings:
    """Give complete settings."""
    return settings.load(ENV | {"REDIS_URL": redis_url}, Path("no-such-folder"))


def test_wrong_settings_end_the_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Settings that are wrong are all named on standard error, and the exit code is 2."""
    monkeypatch.setenv("CPDFEED_WEBHOOK_AUTH", "none")
    with pytest.raises(SystemExit) as ending:
        create_app()
    assert ending.value.code == 2
    told = capsys.readouterr().err
    assert "CPDFEED_WEBHOOK_AUTH" in told
    assert "CPDFEED_TENANT_ID" in told


def failing_app(loaded: Settings, error: Exception) -> Starlette:
    """Give the application with one more endpoint, which fails."""

    async def fail(_: Request) -> Response:
        raise error

    app = create_app(loaded, enqueue=lambda _: None)
    app.routes.append(Route("/fails", fail))
    return app


def test_unforeseen_fault_is_told_without_its_words(
    loaded: Settings, serve: Callable[[Starlette], str]
) -> None:
    """A fault of ours is 500, says nothing of itself, and is logged by its kind."""
    app = failing_app(loaded, ValueError("secret words"))
    with capture_logs() as logged:
        answer = httpx2.get(f"{serve(app)}/fails")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["reason"] == "internal"
    assert "secret words" not in answer.text
    assert "ValueError" not in answer.text
    lines: list[Any] = [entry for entry in logged if entry["event"] == "internal"]
    assert [line["error"] for line in lines] == ["ValueError"]


def test_fault_of_the_store_is_told_as_such(
    loaded: Settings, serve: Callable[[Starlette], str]
) -> None:
    """Wherever Redis fails, the answer is 503 with a time to come back."""
    app = failing_app(loaded, StoreUnavailable("away"))
    with capture_logs():
        answer = httpx2.get(f"{serve(app)}/fails")
    assert (answer.status_code, answer.json()["reason"]) == (503, "store_unavailable")
    assert answer.headers["retry-after"] == "5"


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/unknown", "/webhooks", "/livez/"])
def test_unknown_path_is_a_problem(start: Start, path: str) -> None:
    """What is not there is told in the form of all errors."""
    answer = start().client.get(path)
    assert (answer.status_code, answer.json()["reason"]) == (404, "not_found")
    assert answer.headers["content-type"] == "application/problem+json"


def test_state_is_shared_by_all_requests(loaded: Settings) -> None:
    """Between start and end every request finds the same state, told at the end to end."""
    app = create_app(loaded, enqueue=lambda _: None)

    async def run() -> None:
        async with app.router.lifespan_context(app):
            request = Request({"type": "http", "app": app})
            state = state_of(request)
            assert state.settings is loaded
            assert set(state.inboxes) == set(state.verifiers) == {"acme"}
            assert not state.shutting_down.is_set()
        assert state.shutting_down.is_set()

    asyncio.run(run())


def test_signals_are_left_as_they_were(loaded: Settings) -> None:
    """The process's handlers are in place again when the application has ended."""
    app = create_app(loaded, enqueue=lambda _: None)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    async def run() -> None:
        async with app.router.lifespan_context(app):
            pass

    asyncio.run(run())
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def wait_for(url: str, process: subprocess.Popen[str], within_s: float = 20) -> None:
    """Wait until a process serves."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            httpx2.get(url)
        except httpx2.TransportError:
            assert process.poll() is None, "it ended"
            assert time.monotonic() < deadline, "it did not start in time"
        else:
            return


def test_process_serves_logs_and_ends(redis_url: str, tmp_path: Path) -> None:
    """As the Procfile starts it: it accepts, logs JSON without secrets, and ends promptly.

    A long poll that waits is ended by the signal, not by its own time.
    """
    port = embedded.free_port()
    command = [sys.executable, "-m", "uvicorn", "--factory", "service.app:create_app"]
    options = ["--port", str(port), "--no-access-log", "--timeout-graceful-shutdown", "15"]
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, *options],
            env=os.environ
            | ENV
            | {"REDIS_URL": redis_url, "CELERY_BROKER_URL": redis_url, "CPDFEED_TYPO": "x"},
            stderr=output,
            stdout=output,
            text=True,
        )
    try:
        base = f"http://127.0.0.1:{port}"
        wait_for(f"{base}/livez", process)
        body = b'{"eventType":"assignment.updated"}'
        answer = httpx2.post(f"{base}/webhooks/acme", content=body, headers=signed(body))
        assert answer.status_code == 202
        with socket.create_connection(("127.0.0.1", port)) as poll:
            head = f"Host: x\r\nAuthorization: Bearer {ADMIN}\r\n\r\n"
            poll.sendall(f"GET /v1/changes?wait=30 HTTP/1.1\r\n{head}".encode())
            httpx2.get(f"{base}/livez")  # served after the poll has begun
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) is not None
            assert time.monotonic() - began < 10
            assert poll.recv(12) == b"HTTP/1.1 200"
    finally:
        process.kill()
        process.wait()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert any(line["event"] == "settings_unknown" for line in lines)
    assert "test-secret" not in log.read_text()
    assert redis_url not in log.read_text()
