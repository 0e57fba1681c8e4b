"""Edit the sandbox as an editor of the platform would, and ask it what is true."""

import random
import time
from enum import StrEnum
from typing import Annotated, Any, Final, NamedTuple

import httpx2
import msgspec
from msgspec import Meta, Struct

_TIMEOUT_S: Final = 10.0
_DELIVERY_S: Final = 10.0
_POLL_S: Final = 0.01


class Kind(StrEnum):
    """What an editor does; all but the last are to be published, under the same name."""

    CREATED = "created"
    UPDATED = "updated"
    REMOVED = "removed"
    RESTORED = "restored"
    TOUCHED = "touched"


class Row(Struct, rename="camel"):
    """A requirement, as far as it matters here."""

    audience_requirement_id: str
    required_minutes: int


class Version(Struct):
    """One edit, as the platform's true history has it."""

    id: str
    op: Annotated[str, Meta(description="create, update, touch, delete or restore")]
    before: Row | None
    row: Row | None


class Reads(Struct):
    """How often the platform was asked, by what for."""

    list: int = 0
    one: int = 0
    audience: int = 0
    token: int = 0

    def since(self, earlier: "Reads") -> "Reads":
        """Give those that came after."""
        return Reads(
            self.list - earlier.list,
            self.one - earlier.one,
            self.audience - earlier.audience,
            self.token - earlier.token,
        )


class Edit(NamedTuple):
    """An edit that was made: of what, from which minutes to which, and whom it notified."""

    kind: Kind
    id: str
    before: int | None
    after: int | None
    delivery: str


class _Edited(Struct):
    row: Row | None
    notification: str


class _Attempt(Struct):
    status: int | None


class _Delivery(Struct):
    id: str
    state: str
    attempts: list[_Attempt]


class Editor:
    """One who edits one requirement after another."""

    def __init__(self, port: int, tenant_id: str, chance: random.Random) -> None:
        self._http = httpx2.Client(
            base_url=f"http://127.0.0.1:{port}/sandbox/tenants/{tenant_id}",
            timeout=_TIMEOUT_S,
            trust_env=False,
        )
        self._chance = chance
        self._id = ""
        self._minutes = 0

    def is_there(self) -> bool:
        """Tell whether the sandbox answers."""
        try:
            return self._http.get("/reads").is_success
        except httpx2.TransportError:
            return False

    def point_to(self, url: str, secret: str) -> None:
        """Have the platform send signed notifications with a token there from now on."""
        self._call("PUT", "/target", {"url": url, "secret": secret, "bearer": True})

    def edit(self, kind: Kind) -> Edit:
        """Make an edit and have the platform notify of it, naming the audience alone."""
        before = self._minutes or None
        path = "/requirements" if kind is Kind.CREATED else f"/requirements/{self._id}"
        body: dict[str, Any] | None = None
        match kind:
            case Kind.CREATED:
                before, method, body = None, "POST", {"requiredMinutes": self._draw()}
            case Kind.UPDATED:
                method, body = "PATCH", {"requiredMinutes": self._draw()}
            case Kind.TOUCHED:
                method, body = "PATCH", {"touch": True}
            case Kind.REMOVED:
                method = "DELETE"
            case Kind.RESTORED:
                before, method, path = None, "POST", f"{path}/restore"
        answer = self._call(method, f"{path}?notify=assignment", body)
        edited = msgspec.json.decode(answer, type=_Edited)
        if edited.row is None:
            return Edit(kind, self._id, before, None, edited.notification)
        self._id, self._minutes = edited.row.audience_requirement_id, edited.row.required_minutes
        return Edit(kind, self._id, before, self._minutes, edited.notification)

    def delivered(self, id_: str) -> int | None:
        """Wait until a notification was answered, and give the status; None if it was not."""
        deadline = time.monotonic() + _DELIVERY_S
        status = None
        while time.monotonic() < deadline:
            deliveries = msgspec.json.decode(self._call("GET", "/deliveries"), type=list[_Delivery])
            sent = next(delivery for delivery in reversed(deliveries) if delivery.id == id_)
            status = sent.attempts[-1].status if sent.attempts else None
            if sent.state != "pending":
                break
            time.sleep(_POLL_S)
        return status

    def reads(self) -> Reads:
        """Give what the platform was asked so far."""
        return msgspec.json.decode(self._call("GET", "/reads"), type=Reads)

    def history(self) -> list[Version]:
        """Give every edit that was made."""
        return msgspec.json.decode(self._call("GET", "/history"), type=list[Version])

    def _draw(self) -> int:
        """Give whole hours, in minutes, that differ from the last."""
        minutes = self._chance.randrange(60, 2400, 60)
        return minutes + 60 if minutes == self._minutes else minutes

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        answer = self._http.request(method, path, json=body)
        return answer.raise_for_status().content
