"""Tokens and the keys they are signed with."""

# ruff: noqa: S311 - the randomness of tests is reproducible, not secret

import random
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError
from joserfc.jwk import KeySet

from service.sandbox.tokens import Grant, Issuer, TokenRequest

NOON = datetime(2024, 3, 15, 12, tzinfo=UTC)
REQUEST = TokenRequest(
    host="public",
    client_id="eu-west-2_Sandbox01",
    scopes=("api/read", "api/write"),
    issuer="http://127.0.0.1:1/idp/eu-west-2_Sandbox01",
    ttl_s=3600,
)


class Issuing:
    """An issuer whose clock can be moved."""

    def __init__(self) -> None:
        self.now = NOON
        self.grants: dict[str, Grant] = {}
        self.issuer = Issuer("t", self.grants, lambda: self.now, random.Random(1))

    def decode(self, token: str) -> jwt.Token:
        """Verify a token with the published keys."""
        return jwt.decode(token, KeySet.import_key_set(self.issuer.jwks()), ["RS256"])


@pytest.fixture
def issuing() -> Issuing:
    """Give an issuer at noon."""
    return Issuing()


def test_mint_has_cognitos_form(issuing: Issuing) -> None:
    """A token verifies with the published keys and has the claims of a Cognito access token."""
    token = issuing.decode(issuing.issuer.mint(REQUEST))
    assert token.header["kid"] == issuing.issuer.kids()[0]
    assert {name: token.claims[name] for name in token.claims if name != "jti"} == {
        "sub": "eu-west-2_Sandbox01",
        "token_use": "access",
        "scope": "api/read api/write",
        "iss": "http://127.0.0.1:1/idp/eu-west-2_Sandbox01",
        "client_id": "eu-west-2_Sandbox01",
        "iat": 1710504000,
        "exp": 1710507600,
    }
    assert token.claims["jti"]


def test_mint_names_an_audience_only_when_set(issuing: Issuing) -> None:
    """The `aud` claim is there when the tenant has the option, with its value."""
    request = msgspec.structs.replace(REQUEST, audience="cpdfeed")
    assert issuing.decode(issuing.issuer.mint(request)).claims["aud"] == "cpdfeed"


def test_mint_opaque_is_no_jwt(issuing: Issuing) -> None:
    """An opaque token has no parts to decode and still grants its scopes."""
    token = issuing.issuer.mint(msgspec.structs.replace(REQUEST, opaque=True))
    grant = issuing.issuer.grant(token)
    assert "." not in token
    assert grant is not None
    assert grant.scopes == ("api/read", "api/write")


def test_grant_ends_with_the_ttl(issuing: Issuing) -> None:
    """A token grants until its expiry and nothing from then on."""
    token = issuing.issuer.mint(REQUEST)
    issuing.now = NOON + timedelta(seconds=3599)
    assert issuing.issuer.grant(token) is not None
    issuing.now = NOON + timedelta(seconds=3600)
    assert issuing.issuer.grant(token) is None


def test_grant_of_another_tenant_is_none(issuing: Issuing) -> None:
    """A tenant does not honour the token of another."""
    other = Issuer("other", issuing.grants, lambda: NOON, random.Random(2))
    assert issuing.issuer.grant(other.mint(REQUEST)) is None


def test_revoke_public_spares_webhook_tokens_and_later_ones(issuing: Issuing) -> None:
    """Revoking ends the public tokens minted so far, and no others."""
    old = issuing.issuer.mint(REQUEST)
    webhooks = issuing.issuer.mint(msgspec.structs.replace(REQUEST, host="user"))
    issuing.issuer.revoke_public()
    new = issuing.issuer.mint(REQUEST)
    granted = [issuing.issuer.grant(token) is not None for token in (old, webhooks, new)]
    assert granted == [False, True, True]


def test_rotate_keeping_the_old_key_verifies_old_tokens(issuing: Issuing) -> None:
    """A kept key still verifies what it signed, while new tokens name the new key."""
    old = issuing.issuer.mint(REQUEST)
    kid = issuing.issuer.rotate(keep_old=True)
    assert issuing.decode(old).claims["token_use"] == "access"
    assert issuing.decode(issuing.issuer.mint(REQUEST)).header["kid"] == kid
    assert issuing.issuer.grant(old) is not None


def test_rotate_dropping_the_old_key_ends_old_tokens(issuing: Issuing) -> None:
    """A dropped key verifies nothing any more, and its tokens grant nothing."""
    old = issuing.issuer.mint(REQUEST)
    issuing.issuer.rotate(keep_old=False)
    with pytest.raises(InvalidKeyIdError):
        issuing.decode(old)
    assert issuing.issuer.grant(old) is None


def test_issuers_of_two_tenants_have_different_keys(issuing: Issuing) -> None:
    """Each tenant signs with its own key."""
    other = Issuer("other", issuing.grants, lambda: NOON, random.Random(2))
    with pytest.raises(InvalidKeyIdError):
        issuing.decode(other.mint(REQUEST))
