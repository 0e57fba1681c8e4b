"""Read the whole collection, page by page, and say what was seen.

Pages are numbered, their order is the platform's own affair, and rows move while they are read;
so a scan says what it saw and whether the list moved under it, and never that something is gone.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Final

from msgspec import Struct

from workers.contract.codec import pack_id
from workers.contract.errors import UpstreamError, UpstreamRefused, UpstreamUnavailable
from workers.contract.model import Page, Requirement

MOST_PAGES: Final = 100_000
"""A list that claims to be longer is not believed."""

ReadPages = Callable[[Iterable[int]], Iterator[Page | UpstreamError]]
Take = Callable[[Page], list[str]]


class Seen(Struct):
    """What a scan saw so far: packed ids, the live totals, and what went wrong.

    ``ascending`` says that the list was ordered by ``createdAt``, so that new rows come last;
    ``drifted`` that it moved while it was read.
    """

    ids: set[bytes]
    total: int = 0
    pages: int = 0
    ascending: bool = False
    drifted: bool = False
    error: UpstreamError | None = None

    @property
    def complete(self) -> bool:
        """Tell whether every page was read."""
        return self.error is None


def scan(read_pages: ReadPages, take: Take, *, ascending: bool, last: int) -> Seen:
    """Read all pages, and all of them once more the other way if the list moved meanwhile.

    Args:
        read_pages: Reads pages by number and gives them in that order.
        take: Takes a page in, and gives the ids it holds.
        ascending: Whether the list was ordered by ``createdAt`` when last seen. If so it is read
            from its last page to its first: then a deletion makes rows come twice, where from
            first to last it would make one be skipped.
        last: The last page when last seen, 0 when not known.

    There is no third pass: a list that never stands still would be read for ever, and that two
    passes agree proves nothing. The first page that cannot be had ends the scan: what was taken
    stays, and the scan is not complete.
    """
    seen = Seen(set(), ascending=ascending)
    backward = ascending and last > 1
    first = _Pass(read_pages, take, seen)
    first.go(last if backward else 0)
    seen.ascending = first.ordered and (ascending or first.decoded)
    seen.drifted = first.drifted or (ascending and not first.ordered)
    if seen.complete and seen.drifted:
        _Pass(read_pages, take, seen).go(0 if backward else seen.pages)
    return seen


class _Pass:
    """One reading of the list in one direction, with an eye on whether it moves."""

    def __init__(self, read_pages: ReadPages, take: Take, seen: Seen) -> None:
        self.drifted = False
        self.ordered = True
        self.decoded = True
        self._read_pages = read_pages
        self._take = take
        self._seen = seen
        self._last = 0
        self._total: int | None = None
        self._size: int | None = None
        self._ends_empty = False
        self._before: tuple[int, tuple[Requirement, ...]] | None = None

    def go(self, last: int) -> None:
        """Read all pages: from the last one down if that is given, otherwise from the first up."""
        if not last:
            self._upward()
        elif self._read([last]):
            self._read(range(last + 1, self._last + 1))
            self._read(range(min(last - 1, self._last), 0, -1))
        elif self._seen.complete:
            self._upward()  # it has shrunk, and refuses what is past its end

    def _upward(self) -> None:
        """Read to the live ``totalPages``, never to a short page.

        While fewer rows were seen than the live ``totalResults`` promises, read on to an empty
        page.
        """
        self._last = 1
        number, following = 1, range(1, 2)
        while self._read(following):
            number = following[-1]
            if number < self._last:
                following = range(number + 1, self._last + 1)
            elif len(self._seen.ids) < self._seen.total and not self._ends_empty:
                following = range(number + 1, number + 2)
            else:
                return

    def _read(self, numbers: Iterable[int]) -> bool:
        """Take pages in; tell whether all of them were there."""
        for number, page in zip(numbers, self._read_pages(numbers), strict=True):
            if isinstance(page, UpstreamRefused) and number > self._last:
                return False  # some lists refuse a page past their end
            if isinstance(page, UpstreamError):
                self._seen.error = page
                return False
            self._note(number, page)
            if max(number, self._last) > MOST_PAGES:
                self._seen.error = UpstreamUnavailable("the list has no end")
                return False
        return True

    def _note(self, number: int, page: Page) -> None:
        past = page.number != number  # past the end some lists answer with their last page
        ids = [] if past else [pack_id(id_) for id_ in self._take(page)]
        self._last, self._ends_empty = page.total_pages, not ids
        self._watch(number, page, ids)
        seen = self._seen
        seen.total = page.total_results
        seen.ids.update(ids)
        seen.pages = min(max(number if ids else 0, seen.pages), max(page.total_pages, 1))

    def _watch(self, number: int, page: Page, ids: list[bytes]) -> None:
        """Look for what shows that the list moved: none of it is proof that it did not."""
        if self._total not in {None, page.total_results} or not self._seen.ids.isdisjoint(ids):
            self.drifted = True
        self._total = page.total_results
        if number < page.total_pages:  # all pages but the last are equally long
            size = len(ids) if page.rows is None else len(page.rows) + len(page.misfits)
            self.drifted |= self._size not in {None, size}
            self._size = size
        if page.rows is None:
            self.decoded, self._before = False, None
            return
        rows = page.rows
        if self._before is not None and abs(self._before[0] - number) == 1:
            neighbour = self._before[1]
            rows = (*neighbour[-1:], *rows) if self._before[0] < number else (*rows, *neighbour[:1])
        self.ordered &= all(one.created_us <= two.created_us for one, two in pairwise(rows))
        self._before = (number, page.rows)
