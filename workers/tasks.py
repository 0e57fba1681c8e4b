"""Celery's shell over the pipeline: call it, map errors, enqueue what it returns.

No task is retried by Celery. What a failed one leaves undone still stands in Redis, and the sweep
calls for it again.
"""

import random
import threading
import time
import uuid
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import redis
from celery import signals
from kombu.exceptions import OperationalError
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from workers import pipeline
from workers.celery import app, enqueue
from workers.context import Context
from workers.contract import settings
from workers.contract.calls import Call, Task
from workers.contract.errors import CpdfeedError, SchemaUnknown
from workers.contract.keyspace import SCHEMA_KEY, SCHEMA_VERSION
from workers.contract.logs import get_logger
from workers.upstream.client import Connections

_SOCKET_TIMEOUT_S: Final = 10.0
_CONNECT_TIMEOUT_S: Final = 3.0
_stopping: Final = threading.Event()
log = get_logger(__name__)


def open_store(url: str) -> redis.Redis:
    """Give a client for the workers; what they send may be sent twice, so it may be retried."""
    return redis.Redis.from_url(
        url,
        socket_timeout=_SOCKET_TIMEOUT_S,
        socket_connect_timeout=_CONNECT_TIMEOUT_S,
        retry=Retry(ExponentialBackoff(cap=1, base=0.05), 3),
    )


@cache
def _context() -> Context:
    """Give what this process's tasks work with, made when the first of them runs."""
    ours = settings.load()
    return Context(
        settings=ours,
        store=open_store(ours.redis_url.reveal()),
        connections=Connections(),
        now_ms=lambda: time.time_ns() // 1_000_000,
        new_id=lambda: uuid.uuid4().hex[:16],
        chance=random.Random(),  # noqa: S311 - spreads timers, guards nothing
        stopping=_stopping,
    )


def check_schema(store: redis.Redis) -> None:
    """Refuse data of a version this code does not know.

    Keys: ``cpdfeed:schema``.

    Raises:
        SchemaUnknown: Redis holds another version's.
    """
    found: Any = store.get(SCHEMA_KEY)
    if found is not None and found != SCHEMA_VERSION.encode():
        raise SchemaUnknown(found.decode("ascii", "replace"), SCHEMA_VERSION)


@signals.worker_shutting_down.connect
def _stop(**_: object) -> None:
    """Let running refreshes end after their round."""
    _stopping.set()


@signals.worker_shutdown.connect
def _close(**_: object) -> None:
    """Close the connections to the platform, if any were made."""
    if _context.cache_info().currsize:
        _context().connections.close()


@app.task(name=Task.REFRESH)
def refresh(tenant: str) -> None:
    """Serve what a tenant waits for."""
    _run(tenant, lambda context: pipeline.refresh(context, tenant))


@app.task(name=Task.SWEEP)
def sweep() -> None:
    """Repair lost wake-up calls."""
    _run("", pipeline.sweep)


def _run(tenant: str, use_case: Callable[[Context], list[Call]]) -> None:
    """Call a use case and enqueue what it returns; what fails is logged, by its class alone."""
    try:
        context = _context()
        check_schema(context.store)
        for call in use_case(context):
            enqueue(call)
    except CpdfeedError as error:
        say = log.warning if error.transient else log.error
        say("task.failed", tenant=tenant, reason=error.reason, error=str(error))
    except redis.RedisError as error:
        log.warning(
            "task.failed", tenant=tenant, reason="store_unavailable", error=type(error).__name__
        )
    except OperationalError as error:
        log.warning(
            "task.failed", tenant=tenant, reason="broker_unavailable", error=type(error).__name__
        )
