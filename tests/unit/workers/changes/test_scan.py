"""A scan ends where the live list ends, and says what it saw, never that something is gone."""

from collections.abc import Callable, Iterable, Iterator

from workers.changes.scan import MOST_PAGES, Seen, scan
from workers.contract.codec import pack_id
from workers.contract.errors import (
    UpstreamError,
    UpstreamRefused,
    UpstreamThrottled,
    UpstreamUnavailable,
)
from workers.contract.model import Page, Requirement

Answer = Page | UpstreamError


def id_of(number: int) -> str:
    """Give the id of a row."""
    return f"{number:024x}"


def page(number: int, rows: Iterable[int], *, total: int, pages: int) -> Page:
    """Give a page with these rows and live totals."""
    served = tuple(Requirement(id_of(row), "b" * 24, 1, 0, None) for row in rows)
    return Page(number, total, pages, b"", 0, served)


class Scanned:
    """One scan of a list that a function serves: what was asked for, taken, and seen."""

    def __init__(self, serve: Callable[[int], Answer]) -> None:
        self.asked: list[int] = []
        self.taken: list[int] = []
        self._serve = serve
        self.seen: Seen = scan(self._read, self._take)

    def _read(self, numbers: Iterable[int]) -> Iterator[Answer]:
        for number in numbers:
            self.asked.append(number)
            yield self._serve(number)

    def _take(self, taken: Page) -> list[str]:
        self.taken.append(taken.number)
        return [row.id for row in taken.rows or ()]


def in_pages(pages: dict[int, Answer], otherwise: Answer | None = None) -> Scanned:
    """Scan a list that stands still."""
    return Scanned(lambda number: pages[number] if number in pages else otherwise or pages[0])


def ids(*numbers: int) -> set[bytes]:
    """Give what a scan remembers of rows."""
    return {pack_id(id_of(number)) for number in numbers}


def test_one_page_is_read_once() -> None:
    """A collection of one page costs one request."""
    scanned = in_pages({1: page(1, [1, 2], total=2, pages=1)})
    assert scanned.asked == [1]
    assert scanned.seen == Seen(ids(1, 2), 2, 1)
    assert scanned.seen.complete


def test_empty_list_is_complete() -> None:
    """A list without rows is read whole, whether it counts none or one page."""
    for pages in (0, 1):
        scanned = in_pages({1: page(1, [], total=0, pages=pages)})
        assert (scanned.asked, scanned.seen.ids, scanned.seen.complete) == ([1], set(), True)


def test_short_page_does_not_end_it() -> None:
    """The live ``totalPages`` is the end, however few rows a page before it has."""
    scanned = in_pages({n: page(n, [n], total=3, pages=3) for n in (1, 2, 3)})
    assert scanned.asked == [1, 2, 3]
    assert scanned.seen.ids == ids(1, 2, 3)


def test_growing_list_is_followed() -> None:
    """What is added while the scan goes on is read too."""
    scanned = in_pages(
        {
            1: page(1, [1, 2], total=4, pages=2),
            2: page(2, [3, 4], total=5, pages=3),
            3: page(3, [5, 6], total=7, pages=4),
            4: page(4, [7], total=7, pages=4),
        }
    )
    assert scanned.asked == [1, 2, 3, 4]
    assert (scanned.seen.total, scanned.seen.pages) == (7, 4)


def test_missing_rows_are_looked_for_until_an_empty_page() -> None:
    """While the live total promises more rows, the scan goes on to an empty page."""
    scanned = in_pages(
        {
            1: page(1, [1, 2], total=5, pages=1),
            2: page(2, [3], total=5, pages=1),
            3: page(3, [], total=5, pages=1),
        }
    )
    assert scanned.asked == [1, 2, 3]
    assert scanned.seen.ids == ids(1, 2, 3)
    assert scanned.seen.complete


def test_list_that_answers_with_its_last_page_has_ended() -> None:
    """Past its end some lists serve their last page again: that is taken for an empty one."""
    last = page(1, [1, 2], total=5, pages=1)
    scanned = in_pages({1: last}, last)
    assert (scanned.asked, scanned.taken) == ([1, 2], [1])
    assert (scanned.seen.pages, scanned.seen.complete) == (1, True)


def test_list_that_refuses_past_its_end_has_ended() -> None:
    """Past its end some lists refuse: the scan is complete all the same."""
    scanned = in_pages({1: page(1, [1], total=5, pages=1)}, UpstreamRefused("no", status=404))
    assert scanned.asked == [1, 2]
    assert scanned.seen.complete


def test_shrinking_list_that_refuses_has_ended() -> None:
    """A page that was there when the scan began may be past the end by now."""
    scanned = in_pages(
        {1: page(1, [1], total=3, pages=3), 2: page(2, [2], total=2, pages=2)},
        UpstreamRefused("no", status=404),
    )
    assert scanned.asked == [1, 2, 3]
    assert scanned.seen.complete
    assert (scanned.seen.pages, scanned.seen.total) == (2, 2)


def test_refused_page_within_the_list_ends_it_incomplete() -> None:
    """A page that must be there and is refused leaves the scan incomplete."""
    refused = UpstreamRefused("no", status=403)
    scanned = in_pages({1: page(1, [1], total=3, pages=3)}, refused)
    assert scanned.asked == [1, 2]
    assert scanned.seen.error is refused


def test_first_page_refused_is_incomplete() -> None:
    """When the very first page is refused nothing is complete."""
    assert not in_pages({}, UpstreamRefused("no", status=403)).seen.complete


def test_error_stops_the_scan_and_keeps_what_was_taken() -> None:
    """The first page that cannot be had ends the scan; what was taken stays."""
    for error in (UpstreamUnavailable("no"), UpstreamThrottled("no", retry_after_s=1)):
        scanned = in_pages(
            {
                1: page(1, [1], total=4, pages=4),
                2: page(2, [2], total=4, pages=4),
                3: error,
                4: page(4, [4], total=4, pages=4),
            }
        )
        assert scanned.taken == [1, 2]
        assert (scanned.seen.ids, scanned.seen.error) == (ids(1, 2), error)
        assert not scanned.seen.complete


def test_error_past_the_end_is_incomplete() -> None:
    """When nobody can say whether more follows, the scan is not complete."""
    scanned = in_pages({1: page(1, [1], total=5, pages=1)}, UpstreamUnavailable("no"))
    assert not scanned.seen.complete


def test_repeated_row_counts_once() -> None:
    """A row that moved onto the next page while it was read is one row."""
    scanned = in_pages({1: page(1, [1, 2], total=3, pages=2), 2: page(2, [2, 3], total=3, pages=2)})
    assert scanned.seen.ids == ids(1, 2, 3)


def test_list_without_an_end_is_not_believed() -> None:
    """A list that claims more pages than anybody has is given up."""
    scanned = in_pages({1: page(1, [1], total=1, pages=MOST_PAGES + 1)})
    assert scanned.asked == [1]
    assert isinstance(scanned.seen.error, UpstreamUnavailable)
