"""A log and the snapshot it made are proven; of any other pair the first wrong change is named."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from tests.log import Log, id_of
from workers.contract.codec import pack_id, pack_row
from workers.contract.model import Requirement, Row
from workers.entry import Fault, Reason
from workers.proof import Proof, Proven


def prove(log: Log) -> Proven | Fault:
    """Walk along a log, and over its snapshot."""
    proof = Proof("acme")
    for entry_id, fields in log.entries:
        if fault := proof.take(entry_id, fields):
            return fault
    return proof.close(log.packed, log.head)


def found(log: Log) -> tuple[int, Reason]:
    """Give where the fault is, and what it is."""
    fault = prove(log)
    assert isinstance(fault, Fault), fault
    assert fault.says
    return fault.sequence, fault.reason


@pytest.fixture
def log() -> Log:
    """Give a log of every kind of change, over three rows."""
    log = Log(1, 2, 3)
    log.baseline()
    log.update(1, 90)
    log.create(4, 30)
    log.remove(2)
    log.update(1, 90, audience=0xBB)
    log.restore(2, 45)
    log.update(4, 60, audience=0xBB)
    return log


def trimmed(log: Log, first: int) -> Log:
    """Give what is left of a log from a change on."""
    gone = first - log.first
    rest = Log(first=first, previous=log.events[gone - 1]["data"]["digest"])
    rest.epoch, rest.rows, rest.events = log.epoch, log.rows, log.events[gone:]
    return rest


def minutes(side: str, value: int) -> Callable[[dict[str, Any]], None]:
    """Give the forgery that sets the minutes before or after, and what follows from them."""

    def edit(event: dict[str, Any]) -> None:
        data = event["data"]
        data[side]["requiredMinutes"] = value
        sides = {name: (data[name] or {}).get("requiredMinutes", 0) for name in ("before", "after")}
        data["delta_minutes"] = sides["after"] - sides["before"]

    return edit


# --- what is proven -------------------------------------------------------------------------------


def test_log_of_every_kind_is_proven(log: Log) -> None:
    """Changes of every kind, and the rows they left, are proven back to the baseline."""
    assert prove(log) == Proven(
        changes=7,
        first=1,
        sequence=7,
        digest=log.head.digest,
        rows=4,
        untouched=1,
        baseline=1,
    )


def test_empty_snapshot_is_proven() -> None:
    """A baseline of no rows at all is as good as any."""
    log = Log()
    log.baseline()
    proven = prove(log)
    assert isinstance(proven, Proven)
    assert (proven.rows, proven.baseline) == (0, 1)


def test_touched_row_is_no_fault(log: Log) -> None:
    """A row whose times moved is stored without a change, before its next change and after it."""
    log.touch(1)
    log.update(1, 120)
    log.touch(1)
    assert isinstance(prove(log), Proven)


def test_trimmed_log_is_proven_as_far_as_it_goes(log: Log) -> None:
    """Without its baseline a log is proven from its oldest change on, and says what it cannot."""
    proven = prove(trimmed(log, 4))
    assert isinstance(proven, Proven)
    assert (proven.first, proven.changes, proven.baseline) == (4, 4, None)
    assert proven.untouched == 1


def test_new_epoch_begins_with_a_baseline(log: Log) -> None:
    """A log goes on in another epoch behind a baseline, and is proven back to the first one."""
    log.baseline("e2")
    log.update(3, 15)
    proven = prove(log)
    assert isinstance(proven, Proven)
    assert (proven.baseline, proven.sequence) == (1, 9)


def test_later_baseline_proves_a_trimmed_log(log: Log) -> None:
    """Where the first baseline is gone, every row is proven back to a later one."""
    log.baseline("e2")
    log.update(3, 15)
    proven = prove(trimmed(log, 5))
    assert isinstance(proven, Proven)
    assert proven.baseline == 8


# --- the chain ------------------------------------------------------------------------------------


def test_altered_content_breaks_the_chain(log: Log) -> None:
    """A change that is not what its digest says is named."""
    log.events[2]["time"] = "2026-01-01T00:00:59.000Z"
    assert found(log) == (3, Reason.CHAIN)


def test_replaced_digest_breaks_the_chain_at_the_next(log: Log) -> None:
    """A change that was altered and digested anew is told by the one that follows it."""
    forged = Log(1, 2, 3)
    forged.baseline()
    forged.update(1, 91)
    log.events[1] = forged.events[1]
    assert found(log) == (3, Reason.CHAIN)


def test_first_change_follows_nothing(log: Log) -> None:
    """The first change of all names 64 zeros as what came before."""
    log.previous = "0" * 63 + "1"
    log.forge(1, lambda _: None)
    assert found(log) == (1, Reason.CHAIN)


def test_previous_digest_of_a_trimmed_log_is_one(log: Log) -> None:
    """What came before a trimmed log is taken as given, as long as it is a digest."""
    rest = trimmed(log, 4)
    rest.events[0]["data"]["previous_digest"] = "none"
    assert found(rest) == (4, Reason.CHAIN)


def test_no_bit_of_a_change_can_be_flipped(log: Log) -> None:
    """Whatever bit of an event is flipped, the fault is at that change."""
    entries = log.entries
    entry_id, fields = entries[4]
    event = fields[b"event"]
    missed = []
    for place in range(len(event)):
        for bit in range(8):
            altered = bytearray(event)
            altered[place] ^= 1 << bit
            proof = Proof("acme")
            for entry in entries[:4]:
                proof.take(*entry)
            fault = proof.take(entry_id, fields | {b"event": bytes(altered)})
            if fault is None or fault.sequence != 5:
                missed.append((place, bit))
    assert missed == []


# --- sequences and epochs -------------------------------------------------------------------------


def test_missing_change_is_named(log: Log) -> None:
    """A gap is told by the sequence that is missing."""
    proof, entries = Proof("acme"), log.entries
    del entries[3]
    faults = [fault for entry in entries if (fault := proof.take(*entry))]
    assert (faults[0].sequence, faults[0].reason) == (4, Reason.GAP)


@pytest.mark.parametrize("entry_id", [b"4-1", b"5-0", b"3-5"])
def test_entry_stands_in_its_place(log: Log, entry_id: bytes) -> None:
    """An entry id is the sequence and a zero, nothing beside it."""
    proof, entries = Proof("acme"), log.entries
    for entry in entries[:3]:
        assert proof.take(*entry) is None
    fault = proof.take(entry_id, entries[3][1])
    assert fault is not None
    assert (fault.sequence, fault.reason) == (4, Reason.GAP)


def test_epoch_changes_at_a_baseline_alone(log: Log) -> None:
    """A change of another epoch than the one before it is named."""
    log.epoch = "e2"
    log.update(3, 15)
    assert found(log) == (8, Reason.EPOCH)


def test_name_of_an_epoch_comes_once(log: Log) -> None:
    """An epoch that was left is never taken up again, and a baseline begins one."""
    first = log.epoch
    log.baseline("e2")
    log.baseline(first)
    assert found(log) == (9, Reason.EPOCH)


def test_log_begins_with_a_baseline() -> None:
    """Sequence 1 is a baseline, whatever else there is."""
    log = Log()
    log.create(1)
    assert found(log) == (1, Reason.BASELINE)


# --- before and after -----------------------------------------------------------------------------


def test_before_is_what_the_last_change_left(log: Log) -> None:
    """A change that found its requirement otherwise than it was left is named."""
    log.forge(5, minutes("before", 80))
    log.forge(5, minutes("after", 80))
    assert found(log) == (5, Reason.LINK)


def test_created_was_not_there(log: Log) -> None:
    """A requirement that is there is not created once more."""
    log.rows.pop(id_of(4))
    log.create(4)
    assert found(log) == (8, Reason.LINK)


def test_removed_was_there(log: Log) -> None:
    """A requirement that is gone is not removed once more."""
    log.remove(2)
    log.rows[id_of(2)] = Requirement(id_of(2), id_of(0xAA), 45, 1_000_000, None)
    log.remove(2)
    assert found(log) == (9, Reason.LINK)


def test_what_was_removed_is_restored_not_created(log: Log) -> None:
    """An id that comes back is told from a new one."""
    log.remove(2)
    log.create(2)
    assert found(log) == (9, Reason.LINK)


def test_what_was_never_removed_is_not_restored(log: Log) -> None:
    """In a log from its beginning only what a change removed comes back."""
    log.restore(5)
    assert found(log) == (8, Reason.LINK)


def test_removal_may_be_older_than_a_trimmed_log(log: Log) -> None:
    """What came back may have been removed before the oldest change that is left."""
    assert isinstance(prove(trimmed(log, 5)), Proven)


# --- the snapshot ---------------------------------------------------------------------------------


def test_altered_row_is_named_by_its_last_change(log: Log) -> None:
    """A row in another state than its last change left it names that change, not an earlier one."""
    row = log.rows[id_of(1)]
    for wrong in (replace(row, required_minutes=91), replace(row, audience_id=id_of(0xCC))):
        log.rows[id_of(1)] = wrong
        assert found(log) == (5, Reason.ROW)


def test_missing_row_is_named_by_its_last_change(log: Log) -> None:
    """A row that is gone without a change names its last one."""
    del log.rows[id_of(2)]
    assert found(log) == (6, Reason.ROW)


def test_removed_row_is_gone(log: Log) -> None:
    """A row that its last change removed is not in the snapshot."""
    row = log.rows[id_of(2)]
    log.remove(2)
    log.rows[id_of(2)] = row
    assert found(log) == (8, Reason.ROW)


def test_oldest_of_several_is_named(log: Log) -> None:
    """Of several rows that differ, the one whose last change is the oldest is named."""
    del log.rows[id_of(4)]
    del log.rows[id_of(1)]
    assert found(log) == (5, Reason.ROW)


@pytest.mark.parametrize("extra", [True, False])
def test_unchanged_row_is_named_by_the_baseline(log: Log, extra: bool) -> None:
    """A row that never changed and was altered, or added, names the baseline."""
    number = 9 if extra else 3
    log.rows[id_of(number)] = Requirement(id_of(number), id_of(0xAA), 61, 1_000_000, None)
    assert found(log) == (1, Reason.BASELINE)


def test_missing_unchanged_row_is_named_by_the_baseline(log: Log) -> None:
    """A row that never changed and is gone names the baseline."""
    del log.rows[id_of(3)]
    assert found(log) == (1, Reason.BASELINE)


def test_oldest_baseline_is_named(log: Log) -> None:
    """With several epochs, too, a row that never changed names the first baseline."""
    log.baseline("e2")
    log.rows[id_of(3)] = replace(log.rows[id_of(3)], required_minutes=61)
    assert found(log) == (1, Reason.BASELINE)


@pytest.mark.parametrize(
    ("name", "value"), [("count", 5), ("count", 3), ("rows_digest", "ab" * 32)]
)
def test_later_baseline_tells_of_the_rows_as_they_stood(log: Log, name: str, value: Any) -> None:  # noqa: ANN401
    """A baseline within the log counts and digests the rows there were, not those there are."""
    log.baseline("e2")
    log.update(3, 15)
    log.create(5)
    log.forge(8, lambda event: event["data"].update({name: value}))
    assert found(log) == (8, Reason.BASELINE)


def test_first_before_is_what_the_baseline_counted(log: Log) -> None:
    """A first change whose before was forged, chain and all, does not undo to the baseline."""
    log.forge(2, minutes("before", 50))
    assert found(log) == (1, Reason.BASELINE)


@pytest.mark.parametrize("packed", [b"", b"\xc1", b"\x96\xc4\x0c", pack_id(id_of(1))])
def test_unreadable_row_is_named(log: Log, packed: bytes) -> None:
    """A row that cannot be read names its last change, or the baseline if there was none."""
    for number, sequence in ((1, 5), (3, 1)):
        proof = Proof("acme")
        for entry in log.entries:
            assert proof.take(*entry) is None
        fault = proof.close(log.packed | {pack_id(id_of(number)): packed}, log.head)
        assert isinstance(fault, Fault)
        assert (fault.sequence, fault.reason) == (sequence, Reason.ROW)


@pytest.mark.parametrize(
    ("field", "sequence"),
    [(id_of(1).encode(), 5), (id_of(3).encode(), 1), (b"\xff" * 5, 1), (b"nonsense", 1)],
)
def test_row_under_a_wrong_field_is_named(log: Log, field: bytes, sequence: int) -> None:
    """An id has one packed form: another one, or what is none at all, is no row."""
    proof = Proof("acme")
    for entry in log.entries:
        assert proof.take(*entry) is None
    row = pack_row(Row(log.rows[id_of(1)], 1, 1))
    fault = proof.close(log.packed | {field: row}, log.head)
    assert isinstance(fault, Fault)
    assert (fault.sequence, fault.reason) == (sequence, Reason.ROW)


# --- the head -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "sequence"),
    [({"sequence": 9}, 8), ({"sequence": 5}, 6), ({"digest": "0" * 64}, 7), ({"epoch": "e2"}, 7)],
)
def test_head_is_the_last_change(log: Log, wrong: dict[str, Any], sequence: int) -> None:
    """A head that stands elsewhere names the first change that is missing, or too many."""
    proof = Proof("acme")
    for entry in log.entries:
        assert proof.take(*entry) is None
    fault = proof.close(log.packed, replace(log.head, **wrong))
    assert isinstance(fault, Fault)
    assert (fault.sequence, fault.reason) == (sequence, Reason.HEAD)


def test_head_without_a_log_is_named(log: Log) -> None:
    """Where every entry is gone, the first change is missing."""
    fault = Proof("acme").close(log.packed, log.head)
    assert isinstance(fault, Fault)
    assert (fault.sequence, fault.reason) == (1, Reason.HEAD)


def test_head_behind_a_trimmed_log_names_what_is_there(log: Log) -> None:
    """A head that stands before the oldest change left names that one."""
    rest = trimmed(log, 4)
    proof = Proof("acme")
    for entry in rest.entries:
        assert proof.take(*entry) is None
    fault = proof.close(rest.packed, replace(rest.head, sequence=2))
    assert isinstance(fault, Fault)
    assert (fault.sequence, fault.reason) == (4, Reason.HEAD)
