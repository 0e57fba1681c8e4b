"""The tokens of one tenant: RS256 in Cognito's form or opaque, their keys, and what they grant."""

import random
import uuid
from collections.abc import Callable
from typing import Literal

import msgspec
from joserfc import jwt
from joserfc.jwk import KeySet, KeySetSerialization, RSAKey

from service.sandbox.collection import Clock

TokenHost = Literal["public", "user"]

SCOPES: dict[TokenHost, tuple[str, ...]] = {
    "public": ("api/read", "api/write", "api/all"),
    "user": ("api/webhooks", "api/all"),
}
PRUNE_EVERY = 1000


class Grant(msgspec.Struct, frozen=True):
    """What the platform remembers of a token it minted."""

    tenant_id: str
    host: TokenHost
    client_id: str
    scopes: tuple[str, ...]
    issuer: str
    issued_at: int
    expires_at: int
    kid: str | None


class TokenRequest(msgspec.Struct, frozen=True):
    """What a token is minted from."""

    host: TokenHost
    client_id: str
    scopes: tuple[str, ...]
    issuer: str
    ttl_s: int
    audience: str | None = None
    opaque: bool = False


class Issuer:
    """The signing keys of one tenant and the tokens it minted.

    `grants` is shared by all tenants of the platform (`{token: grant}`), so that a token finds its
    tenant. A key takes long to make, so the first one is made when it is first needed.
    """

    def __init__(
        self, tenant_id: str, grants: dict[str, Grant], clock: Clock, rng: random.Random
    ) -> None:
        self._tenant_id = tenant_id
        self._grants = grants
        self._clock = clock
        self._rng = rng
        self._keys: list[RSAKey] = []

    def mint(self, request: TokenRequest) -> str:
        """Issue an access token."""
        now = int(self._clock().timestamp())
        key = None if request.opaque else self._signing_key()
        grant = Grant(
            tenant_id=self._tenant_id,
            host=request.host,
            client_id=request.client_id,
            scopes=request.scopes,
            issuer=request.issuer,
            issued_at=now,
            expires_at=now + request.ttl_s,
            kid=key.kid if key else None,
        )
        token = self._sign(grant, key, request.audience) if key else self._opaque()
        if len(self._grants) % PRUNE_EVERY == PRUNE_EVERY - 1:
            self._forget(lambda old: old.expires_at <= now)
        self._grants[token] = grant
        return token

    def grant(self, token: str) -> Grant | None:
        """Say what a token grants; nothing when it is not this tenant's, revoked or expired."""
        grant = self._grants.get(token)
        if grant is None or grant.tenant_id != self._tenant_id:
            return None
        return grant if grant.expires_at > self._clock().timestamp() else None

    def revoke_public(self) -> None:
        """Expire every token of the public host now."""
        now = int(self._clock().timestamp())
        for token, grant in self._grants.items():
            if grant.tenant_id == self._tenant_id and grant.host == "public":
                self._grants[token] = msgspec.structs.replace(grant, expires_at=now)

    def revoke_all(self) -> None:
        """Forget every token of this tenant."""
        self._forget(lambda grant: grant.tenant_id == self._tenant_id)

    def rotate(self, *, keep_old: bool) -> str:
        """Sign with a new key from now on; a dropped key takes its tokens with it."""
        old = self._keys
        self._keys = [self._make_key(), *(old if keep_old else [])]
        if not keep_old:
            gone = {key.kid for key in old}
            self._forget(lambda grant: grant.kid in gone)
        return self.kids()[0]

    def kids(self) -> list[str]:
        """Name the keys, the signing one first."""
        self._signing_key()
        return [str(key.kid) for key in self._keys]

    def jwks(self) -> KeySetSerialization:
        """Return the public keys as RFC 7517 shapes them."""
        self._signing_key()
        return KeySet(list(self._keys)).as_dict(private=False)

    def _forget(self, doomed: Callable[[Grant], bool]) -> None:
        for token in [token for token, grant in self._grants.items() if doomed(grant)]:
            del self._grants[token]

    def _signing_key(self) -> RSAKey:
        if not self._keys:
            self._keys.append(self._make_key())
        return self._keys[0]

    def _make_key(self) -> RSAKey:
        kid = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        return RSAKey.generate_key(2048, {"kid": kid, "use": "sig", "alg": "RS256"})

    def _sign(self, grant: Grant, key: RSAKey, audience: str | None) -> str:
        claims: dict[str, object] = {
            "sub": grant.client_id,
            "token_use": "access",
            "scope": " ".join(grant.scopes),
            "iss": grant.issuer,
            "client_id": grant.client_id,
            "iat": grant.issued_at,
            "exp": grant.expires_at,
            "jti": str(uuid.UUID(int=self._rng.getrandbits(128), version=4)),
        }
        if audience is not None:
            claims["aud"] = audience
        return jwt.encode({"alg": "RS256", "kid": key.kid}, claims, key)

    def _opaque(self) -> str:
        return f"opaque_{self._rng.getrandbits(256):064x}"
