"""Make the CloudEvent of a change, chained to the one before it. Pure.

Form: CloudEvents 1.0, JSON event format. The same object goes out on every channel.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from workers.contract.codec import Cursor, chain_digest, id_parts, ms_text, served_row
from workers.contract.model import NAMED, Change, Kind, Name, Requirement, Source, Trigger
from workers.contract.scope import COLLECTION, Scope, ScopeKind

_ORDER: Final = [Trigger.NOTIFICATION, Trigger.MANUAL, Trigger.SETTLE, Trigger.RECONCILE]


class Cause(Struct, frozen=True):
    """Why the read was made that found a change."""

    trigger: Trigger
    notifications: tuple[str, ...]
    notification_count: int


class Place(Struct, frozen=True):
    """Where a change goes in the log."""

    tenant: str
    epoch: str
    sequence: int
    previous_digest: str


class Observed(Struct, frozen=True):
    """When a change can have happened: after the first time, and before the second."""

    not_before_ms: int | None
    by_ms: int


class Causes:
    """The reasons of one read, to be asked which of them led to a change.

    What names the change comes first, a notification before anything else; a change that nothing
    named was found by the timer, or else by whatever made us read.
    """

    def __init__(self, sources: Iterable[Source]) -> None:
        self._every = list(sources)
        self._naming: dict[Scope, list[Source]] = {}
        for source in self._every:
            if source.trigger is not Trigger.RECONCILE:
                self._naming.setdefault(source.scope, []).append(source)
        self._timer = [s for s in self._every if s.trigger is Trigger.RECONCILE]

    def of(self, id_: str, *rows: Requirement | None) -> Cause:
        """Give the cause of a change of a requirement, from its rows before and after."""
        scopes = {Scope(ScopeKind.REQUIREMENT, id_), COLLECTION} | {
            Scope(ScopeKind.AUDIENCE, row.audience_id) for row in rows if row is not None
        }
        naming = [source for scope in scopes for source in self._naming.get(scope, ())]
        return self._cause(naming or self._timer or self._every)

    def every(self) -> Cause:
        """Give the cause of the read itself."""
        return self._cause(self._every)

    def _cause(self, given: list[Source]) -> Cause:
        trigger = min(
            (source.trigger for source in given), key=_ORDER.index, default=Trigger.RECONCILE
        )
        notifications = sorted(
            {id_ for source in given for id_ in source.notifications}, key=id_parts
        )
        # One notification may ask for several scopes. It counts once where all are named.
        named = all(len(source.notifications) == source.count for source in given)
        count = len(notifications) if named else sum(source.count for source in given)
        return Cause(trigger, tuple(notifications[:NAMED]), count)


class Telling(Struct, frozen=True):
    """What a change tells beside its rows: why it was found, and what its audience is called."""

    causes: Causes
    names: Callable[[Collection[str]], Mapping[str, Name]]


def change_event(
    place: Place,
    change: Change,
    name: Name | None,
    cause: Cause,
    observed: Observed,
    now_ms: int,
) -> tuple[bytes, str]:
    """Give a change's CloudEvent as JSON, and its digest; ``name`` is the audience's."""
    data = {
        "sequence": place.sequence,
        "kind": change.kind,
        "requirement_id": change.id,
        "audience": {
            "id": change.audience_id,
            "name": None if name is None else name.name,
            "reference": None if name is None else name.reference,
        },
        "before": None if change.before is None else served_row(change.before),
        "after": None if change.after is None else served_row(change.after),
        "changed": _changed(change.before, change.after),
        "delta_minutes": _minutes(change.after) - _minutes(change.before),
        "late": change.late,
        "observed": _observed(observed),
        "cause": msgspec.to_builtins(cause),
        "evidence": {
            "kind": change.evidence.kind,
            "page": change.evidence.page,
            "at": ms_text(change.evidence.at_ms),
        },
    }
    return _sealed(place, f"cpd.requirement.{change.kind}", change.id, data, now_ms)


def baseline_event(
    place: Place, count: int, rows_digest: str, cause: Cause, observed: Observed, now_ms: int
) -> tuple[bytes, str]:
    """Give the CloudEvent of a first complete scan as JSON, and its digest."""
    data = {
        "sequence": place.sequence,
        "kind": Kind.BASELINE,
        "count": count,
        "rows_digest": rows_digest,
        "observed": _observed(observed),
        "cause": msgspec.to_builtins(cause),
    }
    return _sealed(place, "cpd.requirements.baseline", None, data, now_ms)


def _sealed(
    place: Place, type_: str, subject: str | None, data: dict[str, Any], now_ms: int
) -> tuple[bytes, str]:
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": str(Cursor(place.epoch, place.sequence)),
        "source": f"/tenants/{place.tenant}/cpdRequirementSummaries",
        "type": type_,
        **({} if subject is None else {"subject": subject}),
        "time": ms_text(now_ms),
        "datacontenttype": "application/json",
        "sequence": f"{place.sequence:020d}",
        "data": {**data, "previous_digest": place.previous_digest},
    }
    digest = chain_digest(place.previous_digest, event)
    event["data"]["digest"] = digest
    return msgspec.json.encode(event), digest


def _observed(observed: Observed) -> dict[str, str | None]:
    earliest = observed.not_before_ms
    return {
        "not_before": None if earliest is None else ms_text(earliest),
        "by": ms_text(observed.by_ms),
    }


def _changed(before: Requirement | None, after: Requirement | None) -> list[str]:
    if before is None or after is None:
        return []
    names = {
        "audienceId": before.audience_id != after.audience_id,
        "requiredMinutes": before.required_minutes != after.required_minutes,
    }
    return [name for name, differs in names.items() if differs]


def _minutes(requirement: Requirement | None) -> int:
    return 0 if requirement is None else requirement.required_minutes
