"""Follow up known rows that a read did not show, and removed ones that it did.

Absence makes a suspect, and no more. Suspects are asked for by id, unless the brake holds them
back; what a removed requirement's sighting means, a read by id says as well.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

import redis
from msgspec import Struct

from workers.changes.agenda import Agenda, member
from workers.changes.brake import hold, strength
from workers.changes.commit import Commits, Suspended
from workers.changes.diff import Difference, Write
from workers.changes.unseen import Unseen, compare
from workers.changes.witness import Answer, Testimony, Verdict, witness
from workers.contract.codec import (
    brake_fields,
    pack_id,
    pack_set,
    read_brake,
    unpack_id,
    unpack_set,
)
from workers.contract.errors import UpstreamError
from workers.contract.keyspace import Keyspace
from workers.contract.logs import get_logger
from workers.contract.model import (
    Brake,
    Change,
    Due,
    Evidence,
    EvidenceKind,
    Kind,
    Requirement,
    Row,
    Strength,
)

LONGEST_ASKING_MS: Final = 20_000
"""Suspects that could not be asked for within this are left to the next round."""
_AT_ONCE: Final = 32
_LATER_MS: Final = 1_000

ReadMany = Callable[[Iterable[str]], Iterator[Answer]]
log = get_logger(__name__)


class Inquiry(Struct, frozen=True):
    """How suspects of a tenant are asked for.

    ``due`` are the members of the timetable that this read is for, ``due_reasons`` says why others
    are on it; ``lag_ms`` is the lag horizon; ``pace_ms`` how far requests are apart, all in all;
    ``remove_unseen`` lets two scans remove where reads by id are refused.
    """

    read_many: ReadMany
    due: frozenset[str]
    due_reasons: Callable[[Sequence[str]], Mapping[str, Due]]
    lag_ms: int
    pace_ms: float
    remove_unseen: bool


class Suspects:
    """The suspects and sightings of one read."""

    def __init__(
        self,
        store: redis.Redis,
        keys: Keyspace,
        commits: Commits,
        agenda: Agenda,
        inquiry: Inquiry,
        control: Callable[[], list[str] | None],
        now_ms: Callable[[], int],
    ) -> None:
        self.open = False
        """Whether there is anything whose fate this read leaves open."""
        self.left: set[str] = set()
        """What was due to be asked for, and stays so: there was no time for it."""
        self.brake: Brake | None = None
        self.unseen: Unseen | None = None
        """What is to be stored of both; looked up when it is first needed."""
        self._store = store
        self._keys = keys
        self._commits = commits
        self._agenda = agenda
        self._inquiry = inquiry
        self._control = control
        self._now_ms = now_ms
        self._asked: set[str] = set()
        self._postponed = 0
        self._until_ms: int | None = None
        self._sighted: dict[str, int] = {}
        self._looked = False
        self._judged = False
        self._was_released = False

    @property
    def suspended(self) -> Suspended | None:
        """Give what is to be stored of brake and unseen rows; None where no scan was judged."""
        if not self._judged:
            return None
        unseen = self.unseen
        return Suspended(
            {} if self.brake is None else brake_fields(self.brake),
            {} if unseen is None else {"scan_ms": unseen.scan_ms, "ids": pack_set(unseen.ids)},
            was_released=self._was_released,
        )

    def sight(self, ids: Iterable[str], page: int) -> None:
        """Note that removed requirements were served."""
        for id_ in ids:
            self._sighted.setdefault(id_, page)

    def after_scan(
        self, suspects: frozenset[bytes], rows: int, scan_ms: int, *, drifted: bool
    ) -> None:
        """Deal with what a complete scan did not show; the brake goes first.

        Keys: brake, unseen.
        """
        self._look()
        self._judged, engaged = True, self.brake
        let_go = self._let_go(suspects)
        free, self.brake = hold(
            suspects - let_go, rows, engaged, scan_ms=scan_ms, lag_ms=self._inquiry.lag_ms
        )
        self._tell(engaged)
        if self.brake is not None:
            self.open = True
            self._agenda.stats["held"] += 1
            # What is held anew waits for the timed scan: some lists leave others out each time.
            if self.brake.strength is Strength.SCAN and self.brake.since_ms == self.brake.scan_ms:
                self._agenda.scan(self.brake.scan_ms + self._inquiry.lag_ms)
        refused = self._question(unpack_id(packed) for packed in sorted(free | let_go))
        self._compare(frozenset(map(pack_id, refused)), scan_ms, drifted=drifted)

    def ask(self, ids: Collection[str]) -> None:
        """Ask for single requirements by id: suspects that are known, sightings that are not."""
        if not ids:
            return
        self._look()
        held = frozenset() if self.brake is None else self.brake.ids
        fresh = [id_ for id_ in ids if id_ not in self._asked and id_ not in self._sighted]
        rows, tombstones = self._commits.lookup(fresh)
        self.sight(tombstones, 0)
        for id_ in fresh:
            if id_ not in rows and id_ not in tombstones:
                self._agenda.resolve(id_)
        self.open |= any(pack_id(id_) in held for id_ in rows)
        self._question(id_ for id_ in rows if pack_id(id_) not in held)

    def confirm(self) -> None:
        """Ask for removed requirements that were sighted, by id, and take back what is there."""
        _, tombstones = self._commits.lookup(list(self._sighted))
        horizon_ms = self._now_ms() - self._inquiry.lag_ms
        old_enough = []
        for id_, tombstone in tombstones.items():
            if tombstone.removed_ms > horizon_ms:
                again_ms = tombstone.removed_ms + self._inquiry.lag_ms
                self._agenda.ask(id_, again_ms, None, by_id=True)
            else:
                old_enough.append(id_)
        for chunk in self._in_time(dict.fromkeys(old_enough)):
            for id_, answer in zip(chunk, self._inquiry.read_many(chunk), strict=True):
                self._take_back(id_, answer)

    def _take_back(self, id_: str, answer: Answer) -> None:
        if isinstance(answer, UpstreamError):
            again_ms = self._now_ms() + self._inquiry.lag_ms
            self._agenda.ask(id_, again_ms, None, by_id=True)
            return
        if answer is not None:
            evidence = Evidence(EvidenceKind.FOUND, self._now_ms())
            row = Row(answer, self._sighted[id_], evidence.at_ms)
            self._commits.restore(row, Change(Kind.RESTORED, id_, None, answer, evidence))
        self._agenda.resolve(id_)

    # --- asking -----------------------------------------------------------------------------

    def _question(self, suspects: Iterable[str]) -> list[str]:
        """Ask for suspects by id, some at a time; give those about whom we are not answered."""
        refused: list[str] = []
        told = True
        waiting = iter(suspects)
        while chunk := list(islice(waiting, _AT_ONCE)):
            rows, _ = self._commits.lookup(chunk)
            self._agenda.stats["suspects"] += len(rows)
            self._asked |= set(rows)
            if not told:
                refused += rows
                continue
            for some in self._in_time({id_: row.requirement for id_, row in rows.items()}):
                without = self._hear({id_: rows[id_] for id_ in some})
                refused += without
                told = len(without) < len(some)  # a whole chunk tells for all that follow
        self._agenda.stats["witness_refused"] += len(refused)
        return refused

    def _in_time(self, asked: Mapping[str, Requirement | None]) -> Iterator[list[str]]:
        """Give what there is time to ask for, some at a time, and put the rest on the timetable.

        What is on it already stays there as it is; what is not comes as the budget will allow.
        """
        if self._until_ms is None:
            self._until_ms = self._now_ms() + LONGEST_ASKING_MS
        waiting = iter(asked)
        while chunk := list(islice(waiting, _AT_ONCE)):
            if self._now_ms() <= self._until_ms:
                yield chunk
                continue
            self.open = True
            for id_ in chunk:
                if member(id_) in self._inquiry.due:
                    self.left.add(id_)
                    continue
                self._postponed += 1
                wait_ms = _LATER_MS + int(self._postponed * self._inquiry.pace_ms)
                self._agenda.ask(id_, self._now_ms() + wait_ms, asked[id_], by_id=True)

    def _hear(self, rows: Mapping[str, Row]) -> list[str]:
        """Take in what becomes of some suspects; give those we are refused an answer about."""
        reasons = self._inquiry.due_reasons([member(id_) for id_ in rows])
        missing_ms = {
            id_: why.missing_ms
            for id_ in rows
            if (why := reasons.get(member(id_))) is not None and why.missing_ms is not None
        }
        testimonies = witness(
            rows,
            missing_ms,
            self._inquiry.read_many,
            self._control,
            now_ms=self._now_ms(),
            lag_ms=self._inquiry.lag_ms,
        )
        for testimony in testimonies:
            self._take(testimony, missing_ms.get(testimony.row.requirement.id))
        return [
            heard.row.requirement.id for heard in testimonies if heard.verdict is Verdict.REFUSED
        ]

    def _take(self, testimony: Testimony, missing_ms: int | None) -> None:
        row, now_ms, lag_ms = testimony.row, self._now_ms(), self._inquiry.lag_ms
        known = row.requirement
        match testimony.verdict:
            case Verdict.REMOVED:
                self._remove(row, EvidenceKind.NOT_FOUND)
            case Verdict.HEALED if testimony.found is not None:
                self._heal(row, testimony.found)
            case Verdict.REFUSED:
                self.open = True  # the next scan misses it again
            case Verdict.TOO_YOUNG:
                self._leave(known, row.since_ms + lag_ms, None)
                return
            case Verdict.UNCONTROLLED:
                first_ms = missing_ms or now_ms
                self._leave(known, first_ms + lag_ms, first_ms)
                return
            case Verdict.UNKNOWN:
                self._leave(known, now_ms + lag_ms, missing_ms)
                return
        self._agenda.resolve(known.id)

    def _leave(self, known: Requirement, at_ms: int, missing_ms: int | None) -> None:
        self.open = True
        self._agenda.ask(known.id, at_ms, known, by_id=True, missing_ms=missing_ms)

    def _remove(self, row: Row, kind: EvidenceKind) -> None:
        known = row.requirement
        evidence = Evidence(kind, self._now_ms())
        self._commits.remove(row, Change(Kind.REMOVED, known.id, known, None, evidence))

    def _heal(self, row: Row, found: Requirement) -> None:
        """Take in a row that only the read by id showed; on which page it is, nobody knows."""
        self._agenda.stats["healed"] += 1
        if found.version_us < row.requirement.version_us:
            return
        changes: tuple[Change, ...] = ()
        if not found.same_material(row.requirement):
            evidence = Evidence(EvidenceKind.FOUND, self._now_ms())
            changes = (Change(Kind.UPDATED, found.id, row.requirement, found, evidence),)
        since_ms = row.since_ms if found == row.requirement else self._now_ms()
        write = Write(Row(found, 0, since_ms), row)
        self._commits.stage(Difference((write,), changes, (), ()))

    # --- brake, and two scans where nobody answers by id --------------------------------------

    def _look(self) -> None:
        if self._looked:
            return
        self._looked = True
        pipe = self._store.pipeline(transaction=False)
        pipe.hgetall(self._keys.brake)
        pipe.hgetall(self._keys.unseen)
        brake, unseen = pipe.execute()
        self.brake = read_brake(brake)
        self._was_released = self.brake is not None and self.brake.released
        if unseen:
            self.unseen = Unseen(int(unseen[b"scan_ms"]), unpack_set(unseen[b"ids"]))

    def _let_go(self, suspects: frozenset[bytes]) -> frozenset[bytes]:
        """Give those that the brake let go before: they are being asked for, or were refused."""
        if strength(len(suspects), 0) is None:
            return frozenset()
        members = {member(unpack_id(packed)): packed for packed in suspects}
        reasons = self._inquiry.due_reasons(list(members))
        asked_for = frozenset(members[one] for one, why in reasons.items() if why.by_id)
        return asked_for if self.unseen is None else asked_for | (self.unseen.ids & suspects)

    def _tell(self, before: Brake | None) -> None:
        bound = log.bind(tenant=self._keys.tenant)
        if self.brake is None:
            if before is not None:
                bound.warning("brake.disengaged", held=len(before.ids))
            return
        say = bound.warning if self.brake.strength is Strength.SCAN else bound.error
        say(
            "brake.engaged",
            held=len(self.brake.ids),
            rows=self.brake.rows,
            waits_for=str(self.brake.strength),
        )

    def _compare(self, refused: frozenset[bytes], scan_ms: int, *, drifted: bool) -> None:
        """Let two scans remove what neither showed, where an operator opted in to that."""
        lag_ms = self._inquiry.lag_ms
        if not self._inquiry.remove_unseen:
            self.unseen = Unseen(scan_ms, refused) if refused else None
            return
        agreed, self.unseen = compare(
            refused, self.unseen, scan_ms=scan_ms, lag_ms=lag_ms, drifted=drifted
        )
        rows, _ = self._commits.lookup([unpack_id(packed) for packed in sorted(agreed)])
        for row in rows.values():
            self._remove(row, EvidenceKind.TWO_SCANS)
        if self.unseen is not None:
            self._agenda.scan(max(self.unseen.scan_ms, scan_ms) + lag_ms)
