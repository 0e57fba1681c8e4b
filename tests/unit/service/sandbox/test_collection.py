"""The true history of every row."""

# ruff: noqa: S311 - the randomness of tests is reproducible, not secret

import random
from datetime import UTC, datetime, timedelta

import pytest

from service.sandbox.collection import (
    Collection,
    ConflictError,
    UnknownIdError,
    format_time,
    rows_digest,
)
from service.sandbox.drift import random_edits
from service.sandbox.platform import Platform
from service.sandbox.seed import SEED_ROWS

FIRST, SECOND = (row.audience_requirement_id for row in SEED_ROWS)
NOON = datetime(2024, 3, 15, 12, tzinfo=UTC)


class SteppingClock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        """Tell the time it was set to."""
        return self.now


@pytest.fixture
def clock() -> SteppingClock:
    """Give a clock at noon."""
    return SteppingClock()


@pytest.fixture
def collection(clock: SteppingClock) -> Collection:
    """Give the platform's two example rows."""
    return Collection(SEED_ROWS, clock)


def test_format_time_has_the_platforms_form() -> None:
    """A time is written in UTC with milliseconds and a Z."""
    moment = datetime(2020, 5, 27, 10, 44, 5, 687_000, tzinfo=UTC)
    assert format_time(moment) == "2020-05-27T10:44:05.687Z"


def test_updated_at_rises_with_every_edit_while_the_clock_stands(collection: Collection) -> None:
    """Two edits of a row in one millisecond have different, rising times."""
    stamps = [collection.update(FIRST, 60 + n).row for n in range(3)]
    assert [row.updated_at for row in stamps if row] == [
        "2024-03-15T12:00:00.000Z",
        "2024-03-15T12:00:00.001Z",
        "2024-03-15T12:00:00.002Z",
    ]


def test_update_without_a_difference_is_a_touch(collection: Collection) -> None:
    """An edit that leaves the material fields alone is recorded as a touch."""
    version = collection.update(FIRST, 660)
    assert version.op == "touch"
    assert version.row is not None
    assert version.row.required_minutes == 660


def test_update_with_a_difference_is_an_update(collection: Collection) -> None:
    """An edit that moves a material field is recorded as an update with both rows."""
    version = collection.update(FIRST, 720)
    assert version.op == "update"
    assert (version.before, version.row) == (SEED_ROWS[0], collection.row(FIRST))


def test_restore_brings_the_row_back_with_a_later_time(collection: Collection) -> None:
    """A restored row has its old fields and a new `updatedAt`."""
    collection.delete(SECOND)
    row = collection.restore(SECOND).row
    assert row is not None
    assert (row.required_minutes, row.created_at) == (1200, "2020-06-11T21:03:55.798Z")
    assert row.updated_at == "2024-03-15T12:00:00.000Z"


def test_restore_of_a_living_row_is_refused(collection: Collection) -> None:
    """What is not deleted cannot be restored."""
    with pytest.raises(ConflictError):
        collection.restore(FIRST)


def test_create_with_a_deleted_id_is_refused(collection: Collection) -> None:
    """An id is never given to a second row."""
    collection.delete(FIRST)
    with pytest.raises(ConflictError):
        collection.create(FIRST, "0" * 24, 5)


def test_delete_of_an_unknown_row_is_refused(collection: Collection) -> None:
    """A row can be deleted once only."""
    collection.delete(FIRST)
    with pytest.raises(UnknownIdError):
        collection.delete(FIRST)


def test_version_at_names_what_was_current(collection: Collection, clock: SteppingClock) -> None:
    """A moment before, at and after an edit sees the version that it should."""
    clock.now = NOON + timedelta(seconds=10)
    collection.delete(FIRST)
    seen = [collection.version_at(NOON + timedelta(seconds=second)) for second in (9, 10, 11)]
    assert seen == [0, 1, 1]


def test_rows_at_undoes_any_history() -> None:
    """The rows of every version are those that were there when it was made."""
    platform = Platform(lambda: NOON, random.Random(5))
    tenant = platform.put("t", rows=20)
    snapshots = [dict(tenant.collection.rows)]
    for _ in range(100):
        random_edits(tenant, 1, platform.rng)
        snapshots.append(dict(tenant.collection.rows))
    assert [tenant.collection.rows_at(version) for version in range(101)] == snapshots


def test_row_at_agrees_with_rows_at() -> None:
    """One row of an old version is the row of the whole old version, or absent from both."""
    platform = Platform(lambda: NOON, random.Random(6))
    tenant = platform.put("t", rows=5)
    random_edits(tenant, 60, platform.rng)
    collection = tenant.collection
    for version in range(collection.version):
        rows = collection.rows_at(version)
        for requirement_id in {edit.id for edit in collection.history}:
            if requirement_id in rows:
                assert collection.row_at(requirement_id, version) == rows[requirement_id]
            else:
                with pytest.raises(UnknownIdError):
                    collection.row_at(requirement_id, version)


def test_rows_digest_is_pinned() -> None:
    """The digest of the platform's two example rows is the SHA-256 of these bytes."""
    # sha256 of ["60d5…9a10","60d5…9a11",660]["64b6…c4a0","64b6…c4a1",1200], written in full
    assert (
        rows_digest(reversed(SEED_ROWS))
        == "bf0054d4ebe8cf06eee70172b2f4e16ffb9d7644e28e5177e535861e91189ea5"
    )
