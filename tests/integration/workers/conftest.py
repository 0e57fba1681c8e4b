"""A tenant of the sandbox, refreshed in this process against a real server."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from service.sandbox import Options, Platform, create_app
from tests.feed import TENANT_ID, Feed
from workers.upstream.client import Connections


@pytest.fixture(scope="session")
def connections() -> Iterator[Connections]:
    """Give the HTTP connections of this process."""
    connections = Connections()
    yield connections
    connections.close()


@pytest.fixture
def feed(
    redis_url: str,
    platform: Platform,
    serve: Callable[[Any], str],
    connections: Connections,
) -> Iterator[Feed]:
    """Give a tenant with the seed's two rows, not read yet."""
    platform.put(TENANT_ID, Options(), rows="seed")
    feed = Feed(redis_url, serve(create_app(platform)), platform, connections)
    yield feed
    feed.store.close()
