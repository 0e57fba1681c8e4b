"""Know who calls ``/v1``: by an API token of the settings, or by a JWT of an issuer."""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from service.tokens import TokenVerifier, invalid_token
from workers.contract.errors import BadRequest, Forbidden, NotFound, Unauthenticated
from workers.contract.settings import API_SCOPES, Settings

_IMPLIED: Final = {"admin": API_SCOPES}
_NOTHING: Final[frozenset[str]] = frozenset()


class Caller(Struct, frozen=True):
    """Who calls, and with which scopes: in every tenant, and in single ones."""

    name: str
    everywhere: frozenset[str] | None
    """None when it does not open every tenant."""
    by_tenant: Mapping[str, frozenset[str]]

    def opens(self, tenant: str) -> bool:
        """Tell whether the caller has any business with a tenant."""
        return self.everywhere is not None or tenant in self.by_tenant

    def scopes(self, tenant: str) -> frozenset[str]:
        """Give what the caller may do in a tenant, with what its scopes imply."""
        stated = (self.everywhere or _NOTHING) | self.by_tenant.get(tenant, _NOTHING)
        return stated.union(*(_IMPLIED.get(scope, _NOTHING) for scope in stated))


class ApiCallers:
    """Everyone who may call ``/v1``."""

    def __init__(self, settings: Settings, jwts: TokenVerifier | None) -> None:
        """Take the API tokens from the settings, and what verifies JWTs if there is an issuer."""
        self._tenants = frozenset(settings.tenants)
        self._jwts = jwts
        self._tokens: list[tuple[str, str | None, frozenset[str]]] = [
            (token.sha256, None, token.scopes) for token in settings.api_tokens
        ]
        for slug, tenant in settings.tenants.items():
            self._tokens += [(token.sha256, slug, token.scopes) for token in tenant.api_tokens]

    async def authenticate(self, authorization: Sequence[str]) -> Caller:
        """Give the caller who presents these ``Authorization`` headers.

        Raises:
            Unauthenticated: There is no token, or it is wrong.
            TemporarilyUnavailable: It cannot be verified now.
        """
        token = bearer_token(authorization)
        if token is None:
            raise Unauthenticated("A bearer token is needed.", challenges=["Bearer"])
        caller = self._by_api_token(token)
        if caller is None:
            caller = await self._by_jwt(token)
        return caller

    def choose_tenant(self, caller: Caller, named: str | None) -> str:
        """Give the tenant that is meant: the one named, the only one, or the caller's own.

        Raises:
            BadRequest: ``tenant_required``.
            Forbidden: ``wrong_tenant``; whether it exists is not told.
            NotFound: ``unknown_tenant``, told only to who may open every tenant.
        """
        if named is None and len(self._tenants) == 1:
            (named,) = self._tenants
        elif named is None and caller.everywhere is None and len(caller.by_tenant) == 1:
            (named,) = caller.by_tenant
        if named is None:
            raise BadRequest("Name the tenant: ?tenant=…", reason="tenant_required")
        if not caller.opens(named):
            raise Forbidden("The token is for another tenant.", reason="wrong_tenant")
        if named not in self._tenants:
            raise NotFound("There is no such tenant.", reason="unknown_tenant")
        return named

    def require(self, caller: Caller, tenant: str, scope: str) -> None:
        """Make sure that the caller has a scope in a tenant.

        Raises:
            Forbidden: ``insufficient_scope``.
        """
        if scope not in caller.scopes(tenant):
            raise insufficient_scope(scope)

    def _by_api_token(self, token: str) -> Caller | None:
        """Compare with every token, each in constant time, so that time tells nothing."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
        matching = [
            (slug, scopes)
            for sha256, slug, scopes in self._tokens
            if hmac.compare_digest(sha256, digest)
        ]
        if not matching:
            return None
        of_all = [scopes for slug, scopes in matching if slug is None]
        by_tenant: dict[str, frozenset[str]] = {}
        for slug, scopes in matching:
            if slug is not None:
                by_tenant[slug] = by_tenant.get(slug, _NOTHING) | scopes
        everywhere = _NOTHING.union(*of_all) if of_all else None
        return Caller(f"token:{digest[:8]}", everywhere, by_tenant)

    async def _by_jwt(self, token: str) -> Caller:
        if self._jwts is None:
            raise invalid_token()
        grant = await self._jwts.verify(token)
        return Caller(f"client:{grant.client}", grant.scopes & API_SCOPES, {})


def bearer_token(authorization: Sequence[str]) -> str | None:
    """Give the token of ``Authorization: Bearer``, none if there is no such header.

    Another scheme counts as no credentials. Source: RFC 6750, sections 2.1 and 3.1.

    Raises:
        Unauthenticated: ``invalid_token``, when the header is there twice.
    """
    if len(authorization) > 1:
        raise invalid_token()
    scheme, _, token = (authorization[0] if authorization else "").partition(" ")
    return token.strip(" ") if scheme.lower() == "bearer" else None


def insufficient_scope(scope: str) -> Forbidden:
    """Give the error for a good token without a scope. Source: RFC 6750, section 3.1."""
    return Forbidden(
        "The token lacks a scope that is needed.",
        reason="insufficient_scope",
        challenges=[f'Bearer error="insufficient_scope", scope="{scope}"'],
    )
