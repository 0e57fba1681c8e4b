"""Which requests a fault hits."""

# ruff: noqa: S311 - the randomness of tests is reproducible, not secret

import random

import pytest

from service.sandbox.faults import EditFault, ExpireTokensFault, FaultSet, SlowFault


@pytest.fixture
def faults() -> FaultSet:
    """Give a tenant's faults, none of them armed."""
    return FaultSet(random.Random(1))


def hits(faults: FaultSet, requests: int) -> list[bool]:
    """Say of each of some list reads whether a fault hits it."""
    return [bool(faults.take("list", 1, bearer=True)) for _ in range(requests)]


def test_take_skips_then_fires_the_given_times(faults: FaultSet) -> None:
    """The first `skip` matching requests pass, the next `times` are hit, the others pass."""
    faults.replace([SlowFault(delay_ms=1, skip=1, times=2)])
    assert hits(faults, 5) == [False, True, True, False, False]


def test_take_fires_for_ever_without_times(faults: FaultSet) -> None:
    """A fault without `times` hits every matching request."""
    faults.replace([SlowFault(delay_ms=1)])
    assert hits(faults, 5) == [True] * 5


def test_take_fires_expire_tokens_once_without_times(faults: FaultSet) -> None:
    """Tokens expire once by default, so that those minted afterwards work."""
    faults.replace([ExpireTokensFault()])
    assert hits(faults, 3) == [True, False, False]


def test_take_passes_other_kinds_and_pages(faults: FaultSet) -> None:
    """A fault on page 2 of the list hits nothing else."""
    faults.replace([SlowFault(delay_ms=1, on="list", page=2)])
    assert not faults.take("one", None, bearer=False)
    assert not faults.take("list", 1, bearer=False)
    assert faults.take("list", 2, bearer=False)


def test_take_never_edits_on_other_reads(faults: FaultSet) -> None:
    """An edit follows reads of the list only, also when it is on any request."""
    faults.replace([EditFault(op="delete")])
    assert not faults.take("one", None, bearer=False)
    assert faults.take("list", 1, bearer=False)


def test_take_spares_by_probability(faults: FaultSet) -> None:
    """A fault of half probability hits some requests and spares others."""
    faults.replace([SlowFault(delay_ms=1, probability=0.5)])
    assert set(hits(faults, 50)) == {True, False}
