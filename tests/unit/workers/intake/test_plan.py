"""Which pages are read for what was claimed: no more than needed, and all where nobody knows."""

from workers.contract.scope import COLLECTION, Scope, ScopeKind
from workers.intake.plan import Target, plan

R1, R2, R3 = (f"{n:024x}" for n in (1, 2, 3))
A1, A2 = (f"{n:024x}" for n in (11, 12))
REQUIREMENT = Scope(ScopeKind.REQUIREMENT, R1)
AUDIENCE = Scope(ScopeKind.AUDIENCE, A1)


def test_known_requirement_is_read_on_its_page() -> None:
    """A requirement is looked for where it was last seen."""
    made = plan([REQUIREMENT], {}, {R1: 3})
    assert made.pages == {3: Target(frozenset({REQUIREMENT}), frozenset({R1}))}
    assert made.by_scan == frozenset()


def test_unknown_requirement_takes_the_collection() -> None:
    """Where a requirement is, nobody knows: never seen, or on page 0."""
    assert plan([REQUIREMENT], {}, {}).by_scan == {REQUIREMENT}
    assert plan([REQUIREMENT], {}, {R1: 0}).by_scan == {REQUIREMENT}


def test_known_audience_is_read_on_all_its_pages() -> None:
    """An audience is on every page where one of its requirements was last seen."""
    made = plan([AUDIENCE], {A1: [R1, R2, R3]}, {R1: 5, R2: 2, R3: 5})
    assert list(made.pages) == [2, 5]
    assert made.pages[5].expected == {R1, R3}
    assert made.by_scan == frozenset()


def test_unknown_audience_takes_the_collection() -> None:
    """An audience without a known requirement takes the collection."""
    assert plan([AUDIENCE], {}, {}).by_scan == {AUDIENCE}
    assert plan([AUDIENCE], {A1: []}, {}).by_scan == {AUDIENCE}


def test_partly_placed_audience_takes_the_collection() -> None:
    """An audience with one requirement of unknown place takes the collection, and no page."""
    made = plan([AUDIENCE], {A1: [R1, R2]}, {R1: 1})
    assert (dict(made.pages), made.by_scan) == ({}, frozenset({AUDIENCE}))


def test_collection_is_scanned() -> None:
    """The collection is the collection, whatever is known."""
    made = plan([COLLECTION], {A1: [R1]}, {R1: 1})
    assert (dict(made.pages), made.by_scan) == ({}, frozenset({COLLECTION}))


def test_scopes_share_a_page() -> None:
    """What is on one page is read once."""
    other = Scope(ScopeKind.AUDIENCE, A2)
    made = plan([REQUIREMENT, AUDIENCE, other], {A1: [R1], A2: [R2]}, {R1: 1, R2: 1})
    assert made.pages == {1: Target(frozenset({REQUIREMENT, AUDIENCE, other}), frozenset({R1, R2}))}


def test_nothing_wanted_reads_nothing() -> None:
    """Without a scope there is nothing to read."""
    made = plan([], {A1: [R1]}, {R1: 1})
    assert (dict(made.pages), made.by_scan) == ({}, frozenset())


def test_scope_is_served_by_all_its_pages() -> None:
    """A scope on two pages is served once both were read, and one on either page before."""
    made = plan([REQUIREMENT, AUDIENCE], {A1: [R1, R2]}, {R1: 1, R2: 2})
    assert made.served([1]) == {REQUIREMENT}
    assert made.served([2]) == set()
    assert made.served([2, 1]) == {REQUIREMENT, AUDIENCE}
    assert made.served([]) == set()
