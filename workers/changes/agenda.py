"""Gather what a read leaves for later, and what it has settled."""

from collections import Counter
from collections.abc import Mapping

from workers.changes.event import Causes
from workers.contract.model import SETTLED, Due, Requirement, Trigger
from workers.contract.scope import COLLECTION, Scope, ScopeKind


class Agenda:
    """What to read again, at which time in ms and why; what is settled; and what to count."""

    def __init__(self, causes: Causes) -> None:
        self.again: dict[str, tuple[int, Due]] = {}
        self.resolved: set[str] = set()
        self.stats: Counter[str] = Counter()
        self._causes = causes

    def ask(
        self,
        id_: str,
        at_ms: int,
        known: Requirement | None,
        *,
        by_id: bool,
        missing_ms: int | None = None,
    ) -> None:
        """Put a requirement on the timetable, for the notifications that led to this read."""
        cause = self._causes.of(id_, known)
        self.again[member(id_)] = (
            at_ms,
            Due(
                Trigger.SETTLE,
                SETTLED,
                cause.notifications,
                cause.notification_count,
                missing_ms,
                by_id,
            ),
        )

    def scan(self, at_ms: int, step: int = SETTLED) -> None:
        """Have the collection scanned at a time, or earlier if that is wanted already."""
        cause = self._causes.every()
        why = Due(Trigger.SETTLE, step, cause.notifications, cause.notification_count)
        self.add({str(COLLECTION): (at_ms, why)})

    def add(self, again: Mapping[str, tuple[int, Due]]) -> None:
        """Put more on the timetable; of two times for the same, the earlier counts."""
        for one, (at_ms, why) in again.items():
            if one not in self.again or at_ms < self.again[one][0]:
                self.again[one] = (at_ms, why)

    def resolve(self, id_: str) -> None:
        """Note that about a requirement nothing is left to ask."""
        self.resolved.add(member(id_))


def member(id_: str) -> str:
    """Give the member of the timetable that stands for a requirement."""
    return str(Scope(ScopeKind.REQUIREMENT, id_))
