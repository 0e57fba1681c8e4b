"""What a caller may ask to be read again."""

import pytest

from service.refreshes import read_scope
from workers.contract.errors import BadRequest
from workers.contract.scope import COLLECTION, Scope, ScopeKind

ID = "60D5ec49b60b4b3a2c8f9a11"


@pytest.mark.parametrize(
    ("body", "scope"),
    [
        ({"scope": "collection"}, COLLECTION),
        ({"audience_id": ID}, Scope(ScopeKind.AUDIENCE, ID)),
        ({"requirement_id": ID}, Scope(ScopeKind.REQUIREMENT, ID)),
        ({"release_brake": True}, COLLECTION),
    ],
)
def test_scope_is_read(body: dict[str, object], scope: Scope) -> None:
    """Each of the four forms names one scope."""
    assert read_scope(body) == scope


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"scope": "requirement"},
        {"audience_id": ""},
        {"audience_id": None},
        {"audienceId": ID},
        {"release_brake": False},
        {"release_brake": 1},
        {"release_brake": True, "scope": "collection"},
        {"scope": "collection", "requirement_id": ID},
    ],
)
def test_other_bodies_are_refused(body: dict[str, object]) -> None:
    """Anything else is refused."""
    with pytest.raises(BadRequest):
        read_scope(body)
