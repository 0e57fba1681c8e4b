"""What is remembered of verified tokens, and for how long."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from service import tokens
from service.claims import LEEWAY_S, Grant, Terms
from service.introspection import Introspector
from service.jwks import IssuerKeys
from service.tokens import REMEMBER_ACTIVE_S, REMEMBER_JWT_S, REMEMBER_MAX, TokenVerifier
from tests.integration.service.conftest import INTROSPECTION_SECRET, Clock, Issuer
from workers.contract.errors import Unauthenticated
from workers.contract.settings import Secret


def verifying(
    asked: Issuer,
    clock: Clock,
    use: Callable[[TokenVerifier], Awaitable[None]],
    *,
    jwts: bool = True,
    opaque: bool = False,
    issuer: str | None = None,
    client_ids: frozenset[str] = frozenset(),
    audience: str = "",
) -> None:
    """Do something with a verifier that trusts the issuer."""

    async def run() -> None:
        introspector = Introspector(
            f"{asked.url}/introspect", "cpdfeed", Secret(INTROSPECTION_SECRET)
        )
        async with aiohttp.ClientSession() as session:
            verifier = TokenVerifier(
                Terms(asked.url if issuer is None else issuer, client_ids, audience),
                clock,
                keys=IssuerKeys(session, f"{asked.url}/.well-known/jwks.json", clock)
                if jwts
                else None,
                introspector=introspector if opaque else None,
            )
            await use(verifier)
        await introspector.close()

    asyncio.run(run())


def active(issuer: Issuer, clock: Clock, **changes: object) -> dict[str, Any]:
    """Give an issuer's answer about a good token."""
    return issuer.claims(**{"active": True, "exp": clock.ms // 1000 + 3600, **changes})


async def refuse(verifier: TokenVerifier, token: str) -> None:
    """Make sure that a token is refused in the one way there is."""
    with pytest.raises(Unauthenticated) as refusal:
        await verifier.verify(token)
    assert refusal.value.problem == "invalid_token"
    assert refusal.value.challenges == ('Bearer error="invalid_token"',)


# --- JWTs ---------------------------------------------------------------------------------------


def test_grant_says_who_and_what(issuer: Issuer, clock: Clock) -> None:
    """A verified token gives its client, its scopes, and until when it may be believed."""
    exp = clock.ms // 1000 + 600

    async def use(verifier: TokenVerifier) -> None:
        grant = await verifier.verify(issuer.mint(exp=exp, scope="a b"))
        assert grant == Grant("client-1", frozenset({"a", "b"}), exp + LEEWAY_S)

    verifying(issuer, clock, use)


def test_verified_token_is_remembered(issuer: Issuer, clock: Clock) -> None:
    """The second request with a token gives the very same grant, without a second verification."""
    token = issuer.mint()

    async def use(verifier: TokenVerifier) -> None:
        assert await verifier.verify(token) is await verifier.verify(token)

    verifying(issuer, clock, use)


def test_remembered_token_expires(issuer: Issuer, clock: Clock) -> None:
    """What is remembered is good as long as the token is, with the leeway, and no longer."""
    exp = clock.ms // 1000 + 600
    token = issuer.mint(exp=exp)

    async def use(verifier: TokenVerifier) -> None:
        await verifier.verify(token)
        clock.ms = (exp + LEEWAY_S) * 1000 - 1
        await verifier.verify(token)
        clock.ms += 1
        await refuse(verifier, token)

    verifying(issuer, clock, use)


def test_token_of_a_withdrawn_key_is_refused_within_an_hour(issuer: Issuer, clock: Clock) -> None:
    """A long-lived token is verified again after an hour, by the keys of then."""
    token = issuer.mint(exp=clock.ms // 1000 + 86_400)

    async def use(verifier: TokenVerifier) -> None:
        await verifier.verify(token)
        issuer.published[:] = [issuer.other.as_dict(private=False)]
        clock.ms += REMEMBER_JWT_S * 1000
        await refuse(verifier, issuer.mint({"kid": "other"}))  # the keys are fetched again
        await refuse(verifier, token)

    verifying(issuer, clock, use)


def test_refused_token_is_not_remembered(issuer: Issuer, clock: Clock) -> None:
    """A token that was not valid yet is accepted once it is."""
    token = issuer.mint(nbf=clock.ms // 1000 + 60)

    async def use(verifier: TokenVerifier) -> None:
        await refuse(verifier, token)
        clock.ms += 60_000
        await verifier.verify(token)

    verifying(issuer, clock, use)


def test_memory_is_bounded(issuer: Issuer, clock: Clock) -> None:
    """However many tokens come, the latest are remembered and the oldest asked about again."""

    async def use(verifier: TokenVerifier) -> None:
        issuer.known = {f"token-{n}": active(issuer, clock) for n in (0, 1)}
        first = await verifier.verify("token-0")
        verifier._remembered.update(  # noqa: SLF001 - ten thousand requests would take a while
            {f"{n}".encode(): first for n in range(REMEMBER_MAX - 1)}
        )
        assert await verifier.verify("token-0") is first
        await verifier.verify("token-1")
        assert len(verifier._remembered) == REMEMBER_MAX  # noqa: SLF001 - see above
        assert await verifier.verify("token-0") is first
        assert len(issuer.asked) == 2

    verifying(issuer, clock, use, opaque=True)


def test_keys_are_not_fetched_for_a_strangers_token(issuer: Issuer, clock: Clock) -> None:
    """A token that is not for us by its own words costs no fetch."""

    async def use(verifier: TokenVerifier) -> None:
        await refuse(verifier, issuer.mint(iss="https://example.com"))
        await refuse(verifier, issuer.mint(exp=1))
        await refuse(verifier, issuer.mint({"alg": "none"}))

    verifying(issuer, clock, use)
    assert issuer.fetched == 0


# --- opaque tokens ------------------------------------------------------------------------------


def test_opaque_token_is_asked_about(issuer: Issuer, clock: Clock) -> None:
    """An opaque token is believed when its issuer says that it is active."""
    issuer.known["opaque"] = active(issuer, clock)

    async def use(verifier: TokenVerifier) -> None:
        grant = await verifier.verify("opaque")
        assert grant.scopes == {"api/webhooks"}
        assert grant.client == "client-1"

    verifying(issuer, clock, use, opaque=True)
    # base64 of cpdfeed:introspection-secret, as RFC 7662, section 2.1, wants it: authenticated
    assert issuer.asked == [
        {
            "token": "opaque",
            "token_type_hint": "access_token",
            "authorization": "Basic Y3BkZmVlZDppbnRyb3NwZWN0aW9uLXNlY3JldA==",
        }
    ]


def test_jwt_is_not_asked_about_where_keys_are_known(issuer: Issuer, clock: Clock) -> None:
    """With an issuer's keys at hand, three parts with dots between them are verified here."""

    async def use(verifier: TokenVerifier) -> None:
        await verifier.verify(issuer.mint())
        await refuse(verifier, "a.b.c")

    verifying(issuer, clock, use, opaque=True)
    assert issuer.asked == []


def test_jwt_is_asked_about_where_no_issuer_is_set(issuer: Issuer, clock: Clock) -> None:
    """Without an issuer every token is opaque."""
    token = issuer.mint()
    issuer.known[token] = active(issuer, clock, iss="https://example.com")

    async def use(verifier: TokenVerifier) -> None:
        await verifier.verify(token)

    verifying(issuer, clock, use, jwts=False, opaque=True, issuer="")
    assert len(issuer.asked) == 1


def test_opaque_token_is_refused_where_nobody_can_be_asked(issuer: Issuer, clock: Clock) -> None:
    """Without an endpoint to ask, only JWTs are believed."""

    async def use(verifier: TokenVerifier) -> None:
        await refuse(verifier, "opaque")

    verifying(issuer, clock, use)


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": None},
        {"token_use": None},
        {"exp": None},
        {"aud": ["cpdfeed", "other"]},
        {"nbf": 0},
        {"username": "jane"},
    ],
)
def test_active_token_is_accepted(issuer: Issuer, clock: Clock, changes: dict[str, object]) -> None:
    """The endpoint is the issuer's own, so an answer need not repeat what goes without saying."""
    issuer.known["opaque"] = active(issuer, clock, **({"aud": "cpdfeed"} | changes))

    async def use(verifier: TokenVerifier) -> None:
        await verifier.verify("opaque")

    verifying(
        issuer,
        clock,
        use,
        opaque=True,
        client_ids=frozenset({"client-1"}),
        audience="cpdfeed",
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"active": False},
        {"active": None},
        {"iss": "https://example.com"},
        {"client_id": "client-2"},
        {"client_id": None},
        {"token_use": "id"},
        {"aud": "other"},
        {"aud": None},
        {"exp": 1},
        {"nbf": 2**40},
    ],
)
def test_token_that_is_not_for_us_is_refused(
    issuer: Issuer, clock: Clock, changes: dict[str, object]
) -> None:
    """Inactive, expired, or another's: refused like any other bad token."""
    issuer.known["opaque"] = active(issuer, clock, **({"aud": "cpdfeed"} | changes))

    async def use(verifier: TokenVerifier) -> None:
        await refuse(verifier, "opaque")

    verifying(
        issuer,
        clock,
        use,
        opaque=True,
        client_ids=frozenset({"client-1"}),
        audience="cpdfeed",
    )


def test_revoked_token_is_refused_within_a_minute(issuer: Issuer, clock: Clock) -> None:
    """An active token is asked about again after 60 s, and not before."""
    issuer.known["opaque"] = active(issuer, clock)

    async def use(verifier: TokenVerifier) -> None:
        await verifier.verify("opaque")
        issuer.known.clear()
        clock.ms += REMEMBER_ACTIVE_S * 1000 - 1
        await verifier.verify("opaque")
        clock.ms += 1
        await refuse(verifier, "opaque")

    verifying(issuer, clock, use, opaque=True)


def test_expiring_token_is_remembered_no_longer_than_it_lives(issuer: Issuer, clock: Clock) -> None:
    """A token that expires sooner is asked about sooner."""
    issuer.known["opaque"] = active(issuer, clock, exp=clock.ms // 1000 - 20)

    async def use(verifier: TokenVerifier) -> None:
        await verifier.verify("opaque")
        clock.ms += 11_000
        await refuse(verifier, "opaque")

    verifying(issuer, clock, use, opaque=True)
    assert len(issuer.asked) == 2


def test_burst_asks_once(issuer: Issuer, clock: Clock) -> None:
    """Notifications that come together with one new token cost one question."""
    issuer.known["opaque"] = active(issuer, clock)

    async def use(verifier: TokenVerifier) -> None:
        grants = await asyncio.gather(*(verifier.verify("opaque") for _ in range(200)))
        assert len({id(grant) for grant in grants}) == 1

    verifying(issuer, clock, use, opaque=True)
    assert len(issuer.asked) == 1


def test_inactive_token_is_refused_to_all_who_wait(issuer: Issuer, clock: Clock) -> None:
    """Every one of a burst is refused when its token is not good."""

    async def use(verifier: TokenVerifier) -> None:
        await asyncio.gather(*(refuse(verifier, "opaque") for _ in range(20)))

    verifying(issuer, clock, use, opaque=True)


def test_one_error_for_every_bad_token() -> None:
    """The error says nothing about what was wrong."""
    error = tokens.invalid_token()
    assert str(error) == "The bearer token is not valid here."
