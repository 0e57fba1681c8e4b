"""Sends a tenant's notifications to its target, in the background, with retries."""

import asyncio
import hmac
import time
from types import TracebackType
from typing import Self

import aiohttp
import msgspec
import stamina

from service.sandbox.collection import format_time
from service.sandbox.deliveries import Attempt, Delivery, JsonObject, Target
from service.sandbox.oauth import token_request
from service.sandbox.platform import Platform, Tenant
from service.sandbox.tokens import TokenRequest

ATTEMPTS = 6  # the first and five retries
TIMEOUT_S = 30.0
SENDING_MAX = 100
TOKEN_LEFT_S = 60
WEBHOOKS_SCOPE = ("api/webhooks",)


TokenKey = tuple[str, str, TokenRequest]  # tenant, signing key, what is asked for


class NotDeliveredError(Exception):
    """The target did not answer 2xx."""


def sign(body: bytes, secret: str) -> str:
    """Compute the value of `x-hmac-signature`: HMAC-SHA256 over the raw body."""
    return f"sha256={hmac.digest(secret.encode(), body, 'sha256').hex()}"


class Notifier:
    """The sender; it is open as long as the application runs."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._session: aiohttp.ClientSession | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(SENDING_MAX)
        self._tokens: dict[TokenKey, str] = {}
        self._count = 0

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        connector = aiohttp.TCPConnector(limit=SENDING_MAX)
        self._session = aiohttp.ClientSession(timeout=timeout, connector=connector)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def send(self, tenant: Tenant, payload: JsonObject, base_url: str) -> Delivery | None:
        """Send a payload in the background; nothing happens for a tenant without a target."""
        if (target := tenant.target) is None:
            return None
        self._count += 1
        delivery = Delivery(f"notification-{self._count}", target.url, payload, attempts=[])
        tenant.deliveries.append(delivery)
        task = asyncio.create_task(self._deliver(tenant, target, delivery, base_url))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
        return delivery

    async def _deliver(
        self, tenant: Tenant, target: Target, delivery: Delivery, base_url: str
    ) -> None:
        base_s = self._platform.retry_base_s
        retries = stamina.retry_context(
            on=NotDeliveredError,
            attempts=ATTEMPTS,
            timeout=None,
            wait_initial=base_s,
            wait_max=base_s * 2**ATTEMPTS,
            wait_jitter=base_s / 10,
        )
        try:
            async for attempt in retries:
                with attempt:
                    async with self._slots:  # waiting for a slot is no part of the 30 s
                        await self._attempt(tenant, target, delivery, base_url)
        except NotDeliveredError:
            delivery.state = "failed"
        else:
            delivery.state = "delivered"

    async def _attempt(
        self, tenant: Tenant, target: Target, delivery: Delivery, base_url: str
    ) -> None:
        at = format_time(self._platform.clock())
        body = msgspec.json.encode(delivery.payload | {"dispatchedAt": at})
        headers = {"Content-Type": "application/json"} | target.headers
        if target.secret is not None:
            headers["x-hmac-signature"] = sign(body, target.secret)
        if target.bearer:
            headers["Authorization"] = f"Bearer {self._token(tenant, base_url)}"
        status, error = None, None
        began = time.perf_counter()
        try:
            status = await self._post(target.url, body, headers)
        except (aiohttp.ClientError, TimeoutError, ValueError) as cause:
            error = f"{type(cause).__name__}: {cause}"
        latency_ms = round((time.perf_counter() - began) * 1000, 3)
        delivery.attempts.append(Attempt(at, status, latency_ms, error))
        if status is None or not 200 <= status < 300:  # noqa: PLR2004 - the 2xx of HTTP
            raise NotDeliveredError

    def _token(self, tenant: Tenant, base_url: str) -> str:
        """Mint a token, or use one again that lives for a while and fits options and key."""
        request = token_request(tenant, "user", WEBHOOKS_SCOPE, base_url)
        key = (tenant.id, tenant.issuer.kids()[0], request)
        token = self._tokens.get(key)
        grant = tenant.issuer.grant(token) if token else None
        if (
            token is None
            or grant is None
            or grant.expires_at < tenant.now().timestamp() + TOKEN_LEFT_S
        ):
            token = self._tokens[key] = tenant.issuer.mint(request)
        return token

    async def _post(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        if self._session is None:
            raise RuntimeError("the notifier is not open")
        async with self._session.post(
            url, data=body, headers=headers, allow_redirects=False
        ) as response:
            return response.status
