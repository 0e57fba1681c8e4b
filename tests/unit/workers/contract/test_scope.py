"""What a notification is about: every event type and every shape of payload has its scopes."""

from typing import Any

import pytest

from workers.contract.scope import (
    COLLECTION,
    DEFAULT_RULES,
    MAX_SCOPES,
    Action,
    Rule,
    Scope,
    ScopeKind,
    event_type,
    extract,
    is_id,
)

R1, R2 = "60d5ec49b60b4b3a2c8f9a10", "64b6f4a8c2e4a1b9d3f2c4a0"
A1, A2 = "60d5ec49b60b4b3a2c8f9a11", "64B6F4A8C2E4A1B9D3F2C4A1"


def scopes(payload: dict[str, Any]) -> list[str]:
    """Give the scopes of a payload as text."""
    return [str(scope) for scope in extract(payload)]


@pytest.mark.parametrize(
    "stated",
    [
        "user.created",
        "user.activated",
        "user.deactivated",
        "user.updated",
        "content.completed",
        "content.passed",
        "page.published",
        "post.created",
        "comment.created",
        "moderation.flagged",
        "notification.dispatched",
    ],
)
def test_unrelated_events_are_ignored(stated: str) -> None:
    """What cannot concern a requirement asks for no read, whatever it names."""
    assert scopes({"eventType": stated, "audienceId": A1}) == []


@pytest.mark.parametrize(
    "stated",
    ["assignment.assigned", "assignment.updated", "assignment.removed", "assignment.new-kind"],
)
def test_assignment_is_about_its_audience(stated: str) -> None:
    """An assignment asks for the audience it names."""
    assignment = {"id": R2, "audienceId": A1, "recurring": False}
    assert scopes({"eventType": stated, "assignment": assignment}) == [f"audience:{A1}"]


@pytest.mark.parametrize(
    "payload",
    [
        {"eventType": "assignment.updated"},
        {"eventType": "assignment.updated", "assignment": None},
        {"eventType": "assignment.updated", "assignment": {"audienceId": None}},
        {"eventType": "enrolment.created", "enrolment": {"audienceId": A1}},
        {"eventType": "something.else"},
        {"eventType": "users.created"},
        {"eventType": ""},
        {"eventType": None},
        {"audienceIds": []},
        {"audienceIds": [None]},
        {},
    ],
)
def test_what_names_nothing_is_about_the_collection(payload: dict[str, Any]) -> None:
    """An event that names no requirement and no audience asks for everything."""
    assert scopes(payload) == ["collection"]


@pytest.mark.parametrize("where", [None, "data", "requirement", "audience", "assignment"])
def test_names_are_found_where_they_may_stand(where: str | None) -> None:
    """Ids count at the top level and in each of the four containers."""
    names = {
        "audienceRequirementId": R1,
        "audienceRequirementIds": [R2],
        "audienceId": A1,
        "audienceIds": [A2],
    }
    assert scopes(names if where is None else {where: names}) == [
        f"requirement:{R1}",
        f"requirement:{R2}",
        f"audience:{A1}",
        f"audience:{A2}",
    ]


def test_names_of_all_places_count_once() -> None:
    """What is named twice is read once, and nulls beside it do no harm."""
    payload = {"audienceId": A1, "data": {"audienceIds": [A1, None, A2]}, "requirement": None}
    assert scopes(payload) == [f"audience:{A1}", f"audience:{A2}"]


@pytest.mark.parametrize(
    "value",
    [
        "",
        "audience123",
        A1[:-1],
        A1 + "0",
        A1 + "\n",
        f" {A1}",
        "g" * 24,
        "\u0663" * 24,
        5,
        1.5,
        True,
        {},
        {"id": A1},
        [[A1]],
        [A1, "nonsense"],
    ],
)
def test_unreadable_id_is_about_the_collection(value: object) -> None:
    """When one of the names cannot be read, everything is read rather than too little."""
    assert scopes({"audienceRequirementId": R1, "audienceId": value}) == ["collection"]


@pytest.mark.parametrize("value", [None, 5, "text", [], [{"audienceId": A1}], True])
def test_container_of_another_type_is_passed_over(value: object) -> None:
    """A container that is no object holds no names, and hides none."""
    assert scopes({"data": value, "audienceId": A1}) == [f"audience:{A1}"]


def test_as_many_names_as_allowed_are_read_one_by_one() -> None:
    """A hundred names are a hundred scopes."""
    ids = [f"{n:024x}" for n in range(MAX_SCOPES)]
    assert len(scopes({"audienceIds": ids})) == MAX_SCOPES == 100


def test_more_names_are_about_the_collection() -> None:
    """A hundred and one names ask for everything at once."""
    ids = [f"{n:024x}" for n in range(MAX_SCOPES + 1)]
    assert scopes({"audienceIds": ids}) == ["collection"]


@pytest.mark.parametrize(
    ("payload", "stated"),
    [
        ({"eventType": "user.created"}, "user.created"),
        ({"messageType": "user.created"}, "user.created"),
        ({"eventType": "a", "messageType": "b"}, "a"),
        ({"eventType": None, "messageType": "b"}, "b"),
        ({"eventType": "", "messageType": "b"}, "b"),
        ({"eventType": 5, "messageType": ["b"]}, ""),
        ({}, ""),
        ({"eventType": "x" * 500}, "x" * 200),
    ],
)
def test_event_type_is_found(payload: dict[str, Any], stated: str) -> None:
    """``eventType`` counts, ``messageType`` stands in for it, and neither is taken unbounded."""
    assert event_type(payload) == stated


def test_older_message_type_is_ignored_alike() -> None:
    """An older delivery is judged by its ``messageType``."""
    assert scopes({"messageType": "user.created", "audienceId": A1}) == []


def test_own_rule_comes_before_the_built_in_ones() -> None:
    """A setting can make an event count, or scan, that is ignored otherwise."""
    payload = {"eventType": "content.completed", "audienceId": A1}
    named = extract(payload, (Rule("content.*", Action.NAMED), *DEFAULT_RULES))
    scanned = extract(payload, (Rule("content.c*", Action.COLLECTION), *DEFAULT_RULES))
    assert named == (Scope(ScopeKind.AUDIENCE, A1),)
    assert scanned == (COLLECTION,)


def test_rules_may_be_empty() -> None:
    """Without any rule, a payload is about what it names."""
    assert extract({"eventType": "user.x", "audienceId": A1}, ()) == (
        Scope(ScopeKind.AUDIENCE, A1),
    )


@pytest.mark.parametrize(
    "scope", [COLLECTION, Scope(ScopeKind.REQUIREMENT, R1), Scope(ScopeKind.AUDIENCE, A2)]
)
def test_scope_comes_back_from_its_text(scope: Scope) -> None:
    """The key of a mark gives its scope back."""
    assert Scope.parse(str(scope)) == scope


@pytest.mark.parametrize("text", ["", "audience", "requirement:", "collection:x", "page:1", R1])
def test_text_that_is_no_scope_is_refused(text: str) -> None:
    """Anything else is no scope."""
    with pytest.raises(ValueError, match=r"scope|ScopeKind"):
        Scope.parse(text)


@pytest.mark.parametrize("value", [R1, A2])
def test_ids_are_recognised(value: object) -> None:
    """24 hexadecimal digits in either case are an id."""
    assert is_id(value)


@pytest.mark.parametrize("value", [None, 5, b"60d5ec49b60b4b3a2c8f9a10", R1 + "\n", ""])
def test_other_values_are_no_ids(value: object) -> None:
    """Anything else is none."""
    assert not is_id(value)
