"""The keys of an issuer: how often they are fetched, and what happens when they cannot be."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc.jwk import ECKey
from structlog.testing import capture_logs

from service.jwks import FETCH_MIN_MS, FRESH_MS, MAX_BYTES, IssuerKeys, KeyRing
from tests.integration.service.conftest import Clock, Issuer, Start, borne, segment
from workers import embedded
from workers.contract.errors import TemporarilyUnavailable

T = TypeVar("T")


def using(url: str, clock: Clock, use: Callable[[IssuerKeys], Awaitable[T]]) -> T:
    """Do something with the keys at a URL."""

    async def run() -> T:
        async with aiohttp.ClientSession() as session:
            return await use(IssuerKeys(session, url, clock))

    return asyncio.run(run())


def at(issuer: Issuer) -> str:
    """Give the address of an issuer's keys."""
    return f"{issuer.url}/.well-known/jwks.json"


def test_keys_are_fetched_once(issuer: Issuer, clock: Clock) -> None:
    """A thousand callers at once, and a thousand later, cost one fetch."""

    async def use(keys: IssuerKeys) -> None:
        found = await asyncio.gather(*(keys.find("one") for _ in range(1000)))
        assert all(key is not None for key in found)
        for _ in range(1000):
            assert await keys.find("one")

    using(at(issuer), clock, use)
    assert issuer.fetched == 1


def test_unknown_key_is_looked_for_at_a_bounded_rate(issuer: Issuer, clock: Clock) -> None:
    """Made-up key ids cause one fetch in 30 s, however many come."""

    async def use(keys: IssuerKeys) -> None:
        for number in range(100):
            assert await keys.find(f"made-up-{number}") is None
        assert issuer.fetched == 1
        clock.ms += FETCH_MIN_MS - 1
        assert await keys.find("made-up") is None
        assert issuer.fetched == 1
        clock.ms += 1
        assert await keys.find("made-up") is None
        assert issuer.fetched == 2

    using(at(issuer), clock, use)


def test_new_key_is_found(issuer: Issuer, clock: Clock) -> None:
    """A key that the issuer adds is used as soon as a token bears it."""

    async def use(keys: IssuerKeys) -> None:
        assert await keys.find("one")
        issuer.published.append(issuer.other.as_dict(private=False))
        clock.ms += FETCH_MIN_MS
        assert await keys.find("two")

    using(at(issuer), clock, use)


def test_withdrawn_key_is_forgotten(issuer: Issuer, clock: Clock) -> None:
    """After an hour keys are fetched again; one that is gone verifies nothing."""

    async def use(keys: IssuerKeys) -> None:
        assert await keys.find("one")
        issuer.published[:] = [issuer.other.as_dict(private=False)]
        clock.ms += FRESH_MS
        assert await keys.find("two")
        assert await keys.find("one") is None
        assert issuer.fetched == 2

    using(at(issuer), clock, use)


def test_known_keys_outlive_an_absent_issuer(issuer: Issuer, clock: Clock) -> None:
    """When keys cannot be fetched again, those we know stay good, and others are not told of."""

    async def use(keys: IssuerKeys) -> None:
        assert await keys.find("one")
        issuer.status = 500
        clock.ms += FRESH_MS
        with capture_logs():
            with pytest.raises(TemporarilyUnavailable):
                await keys.find("two")
            assert await keys.find("one")

    using(at(issuer), clock, use)


def test_key_without_id_is_meant_when_it_is_the_only_one(issuer: Issuer, clock: Clock) -> None:
    """A token without a key id is verified where there is no choice."""

    async def use(keys: IssuerKeys) -> None:
        assert await keys.find(None)

    using(at(issuer), clock, use)


def test_key_without_id_is_not_guessed(issuer: Issuer, clock: Clock) -> None:
    """With several keys a token has to say which."""
    issuer.published.append(issuer.other.as_dict(private=False))

    async def use(keys: IssuerKeys) -> None:
        assert await keys.find(None) is None

    using(at(issuer), clock, use)


def test_other_keys_in_the_document_do_not_matter(issuer: Issuer, clock: Clock) -> None:
    """Keys of other types and uses, and broken ones, are passed over."""
    issuer.published[:0] = [
        ECKey.generate_key("P-256", {"kid": "ec"}).as_dict(private=False),
        {**issuer.other.as_dict(private=False), "kid": "enc", "use": "enc"},
        {**issuer.other.as_dict(private=False), "kid": "rs512", "alg": "RS512"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "oct"},
        {"kty": "RSA", "kid": "broken", "n": "~", "e": "AQAB"},
        {"kty": "RSA", "kid": "half"},
        {"kty": "future", "kid": "future"},
        {},
    ]

    async def use(keys: IssuerKeys) -> None:
        assert await keys.find("one")
        for other in ("ec", "enc", "rs512", "oct", "broken", "half", "future"):
            assert await keys.find(other) is None

    using(at(issuer), clock, use)


def weak_key() -> dict[str, Any]:
    """Give a key that is too short to be trusted."""
    numbers = rsa.generate_private_key(65537, 1024).public_key().public_numbers()  # noqa: S505 - short
    return {"kty": "RSA", "kid": "weak", "e": "AQAB", "n": segment(numbers.n.to_bytes(128))}


@pytest.mark.parametrize(
    ("status", "document"),
    [
        pytest.param(200, b"", id="empty"),
        pytest.param(200, b"<html>", id="HTML"),
        pytest.param(200, b"[]", id="a list"),
        pytest.param(200, b'{"keys":[]}', id="no keys"),
        pytest.param(200, b'{"keys":{}}', id="keys an object"),
        pytest.param(200, b'{"keys":[1]}', id="a number"),
        pytest.param(200, b'{"x":' + b"[" * 5000, id="deep"),
        pytest.param(200, b'{"keys":[],"x":"' + b"x" * MAX_BYTES + b'"}', id="too long"),
        pytest.param(404, b"{}", id="404"),
        pytest.param(500, b"{}", id="500"),
        pytest.param(302, b"{}", id="redirect"),
    ],
)
def test_unusable_document_is_no_answer(
    issuer: Issuer, clock: Clock, status: int, document: bytes
) -> None:
    """What is not a set of keys leaves us without keys: nothing is verified, nothing accepted."""
    issuer.status, issuer.document = status, document

    async def use(keys: IssuerKeys) -> TemporarilyUnavailable:
        with pytest.raises(TemporarilyUnavailable) as refusal:
            await keys.find("one")
        return refusal.value

    with capture_logs() as logged:
        error = using(at(issuer), clock, use)
    assert (error.problem, error.retry_after_s) == ("keys_unavailable", 30)
    assert [entry["event"] for entry in logged] == ["keys_unavailable"]


def test_weak_key_is_not_used(issuer: Issuer, clock: Clock) -> None:
    """A key below 2048 bits counts as none (RFC 7518, 3.3)."""
    issuer.published[:] = [weak_key()]

    async def use(keys: IssuerKeys) -> None:
        with pytest.raises(TemporarilyUnavailable):
            await keys.find("weak")

    with capture_logs():
        using(at(issuer), clock, use)


def test_absent_issuer_is_asked_at_a_bounded_rate(issuer: Issuer, clock: Clock) -> None:
    """While keys cannot be had, callers are told when to come back; the issuer is left alone."""
    issuer.status = 503

    async def use(keys: IssuerKeys) -> None:
        for _ in range(50):
            with pytest.raises(TemporarilyUnavailable):
                await keys.find("one")
        assert issuer.fetched == 1
        issuer.status = 200
        clock.ms += 20_000
        with pytest.raises(TemporarilyUnavailable) as refusal:
            await keys.find("one")
        assert refusal.value.retry_after_s == 10
        clock.ms += 10_000
        assert await keys.find("one")

    with capture_logs():
        using(at(issuer), clock, use)


def test_caller_that_gives_up_ends_nobody_elses_fetch(issuer: Issuer, clock: Clock) -> None:
    """The fetch goes on for the others when the caller that began it is gone."""

    async def use(keys: IssuerKeys) -> None:
        first = asyncio.ensure_future(keys.find("one"))
        second = asyncio.ensure_future(keys.find("one"))
        await asyncio.sleep(0)
        first.cancel()
        assert await second

    using(at(issuer), clock, use)
    assert issuer.fetched == 1


def test_tenants_of_one_issuer_share_its_keys(issuer: Issuer, clock: Clock) -> None:
    """The keys at one address are fetched once, whoever needs them."""

    async def run() -> None:
        async with aiohttp.ClientSession() as session:
            ring = KeyRing(session, clock)
            assert ring.at(at(issuer)) is ring.at(at(issuer))
            assert ring.at(at(issuer)) is not ring.at(at(issuer) + "?")

    asyncio.run(run())


def test_notification_is_refused_while_keys_are_away(
    start: Start, issuer: Issuer, logged: list[Any]
) -> None:
    """Over HTTP: 503 with a time to come back, never 202; a token for others is still 401."""
    away = f"http://127.0.0.1:{embedded.free_port()}/jwks.json"
    site = start(webhook_auth="bearer", webhook_issuer=issuer.url, webhook_jwks_url=away)
    answer = site.notify(headers=borne(issuer.mint()))
    assert (answer.status_code, answer.json()["reason"]) == (503, "keys_unavailable")
    assert 1 <= int(answer.headers["retry-after"]) <= 30
    assert site.notify(headers=borne(issuer.mint(iss="https://example.com"))).status_code == 401
    assert "keys_unavailable" in str(logged)
