"""What the pipeline tells of a platform that moves while it is read, held against the truth.

Hundreds of worlds, on one kind of server: each with its order, direction, page size, lag and edits,
all drawn from a seed. ``python -m tests.oracle --seed N --runs 1`` shows the run of a seed.
"""

import os
from collections.abc import Iterator

import pytest

from tests.oracle.runs import Name, Runs, opened, side_by_side
from tests.oracle.world import DIRECTIONS, ORDERS, draw

BLOCK = 200


@pytest.fixture(scope="module")
def runs() -> Iterator[Runs]:
    """Give processes for runs, one a processor."""
    with side_by_side(min(os.cpu_count() or 1, 4)) as runs:
        yield runs


@pytest.mark.timeout(300)
@pytest.mark.parametrize("first", range(1, 401, BLOCK))
def test_log_agrees_with_the_truth(runs: Runs, first: int) -> None:
    """No change is a phantom, no final state is missed, and the log folds into the snapshot."""
    results = runs.of("cpdfeed", range(first, first + BLOCK))
    assert {result.course.seed: result.verdict for result in results if result.wrong} == {}


def test_suspect_that_came_back_while_it_was_asked_for_changes_once() -> None:
    """What the page read for a control shows again is not told to be removed, nor told twice."""
    with opened() as oracle:
        results = [oracle.run(seed, "cpdfeed") for seed in (2918, 4142, 6673, 7401)]
    assert {result.course.seed: result.verdict for result in results if result.wrong} == {}


@pytest.mark.parametrize("name", ["script", "counting script"])
def test_script_that_trusts_absence_disagrees_with_the_truth(runs: Runs, name: Name) -> None:
    """A plain scan removes what is there in the same worlds, even one that compares counts."""
    results = list(runs.of(name, range(1, 1 + BLOCK)))
    assert sum(len(result.verdict.removals) for result in results) > 10
    assert any(result.verdict.missed for result in results)


def test_run_is_that_of_its_seed() -> None:
    """A seed gives the same run each time, whatever ran before it."""
    with opened() as oracle:
        once = [oracle.run(seed, "cpdfeed") for seed in (3, 4)]
        assert [oracle.run(seed, "cpdfeed") for seed in (4, 3)] == once[::-1]


def test_seeds_draw_every_order_in_every_direction() -> None:
    """The first thousand worlds hold every order, direction and page size, with lag and without."""
    courses = [draw(seed) for seed in range(1, 1001)]
    assert len({(course.order, course.direction) for course in courses}) == len(ORDERS) * len(
        DIRECTIONS
    )
    assert {course.per_page for course in courses} == set(range(2, 8))
    assert {course.lag_s == 0 for course in courses} == {True, False}
    assert max(course.rows for course in courses) == 40
