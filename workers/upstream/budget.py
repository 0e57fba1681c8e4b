"""Pace the requests to the platform: one budget per tenant, shared by all workers."""

from importlib.resources import files
from typing import Final

import redis

from workers.contract.errors import UpstreamThrottled
from workers.contract.keyspace import Keyspace

BURST: Final = 20
LONGEST_WAIT_S: Final = 10.0
"""A request that would have to wait longer is given up: its worker's slot serves others."""
UNPACED_INTERVAL_US: Final = 1_000

_scripts = files("workers.upstream")
_TAKE: Final = (_scripts / "budget.lua").read_text()
_SLOW_DOWN: Final = (_scripts / "slow_down.lua").read_text()


class Budget:
    """A tenant's request budget; with a rate of 0 only the platform's own word slows us down."""

    def __init__(self, store: redis.Redis, keys: Keyspace, per_min: float) -> None:
        self._store = store
        self._key = keys.budget
        self._paced = per_min > 0
        self._interval_us = int(60_000_000 / per_min) if self._paced else UNPACED_INTERVAL_US
        self._burst = BURST

    def take(self, longest_wait_s: float = LONGEST_WAIT_S) -> float:
        """Take one request, and give the seconds to wait before it may start.

        Keys: budget. Atomic.

        Raises:
            UpstreamThrottled: The wait would be too long.
        """
        if not self._paced and not self._store.exists(self._key):
            return 0
        script = self._store.register_script(_TAKE)
        wait_us = int(
            script([self._key], [self._interval_us, self._burst, int(longest_wait_s * 1e6)])
        )
        if wait_us < 0:
            raise UpstreamThrottled("the request budget is spent", retry_after_s=-wait_us / 1e6)
        return wait_us / 1e6

    def slow_down(self, wait_s: float) -> None:
        """Let no worker start a request to this tenant's platform for a while.

        Keys: budget. Atomic.
        """
        script = self._store.register_script(_SLOW_DOWN)
        script([self._key], [self._interval_us, self._burst, int(wait_s * 1e6)])
