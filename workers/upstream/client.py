"""Read the platform's list and single requirements: paced, timed out, retried, authenticated.

All HTTP of a process runs in one asyncio loop on its own thread, over connections that are kept
open; the worker's threads wait for it. API: *Query CPD requirements*, *Get CPD requirement*.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final, NamedTuple, TypeVar

import aiohttp
import stamina

from workers.contract.errors import (
    UpstreamError,
    UpstreamRefused,
    UpstreamThrottled,
    UpstreamUnavailable,
)
from workers.contract.model import Page, Requirement
from workers.contract.settings import Tenant
from workers.upstream.budget import LONGEST_WAIT_S, Budget
from workers.upstream.pages import (
    Audience,
    decode_audience,
    decode_one,
    decode_page,
    is_not_found,
)
from workers.upstream.tokens import Tokens

_T = TypeVar("_T")

IN_FLIGHT: Final = 8
"""Requests of one read under way at once."""

_WAITING_CALLS: Final = 64
_ATTEMPTS: Final = 3
_TIMEOUT: Final = aiohttp.ClientTimeout(total=20, connect=5)
_MAX_BODY_BYTES: Final = 32 * 1024 * 1024
LONGEST_RETRY_AFTER_S: Final = 900.0
"""Nobody can silence a tenant for longer with one answer."""
_PATIENCE_S: Final = 3.0
"""A platform that asks us to wait longer is left alone until then."""


class Connections:
    """The HTTP connections of this process, and the loop they live in."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        # Calls of Redis and of token endpoints wait here; one that hangs must not hold up others.
        self._loop.set_default_executor(ThreadPoolExecutor(_WAITING_CALLS, "waiting"))
        self._session: aiohttp.ClientSession | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="http", daemon=True)
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        """Run a coroutine in the loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def session(self) -> aiohttp.ClientSession:
        """Give the session; only for coroutines in the loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=_TIMEOUT,
                connector=aiohttp.TCPConnector(limit=256, limit_per_host=64),
                headers={"User-Agent": "cpdfeed", "Accept": "application/json"},
            )
        return self._session

    def close(self) -> None:
        """Close all connections and end the loop."""
        if self._session is not None:
            self.submit(self._session.close()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _Answer(NamedTuple):
    status: int
    body: bytes
    started_ms: int


class Client:
    """Reads of one tenant, for the length of one refresh."""

    def __init__(
        self,
        connections: Connections,
        tenant: Tenant,
        tokens: Tokens,
        budget: Budget,
        now_ms: Callable[[], int],
    ) -> None:
        self._connections = connections
        self._tenant = tenant
        self._tokens = tokens
        self._budget = budget
        self._now_ms = now_ms
        self._token: str | None = None
        self._token_lock = asyncio.Lock()
        self.reads = 0

    def read_pages(
        self, numbers: Iterable[int], known_digest: Callable[[int], bytes | None]
    ) -> Iterator[Page | UpstreamError]:
        """Read pages of the list, several at once, and give them in the order asked for.

        A page that cannot be had is given as its error; its neighbours come all the same. A page
        whose body has the known digest comes without rows.
        """
        return self._in_order(self._page(number, known_digest(number)) for number in numbers)

    def read_many(self, ids: Iterable[str]) -> Iterator[Requirement | UpstreamError | None]:
        """Read requirements by id, several at once, and give them in the order asked for.

        None where the platform itself says there is none; the error where nobody can say.
        """
        return self._in_order(self._one(id_) for id_ in ids)

    def read_names(self, audiences: Iterable[str], within_s: float) -> dict[str, Audience | None]:
        """Read audiences once each, all within a time; give those that were answered.

        None where the platform has none by that id, or does not let us ask.
        """
        return self._connections.submit(self._names(list(audiences), within_s)).result()

    async def _names(self, audiences: list[str], within_s: float) -> dict[str, Audience | None]:
        asked = {
            id_: asyncio.create_task(self._attempt(f"/audiences/{id_}", {}, within_s))
            for id_ in audiences
        }
        await asyncio.wait(asked.values(), timeout=within_s)
        named: dict[str, Audience | None] = {}
        for id_, task in asked.items():
            if not task.done():
                task.cancel()
                continue
            error = task.exception()
            if error is None and task.result().status == HTTPStatus.OK:
                named[id_] = decode_audience(task.result().body)
            elif error is None or isinstance(error, UpstreamRefused):
                named[id_] = None
            elif not isinstance(error, UpstreamError):
                raise error
        return named

    def _in_order(self, work: Iterable[Coroutine[Any, Any, _T]]) -> Iterator[_T]:
        waiting = iter(work)
        under_way: deque[Future[_T]] = deque()
        try:
            while True:
                while len(under_way) < IN_FLIGHT and (job := next(waiting, None)) is not None:
                    under_way.append(self._connections.submit(job))
                if not under_way:
                    return
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()

    async def _page(self, number: int, known_digest: bytes | None) -> Page | UpstreamError:
        try:
            answer = await self._get(
                "/cpdRequirementSummaries", {"page": number, "perPage": self._tenant.per_page}
            )
            if answer.status != HTTPStatus.OK:
                raise UpstreamRefused("there is no such page", status=answer.status)
            return decode_page(answer.body, answer.started_ms, known_digest)
        except UpstreamError as error:
            return error

    async def _one(self, id_: str) -> Requirement | UpstreamError | None:
        try:
            answer = await self._get(f"/cpdRequirementSummaries/{id_}", {})
            if answer.status == HTTPStatus.NOT_FOUND:
                return None
            requirement = decode_one(answer.body)
        except UpstreamError as error:
            return error
        if requirement.id != id_:
            return UpstreamUnavailable("the platform answered with another requirement")
        return requirement

    async def _get(self, path: str, query: dict[str, int]) -> _Answer:
        """Get 200 or the platform's own 404, trying a few times.

        Raises:
            UpstreamError: Whatever else came of it.
        """
        async for attempt in stamina.retry_context(
            on=_worth_another_try, attempts=_ATTEMPTS, timeout=60, wait_initial=0.2, wait_max=2
        ):
            with attempt:
                return await self._attempt(path, query)
        raise AssertionError("unreachable")  # stamina raises what the last attempt raised

    async def _attempt(
        self, path: str, query: dict[str, int], patience_s: float = LONGEST_WAIT_S
    ) -> _Answer:
        refused: str | None = None
        while True:
            authorization, token = await self._authorization(refused)
            answer = await self._request(path, query, authorization, patience_s)
            if answer.status != HTTPStatus.UNAUTHORIZED or self._tenant.api_auth == "basic":
                break
            if refused is not None:
                break
            refused = token
        if answer.status == HTTPStatus.OK:
            return answer
        if answer.status == HTTPStatus.NOT_FOUND and is_not_found(answer.body):
            return answer
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.status < 400:  # noqa: PLR2004
            raise UpstreamUnavailable(f"answered {answer.status}", status=answer.status)
        raise UpstreamRefused(f"answered {answer.status}", status=answer.status)

    async def _request(
        self, path: str, query: dict[str, int], authorization: str, patience_s: float
    ) -> _Answer:
        await asyncio.sleep(await asyncio.to_thread(self._budget.take, patience_s))
        started_ms = self._now_ms()
        self.reads += 1
        try:
            async with self._connections.session().get(
                self._tenant.api_url + path,
                params=query,
                headers={"Authorization": authorization},
                allow_redirects=False,
            ) as response:
                if response.status == HTTPStatus.TOO_MANY_REQUESTS:
                    await self._throttled(response.headers.get("Retry-After"))
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > _MAX_BODY_BYTES:
                        raise UpstreamUnavailable("the answer is too large")
                return _Answer(response.status, bytes(body), started_ms)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UpstreamUnavailable(f"no answer ({type(error).__name__})") from error

    async def _throttled(self, retry_after: str | None) -> None:
        wait_s = _retry_after_s(retry_after, self._now_ms())
        if wait_s is not None:
            await asyncio.to_thread(self._budget.slow_down, wait_s)
        raise UpstreamThrottled(
            "answered 429", retry_after_s=wait_s, status=HTTPStatus.TOO_MANY_REQUESTS
        )

    async def _authorization(self, refused: str | None) -> tuple[str, str]:
        """Give the header's value, and the token in it."""
        if self._tenant.api_auth == "basic":
            secret = self._tenant.api_secret
            password = "" if secret is None else secret.reveal()
            return aiohttp.encode_basic_auth(self._tenant.tenant_id, password), ""
        async with self._token_lock:
            if self._token is None or self._token == refused:
                self._token = await asyncio.to_thread(self._tokens.current, refused)
            return f"Bearer {self._token}", self._token


def _worth_another_try(error: Exception) -> bool | float:
    """Tell stamina whether, and for a throttled request when, to try again."""
    if isinstance(error, UpstreamThrottled) and error.retry_after_s is not None:
        return error.retry_after_s if error.retry_after_s <= _PATIENCE_S else False
    return isinstance(error, UpstreamUnavailable | UpstreamThrottled)


def _retry_after_s(value: str | None, now_ms: int) -> float | None:
    """Read ``Retry-After``: seconds or an HTTP date. Source: RFC 9110, 10.2.3."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return min(float(value.strip()[:9]), LONGEST_RETRY_AFTER_S)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    wait_s = (moment - datetime.fromtimestamp(now_ms / 1000, UTC)).total_seconds()
    return min(max(0.0, wait_s), LONGEST_RETRY_AFTER_S)
