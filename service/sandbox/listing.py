"""The list read: the rows of one version in the tenant's order, cut into encoded pages."""

import random
from bisect import bisect_left, insort
from collections.abc import Callable
from operator import attrgetter
from typing import Literal

import msgspec

from service.sandbox.collection import Collection, Row, Version

Order = Literal["created", "id", "updated", "unstable"]
Direction = Literal["ascending", "descending"]
SortKey = Callable[[Row], tuple[str, str]]

VIEWS_KEPT = 4  # a lagging reader and a current one, each with a predecessor
ADVANCE_MAX = 1000  # edits after which sorting anew is cheaper than replaying them


def _by_update(row: Row) -> tuple[str, str]:
    return row.updated_at or row.created_at, row.audience_requirement_id


_BY_ID: SortKey = attrgetter("audience_requirement_id", "audience_requirement_id")
SORT_KEYS: dict[Order, SortKey] = {
    "created": attrgetter("created_at", "audience_requirement_id"),
    "id": _BY_ID,
    "updated": _by_update,
    "unstable": _BY_ID,
}


class Pagination(msgspec.Struct, frozen=True, rename="camel"):
    """What the platform says about the page it serves."""

    total_results: int
    total_pages: int
    page: int
    per_page: int


class Page(msgspec.Struct, frozen=True):
    """The body of a list answer."""

    pagination: Pagination
    results: list[Row]


class View:
    """The rows of one version, ascending, with the bodies that were encoded from them."""

    def __init__(self, version: int, order: Order, rows: list[Row]) -> None:
        self.version = version
        self.order = order
        self.rows = rows
        self.bodies: dict[tuple[int, int, Direction], bytes] = {}

    def advanced(self, edits: list[Version]) -> "View":
        """Replay the edits that follow this view on a copy of it."""
        rows, key = self.rows.copy(), SORT_KEYS[self.order]
        for edit in edits:
            index = bisect_left(rows, key(edit.before), key=key) if edit.before else None
            if index is not None and edit.before and edit.row and key(edit.before) == key(edit.row):
                rows[index] = edit.row
                continue
            if index is not None:
                del rows[index]
            if edit.row is not None:
                insort(rows, edit.row, key=key)
        return View(self.version + len(edits), self.order, rows)


def in_order(rows: dict[str, Row], order: Order) -> list[Row]:
    """Sort rows ascending; ties of a time go by id."""
    return sorted(rows.values(), key=SORT_KEYS[order])


def encode_page(rows: list[Row], direction: Direction, page: int, per_page: int) -> bytes:
    """Cut one page out of ascending rows; past the end it is empty, with live totals."""
    total = len(rows)
    start = min((page - 1) * per_page, total)
    end = min(start + per_page, total)
    upward = direction == "ascending"
    results = rows[start:end] if upward else rows[total - end : total - start][::-1]
    return msgspec.json.encode(
        Page(Pagination(total, -(-total // per_page), page, per_page), results)
    )


class Listing:
    """The encoded pages of a collection, kept until edits have made newer versions."""

    def __init__(self, collection: Collection, rng: random.Random) -> None:
        self._collection = collection
        self._rng = rng
        self._views: list[View] = []

    def page(
        self, version: int, order: Order, direction: Direction, page: int, per_page: int
    ) -> bytes:
        """Return the JSON body of a page; in unstable order each read is shuffled anew."""
        view = self._view(version, order)
        if order == "unstable":
            shuffled = self._rng.sample(view.rows, len(view.rows))
            return encode_page(shuffled, direction, page, per_page)
        body = view.bodies.get((page, per_page, direction))
        if body is None:
            body = encode_page(view.rows, direction, page, per_page)
            if (page - 1) * per_page <= len(view.rows):  # pages past the end have no bound
                view.bodies[page, per_page, direction] = body
        return body

    def _view(self, version: int, order: Order) -> View:
        earlier = None
        for view in self._views:
            if view.order != order or view.version > version:
                continue
            if view.version == version:
                return view
            if earlier is None or view.version > earlier.version:
                earlier = view
        if earlier is not None and version - earlier.version <= ADVANCE_MAX:
            view = earlier.advanced(self._collection.history[earlier.version : version])
        else:
            view = View(version, order, in_order(self._collection.rows_at(version), order))
        self._views = [*self._views[1 - VIEWS_KEPT :], view]
        return view
