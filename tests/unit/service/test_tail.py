"""Windows and chunks: what streams share."""

import asyncio

from service.changelog import Entry, Filter
from service.tail import CHUNK_BYTES, WINDOW, Window, chunk
from workers.contract.codec import Cursor

ALL = Filter()
REMOVED = Filter(frozenset({"cpd.requirement.removed"}))


def at(sequence: int, epoch: str = "e1") -> Cursor:
    """Give a place."""
    return Cursor(epoch, sequence)


def entries(first: int, last: int, size: int = 10) -> list[Entry]:
    """Give changes in a row."""
    event = b'{"data":{},"x":"%b"}' % (b"x" * size)
    return [Entry(at(n), "cpd.requirement.created", event) for n in range(first, last + 1)]


def window(*changes: Entry, start: int = 0) -> Window:
    """Give a window that began at a place and has seen these changes."""
    made = Window("acme")
    made.restart(at(start))
    made.extend(list(changes))
    return made


def test_frame_is_one_event() -> None:
    """A change goes out with its cursor as id, its type, and its event on one line."""
    change = Entry(at(7), "cpd.requirement.removed", b'{"data":{}}')
    assert change.frame == b'id: e1:7\nevent: cpd.requirement.removed\ndata: {"data":{}}\n\n'


def test_chunk_ends_at_its_size() -> None:
    """A chunk holds its size and one frame at most, and ends where it says."""
    changes = entries(1, 50, size=CHUNK_BYTES // 4)
    due = chunk(at(0), changes, ALL)
    assert due.frames == b"".join(change.frame for change in changes[: due.end.sequence])
    assert CHUNK_BYTES <= len(due.frames) < CHUNK_BYTES + len(changes[0].frame)


def test_chunk_ends_after_what_is_not_wanted() -> None:
    """Without a wanted change there is nothing to send, and still a place to go on from."""
    assert chunk(at(0), entries(1, 5), REMOVED) == (b"", at(5))


def test_window_gives_what_follows_a_place() -> None:
    """Within its reach, a window gives all changes after a place; at its end none."""
    held = window(*entries(1, 5))
    assert [entry.cursor.sequence for entry in held.after(at(2)) or ()] == [3, 4, 5]
    assert held.after(at(5)) == []


def test_window_says_what_it_does_not_reach() -> None:
    """Before its first change, ahead of its end or in another epoch, a window knows nothing."""
    held = window(*entries(4, 5), start=3)
    assert held.after(at(3)) is not None
    assert held.after(at(2)) is None
    assert held.after(at(6)) is None
    assert held.after(at(4, "e2")) is None
    assert Window("acme").after(at(0)) is None


def test_window_is_bounded() -> None:
    """However many changes pass, a window holds the last of them."""
    held = window(*entries(1, WINDOW + 10))
    assert len(held.after(at(10)) or ()) == WINDOW
    assert held.after(at(9)) is None


def test_window_makes_a_chunk_once() -> None:
    """Those who stand at one place and want the same are given the same bytes."""
    held = window(*entries(1, 5))
    first, second = held.chunk_after(at(0), ALL), held.chunk_after(at(0), ALL)
    assert first is not None
    assert first is second


def test_window_makes_chunks_anew_when_it_moves() -> None:
    """A chunk that was made before does not hide what came since."""
    held = window(*entries(1, 5))
    assert held.chunk_after(at(5), ALL) == (b"", at(5))
    held.extend(entries(6, 6))
    due = held.chunk_after(at(5), ALL)
    assert due is not None
    assert due.end == at(6)


def test_window_wakes_when_it_moves() -> None:
    """Everyone who waits is woken by new changes and by a new start, and by nothing else."""

    def woken(held: Window, *changes: Entry, start: Cursor | None = None) -> bool:
        moved: asyncio.Event = held.moved
        held.extend(list(changes))
        if start is not None:
            held.restart(start)
        return moved.is_set()

    held = window(*entries(1, 5))
    assert woken(held, *entries(6, 6))
    assert woken(held, start=at(0, "e2"))
    assert not woken(held)
    assert not woken(held, start=at(0, "e2"))
