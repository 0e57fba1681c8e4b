"""The judge of the oracle finds what is wrong in an account, and nothing in a right one."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from service.sandbox.collection import Collection, Row, format_time
from tests.oracle.judge import Account, Material, State, Told, Verdict, judge, state_of
from tests.oracle.runs import NAMES, Result
from tests.oracle.table import BEGIN, END, Tallies, rewritten
from tests.oracle.world import draw

START = datetime(2026, 1, 1, tzinfo=UTC)
ID = "a" * 24


class Story:
    """One requirement with 60 minutes, the truth about it, and what is told of it."""

    def __init__(self) -> None:
        self.now = START
        row = Row(ID, "b" * 24, 60, format_time(START - timedelta(days=1)), None)
        self.collection = Collection([row], lambda: self.now)
        self.told: list[Told] = []
        self.first: Mapping[str, Material] = {ID: self.state().material}

    def state(self) -> State:
        """Give the requirement's state."""
        return state_of(self.collection.row(ID))

    def later(self) -> None:
        """Let a second go by."""
        self.now += timedelta(seconds=1)

    def tell(self, before: State | None, after: State | None) -> None:
        """Tell a change."""
        self.later()
        self.told.append(Told("told", ID, before, after, self.now))

    def verdict(self, held: State | None, *faults: str) -> Verdict:
        """Judge what was told, and what is held in the end."""
        rows = {} if held is None else {ID: held.material}
        account = Account(self.first, START, tuple(self.told), rows, 1, faults)
        return judge(account, self.collection)


@pytest.fixture
def story() -> Story:
    """Give a story whose first second has gone by."""
    story = Story()
    story.later()
    return story


def test_judge_finds_nothing_in_the_truth(story: Story) -> None:
    """A change, a removal and a return that are told late and in order are right."""
    states: list[State | None] = [story.state()]
    story.collection.update(ID, 90)
    states.append(story.state())
    story.later()
    story.collection.delete(ID)
    states.append(None)
    story.later()
    story.collection.restore(ID)
    states.append(story.state())
    for before, after in pairwise(states):
        story.tell(before, after)
    assert story.verdict(states[-1]) == Verdict((), (), (), ())


def test_judge_takes_a_state_that_did_not_last_as_not_to_be_told(story: Story) -> None:
    """Of two updates, only the second one need be told."""
    first = story.state()
    story.collection.update(ID, 90)
    story.later()
    story.collection.update(ID, 120)
    story.tell(first, story.state())
    assert story.verdict(story.state()) == Verdict((), (), (), ())


def test_judge_finds_a_removal_of_what_was_there(story: Story) -> None:
    """A requirement that was never away was not removed."""
    story.tell(story.state(), None)
    verdict = story.verdict(None)
    assert len(verdict.removals) == verdict.phantoms == 1
    assert len(verdict.missed) == 1


def test_judge_finds_a_removal_that_had_not_happened_yet(story: Story) -> None:
    """A removal that comes true after it was told was not true."""
    before = story.state()
    story.tell(before, None)
    story.later()
    story.collection.delete(ID)
    assert len(story.verdict(None).removals) == 1


def test_judge_finds_a_removal_that_was_over(story: Story) -> None:
    """A requirement that was away only before the state it is said to have had was not removed."""
    story.collection.delete(ID)
    story.later()
    story.collection.restore(ID)
    story.tell(story.state(), None)
    assert len(story.verdict(None).removals) == 1


def test_judge_finds_a_state_that_never_was(story: Story) -> None:
    """An invented state is a phantom."""
    first = story.state()
    story.tell(first, first._replace(minutes=61))
    assert story.verdict(first._replace(minutes=61)).phantoms == 1


def test_judge_finds_a_state_that_was_over(story: Story) -> None:
    """An older state told after a newer one is a phantom."""
    first = story.state()
    story.collection.update(ID, 90)
    story.tell(first, story.state())
    story.tell(story.state(), first)
    assert len(story.verdict(first).inventions) == 1


def test_judge_finds_what_is_missed_in_the_end(story: Story) -> None:
    """A change that nobody told is missed."""
    first = story.state()
    story.collection.update(ID, 90)
    verdict = story.verdict(first)
    assert (verdict.phantoms, len(verdict.missed)) == (0, 1)


def test_judge_finds_rows_that_the_changes_do_not_lead_to(story: Story) -> None:
    """Rows that are right and were never told of are a fault."""
    story.collection.update(ID, 90)
    verdict = story.verdict(story.state())
    assert verdict.missed == ()
    assert verdict.faults == ("the changes do not lead to the rows in the end",)


def test_judge_passes_on_what_the_account_says_is_broken(story: Story) -> None:
    """A fault of the log itself is in the verdict."""
    assert story.verdict(story.state(), "the chain breaks").faults == ("the chain breaks",)


def test_table_counts_by_order_and_direction() -> None:
    """Phantoms are per 1,000 scans, missed states per 1,000 runs, and no small rate reads 0."""
    course = draw(1)
    told = Verdict(("one",), (), ("two", "three"), ())
    tallies = Tallies(Result(name, course, 5, 20_000, 3, told) for name in NAMES)
    lines = tallies.table().splitlines()
    rates = "| < 0.1 | 2,000.0 " * len(NAMES)
    assert f"| {course.order} | {course.direction} | 1 {rates}|" in lines
    assert lines[-1] == f"| all |  | 1 {rates}|"


def test_figures_are_rewritten_between_their_markers() -> None:
    """Nothing of a page but its figures changes."""
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert rewritten(page, "new") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    with pytest.raises(ValueError, match="figures"):
        rewritten("a page without", "new")
