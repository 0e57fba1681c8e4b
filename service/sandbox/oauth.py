"""The platform's token hosts: minting, keys, introspection."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.sandbox.answers import json_response, oauth_error
from service.sandbox.credentials import find_client, is_client_of, read_form
from service.sandbox.gate import Gate
from service.sandbox.platform import Platform, Tenant
from service.sandbox.tokens import SCOPES, TokenHost, TokenRequest


def issuer_url(base_url: str, tenant: Tenant) -> str:
    """Name a tenant's issuer as seen from a base URL."""
    return f"{base_url}/idp/{tenant.id}"


def base_url(request: Request) -> str:
    """Derive the sandbox's own address from the request's Host."""
    return f"{request.url.scheme}://{request.url.netloc}"


def token_request(
    tenant: Tenant, host: TokenHost, scopes: tuple[str, ...], base: str
) -> TokenRequest:
    """Gather what a token of this tenant is minted from."""
    return TokenRequest(
        host=host,
        client_id=tenant.client_id,
        scopes=scopes,
        issuer=issuer_url(base, tenant),
        ttl_s=tenant.options.token_ttl_s,
        audience=tenant.options.audience,
        opaque=tenant.options.opaque_tokens,
    )


class TokenHosts:
    """Both token hosts and the identity provider of every tenant."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._gate = Gate(platform)

    def routes(self) -> list[Route]:
        """List the routes, below the hosts' path prefixes."""
        return [
            Route("/public/oauth2/token/{tenant}", self.mint_public, methods=["POST"]),
            Route("/user/oauth2/token/{tenant}", self.mint_user, methods=["POST"]),
            Route("/user/oauth2/introspect/{tenant}", self.introspect, methods=["POST"]),
            Route("/idp/{tenant}/.well-known/jwks.json", self.jwks, methods=["GET"]),
        ]

    async def mint_public(self, request: Request) -> Response:
        """Mint a token for the public API."""
        return await self._mint(request, "public")

    async def mint_user(self, request: Request) -> Response:
        """Mint a token for webhooks."""
        return await self._mint(request, "user")

    async def introspect(self, request: Request) -> Response:
        """Say what a token grants, as RFC 7662 has it."""
        tenant = self._platform.tenant(request.path_params["tenant"])
        form = await read_form(request)
        client = find_client(request, form)
        if not is_client_of(client, tenant):
            return oauth_error(401, "invalid_client", "Unknown client or wrong secret", basic=True)
        if (grant := tenant.issuer.grant(form.get("token", ""))) is None:
            return json_response({"active": False})
        answer = {
            "active": True,
            "scope": " ".join(grant.scopes),
            "client_id": grant.client_id,
            "token_type": "Bearer",
            "token_use": "access",
            "exp": grant.expires_at,
            "iat": grant.issued_at,
            "iss": grant.issuer,
            "sub": grant.client_id,
        }
        if tenant.options.audience is not None:
            answer["aud"] = tenant.options.audience
        return json_response(answer)

    async def jwks(self, request: Request) -> Response:
        """Publish the tenant's keys."""
        tenant = self._platform.tenant(request.path_params["tenant"])
        return json_response(tenant.issuer.jwks())

    async def _mint(self, request: Request, host: TokenHost) -> Response:
        tenant = self._platform.tenant(request.path_params["tenant"])
        form = await read_form(request)
        return await self._gate.answer_token(
            tenant, lambda: _mint_answer(tenant, host, request, form)
        )


def _mint_answer(
    tenant: Tenant, host: TokenHost, request: Request, form: dict[str, str]
) -> Response:
    client = find_client(request, form)
    if not is_client_of(client, tenant):
        basic = client is not None and client.basic
        description = "Unknown client or wrong secret"
        return oauth_error(401, "invalid_client", description, basic=basic)
    if form.get("grant_type") != "client_credentials":
        return oauth_error(400, "unsupported_grant_type", "Only client_credentials is supported")
    scopes = tuple(dict.fromkeys(form.get("scope", "").split())) or SCOPES[host]
    if not set(scopes) <= set(SCOPES[host]):
        return oauth_error(400, "invalid_scope", f"This host grants {' '.join(SCOPES[host])}")
    minted = token_request(tenant, host, scopes, base_url(request))
    return json_response(
        {
            "access_token": tenant.issuer.mint(minted),
            "token_type": "Bearer",
            "expires_in": minted.ttl_s,
            "scope": " ".join(scopes),
        },
        headers={"Cache-Control": "no-store"},
    )
