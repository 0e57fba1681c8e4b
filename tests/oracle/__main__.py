"""Let the readers read many worlds, and print what was wrong with what they told.

``python -m tests.oracle --runs 10000 --seed 1 --write``: run *n* has the seed ``--seed`` + *n*.
Each run of cpdfeed that is not right is printed as JSON; ``--write`` puts the figures into
docs/truth.md. The exit code is 1 if cpdfeed told a phantom, missed a state or broke its log.
"""

import argparse
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from tests.oracle.runs import NAMES, side_by_side
from tests.oracle.table import Tallies, rewritten

PAGE: Final = Path(__file__).parent.parent.parent / "docs" / "truth.md"


def main() -> int:
    """Run, print, and give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.oracle")
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--write", action="store_true", help="put the figures into docs/truth.md")
    options = parser.parse_args()
    seeds = range(options.seed, options.seed + options.runs)
    tallies = Tallies()
    with side_by_side(options.processes) as runs:
        for name in NAMES:
            for result in runs.of(name, seeds):
                tallies.add(result)
                if name == "cpdfeed" and result.wrong:
                    _say(msgspec.json.encode(result).decode())
    command = f"python -m tests.oracle --runs {options.runs} --seed {options.seed} --write"
    figures = (
        f"{tallies.table()}\n\n{datetime.now(UTC):%Y-%m-%d}: {options.runs:,} runs of each reader,"
        f" seeds {seeds[0]} to {seeds[-1]}, by `{command}`."
    )
    _say(figures)
    if options.write:
        PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8"), figures), encoding="utf-8")
    ours = tallies.of("cpdfeed")
    return int(bool(ours.phantoms or ours.missed or ours.faults))


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - this is what it is for


if __name__ == "__main__":
    sys.exit(main())
