"""Keep the public keys of token issuers: fetched once, again when a new one appears."""

import asyncio
import math
import warnings
from collections.abc import Callable
from typing import Any, Final

import aiohttp
import msgspec
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import KeySet, RSAKey

from workers.contract import logs
from workers.contract.errors import TemporarilyUnavailable

FRESH_MS: Final = 3_600_000
"""Keys older than this are fetched again."""
FETCH_MIN_MS: Final = 30_000
"""Whatever is asked for, keys are not fetched more often."""
FETCH_TIMEOUT_S: Final = 5
MAX_BYTES: Final = 256 * 1024
MIN_KEY_BITS: Final = 2048
"""Source: RFC 7518, section 3.3."""

_log = logs.get_logger(__name__)


class _Document(msgspec.Struct):
    """A JWK Set. Source: RFC 7517, section 5."""

    keys: list[dict[str, Any]]


class IssuerKeys:
    """The RS256 keys at one URL."""

    def __init__(self, session: aiohttp.ClientSession, url: str, now_ms: Callable[[], int]) -> None:
        self._session = session
        self._url = url
        self._now_ms = now_ms
        self._keys: KeySet | None = None
        self._fetched_ms: int | None = None
        self._attempted_ms: int | None = None
        self._failed = False
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, kid: str | None) -> RSAKey | None:
        """Give the key of that id, or the only one there is; none if the issuer has no such key.

        An unknown id makes the keys be fetched again, at most once in 30 s, by one for all.

        Raises:
            TemporarilyUnavailable: It is not among the keys we know, and they cannot be fetched.
        """
        if not self._within(self._fetched_ms, FRESH_MS):
            self._fetch_if_allowed()
        key = self._pick(kid)
        if key is None:
            fetching = self._fetch_if_allowed()
            if fetching is not None:
                await asyncio.shield(fetching)  # others wait for it as well
            key = self._pick(kid)
        if key is None and self._failed:
            raise TemporarilyUnavailable(
                "The keys that verify tokens cannot be fetched.",
                reason="keys_unavailable",
                retry_after_s=self._retry_after_s(),
            )
        return key

    def _pick(self, kid: str | None) -> RSAKey | None:
        keys = [] if self._keys is None else [k for k in self._keys if isinstance(k, RSAKey)]
        if kid is None:
            return keys[0] if len(keys) == 1 else None
        return next((key for key in keys if key.kid == kid), None)

    def _within(self, since_ms: int | None, span_ms: int) -> bool:
        return since_ms is not None and 0 <= self._now_ms() - since_ms < span_ms

    def _retry_after_s(self) -> int:
        passed_ms = self._now_ms() - (self._attempted_ms or 0)
        return min(max(math.ceil((FETCH_MIN_MS - passed_ms) / 1000), 1), FETCH_MIN_MS // 1000)

    def _fetch_if_allowed(self) -> asyncio.Task[None] | None:
        """Give the fetch that is under way, or begin one; none if the last was a moment ago."""
        if self._fetching is None and not self._within(self._attempted_ms, FETCH_MIN_MS):
            self._attempted_ms = self._now_ms()
            self._fetching = asyncio.create_task(self._fetch())
        return self._fetching

    async def _fetch(self) -> None:
        """Replace the keys; when that fails, those we know stay good."""
        try:
            self._keys = _parse(await self._read())
            self._fetched_ms = self._now_ms()
            self._failed = False
        except (aiohttp.ClientError, TimeoutError, ValueError, RecursionError) as error:
            self._failed = True
            _log.warning("keys_unavailable", error=type(error).__name__)
        finally:
            self._fetching = None

    async def _read(self) -> bytes:
        """Give the document's bytes.

        Raises:
            ValueError: The answer is not 200, or too long.
        """
        timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT_S)
        # A redirect could lead to plain HTTP, where anyone may name the keys we trust.
        async with self._session.get(self._url, timeout=timeout, allow_redirects=False) as answer:
            if answer.status != 200:  # noqa: PLR2004 - OK
                raise ValueError("not 200")
            body = bytearray()
            async for chunk in answer.content.iter_chunked(16 * 1024):
                body += chunk
                if len(body) > MAX_BYTES:
                    raise ValueError("too long")
            return bytes(body)


class KeyRing:
    """The keys of every issuer, so that tenants with the same issuer share one fetch."""

    def __init__(self, session: aiohttp.ClientSession, now_ms: Callable[[], int]) -> None:
        self._session = session
        self._now_ms = now_ms
        self._issuers: dict[str, IssuerKeys] = {}

    def at(self, url: str) -> IssuerKeys:
        """Give the keys at a URL."""
        if url not in self._issuers:
            self._issuers[url] = IssuerKeys(self._session, url, self._now_ms)
        return self._issuers[url]


def _parse(body: bytes) -> KeySet:
    """Give the keys that can verify RS256; others in the document do not matter.

    Raises:
        ValueError: It is no JWK Set, or holds no such key.
    """
    keys = [_import(jwk) for jwk in msgspec.json.decode(body, type=_Document).keys]
    usable = [key for key in keys if key is not None]
    if not usable:
        raise ValueError("no usable key")
    return KeySet([*usable])


def _import(jwk: dict[str, Any]) -> RSAKey | None:
    signs = jwk.get("use", "sig") == "sig" and jwk.get("alg", "RS256") == "RS256"
    if jwk.get("kty") != "RSA" or not signs:
        return None
    try:
        with warnings.catch_warnings():  # about short keys; those are refused below
            warnings.simplefilter("ignore", SecurityWarning)
            key = RSAKey.import_key(jwk)
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return key if key.public_key.key_size >= MIN_KEY_BITS else None
