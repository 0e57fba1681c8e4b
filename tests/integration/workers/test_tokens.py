"""Access tokens are minted once and shared by all workers."""

import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from service.sandbox import Options
from tests.feed import TENANT_ID, Feed
from workers.contract.errors import UpstreamRefused, UpstreamUnavailable
from workers.upstream.tokens import Tokens


def tokens(feed: Feed, **settings: str) -> Tokens:
    """Give the tokens of the tenant, as one worker has them."""
    tenant = feed.context(**settings).settings.tenants["acme"]
    return Tokens(feed.store, feed.keys, tenant)


def minted(feed: Feed) -> int:
    """Give how many tokens were asked for so far."""
    return feed.platform.tenant(TENANT_ID).reads.counts["token"]


def test_token_is_cached(feed: Feed) -> None:
    """Every worker gets the token that was minted first, until a minute before it expires."""
    token = tokens(feed).current()
    assert tokens(feed).current() == token
    assert minted(feed) == 1
    assert feed.store.get(feed.keys.token) == token.encode()
    assert 3530 <= feed.store.ttl(feed.keys.token) <= 3540


def test_short_lived_token_is_kept_for_half_its_life(feed: Feed) -> None:
    """A token that lives a minute is kept for half of it."""
    feed.platform.tenant(TENANT_ID).options = Options(token_ttl_s=60)
    tokens(feed).current()
    assert 25 <= feed.store.ttl(feed.keys.token) <= 30


def test_two_workers_mint_once(feed: Feed) -> None:
    """Of two workers that need a token at once one mints, and both get it."""
    feed.platform.tenant(TENANT_ID).options = Options(latency_ms=200)
    barrier = threading.Barrier(2)

    def current() -> str:
        barrier.wait()
        return tokens(feed).current()

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(current), pool.submit(current)
        assert first.result() == second.result()
    assert minted(feed) == 1


def test_refused_token_is_replaced(feed: Feed) -> None:
    """A token that the platform refused is never given again, to anybody."""
    old = tokens(feed).current()
    new = tokens(feed).current(refused=old)
    assert new != old
    assert tokens(feed).current() == new
    assert minted(feed) == 2


def test_token_that_was_replaced_already_is_shared(feed: Feed) -> None:
    """Who comes with the old token later gets the new one, and mints none."""
    old = tokens(feed).current()
    new = tokens(feed).current(refused=old)
    assert tokens(feed).current(refused=old) == new
    assert minted(feed) == 2


@pytest.mark.parametrize("auth", ["client_secret_post", "client_secret_basic"])
def test_both_ways_to_authenticate_are_understood(feed: Feed, auth: str) -> None:
    """The client's credentials go in the body or in the header."""
    assert tokens(feed, CPDFEED_TOKEN_AUTH=auth).current()


def test_wrong_secret_is_refused(feed: Feed) -> None:
    """Wrong credentials are refused, and nothing is cached."""
    with pytest.raises(UpstreamRefused):
        tokens(feed, CPDFEED_CLIENT_SECRET="wrong").current()
    assert not feed.store.exists(feed.keys.token)
    assert not feed.store.exists(feed.keys.token_lock)


def test_silent_endpoint_is_unavailable(feed: Feed) -> None:
    """Where nobody answers the platform counts as away."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(UpstreamUnavailable):
        tokens(feed, CPDFEED_TOKEN_URL=f"http://127.0.0.1:{port}/token").current()


@pytest.mark.parametrize(
    "body",
    [
        "<html>502</html>",
        "",
        "[]",
        "null",
        "{}",
        '{"access_token":""}',
        '{"access_token":5}',
        '{"access_token":"t","token_type":"Bearer","expires_in":"soon"}',
        '{"access_token":"t","token_type":"Bearer","expires_in":-5}',
    ],
)
def test_answer_without_a_usable_token_is_unavailable(
    feed: Feed, serve: Callable[[Starlette], str], body: str
) -> None:
    """Whatever else answers in the endpoint's place, the platform counts as away."""

    async def answer(_: Request) -> Response:
        return PlainTextResponse(body, media_type="application/json")

    base = serve(Starlette(routes=[Route("/token", answer, methods=["POST"])]))
    with pytest.raises(UpstreamUnavailable):
        tokens(feed, CPDFEED_TOKEN_URL=f"{base}/token").current()
    assert not feed.store.exists(feed.keys.token)
