"""Find and open the Redis of this installation, for the commands that look into it."""

import contextlib
from pathlib import Path
from typing import Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from workers.commands.up import needs_server
from workers.contract.settings import Secret, Settings

REDIS_TIMEOUT_S: Final = 3


def find_url(settings: Settings) -> Secret | None:
    """Give where Redis is: as set, or the embedded server of a running `up`; None without one."""
    return _embedded_url(settings) if needs_server(settings) else settings.redis_url


def connect(url: Secret, timeout_s: float = REDIS_TIMEOUT_S) -> redis.Redis:
    """Give a client that says soon, and once, when there is no answer."""
    return redis.Redis.from_url(
        url.reveal(),
        socket_timeout=timeout_s,
        socket_connect_timeout=REDIS_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )


def _embedded_url(settings: Settings) -> Secret | None:
    """Give where the embedded server of a running `up` is: its data folder tells."""
    try:
        url = Secret((Path(settings.data) / "redis.url").read_text(encoding="ascii").strip())
        with contextlib.closing(connect(url)) as store:
            store.ping()
    except (OSError, redis.exceptions.ConnectionError, redis.exceptions.TimeoutError):
        return None
    return url
