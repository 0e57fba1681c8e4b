"""The records that travel from a page to a change."""

from enum import StrEnum
from typing import Final

from msgspec import Struct

from workers.contract.scope import Scope

NAMED: Final = 20
"""A change names this many of the notifications that led to it, and counts the rest."""

SETTLED: Final = 1_000
"""The step of a re-read that is not followed by another one."""


class Requirement(Struct, frozen=True):
    """One row as the platform serves it, times as microseconds since the Unix epoch, UTC."""

    id: str
    audience_id: str
    required_minutes: int
    created_us: int
    updated_us: int | None

    @property
    def version_us(self) -> int:
        """Give the time by which an older state of the row is told from a newer one."""
        return self.created_us if self.updated_us is None else self.updated_us

    def same_material(self, other: "Requirement") -> bool:
        """Tell whether the fields that make a change are equal."""
        return (
            self.required_minutes == other.required_minutes
            and self.audience_id == other.audience_id
        )


class Row(Struct, frozen=True):
    """One row of the snapshot: a requirement, and where and since when we saw it so.

    ``page`` is the page it was last seen on, 0 when not known. ``since_ms`` is when this state of
    it was first seen: until the lag horizon has passed, a replica may not have it.
    """

    requirement: Requirement
    page: int
    since_ms: int


class Tombstone(Struct, frozen=True, array_like=True):
    """What is kept of a removed requirement: when it was removed, and by which change."""

    removed_ms: int
    sequence: int


class Kind(StrEnum):
    """The kinds of change."""

    CREATED = "created"
    UPDATED = "updated"
    REMOVED = "removed"
    RESTORED = "restored"
    BASELINE = "baseline"


class EvidenceKind(StrEnum):
    """What a change rests on."""

    PAGE = "page"
    NOT_FOUND = "not_found"
    FOUND = "found"
    TWO_SCANS = "two_scans"


class Evidence(Struct, frozen=True):
    """What was seen, where (a page, or a read by id) and when."""

    kind: EvidenceKind
    at_ms: int
    page: int | None = None


class Change(Struct, frozen=True):
    """One difference between the snapshot and what was seen, before it has a sequence."""

    kind: Kind
    id: str
    before: Requirement | None
    after: Requirement | None
    evidence: Evidence
    late: bool = False

    @property
    def audience_id(self) -> str:
        """Give the audience it concerns; of two, the one after it."""
        about = self.after or self.before
        return "" if about is None else about.audience_id


class Trigger(StrEnum):
    """Why a read was made."""

    NOTIFICATION = "notification"
    RECONCILE = "reconcile"
    SETTLE = "settle"
    MANUAL = "manual"


class Due(Struct, frozen=True, omit_defaults=True):
    """Why a scope is read again later, and for which notifications; ``step`` counts settling.

    With ``by_id`` the requirement is asked for by id: what page it is on would not tell.
    """

    trigger: Trigger
    step: int = 0
    notifications: tuple[str, ...] = ()
    count: int = 0
    missing_ms: int | None = None
    """When the platform first said 404 for a requirement, with nothing to hold that against."""
    by_id: bool = False


class Source(Struct, frozen=True):
    """One reason of a read: a scope, and the first of the notifications that asked for it."""

    scope: Scope
    trigger: Trigger
    notifications: tuple[str, ...] = ()
    count: int = 0


class Misfit(Struct, frozen=True):
    """A served row that does not fit the schema: why, and its JSON text, cut where it is long.

    ``id`` is empty where the row states none that could be one.
    """

    id: str
    reason: str
    row: str


class Quarantined(Struct, frozen=True):
    """A misfit as it is kept: on which page it was last served, since when, and when last."""

    requirement_id: str | None
    page: int
    reason: str
    row: str
    since_ms: int
    at_ms: int


class Page(Struct, frozen=True):
    """One page of the list as it was served.

    ``rows`` is None when the body is the one whose digest was known: nothing was decoded.
    """

    number: int
    total_results: int
    total_pages: int
    digest: bytes
    started_ms: int
    rows: tuple[Requirement, ...] | None
    misfits: tuple[Misfit, ...] = ()


class Name(Struct, frozen=True, array_like=True):
    """What an audience is called, and when the platform was asked; null when it did not tell."""

    name: str | None
    reference: str | None
    asked_ms: int


class Strength(StrEnum):
    """What lets the brake go: a second scan that agrees, or nobody but an operator."""

    SCAN = "scan"
    OPERATOR = "operator"


class Brake(Struct, frozen=True):
    """Removals that are held back: since when, by which scan, out of how many rows.

    ``ids`` are the packed ids of the suspects that ``scan_ms``'s scan did not show.
    """

    strength: Strength
    since_ms: int
    scan_ms: int
    rows: int
    ids: frozenset[bytes]
    released: bool = False


class Head(Struct, frozen=True, kw_only=True):
    """Where a tenant stands, as far as a refresh needs it; see ``keyspace.HEAD_FIELDS``."""

    epoch: str
    sequence: int
    digest: str
    claimed: int = 0
    last_ms: int = 0
    baseline_ms: int | None = None
    complete_ms: int | None = None
    clean_ms: int | None = None
    scan_ms: int = 0
    total: int | None = None
    per_page: int = 0
    ascending: bool = False
    round_ms: int = 0
    spacing_ms: int = 0
    time_ms: int = 0
    server: str = ""
    remembered: str = ""


class Mark(Struct, frozen=True):
    """What was accepted about one scope and is not covered: ids ``<ms>-<accept sequence>``."""

    scope: Scope
    first_id: str
    last: int
    count: int
    manual: int
