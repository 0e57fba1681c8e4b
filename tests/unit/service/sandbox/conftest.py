"""A sandbox on a free port, in a thread."""

# ruff: noqa: S311 - the randomness of tests is reproducible, not secret

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette

from service.sandbox import Platform, create_app

START_S = 10.0


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
    for thread in threads:
        thread.join()


@pytest.fixture
def serve(server_threads: list[threading.Thread]) -> Iterator[Callable[[Starlette], str]]:
    """Give a function that serves an app until the test ends and answers its base URL."""
    with ExitStack() as stack:
        yield lambda app: stack.enter_context(running(app, server_threads))


@pytest.fixture
def platform() -> Platform:
    """Give a platform with the default tenant and quick retries."""
    return Platform(lambda: datetime.now(UTC), random.Random(1), retry_base_s=0.005)


@pytest.fixture
def web(serve: Callable[[Starlette], str], platform: Platform) -> Iterator[httpx.Client]:
    """Give a client of the served platform, without credentials."""
    with httpx.Client(base_url=serve(create_app(platform))) as client:
        yield client


@pytest.fixture
def control(web: httpx.Client) -> Iterator[httpx.Client]:
    """Give a client of the default tenant's controls."""
    base = web.base_url.join("/sandbox/tenants/eu-west-2_Sandbox01")
    # httpx asks for an empty path with a slash at its end, which the sandbox redirects
    with httpx.Client(base_url=base, follow_redirects=True) as client:
        yield client


@pytest.fixture
def api(web: httpx.Client) -> Iterator[httpx.Client]:
    """Give a client of the public API with the default tenant's Basic credentials."""
    base = web.base_url.join("/public/rest/v1")
    with httpx.Client(base_url=base, auth=("eu-west-2_Sandbox01", "sandbox-secret")) as client:
        yield client
