"""Everything that can go wrong has one class, one reason, and one place in the tree."""

import re
from collections.abc import Iterator

import pytest

from workers.contract import errors
from workers.contract.errors import (
    BadRequest,
    CommitConflict,
    CpdfeedError,
    RequestRefused,
    SchemaUnknown,
    SettingsError,
    StoreUnavailable,
    UpstreamRefused,
    UpstreamThrottled,
    UpstreamUnavailable,
)


def tree(root: type[CpdfeedError], depth: int = 0) -> Iterator[tuple[int, str]]:
    """Give (depth, name) of a class and all below it."""
    yield depth, root.__name__
    for below in root.__subclasses__():
        yield from tree(below, depth + 1)


def classes(root: type[CpdfeedError] = CpdfeedError) -> Iterator[type[CpdfeedError]]:
    """Give a class and all below it."""
    yield root
    for below in root.__subclasses__():
        yield from classes(below)


def test_tree_is_the_documented_one() -> None:
    """The docstring draws the tree as it is."""
    drawn = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^    ((?:│   |    )*)(├── |└── )?([A-Z]\w+)", line)
        if found:
            indent, branch, name = found.groups()
            drawn.append((len(indent) // 4 + bool(branch), name))
    assert drawn == list(tree(CpdfeedError))


def test_reasons_are_distinct() -> None:
    """No two classes share a reason, and none inherits one."""
    reasons = [error.reason for error in classes()]
    assert sorted(reasons) == sorted(set(reasons))
    assert all("reason" in vars(error) for error in classes())


def test_reasons_are_pinned() -> None:
    """Reasons stand in logs, metrics and problem types, so they never change."""
    assert {error.__name__: error.reason for error in classes()} == {
        "CpdfeedError": "internal",
        "SettingsError": "settings_invalid",
        "StoreUnavailable": "store_unavailable",
        "SchemaUnknown": "schema_unknown",
        "UpstreamError": "upstream_error",
        "UpstreamUnavailable": "upstream_unavailable",
        "UpstreamThrottled": "upstream_throttled",
        "UpstreamRefused": "upstream_refused",
        "CommitConflict": "commit_conflict",
        "RequestRefused": "refused",
        "BadRequest": "bad_request",
        "Unauthenticated": "unauthenticated",
        "Forbidden": "forbidden",
        "NotFound": "not_found",
        "Gone": "cursor_gone",
        "BodyTooLarge": "body_too_large",
        "UnsupportedMedia": "unsupported_media_type",
        "InboxFull": "inbox_full",
        "TemporarilyUnavailable": "temporarily_unavailable",
    }


@pytest.mark.parametrize(
    "error", [StoreUnavailable, UpstreamUnavailable, UpstreamThrottled, CommitConflict]
)
def test_passing_faults_are_transient(error: type[CpdfeedError]) -> None:
    """What passes by itself is worth another try."""
    assert error.transient


@pytest.mark.parametrize(
    "error", [SettingsError, SchemaUnknown, UpstreamRefused, RequestRefused, BadRequest]
)
def test_lasting_faults_are_not_transient(error: type[CpdfeedError]) -> None:
    """What another try cannot help is not tried again."""
    assert not error.transient


def test_settings_error_names_every_fault() -> None:
    """One message counts and lists all faults."""
    error = SettingsError(["one: is wrong", "two: is missing"])
    assert error.faults == ("one: is wrong", "two: is missing")
    assert str(error) == (
        "cpdfeed cannot start: 2 setting fault(s)\n  - one: is wrong\n  - two: is missing"
    )


def test_refusal_may_name_its_own_reason() -> None:
    """Where one status has several reasons, the refusal's own stands before its class's."""
    assert BadRequest("no").problem == "bad_request"
    assert BadRequest("no", reason="too_deep").problem == "too_deep"
