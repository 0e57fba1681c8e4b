"""Make the web application: settings, what the requests share, routes, the error table."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Final

import aiohttp
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from starlette.applications import Starlette

from service import (
    feed,
    health,
    history,
    insight,
    lookup,
    metrics,
    notifications,
    problems,
    refreshes,
    requirements,
    shutdown,
)
from service.callers import ApiCallers
from service.claims import Terms
from service.credentials import NotificationVerifier
from service.inbox import Inbox
from service.introspection import Introspector
from service.jwks import KeyRing
from service.owners import Owners
from service.schema import Schema
from service.state import State
from service.tokens import TokenVerifier
from service.waker import Waker
from workers.celery import enqueue as enqueue_with_celery
from workers.contract import calls, logs
from workers.contract import settings as configuration
from workers.contract.errors import SchemaUnknown
from workers.contract.settings import Settings, Tenant

REDIS_TIMEOUT_S: Final = 2
REDIS_CONNECTIONS: Final = 200

_log = logs.get_logger(__name__)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def create_app(
    settings: Settings | None = None,
    *,
    enqueue: Callable[[calls.Call], None] | None = None,
    now_ms: Callable[[], int] = _now_ms,
) -> Starlette:
    """Make the application.

    Args:
        settings: Read from the environment when not given, as a process of its own does; logging
            is then set up as well.
        enqueue: Takes wake-up calls; Celery's when not given.
        now_ms: The clock, Unix milliseconds.

    Raises:
        SystemExit: With code 2, when the settings are wrong; every fault is on standard error.
    """
    settings = settings or _start_process()
    app = Starlette(
        routes=[
            *notifications.ROUTES,
            *lookup.ROUTES,
            *requirements.ROUTES,
            *history.ROUTES,
            *feed.ROUTES,
            *refreshes.ROUTES,
            *insight.ROUTES,
            *health.ROUTES,
            *metrics.ROUTES,
        ],
        exception_handlers=problems.HANDLERS,
        lifespan=partial(_lifespan, settings, enqueue or enqueue_with_celery, now_ms),
    )
    app.router.redirect_slashes = False  # a path is right or wrong; no body is sent twice
    return app


def _start_process() -> Settings:
    """Read the settings and set up logging, uvicorn's included."""
    settings = configuration.load_or_exit()
    logs.configure(settings.log_format, settings.log_level)
    for name in ("uvicorn", "uvicorn.error"):
        server = logging.getLogger(name)
        server.handlers.clear()
        server.propagate = True
    if settings.unknown:
        _log.warning("settings_unknown", names=settings.unknown)
    return settings


def connect(settings: Settings) -> Redis:
    """Give a client that fails fast and never repeats a write by itself."""
    pool = BlockingConnectionPool.from_url(
        settings.redis_url.reveal(),
        max_connections=REDIS_CONNECTIONS,
        timeout=REDIS_TIMEOUT_S,
        socket_timeout=REDIS_TIMEOUT_S,
        socket_connect_timeout=REDIS_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        retry_on_timeout=False,
    )
    return Redis.from_pool(pool)


@asynccontextmanager
async def _lifespan(
    settings: Settings,
    enqueue: Callable[[calls.Call], None],
    now_ms: Callable[[], int],
    app: Starlette,
) -> AsyncIterator[None]:
    """Open what the requests share, and close it in the opposite order."""
    async with AsyncExitStack() as stack:
        redis = connect(settings)
        stack.push_async_callback(redis.aclose)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        keys = KeyRing(session, now_ms)
        waker = Waker(enqueue)
        stack.push_async_callback(asyncio.to_thread, waker.close)
        schema = Schema(redis)
        shutting_down = asyncio.Event()
        app.state.cpdfeed = State(
            settings=settings,
            redis=redis,
            schema=schema,
            callers=ApiCallers(settings, _jwts_of_callers(settings, keys, now_ms)),
            verifiers={
                slug: NotificationVerifier(tenant, _tokens_of(tenant, keys, now_ms, stack))
                for slug, tenant in settings.tenants.items()
            },
            owners=Owners(settings.tenants),
            inboxes={
                slug: Inbox(
                    redis,
                    schema,
                    slug,
                    now_ms=now_ms,
                    dedupe=timedelta(seconds=settings.dedupe_s),
                    limit=settings.inbox_max,
                    wake=partial(waker.wake, calls.refresh(slug)),
                )
                for slug in settings.tenants
            },
            now_ms=now_ms,
            shutting_down=shutting_down,
        )
        await _look_at_store(schema)
        with shutdown.announced(shutting_down):
            yield


async def _look_at_store(schema: Schema) -> None:
    """Say early what is wrong with the store; requests and readyz will say it again."""
    try:
        await schema.check()
    except SchemaUnknown as error:
        _log.error("schema_unknown", error=str(error))
    except RedisError as error:
        _log.warning("store_unavailable", error=type(error).__name__)


def _tokens_of(
    tenant: Tenant, keys: KeyRing, now_ms: Callable[[], int], stack: AsyncExitStack
) -> TokenVerifier:
    """Give what verifies the tokens of a tenant's notifications."""
    introspector = None
    if tenant.webhook_introspection_url:
        introspector = Introspector(
            tenant.webhook_introspection_url,
            tenant.webhook_introspection_client_id,
            tenant.webhook_introspection_client_secret,
        )
        stack.push_async_callback(introspector.close)
    return TokenVerifier(
        Terms(tenant.webhook_issuer, frozenset(tenant.webhook_client_ids), tenant.webhook_audience),
        now_ms,
        keys=keys.at(tenant.webhook_jwks_url) if tenant.webhook_issuer else None,
        introspector=introspector,
    )


def _jwts_of_callers(
    settings: Settings, keys: KeyRing, now_ms: Callable[[], int]
) -> TokenVerifier | None:
    """Give what verifies the JWTs of callers; none without an issuer, keys and an audience.

    Without an audience, every token of the issuer would be one for us.
    """
    if not (settings.api_issuer and settings.api_jwks_url and settings.api_audience):
        if settings.api_issuer:
            _log.warning("api_jwts_refused", missing="api_jwks_url or api_audience")
        return None
    terms = Terms(settings.api_issuer, audience=settings.api_audience)
    return TokenVerifier(terms, now_ms, keys=keys.at(settings.api_jwks_url))
