"""Accepting, one atomic step: duplicates, marks, bounds, wake-ups, and group commit."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

import pytest
import redis
from redis.asyncio import Redis

from service.inbox import MAX_BATCH, Inbox, Incoming, Receipt, Status, Via
from service.schema import Schema
from workers.contract.errors import InboxFull, StoreUnavailable
from workers.contract.keyspace import Keyspace
from workers.contract.scope import COLLECTION, Scope, ScopeKind

T = TypeVar("T")

AUDIENCE = Scope(ScopeKind.AUDIENCE, "60d5ec49b60b4b3a2c8f9a11")
REQUIREMENT = Scope(ScopeKind.REQUIREMENT, "60d5ec49b60b4b3a2c8f9a10")
NOW_MS = 1_700_000_000_000


def note(
    name: object = "",
    *scopes: Scope,
    dated: bool = True,
    via: Via = "bearer",
    event_type: str = "assignment.updated",
) -> Incoming:
    """Give a notification that is told from others by its name."""
    identity = hashlib.sha256(str(name).encode()).hexdigest()
    return Incoming(identity, dated, event_type, scopes or (COLLECTION,), via)


def ignored(name: object = "") -> Incoming:
    """Give a notification that is about nothing we read."""
    return note(name)._replace(scopes=(), event_type="user.updated")


class Lab:
    """An inbox on a real server, with a clock that a test moves."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.now_ms = NOW_MS
        self.limit = 100_000
        self.dedupe = timedelta(days=1)
        self.woken = 0

    def run(self, use: Callable[[Inbox], Awaitable[T]]) -> T:
        """Do something with the inbox of the tenant ``acme``."""

        async def running() -> T:
            client = Redis.from_url(self.url)
            try:
                return await use(self.inbox(client))
            finally:
                await client.aclose()

        return asyncio.run(running())

    def inbox(self, client: Redis) -> Inbox:
        """Give an inbox."""
        return Inbox(
            client,
            Schema(client),
            "acme",
            now_ms=lambda: self.now_ms,
            dedupe=self.dedupe,
            limit=self.limit,
            wake=self.wake,
        )

    def wake(self) -> None:
        """Count the refreshes that were called for."""
        self.woken += 1

    def accept(self, *notes: Incoming) -> list[Receipt]:
        """Accept one after another."""

        async def use(inbox: Inbox) -> list[Receipt]:
            return [await inbox.accept(one) for one in notes]

        return self.run(use)

    def accept_together(self, *notes: Incoming) -> list[Receipt | BaseException]:
        """Accept all at once, as concurrent requests do."""

        async def use(inbox: Inbox) -> list[Receipt | BaseException]:
            return await asyncio.gather(*map(inbox.accept, notes), return_exceptions=True)

        return self.run(use)


@pytest.fixture
def lab(redis_url: str) -> Lab:
    """Give an inbox to experiment with."""
    return Lab(redis_url)


def hash_of(store: redis.Redis, key: str) -> dict[str, str]:
    """Give a hash as text."""
    found: Any = store.hgetall(key)
    return {name.decode(): value.decode() for name, value in found.items()}


def entries(store: redis.Redis) -> list[tuple[str, dict[str, str]]]:
    """Give what the inbox holds, as text."""
    found: Any = store.xrange("cpdfeed:{acme}:inbox")
    return [
        (id_.decode(), {name.decode(): value.decode() for name, value in fields.items()})
        for id_, fields in found
    ]


# --- what is written ----------------------------------------------------------------------------


def test_every_key_and_field_is_pinned(lab: Lab, store: redis.Redis) -> None:
    """One accepted notification writes exactly this."""
    (receipt,) = lab.accept(note("a", AUDIENCE, REQUIREMENT))
    identity = hashlib.sha256(b"a").hexdigest()
    id_ = "1700000000000-1"
    assert receipt == Receipt(Status.ACCEPTED, id_)
    keys: Any = store.keys()
    assert sorted(key.decode() for key in keys) == [
        "cpdfeed:schema",
        f"cpdfeed:{{acme}}:dedupe:{identity}",
        "cpdfeed:{acme}:head",
        "cpdfeed:{acme}:inbox",
        "cpdfeed:{acme}:marks",
        "cpdfeed:{acme}:stats",
        "cpdfeed:{acme}:wake",
    ]
    assert store.get(f"cpdfeed:{{acme}}:dedupe:{identity}") == id_.encode()
    assert hash_of(store, "cpdfeed:{acme}:head") == {
        "accept": "1",
        "last_ms": "1700000000000",
        "pending": "2",
        "oldest_ms": "1700000000000",
    }
    fields = {
        "type": "assignment.updated",
        "scopes": "audience:60d5ec49b60b4b3a2c8f9a11 requirement:60d5ec49b60b4b3a2c8f9a10",
        "via": "bearer",
    }
    assert entries(store) == [(id_, fields)]
    assert hash_of(store, "cpdfeed:{acme}:marks") == {
        "audience:60d5ec49b60b4b3a2c8f9a11": "1700000000000-1 1 1 0",
        "requirement:60d5ec49b60b4b3a2c8f9a10": "1700000000000-1 1 1 0",
    }
    assert hash_of(store, "cpdfeed:{acme}:stats") == {"accepted": "1"}
    assert store.get("cpdfeed:{acme}:wake") == b"1"


def test_lifetimes_are_as_declared(lab: Lab, store: redis.Redis, keys: Keyspace) -> None:
    """The memory of duplicates lives as long as is set, the wake flag 5 s."""
    lab.dedupe = timedelta(seconds=90)
    one = note("a")
    lab.accept(one)
    assert 89_000 < int(store.pttl(keys.dedupe(one.identity))) <= 90_000
    assert 4_000 < int(store.pttl(keys.wake)) <= 5_000


def test_shortest_memory_of_duplicates_is_a_millisecond(lab: Lab) -> None:
    """A memory set to next to nothing is no fault."""
    lab.dedupe = timedelta(microseconds=1)
    assert lab.accept(note("a"))[0].status is Status.ACCEPTED


def test_mark_says_first_last_count_and_manual(lab: Lab, store: redis.Redis) -> None:
    """A scope's mark grows with every notification about it, and its first stays."""
    lab.accept(note("a", AUDIENCE))
    lab.now_ms += 5
    lab.accept(note("b"), note("c", AUDIENCE, via="api"), note("d", AUDIENCE, via="both"))
    assert hash_of(store, "cpdfeed:{acme}:marks") == {
        "audience:60d5ec49b60b4b3a2c8f9a11": "1700000000000-1 4 3 1",
        "collection": "1700000000005-2 2 1 0",
    }
    assert hash_of(store, "cpdfeed:{acme}:head")["pending"] == "4"


def test_mark_begins_anew_after_its_commit(lab: Lab, store: redis.Redis, keys: Keyspace) -> None:
    """When a commit took the mark away, the next notification is the first again."""
    lab.accept(note("a"))
    store.hdel(keys.marks, "collection")
    lab.accept(note("b"))
    assert hash_of(store, keys.marks) == {"collection": "1700000000000-2 2 1 0"}


def test_clock_that_goes_back_is_not_followed(lab: Lab, store: redis.Redis) -> None:
    """Ids only ever increase, whatever the clocks of several machines say."""
    lab.accept(note("a"))
    lab.now_ms -= 60_000
    (receipt,) = lab.accept(note("b"))
    assert receipt.id == "1700000000000-2"
    lab.now_ms += 120_000
    (receipt,) = lab.accept(note("c"))
    assert receipt.id == "1700000060000-3"
    assert hash_of(store, "cpdfeed:{acme}:head")["last_ms"] == "1700000060000"


def test_great_sequences_are_written_in_full(lab: Lab, store: redis.Redis, keys: Keyspace) -> None:
    """Numbers keep all their digits."""
    store.hset(keys.head, mapping={"accept": 9_007_199_254_740_000, "pending": 0})
    (receipt,) = lab.accept(note("a"))
    assert receipt.id == "1700000000000-9007199254740001"
    assert hash_of(store, keys.head)["accept"] == "9007199254740001"
    assert hash_of(store, keys.marks)["collection"].split()[1] == "9007199254740001"


# --- duplicates ---------------------------------------------------------------------------------


def test_dated_equal_is_a_duplicate(lab: Lab, store: redis.Redis, keys: Keyspace) -> None:
    """A dated notification that was seen takes no sequence and writes nothing."""
    first, again, other = lab.accept(note("a"), note("a"), note("b"))
    assert again == Receipt(Status.DUPLICATE, first.id)
    assert other.id.endswith("-2")
    assert [id_ for id_, _ in entries(store)] == [first.id, other.id]
    assert hash_of(store, keys.marks) == {"collection": f"{first.id} 2 2 0"}
    assert hash_of(store, keys.stats) == {"accepted": "2", "duplicate": "1"}


def test_dated_equal_stays_a_duplicate_when_claimed(
    lab: Lab, store: redis.Redis, keys: Keyspace
) -> None:
    """A delivery that is repeated after it was served is a repetition still."""
    lab.accept(note("a"))
    store.hset(keys.head, "claimed", 1)
    assert lab.accept(note("a"))[0].status is Status.DUPLICATE


def test_dated_equal_is_accepted_when_it_was_forgotten(
    lab: Lab, store: redis.Redis, keys: Keyspace
) -> None:
    """After the memory of duplicates has passed it is a notification like any other."""
    one = note("a")
    lab.accept(one)
    store.delete(keys.dedupe(one.identity))
    assert lab.accept(one)[0] == Receipt(Status.ACCEPTED, "1700000000000-2")


def test_undated_equal_is_a_duplicate_while_unclaimed(
    lab: Lab, store: redis.Redis, keys: Keyspace
) -> None:
    """What is not being read yet need not be read twice."""
    store.hset(keys.head, "claimed", 0)
    first, again = lab.accept(note("a", dated=False), note("a", dated=False))
    assert again == Receipt(Status.DUPLICATE, first.id)


def test_undated_equal_is_accepted_once_claimed(
    lab: Lab, store: redis.Redis, keys: Keyspace
) -> None:
    """A read that has begun may have missed what is announced now, so it is news again."""
    one = note("a", dated=False)
    lab.accept(one)
    store.hset(keys.head, "claimed", 1)
    again, third = lab.accept(one, one)
    assert again == Receipt(Status.ACCEPTED, "1700000000000-2")
    assert third == Receipt(Status.DUPLICATE, again.id)
    assert store.get(keys.dedupe(one.identity)) == again.id.encode()


def test_equals_in_one_batch_are_duplicates(lab: Lab, store: redis.Redis) -> None:
    """Equal notifications that arrive in the same moment are one."""
    receipts = lab.accept_together(*[note("a")] * 20)
    assert [r.status for r in receipts if isinstance(r, Receipt)] == [
        Status.ACCEPTED,
        *[Status.DUPLICATE] * 19,
    ]
    assert len(entries(store)) == 1


def test_duplicates_of_other_tenants_do_not_matter(lab: Lab, redis_url: str) -> None:
    """Every tenant remembers its own."""
    lab.accept(note("a"))

    async def use() -> Receipt:
        client = Redis.from_url(redis_url)
        inbox = Inbox(
            client,
            Schema(client),
            "other",
            now_ms=lambda: NOW_MS,
            dedupe=timedelta(1),
            limit=1,
            wake=lab.wake,
        )
        try:
            return await inbox.accept(note("a"))
        finally:
            await client.aclose()

    assert asyncio.run(use()) == Receipt(Status.ACCEPTED, "1700000000000-1")


# --- ignored ------------------------------------------------------------------------------------


def test_ignored_is_recorded_and_nothing_else(lab: Lab, store: redis.Redis, keys: Keyspace) -> None:
    """What is about nothing we read is in the inbox, pends nothing and wakes nobody."""
    (receipt,) = lab.accept(ignored())
    assert receipt == Receipt(Status.IGNORED, "1700000000000-1")
    fields = {"type": "user.updated", "scopes": "", "via": "bearer"}
    assert entries(store) == [(receipt.id, fields)]
    assert hash_of(store, keys.head) == {
        "accept": "1",
        "last_ms": "1700000000000",
        "pending": "0",
    }
    assert not store.exists(keys.marks, keys.wake)
    assert hash_of(store, keys.stats) == {"ignored": "1"}
    assert lab.woken == 0


def test_ignored_equal_is_a_duplicate(lab: Lab) -> None:
    """A redelivery of what is ignored is a duplicate as well."""
    first, again = lab.accept(ignored("a"), ignored("a"))
    assert again == Receipt(Status.DUPLICATE, first.id)


# --- the bound ----------------------------------------------------------------------------------


def test_full_inbox_refuses(lab: Lab, store: redis.Redis, keys: Keyspace) -> None:
    """When as many are pending as may be, nothing is written for the next one."""
    lab.limit = 2
    lab.accept(note("a"), note("b"))
    before = store.dump(keys.head), store.dump(keys.inbox), store.dump(keys.marks)
    with pytest.raises(InboxFull) as refusal:
        lab.accept(note("c"))
    assert (refusal.value.problem, refusal.value.retry_after_s) == ("inbox_full", 5)
    assert before == (store.dump(keys.head), store.dump(keys.inbox), store.dump(keys.marks))
    assert not store.exists(keys.dedupe(note("c").identity))


def test_full_inbox_still_answers_duplicates_and_ignored(lab: Lab) -> None:
    """What takes no room is not refused."""
    lab.limit = 1
    lab.accept(note("a"))
    again, other = lab.accept(note("a"), ignored("b"))
    assert (again.status, other.status) == (Status.DUPLICATE, Status.IGNORED)


def test_inbox_that_was_covered_accepts_again(lab: Lab, store: redis.Redis, keys: Keyspace) -> None:
    """When a commit has covered what was pending there is room."""
    lab.limit = 1
    lab.accept(note("a"))
    store.hset(keys.head, "pending", 0)
    assert lab.accept(note("b"))[0].status is Status.ACCEPTED


def test_bound_holds_within_a_batch(lab: Lab, store: redis.Redis) -> None:
    """Of those that arrive together just as many are taken as there is room for."""
    lab.limit = 3
    outcomes = lab.accept_together(*map(note, range(10)))
    assert [isinstance(outcome, Receipt) for outcome in outcomes] == [True] * 3 + [False] * 7
    assert all(isinstance(outcome, InboxFull) for outcome in outcomes[3:])
    assert len(entries(store)) == 3


# --- waking -------------------------------------------------------------------------------------


def test_burst_wakes_once(lab: Lab) -> None:
    """However many come within 5 s, one call goes to the broker."""
    lab.accept_together(*map(note, range(1000)))
    lab.accept(note("later"))
    assert lab.woken == 1


def test_lost_call_is_made_again(lab: Lab, store: redis.Redis, keys: Keyspace) -> None:
    """When the flag has expired, the next notification wakes again."""
    lab.accept(note("a"))
    store.delete(keys.wake)
    lab.accept(note("b"))
    assert lab.woken == 2


def test_duplicates_wake_nobody(lab: Lab, store: redis.Redis, keys: Keyspace) -> None:
    """What was accepted before was called for before."""
    lab.accept(note("a"))
    store.delete(keys.wake)
    lab.accept(note("a"))
    assert lab.woken == 1
    assert not store.exists(keys.wake)


# --- group commit -------------------------------------------------------------------------------


def script_calls(store: redis.Redis) -> int:
    """Count the calls of the script since the statistics were reset."""
    statistics: Any = store.info("commandstats")
    return int(statistics.get("cmdstat_evalsha", {"calls": 0})["calls"])


def test_concurrent_notifications_share_script_calls(lab: Lab, store: redis.Redis) -> None:
    """A hundred at once cost a handful of calls, and their sequences have no gap."""
    lab.accept(ignored("loads the script"))
    store.config_resetstat()
    receipts = lab.accept_together(*map(note, range(100)))
    ids = [receipt.id for receipt in receipts if isinstance(receipt, Receipt)]
    assert [id_.partition("-")[2] for id_ in ids] == [str(number) for number in range(2, 102)]
    assert [id_ for id_, _ in entries(store)][1:] == ids
    assert script_calls(store) <= 3


def test_batches_are_bounded(lab: Lab, store: redis.Redis) -> None:
    """One call holds the server only so long: a great burst is split."""
    lab.accept(ignored("loads the script"))
    store.config_resetstat()
    lab.accept_together(*map(note, range(MAX_BATCH * 4)))
    assert 4 <= script_calls(store) <= 6
    assert hash_of(store, "cpdfeed:{acme}:head")["pending"] == str(MAX_BATCH * 4)


def test_receipts_are_each_ones_own(lab: Lab, store: redis.Redis) -> None:
    """In a mixed batch everyone gets the answer to what they sent."""
    notes = [note("a", AUDIENCE), ignored("b"), note("a", AUDIENCE), note("c", REQUIREMENT)]
    receipts = [r for r in lab.accept_together(*notes) if isinstance(r, Receipt)]
    assert [receipt.status for receipt in receipts] == [
        Status.ACCEPTED,
        Status.IGNORED,
        Status.DUPLICATE,
        Status.ACCEPTED,
    ]
    assert [fields["scopes"] for _, fields in entries(store)] == [
        str(AUDIENCE),
        "",
        str(REQUIREMENT),
    ]


def test_request_that_is_given_up_takes_nobody_with_it(lab: Lab, store: redis.Redis) -> None:
    """Cancelling some of those who wait leaves the others their answers."""

    async def use(inbox: Inbox) -> list[Receipt | BaseException]:
        waiting = [asyncio.ensure_future(inbox.accept(note(number))) for number in range(50)]
        await asyncio.sleep(0)  # they have queued; the first call is not answered yet
        for given_up in waiting[::2]:
            given_up.cancel()
        return await asyncio.gather(*waiting, return_exceptions=True)

    outcomes = lab.run(use)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes[::2])
    kept = [outcome for outcome in outcomes[1::2] if isinstance(outcome, Receipt)]
    assert len(kept) == 25
    stored = {id_ for id_, _ in entries(store)}
    assert {receipt.id for receipt in kept} <= stored


def test_inbox_works_on_after_a_request_was_given_up(lab: Lab) -> None:
    """The first of a batch being given up does not stop the commits."""

    async def use(inbox: Inbox) -> Receipt:
        first = asyncio.ensure_future(inbox.accept(note("a")))
        await asyncio.sleep(0)
        first.cancel()
        return await inbox.accept(note("b"))

    assert lab.run(use).status is Status.ACCEPTED


def test_two_processes_number_without_gap_or_repeat(lab: Lab, redis_url: str) -> None:
    """Two inboxes of one tenant that accept at the same time share one sequence."""

    async def use() -> list[Receipt]:
        clients = [Redis.from_url(redis_url) for _ in range(2)]
        inboxes = [lab.inbox(client) for client in clients]
        try:
            return await asyncio.gather(
                *(inboxes[number % 2].accept(note(number)) for number in range(600))
            )
        finally:
            for client in clients:
                await client.aclose()

    sequences = sorted(int(r.id.partition("-")[2]) for r in asyncio.run(use()))
    assert sequences == list(range(1, 601))


def test_forgotten_script_is_loaded_again(lab: Lab, store: redis.Redis) -> None:
    """A server that lost its scripts (a failover) costs nobody an answer."""

    async def use(inbox: Inbox) -> list[Receipt]:
        first = await inbox.accept(note("a"))
        store.script_flush()
        return [first, await inbox.accept(note("b"))]

    assert [receipt.status for receipt in lab.run(use)] == [Status.ACCEPTED] * 2


def test_absent_store_fails_everyone_who_waits(lab: Lab) -> None:
    """When Redis refuses, every one of the batch is told, and the next try begins anew."""
    lab.url = "redis://127.0.0.1:1/0"
    outcomes = lab.accept_together(*map(note, range(20)))
    assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
    assert len({id(outcome) for outcome in outcomes}) == 20


def test_store_that_comes_back_is_used(lab: Lab, store: redis.Redis, keys: Keyspace) -> None:
    """After a failure the same inbox accepts again."""

    async def use(inbox: Inbox) -> Receipt:
        store.set(keys.head, "not a hash")
        with pytest.raises(StoreUnavailable):
            await inbox.accept(note("a"))
        store.delete(keys.head)
        return await inbox.accept(note("a"))

    assert lab.run(use) == Receipt(Status.ACCEPTED, "1700000000000-1")


def test_shutdown_leaves_nobody_waiting(lab: Lab) -> None:
    """When the process ends while a commit is under way, those who wait are told."""

    async def use(inbox: Inbox) -> list[Receipt | BaseException]:
        waiting = [asyncio.ensure_future(inbox.accept(note(n))) for n in range(MAX_BATCH + 5)]
        await asyncio.sleep(0)
        drain = inbox._drain  # noqa: SLF001 - what a closing loop cancels
        assert drain is not None
        await asyncio.sleep(0)
        drain.cancel()
        return await asyncio.gather(*waiting, return_exceptions=True)

    assert all(isinstance(outcome, StoreUnavailable) for outcome in lab.run(use))
