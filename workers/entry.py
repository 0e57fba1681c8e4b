"""Read one entry of the change log, and check all that can be checked of it alone. Pure."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec import Struct

from workers.contract.model import Kind

_BASELINE_TYPE: Final = "cpd.requirements.baseline"
_SIDES: Final = {
    Kind.CREATED: (False, True),
    Kind.UPDATED: (True, True),
    Kind.REMOVED: (True, False),
    Kind.RESTORED: (False, True),
    Kind.BASELINE: (False, False),
}
"""Whether a kind of change has a ``before``, and an ``after``."""
_WIDTH: Final = 20


class Reason(StrEnum):
    """What disagrees, as a stable word."""

    GAP = "gap"
    FORM = "form"
    NAME = "name"
    KIND = "kind"
    CHAIN = "chain"
    EPOCH = "epoch"
    LINK = "link"
    HEAD = "head"
    ROW = "row"
    BASELINE = "baseline"


class Fault(Struct, frozen=True):
    """Where log and snapshot disagree: at which change, and how."""

    sequence: int
    reason: Reason
    says: str


class Material(Struct, frozen=True, rename="camel", gc=False):
    """What makes a change when it differs; a side of a change has more fields."""

    audience_id: str
    required_minutes: int


class Audience(Struct, frozen=True):
    """Whom a change says it concerns."""

    id: str


class Data(Struct):
    """What is compared of a change's ``data``; the digest is over all of it."""

    sequence: int
    kind: Kind
    previous_digest: str
    digest: str
    requirement_id: str = ""
    audience: Audience = Audience("")
    before: Material | None = None
    after: Material | None = None
    changed: list[str] = []
    delta_minutes: int = 0
    count: int | None = None
    rows_digest: str | None = None


class Event(Struct):
    """What is compared of a change's CloudEvent."""

    id: str
    source: str
    type: str
    sequence: str
    data: Data
    subject: str = ""


class Entry(Struct):
    """A change that agrees with itself: what is compared of it, and the whole document."""

    epoch: str
    change: Data
    document: dict[str, Any]


_events: Final = msgspec.json.Decoder(Event)
_documents: Final = msgspec.json.Decoder(dict[str, Any])
_encode: Final = msgspec.json.Encoder().encode


def read_entry(sequence: int, tenant: str, fields: Mapping[bytes, bytes]) -> Entry | Fault:
    """Read what stands at a place of the log, and check it without looking at any other."""
    raw = fields.get(b"event", b"")
    try:
        event, document = _events.decode(raw), _documents.decode(raw)
        written = _encode(document)
    except (ValueError, RecursionError):
        return Fault(sequence, Reason.FORM, "its event cannot be read")
    # White space, or a name that stands twice, could be read in more than one way.
    if written != raw:
        return Fault(sequence, Reason.FORM, "its event is not written as cpdfeed writes it")
    if (name := _differing_name(sequence, tenant, event)) is not None:
        says = f"its {name} does not agree with its place, or with the rest of it"
        return Fault(sequence, Reason.NAME, says)
    if (field := _differing_field(tenant, event, fields)) is not None:
        says = f"the field {field} beside its event is not what the event says"
        return Fault(sequence, Reason.NAME, says)
    if (says_kind := _inconsistency(event.data)) is not None:
        return Fault(sequence, Reason.KIND, says_kind)
    return Entry(event.id.partition(":")[0], event.data, document)


def _differing_name(sequence: int, tenant: str, event: Event) -> str | None:
    """Give the first name that is not what the place, or the rest of the event, makes it."""
    change = event.data
    baseline = change.kind is Kind.BASELINE
    place = str(sequence)
    epoch = event.id.removesuffix(f":{place}")
    source = f"/tenants/{tenant}/cpdRequirementSummaries"
    type_ = _BASELINE_TYPE if baseline else f"cpd.requirement.{change.kind}"
    agrees = {
        "id": epoch.isalnum() and event.id != epoch,
        "sequence": event.sequence == place.zfill(_WIDTH),
        "data.sequence": change.sequence == sequence,
        "source": event.source == source,
        "type": event.type == type_,
        "subject": event.subject == change.requirement_id and bool(event.subject) is not baseline,
        "audience": change.audience.id == _audience_id(change),
    }
    return next((name for name, agreed in agrees.items() if not agreed), None)


def _differing_field(tenant: str, event: Event, fields: Mapping[bytes, bytes]) -> str | None:
    """Give the first field of the stream's entry that is not what its event says."""
    expected = {
        b"event": fields[b"event"],
        b"type": event.type.encode(),
        b"requirement_id": event.data.requirement_id.encode(),
        b"audience_id": _audience_id(event.data).encode(),
        b"tenant": tenant.encode(),
    }
    if fields == expected:
        return None
    names = [*expected, *fields]
    return next(name for name in names if fields.get(name) != expected.get(name)).decode(
        errors="replace"
    )


def _audience_id(change: Data) -> str:
    about = change.after or change.before
    return "" if about is None else about.audience_id


def _inconsistency(change: Data) -> str | None:
    """Say in what a change's kind, fields and minutes do not follow from before and after."""
    before, after = change.before, change.after
    if (before is not None, after is not None) != _SIDES[change.kind]:
        return f"its before and after are not those of {change.kind}"
    if change.kind is Kind.BASELINE:
        complete = change.count is not None and change.rows_digest is not None
        return None if complete else "it lacks its count or rows_digest"
    changed = []
    if before is not None and after is not None:
        differs = {
            "audienceId": before.audience_id != after.audience_id,
            "requiredMinutes": before.required_minutes != after.required_minutes,
        }
        changed = [name for name in differs if differs[name]]
        if not changed:
            return "it changes nothing"
    delta = (after.required_minutes if after else 0) - (before.required_minutes if before else 0)
    if change.changed != changed or change.delta_minutes != delta:
        return "its changed or delta_minutes does not follow from its before and after"
    return None
