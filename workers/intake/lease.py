"""Hold a tenant's lease: one refresh per tenant at a time, whatever dies or freezes.

The fencing token is checked by every script that writes the snapshot, the log or coverage, so a
holder that lost its lease without noticing can do no harm. What it may still write to ``head`` only
spaces rounds.
"""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any, Final

import redis

from workers.contract.keyspace import Keyspace
from workers.contract.logs import get_logger

TTL_MS: Final = 15_000
LONGEST_DELAY_MS: Final = 60_000
"""A wake-up call that is due later than this is left to the sweep."""
_RENEW_S: Final = TTL_MS / 1000 / 3
_LONGEST_S: Final = 600.0
"""A holder that is not done by then has hung: its lease runs out."""

_scripts = files("workers.intake")
_ACQUIRE: Final = (_scripts / "acquire.lua").read_text()
_RENEW: Final = (_scripts / "renew.lua").read_text()
_RELEASE: Final = (_scripts / "release.lua").read_text()
log = get_logger(__name__)


class Lease:
    """A lease that is held; ``token`` goes with every write."""

    def __init__(self, store: redis.Redis, keys: Keyspace, token: str) -> None:
        self.token = token
        self._store = store
        self._keys = keys

    def release(self, now_ms: int, left_behind_ms: int) -> int | None:
        """Let go, and give the time in ms of the wake-up call to send, if one is needed.

        Args:
            now_ms: The time.
            left_behind_ms: When the claimed scopes that were not served can be served.

        Keys: lease, head, marks, due. Atomic.
        """
        keys = self._keys
        reply = self._store.register_script(_RELEASE)(
            [keys.lease, keys.head, keys.marks, keys.due],
            [self.token, now_ms, left_behind_ms, LONGEST_DELAY_MS],
        )
        return None if reply is None else int(reply)

    def renew(self) -> bool:
        """Keep the lease for another while; tell whether it is still ours.

        Keys: lease. Atomic.
        """
        script = self._store.register_script(_RENEW)
        return bool(script([self._keys.lease], [self.token, TTL_MS]))


def acquire(store: redis.Redis, keys: Keyspace) -> Lease | None:
    """Take the tenant's lease, or give None when somebody holds it.

    Keys: lease, head. Atomic.
    """
    nonce = secrets.token_hex(8)
    token: Any = store.register_script(_ACQUIRE)([keys.lease, keys.head], [TTL_MS, nonce])
    return None if token is None else Lease(store, keys, token.decode())


@contextmanager
def kept(lease: Lease) -> Iterator[None]:
    """Renew a lease in the background while the body runs."""
    done = threading.Event()

    def renew() -> None:
        for _ in range(int(_LONGEST_S / _RENEW_S)):
            if done.wait(_RENEW_S):
                return
            try:
                if not lease.renew():
                    return
            except redis.RedisError as error:
                log.warning("lease.renewal_failed", error=type(error).__name__)

    thread = threading.Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
