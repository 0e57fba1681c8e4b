"""A change's CloudEvent: what led to it, and the bytes that every channel sends."""

import json

import pytest

from workers.changes.event import (
    Cause,
    Causes,
    Observed,
    Place,
    baseline_event,
    change_event,
)
from workers.contract.codec import GENESIS, chain_digest
from workers.contract.model import (
    Change,
    Evidence,
    EvidenceKind,
    Kind,
    Requirement,
    Source,
    Trigger,
)
from workers.contract.scope import COLLECTION, Scope, ScopeKind

ID, AUDIENCE, OTHER = (
    "60d5ec49b60b4b3a2c8f9a10",
    "60d5ec49b60b4b3a2c8f9a11",
    "60d5ec49b60b4b3a2c8f9a12",
)
BEFORE = Requirement(ID, AUDIENCE, 660, 1_590_576_245_687_000, None)
AFTER = Requirement(ID, AUDIENCE, 720, 1_590_576_245_687_000, 1_596_620_267_824_000)
TIMER = Source(COLLECTION, Trigger.RECONCILE)
BY_ID = Scope(ScopeKind.REQUIREMENT, ID)
BY_AUDIENCE = Scope(ScopeKind.AUDIENCE, AUDIENCE)
BY_OTHER = Scope(ScopeKind.AUDIENCE, OTHER)
CAUSE = Cause(Trigger.NOTIFICATION, ("1600000000000-7",), 1)
OBSERVED = Observed(1_600_000_000_000, 1_600_000_001_000)
NOW_MS = 1_600_000_001_500


def noted(scope: Scope, *ids: str, trigger: Trigger = Trigger.NOTIFICATION) -> Source:
    """Give the source of notifications about a scope."""
    return Source(scope, trigger, ids, len(ids))


def cause(*sources: Source) -> Cause:
    """Give the cause of the one change."""
    return Causes(sources).of(ID, BEFORE, AFTER)


@pytest.mark.parametrize("scope", [BY_ID, BY_AUDIENCE, COLLECTION])
def test_naming_notification_comes_first(scope: Scope) -> None:
    """A notification that names the change is its cause, whatever else asked for the read."""
    assert cause(TIMER, noted(BY_OTHER, "1-1"), noted(scope, "2-2")) == Cause(
        Trigger.NOTIFICATION, ("2-2",), 1
    )


@pytest.mark.parametrize(
    ("beside", "first"),
    [
        (Trigger.MANUAL, Trigger.NOTIFICATION),
        (Trigger.SETTLE, Trigger.NOTIFICATION),
        (Trigger.RECONCILE, Trigger.NOTIFICATION),
    ],
)
def test_notification_stands_before_anything_else(beside: Trigger, first: Trigger) -> None:
    """Of several causes the notification gives the trigger, whatever their order."""
    by_other = noted(BY_ID, "2-2", trigger=beside)
    assert cause(by_other, noted(BY_AUDIENCE, "1-1")).trigger is first


def test_manual_stands_before_settle() -> None:
    """What was asked for by hand stands before what is read again."""
    sources = [noted(BY_ID, trigger=Trigger.SETTLE), noted(BY_AUDIENCE, trigger=Trigger.MANUAL)]
    assert cause(*sources).trigger is Trigger.MANUAL


def test_audience_left_and_audience_joined_both_name_it() -> None:
    """A change from one audience to another is named by either."""
    moved = Requirement(ID, OTHER, 660, 0, None)
    for scope in (BY_AUDIENCE, BY_OTHER):
        found = Causes([TIMER, noted(scope, "1-1")]).of(ID, BEFORE, moved)
        assert found.notifications == ("1-1",)


def test_timer_counts_as_unannounced() -> None:
    """A change that nothing named was found by the timer, though others asked for the read."""
    assert cause(noted(BY_OTHER, "1-1"), TIMER) == Cause(Trigger.RECONCILE, (), 0)


def test_without_a_timer_whatever_made_us_read_is_the_cause() -> None:
    """A change found in passing is put down to what made us read."""
    assert cause(noted(BY_OTHER, "1-1")) == Cause(Trigger.NOTIFICATION, ("1-1",), 1)


def test_no_source_at_all_is_the_timer() -> None:
    """A read without a reason is a timed one."""
    assert cause() == Cause(Trigger.RECONCILE, (), 0)


def test_first_twenty_are_named_and_all_are_counted() -> None:
    """A cause names the 20 oldest notifications, by number, and counts every one."""
    ids = [f"5-{n}" for n in range(30, 0, -1)]
    found = cause(noted(BY_AUDIENCE, *ids), noted(BY_ID, "10-31"))
    assert found.notifications == tuple(f"5-{n}" for n in range(1, 21))
    assert found.notification_count == 31


def test_notification_with_two_names_counts_once() -> None:
    """A notification that names the requirement and its audience is one notification."""
    assert cause(noted(BY_ID, "1-1"), noted(BY_AUDIENCE, "1-1")) == Cause(
        Trigger.NOTIFICATION, ("1-1",), 1
    )


def test_every_gives_the_cause_of_the_read() -> None:
    """The read's own cause is all that asked for it."""
    every = Causes([TIMER, noted(BY_OTHER, "2-2"), noted(BY_ID, "1-1")]).every()
    assert every == Cause(Trigger.NOTIFICATION, ("1-1", "2-2"), 2)


def test_change_bytes_are_pinned() -> None:
    """A change is these bytes on every channel, and this digest."""
    place = Place("acme", "e0f1", 42, GENESIS)
    change = Change(Kind.UPDATED, ID, BEFORE, AFTER, Evidence(EvidenceKind.PAGE, 1, 3))
    event, digest = change_event(place, change, None, CAUSE, OBSERVED, NOW_MS)
    assert digest == "8ba011c7d26a28682c395cb35f4b682b282e4009bb6dc19a9025d06aaf5136e4"
    assert event.decode() == (
        '{"specversion":"1.0","id":"e0f1:42","source":"/tenants/acme/cpdRequirementSummaries",'
        '"type":"cpd.requirement.updated","subject":"60d5ec49b60b4b3a2c8f9a10",'
        '"time":"2020-09-13T12:26:41.500Z","datacontenttype":"application/json",'
        '"sequence":"00000000000000000042","data":{"sequence":42,"kind":"updated",'
        '"requirement_id":"60d5ec49b60b4b3a2c8f9a10","audience":{"id":'
        '"60d5ec49b60b4b3a2c8f9a11","name":null,"reference":null},'
        '"before":{"audienceId":"60d5ec49b60b4b3a2c8f9a11","requiredMinutes":660,'
        '"createdAt":"2020-05-27T10:44:05.687Z","updatedAt":null},'
        '"after":{"audienceId":"60d5ec49b60b4b3a2c8f9a11","requiredMinutes":720,'
        '"createdAt":"2020-05-27T10:44:05.687Z","updatedAt":"2020-08-05T09:37:47.824Z"},'
        '"changed":["requiredMinutes"],"delta_minutes":60,"late":false,'
        '"observed":{"not_before":"2020-09-13T12:26:40.000Z","by":"2020-09-13T12:26:41.000Z"},'
        '"cause":{"trigger":"notification","notifications":["1600000000000-7"],'
        '"notification_count":1},"evidence":{"kind":"page","page":3,'
        '"at":"1970-01-01T00:00:00.001Z"},"previous_digest":'
        '"0000000000000000000000000000000000000000000000000000000000000000",'
        f'"digest":"{digest}"}}}}'
    )


@pytest.mark.parametrize(
    ("kind", "before", "after", "delta"),
    [
        (Kind.CREATED, None, AFTER, 720),
        (Kind.RESTORED, None, AFTER, 720),
        (Kind.REMOVED, BEFORE, None, -660),
    ],
)
def test_one_sided_change_counts_all_minutes(
    kind: Kind, before: Requirement | None, after: Requirement | None, delta: int
) -> None:
    """What came or went changed no field, and moved all its minutes."""
    change = Change(kind, ID, before, after, Evidence(EvidenceKind.FOUND, 1))
    event, digest = change_event(
        Place("acme", "e", 1, GENESIS), change, None, CAUSE, OBSERVED, NOW_MS
    )
    document = json.loads(event)
    data = document["data"]
    assert document["type"] == f"cpd.requirement.{kind}"
    assert (data["changed"], data["delta_minutes"]) == ([], delta)
    assert (data["before"] is None, data["after"] is None) == (before is None, after is None)
    assert data["audience"]["id"] == AUDIENCE
    assert data["evidence"]["page"] is None
    assert data["digest"] == digest == chain_digest(GENESIS, document)


def test_both_fields_may_change() -> None:
    """All material fields that differ are named."""
    moved = Requirement(ID, OTHER, 60, 0, None)
    change = Change(Kind.UPDATED, ID, BEFORE, moved, Evidence(EvidenceKind.FOUND, 1), late=True)
    event, _ = change_event(Place("acme", "e", 1, GENESIS), change, None, CAUSE, OBSERVED, NOW_MS)
    data = json.loads(event)["data"]
    assert data["changed"] == ["audienceId", "requiredMinutes"]
    assert (data["delta_minutes"], data["late"]) == (-600, True)
    assert data["audience"]["id"] == OTHER


def test_baseline_bytes_are_pinned() -> None:
    """The baseline is about no row, counts them, and bears their digest."""
    found = Cause(Trigger.RECONCILE, (), 0)
    event, digest = baseline_event(
        Place("acme", "e0f1", 1, GENESIS), 2, "ab" * 32, found, Observed(None, 1), NOW_MS
    )
    assert digest == "f6185b9f1a9e5bc00566a0c0db227e98913757e330fdd7f99d799c89135c51ef"
    assert event.decode() == (
        '{"specversion":"1.0","id":"e0f1:1","source":"/tenants/acme/cpdRequirementSummaries",'
        '"type":"cpd.requirements.baseline","time":"2020-09-13T12:26:41.500Z",'
        '"datacontenttype":"application/json","sequence":"00000000000000000001",'
        '"data":{"sequence":1,"kind":"baseline","count":2,'
        f'"rows_digest":"{"ab" * 32}",'
        '"observed":{"not_before":null,"by":"1970-01-01T00:00:00.001Z"},'
        '"cause":{"trigger":"reconcile","notifications":[],"notification_count":0},'
        f'"previous_digest":"{GENESIS}","digest":"{digest}"}}}}'
    )
