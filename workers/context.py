"""What a process hands to every use case: settings, Redis, connections, clock and chance."""

import random
import threading
from collections.abc import Callable

import redis
from msgspec import Struct, field

from workers.changes.commit import Commits
from workers.contract.codec import Cursor
from workers.contract.settings import Settings
from workers.intake.continuity import Place
from workers.upstream.client import Connections


class Context(Struct):
    """What a process hands to every use case; one for as long as it lives."""

    settings: Settings
    store: redis.Redis
    connections: Connections
    now_ms: Callable[[], int]
    new_id: Callable[[], str]
    chance: random.Random
    stopping: threading.Event
    remembered: dict[tuple[str, str], Place] = field(default_factory=dict)
    """Where each tenant's log stood last, by epoch: Redis may come back older more than once."""

    def remember(self, tenant: str, commits: Commits) -> None:
        """Note where a tenant's log stands after these commits."""
        place = Place(Cursor(commits.epoch, commits.sequence), commits.digest)
        self.remembered[tenant, commits.epoch] = place
