"""What became of a notification: pending, covered by which read, with which changes."""

import pytest
import redis

from tests.integration.service.feed.conftest import Consumer, Log
from workers.contract.keyspace import Keyspace

AUDIENCE, REQUIREMENT = f"{7:024x}", f"{1:024x}"
MS = 1_700_000_000_000


class Inbox:
    """Writes what accepting and reading write: notifications, marks, reads."""

    def __init__(self, store: redis.Redis, keys: Keyspace) -> None:
        self.store, self.keys = store, keys
        self.accepted, self.reads = 0, 0

    def accept(self, *scopes: str, type_: str = "assignment.updated") -> str:
        """Accept a notification; give its id."""
        self.accepted += 1
        id_ = f"{MS + self.accepted}-{self.accepted}"
        fields = {"type": type_, "scopes": " ".join(scopes), "via": "signature"}
        self.store.xadd(self.keys.inbox, fields, id=id_)  # type: ignore[arg-type]
        for scope in scopes:
            mark = f"{id_} {self.accepted} 1 0"
            self.store.hsetnx(self.keys.marks, scope, mark)
        return id_

    def read(
        self,
        *scopes: str,
        claimed: int,
        trigger: str = "notification",
        after_ms: int = 0,
        found: tuple[int, int] = (0, 0),
    ) -> str:
        """Record a read, and take the marks it has served; give its id."""
        self.reads += 1
        fields = {
            "started_ms": MS + 1000 + after_ms,
            "trigger": trigger,
            "scopes": " ".join(scopes),
            "first": found[0],
            "last": found[1],
        }
        id_ = f"{claimed}-{self.reads}"
        self.store.xadd(self.keys.reads, fields, id=id_)  # type: ignore[arg-type]
        served = self.store.hkeys(self.keys.marks) if "collection" in scopes else scopes
        if served:
            self.store.hdel(self.keys.marks, *served)
        return id_


@pytest.fixture
def inbox(store: redis.Redis, keys: Keyspace) -> Inbox:
    """Give the empty inbox of the tenant ``acme``."""
    return Inbox(store, keys)


def test_pending_notification_has_no_read_yet(consumer: Consumer, inbox: Inbox) -> None:
    """What is accepted and not yet covered is pending."""
    id_ = inbox.accept(f"audience:{AUDIENCE}")
    assert consumer.get(f"/v1/notifications/{id_}") == {
        "id": id_,
        "state": "pending",
        "accept_sequence": 1,
        "received_at": "2023-11-14T22:13:20.001Z",
        "event_type": "assignment.updated",
        "scope": f"audience:{AUDIENCE}",
        "read": None,
        "changes": [],
    }


def test_ignored_notification_is_told_as_such(consumer: Consumer, inbox: Inbox) -> None:
    """A notification about nothing we follow is ignored for ever."""
    id_ = inbox.accept(type_="user.updated")
    found = consumer.get(f"/v1/notifications/{id_}")
    assert (found["state"], found["scope"], found["read"]) == ("ignored", "", None)


def test_covered_notification_names_its_read_and_changes(
    consumer: Consumer, inbox: Inbox, log: Log
) -> None:
    """The read that covered it is named, and of its changes those that concern its scope."""
    log.baseline()
    id_ = inbox.accept(f"audience:{AUDIENCE}")
    log.put(log.row(1, audience=7), log.row(2, audience=8), log.row(3, audience=7))
    read = inbox.read(f"audience:{AUDIENCE}", claimed=1, found=(2, 4))
    found = consumer.get(f"/v1/notifications/{id_}")
    assert found["state"] == "covered"
    assert found["read"] == {"id": read, "started_at": "2023-11-14T22:13:21.000Z"}
    assert found["changes"] == [2, 4]


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (f"requirement:{REQUIREMENT}", [2, 4]),
        (f"audience:{AUDIENCE}", [2, 4]),
        (f"audience:{9:024x}", [4]),
        ("collection", [2, 3, 4]),
    ],
)
def test_changes_are_those_of_the_scope(
    consumer: Consumer, inbox: Inbox, log: Log, scope: str, expected: list[int]
) -> None:
    """A change concerns its requirement, its audiences before and after, and the collection."""
    log.baseline()
    id_ = inbox.accept(scope)
    log.put(log.row(1, audience=7), log.row(2, audience=8))
    log.put(log.row(1, audience=9))
    inbox.read("collection", claimed=1, found=(2, 4))
    assert consumer.get(f"/v1/notifications/{id_}")["changes"] == expected


def test_notification_accepted_during_a_read_stays_pending(
    consumer: Consumer, inbox: Inbox
) -> None:
    """A read that had claimed less does not cover what came later."""
    first = inbox.accept("collection")
    second = inbox.accept("collection")
    inbox.read("collection", claimed=1)
    inbox.store.hset(inbox.keys.marks, "collection", f"{MS}-2 2 1 0")
    assert consumer.get(f"/v1/notifications/{first}")["state"] == "covered"
    assert consumer.get(f"/v1/notifications/{second}")["state"] == "pending"


def test_other_scopes_do_not_make_it_pending(consumer: Consumer, inbox: Inbox) -> None:
    """Only its own scopes decide whether a notification is covered."""
    id_ = inbox.accept(f"audience:{AUDIENCE}")
    inbox.accept(f"requirement:{REQUIREMENT}")
    inbox.read(f"audience:{AUDIENCE}", claimed=2)
    assert consumer.get(f"/v1/notifications/{id_}")["state"] == "covered"


def test_notification_of_several_scopes_is_covered_by_the_last_needed_read(
    consumer: Consumer, inbox: Inbox, log: Log
) -> None:
    """It is covered once each of its scopes was read, by the last of the first such reads."""
    log.baseline()
    one, two = f"audience:{AUDIENCE}", f"requirement:{2:024x}"
    id_ = inbox.accept(one, two)
    log.put(log.row(1, audience=7))
    inbox.read(one, claimed=1, found=(2, 2))
    assert consumer.get(f"/v1/notifications/{id_}")["state"] == "pending"
    log.put(log.row(2, audience=8), log.row(3, audience=9))
    last = inbox.read(two, claimed=1, found=(3, 4))
    inbox.read("collection", claimed=1)
    found = consumer.get(f"/v1/notifications/{id_}")
    assert (found["read"]["id"], found["changes"]) == (last, [2, 3])


def test_settled_changes_are_the_notifications_own(
    consumer: Consumer, inbox: Inbox, log: Log
) -> None:
    """What a later read found on its account, when the hint was ahead of the platform, counts."""
    log.baseline()
    scope = f"audience:{AUDIENCE}"
    id_ = inbox.accept(scope)
    read = inbox.read(scope, claimed=1)
    log.put(log.row(1, audience=7), notifications=(id_,))
    log.put(log.row(2, audience=7), notifications=("another",))
    inbox.read(scope, claimed=1, trigger="settle", after_ms=5_000, found=(2, 3))
    found = consumer.get(f"/v1/notifications/{id_}")
    assert (found["read"]["id"], found["changes"]) == (read, [2])


def test_reads_long_after_settling_are_not_looked_at(
    consumer: Consumer, inbox: Inbox, log: Log
) -> None:
    """A look-up ends where nothing can be read on the notification's account any more."""
    log.baseline()
    id_ = inbox.accept("collection")
    inbox.read("collection", claimed=1)
    log.put(log.row(1), notifications=(id_,))
    inbox.read("collection", claimed=1, trigger="settle", after_ms=76_000, found=(2, 2))
    assert consumer.get(f"/v1/notifications/{id_}")["changes"] == []


def test_covered_notification_without_its_read_is_still_covered(
    consumer: Consumer, inbox: Inbox, store: redis.Redis
) -> None:
    """When the record of the read was trimmed, the state is told without it."""
    id_ = inbox.accept("collection")
    inbox.read("collection", claimed=1)
    store.delete(inbox.keys.reads)
    found = consumer.get(f"/v1/notifications/{id_}")
    assert (found["state"], found["read"], found["changes"]) == ("covered", None, [])


def test_covering_read_is_found_behind_many_others(
    consumer: Consumer, inbox: Inbox, store: redis.Redis
) -> None:
    """However many other reads there were meanwhile, the one that covered it is found."""
    id_ = inbox.accept("collection")
    pipe = store.pipeline(transaction=False)
    for _ in range(1_200):
        inbox.reads += 1
        fields = {"started_ms": MS, "trigger": "settle", "scopes": "", "first": 0, "last": 0}
        pipe.xadd(inbox.keys.reads, fields, id=f"1-{inbox.reads}")  # type: ignore[arg-type]
    pipe.execute()
    read = inbox.read("collection", claimed=1)
    assert consumer.get(f"/v1/notifications/{id_}")["read"]["id"] == read


def test_unknown_notification_is_not_found(consumer: Consumer, inbox: Inbox) -> None:
    """An id that was never given is answered with 404."""
    inbox.accept("collection")
    assert consumer.refusal(f"/v1/notifications/{MS + 1}-2") == (404, "not_found")


@pytest.mark.parametrize("id_", ["x", "1", "1-", "1-2-3", "-1-1", "1-1%0A", "٣-1", "9" * 30 + "-1"])
def test_malformed_notification_id_is_refused(consumer: Consumer, id_: str) -> None:
    """What is no id of a notification is answered with 400."""
    assert consumer.refusal(f"/v1/notifications/{id_}") == (400, "id_malformed")


def test_look_up_takes_no_parameters(consumer: Consumer) -> None:
    """A parameter without a meaning is answered with 400."""
    assert consumer.refusal("/v1/notifications/1-1", full="1") == (400, "unknown_parameter")
