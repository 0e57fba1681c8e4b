"""Tenants: what they begin with, and how late they see their own edits."""

# ruff: noqa: S311 - the randomness of tests is reproducible, not secret

import random
from datetime import UTC, datetime, timedelta

import pytest

from service.sandbox.collection import UnknownIdError
from service.sandbox.platform import DEFAULT_TENANT, Options, Platform
from service.sandbox.seed import SEED_ROWS

NOON = datetime(2024, 3, 15, 12, tzinfo=UTC)
FIRST = SEED_ROWS[0].audience_requirement_id


class MovingClock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        """Tell the time it was set to."""
        return self.now


@pytest.fixture
def clock() -> MovingClock:
    """Give a clock at noon."""
    return MovingClock()


@pytest.fixture
def platform(clock: MovingClock) -> Platform:
    """Give a platform whose clock can be moved."""
    return Platform(clock, random.Random(1))


def test_default_tenant_is_the_documented_one(platform: Platform) -> None:
    """A platform begins with the default tenant, its secret and the two example rows."""
    tenant = platform.tenant("eu-west-2_Sandbox01")
    assert tenant.options.api_secret == "sandbox-secret"
    assert tenant.client_id == DEFAULT_TENANT
    assert tuple(tenant.collection.rows.values()) == SEED_ROWS


def test_generated_rows_are_reproducible(clock: MovingClock) -> None:
    """The same seed makes the same rows, with ids of the platform's shape and past times."""
    one, other = (Platform(clock, random.Random(9)).put("t", rows=50) for _ in range(2))
    assert one.collection.rows == other.collection.rows
    for requirement_id, row in one.collection.rows.items():
        assert len(requirement_id) == 24
        assert row.created_at < "2024-03-15T12:00:00.000Z"


def test_every_row_names_an_audience_that_resolves(platform: Platform) -> None:
    """The audience of every row, generated or created, has a name."""
    tenant = platform.put("t", rows=10)
    tenant.create(60)
    for row in tenant.collection.rows.values():
        assert tenant.directory.find(row.audience_id).name


def test_put_begins_anew(platform: Platform) -> None:
    """A tenant made anew has none of the history of the one before."""
    platform.tenant(DEFAULT_TENANT).update(FIRST, 5)
    assert platform.put(DEFAULT_TENANT).collection.version == 0


def test_tenant_that_is_not_there_is_refused(platform: Platform) -> None:
    """An unknown tenant is an error."""
    with pytest.raises(UnknownIdError):
        platform.tenant("nobody")


def test_lag_shows_the_row_of_before_until_it_has_passed(
    platform: Platform, clock: MovingClock
) -> None:
    """A lag of 20 s hides an edit for 20 s, to the instant."""
    tenant = platform.put("t", Options(lag_by_id_s=20))
    clock.now = NOON + timedelta(seconds=10)
    tenant.update(FIRST, 5)
    seen = []
    for second in (10, 29, 30):
        clock.now = NOON + timedelta(seconds=second)
        seen.append(tenant.one(FIRST).required_minutes)
    assert seen == [660, 660, 5]


def test_lag_jitter_draws_a_lag_per_read(platform: Platform, clock: MovingClock) -> None:
    """With jitter some reads show an edit and others do not, until the whole lag has passed."""
    tenant = platform.put("t", Options(lag_by_id_s=20, lag_jitter=True))
    tenant.update(FIRST, 5)
    clock.now = NOON + timedelta(seconds=10)
    assert {tenant.one(FIRST).required_minutes for _ in range(100)} == {660, 5}
    clock.now = NOON + timedelta(seconds=20)
    assert {tenant.one(FIRST).required_minutes for _ in range(100)} == {5}
