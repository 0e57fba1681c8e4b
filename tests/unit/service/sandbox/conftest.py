"""A sandbox on a free port, in a thread."""

from collections.abc import Callable, Iterator

import httpx2
import pytest
from starlette.applications import Starlette

from service.sandbox import Platform, create_app


@pytest.fixture
def web(serve: Callable[[Starlette], str], platform: Platform) -> Iterator[httpx2.Client]:
    """Give a client of the served platform, without credentials."""
    with httpx2.Client(base_url=serve(create_app(platform))) as client:
        yield client


@pytest.fixture
def control(web: httpx2.Client) -> Iterator[httpx2.Client]:
    """Give a client of the default tenant's controls."""
    base = web.base_url.join("/sandbox/tenants/eu-west-2_Sandbox01")
    # httpx asks for an empty path with a slash at its end, which the sandbox redirects
    with httpx2.Client(base_url=base, follow_redirects=True) as client:
        yield client


@pytest.fixture
def api(web: httpx2.Client) -> Iterator[httpx2.Client]:
    """Give a client of the public API with the default tenant's Basic credentials."""
    base = web.base_url.join("/public/rest/v1")
    with httpx2.Client(base_url=base, auth=("eu-west-2_Sandbox01", "sandbox-secret")) as client:
        yield client
