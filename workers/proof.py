"""Prove that a tenant's log and snapshot are one, or name the change where they are not. Pure.

The log streams through, oldest change first. What is kept of it is how it left each requirement it
touched, and how it found them after a baseline: undoing that from the snapshot gives the rows the
baseline counted. Only material fields are compared: a row whose times alone moved is stored
without a change, so ``createdAt`` and ``updatedAt`` may differ from what the log said last.
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from msgspec import Struct

from workers.contract.codec import (
    GENESIS,
    RowsDigest,
    chain_digest,
    pack_id,
    unpack_id,
    unpack_row,
)
from workers.contract.model import Head, Kind, Requirement
from workers.entry import Data, Entry, Fault, Material, Reason, read_entry

_DIGEST: Final = re.compile("[0-9a-f]{64}")


class Proven(Struct, frozen=True):
    """What was proven: changes ``first`` to ``sequence``, and the snapshot of so many rows.

    ``baseline`` is the sequence of the oldest baseline, to which every change was undone; None
    where it was trimmed, and nothing tells about the ``untouched`` rows that had no change since.
    """

    changes: int
    first: int
    sequence: int
    digest: str
    rows: int
    untouched: int
    baseline: int | None


class _Left(NamedTuple):
    """How a change left a requirement: None when it is gone."""

    material: Material | None
    sequence: int


class _Baseline(NamedTuple):
    """What a baseline says, and how the changes that follow it found what they touched."""

    sequence: int
    rows: int
    rows_digest: str
    before: dict[str, Material | None]


class Proof:
    """One walk along a tenant's log, and then over its snapshot; it ends at the first fault."""

    def __init__(self, tenant: str) -> None:
        self._tenant = tenant
        self._changes = 0
        self._first = 0
        self._sequence = 0
        self._epoch = ""
        self._epochs: set[str] = set()
        self._digest = GENESIS
        self._left: dict[str, _Left] = {}
        self._baselines: list[_Baseline] = []

    def take(self, entry_id: bytes, fields: Mapping[bytes, bytes]) -> Fault | None:
        """Check the next entry of the log, in itself and against those before it."""
        if not self._changes:
            self._begin(int(entry_id.partition(b"-")[0]))
        sequence = self._sequence + 1
        if entry_id != b"%d-0" % sequence:
            says = f"entry {entry_id.decode()} stands where {sequence}-0 belongs"
            return Fault(sequence, Reason.GAP, says)
        entry = read_entry(sequence, self._tenant, fields)
        if isinstance(entry, Fault):
            return entry
        fault = (
            self._check_chain(entry) or self._check_epoch(entry) or self._check_link(entry.change)
        )
        if fault is None:
            self._record(entry)
        return fault

    def close(self, rows: Mapping[bytes, bytes], head: Head) -> Fault | Proven:
        """Check the snapshot, and the head, against the log that was taken.

        Args:
            rows: The snapshot as it is stored: packed id → packed row.
            head: Read together with the rows.
        """
        if fault := self._check_head(head):
            return fault
        state, broken = _read_rows(rows)
        if fault := self._check_rows(state, broken):
            return fault
        count, untouched = len(state), len(state.keys() - self._left.keys())
        if fault := self._undo(state):
            return fault
        return Proven(
            changes=self._changes,
            first=self._first,
            sequence=self._sequence,
            digest=self._digest,
            rows=count,
            untouched=untouched,
            baseline=self._baselines[0].sequence if self._baselines else None,
        )

    # --- the log ------------------------------------------------------------------------------

    def _begin(self, first: int) -> None:
        """Begin where the log begins: what came before a trimmed one is taken as given."""
        self._first = first
        self._sequence = first - 1
        self._digest = GENESIS if first == 1 else ""

    def _check_chain(self, entry: Entry) -> Fault | None:
        sequence, previous = entry.change.sequence, entry.change.previous_digest
        known = previous == self._digest if self._digest else _DIGEST.fullmatch(previous)
        if not known:
            says = "its previous_digest is not the digest of the change before it"
            return Fault(sequence, Reason.CHAIN, says)
        if chain_digest(previous, entry.document) != entry.change.digest:
            return Fault(sequence, Reason.CHAIN, "its digest is not that of its content")
        return None

    def _check_epoch(self, entry: Entry) -> Fault | None:
        """Check that every epoch, but one whose beginning was trimmed, begins with a baseline."""
        change, known = entry.change, self._epoch
        if change.kind is Kind.BASELINE:
            if entry.epoch not in self._epochs:
                return None
            says = "it begins an epoch whose name was used before"
            return Fault(change.sequence, Reason.EPOCH, says)
        if entry.epoch == known:
            return None
        if known:
            says = "it is of another epoch than the change before it, and no baseline"
            return Fault(change.sequence, Reason.EPOCH, says)
        if change.sequence == 1:
            return Fault(1, Reason.BASELINE, "the log begins without a baseline")
        return None

    def _check_link(self, change: Data) -> Fault | None:
        """Check that the change found its requirement as the one before it left it."""
        left = self._left.get(change.requirement_id)
        says = None
        if change.kind is Kind.BASELINE:
            return None
        if left is None:
            if change.kind is Kind.RESTORED and self._first == 1:
                says = "it restores what no change removed"
        elif left.material != change.before:
            says = f"its before is not how change {left.sequence} left the requirement"
        elif left.material is None and change.kind is Kind.CREATED:
            says = f"it creates what change {left.sequence} removed: that is to restore"
        return None if says is None else Fault(change.sequence, Reason.LINK, says)

    def _record(self, entry: Entry) -> None:
        change = entry.change
        self._changes += 1
        self._sequence, self._digest, self._epoch = change.sequence, change.digest, entry.epoch
        self._epochs.add(entry.epoch)
        if change.kind is Kind.BASELINE:
            count, digest = change.count or 0, change.rows_digest or ""
            self._baselines.append(_Baseline(change.sequence, count, digest, {}))
            return
        self._left[change.requirement_id] = _Left(change.after, change.sequence)
        if self._baselines:
            self._baselines[-1].before.setdefault(change.requirement_id, change.before)

    # --- the snapshot -------------------------------------------------------------------------

    def _check_head(self, head: Head) -> Fault | None:
        if head.sequence != self._sequence:
            says = f"the log ends at {self._sequence}, and the head stands at {head.sequence}"
            beyond = max(min(self._sequence, head.sequence) + 1, self._first)
            return Fault(beyond, Reason.HEAD, says)
        if (head.epoch, head.digest) != (self._epoch, self._digest):
            says = "the head names another epoch or digest than this last change"
            return Fault(self._sequence, Reason.HEAD, says)
        return None

    def _check_rows(self, state: Mapping[str, Material], broken: list[str]) -> Fault | None:
        """Check that every requirement is as its last change left it."""
        oldest = self._baselines[0].sequence if self._baselines else self._first
        wrong = [
            (left.sequence, id_)
            for id_, left in self._left.items()
            if state.get(id_) != left.material
        ]
        wrong += [(self._left.get(id_, _Left(None, oldest)).sequence, id_) for id_ in broken]
        if not wrong:
            return None
        sequence, id_ = min(wrong)
        says = f"the snapshot does not hold requirement {id_} as this change left it"
        return Fault(sequence, Reason.ROW, says)

    def _undo(self, state: dict[str, Material]) -> Fault | None:
        """Undo the log from the snapshot, to each baseline; give the oldest that disagrees."""
        fault = None
        for baseline in reversed(self._baselines):
            for id_, before in baseline.before.items():
                if before is None:
                    state.pop(id_, None)
                else:
                    state[id_] = before
            if len(state) != baseline.rows:
                says = f"it counted {baseline.rows} rows, and undoing the log gives {len(state)}"
                fault = Fault(baseline.sequence, Reason.BASELINE, says)
            elif _digest(state) != baseline.rows_digest:
                says = "its rows_digest is not that of the rows that undoing the log gives"
                fault = Fault(baseline.sequence, Reason.BASELINE, says)
        return fault


def _read_rows(rows: Mapping[bytes, bytes]) -> tuple[dict[str, Material], list[str]]:
    """Give the snapshot's material fields by id, and the names of what cannot be read as rows."""
    state: dict[str, Material] = {}
    broken: list[str] = []
    for packed_id, packed in rows.items():
        try:
            id_ = unpack_id(packed_id)
            served = unpack_row(id_, packed).requirement
            if pack_id(id_) == packed_id:
                state[id_] = Material(served.audience_id, served.required_minutes)
            else:
                broken.append(id_)
        except (ValueError, RecursionError):
            broken.append(_printable_id(packed_id))
    return state, broken


def _printable_id(packed_id: bytes) -> str:
    """Give an id as far as it is one."""
    try:
        return unpack_id(packed_id)
    except ValueError:
        return packed_id.hex()


def _digest(state: Mapping[str, Material]) -> str:
    digest = RowsDigest()
    for id_ in sorted(state):
        row = state[id_]
        digest.add(Requirement(id_, row.audience_id, row.required_minutes, 0, None))
    return digest.hexdigest()
