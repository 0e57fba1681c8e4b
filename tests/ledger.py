"""Read what is stored of a tenant in one piece, and hold it against the promises."""

import json
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple

import redis

from service.sandbox.collection import Collection
from workers.contract.codec import (
    GENESIS,
    RowsDigest,
    chain_digest,
    parse_served_row,
    unpack_id,
    unpack_ids,
    unpack_row,
)
from workers.contract.keyspace import Keyspace
from workers.contract.model import Requirement

_SEQUENCE_BYTES = 8


class Entry(NamedTuple):
    """One change of the log: its sequence, its bytes, and what they say."""

    sequence: int
    event: bytes
    change: dict[str, Any]


class Marked(NamedTuple):
    """A mark: from which accept sequence to which, and how many notifications that is."""

    first: int
    last: int
    pending: int
    manual: int


class ReadRecord(NamedTuple):
    """A committed read."""

    claimed: int
    started_ms: int
    scopes: frozenset[str]
    first: int
    last: int

    def served(self, scope: str) -> bool:
        """Tell whether a scope was read."""
        return scope in self.scopes or "collection" in self.scopes


class Ledger(NamedTuple):
    """What is stored of a tenant at one moment."""

    head: dict[str, str]
    log: list[Entry]
    rows: dict[str, Requirement]
    marks: dict[str, Marked]
    reads: list[ReadRecord]
    due: dict[str, float]
    reasons: set[str]
    audiences: dict[str, set[str]]
    tombstones: set[str]
    history: dict[str, list[int]]

    @property
    def epoch(self) -> str:
        """Give the log's name, empty before there is one."""
        return self.head.get("epoch", "")

    @property
    def sequence(self) -> int:
        """Give the sequence of the last change."""
        return int(self.head.get("sequence", 0))

    @property
    def material(self) -> dict[str, tuple[str, int]]:
        """Give the snapshot's material fields."""
        return {id_: (row.audience_id, row.required_minutes) for id_, row in self.rows.items()}


def read_ledger(store: redis.Redis, keys: Keyspace) -> Ledger:
    """Read all of it in one transaction."""
    transaction = store.pipeline(transaction=True)
    for key in (keys.head, keys.rows, keys.marks, keys.audiences, keys.history):
        transaction.hgetall(key)
    transaction.xrange(keys.changes)
    transaction.xrange(keys.reads)
    transaction.zrange(keys.due, 0, -1, withscores=True)
    transaction.hkeys(keys.due_why)
    transaction.hkeys(keys.tombstones)
    head, rows, marks, audiences, history, log, reads, due, reasons, tombstones = (
        transaction.execute()
    )
    return Ledger(
        {name.decode(): value.decode() for name, value in head.items()},
        [_entry(id_, fields) for id_, fields in log],
        {unpack_id(id_): unpack_row(unpack_id(id_), row).requirement for id_, row in rows.items()},
        {scope.decode(): _mark(mark.decode()) for scope, mark in marks.items()},
        [_read(id_, fields) for id_, fields in reads],
        {member.decode(): at_ms for member, at_ms in due},
        {member.decode() for member in reasons},
        {unpack_id(id_): set(unpack_ids(packed)) for id_, packed in audiences.items()},
        {unpack_id(id_) for id_ in tombstones},
        {unpack_id(id_): _sequences(packed) for id_, packed in history.items()},
    )


def assert_log_is_whole(ledger: Ledger) -> None:
    """Sequences have no gap and no repeat, the chain holds, and the head stands at its end."""
    previous = ledger.log[0].change["data"]["previous_digest"] if ledger.log else GENESIS
    for entry in ledger.log:
        data = entry.change["data"]
        assert data["sequence"] == entry.sequence
        assert entry.change["id"].endswith(f":{entry.sequence}")
        assert data["previous_digest"] == previous
        previous = chain_digest(previous, entry.change)
        assert data["digest"] == previous
    for one, two in pairwise(ledger.log):
        assert two.sequence == one.sequence + 1, "the log has a gap"
    if ledger.log:
        assert ledger.log[0].sequence == 1, "nothing trims this log"
        assert ledger.log[0].change["data"]["previous_digest"] == GENESIS
        assert ledger.log[-1].change["id"] == f"{ledger.epoch}:{ledger.sequence}"
        assert ledger.head["digest"] == previous
    else:
        assert ledger.sequence == 0
        assert "baseline_ms" not in ledger.head


def assert_log_is_the_snapshot(ledger: Ledger) -> None:
    """Undoing the log from the head gives the rows of its baseline, and each step agrees."""
    if "baseline_ms" not in ledger.head:
        return
    stood: dict[str, Any] = {
        id_: {"audienceId": audience, "requiredMinutes": minutes}
        for id_, (audience, minutes) in ledger.material.items()
    }
    for entry in reversed(ledger.log):
        data = entry.change["data"]
        if data["kind"] == "baseline":
            assert data["count"] == len(stood)
            assert data["rows_digest"] == _digest(stood)
            return
        id_, before, after = data["requirement_id"], data["before"], data["after"]
        assert _material(stood.get(id_)) == _material(after), "a change is not the snapshot's"
        assert _material(before) != _material(after), "a change that changes nothing"
        if before is None:
            del stood[id_]
        else:
            stood[id_] = before
    raise AssertionError("the log has no baseline")


def assert_marks_add_up(ledger: Ledger) -> None:
    """What is pending is what is marked: never negative, never stuck."""
    accepted = int(ledger.head.get("accept", 0))
    for mark in ledger.marks.values():
        assert 0 < mark.first <= mark.last <= accepted
        assert 0 <= mark.manual <= mark.pending
        assert 0 < mark.pending <= mark.last - mark.first + 1
    assert int(ledger.head.get("pending", 0)) == sum(m.pending for m in ledger.marks.values())


def assert_indexes_agree(ledger: Ledger) -> None:
    """Every index says what the rows and the log say."""
    members: dict[str, set[str]] = {}
    for id_, row in ledger.rows.items():
        members.setdefault(row.audience_id, set()).add(id_)
    assert ledger.audiences == members
    assert not ledger.tombstones & set(ledger.rows)
    assert ledger.reasons == set(ledger.due)
    changed: dict[str, list[int]] = {}
    for entry in ledger.log:
        if entry.change["data"]["kind"] != "baseline":
            changed.setdefault(entry.change["data"]["requirement_id"], []).append(entry.sequence)
    assert ledger.history == changed
    for read in ledger.reads:
        assert 0 <= read.first <= read.last <= ledger.sequence, "a read of another log"


def is_pending(ledger: Ledger, accept: int, scopes: Iterable[str]) -> bool:
    """Tell whether one of a notification's scopes has a mark that does not begin after it."""
    marks = (ledger.marks.get(scope) for scope in scopes)
    return any(mark is not None and mark.first <= accept for mark in marks)


def assert_covered(ledger: Ledger, accept: int, at_ms: int, scopes: Iterable[str]) -> None:
    """Each of a notification's scopes was served by a read that started after its accept."""
    for scope in scopes:
        assert any(
            read.claimed >= accept and read.started_ms >= at_ms and read.served(scope)
            for read in ledger.reads
        ), "covered by no read"


def assert_true_of(ledger: Ledger, platform: Collection) -> None:
    """Every change shows a state the platform was in, and nothing is removed that never left."""
    states: dict[str, set[tuple[str, int]]] = {}
    deletions: Counter[str] = Counter()
    for version in platform.history:
        if version.row is None:
            deletions[version.id] += 1
        else:
            row = version.row
            states.setdefault(version.id, set()).add((row.audience_id, row.required_minutes))
    removals: Counter[str] = Counter()
    for entry in ledger.log:
        data = entry.change["data"]
        if data["kind"] == "removed":
            assert data["evidence"]["kind"] == "not_found"
            removals[data["requirement_id"]] += 1
        elif data["kind"] != "baseline":
            assert _material(data["after"]) in states[data["requirement_id"]], "it never was so"
    assert removals <= deletions, "a phantom"


def _entry(id_: bytes, fields: dict[bytes, bytes]) -> Entry:
    change = json.loads(fields[b"event"])
    assert fields[b"type"].decode() == change["type"]
    assert id_.endswith(b"-0")
    return Entry(int(id_.partition(b"-")[0]), fields[b"event"], change)


def _mark(text: str) -> Marked:
    first_id, last, count, manual = text.split(" ")
    return Marked(int(first_id.partition("-")[2]), int(last), int(count), int(manual))


def _read(id_: bytes, fields: dict[bytes, bytes]) -> ReadRecord:
    return ReadRecord(
        int(id_.partition(b"-")[0]),
        int(fields[b"started_ms"]),
        frozenset(fields[b"scopes"].decode().split()),
        int(fields[b"first"]),
        int(fields[b"last"]),
    )


def _sequences(packed: bytes) -> list[int]:
    starts = range(0, len(packed), _SEQUENCE_BYTES)
    return [int.from_bytes(packed[start : start + _SEQUENCE_BYTES], "big") for start in starts]


def _material(row: dict[str, Any] | None) -> tuple[str, int] | None:
    return None if row is None else (row["audienceId"], row["requiredMinutes"])


def _digest(rows: dict[str, dict[str, Any]]) -> str:
    digest = RowsDigest()
    for id_ in sorted(rows):
        times = {"createdAt": "2020-01-01T00:00:00.000Z", "updatedAt": None}
        digest.add(parse_served_row(id_, times | rows[id_]))
    return digest.hexdigest()
