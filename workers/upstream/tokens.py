"""Give access tokens for the platform's API: minted once, shared by all workers.

Source: *Query CPD requirements*, section OAuth (client credentials); RFC 6749, 4.4.
"""

from typing import Any, Final

import httpx2
import redis
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import OAuth2Client

from workers.contract.errors import UpstreamRefused, UpstreamUnavailable
from workers.contract.keyspace import Keyspace
from workers.contract.settings import Tenant

_EARLY_S: Final = 60
_TIMEOUT_S: Final = 10.0
_LOCK_S: Final = 45.0
_DEFAULT_LIFE_S: Final = 300
_ERRORS: Final = {
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
}
"""Source: RFC 6749, 5.2. Nothing else that an endpoint says is repeated."""


class Tokens:
    """The access token of one tenant, cached in Redis until shortly before it expires."""

    def __init__(self, store: redis.Redis, keys: Keyspace, tenant: Tenant) -> None:
        self._store = store
        self._keys = keys
        self._tenant = tenant

    def current(self, refused: str | None = None) -> str:
        """Give a token to use; never the one the platform has just refused.

        Keys: token, token:lock.

        Raises:
            UpstreamRefused: The token endpoint refuses our credentials.
            UpstreamUnavailable: It does not answer, or not with a token.
        """
        token = self._cached(refused)
        if token is not None:
            return token
        try:
            with self._store.lock(self._keys.token_lock, timeout=_LOCK_S, blocking_timeout=_LOCK_S):
                return self._cached(refused) or self._mint()
        except redis.exceptions.LockError as error:
            raise UpstreamUnavailable("another worker's token request takes too long") from error

    def _cached(self, refused: str | None) -> str | None:
        value: Any = self._store.get(self._keys.token)
        token = None if value is None else value.decode()
        return None if token == refused else token

    def _mint(self) -> str:
        token, life_s = mint(self._tenant, self._tenant.token_url, self._tenant.api_scope)
        # Refresh early; a token that lives shorter than that, after half its life.
        keep_s = max(life_s - _EARLY_S, life_s / 2)
        self._store.set(self._keys.token, token, px=int(keep_s * 1000))
        return token


def mint(tenant: Tenant, url: str, scope: str) -> tuple[str, float]:
    """Ask a token endpoint for a token: (token, its life in seconds).

    Raises:
        UpstreamRefused: It refuses our credentials or the scope.
        UpstreamUnavailable: It does not answer, or not with a token.
    """
    secret = tenant.client_secret
    with OAuth2Client(
        client_id=tenant.client_id,
        client_secret=None if secret is None else secret.reveal(),
        token_endpoint_auth_method=tenant.token_auth,
        scope=scope,
        timeout=_TIMEOUT_S,
        follow_redirects=False,
    ) as client:
        try:
            answer: Any = client.fetch_token(url, grant_type="client_credentials")
        except OAuthError as error:
            said = error.error if error.error in _ERRORS else "an unknown error"
            raise UpstreamRefused(f"the token endpoint refuses: {said}") from error
        except httpx2.HTTPStatusError as error:
            raise _refusal(error.response.status_code) from error
        except (httpx2.HTTPError, ValueError) as error:
            raise UpstreamUnavailable(
                f"the token endpoint does not answer ({type(error).__name__})"
            ) from error
    token = answer.get("access_token") if isinstance(answer, dict) else None
    if not isinstance(token, str) or not token:
        raise _refusal(answer.get("status") if isinstance(answer, dict) else None)
    life = answer.get("expires_in") or _DEFAULT_LIFE_S
    if not isinstance(life, int | float) or life < 0:
        raise UpstreamUnavailable("the token endpoint gave a token without a life")
    return token, float(life)


def _refusal(status: object) -> UpstreamRefused | UpstreamUnavailable:
    """Give the error of an answer in the platform's own envelope."""
    if isinstance(status, int) and 400 <= status < 500 and status != 429:  # noqa: PLR2004
        return UpstreamRefused(f"the token endpoint refuses ({status})", status=status)
    return UpstreamUnavailable("the token endpoint did not give a token")
