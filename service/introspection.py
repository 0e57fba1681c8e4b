"""Ask an issuer about tokens that only it can read (RFC 7662)."""

from typing import Any, Final

import httpx2
import msgspec
from authlib.integrations.httpx_client import AsyncOAuth2Client

from service.claims import Introspected
from workers.contract import logs
from workers.contract.errors import TemporarilyUnavailable
from workers.contract.settings import Secret

TIMEOUT_S: Final = 5
RETRY_S: Final = 5

_log = logs.get_logger(__name__)
_answers = msgspec.json.Decoder(Introspected)


class Introspector:
    """One issuer's introspection endpoint."""

    def __init__(self, url: str, client_id: str, client_secret: Secret | None) -> None:
        self._url = url
        self._client_id = client_id
        self._client_secret = client_secret
        self._client: Any = None  # Authlib has no types

    async def ask(self, token: str) -> Introspected:
        """Give what the issuer says about a token.

        Source: RFC 7662, section 2.

        Raises:
            TemporarilyUnavailable: It did not answer, or not as it should.
        """
        try:
            answer = await self._connected().introspect_token(
                self._url,
                token=token,
                token_type_hint="access_token",  # noqa: S106 - a kind
            )
            answer.raise_for_status()
            return _answers.decode(answer.content)
        except (httpx2.HTTPError, ValueError, RecursionError) as error:
            _log.warning("introspection_unavailable", error=type(error).__name__)
            raise TemporarilyUnavailable(
                "The token cannot be verified now.",
                reason="introspection_unavailable",
                retry_after_s=RETRY_S,
            ) from error

    async def close(self) -> None:
        """Close its connections."""
        if self._client is not None:
            await self._client.aclose()

    def _connected(self) -> Any:  # noqa: ANN401 - Authlib has no types
        if self._client is None:  # made when first needed: loading certificates takes a while
            secret = self._client_secret
            self._client = AsyncOAuth2Client(
                self._client_id,
                "" if secret is None else secret.reveal(),
                token_endpoint_auth_method="client_secret_basic",  # noqa: S106 - a method
                timeout=TIMEOUT_S,
                trust_env=False,
            )
        return self._client
