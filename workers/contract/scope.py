"""Find out what a notification is about: the first step of the way of a change.

Pure. A scope is what has to be read again: one requirement, one audience, or the collection.
"""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final, NamedTuple, Self

MAX_SCOPES: Final = 100
"""A payload that names more than this is about the collection."""


class ScopeKind(StrEnum):
    """The three things that can be read again."""

    REQUIREMENT = "requirement"
    AUDIENCE = "audience"
    COLLECTION = "collection"


class Scope(NamedTuple):
    """One thing to read again; its text form is the key of its mark.

    ``requirement:<id>``, ``audience:<id>`` or ``collection``.
    """

    kind: ScopeKind
    id: str = ""

    def __str__(self) -> str:
        """Give the text form."""
        return f"{self.kind}:{self.id}" if self.id else str(self.kind)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text form.

        Raises:
            ValueError: ``text`` is no scope.
        """
        kind, _, id_ = text.partition(":")
        scope = cls(ScopeKind(kind), id_)
        if bool(id_) == (scope.kind is ScopeKind.COLLECTION):
            raise ValueError("not a scope")
        return scope


COLLECTION: Final = Scope(ScopeKind.COLLECTION)


class Action(StrEnum):
    """What a rule does with a notification."""

    IGNORE = "ignore"
    """Nothing is read; the notification is recorded as ignored."""
    NAMED = "named"
    """Read what the payload names, or the collection if it names nothing."""
    COLLECTION = "collection"
    """Read everything."""


class Rule(NamedTuple):
    """A pattern of event types (``fnmatch``) and what to do with them."""

    pattern: str
    action: Action


DEFAULT_RULES: Final = (
    Rule("assignment.*", Action.NAMED),
    *(
        Rule(pattern, Action.IGNORE)
        for pattern in (
            "user.*",
            "content.*",
            "page.*",
            "post.*",
            "comment.*",
            "moderation.*",
            "notification.*",
        )
    ),
    Rule("*", Action.NAMED),
)
"""The first rule that matches wins. Event types: the vendor's list of webhook subscriptions."""

_ID: Final = re.compile(r"[0-9a-fA-F]{24}")
_CONTAINERS: Final = ("data", "requirement", "audience", "assignment")
_NAMES: Final = (
    ("audienceRequirementId", ScopeKind.REQUIREMENT),
    ("audienceRequirementIds", ScopeKind.REQUIREMENT),
    ("audienceId", ScopeKind.AUDIENCE),
    ("audienceIds", ScopeKind.AUDIENCE),
)


def is_id(value: object) -> bool:
    """Tell whether a value is an id of the platform: 24 hexadecimal digits.

    Source: ``pattern`` of ``audienceRequirementId``, *Query CPD requirements*.
    """
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def event_type(payload: Mapping[str, object]) -> str:
    """Give the event type a payload states; older deliveries call it ``messageType``."""
    for name in ("eventType", "messageType"):
        value = payload.get(name)
        if isinstance(value, str) and value:
            return value[:200]
    return ""


def extract(
    payload: Mapping[str, object], rules: Sequence[Rule] = DEFAULT_RULES
) -> tuple[Scope, ...]:
    """Give the scopes a notification is about; none means it is to be ignored.

    ``payload`` is any JSON object; every member may be absent, null or of another type.
    """
    stated = event_type(payload)
    action = next(
        (rule.action for rule in rules if fnmatchcase(stated, rule.pattern)), Action.NAMED
    )
    if action is Action.IGNORE:
        return ()
    if action is Action.COLLECTION:
        return (COLLECTION,)
    named = _named(payload)
    return named if 0 < len(named) <= MAX_SCOPES else (COLLECTION,)


def _named(payload: Mapping[str, object]) -> tuple[Scope, ...]:
    """Give what the payload names; nothing at all when one of the names cannot be read."""
    found: dict[Scope, None] = {}
    for container in [payload, *(payload.get(name) for name in _CONTAINERS)]:
        if not isinstance(container, Mapping):
            continue
        for name, kind in _NAMES:
            value = container.get(name)
            for id_ in value if isinstance(value, list) else [value]:
                if id_ is None:
                    continue
                if not is_id(id_):
                    return ()
                found[Scope(kind, str(id_))] = None
    return tuple(found)
