"""A commit writes rows, indexes, changes and coverage together, or nothing at all."""

import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import redis

from tests.feed import Feed
from workers.changes.commit import MOST_CHANGES, Commits, Finish
from workers.changes.diff import Difference, Write
from workers.changes.event import Causes, Telling
from workers.contract.codec import GENESIS, RowsDigest, unpack_id, unpack_ids, unpack_row
from workers.contract.errors import CommitConflict
from workers.contract.keyspace import Keyspace
from workers.contract.model import (
    Change,
    Due,
    Evidence,
    EvidenceKind,
    Head,
    Kind,
    Mark,
    Page,
    Requirement,
    Row,
    Trigger,
)
from workers.intake.claim import Claim, claim
from workers.intake.lease import Lease, acquire

EVIDENCE = Evidence(EvidenceKind.PAGE, 5000, 1)
EMPTY = Head(
    epoch="e1", sequence=0, digest=GENESIS, baseline_ms=1, complete_ms=1, clean_ms=1, per_page=1000
)
"""A tenant whose baseline was an empty list, before its first change."""


def id_of(number: int) -> str:
    """Give the id of a row."""
    return f"{number:024x}"


def served(number: int, minutes: int = 60, audience: int = 0xAA) -> Requirement:
    """Give a row as the platform serves it."""
    return Requirement(id_of(number), id_of(audience), minutes, 1_000_000, None)


def created(*numbers: int, page: int = 1) -> Difference:
    """Give the difference that new rows make."""
    rows = [Row(served(number), page, 5000) for number in numbers]
    return Difference(
        tuple(Write(row, None) for row in rows),
        tuple(Change(Kind.CREATED, r.requirement.id, None, r.requirement, EVIDENCE) for r in rows),
        (),
        (),
    )


def finish(marks: Sequence[Mark] = (), **fields: Any) -> Finish:  # noqa: ANN401 - see Finish
    """Give the end of a read that served these marks."""
    scopes = [str(mark.scope) for mark in marks]
    return Finish(trigger="reconcile", served=marks, scopes=scopes, **fields)


class Writer:
    """The holder of a lease, and its commits."""

    def __init__(self, store: redis.Redis, keys: Keyspace) -> None:
        self.store, self.keys = store, keys
        self.ids = (f"id{n}" for n in itertools.count())
        self.lease: Lease | None = acquire(store, keys)

    def commits(
        self,
        head: Head = EMPTY,
        new_id: Callable[[], str] | None = None,
        now_ms: Callable[[], int] = lambda: 6000,
    ) -> Commits:
        """Begin a read."""
        assert self.lease is not None
        return Commits(
            self.store,
            self.keys,
            self.lease.token,
            head,
            Telling(Causes([]), lambda _: {}),
            started_ms=5000,
            now_ms=now_ms,
            new_id=new_id or (lambda: next(self.ids)),
        )

    def head(self, **known: Any) -> Head:  # noqa: ANN401 - see Head
        """Give where the tenant stands now."""
        sequence: Any = self.store.hget(self.keys.head, "sequence")
        digest: Any = self.store.hget(self.keys.head, "digest")
        fields = {name: getattr(EMPTY, name) for name in EMPTY.__struct_fields__}
        stands = {
            "sequence": int(sequence or 0),
            "digest": digest.decode() if digest else GENESIS,
        }
        return Head(**(fields | stands | known))

    def everything(self) -> dict[bytes, bytes | None]:
        """Give all keys with what they hold, but for the lease, which has its own clock."""
        found: Any = self.store.keys("*")
        return {key: self.store.dump(key) for key in found}

    def snapshot(self) -> dict[str, tuple[str, int]]:
        """Give the material fields of the stored rows."""
        rows: Any = self.store.hgetall(self.keys.rows)
        found = [unpack_row(unpack_id(id_), row).requirement for id_, row in rows.items()]
        return {row.id: (row.audience_id, row.required_minutes) for row in found}

    def folded(self) -> dict[str, tuple[str, int]]:
        """Give the material fields that the log leads to."""
        rows: dict[str, tuple[str, int]] = {}
        entries: Any = self.store.xrange(self.keys.changes)
        for place, (entry, fields) in enumerate(entries, 1):
            data = json.loads(fields[b"event"])["data"]
            assert entry == f"{place}-0".encode()
            assert data["sequence"] == place
            if data["after"] is None:
                del rows[data["requirement_id"]]
            else:
                after = data["after"]
                rows[data["requirement_id"]] = (after["audienceId"], after["requiredMinutes"])
        return rows

    def page_fields(self) -> set[str]:
        """Give the fields of the page index."""
        fields: Any = self.store.hkeys(self.keys.pages)
        return {field.decode() for field in fields}


@pytest.fixture
def writer(store: redis.Redis, keys: Keyspace) -> Writer:
    """Give the holder of the lease."""
    return Writer(store, keys)


def test_commit_writes_row_index_log_and_history(writer: Writer) -> None:
    """A new row is in the snapshot, under its audience, in the log, and in its own history."""
    commits = writer.commits()
    commits.stage(created(1))
    assert commits.finish(finish()) == 1
    assert writer.snapshot() == writer.folded() == {id_of(1): (id_of(0xAA), 60)}
    assert unpack_ids(writer.store.hget(writer.keys.audiences, bytes.fromhex(id_of(0xAA)))) == [  # type: ignore[arg-type]
        id_of(1)
    ]
    assert writer.store.hget(writer.keys.history, bytes.fromhex(id_of(1))) == bytes([0] * 7 + [1])
    entries: Any = writer.store.xrange(writer.keys.changes)
    (entry,) = entries
    assert entry[0] == b"1-0"
    assert {name: value for name, value in entry[1].items() if name != b"event"} == {
        b"type": b"cpd.requirement.created",
        b"requirement_id": id_of(1).encode(),
        b"audience_id": id_of(0xAA).encode(),
        b"tenant": b"acme",
    }


def test_removed_row_leaves_every_index(writer: Writer) -> None:
    """A removed row is in the log and the tombstones alone, and its page's digest is dropped."""
    commits = writer.commits()
    commits.stage(created(1))
    commits.index_page(Page(1, 1, 1, b"digest", 5000, ()), [id_of(1)], intact=True)
    commits.finish(finish())
    commits = writer.commits(writer.head())
    row = Row(served(1), 1, 5000)
    gone = Evidence(EvidenceKind.NOT_FOUND, 7000)
    commits.remove(row, Change(Kind.REMOVED, id_of(1), row.requirement, None, gone))
    commits.finish(finish())
    assert writer.snapshot() == writer.folded() == {}
    assert not writer.store.exists(writer.keys.audiences)
    assert writer.store.hlen(writer.keys.tombstones) == 1
    assert writer.page_fields() == {"1"}


def test_lost_lease_writes_nothing(writer: Writer) -> None:
    """When the lease is another's by now, a commit conflicts and nothing is written."""
    commits = writer.commits()
    writer.store.set(writer.keys.lease, "999", px=15_000)
    before = writer.everything()
    commits.stage(created(1))
    with pytest.raises(CommitConflict):
        commits.finish(finish(due_set={"collection": (1, Due(Trigger.SETTLE))}))
    assert writer.everything() == before


def test_expired_lease_writes_nothing(writer: Writer) -> None:
    """When the lease ran out, a commit conflicts, though nobody else took it."""
    commits = writer.commits()
    writer.store.delete(writer.keys.lease)
    commits.stage(created(1))
    with pytest.raises(CommitConflict):
        commits.finish(finish())
    assert writer.folded() == {}


def test_moved_base_writes_nothing(writer: Writer) -> None:
    """When somebody else has written since, a commit conflicts and nothing is written."""
    commits = writer.commits()
    writer.store.hset(writer.keys.head, "sequence", 1)
    before = writer.everything()
    commits.stage(created(1))
    with pytest.raises(CommitConflict):
        commits.finish(finish())
    assert writer.everything() == before


def test_repeated_commit_is_no_second_one(writer: Writer) -> None:
    """A commit whose answer was lost is sent again without effect, even without the lease."""
    for _ in range(2):
        commits = writer.commits(new_id=lambda: "same")
        commits.stage(created(1))
        assert commits.finish(finish(stats={"reads": 1})) == 1
        writer.store.delete(writer.keys.lease)
    assert list(writer.folded()) == [id_of(1)]
    assert writer.store.hget(writer.keys.stats, "reads") == b"1"
    assert writer.store.xlen(writer.keys.reads) == 1


def test_many_changes_go_in_several_commits(writer: Writer) -> None:
    """Between the commits of a large read, too, the log folds into the snapshot."""
    stands: set[int] = set()

    def now_ms() -> int:
        sequence: Any = writer.store.hget(writer.keys.head, "sequence")
        if int(sequence or 0) not in stands:
            stands.add(int(sequence or 0))
            assert writer.folded() == writer.snapshot()
        return 6000

    commits = writer.commits(now_ms=now_ms)
    commits.stage(created(*range(1, 2501)))
    assert commits.finish(finish()) == 2500
    assert MOST_CHANGES == 1000
    assert stands == {0, 1000, 2000}
    assert len(writer.folded()) == 2500
    assert writer.folded() == writer.snapshot()


def test_two_changes_of_one_row_go_one_after_the_other(writer: Writer) -> None:
    """A row that changes twice in a read has both changes in the log, in order."""
    commits = writer.commits()
    commits.stage(created(1))
    row, newer = Row(served(1), 1, 5000), served(1, 90)
    change = Change(Kind.UPDATED, id_of(1), row.requirement, newer, EVIDENCE)
    commits.stage(Difference((Write(Row(newer, 1, 5000), row),), (change,), (), ()))
    assert commits.finish(finish()) == 2
    assert writer.folded() == writer.snapshot() == {id_of(1): (id_of(0xAA), 90)}


def test_moved_row_drops_the_digest_of_the_page_it_left(writer: Writer) -> None:
    """Where a row was is known no more to be unchanged; where it is, is."""
    commits = writer.commits()
    commits.stage(created(1))
    for number in (1, 2):
        ids = [id_of(1)] if number == 1 else []
        commits.index_page(Page(number, 1, 2, b"d%d" % number, 5000, ()), ids, intact=True)
    commits.finish(finish())
    assert writer.page_fields() == {"1", "1:digest", "2", "2:digest"}
    commits = writer.commits(writer.head())
    write = Write(Row(served(1), 2, 5000), Row(served(1), 1, 5000))
    commits.stage(Difference((write,), (), (), ()))
    commits.index_page(Page(2, 1, 2, b"new", 6000, ()), [id_of(1)], intact=True)
    commits.finish(finish())
    assert writer.page_fields() == {"1", "2", "2:digest"}
    assert writer.store.hget(writer.keys.pages, "2:digest") == b"new"


def test_page_not_taken_as_served_has_no_digest(writer: Writer) -> None:
    """A page of which a row was not taken is decoded again next time."""
    for intact in (True, False):
        commits = writer.commits(writer.head())
        commits.index_page(Page(1, 0, 1, b"d", 5000, ()), [], intact=intact)
        commits.finish(finish())
        assert ("1:digest" in writer.page_fields()) is intact


def test_pages_past_the_end_are_forgotten(writer: Writer) -> None:
    """What a complete scan did not find is no page any more."""
    commits = writer.commits()
    for number in (1, 2, 10):
        commits.index_page(Page(number, 0, 10, b"d", 5000, ()), [], intact=True)
    commits.finish(finish())
    commits = writer.commits()
    commits.finish(finish(last_page=2))
    assert writer.page_fields() == {"1", "1:digest", "2", "2:digest"}


def test_rows_that_join_another_audience_are_indexed_there(writer: Writer) -> None:
    """A row is under the audience it has, and an audience without a row is forgotten."""
    commits = writer.commits()
    commits.stage(created(1, 2))
    commits.finish(finish())
    commits = writer.commits(writer.head())
    old, new = Row(served(1), 1, 5000), served(1, audience=0xBB)
    change = Change(Kind.UPDATED, id_of(1), old.requirement, new, EVIDENCE)
    commits.stage(Difference((Write(Row(new, 1, 5000), old),), (change,), (), ()))
    commits.finish(finish())
    index: Any = writer.store.hgetall(writer.keys.audiences)
    assert {unpack_id(key): unpack_ids(value) for key, value in index.items()} == {
        id_of(0xAA): [id_of(2)],
        id_of(0xBB): [id_of(1)],
    }


def test_baseline_is_one_change_with_the_rows_digest(writer: Writer) -> None:
    """A first scan replaces whatever was there, and publishes the number and digest of its rows."""
    writer.store.hset(writer.keys.rows, bytes.fromhex(id_of(9)), b"left over")
    commits = writer.commits(writer.head(epoch="", baseline_ms=None))
    commits.stage(Difference(created(2, 1).writes, (), (), ()))
    assert commits.baseline() == 2
    assert commits.finish(finish()) == 1
    digest = RowsDigest()
    digest.add(served(1))
    digest.add(served(2))
    entries: Any = writer.store.xrange(writer.keys.changes)
    (entry,) = entries
    data = json.loads(entry[1][b"event"])["data"]
    assert (data["kind"], data["count"]) == ("baseline", 2)
    assert data["rows_digest"] == digest.hexdigest()
    assert set(writer.snapshot()) == {id_of(1), id_of(2)}
    assert writer.store.hget(writer.keys.head, "baseline_ms") == b"5000"


# --- coverage ---------------------------------------------------------------------------------

HINT = "audience:" + "a" * 24


def claimed(feed: Feed, writer: Writer) -> Claim:
    """Claim what was accepted."""
    assert writer.lease is not None
    found = claim(feed.store, feed.keys, writer.lease.token, feed.now_ms())
    assert isinstance(found, Claim)
    return found


def test_served_mark_is_cleared(feed: Feed) -> None:
    """A mark that the read served is gone, and its notifications are pending no more."""
    writer = Writer(feed.store, feed.keys)
    feed.accept(HINT)
    feed.accept(HINT)
    found = claimed(feed, writer)
    assert feed.head("pending") == "2"
    writer.commits(writer.head(claimed=found.head.claimed)).finish(finish(found.marks))
    assert feed.marked() == []
    assert feed.head("pending") == "0"


def test_unserved_mark_stays(feed: Feed) -> None:
    """A mark that the read did not serve stays as it is."""
    writer = Writer(feed.store, feed.keys)
    feed.accept(HINT)
    before = feed.store.hgetall(feed.keys.marks)
    found = claimed(feed, writer)
    writer.commits(writer.head(claimed=found.head.claimed)).finish(finish())
    assert feed.store.hgetall(feed.keys.marks) == before
    assert feed.head("pending") == "1"


def test_mark_keeps_what_came_after_the_claim(feed: Feed) -> None:
    """A notification accepted during the read stays marked, counted, and named by the next one."""
    writer = Writer(feed.store, feed.keys)
    feed.accept(HINT, via="api")
    feed.accept(HINT)
    found = claimed(feed, writer)
    later = feed.accept(HINT, via="api")
    head = writer.head(claimed=found.head.claimed, last_ms=found.head.last_ms)
    writer.commits(head).finish(finish(found.marks))
    assert feed.head("pending") == "1"
    (mark,) = claimed(feed, writer).marks
    assert mark.first_id == f"{found.head.last_ms}-3"
    assert (mark.last, mark.count, mark.manual) == (3, 1, 1)
    (source,) = claimed(feed, writer).sources
    assert (source.trigger, source.notifications) == (Trigger.MANUAL, (later.id,))


def test_coverage_comes_with_the_last_commit(feed: Feed) -> None:
    """What a large read serves is covered by its last commit, not before."""
    writer = Writer(feed.store, feed.keys)
    feed.accept(HINT)
    found = claimed(feed, writer)
    commits = writer.commits(writer.head(claimed=found.head.claimed))
    commits.stage(created(*range(1, 1501)))
    assert feed.head("sequence") == "1500"
    assert feed.marked() == [HINT]
    assert not feed.store.exists(feed.keys.reads)
    commits.finish(finish(found.marks))
    assert feed.marked() == []


def test_read_is_recorded(feed: Feed) -> None:
    """Each read is recorded under what it claimed, with its start, scopes and sequences."""
    writer = Writer(feed.store, feed.keys)
    feed.accept(HINT)
    found = claimed(feed, writer)
    commits = writer.commits(writer.head(claimed=found.head.claimed))
    commits.stage(created(1, 2))
    commits.finish(finish(found.marks))
    assert feed.store.xrange(feed.keys.reads) == [
        (
            b"1-1",
            {
                b"started_ms": b"5000",
                b"trigger": b"reconcile",
                b"scopes": HINT.encode(),
                b"first": b"1",
                b"last": b"2",
            },
        )
    ]


def test_timetable_is_written_with_the_commit(writer: Writer) -> None:
    """What is to be read again, and what is settled, goes with the last commit."""
    writer.store.zadd(writer.keys.due, {"collection": 1})
    writer.store.hset(writer.keys.due_why, "collection", "{}")
    again = {HINT: (9000, Due(Trigger.SETTLE, 1))}
    writer.commits().finish(finish(due_set=again, due_del=["collection"]))
    assert writer.store.zrange(writer.keys.due, 9000, 9000, byscore=True) == [HINT.encode()]
    assert writer.store.zcard(writer.keys.due) == 1
    assert writer.store.hgetall(writer.keys.due_why) == {
        HINT.encode(): b'{"trigger":"settle","step":1}'
    }
