"""Read the whole collection once, page by page, and say what was seen.

Pages are numbered, their order is the platform's own affair, and rows move while they are read;
so a scan says what it saw, and never that something is gone.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from msgspec import Struct

from workers.contract.codec import pack_id
from workers.contract.errors import UpstreamError, UpstreamRefused, UpstreamUnavailable
from workers.contract.model import Page

MOST_PAGES: Final = 100_000
"""A list that claims to be longer is not believed."""


class Seen(Struct):
    """What a scan saw so far: packed ids, the live totals, and what went wrong."""

    ids: set[bytes]
    total: int = 0
    pages: int = 0
    error: UpstreamError | None = None

    @property
    def complete(self) -> bool:
        """Tell whether every page was read."""
        return self.error is None


def scan(
    read_pages: Callable[[Iterable[int]], Iterator[Page | UpstreamError]],
    take: Callable[[Page], list[str]],
) -> Seen:
    """Read all pages from the first to the last.

    Args:
        read_pages: Reads pages by number and gives them in that order.
        take: Takes a page in, and gives the ids it holds.

    The end is the live ``totalPages``, never a short page; while fewer rows were seen than the
    live ``totalResults`` promises, it is an empty page after that. The first page that cannot be
    had ends the scan: what was taken stays, and the scan is not complete.
    """
    seen = Seen(set())
    following: Iterable[int] = [1]
    last = 1
    while True:
        for number, page in zip(following, read_pages(following), strict=True):
            if isinstance(page, UpstreamRefused) and number > last:
                return seen  # some lists refuse a page past their end
            if isinstance(page, UpstreamError):
                seen.error = page
                return seen
            if page.number != number:
                ids: list[str] = []  # past the end: some lists answer with their last page
            else:
                ids = take(page)
                seen.pages = number
            seen.total = page.total_results
            seen.ids.update(pack_id(id_) for id_ in ids)
            last, empty = page.total_pages, not ids
        if number >= MOST_PAGES or last > MOST_PAGES:
            seen.error = UpstreamUnavailable("the list has no end")
            return seen
        if number < last:
            following = range(number + 1, last + 1)
        elif len(seen.ids) < seen.total and not empty:
            following = [number + 1]
        else:
            return seen
