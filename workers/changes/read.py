"""Take in what was read: each page into the diff, what is missing or back to the suspects.

One ``Read`` lives from the claim to the commit. It needs of the platform only functions that
read, so it knows nothing of HTTP.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import redis
from msgspec import Struct

from workers.changes.agenda import Agenda, member
from workers.changes.commit import Commits, digest_field
from workers.changes.diff import diff
from workers.changes.quarantine import Quarantine
from workers.changes.scan import Seen, scan
from workers.changes.suspects import Inquiry, Suspects
from workers.contract.codec import unpack_id
from workers.contract.errors import UpstreamError, UpstreamRefused
from workers.contract.keyspace import Keyspace
from workers.contract.model import Head, Page
from workers.contract.scope import COLLECTION

_NO_SUCH_PAGE: Final = {400, 404, 422}
_CONTROLS: Final = 3

ReadPages = Callable[[Iterable[int], Callable[[int], bytes | None]], Iterator[Page | UpstreamError]]


class Platform(Struct, frozen=True):
    """How a tenant's platform is read, and what is known of its habits.

    ``due`` are the members of the timetable this read is for; ``settle_ms`` is when a stale row
    is read again.
    """

    read_pages: ReadPages
    inquiry: Inquiry
    due: frozenset[str]
    per_page: int
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
        commits: Commits,
        agenda: Agenda,
        platform: Platform,
        now_ms: Callable[[], int],
    ) -> None:
        self.quarantine = Quarantine(store, keys)
        self.suspects = Suspects(
            store, keys, commits, agenda, platform.inquiry, self._control, now_ms
        )
        self._store = store
        self._keys = keys
        self._head = head
        self._commits = commits
        self._agenda = agenda
        self._platform = platform
        self._same_paging = head.per_page == platform.per_page
        self._now_ms = now_ms
        self._controls: list[str] = []
        self._digests: dict[int, bytes] = {}

    def scan(self, started_ms: int) -> Seen:
        """Read the whole collection, and follow up what it did not show."""
        head = self._head
        last = -(-(head.total or 0) // max(head.per_page, 1)) if self._same_paging else 0
        self._remember_digests(range(1, last + 2))
        seen = scan(self._read_pages, self._take, ascending=head.ascending, last=last)
        if not seen.complete:
            return seen
        self._agenda.stats["scans"] += 1
        self._agenda.stats["drifted"] += seen.drifted
        self.quarantine.free_unseen()
        known = seen.ids if head.baseline_ms is None else self._follow_up(seen, started_ms)
        if seen.drifted and len(known) < seen.total and str(COLLECTION) not in self._platform.due:
            self._agenda.scan(self._now_ms() + self._platform.settle_ms)  # new rows slipped away
        return seen

    def target(self, expected: Mapping[int, Iterable[str]]) -> Targeted:
        """Read single pages; ask for ids that were expected there and are not, if nothing moved."""
        self._remember_digests(expected)
        agreed: list[int] = []
        suspects: list[str] = []
        moved, failed = False, None
        for number, page in zip(expected, self._read_pages(expected), strict=True):
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
                self._commits.spoil_page(number)
        if not moved:
            self.suspects.ask(suspects)
        return Targeted(tuple(agreed), moved, failed)

    # --- taking in ------------------------------------------------------------------------------

    def _read_pages(self, numbers: Iterable[int]) -> Iterator[Page | UpstreamError]:
        return self._platform.read_pages(numbers, self._digests.get)

    def _follow_up(self, seen: Seen, started_ms: int) -> set[bytes]:
        """Have the suspects dealt with, and what was seen on unchanged pages and is not known.

        Returns:
            The packed ids of the snapshot as it was then.
        """
        known = self._commits.known()
        strangers = {unpack_id(packed) for packed in seen.ids - known} - self.quarantine.ids
        self.suspects.sight(strangers, 0)
        missing = frozenset(known - seen.ids)
        self.suspects.after_scan(missing, len(known), started_ms, drifted=seen.drifted)
        return known

    def _take(self, page: Page) -> list[str]:
        """Take a page of a scan in and index it; give the ids it holds."""
        ids, intact = self._take_in(page)
        if page.rows is not None:
            self._commits.index_page(page, ids, intact=intact)
            if intact:  # a second pass recognises it
                self._digests[page.number] = page.digest
            else:
                self._digests.pop(page.number, None)
        return ids

    def _take_in(self, page: Page) -> tuple[list[str], bool]:
        """Take a page's rows in: (the ids it holds, whether every row was taken as served)."""
        stats = self._agenda.stats
        if page.rows is None:
            stats["pages_unchanged"] += 1
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
            seen_ms=self._now_ms(),
            baseline_ms=self._head.baseline_ms,
        )
        self._commits.stage(difference)
        self.suspects.sight(difference.sighted, page.number)
        self.quarantine.note(page, self._now_ms())
        for id_ in difference.stale:
            if member(id_) in self._platform.due:
                continue  # it was read again already: what is left is for the timed scan
            again_ms = self._now_ms() + self._platform.settle_ms
            self._agenda.ask(id_, again_ms, rows[id_].requirement, by_id=False)
        stats["stale"] += len(difference.stale)
        stats["misfits"] += len(page.misfits)
        self._offer_controls([id_ for id_ in served if id_ in rows])
        misfits = (misfit.id for misfit in page.misfits if misfit.id)
        ids = list(dict.fromkeys([*served, *misfits]))
        return ids, not (difference.stale or difference.sighted or page.misfits)

    def _offer_controls(self, ids: Iterable[str]) -> None:
        """Remember a few known rows that this read showed."""
        self._controls = [*self._controls, *ids][:_CONTROLS]

    def _control(self) -> list[str] | None:
        """Give known rows that this read showed; look at the first page if it showed none.

        That page is not taken in: what it shows may be newer than what suspects are judged by.

        Returns:
            No row only where the list is empty; None where none is known to be there.
        """
        if self._controls:
            return self._controls
        for page in self._read_pages([1]):
            if isinstance(page, UpstreamError):
                return None
            if page.rows is None:
                self._offer_controls(self._commits.page_ids(page.number))
            else:
                known, _ = self._commits.lookup([row.id for row in page.rows])
                self._offer_controls(known)
            if page.total_results:
                return self._controls or None
        return self._controls

    def _remember_digests(self, numbers: Iterable[int]) -> None:
        """Look up the body digests of pages, unless they were made with another ``perPage``."""
        wanted = list(numbers)
        if not self._same_paging or not wanted:
            return
        fields = [digest_field(number) for number in wanted]
        found: Any = self._store.hmget(self._keys.pages, fields)
        self._digests |= {
            number: digest
            for number, digest in zip(wanted, found, strict=True)
            if digest is not None
        }
