"""A scan ends where the live list ends, and says what it saw, never that something is gone."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

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


def page(
    number: int, rows: Iterable[int], *, total: int, pages: int, created: Sequence[int] = ()
) -> Page:
    """Give a page with these rows and live totals; rows are created in their order otherwise."""
    served = tuple(
        Requirement(id_of(row), "b" * 24, 1, created[place] if created else row, None)
        for place, row in enumerate(rows)
    )
    return Page(number, total, pages, b"", 0, served)


class Scanned:
    """One scan of a list that a function serves: what was asked for, taken, and seen."""

    def __init__(
        self, serve: Callable[[int], Answer], *, ascending: bool = False, last: int = 0
    ) -> None:
        self.asked: list[int] = []
        self.taken: list[int] = []
        self._serve = serve
        self.seen: Seen = scan(self._read, self._take, ascending=ascending, last=last)

    def _read(self, numbers: Iterable[int]) -> Iterator[Answer]:
        for number in numbers:
            self.asked.append(number)
            yield self._serve(number)

    def _take(self, taken: Page) -> list[str]:
        self.taken.append(taken.number)
        rows = (3, 4) if taken.rows is None else ()  # known from its digest
        return [*map(id_of, rows), *(row.id for row in taken.rows or ())]


def in_pages(
    pages: dict[int, Answer],
    otherwise: Answer | None = None,
    *,
    ascending: bool = False,
    last: int = 0,
) -> Scanned:
    """Scan a list of these pages."""
    return Scanned(
        lambda number: pages[number] if number in pages else otherwise or pages[0],
        ascending=ascending,
        last=last,
    )


def in_turn(*answers: tuple[int, Answer], ascending: bool = False, last: int = 0) -> Scanned:
    """Scan a list that moves: each read in turn is of this page, and answered so."""
    turns = iter(answers)

    def serve(number: int) -> Answer:
        expected, answer = next(turns)
        assert number == expected
        return answer

    scanned = Scanned(serve, ascending=ascending, last=last)
    assert not list(turns)
    return scanned


def ids(*numbers: int) -> set[bytes]:
    """Give what a scan remembers of rows."""
    return {pack_id(id_of(number)) for number in numbers}


def test_one_page_is_read_once() -> None:
    """A collection of one page costs one request."""
    scanned = in_pages({1: page(1, [1, 2], total=2, pages=1)})
    assert scanned.asked == [1]
    assert scanned.seen == Seen(ids(1, 2), 2, 1, ascending=True)
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


def test_growing_list_is_followed_and_read_once_more() -> None:
    """What is added while the scan goes on is read too, and all of it the other way."""
    pages: dict[int, Answer] = {
        1: page(1, [1, 2], total=4, pages=2),
        2: page(2, [3, 4], total=5, pages=3),
        3: page(3, [5, 6], total=7, pages=4),
        4: page(4, [7], total=7, pages=4),
    }
    scanned = in_pages(pages)
    assert scanned.asked == [1, 2, 3, 4, 4, 3, 2, 1]
    assert scanned.seen.drifted


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
    assert scanned.asked == [1, 2, 3, 2, 1]
    assert scanned.seen.complete
    assert scanned.seen.drifted


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


def test_list_without_an_end_is_not_believed() -> None:
    """A list that claims more pages than anybody has is given up."""
    scanned = in_pages({1: page(1, [1], total=1, pages=MOST_PAGES + 1)})
    assert scanned.asked == [1]
    assert isinstance(scanned.seen.error, UpstreamUnavailable)


# --- direction ----------------------------------------------------------------------------------

STILL: Final[dict[int, Answer]] = {
    1: page(1, [1, 2], total=5, pages=3),
    2: page(2, [3, 4], total=5, pages=3),
    3: page(3, [5], total=5, pages=3),
}


def test_append_only_list_is_read_from_its_end() -> None:
    """What looked append-only is read last page to first, so that a deletion skips nothing."""
    scanned = in_pages(STILL, ascending=True, last=3)
    assert scanned.asked == [3, 2, 1]
    assert scanned.seen == Seen(ids(1, 2, 3, 4, 5), 5, 3, ascending=True)


def test_other_list_is_read_from_its_start() -> None:
    """A list in any other order is read first page to last."""
    assert in_pages(STILL, ascending=False, last=3).asked == [1, 2, 3]


def test_appended_pages_are_read_too() -> None:
    """A list that has grown since is read past its old end, then down from there."""
    scanned = in_pages(STILL, ascending=True, last=2)
    assert scanned.asked == [2, 3, 1]
    assert scanned.seen.ids == ids(1, 2, 3, 4, 5)


def test_shrunken_list_is_read_from_its_new_end() -> None:
    """Past the end the live totals tell where to go on; a refusal there starts from the front."""
    empty = page(9, [], total=5, pages=3)
    assert in_pages(STILL, empty, ascending=True, last=9).asked == [9, 3, 2, 1]
    refused = UpstreamRefused("no", status=404)
    assert in_pages(STILL, refused, ascending=True, last=9).asked == [9, 1, 2, 3]


def test_order_is_inferred_from_what_was_seen() -> None:
    """Rows that come by ``createdAt`` look append-only, also across pages; others do not."""

    def seen(*created: tuple[int, int]) -> bool:
        return in_pages(
            {
                n: page(n, [n * 2, n * 2 + 1], total=6, pages=3, created=c)
                for n, c in enumerate(created, 1)
            }
        ).seen.ascending

    assert seen((1, 2), (2, 3), (9, 9))
    assert not seen((2, 1), (2, 3), (9, 9))
    assert not seen((1, 2), (1, 3), (9, 9))


def test_unchanged_pages_leave_the_order_as_it_was() -> None:
    """A page that was not decoded says nothing new about the order."""
    pages: dict[int, Answer] = dict(STILL) | {2: Page(2, 5, 3, b"", 0, None)}
    assert in_pages(pages, ascending=True, last=3).seen.ascending
    assert not in_pages(pages).seen.ascending


# --- drift --------------------------------------------------------------------------------------


def test_repeated_row_is_drift_and_counts_once() -> None:
    """A row that moved onto the next page while it was read is one row, and read again."""
    scanned = in_pages({1: page(1, [1, 2], total=3, pages=2), 2: page(2, [2, 3], total=3, pages=2)})
    assert scanned.seen.ids == ids(1, 2, 3)
    assert scanned.seen.drifted
    assert scanned.asked == [1, 2, 2, 1]


def test_deletion_during_a_forward_scan_skips_nothing() -> None:
    """The row that a deletion moved to a page already read is seen on the way back."""
    scanned = in_turn(
        (1, page(1, [1, 2], total=5, pages=3)),
        (2, page(2, [4, 5], total=4, pages=2)),  # row 1 is gone: 3 has moved to page 1
        (3, page(3, [], total=4, pages=2)),
        (2, page(2, [4, 5], total=4, pages=2)),
        (1, page(1, [2, 3], total=4, pages=2)),
    )
    assert scanned.seen.ids == ids(1, 2, 3, 4, 5)
    assert scanned.seen.drifted


def test_deletion_during_a_backward_scan_repeats_a_row() -> None:
    """From the end, a deletion makes a row come twice, which shows; none is skipped."""
    scanned = in_turn(
        (2, page(2, [3, 4], total=4, pages=2)),
        (1, page(1, [2, 3], total=3, pages=2)),
        (1, page(1, [2, 3], total=3, pages=2)),
        (2, page(2, [4], total=3, pages=2)),
        ascending=True,
        last=2,
    )
    assert scanned.seen.ids == ids(2, 3, 4)
    assert scanned.seen.drifted


def test_short_page_in_the_middle_is_drift() -> None:
    """All pages but the last are equally long, or else the list moved."""
    scanned = in_pages(
        {
            1: page(1, [1, 2], total=5, pages=3),
            2: page(2, [3], total=5, pages=3),
            3: page(3, [5], total=5, pages=3),
        },
        page(4, [], total=5, pages=3),
    )
    assert scanned.seen.drifted


def test_broken_order_is_drift() -> None:
    """A list that was ordered and is not any more has moved, or is another one."""
    pages: dict[int, Answer] = {
        1: page(1, [1, 2], total=4, pages=2, created=(5, 6)),
        2: page(2, [3, 4], total=4, pages=2, created=(1, 2)),
    }
    scanned = in_pages(pages, ascending=True, last=2)
    assert scanned.asked == [2, 1, 1, 2]
    assert (scanned.seen.drifted, scanned.seen.ascending) == (True, False)
    assert not in_pages(pages).seen.drifted


def test_list_that_never_stands_still_is_read_twice_at_most() -> None:
    """There is no third pass, whatever the second one saw."""
    totals = itertools.count(4)
    scanned = Scanned(
        lambda number: page(number, [number] if number < 4 else [], total=next(totals), pages=3)
    )
    assert scanned.asked == [1, 2, 3, 4, 3, 2, 1]
    assert scanned.seen.complete


def test_list_that_stands_still_is_read_once() -> None:
    """Nothing moved, so there is no second pass."""
    assert not in_pages(STILL).seen.drifted
