"""The script one would write without cpdfeed: read all pages, compare with last time."""

import base64
from http.client import HTTPConnection

import msgspec

from service.sandbox.api import REST
from service.sandbox.collection import Row
from tests.feed import TENANT_ID
from tests.oracle.judge import Account, State, Told, state_of
from tests.oracle.world import Step, World


class _Page(msgspec.Struct):
    pagination: dict[str, int]
    results: list[Row]


_pages = msgspec.json.Decoder(_Page)


class Script:
    """Read the pages in order, compare with last time: what is not there was removed.

    With ``counts``, removals are left out where fewer rows came than ``totalResults`` promised,
    which is how such scripts are usually mended.
    """

    def __init__(self, world: World, http: HTTPConnection, *, counts: bool) -> None:
        self._world = world
        self._http = http
        self._counts = counts
        self._first: dict[str, State] | None = None
        self._first_at = world.clock()
        self._rows: dict[str, State] = {}
        self._told: list[Told] = []
        self._scans = 0

    def look(self, step: Step) -> None:  # noqa: ARG002 - whatever happened, it scans
        """Scan."""
        seen, total = self._scan()
        if self._first is None:
            self._first, self._first_at, self._rows = dict(seen), self._world.clock(), seen
            return
        for id_, state in seen.items():
            before = self._rows.get(id_)
            if before is None:
                self._tell("created", id_, None, state)
            elif before.material != state.material:
                self._tell("updated", id_, before, state)
            else:
                self._rows[id_] = state
        if self._counts and len(seen) != total:
            return
        for id_ in sorted(self._rows.keys() - seen.keys()):
            self._tell("removed", id_, self._rows[id_], None)

    def finish(self) -> None:
        """Scan twice more."""
        for _ in range(2):
            self.look(Step(0, 0, 0, 0, "scan"))

    def account(self) -> Account:
        """Give what was told."""
        first = self._first or {}
        return Account(
            first={id_: state.material for id_, state in first.items()},
            first_at=self._first_at,
            told=tuple(self._told),
            rows={id_: state.material for id_, state in self._rows.items()},
            scans=self._scans,
        )

    def _tell(self, kind: str, id_: str, before: State | None, after: State | None) -> None:
        self._told.append(Told(kind, id_, before, after, self._world.clock()))
        if after is None:
            del self._rows[id_]
        else:
            self._rows[id_] = after

    def _scan(self) -> tuple[dict[str, State], int]:
        """Give (the rows of pages 1 to ``totalPages``, the last ``totalResults``)."""
        seen: dict[str, State] = {}
        number, pages, total = 1, 1, 0
        while number <= pages:
            page = self._read(number)
            pages, total = page.pagination["totalPages"], page.pagination["totalResults"]
            seen |= {row.audience_requirement_id: state_of(row) for row in page.results}
            number += 1
        self._scans += 1
        return seen, total

    def _read(self, number: int) -> _Page:
        login = base64.b64encode(f"{TENANT_ID}:sandbox-secret".encode()).decode()
        query = f"page={number}&perPage={self._world.course.per_page}"
        self._http.request(
            "GET",
            f"{REST}/cpdRequirementSummaries?{query}",
            headers={"Authorization": f"Basic {login}"},
        )
        return _pages.decode(self._http.getresponse().read())
