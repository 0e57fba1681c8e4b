"""A hint that outran the platform's replicas is read again, and no oftener than set."""

from collections.abc import Sequence

from workers.contract.model import Due, Mark, Source, Trigger
from workers.contract.scope import Scope
from workers.intake.settle import settle

NOW_MS = 1_000_000
HINT = Scope.parse("audience:" + "a" * 24)
TEXT = str(HINT)
NOTED = ("1-1", "2-2")

Settled = tuple[dict[str, tuple[int, Due]], set[str]]


def settled(
    marks: Sequence[Mark],
    sources: Sequence[Source],
    due: dict[str, Due] | None = None,
    *,
    served: bool = True,
    changed: bool = False,
    settle_s: Sequence[float] = (5, 60),
    waiting: dict[str, Due] | None = None,
) -> Settled:
    """Settle what was claimed about one scope."""
    scopes = {HINT} if served else set()
    return settle(
        marks, sources, due or {}, waiting or {}, scopes, lambda _: changed, settle_s, NOW_MS
    )


def hinted(manual: int = 0) -> tuple[list[Mark], list[Source]]:
    """Give the mark and the source of two notifications."""
    trigger = Trigger.MANUAL if manual == 2 else Trigger.NOTIFICATION
    return [Mark(HINT, "1-1", 2, 2, manual)], [Source(HINT, trigger, NOTED, 2)]


def reread(step: int) -> tuple[list[Source], dict[str, Due]]:
    """Give the source and the timetable's entry of a re-read."""
    return [Source(HINT, Trigger.SETTLE, NOTED, 2)], {TEXT: Due(Trigger.SETTLE, step, NOTED, 2)}


def test_quiet_hint_is_read_again() -> None:
    """A hint that showed no change is due after the first delay, for its notifications."""
    expected = (NOW_MS + 5000, Due(Trigger.SETTLE, 0, NOTED, 2))
    assert settled(*hinted()) == ({TEXT: expected}, set())


def test_repeated_hint_keeps_the_first_one_s_notifications() -> None:
    """A hint while its scope still waits is due anew, for the notifications of both."""
    waiting = {TEXT: Due(Trigger.SETTLE, 0, ("0-0",), 1)}
    expected = (NOW_MS + 5000, Due(Trigger.SETTLE, 0, ("0-0", *NOTED), 3))
    assert settled(*hinted(), waiting=waiting) == ({TEXT: expected}, set())


def test_hint_that_showed_a_change_has_settled() -> None:
    """A hint that showed a change is not read again, and loses an older entry."""
    assert settled(*hinted(), changed=True) == ({}, {TEXT})


def test_unserved_hint_stays_as_it_is() -> None:
    """What was not read is neither settled nor due anew."""
    assert settled(*hinted(), served=False) == ({}, set())


def test_request_by_hand_is_not_read_again() -> None:
    """Who asks by hand sees what there is now."""
    assert settled(*hinted(manual=2)) == ({}, set())


def test_hint_beside_a_request_by_hand_is_read_again() -> None:
    """One notification among requests by hand is a hint all the same."""
    assert list(settled(*hinted(manual=1))[0]) == [TEXT]


def test_without_delays_nothing_is_read_again() -> None:
    """Settling can be switched off."""
    assert settled(*hinted(), settle_s=()) == ({}, set())


def test_fractions_of_a_second_count() -> None:
    """A delay may be a fraction of a second."""
    assert settled(*hinted(), settle_s=(0.25,))[0][TEXT][0] == NOW_MS + 250


def test_quiet_reread_is_followed_by_the_next() -> None:
    """Delays count from the first read: the second entry waits for what is left of it."""
    expected = (NOW_MS + 55_000, Due(Trigger.SETTLE, 1, NOTED, 2))
    assert settled([], *reread(0)) == ({TEXT: expected}, set())


def test_last_reread_ends_it() -> None:
    """After the last delay a scope has settled, whatever it showed."""
    assert settled([], *reread(1)) == ({}, {TEXT})
    assert settled([], *reread(1000)) == ({}, {TEXT})


def test_reread_that_showed_a_change_has_settled() -> None:
    """A re-read that found the change is the last."""
    assert settled([], *reread(0), changed=True) == ({}, {TEXT})


def test_new_hint_starts_over() -> None:
    """A notification during settling is read again after the first delay, for itself."""
    marks, sources = hinted()
    more, due = reread(1)
    again, done = settled(marks, [*sources, *more], due)
    assert again == {TEXT: (NOW_MS + 5000, Due(Trigger.SETTLE, 0, NOTED, 2))}
    assert done == set()


def test_timed_scan_settles_nothing() -> None:
    """The timer's own read is put on the timetable by whoever scanned."""
    source = Source(HINT, Trigger.RECONCILE)
    assert settled([], [source], {"reconcile": Due(Trigger.RECONCILE)}) == ({}, set())
