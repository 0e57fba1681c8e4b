"""What a tenant was asked, so that a test can count the requests a client made."""

from collections import Counter, deque
from datetime import datetime

import msgspec

from service.sandbox.faults import ReadKind

REQUESTS_KEPT = 1000


class Read(msgspec.Struct, frozen=True):
    """One request to the platform's own API."""

    kind: ReadKind
    page: int | None
    per_page: int | None
    id: str | None
    at: datetime
    status: int


class ReadLog:
    """Counts by kind, and the last requests."""

    def __init__(self) -> None:
        self.counts: Counter[ReadKind] = Counter()
        self.requests: deque[Read] = deque(maxlen=REQUESTS_KEPT)

    def record(self, read: Read) -> None:
        """Count a request and remember it."""
        self.counts[read.kind] += 1
        self.requests.append(read)

    def reset(self) -> None:
        """Begin again at zero."""
        self.counts.clear()
        self.requests.clear()
