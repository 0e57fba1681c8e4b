"""The audiences of one tenant: what their ids and references resolve to."""

import random
from typing import Literal

import msgspec

from service.sandbox.collection import Clock, UnknownIdError, format_time

PLACES = (
    "London",
    "Leeds",
    "Cork",
    "Lisbon",
    "Dubai",
    "Nairobi",
    "Oslo",
    "Pune",
    "Remote",
    "Field",
)
TEAMS = ("Sales", "Nursing", "Engineering", "Finance", "Operations", "Legal", "Support", "Pharmacy")


class ParentAudience(msgspec.Struct, frozen=True):
    """The structure that an audience belongs to."""

    id: str
    name: str
    reference: str


class Audience(msgspec.Struct, frozen=True, rename="camel"):
    """An audience as the platform serves it, under the platform's own names."""

    id: str
    name: str
    reference: str
    api_controlled: bool
    category: Literal["structure", "audience"]
    type: Literal["manual", "smart"]
    parent: ParentAudience | None
    created_at: str
    updated_at: str | None


class Directory:
    """Audiences by id and by reference; a deleted one stays gone until it is named again."""

    def __init__(self, clock: Clock, rng: random.Random) -> None:
        self._clock = clock
        self._rng = rng
        self._by_id: dict[str, Audience] = {}
        self._by_reference: dict[str, str] = {}
        self._deleted: set[str] = set()

    def ensure(self, audience_id: str) -> None:
        """Give an audience that a requirement names a plausible name, unless it was deleted."""
        if audience_id in self._by_id or audience_id in self._deleted:
            return
        name = f"{self._rng.choice(PLACES)} {self._rng.choice(TEAMS)}"
        self.rename(audience_id, name, f"aud-{audience_id[-8:]}")

    def rename(self, audience_id: str, name: str, reference: str) -> Audience:
        """Name an audience, making it when there is none of that id."""
        now = format_time(self._clock())
        old = self._by_id.get(audience_id)
        if old is None:
            audience = Audience(
                id=audience_id,
                name=name,
                reference=reference,
                api_controlled=True,
                category="audience",
                type="manual",
                parent=None,
                created_at=now,
                updated_at=None,
            )
        else:
            self._forget_reference(old)
            audience = msgspec.structs.replace(old, name=name, reference=reference, updated_at=now)
        self._by_id[audience_id] = audience
        self._by_reference[reference] = audience_id
        self._deleted.discard(audience_id)
        return audience

    def delete(self, audience_id: str) -> None:
        """Make an audience unresolvable.

        Raises:
            UnknownIdError: there is no such audience.
        """
        if (audience := self._by_id.pop(audience_id, None)) is None:
            raise UnknownIdError(f"Audience {audience_id} not found")
        self._forget_reference(audience)
        self._deleted.add(audience_id)

    def find(self, id_or_reference: str) -> Audience:
        """Resolve an id or a reference.

        Raises:
            UnknownIdError: neither resolves.
        """
        audience_id = self._by_reference.get(id_or_reference, id_or_reference)
        if (audience := self._by_id.get(audience_id)) is None:
            raise UnknownIdError(f"Audience {id_or_reference} not found")
        return audience

    def _forget_reference(self, audience: Audience) -> None:
        if self._by_reference.get(audience.reference) == audience.id:
            del self._by_reference[audience.reference]
