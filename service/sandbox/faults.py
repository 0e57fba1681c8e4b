"""Faults that can be switched on per tenant: what they are, and which requests they hit."""

import random
from typing import Annotated, Literal

import msgspec

ReadKind = Literal["list", "one", "audience", "token"]
Position = Literal["first", "last", "random"]
EditOp = Literal["create", "update", "delete", "touch"]


class Fault(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"
):
    """When a fault fires: the first `skip` matching requests pass, then `times` of them are hit."""

    on: Literal["list", "one", "audience", "token", "any"] = "any"
    page: int | None = None
    times: Annotated[int, msgspec.Meta(ge=1)] | None = None
    skip: Annotated[int, msgspec.Meta(ge=0)] = 0
    probability: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0


class StatusFault(Fault, frozen=True, tag="status"):
    """Answer with an error status, as the platform (JSON) or a gateway (HTML) would."""

    status: Annotated[int, msgspec.Meta(ge=400, le=599)]
    retry_after: Annotated[float, msgspec.Meta(ge=0)] | Literal["http-date"] | None = None
    html: bool = False


class SlowFault(Fault, frozen=True, tag="slow"):
    """Answer late."""

    delay_ms: Annotated[float, msgspec.Meta(ge=0)]


class TruncateFault(Fault, frozen=True, tag="truncate"):
    """Promise the whole body, send half of it and close the connection."""


class GarbageFault(Fault, frozen=True, tag="garbage"):
    """Answer 200 with an HTML page."""


class ExpireTokensFault(Fault, frozen=True, tag="expire_tokens"):
    """Revoke every public token at the moment one is presented; once, unless `times` says more."""


class ExtraFieldsFault(Fault, frozen=True, tag="extra_fields"):
    """Add fields that no client knows yet."""


class MalformedRowFault(Fault, frozen=True, tag="malformed_row"):
    """Serve one row with a wrong value: the named one, otherwise the first of the answer."""

    field: str
    value: object
    requirement_id: str | None = None


class EditFault(Fault, frozen=True, tag="edit"):
    """Edit the collection after a list read was computed: drift between the reads of two pages."""

    op: EditOp
    position: Position = "random"


AnyFault = (
    StatusFault
    | SlowFault
    | TruncateFault
    | GarbageFault
    | ExpireTokensFault
    | ExtraFieldsFault
    | MalformedRowFault
    | EditFault
)


class ArmedFault(msgspec.Struct):
    """A fault and how often it matched and fired."""

    fault: AnyFault
    matched: int = 0
    fired: int = 0


class FaultSet:
    """The faults of one tenant, in the order they were given."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.armed: list[ArmedFault] = []

    def replace(self, faults: list[AnyFault]) -> None:
        """Arm these faults, and only these, from their beginning."""
        self.armed = [ArmedFault(fault) for fault in faults]

    def take(self, kind: ReadKind, page: int | None, *, bearer: bool) -> list[AnyFault]:
        """Consume and return the faults that hit this request."""
        return [
            armed.fault
            for armed in self.armed
            if _matches(armed.fault, kind, page, bearer=bearer) and self._fires(armed)
        ]

    def _fires(self, armed: ArmedFault) -> bool:
        fault = armed.fault
        armed.matched += 1
        times = 1 if fault.times is None and isinstance(fault, ExpireTokensFault) else fault.times
        if armed.matched <= fault.skip or (times is not None and armed.fired >= times):
            return False
        if fault.probability < 1 and self._rng.random() >= fault.probability:
            return False
        armed.fired += 1
        return True


def _matches(fault: AnyFault, kind: ReadKind, page: int | None, *, bearer: bool) -> bool:
    if fault.on not in {kind, "any"} or (fault.page is not None and fault.page != page):
        return False
    if isinstance(fault, EditFault):
        return kind == "list"
    return bearer or not isinstance(fault, ExpireTokensFault)
