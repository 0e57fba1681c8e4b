"""Write what a read found: rows, indexes and changes together, or not at all.

A read may take several commits, each whole in itself: between them, too, the log folds into the
snapshot. The last one clears the marks the read has served, so coverage never runs ahead of it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any, Final

import msgspec
import redis
from msgspec import Struct

from workers.changes.diff import Difference, Write
from workers.changes.event import Observed, Place, Telling, baseline_event, change_event
from workers.contract.codec import (
    RowsDigest,
    pack_id,
    pack_ids,
    pack_row,
    pack_tombstone,
    unpack_id,
    unpack_ids,
    unpack_row,
    unpack_tombstone,
)
from workers.contract.errors import CommitConflict
from workers.contract.keyspace import Keyspace
from workers.contract.model import (
    Change,
    Due,
    Head,
    Kind,
    Mark,
    Page,
    Quarantined,
    Row,
    Tombstone,
)
from workers.contract.scope import COLLECTION, Scope, ScopeKind

MOST_CHANGES: Final = 1_000
"""Changes in one commit: more would hold the server for too long."""
MOST_WRITES: Final = 5_000
_CHUNK: Final = 1_000

_SECTIONS: Final = {
    "rows_set": 1,
    "rows_del": 1,
    "audiences_set": 1,
    "audiences_del": 1,
    "pages_del": 1,
    "pages_set": 1,
    "tombstones_set": 1,
    "tombstones_del": 1,
    "quarantine_set": 1,
    "quarantine_del": 1,
    "brake": 1,
    "unseen": 1,
    "changes": 4,
    "history": 2,
    "served": 3,
    "due_set": 3,
    "due_del": 1,
    "head": 1,
    "stats": 2,
    "read": 1,
}
"""What ``commit.lua`` takes, in its order; counted in records of so many items."""

_COMMIT: Final = (files("workers.changes") / "commit.lua").read_text()


class Suspended(Struct, frozen=True):
    """What is not removed yet: the fields of ``brake`` and ``unseen``, none where nothing is."""

    brake: Mapping[str, str | int | bytes]
    unseen: Mapping[str, int | bytes]
    was_released: bool = False
    """Whether an operator had let the brake go when it was looked at."""


class Finish(Struct, frozen=True, kw_only=True):
    """What the last commit of a read adds: what it served, and what is to come."""

    trigger: str
    served: Sequence[Mark] = ()
    scopes: Sequence[str] = ()
    due_set: Mapping[str, tuple[int, Due]] = {}
    due_del: Sequence[str] = ()
    head: Mapping[str, int | str] = {}
    stats: Mapping[str, int] = {}
    oldest_ms: int = 0
    """Nothing that stays pending, or has become it meanwhile, is older."""
    quarantined: Mapping[str, Quarantined] = {}
    freed: Sequence[str] = ()
    suspended: Suspended | None = None
    """What is held back from now on, if this read looked at that."""
    last_page: int | None = None
    """Where the collection ends, when all of it was read: pages beyond it are forgotten."""


class Commits:
    """The commits of one read, by the holder of a lease."""

    def __init__(
        self,
        store: redis.Redis,
        keys: Keyspace,
        token: str,
        head: Head,
        telling: Telling,
        *,
        started_ms: int,
        now_ms: Callable[[], int],
        new_id: Callable[[], str],
    ) -> None:
        self.changes: list[Change] = []
        """What was committed so far."""
        self.unannounced = 0
        """How many of these no notification had asked for."""
        self.sequence = head.sequence
        self.epoch = head.epoch or new_id()
        self.digest = head.digest
        self._store = store
        self._keys = keys
        self._token = token
        self._head = head
        self._causes = telling.causes
        self._names = telling.names
        self._started_ms = started_ms
        self._now_ms = now_ms
        self._id = new_id()
        self._first_load = head.baseline_ms is None
        self._reset = self._first_load
        self._commits = 0
        self._time_ms = head.time_ms
        self._baseline: tuple[int, str] | None = None
        self._rows: dict[str, Write] = {}
        self._removed: dict[str, Row] = {}
        self._pending: list[Change] = []
        self._pages: dict[int, tuple[list[str], bytes | None]] = {}
        self._broken: set[int] = set()
        self._script = store.register_script(_COMMIT)

    # --- looking things up ------------------------------------------------------------------

    def lookup(self, ids: Sequence[str]) -> tuple[dict[str, Row], dict[str, Tombstone]]:
        """Give the rows and the tombstones of these ids, with what is not written yet."""
        if not ids:
            return {}, {}
        # A first load begins with nothing, whatever an earlier one left.
        found: list[list[bytes | None]] = [[None] * len(ids)] * 2
        if not self._reset:
            packed = [pack_id(id_) for id_ in ids]
            pipe = self._store.pipeline(transaction=False)
            pipe.hmget(self._keys.rows, packed)
            pipe.hmget(self._keys.tombstones, packed)
            found = pipe.execute()
        rows = {
            id_: unpack_row(id_, value)
            for id_, value in zip(ids, found[0], strict=True)
            if value is not None
        }
        rows |= {id_: self._rows[id_].row for id_ in ids if id_ in self._rows}
        tombstones = {
            id_: unpack_tombstone(value)
            for id_, value in zip(ids, found[1], strict=True)
            if value is not None and id_ not in rows
        }
        return rows, tombstones

    def page_ids(self, number: int) -> list[str]:
        """Give the ids a page is known to hold."""
        if number in self._pages:
            return self._pages[number][0]
        return unpack_ids(self._field(self._keys.pages, str(number)))

    def known(self) -> set[bytes]:
        """Give the packed ids of the snapshot, with what was gathered so far."""
        self.flush()
        known: Any = self._store.hkeys(self._keys.rows)
        return set(known)

    # --- gathering --------------------------------------------------------------------------

    def stage(self, difference: Difference) -> None:
        """Add what a page or a read by id showed; write, when enough has gathered."""
        if any(write.row.requirement.id in self._rows for write in difference.writes):
            self.flush()  # a row's second change goes into a commit after its first
        for write in difference.writes:
            self._rows[write.row.requirement.id] = write
            if write.old is not None and write.old.page != write.row.page:
                self._broken.add(write.old.page)
        self._pending += difference.changes
        if len(self._pending) >= MOST_CHANGES or len(self._rows) >= MOST_WRITES:
            self.flush()

    def remove(self, row: Row, change: Change) -> None:
        """Take a row out of the snapshot."""
        self._removed[change.id] = row
        self._pending.append(change)
        self._broken.add(row.page)

    def showed(self) -> Callable[[Scope], bool]:
        """Give the test whether a scope names any change of this read."""
        every = [*self.changes, *self._pending]
        rows = [row for change in every for row in (change.before, change.after) if row]
        scopes = {Scope(ScopeKind.REQUIREMENT, change.id) for change in every}
        scopes |= {Scope(ScopeKind.AUDIENCE, row.audience_id) for row in rows}
        return lambda scope: scope in scopes or (scope == COLLECTION and bool(every))

    def restore(self, row: Row, change: Change) -> None:
        """Put a removed row back."""
        self.stage(Difference((Write(row, None),), (change,), (), ()))

    def index_page(self, page: Page, ids: list[str], *, intact: bool) -> None:
        """Remember which ids a page held, and its digest if every row was taken as served."""
        self._pages[page.number] = (ids, page.digest if intact else None)
        self._broken.discard(page.number)

    def spoil_page(self, number: int) -> None:
        """Forget a page's digest: its rows were taken in, and not where they are indexed."""
        self._broken.add(number)

    # --- writing ----------------------------------------------------------------------------

    def flush(self) -> None:
        """Commit what has gathered, without serving anything yet."""
        while self._rows or self._removed or self._pending or self._reset:
            self._commit(self._next_part(), None)

    def baseline(self) -> int:
        """Make the first complete scan visible with its one change; give the number of rows.

        Raises:
            CommitConflict: Somebody else is writing.
        """
        self.flush()
        digest, ids = RowsDigest(), sorted(map(unpack_id, self.known()))
        for start in range(0, len(ids), _CHUNK):
            chunk = ids[start : start + _CHUNK]
            rows, _ = self.lookup(chunk)
            if len(rows) < len(chunk):
                raise CommitConflict("the rows are being written by another worker")
            for id_ in chunk:
                digest.add(rows[id_].requirement)
        self._baseline = (len(ids), digest.hexdigest())
        return len(ids)

    def begin_epoch(self, epoch: str) -> None:
        """Go on under a new name with the rows there are, which a baseline tells of anew.

        Before anything else is gathered: a change ahead of the baseline would bear the new name.
        """
        self.epoch = epoch
        self.baseline()

    def finish(self, finish: Finish) -> int:
        """Make the last commit of the read; give the sequence the log then stands at.

        Raises:
            CommitConflict: The lease was lost, or somebody else has written.
        """
        while len(self._pending) > MOST_CHANGES:
            self._commit(self._next_part(), None)
        self._commit(self._next_part(), finish)
        return self.sequence

    def _next_part(self) -> list[Change]:
        """Take the changes of the next commit; rows without a change go with the first."""
        part, self._pending = self._pending[:MOST_CHANGES], self._pending[MOST_CHANGES:]
        return part

    def _commit(self, changes: list[Change], finish: Finish | None) -> None:
        """Write one commit.

        Keys: all that ``commit.lua`` names. Atomic.
        """
        later = {change.id for change in self._pending}
        rows = [write for id_, write in self._rows.items() if id_ not in later]
        removed = {id_: row for id_, row in self._removed.items() if id_ not in later}
        self._rows = {id_: write for id_, write in self._rows.items() if id_ in later}
        self._removed = {id_: row for id_, row in self._removed.items() if id_ in later}
        base = self.sequence
        sections: dict[str, list[Any]] = {
            "rows_set": _flat(
                (pack_id(write.row.requirement.id), pack_row(write.row)) for write in rows
            ),
            "rows_del": [pack_id(id_) for id_ in removed],
            **self._audiences(rows, removed.values()),
            **self._page_index(finish),
            **self._tombstones(changes, base),
            **_kept_apart(finish),
            "changes": self._events(changes, finish),
            "history": _flat(
                (pack_id(change.id), (base + 1 + place).to_bytes(8, "big"))
                for place, change in enumerate(changes)
            ),
        }
        head: dict[str, Any] = {}
        if self.sequence > base:
            head = {"epoch": self.epoch, "digest": self.digest, "time_ms": self._time_ms}
        sections |= self._last(head, finish)
        self._run(base, sections, finish)
        self.changes += changes

    def _run(self, base: int, sections: Mapping[str, list[Any]], finish: Finish | None) -> None:
        suspended = None if finish is None else finish.suspended
        control = {
            "token": self._token,
            "base": base,
            "epoch": self.epoch,
            "id": f"{self._id}:{self._commits}",
            "tenant": self._keys.tenant,
            "reset": self._reset,
            "suspended": suspended is not None,
            "was_released": suspended is not None and suspended.was_released,
            "oldest_ms": 0 if finish is None else finish.oldest_ms,
            "claimed": self._head.claimed,
            "next_first": f"{self._head.last_ms}-{self._head.claimed + 1}",
            "count": {name: len(sections[name]) // size for name, size in _SECTIONS.items()},
        }
        keys = self._keys
        reply: Any = self._script(
            [
                keys.lease,
                keys.head,
                keys.rows,
                keys.pages,
                keys.audiences,
                keys.tombstones,
                keys.quarantine,
                keys.brake,
                keys.unseen,
                keys.changes,
                keys.history,
                keys.marks,
                keys.due,
                keys.due_why,
                keys.reads,
                keys.stats,
                keys.committed,
            ],
            [
                msgspec.json.encode(control),
                *(item for name in _SECTIONS for item in sections[name]),
            ],
        )
        if reply[0] == b"conflict":
            raise CommitConflict(f"the {reply[1].decode()} is another's: nothing was written")
        self._reset = False
        self._commits += 1

    def _events(self, changes: Sequence[Change], finish: Finish | None) -> list[Any]:
        flat: list[Any] = []
        if not changes and self._baseline is None:
            return flat
        names = self._names({change.audience_id for change in changes}) if changes else {}
        self._time_ms = max(self._now_ms(), self._time_ms)
        for change in changes:
            observed = Observed(self._head.clean_ms, change.evidence.at_ms)
            cause = self._causes.of(change.id, change.before, change.after)
            self.unannounced += cause.notification_count == 0
            name = names.get(change.audience_id)
            event, self.digest = change_event(
                self._place(), change, name, cause, observed, self._time_ms
            )
            flat += [event, f"cpd.requirement.{change.kind}", change.id, change.audience_id]
        if finish is not None and self._baseline is not None:
            count, rows_digest = self._baseline
            event, self.digest = baseline_event(
                self._place(),
                count,
                rows_digest,
                self._causes.of(""),
                Observed(None, self._started_ms),
                self._time_ms,
            )
            flat += [event, "cpd.requirements.baseline", "", ""]
        return flat

    def _place(self) -> Place:
        self.sequence += 1
        return Place(self._keys.tenant, self.epoch, self.sequence, self.digest)

    def _audiences(self, rows: Iterable[Write], removed: Iterable[Row]) -> dict[str, list[Any]]:
        """Give the entries of the audience index that these rows change."""
        joined: dict[str, list[str]] = {}
        left: dict[str, set[str]] = {}
        for write in rows:
            new = write.row.requirement
            old = None if write.old is None else write.old.requirement
            if old is None or old.audience_id != new.audience_id:
                joined.setdefault(new.audience_id, []).append(new.id)
                if old is not None:
                    left.setdefault(old.audience_id, set()).add(old.id)
        for row in removed:
            left.setdefault(row.requirement.audience_id, set()).add(row.requirement.id)
        touched = list(dict.fromkeys([*joined, *left]))
        known: list[bytes | None] = [None] * len(touched)
        if touched and not self._reset:
            known = self._store.hmget(  # type: ignore[assignment]
                self._keys.audiences, [pack_id(audience) for audience in touched]
            )
        kept: list[Any] = []
        emptied: list[Any] = []
        for audience, packed in zip(touched, known, strict=True):
            gone = left.get(audience, set())
            ids = [id_ for id_ in unpack_ids(packed) if id_ not in gone]
            ids = list(dict.fromkeys([*ids, *joined.get(audience, [])]))
            if ids:
                kept += [pack_id(audience), pack_ids(ids)]
            else:
                emptied.append(pack_id(audience))
        return {"audiences_set": kept, "audiences_del": emptied}

    def _page_index(self, finish: Finish | None) -> dict[str, list[Any]]:
        """Drop digests that no longer hold at once; store the read's own with its last commit."""
        dropped = [digest_field(number) for number in sorted(self._broken)]
        stored: list[Any] = []
        if finish is not None:
            for number, (ids, digest) in self._pages.items():
                stored += [str(number), pack_ids(ids)]
                if digest is not None and number not in self._broken:
                    stored += [digest_field(number), digest]
                else:
                    dropped.append(digest_field(number))
            if finish.last_page is not None:
                fields: Any = self._store.hkeys(self._keys.pages)
                dropped += [
                    field
                    for field in fields
                    if int(field.decode().partition(":")[0]) > finish.last_page
                ]
        return {"pages_del": dropped, "pages_set": stored}

    def _tombstones(self, changes: Iterable[Change], base: int) -> dict[str, list[Any]]:
        laid: list[Any] = []
        lifted: list[Any] = []
        for place, change in enumerate(changes):
            if change.kind is Kind.REMOVED:
                tombstone = Tombstone(change.evidence.at_ms, base + 1 + place)
                laid += [pack_id(change.id), pack_tombstone(tombstone)]
            elif change.kind is Kind.RESTORED:
                lifted.append(pack_id(change.id))
        return {"tombstones_set": laid, "tombstones_del": lifted}

    def _last(self, head: dict[str, Any], finish: Finish | None) -> dict[str, list[Any]]:
        """Give what only the last commit writes, and the head's fields that every one may."""
        if finish is None:
            none: list[Any] = []
            names = ("served", "due_set", "due_del", "stats", "read")
            return {"head": _flat(head.items()), **dict.fromkeys(names, none)}
        stats = {
            **finish.stats,
            "changes": self.sequence - self._head.sequence,
            "unannounced": self.unannounced,
        }
        if self._baseline is not None:
            head["baseline_ms"] = self._started_ms
        changed = self.sequence > self._head.sequence
        first = self._head.sequence + 1 if changed else 0
        read = {
            "started_ms": self._started_ms,
            "trigger": finish.trigger,
            "scopes": " ".join(finish.scopes),
            "first": first,
            "last": self.sequence if first else 0,
        }
        return {
            "served": _flat((str(mark.scope), mark.count, mark.manual) for mark in finish.served),
            "due_set": _flat(
                (member, at_ms, msgspec.json.encode(why))
                for member, (at_ms, why) in finish.due_set.items()
            ),
            "due_del": list(finish.due_del),
            "head": _flat((head | dict(finish.head)).items()),
            "stats": _flat((name, count) for name, count in stats.items() if count),
            # A read that served nothing and found nothing covers nobody.
            "read": _flat(read.items()) if finish.scopes or changed else [],
        }

    def _field(self, key: str, field: str) -> bytes | None:
        value: Any = self._store.hget(key, field)
        return None if value is None else bytes(value)


def _kept_apart(finish: Finish | None) -> dict[str, list[Any]]:
    """Give what the last commit writes of rows that do not fit, and of what is held back."""
    suspended = None if finish is None else finish.suspended
    return {
        "quarantine_set": []
        if finish is None
        else _flat((name, msgspec.json.encode(row)) for name, row in finish.quarantined.items()),
        "quarantine_del": [] if finish is None else list(finish.freed),
        "brake": [] if suspended is None else _flat(suspended.brake.items()),
        "unseen": [] if suspended is None else _flat(suspended.unseen.items()),
    }


def digest_field(page: int) -> str:
    """Give the field of ``pages`` that holds a page's body digest."""
    return f"{page}:digest"


def _flat(records: Iterable[tuple[Any, ...]]) -> list[Any]:
    return [item for record in records for item in record]
