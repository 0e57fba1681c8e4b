"""What ids and references of audiences resolve to."""

# ruff: noqa: S311 - the randomness of tests is reproducible, not secret

import random
from datetime import UTC, datetime

import pytest

from service.sandbox.audiences import Directory
from service.sandbox.collection import UnknownIdError

ID = "60d5ec49b60b4b3a2c8f9a11"


@pytest.fixture
def directory() -> Directory:
    """Give a directory that knows one audience."""
    directory = Directory(lambda: datetime(2024, 3, 15, tzinfo=UTC), random.Random(1))
    directory.rename(ID, "Tech Team", "audience123")
    return directory


def test_find_resolves_id_and_reference(directory: Directory) -> None:
    """An audience is found by its id and by its reference."""
    assert directory.find(ID) == directory.find("audience123")


def test_rename_moves_the_reference(directory: Directory) -> None:
    """After a rename the new reference resolves and the old one does not."""
    directory.rename(ID, "Platform Team", "audience456")
    assert directory.find("audience456").name == "Platform Team"
    with pytest.raises(UnknownIdError):
        directory.find("audience123")


def test_ensure_leaves_a_known_audience_alone(directory: Directory) -> None:
    """A requirement that names a known audience does not rename it."""
    directory.ensure(ID)
    assert directory.find(ID).name == "Tech Team"


def test_ensure_does_not_revive_a_deleted_audience(directory: Directory) -> None:
    """A deleted audience stays unresolvable when a requirement still names it."""
    directory.delete(ID)
    directory.ensure(ID)
    with pytest.raises(UnknownIdError):
        directory.find(ID)
