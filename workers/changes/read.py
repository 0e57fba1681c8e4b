"""Take in what was read: each page into the diff, each suspect to the witness.

One ``Read`` lives from the claim to the commit. It needs of the platform only two functions that
read, so it knows nothing of HTTP.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import redis
from msgspec import Struct

from workers.changes.commit import Commits, digest_field
from workers.changes.diff import Difference, Write, diff
from workers.changes.event import Causes
from workers.changes.scan import Seen, scan
from workers.changes.witness import Answer, Testimony, Verdict, witness
from workers.contract.errors import UpstreamError, UpstreamRefused
from workers.contract.keyspace import Keyspace
from workers.contract.model import (
    SETTLED,
    Change,
    Due,
    Evidence,
    EvidenceKind,
    Head,
    Kind,
    Page,
    Requirement,
    Row,
    Trigger,
)
from workers.contract.scope import Scope, ScopeKind

_NO_SUCH_PAGE: Final = {400, 404, 422}
_CONTROLS: Final = 3

ReadPages = Callable[[Iterable[int], Callable[[int], bytes | None]], Iterator[Page | UpstreamError]]
ReadMany = Callable[[Iterable[str]], Iterator[Answer]]


class Platform(Struct, frozen=True):
    """How a tenant's platform is read, and what is known of its habits.

    ``due_reasons`` says why members of the timetable are on it, ``due`` which of them this read
    is for; ``lag_ms`` is the lag horizon, ``settle_ms`` when a stale row is read again.
    """

    read_pages: ReadPages
    read_many: ReadMany
    due_reasons: Callable[[Sequence[str]], Mapping[str, Due]]
    due: frozenset[str]
    per_page: int
    lag_ms: int
    settle_ms: int


class Targeted(Struct, frozen=True):
    """What became of single pages.

    ``agreed`` are the pages that held what they were known to hold; ``moved`` says that one did
    not, so that the collection has to be scanned; ``error`` is the first that a page came to.
    """

    agreed: tuple[int, ...]
    moved: bool
    error: UpstreamError | None


class Read:
    """What one round reads of a tenant, gathered for its commits."""

    def __init__(
        self,
        store: redis.Redis,
        keys: Keyspace,
        head: Head,
        causes: Causes,
        commits: Commits,
        platform: Platform,
        now_ms: Callable[[], int],
    ) -> None:
        self.again: dict[str, tuple[int, Due]] = {}
        """Scopes to read again: time in ms, and why."""
        self.resolved: set[str] = set()
        """Scopes about which nothing is left to ask."""
        self.stats: Counter[str] = Counter()
        self._store = store
        self._keys = keys
        self._head = head
        self._causes = causes
        self._commits = commits
        self._read_pages = platform.read_pages
        self._read_many = platform.read_many
        self._due_reasons = platform.due_reasons
        self._due = platform.due
        self._missing_ms: dict[str, int] = {}
        self._same_paging = head.per_page == platform.per_page
        self._lag_ms = platform.lag_ms
        self._settle_ms = platform.settle_ms
        self._now_ms = now_ms
        self._sighted: dict[str, Page] = {}
        self._controls: list[str] = []
        self._digests: Mapping[int, bytes] = {}

    def scan(self) -> Seen:
        """Read the whole collection."""
        last = -(-(self._head.total or 0) // max(self._head.per_page, 1))
        self._remember_digests(range(1, last + 2))
        return scan(lambda numbers: self._read_pages(numbers, self._digests.get), self._take)

    def target(self, expected: Mapping[int, Iterable[str]]) -> Targeted:
        """Read single pages; ask for ids that were expected there and are not, if nothing moved."""
        self._remember_digests(expected)
        agreed: list[int] = []
        suspects: list[str] = []
        moved, failed = False, None
        for number, page in zip(
            expected, self._read_pages(expected, self._digests.get), strict=True
        ):
            if isinstance(page, UpstreamRefused) and number > 1 and page.status in _NO_SUCH_PAGE:
                moved = True  # the collection has shrunk, and the list refuses what is past its end
                continue
            if isinstance(page, UpstreamError):
                failed = failed or page
                continue
            known = set(self._commits.page_ids(number))
            ids, intact = self._take_in(page)
            same_place = page.number == number and page.total_results == self._head.total
            if same_place and set(ids) == known:
                agreed.append(number)
                suspects += [id_ for id_ in expected[number] if id_ not in known]
                if page.rows is not None:
                    self._commits.index_page(page, ids, intact=intact)
            else:
                moved = True
        if not moved:
            self.question(suspects)
        return Targeted(tuple(agreed), moved, failed)

    def question(self, suspects: Iterable[str]) -> None:
        """Ask for known rows that were not seen, by id, and take in what comes of it."""
        rows, _ = self._commits.lookup(list(suspects))
        if not rows:
            return
        reasons = self._due_reasons([_member(id_) for id_ in rows])
        for id_ in rows:
            why = reasons.get(_member(id_))
            if why is not None and why.missing_ms is not None:
                self._missing_ms[id_] = why.missing_ms
        testimonies = witness(
            rows,
            self._missing_ms,
            self._read_many,
            self._control,
            now_ms=self._now_ms(),
            lag_ms=self._lag_ms,
        )
        for testimony in testimonies:
            self._take_testimony(testimony)

    def confirm(self) -> None:
        """Ask for removed requirements that were sighted, by id, and take back what is there."""
        _, tombstones = self._commits.lookup(list(self._sighted))
        horizon_ms = self._now_ms() - self._lag_ms
        old_enough = []
        for id_, tombstone in tombstones.items():
            if tombstone.removed_ms > horizon_ms:
                self._ask_again(id_, tombstone.removed_ms + self._lag_ms, None)
            else:
                old_enough.append(id_)
        for id_, answer in zip(old_enough, self._read_many(old_enough), strict=True):
            if isinstance(answer, Requirement):
                evidence = Evidence(EvidenceKind.FOUND, self._now_ms())
                row = Row(answer, self._sighted[id_].number, evidence.at_ms)
                change = Change(Kind.RESTORED, id_, None, answer, evidence)
                self._commits.restore(row, change)
                self.resolved.add(_member(id_))
            elif isinstance(answer, UpstreamError) and not isinstance(answer, UpstreamRefused):
                self._ask_again(id_, self._now_ms() + self._lag_ms, None)

    # --- taking in ------------------------------------------------------------------------------

    def _take(self, page: Page) -> list[str]:
        """Take a page of a scan in and index it; give the ids it holds."""
        ids, intact = self._take_in(page)
        if page.rows is not None:
            self._commits.index_page(page, ids, intact=intact)
        return ids

    def _take_in(self, page: Page) -> tuple[list[str], bool]:
        """Take a page's rows in: (the ids it holds, whether every row was taken as served)."""
        if page.rows is None:
            self.stats["pages_unchanged"] += 1
            ids = self._commits.page_ids(page.number)
            self._offer_controls(ids)
            return ids, True
        served = [row.id for row in page.rows]
        rows, tombstones = self._commits.lookup(served)
        difference = diff(
            page.rows,
            rows,
            tombstones,
            page=page.number,
            at_ms=page.started_ms,
            baseline_ms=self._head.baseline_ms,
        )
        self._commits.stage(difference)
        self._sighted |= dict.fromkeys(difference.sighted, page)
        for id_ in difference.stale:
            if _member(id_) in self._due:
                continue  # it was read again already: what is left is for the timed scan
            self._ask_again(id_, self._now_ms() + self._settle_ms, rows[id_].requirement)
        self.stats["stale"] += len(difference.stale)
        self.stats["misfits"] += len(page.misfits)
        self._offer_controls([id_ for id_ in served if id_ in rows])
        ids = list(dict.fromkeys([*served, *filter(None, (misfit.id for misfit in page.misfits))]))
        return ids, not (difference.stale or difference.sighted or page.misfits)

    def _take_testimony(self, testimony: Testimony) -> None:
        row, now_ms = testimony.row, self._now_ms()
        known = row.requirement
        missing_ms = self._missing_ms.get(known.id)
        match testimony.verdict:
            case Verdict.REMOVED:
                evidence = Evidence(EvidenceKind.NOT_FOUND, now_ms)
                self._commits.remove(row, Change(Kind.REMOVED, known.id, known, None, evidence))
            case Verdict.HEALED if testimony.found is not None:
                self._heal(row, testimony.found)
            case Verdict.REFUSED:
                self.stats["witness_refused"] += 1
            case Verdict.TOO_YOUNG:
                self._ask_again(known.id, row.first_seen_ms + self._lag_ms, known)
                return
            case Verdict.UNCONTROLLED:
                first_ms = missing_ms or now_ms
                self._ask_again(known.id, first_ms + self._lag_ms, known, first_ms)
                return
            case Verdict.UNKNOWN:
                self._ask_again(known.id, now_ms + self._lag_ms, known, missing_ms)
                return
        self.resolved.add(_member(known.id))

    def _heal(self, row: Row, found: Requirement) -> None:
        """Take in a row that only the read by id showed; on which page it is, nobody knows."""
        self.stats["healed"] += 1
        if found.version_us < row.requirement.version_us:
            return
        changes: tuple[Change, ...] = ()
        if not found.same_material(row.requirement):
            evidence = Evidence(EvidenceKind.FOUND, self._now_ms())
            changes = (Change(Kind.UPDATED, found.id, row.requirement, found, evidence),)
        write = Write(Row(found, 0, row.first_seen_ms), row)
        self._commits.stage(Difference((write,), changes, (), ()))

    def _ask_again(
        self, id_: str, at_ms: int, known: Requirement | None, missing_ms: int | None = None
    ) -> None:
        """Put a requirement on the timetable, for the notifications that led to this read."""
        cause = self._causes.of(id_, known)
        why = Due(
            Trigger.SETTLE, SETTLED, cause.notifications, cause.notification_count, missing_ms
        )
        self.again[_member(id_)] = (at_ms, why)

    def _offer_controls(self, ids: Iterable[str]) -> None:
        """Remember a few known rows that this read showed."""
        self._controls = [*self._controls, *ids][:_CONTROLS]

    def _control(self) -> list[str]:
        """Give known rows that this read showed; look at the first page if it showed none."""
        if not self._controls:
            for page in self._read_pages([1], lambda _: None):
                if isinstance(page, Page):
                    self._take_in(page)
        return self._controls

    def _remember_digests(self, numbers: Iterable[int]) -> None:
        """Look up the body digests of pages, unless they were made with another ``perPage``."""
        wanted = list(numbers)
        if not self._same_paging or not wanted:
            return
        fields = [digest_field(number) for number in wanted]
        found: Any = self._store.hmget(self._keys.pages, fields)
        self._digests = {
            number: digest
            for number, digest in zip(wanted, found, strict=True)
            if digest is not None
        }


def _member(id_: str) -> str:
    """Give the member of the timetable that stands for a requirement."""
    return str(Scope(ScopeKind.REQUIREMENT, id_))
