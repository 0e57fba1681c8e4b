"""Say what a token claims, and on which terms it is meant for us."""

from typing import Final

from msgspec import Struct

LEEWAY_S: Final = 30
"""How far the issuer's clock and ours may disagree."""


class Claims(Struct):
    """The claims we read. Source: RFC 7519, section 4.1; RFC 9068; Amazon Cognito, access token."""

    iss: str | None = None
    exp: float | None = None
    nbf: float | None = None
    aud: str | list[str] | None = None
    token_use: str | None = None
    client_id: str | None = None
    azp: str | None = None
    scope: str | None = None
    scp: str | list[str] | None = None

    @property
    def client(self) -> str:
        """Give the id of the client that the token was issued to; empty when not stated."""
        return self.client_id or self.azp or ""

    @property
    def scopes(self) -> frozenset[str]:
        """Give the scopes: space-delimited ``scope``, or ``scp``, which may be a list."""
        stated = self.scp if self.scope is None else self.scope
        return frozenset(stated.split() if isinstance(stated, str) else stated or ())


class Introspected(Claims):
    """An issuer's answer about a token. Source: RFC 7662, section 2.2."""

    active: bool = False


class Terms(Struct, frozen=True):
    """What a token must say to be meant for us; what is empty is not required."""

    issuer: str = ""
    client_ids: frozenset[str] = frozenset()
    audience: str = ""

    def allow(self, claims: Claims, now_s: float) -> bool:
        """Tell whether a token is in force, an access token, and for us; not who issued it."""
        audiences = [claims.aud] if isinstance(claims.aud, str) else claims.aud or []
        return (
            (claims.exp is None or now_s < claims.exp + LEEWAY_S)
            and (claims.nbf is None or claims.nbf - LEEWAY_S <= now_s)
            and claims.token_use in {None, "access"}
            and (not self.client_ids or claims.client in self.client_ids)
            and (not self.audience or self.audience in audiences)
        )


class Grant(Struct, frozen=True):
    """What a token that was verified says: who bears it, what it may do, and until when."""

    client: str
    scopes: frozenset[str]
    until_s: float
