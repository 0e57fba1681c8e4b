"""What a token claims, and whether it is for us."""

import msgspec
import pytest

from service.claims import LEEWAY_S, Claims, Introspected, Terms

NOW_S = 1_000_000.0
TERMS = Terms("https://issuer", frozenset({"a", "b"}), "us")
GOOD = {"client_id": "a", "aud": "us", "exp": NOW_S + 60}


def claims(**changes: object) -> Claims:
    """Give claims as they are decoded, good but for the changes."""
    return msgspec.convert(GOOD | changes, Claims)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"exp": NOW_S - LEEWAY_S + 0.001},
        {"nbf": NOW_S + LEEWAY_S},
        {"token_use": "access"},
        {"client_id": None, "azp": "b"},
        {"aud": ["them", "us"]},
        {"exp": None},
    ],
)
def test_terms_allow(changes: dict[str, object]) -> None:
    """In force within the leeway, an access token, for us, by a client we accept."""
    assert TERMS.allow(claims(**changes), NOW_S)


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": NOW_S - LEEWAY_S},
        {"nbf": NOW_S + LEEWAY_S + 0.001},
        {"token_use": "id"},
        {"token_use": ""},
        {"client_id": "c"},
        {"client_id": "c", "azp": "a"},
        {"client_id": None},
        {"aud": "them"},
        {"aud": ["them"]},
        {"aud": []},
        {"aud": None},
        {"aud": "usa"},
    ],
)
def test_terms_do_not_allow(changes: dict[str, object]) -> None:
    """One claim that is not right is enough."""
    assert not TERMS.allow(claims(**changes), NOW_S)


def test_terms_that_are_empty_ask_for_nothing() -> None:
    """Client and audience are looked at only where they are set."""
    assert Terms().allow(claims(client_id=None, aud=None), NOW_S)


@pytest.mark.parametrize(
    ("stated", "scopes"),
    [
        ({"scope": "a b"}, {"a", "b"}),
        ({"scope": "  a  "}, {"a"}),
        ({"scope": ""}, set()),
        ({"scp": ["a", "b c"]}, {"a", "b c"}),
        ({"scp": "a b"}, {"a", "b"}),
        ({"scope": "", "scp": ["a"]}, set()),
        ({"scope": "a", "scp": ["b"]}, {"a"}),
        ({}, set()),
    ],
)
def test_scopes_are_read(stated: dict[str, object], scopes: set[str]) -> None:
    """``scope`` is space-delimited and goes before ``scp``."""
    assert claims(**stated).scopes == scopes


def test_token_is_inactive_unless_said() -> None:
    """An answer that does not say so is no yes."""
    assert not msgspec.json.decode(b"{}", type=Introspected).active
