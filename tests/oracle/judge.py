"""Hold what a reader told against what was true. Knows nothing of how the reader works.

A reader may tell late, and may leave states out that did not last. What it tells of a requirement
must have been so, in the order it tells it, and not after it says it; and in the end nothing may
be missing.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from msgspec import Struct

from service.sandbox.collection import Collection, Row


class State(NamedTuple):
    """What a requirement was like."""

    audience_id: str
    minutes: int
    created_at: datetime
    updated_at: datetime | None

    @property
    def material(self) -> "Material":
        """Give what makes a change where it differs."""
        return Material(self.audience_id, self.minutes)


class Material(NamedTuple):
    """The fields that make a change where they differ."""

    audience_id: str
    minutes: int


class Told(Struct, frozen=True):
    """One change as a reader told it; ``at`` is when it said so."""

    kind: str
    id: str
    before: State | None
    after: State | None
    at: datetime


class Account(Struct, frozen=True):
    """All that a reader told.

    ``rows`` are those it holds in the end, ``first`` those it began with and ``first_at`` is when;
    ``faults`` is what does not even fit together.
    """

    first: Mapping[str, Material]
    first_at: datetime
    told: tuple[Told, ...]
    rows: Mapping[str, Material]
    scans: int
    faults: tuple[str, ...] = ()


class Verdict(Struct, frozen=True):
    """What was wrong with an account.

    ``removals`` were told of requirements that were there all the time, ``inventions`` are states
    that never were or were over when an earlier one that had been told began. ``missed`` are
    requirements that are wrong in the end.
    """

    removals: tuple[str, ...]
    inventions: tuple[str, ...]
    missed: tuple[str, ...]
    faults: tuple[str, ...]

    @property
    def phantoms(self) -> int:
        """Count what was told and was not so."""
        return len(self.removals) + len(self.inventions)


def state_of(row: Row) -> State:
    """Give the state a platform's row is in."""
    updated = None if row.updated_at is None else datetime.fromisoformat(row.updated_at)
    created = datetime.fromisoformat(row.created_at)
    return State(row.audience_id, row.required_minutes, created, updated)


class _Truth:
    """The states one requirement was in, each from its time on, None while it was not there."""

    def __init__(self, began_with: State | None) -> None:
        self.states: list[tuple[datetime | None, State | None]] = [(None, began_with)]
        self.told = 0
        """Which of them was told last; nothing before it can be told any more."""

    def tell(self, state: State | Material | None, at: datetime) -> bool:
        """Go on to the first time a state was so, not before what was told last, if it was."""
        for index in range(self.told, len(self.states)):
            since, was = self.states[index]
            if since is not None and since > at:
                return False
            if was == state or (was is not None and was.material == state):
                self.told = index
                return True
        return False


def judge(account: Account, collection: Collection) -> Verdict:
    """Give what was wrong with an account of a collection."""
    truth = _truth(collection)
    removals: list[str] = []
    inventions: list[str] = []
    for id_, material in account.first.items():
        if id_ not in truth or not truth[id_].tell(material, account.first_at):
            inventions.append(f"{id_} begins as {material}, which it was not")
    for number, told in enumerate(account.told):
        known = truth.get(told.id, _Truth(None))
        what = f"change {number}: {told.id} {told.kind}"
        if told.before is not None and not known.tell(told.before, told.at):
            inventions.append(f"{what}, but it was not {told.before} before")
        if not known.tell(told.after, told.at):
            if told.after is None:
                removals.append(f"{what}, but it was there all the time")
            else:
                inventions.append(f"{what}, but it was not {told.after} then")
    faults = [*account.faults, *_fold(account)]
    return Verdict(
        tuple(removals), tuple(inventions), tuple(_missed(account, collection)), tuple(faults)
    )


def _truth(collection: Collection) -> dict[str, _Truth]:
    """Give the states of each requirement that ever was."""
    truth = {id_: _Truth(state_of(row)) for id_, row in collection.rows_at(0).items()}
    for version in collection.history:
        state = None if version.row is None else state_of(version.row)
        truth.setdefault(version.id, _Truth(None)).states.append((version.at, state))
    return truth


def _fold(account: Account) -> Iterable[str]:
    """Fold the changes forward from the first rows, and give where that does not work."""
    rows = dict(account.first)
    for number, told in enumerate(account.told):
        before = None if told.before is None else told.before.material
        after = None if told.after is None else told.after.material
        if rows.pop(told.id, None) != before:
            yield f"change {number}: the one before it did not leave {told.id} like that"
        if before == after:
            yield f"change {number}: {told.id} is as it was"
        if after is not None:
            rows[told.id] = after
    if rows != account.rows:
        yield "the changes do not lead to the rows in the end"


def _missed(account: Account, collection: Collection) -> Iterable[str]:
    """Give the requirements that are not as they truly are in the end."""
    true = {id_: state_of(row).material for id_, row in collection.rows.items()}
    for id_ in sorted(true.keys() | account.rows.keys()):
        if true.get(id_) != account.rows.get(id_):
            yield f"{id_} is {true.get(id_)}, and is held to be {account.rows.get(id_)}"
