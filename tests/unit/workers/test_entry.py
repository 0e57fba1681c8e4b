"""An entry of the log agrees with its place and with itself, or is told from one that does."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.log import Log, id_of
from workers.entry import Entry, Fault, Reason, read_entry

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture
def log() -> Log:
    """Give a log of every kind of change."""
    log = Log(1)
    log.baseline()
    log.update(1, 90)
    log.create(2, 30)
    log.remove(2)
    log.restore(2, 30)
    return log


def read(log: Log, sequence: int) -> Entry | Fault:
    """Read the entry of a sequence."""
    return read_entry(sequence, "acme", log.entries[sequence - 1][1])


def reason(log: Log, sequence: int) -> Reason | None:
    """Give what disagrees in an entry."""
    entry = read(log, sequence)
    if isinstance(entry, Entry):
        return None
    assert entry.sequence == sequence
    return entry.reason


@pytest.mark.parametrize("sequence", range(1, 6))
def test_every_kind_agrees_with_itself(log: Log, sequence: int) -> None:
    """An entry as it is written has no fault, of whatever kind it is."""
    entry = read(log, sequence)
    assert isinstance(entry, Entry)
    assert (entry.epoch, entry.change.sequence) == ("e1", sequence)
    assert entry.document == log.events[sequence - 1]


@pytest.mark.parametrize(
    "event",
    [
        b"",
        b"{}",
        b"[1]",
        b"null",
        b"\xff",
        b'{"id":"\xff"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_what_is_no_event_cannot_be_read(log: Log, event: bytes) -> None:
    """Anything may stand there: it is a fault, and no exception."""
    fields = log.entries[1][1]
    for altered in (fields | {b"event": event}, {}):
        fault = read_entry(2, "acme", altered)
        assert isinstance(fault, Fault)
        assert fault.reason is Reason.FORM


def test_unpaired_surrogate_cannot_be_read(log: Log) -> None:
    """A text that no encoding can hold is a fault, and no exception."""
    fields = log.entries[1][1]
    event = fields[b"event"].replace(b"K", b"\\udc00")
    fault = read_entry(2, "acme", fields | {b"event": event})
    assert isinstance(fault, Fault)
    assert fault.reason is Reason.FORM


@pytest.mark.parametrize(
    ("written", "otherwise"),
    [
        (b'{"specversion"', b'{ "specversion"'),
        (b'{"specversion"', b'{"id":"other","specversion"'),
        (b'"K\xc3\xb6che', b'"K\\u00f6che'),
        (b'"sequence":2,', b'"sequence":2.0,'),
    ],
)
def test_event_is_written_in_one_way(log: Log, written: bytes, otherwise: bytes) -> None:
    """The same event in other bytes, or with a name twice, is not what was written."""
    fields = log.entries[1][1]
    assert written in fields[b"event"]
    event = fields[b"event"].replace(written, otherwise)
    fault = read_entry(2, "acme", fields | {b"event": event})
    assert isinstance(fault, Fault)
    assert fault.reason is Reason.FORM


@pytest.mark.parametrize(
    "edit",
    [
        lambda event: event.update(id="e1:3"),
        lambda event: event.update(id=":2"),
        lambda event: event.update(id="e1:02"),
        lambda event: event.update(id="e-1:2"),
        lambda event: event.update(id="e1"),
        lambda event: event.update(sequence="00000000000000000003"),
        lambda event: event.update(sequence="2"),
        lambda event: event["data"].update(sequence=3),
        lambda event: event.update(source="/tenants/bolt/cpdRequirementSummaries"),
        lambda event: event.update(type="cpd.requirement.created"),
        lambda event: event.update(type="cpd.requirements.baseline"),
        lambda event: event.update(subject=id_of(2)),
        lambda event: event.pop("subject"),
        lambda event: (event.update(subject=""), event["data"].update(requirement_id="")),
        lambda event: event["data"]["audience"].update(id=id_of(0xBB)),
        lambda event: event["data"].pop("audience"),
    ],
)
def test_names_agree_with_the_place(log: Log, edit: Edit) -> None:
    """An event that is called otherwise than its place, or the rest of it, says, is a fault."""
    log.forge(2, edit)
    assert reason(log, 2) is Reason.NAME


def test_baseline_is_about_no_requirement(log: Log) -> None:
    """A baseline that names a requirement is a fault."""
    about = {"requirement_id": id_of(1)}
    log.forge(1, lambda event: (event.update(subject=id_of(1)), event["data"].update(about)))
    assert reason(log, 1) is Reason.NAME


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"type", b"cpd.requirement.created"),
        (b"requirement_id", id_of(2).encode()),
        (b"audience_id", b""),
        (b"tenant", b"bolt"),
        (b"further", b""),
        (b"\xff", b""),
    ],
)
def test_fields_beside_the_event_say_the_same(log: Log, field: bytes, value: bytes) -> None:
    """What a reader of the stream sees without decoding is what the event says, and no more."""
    fault = read_entry(2, "acme", log.entries[1][1] | {field: value})
    assert isinstance(fault, Fault)
    assert fault.reason is Reason.NAME
    assert field.decode(errors="replace") in fault.says


def test_missing_field_beside_the_event_is_named(log: Log) -> None:
    """None of the fields may be missing."""
    fields = log.entries[1][1]
    del fields[b"tenant"]
    fault = read_entry(2, "acme", fields)
    assert isinstance(fault, Fault)
    assert "tenant" in fault.says


def as_kind(kind: str) -> Edit:
    """Give the forgery that calls a change another kind, wherever its kind is written."""
    return lambda event: (
        event.update(type=f"cpd.requirement.{kind}"),
        event["data"].update(kind=kind),
    )


@pytest.mark.parametrize(
    ("sequence", "kind"),
    [
        (2, "created"),
        (2, "removed"),
        (2, "restored"),
        (3, "updated"),
        (3, "removed"),
        (4, "updated"),
        (4, "restored"),
        (5, "removed"),
    ],
)
def test_kind_follows_from_before_and_after(log: Log, sequence: int, kind: str) -> None:
    """A change of one kind that is called another is a fault."""
    log.forge(sequence, as_kind(kind))
    assert reason(log, sequence) is Reason.KIND


@pytest.mark.parametrize(
    "edit",
    [
        lambda data: data.update(changed=["audienceId"]),
        lambda data: data.update(changed=[]),
        lambda data: data.update(delta_minutes=31),
        lambda data: data.update(delta_minutes=-30),
        lambda data: data["after"].update(requiredMinutes=91),
        lambda data: data["before"].update(audienceId=id_of(0xBB)),
        lambda data: data.update(after=data["before"], changed=[], delta_minutes=0),
    ],
)
def test_fields_and_minutes_follow_from_before_and_after(log: Log, edit: Edit) -> None:
    """An update that names other fields or minutes than it moved, or moved none, is a fault."""
    log.forge(2, lambda event: edit(event["data"]))
    assert reason(log, 2) is Reason.KIND


@pytest.mark.parametrize("sequence", [3, 4, 5])
def test_what_came_or_went_moves_all_its_minutes(log: Log, sequence: int) -> None:
    """A created, removed or restored requirement names no field, and counts all its minutes."""
    for wrong in ({"delta_minutes": 0}, {"changed": ["requiredMinutes"]}):
        right = json.loads(json.dumps(log.events[sequence - 1]["data"]))
        log.forge(sequence, lambda event, wrong=wrong: event["data"].update(wrong))  # type: ignore[misc]
        assert reason(log, sequence) is Reason.KIND
        log.forge(sequence, lambda event, right=right: event["data"].update(right))  # type: ignore[misc]
        assert reason(log, sequence) is None


@pytest.mark.parametrize("name", ["count", "rows_digest"])
def test_baseline_counts_and_digests(log: Log, name: str) -> None:
    """A baseline that lacks one of its two statements is a fault."""
    log.forge(1, lambda event: event["data"].pop(name))
    assert reason(log, 1) is Reason.KIND
