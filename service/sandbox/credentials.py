"""Who asks: the credentials of an Authorization header or of a token request's form."""

import base64
import binascii
import hmac
from urllib.parse import parse_qs, unquote_plus

import msgspec
from starlette.requests import Request

from service.sandbox.platform import Platform, Tenant
from service.sandbox.tokens import Grant


class Caller(msgspec.Struct, frozen=True):
    """A request's tenant, and whether what it presented holds.

    `refusal` is (status, message) for credentials that are wrong or grant too little.
    """

    tenant: Tenant
    refusal: tuple[int, str] | None
    token: str | None


class Client(msgspec.Struct, frozen=True):
    """The client of a token request, by RFC 6749 section 2.3.1."""

    client_id: str
    client_secret: str
    basic: bool


def same(presented: str, known: str) -> bool:
    """Compare two secrets in constant time."""
    return hmac.compare_digest(presented.encode(), known.encode())


def identify(platform: Platform, authorization: str, scopes: frozenset[str]) -> Caller | None:
    """Find the tenant of a request to the public API; nothing when there is none to find."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "basic" and (pair := decode_basic(value)) is not None:
        tenant = platform.tenants.get(pair[0])
        if tenant is None:
            return None
        right = same(pair[1], tenant.options.api_secret)
        return Caller(tenant, None if right else (401, "Invalid credentials"), None)
    if scheme.lower() == "bearer" and (grant := platform.grants.get(value)) is not None:
        tenant = platform.tenants[grant.tenant_id]
        return Caller(tenant, _refusal(tenant.issuer.grant(value), scopes), value)
    return None


def recheck(caller: Caller, scopes: frozenset[str]) -> tuple[int, str] | None:
    """Judge the credentials again, after the tokens of the tenant may have been revoked."""
    if caller.token is None:
        return caller.refusal
    return _refusal(caller.tenant.issuer.grant(caller.token), scopes)


def decode_basic(value: str) -> tuple[str, str] | None:
    """Split the value of a Basic header into name and password."""
    try:
        name, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (name, password) if colon else None


async def read_form(request: Request) -> dict[str, str]:
    """Parse a form body; the last of repeated fields counts."""
    body = (await request.body()).decode("utf-8", "replace")
    return {name: values[-1] for name, values in parse_qs(body, keep_blank_values=True).items()}


def find_client(request: Request, form: dict[str, str]) -> Client | None:
    """Read the client's credentials from the header or from the form."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        if (pair := decode_basic(value)) is None:
            return None
        return Client(unquote_plus(pair[0]), unquote_plus(pair[1]), basic=True)
    if "client_id" in form and "client_secret" in form:
        return Client(form["client_id"], form["client_secret"], basic=False)
    return None


def is_client_of(client: Client | None, tenant: Tenant) -> bool:
    """Say whether these are the tenant's client credentials."""
    return (
        client is not None
        and same(client.client_id, tenant.client_id)
        and same(client.client_secret, tenant.options.client_secret)
    )


def _refusal(grant: Grant | None, scopes: frozenset[str]) -> tuple[int, str] | None:
    if grant is None:
        return 401, "The access token is invalid or has expired"
    if grant.host != "public":
        return 403, "The access token is not one of the public API"
    if scopes.isdisjoint(grant.scopes):
        return 403, "The access token lacks the scope"
    return None
