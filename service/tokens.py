"""Verify bearer tokens: JWTs against their issuer's keys, others by asking the issuer.

Whatever is wrong with a token ends in one error, so that nobody learns how close it came.
"""

import asyncio
import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec
from joserfc import jws
from joserfc.jwk import RSAKey

from service.claims import LEEWAY_S, Claims, Grant, Terms
from service.introspection import Introspector
from service.jwks import IssuerKeys
from workers.contract.errors import Unauthenticated

MAX_TOKEN_BYTES: Final = 8192
REMEMBER_JWT_S: Final = 3600
"""A verified JWT is verified again after this, as a key may have been withdrawn."""
REMEMBER_ACTIVE_S: Final = 60
"""A token that may have been revoked is asked about again after this."""
REMEMBER_MAX: Final = 10_000

_ALGORITHM: Final = "RS256"
_JWS: Final = jws.JWSRegistry(algorithms=[_ALGORITHM], strict_check_header=False)
_TOKEN68: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*")  # RFC 6750, section 2.1
_JWT_DOTS: Final = 2

_claims = msgspec.json.Decoder(Claims)


def invalid_token() -> Unauthenticated:
    """Give the one error for every token that is not good. Source: RFC 6750, section 3.1."""
    return Unauthenticated(
        "The bearer token is not valid here.",
        reason="invalid_token",
        challenges=['Bearer error="invalid_token"'],
    )


class TokenVerifier:
    """Verifies the tokens that one tenant, or ``/v1``, accepts."""

    def __init__(
        self,
        terms: Terms,
        now_ms: Callable[[], int],
        *,
        keys: IssuerKeys | None = None,
        introspector: Introspector | None = None,
    ) -> None:
        """Take what tells a good token.

        Args:
            terms: What a token must say.
            now_ms: The clock, Unix milliseconds.
            keys: The issuer's, if JWTs are verified here.
            introspector: Whom to ask about other tokens; about all of them without ``keys``.
        """
        self._terms = terms
        self._now_ms = now_ms
        self._keys = keys
        self._introspector = introspector
        self._remembered: OrderedDict[bytes, Grant] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[Grant]] = {}

    async def verify(self, token: str) -> Grant:
        """Give what a token grants.

        Raises:
            Unauthenticated: ``invalid_token``, whatever is wrong with it.
            TemporarilyUnavailable: It cannot be told now.
        """
        if len(token) > MAX_TOKEN_BYTES or not _TOKEN68.fullmatch(token):
            raise invalid_token()
        digest = hashlib.sha256(token.encode("ascii")).digest()
        grant = self._recall(digest)
        if grant is None:
            grant = await self._verify_anew(digest, token)
            self._remembered[digest] = grant
            if len(self._remembered) > REMEMBER_MAX:
                self._remembered.popitem(last=False)
        return grant

    def _recall(self, digest: bytes) -> Grant | None:
        grant = self._remembered.get(digest)
        if grant is None:
            return None
        if self._now_s() >= grant.until_s:
            del self._remembered[digest]
            return None
        self._remembered.move_to_end(digest)
        return grant

    async def _verify_anew(self, digest: bytes, token: str) -> Grant:
        if self._keys is not None and token.count(".") == _JWT_DOTS:
            return await self._verify_jwt(token, self._keys)
        if self._introspector is not None:
            return await self._ask_once(digest, token, self._introspector)
        raise invalid_token()

    async def _verify_jwt(self, token: str, keys: IssuerKeys) -> Grant:
        """Check the claims first: a stranger's token costs neither a fetch of keys nor RSA."""
        try:
            signed, kid, claims = _read(token)
        except Exception:  # noqa: BLE001 - whatever a stranger's bytes provoke is one refusal
            raise invalid_token() from None
        if claims.iss != self._terms.issuer or claims.exp is None:
            raise invalid_token()
        if not self._terms.allow(claims, self._now_s()):
            raise invalid_token()
        key = await keys.find(kid)
        if key is None or not _is_signed(signed, key):
            raise invalid_token()
        until_s = min(claims.exp + LEEWAY_S, self._now_s() + REMEMBER_JWT_S)
        return Grant(claims.client, claims.scopes, until_s)

    async def _ask_once(self, digest: bytes, token: str, whom: Introspector) -> Grant:
        """Ask about a token, once for all who present it just now."""
        if digest not in self._asking:
            asking = asyncio.create_task(self._ask(token, whom))
            asking.add_done_callback(lambda _: self._asking.pop(digest))
            self._asking[digest] = asking
        return await asyncio.shield(self._asking[digest])

    async def _ask(self, token: str, whom: Introspector) -> Grant:
        claims = await whom.ask(token)
        # The endpoint is the issuer's own: it need not name itself, but it must not name another.
        foreign = bool(self._terms.issuer) and claims.iss not in {None, self._terms.issuer}
        if not claims.active or foreign or not self._terms.allow(claims, self._now_s()):
            raise invalid_token()
        until_s = self._now_s() + REMEMBER_ACTIVE_S
        if claims.exp is not None:
            until_s = min(until_s, claims.exp + LEEWAY_S)
        return Grant(claims.client, claims.scopes, until_s)

    def _now_s(self) -> float:
        return self._now_ms() / 1000


def _read(token: str) -> tuple[jws.CompactSignature, str | None, Claims]:
    """Give a JWT's parts, the id of its key, and its claims, none of it verified yet.

    Raises:
        Exception: Of any kind, if it is not a JWT of the kind we verify.
    """
    signed = jws.extract_compact(token.encode("ascii"), registry=_JWS)
    header = signed.headers()
    if header["alg"] != _ALGORITHM or "crit" in header:
        raise ValueError("not signed in a way we verify")
    return signed, msgspec.convert(header.get("kid"), str | None), _claims.decode(signed.payload)


def _is_signed(signed: jws.CompactSignature, key: RSAKey) -> bool:
    try:
        return jws.validate_compact(signed, key, registry=_JWS)
    except Exception:  # noqa: BLE001 - whatever a stranger's bytes provoke is one refusal
        return False
