"""Keep rows that do not fit the schema apart, with their page, until they fit again.

They are never published and never removed: what the platform meant by them, nobody knows.
"""

import hashlib
from typing import Any, Final

import msgspec
import redis

from workers.contract.keyspace import Keyspace
from workers.contract.logs import get_logger
from workers.contract.model import Misfit, Page, Quarantined

MOST_KEPT: Final = 1_000
"""Misfits a tenant's quarantine holds; the statistics count all of them."""
_entries = msgspec.json.Decoder(Quarantined)
log = get_logger(__name__)


class Quarantine:
    """The misfits of a tenant, as one read finds them; ``kept`` and ``freed`` go to its commit."""

    def __init__(self, store: redis.Redis, keys: Keyspace) -> None:
        self.kept: dict[str, Quarantined] = {}
        self._store = store
        self._keys = keys
        self._before: dict[str, Quarantined] | None = None
        self._freed: set[str] = set()

    @property
    def freed(self) -> list[str]:
        """Give the fields that are to go."""
        return sorted(self._freed - set(self.kept))

    @property
    def ids(self) -> set[str]:
        """Give the ids of the misfits that this read showed."""
        return {entry.requirement_id for entry in self.kept.values() if entry.requirement_id}

    def note(self, page: Page, now_ms: int) -> None:
        """Take in the misfits of a page that was decoded, and free what fits again.

        Keys: quarantine.
        """
        shown = {_field(page.number, misfit): misfit for misfit in page.misfits}
        before = self._stored()
        fitting = {row.id for row in page.rows or ()}
        self._freed |= {
            field
            for field, entry in before.items()
            if entry.page == page.number or entry.requirement_id in fitting
        }
        new = [misfit for field, misfit in shown.items() if field not in before]
        if new:
            log.warning(
                "quarantine.added",
                tenant=self._keys.tenant,
                page=page.number,
                rows=len(new),
                requirement=new[0].id,
                why=new[0].reason,
            )
        for field, misfit in shown.items():
            if len(self.kept) >= MOST_KEPT:
                return
            since_ms = before[field].since_ms if field in before else now_ms
            entry = Quarantined(
                misfit.id or None, page.number, misfit.reason, misfit.row, since_ms, now_ms
            )
            self.kept[field] = entry

    def free_unseen(self) -> None:
        """Free whatever a complete scan did not show any more."""
        self._freed |= set(self._stored())

    def _stored(self) -> dict[str, Quarantined]:
        if self._before is None:
            found: Any = self._store.hgetall(self._keys.quarantine)
            self._before = {
                field.decode(): _entries.decode(value) for field, value in found.items()
            }
        return self._before


def _field(page: int, misfit: Misfit) -> str:
    """Give the id of a misfit, or what stands for it where it has none."""
    return misfit.id or f"{page}:{hashlib.sha256(misfit.row.encode()).hexdigest()[:16]}"
