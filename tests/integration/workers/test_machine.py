"""Whatever happens, in whatever order: nothing is lost, nothing comes twice, the log is true.

A state machine edits the platform, notifies, refreshes, and lets workers die, freeze and repeat
themselves at any message they send, on a real server and over real HTTP; only time is its own.
After every step it holds all that is stored against the promises.

CI runs the same examples every time. ``MACHINE_EXAMPLES=1000 pytest tests/integration/workers/
test_machine.py`` runs that many others, and prints the steps of the shortest that fails.
"""

import hashlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from service.changelog import ChangeLog
from service.inbox import Inbox, Incoming, Receipt, Via
from service.lookup import Lookup
from service.sandbox import Options
from service.sandbox.collection import Row
from service.sandbox.faults import AnyFault, EditFault, StatusFault
from service.sandbox.listing import Direction, Order
from service.schema import Schema
from tests.crashes import Backup, Blow, Died, Moment, Process
from tests.feed import TENANT_ID
from tests.ledger import (
    Ledger,
    assert_covered,
    assert_indexes_agree,
    assert_log_is_the_snapshot,
    assert_log_is_whole,
    assert_marks_add_up,
    assert_true_of,
    is_pending,
    read_ledger,
)
from tests.stage import START, Edit, Stage, staged
from workers.contract import calls
from workers.contract.calls import Call
from workers.contract.codec import Cursor
from workers.contract.errors import CommitConflict, Gone
from workers.contract.scope import Scope

EXAMPLES = int(os.environ.get("MACHINE_EXAMPLES", "0"))
pytestmark = pytest.mark.timeout(600 + 5 * EXAMPLES)  # shrinking a failure takes minutes

PROFILE = settings(
    max_examples=EXAMPLES or 60,
    stateful_step_count=40,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
IDS = [f"{number << 64:024x}" for number in range(1, 9)]  # with room between them
AUDIENCES = [f"{number:024x}" for number in range(0xA1, 0xA4)]
SCOPES = [
    "collection",
    *(f"audience:{audience}" for audience in AUDIENCES),
    *(f"requirement:{id_}" for id_ in IDS[:4]),
]
LEASE_MS, WAKE_MS, QUIET_MS = 15_000, 5_000, 1_000_000


class Note(NamedTuple):
    """A notification that was accepted, and what was true then."""

    receipt: Receipt
    accept: int
    at_ms: int
    scopes: tuple[str, ...]
    truth: dict[str, Row]


EDITS = st.builds(
    Edit,
    st.sampled_from(IDS),
    st.sampled_from(["update", "move", "touch", "delete"]),
    st.sampled_from(AUDIENCES),
    st.integers(0, 3),
    st.booleans(),
)
NEWS = st.lists(EDITS, max_size=3)
MESSAGES = st.integers(1, 24)
MOMENTS = st.sampled_from(list(Moment))


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Start what all examples share."""
    with staged(tmp_path_factory.mktemp("machine")) as stage:
        yield stage


def test_nothing_is_lost_and_nothing_comes_twice(stage: Stage) -> None:
    """Through any order of edits, notifications, crashes and restores, all promises hold."""
    # Its annotation wants a class; its documentation takes whatever makes a machine.
    run_state_machine_as_test(lambda: Machine(stage), settings=PROFILE)  # type: ignore[arg-type]


class Machine(RuleBasedStateMachine):
    """A tenant, its platform, two workers, and all that can happen to them."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage, self.feed = stage, stage.feed
        self.feed.store.flushall()
        self.feed.platform.rng.seed(1)
        self.clock = stage.clock
        self.clock.now = START
        self.calls: list[Call] = []
        self.notes: dict[int, Note] = {}
        self.receipts: dict[str, Receipt] = {}
        self.covered: set[int] = set()
        self.events: dict[str, bytes] = {}
        self.published: dict[str, int] = {}
        self.lost_epochs: set[str] = set()
        self.backup: tuple[Backup, dict[int, Note], dict[str, Receipt]] | None = None
        self.steady = True

    @initialize(
        per_page=st.sampled_from(["2", "3", "1000"]),
        order=st.sampled_from(["created", "updated", "id"]),
        direction=st.sampled_from(["ascending", "descending"]),
        lag_s=st.sampled_from([0, 0, 2]),
        apart=st.sampled_from([("0", "0"), ("1", "0"), ("1", "30")]),
        edits=st.lists(EDITS, max_size=8),
    )
    def begin(
        self,
        per_page: str,
        order: Order,
        direction: Direction,
        lag_s: int,
        apart: tuple[str, str],
        edits: list[Edit],
    ) -> None:
        """Choose a platform, its habits and the tenant's settings."""
        options = Options(order=order, direction=direction, lag_list_s=lag_s, lag_by_id_s=lag_s)
        self.lag_s = lag_s
        self.feed.platform.put(TENANT_ID, options, rows=0)
        self.tenant = self.feed.platform.tenant(TENANT_ID)
        for edit in edits:
            edit.make(self.tenant.collection, self.clock())
        self.settings = {
            "CPDFEED_PER_PAGE": per_page,
            "CPDFEED_REFRESH_MIN_S": apart[0],
            "CPDFEED_SCAN_MIN_S": apart[1],
            "CPDFEED_LAG_S": "5",
            "CPDFEED_SETTLE_S": "5,60",
            "CPDFEED_RECONCILE_S": "900",
        }
        self.workers = [self._process(), self._process()]
        self.inbox = Inbox(
            self.stage.client,
            Schema(self.stage.client),
            "acme",
            now_ms=self.feed.now_ms,
            dedupe=timedelta(days=1),
            limit=1000,
            wake=lambda: self.calls.append(calls.refresh("acme")),
        )

    # --- the platform and its notifications -----------------------------------------------------

    @rule(edits=st.lists(EDITS, min_size=1, max_size=4))
    def edit(self, edits: list[Edit]) -> None:
        """Somebody edits requirements."""
        for edit in edits:
            edit.make(self.tenant.collection, self.clock())
            self._tick()

    @rule(edits=st.lists(EDITS, min_size=1, max_size=2), precise=st.booleans())
    def edit_and_notify(self, edits: list[Edit], precise: bool) -> None:
        """Somebody edits requirements, and the platform says so."""
        for edit in edits:
            known = self.tenant.collection.rows.get(edit.id)
            edit.make(self.tenant.collection, self.clock())
            audience = edit.audience if known is None else known.audience_id
            self.notify(
                [f"requirement:{edit.id}" if precise else f"audience:{audience}"],
                dated=False,
                variant=0,
                via="signature",
                heard=True,
            )

    @rule(
        scopes=st.lists(st.sampled_from(SCOPES), min_size=1, max_size=2, unique=True),
        dated=st.booleans(),
        variant=st.integers(0, 2),
        via=st.sampled_from(["signature", "signature", "api"]),
        heard=st.booleans(),
    )
    def notify(
        self,
        scopes: list[str],
        dated: bool,
        variant: int,
        via: Via,
        heard: bool,
    ) -> None:
        """A notification is accepted, perhaps once more; its wake-up call may be lost."""
        self._tick()
        text = f"{sorted(scopes)} {dated} {variant}"
        claimed, accepted = int(self.feed.head("claimed") or 0), int(self.feed.head("accept") or 0)
        first = self.receipts.get(text)
        duplicate = first is not None and (dated or _accept_of(first) > claimed)
        identity = hashlib.sha256(text.encode()).hexdigest()
        named = tuple(Scope.parse(scope) for scope in scopes)
        waiting = len(self.calls)
        receipt = self.stage.runner.run(
            self.inbox.accept(Incoming(identity, dated, "test", named, via))
        )
        if not heard:
            del self.calls[waiting:]
        if duplicate:
            assert (receipt.status, receipt.id) == ("duplicate", first and first.id)
            return
        assert receipt.status == "accepted"
        assert _accept_of(receipt) == accepted + 1
        self.receipts[text] = receipt
        self.notes[accepted + 1] = Note(
            receipt,
            accepted + 1,
            self.feed.now_ms(),
            tuple(scopes),
            dict(self.tenant.collection.rows),
        )

    @rule(
        fault=st.sampled_from(
            [
                EditFault(on="list", op="delete", position="first", times=1),
                EditFault(on="list", op="delete", times=1, skip=1),
                EditFault(on="list", op="create", position="first", times=1),
                EditFault(on="list", op="update", times=2),
                StatusFault(on="list", status=403, times=1, skip=1),
                StatusFault(on="one", status=403, times=1),
                StatusFault(on="any", status=403, times=3),
            ]
        )
    )
    def disturb(self, fault: AnyFault) -> None:
        """The list moves while it is read, or something is refused."""
        self.steady = False
        self.tenant.faults.replace([fault])

    # --- workers ----------------------------------------------------------------------------------

    @rule(worker=st.integers(0, 1))
    def refresh(self, worker: int) -> None:
        """A wake-up call arrives, asked for or not."""
        self._tick()
        self.calls += self.workers[worker].refresh()

    @precondition(lambda self: self.calls)
    @rule(worker=st.integers(0, 1), again=st.booleans(), pick=st.integers(0, 100))
    def deliver(self, worker: int, again: bool, pick: int) -> None:
        """One of the wake-up calls under way arrives, and perhaps once more later."""
        self._tick()
        place = pick % len(self.calls)
        if not again:
            del self.calls[place]
        self.calls += self.workers[worker].refresh()

    @rule(worker=st.integers(0, 1))
    def sweep(self, worker: int) -> None:
        """Beat's call arrives."""
        self._tick()
        self.calls += self.workers[worker].sweep()

    @rule(ms=st.sampled_from([1_000, 5_000, 30_000, 60_000, 950_000]))
    def pass_time(self, ms: int) -> None:
        """Time passes; what lives for a while in Redis dies in it."""
        self.clock.now += timedelta(milliseconds=ms)
        if ms >= WAKE_MS:
            self.feed.store.delete(self.feed.keys.wake)
        if ms >= LEASE_MS:
            self.feed.store.delete(self.feed.keys.lease)

    # --- what goes wrong --------------------------------------------------------------------------

    @rule(news=NEWS, message=MESSAGES, moment=MOMENTS, expires=st.booleans())
    def crash(self, news: list[Edit], message: int, moment: Moment, expires: bool) -> None:
        """A worker dies at one of its messages; its lease runs out sooner or later."""
        self._bring_news(news)
        victim = self.workers[1]
        victim.fate.await_blow(Blow(message, moment, victim.fate.die))
        try:
            self.calls += victim.refresh()
        except Died:
            victim.close()
            self.workers[1] = self._process()
        else:
            victim.fate.await_blow(None)
        if expires:
            self.pass_time(LEASE_MS)

    @rule(
        news=NEWS,
        message=MESSAGES,
        moment=MOMENTS,
        edits=NEWS,
        scope=st.sampled_from(SCOPES),
        dated=st.booleans(),
    )
    def notify_meanwhile(
        self,
        news: list[Edit],
        message: int,
        moment: Moment,
        edits: list[Edit],
        scope: str,
        dated: bool,
    ) -> None:
        """While a worker is at work, somebody edits, and a notification is accepted."""
        self._bring_news(news)

        if edits and self.settings["CPDFEED_PER_PAGE"] != "1000":
            self.steady = False  # a list that moves between two pages may hide what is new to us

        def arrive() -> None:
            self._tick()
            for edit in edits:
                edit.make(self.tenant.collection, self.clock())
            self.notify([scope], dated=dated, variant=3, via="signature", heard=True)

        fate = self.workers[0].fate
        fate.await_blow(Blow(message, moment, arrive))
        self.calls += self.workers[0].refresh()
        fate.await_blow(None)

    @rule(news=NEWS, message=MESSAGES, worker=st.integers(0, 1))
    def lose_answer(self, news: list[Edit], message: int, worker: int) -> None:
        """The answer to a message is lost on its way, so the client sends it once more."""
        self._bring_news(news)
        self.workers[worker].fate.await_repetition(message)
        self.calls += self.workers[worker].refresh()
        self.workers[worker].fate.await_blow(None)

    @rule(news=NEWS, message=MESSAGES, moment=MOMENTS, edits=NEWS)
    def overtake(self, news: list[Edit], message: int, moment: Moment, edits: list[Edit]) -> None:
        """A worker freezes until its lease ran out, another does its work, then it goes on."""
        self._bring_news(news)
        frozen = self.workers[1]
        left_behind: list[Ledger] = []

        def thaw() -> None:
            held = self.feed.store.exists(self.feed.keys.lease)
            self.pass_time(LEASE_MS)
            for edit in edits:
                edit.make(self.tenant.collection, self.clock())
            self.calls.extend(self.workers[0].refresh())
            if held:
                self.feed.store.set(self.feed.keys.lease, "a third one's")
                left_behind.append(self._ledger())

        frozen.fate.await_blow(Blow(message, moment, thaw))
        try:
            self.calls += frozen.refresh()
        except CommitConflict:
            assert left_behind, "nobody was there to conflict with"
        frozen.fate.await_blow(None)
        for before in left_behind:
            after = self._ledger()
            assert after.log == before.log, "an overtaken worker published"
            assert set(after.reads) <= set(before.reads)  # old ones it may forget
            assert after._replace(head={}, reads=[]) == before._replace(head={}, reads=[])
            assert self.feed.store.getdel(self.feed.keys.lease) == b"a third one's"

    @rule(broker=st.booleans())
    def lose_calls(self, broker: bool) -> None:
        """The flag that a call was sent is lost, or all calls that are under way."""
        if broker:
            self.calls.clear()
        else:
            self.feed.store.delete(self.feed.keys.wake)

    @rule()
    def back_up(self) -> None:
        """Somebody copies the server's files."""
        self.backup = Backup(self.feed.store), dict(self.notes), dict(self.receipts)

    @rule(empty=st.sampled_from([False, False, True]))
    def come_back_older(self, empty: bool) -> None:
        """Redis comes back empty or older than it was; a worker is there that remembers more."""
        self._reconcile()
        self.promises_hold()
        self.feed.store.flushall()
        self.notes, self.receipts = {}, {}
        if self.backup is not None and not empty:
            backup, notes, receipts = self.backup
            backup.put_back(self.feed.store)
            self.notes, self.receipts = dict(notes), dict(receipts)
        self.covered = set(self.notes)
        stands = self._ledger()
        for epoch, sequence in self.published.items():
            if (epoch, sequence) == (stands.epoch, stands.sequence):
                self.lost_epochs.discard(epoch)  # all of it is back
            else:
                self.lost_epochs.add(epoch)
        self._reconcile()
        self._expect_lost()

    # --- what must hold ---------------------------------------------------------------------------

    @invariant()
    def promises_hold(self) -> None:
        """Hold all that is stored against the promises."""
        ledger = self._ledger()
        assert_log_is_whole(ledger)
        assert_log_is_the_snapshot(ledger)
        assert_marks_add_up(ledger)
        assert_indexes_agree(ledger)
        assert ledger.epoch not in self.lost_epochs, "a log goes on that had lost changes"
        for entry in ledger.log:
            event = self.events.setdefault(entry.change["id"], entry.event)
            assert event == entry.event, "one id, two changes"
        if ledger.epoch:
            self.published[ledger.epoch] = ledger.sequence
        assert_true_of(ledger, self.tenant.collection)
        for note in self.notes.values():
            self._assert_pending_or_covered(ledger, note)

    def teardown(self) -> None:
        """When all is quiet, the snapshot is the truth, and every notification was covered."""
        if not hasattr(self, "workers"):
            return
        try:
            self._wind_down()
        finally:
            for worker in self.workers:
                worker.close()

    def _wind_down(self) -> None:
        self.tenant.faults.replace([])
        self.calls.clear()
        worker, ledger = self.workers[0], self._ledger()
        self.pass_time(65_000)
        if ledger.marks:
            assert worker.sweep() == [calls.refresh("acme")], "nobody was called for what waits"
            worker.refresh()
        for _ in range(12):
            self.pass_time(QUIET_MS)
            assert worker.sweep() == [calls.refresh("acme")], "nobody was called for the scan"
            worker.refresh()
            self.promises_hold()
            before, ledger = ledger, self._ledger()
            if (before.log, set(ledger.due), ledger.marks) == (ledger.log, {"reconcile"}, {}):
                break
        assert set(ledger.due) == {"reconcile"}
        assert ledger.marks == {}
        assert ledger.head.get("pending", "0") == "0"
        truth = {id_: _material(row) for id_, row in self.tenant.collection.rows.items()}
        assert ledger.material == truth
        lookup = Lookup(self.stage.client, self.feed.keys, 65)
        for note in self.notes.values():
            answer = self.stage.runner.run(lookup.answer(note.receipt.id))
            assert answer.state == "covered"
            assert answer.read is not None

    def _assert_pending_or_covered(self, ledger: Ledger, note: Note) -> None:
        """Promise 2: covered by a read that started after it was accepted, or still marked."""
        if is_pending(ledger, note.accept, note.scopes):
            assert note.accept not in self.covered, "what was covered is pending again"
            return
        assert_covered(ledger, note.accept, note.at_ms, note.scopes)
        if note.accept not in self.covered and self.steady and not self.lag_s:
            self._assert_was_seen(ledger, note)
        self.covered.add(note.accept)

    def _assert_was_seen(self, ledger: Ledger, note: Note) -> None:
        """What was true of its scopes when it was accepted is known, or overtaken by now."""
        there = self.tenant.collection.rows
        for id_, row in note.truth.items():
            if not {"collection", f"requirement:{id_}"} & set(note.scopes):
                continue
            if id_ not in there or id_ in ledger.tombstones:
                continue  # gone since, or to be confirmed after the lag horizon
            known = ledger.rows.get(id_)
            assert known is not None, "covered without being read"
            assert known.version_us >= _version_us(row), "covered by an older state"

    # --- steps --------------------------------------------------------------------------------

    def _process(self) -> Process:
        return Process(self.feed.context(**self.settings), self.feed.url)

    def _ledger(self) -> Ledger:
        return read_ledger(self.feed.store, self.feed.keys)

    def _tick(self) -> None:
        self.clock.now += timedelta(milliseconds=1)

    def _bring_news(self, edits: list[Edit]) -> None:
        """Give whoever comes next some work, if there is any news."""
        self._tick()
        for edit in edits:
            edit.make(self.tenant.collection, self.clock())
        if edits:
            self.pass_time(31_000)
            self.notify(["collection"], dated=False, variant=4, via="signature", heard=False)

    def _reconcile(self) -> None:
        """Have the worker that never dies look at all of it, nothing in its way."""
        self.tenant.faults.replace([])
        self.pass_time(60_000)
        self.feed.store.zadd(self.feed.keys.due, {"reconcile": 0})
        self.feed.store.hset(self.feed.keys.due_why, "reconcile", '{"trigger":"reconcile"}')
        self.calls += self.workers[0].refresh()

    def _expect_lost(self) -> None:
        """Cursors of a log that was lost are gone, wherever they stood."""
        log = ChangeLog(self.stage.client)
        for epoch in self.lost_epochs:
            for sequence in (0, 1, 5):
                with pytest.raises(Gone):
                    self.stage.runner.run(log.follow("acme", Cursor(epoch, sequence), 100))


def _accept_of(receipt: Receipt) -> int:
    return int(receipt.id.partition("-")[2])


def _material(row: Row) -> tuple[str, int]:
    return row.audience_id, row.required_minutes


def _version_us(row: Row) -> int:
    moment = datetime.fromisoformat(row.updated_at or row.created_at)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
