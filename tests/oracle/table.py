"""What many runs come to, as the table of docs/truth.md."""

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from tests.oracle.runs import NAMES, Result
from tests.oracle.world import DIRECTIONS, ORDERS

BEGIN: Final = "<!-- figures -->"
END: Final = "<!-- end of figures -->"


class Tally(Struct):
    """Sums over runs."""

    runs: int = 0
    scans: int = 0
    phantoms: int = 0
    missed: int = 0
    faults: int = 0

    def add(self, result: Result) -> None:
        """Add a run."""
        self.runs += 1
        self.scans += result.scans
        self.phantoms += result.verdict.phantoms
        self.missed += len(result.verdict.missed)
        self.faults += len(result.verdict.faults)


class Tallies:
    """The sums of each reader, by order and direction."""

    def __init__(self, results: Iterable[Result] = ()) -> None:
        self._cells: dict[tuple[str, str, str], Tally] = {}
        for result in results:
            self.add(result)

    def add(self, result: Result) -> None:
        """Add a run to its cell and to the whole of its reader."""
        for order, direction in (
            (result.course.order, result.course.direction),
            ("all", ""),
        ):
            cell = self._cells.setdefault((result.reader, order, direction), Tally())
            cell.add(result)

    def of(self, reader: str, order: str = "all", direction: str = "") -> Tally:
        """Give the sums of a reader."""
        return self._cells.get((reader, order, direction), Tally())

    def table(self) -> str:
        """Give the table: phantoms per 1,000 scans and missed states per 1,000 runs."""
        head = ["order", "direction", "runs"]
        head += [f"{name}: {what}" for name in NAMES for what in ("phantoms", "missed")]
        lines = [f"| {' | '.join(head)} |", "|---|---|" + "--:|" * (len(head) - 2)]
        rows = [(order, direction) for order in ORDERS for direction in DIRECTIONS]
        for order, direction in [*rows, ("all", "")]:
            cells = [order, direction, f"{self.of(NAMES[0], order, direction).runs:,}"]
            for name in NAMES:
                tally = self.of(name, order, direction)
                cells.append(_per_thousand(tally.phantoms, tally.scans))
                cells.append(_per_thousand(tally.missed, tally.runs))
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines)


def rewritten(page: str, figures: str) -> str:
    """Give a page with other figures between its markers."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page has no {BEGIN} … {END}")
    return f"{before}{begin}\n{figures}\n{end}{after}"


def _per_thousand(count: int, of: int) -> str:
    """Give a rate; a count of 0 is written as such, and no other."""
    if not count:
        return "0"
    rate = 1000 * count / of if of else 0.0
    return f"{rate:,.1f}" if rate >= 0.1 else "< 0.1"
