"""Undoing the log: how each requirement stood at a place."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.changelog import Entry
from service.past import undo
from workers.contract.codec import Cursor, served_row
from workers.contract.errors import Gone
from workers.contract.model import Requirement

State = dict[str, Requirement]

requirements = st.builds(
    Requirement,
    st.sampled_from([f"{number:024x}" for number in range(4)]),
    st.sampled_from([f"{number:024x}" for number in range(7, 10)]),
    st.integers(0, 10_000),
    st.integers(0, 2**50),
    st.none() | st.integers(0, 2**50),
)
edits = st.lists(st.tuples(requirements, st.booleans()), max_size=30)


def entry(sequence: int, before: Requirement | None, after: Requirement | None) -> Entry:
    """Give a change as the log holds it."""
    about = after or before
    data = {
        "kind": "updated" if before and after else "created" if after else "removed",
        "requirement_id": about and about.id,
        "before": before and served_row(before),
        "after": after and served_row(after),
    }
    id_ = about.id if about else ""
    return Entry(Cursor("e1", sequence), "", msgspec.json.encode({"data": data}), id_)


def baseline(sequence: int) -> Entry:
    """Give a baseline as the log holds it."""
    event = b'{"data":{"kind":"baseline","count":3}}'
    return Entry(Cursor("e1", sequence), "cpd.requirements.baseline", event)


def fold(steps: list[tuple[Requirement, bool]]) -> tuple[list[State], list[Entry]]:
    """Give the snapshot at every sequence, and the changes between them."""
    states: list[State] = [{}]
    log: list[Entry] = []
    for row, stays in steps:
        state = dict(states[-1])
        before = state.pop(row.id, None)
        after = row if stays else None
        if before is None and after is None:
            continue
        if after is not None:
            state[row.id] = after
        states.append(state)
        log.append(entry(len(states) - 1, before, after))
    return states, log


@given(edits, st.integers(1, 7))
def test_undoing_from_the_head_gives_every_earlier_snapshot(
    steps: list[tuple[Requirement, bool]], batch: int
) -> None:
    """From the head's rows and the changes since a place, the rows at that place are exact."""
    states, log = fold(steps)
    for sequence, expected in enumerate(states):
        touched: dict[str, Requirement | None] = {}
        for start in range(sequence, len(log), batch):
            touched |= undo(log[start : start + batch], touched)
        stood = {**states[-1], **touched}
        assert {id_: row for id_, row in stood.items() if row is not None} == expected


def test_first_baseline_is_not_undone() -> None:
    """The baseline that a log begins with does not tell what was before it."""
    with pytest.raises(Gone):
        undo([baseline(1)], {})


def test_baseline_of_an_epoch_is_passed_over() -> None:
    """A baseline amid a log keeps every row, so what was before it is known."""
    row = Requirement(f"{1:024x}", f"{7:024x}", 60, 0, None)
    assert undo([entry(4, row, None), baseline(5), entry(6, None, row)], {}) == {row.id: row}
