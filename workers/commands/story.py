"""Tell what becomes of each edit: the part of `cpdfeed demo` that makes them and looks on.

It has the sandbox edited, follows the change stream in Redis as any consumer would, and in the end
compares what was published with the platform's own history.
"""

import queue
import random
import signal
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from itertools import cycle
from typing import Any, Final, NamedTuple

import click
import msgspec
import redis
from msgspec import Struct
from stamina.instrumentation import set_on_retry_hooks

from workers.commands import rendering, tail
from workers.commands.client import Client, find_client
from workers.commands.editor import Edit, Editor, Kind, Reads, Version
from workers.commands.refresh import await_covered
from workers.commands.rendering import Event
from workers.contract import settings as settings_table
from workers.contract.keyspace import Keyspace
from workers.contract.settings import Tenant

_START_S: Final = 60.0
_CHANGE_S: Final = 20.0
_PAUSE_S: Final = 3.0
"""Between edits when there is no end to them: long enough to read a row."""
_MARGIN_S: Final = 0.3
_POLL_S: Final = 0.05
_GROUP: Final = "demo"
_CONSUMER: Final = "onlooker"
_KINDS: Final = {
    "create": Kind.CREATED,
    "update": Kind.UPDATED,
    "delete": Kind.REMOVED,
    "restore": Kind.RESTORED,
}
"""The sandbox's operations that are to be published, and as what."""
_LAYOUT: Final = "{:>3}  {:<21}  {:<21}  {:<15}  {:<25}  {}"


class Received(NamedTuple):
    """A change as the consumer received it, and when."""

    event: Event
    at_s: float


class Report(Struct):
    """Everything about one edit; ``change`` is None when none came."""

    number: int
    edit: Kind
    requirement_id: str
    before_minutes: int | None
    after_minutes: int | None
    status: int | None
    notification: str
    reads: Reads
    change: str | None
    sequence: int | None
    published: str
    received_ms: float | None


class Consumer:
    """A consumer group of the change stream, with one member that acknowledges what it took."""

    def __init__(self, store: redis.Redis, keys: Keyspace) -> None:
        self._store = store
        self._stream = keys.changes
        self._queue: queue.SimpleQueue[Received] = queue.SimpleQueue()
        store.xgroup_create(self._stream, _GROUP, id="0", mkstream=True)
        threading.Thread(target=self._read, name="consumer", daemon=True).start()

    def take(self, patience_s: float) -> Received | None:
        """Give the next change, None if none comes."""
        try:
            return self._queue.get(timeout=patience_s)
        except queue.Empty:
            return None

    def _read(self) -> None:
        while True:
            answer: Any = self._store.xreadgroup(_GROUP, _CONSUMER, {self._stream: ">"}, block=1000)
            for _, entries in answer or ():
                for id_, fields in entries:
                    event = rendering.decode(fields[b"event"])
                    self._queue.put(Received(event, time.monotonic()))
                    self._store.xack(self._stream, _GROUP, id_)


class Story:
    """One run of the demo: who edits, who consumes, and what became of each edit."""

    def __init__(
        self, editor: Editor, consumer: Consumer, client: Client, store: redis.Redis, inbox: str
    ) -> None:
        self._editor = editor
        self._consumer = consumer
        self._client = client
        self._store = store
        self._inbox = inbox
        self.reports: list[Report] = []

    def tell(self, kind: Kind) -> Report:
        """Make one edit and see it through, to its change or to the certainty of none."""
        reads, start_s = self._editor.reads(), time.monotonic()
        edit = self._editor.edit(kind)
        received = None if kind is Kind.TOUCHED else self._await_change(edit, start_s + _CHANGE_S)
        status = self._editor.delivered(edit.delivery)
        notification = self._newest_notification()
        await_covered(self._client, notification, _CHANGE_S)
        report = Report(
            number=len(self.reports) + 1,
            edit=kind,
            requirement_id=edit.id,
            before_minutes=edit.before,
            after_minutes=edit.after,
            status=status,
            notification=notification,
            reads=self._editor.reads().since(reads),
            change=received and received.event.id,
            sequence=received and received.event.data.sequence,
            published=describe(received),
            received_ms=received and round((received.at_s - start_s) * 1000, 1),
        )
        self.reports.append(report)
        return report

    def history(self) -> list[Version]:
        """Give what truly happened."""
        return self._editor.history()

    def _await_change(self, edit: Edit, deadline_s: float) -> Received | None:
        while (received := self._consumer.take(max(0, deadline_s - time.monotonic()))) is not None:
            if (received.event.data.requirement_id, received.event.data.kind) == (
                edit.id,
                edit.kind,
            ):
                return received
        return None

    def _newest_notification(self) -> str:
        """Give the id of what was accepted last; nobody but us notifies here."""
        entries: Any = self._store.xrevrange(self._inbox, count=1)
        return str(entries[0][0].decode()) if entries else ""


def describe(received: Received | None) -> str:
    """Give sequence, kind and minutes of a change, for a row."""
    if received is None:
        return "nothing"
    data = received.event.data
    return f"#{data.sequence} {data.kind}  {rendering.hours(data)}"


def row(report: Report) -> str:
    """Give an edit and all that came of it in one line."""
    minutes = [
        rendering.NOTHING if side is None else rendering.duration(side)
        for side in (report.before_minutes, report.after_minutes)
    ]
    if report.received_ms is not None:
        received = f"{report.received_ms:.0f} ms"
    else:
        received = "nothing, rightly" if report.edit is Kind.TOUCHED else "NOTHING"
    return _LAYOUT.format(
        report.number,
        f"{report.edit:<8}  {' → '.join(minutes)}",
        f"{report.status} {report.notification}",
        reads_text(report.reads),
        report.published,
        received,
    ).rstrip()


def reads_text(reads: Reads) -> str:
    """Give what was asked of the platform: pages, single requirements."""
    pages = f"{reads.list} page{'' if reads.list == 1 else 's'}"
    return pages + (f", {reads.one} by id" if reads.one else "")


def differences(history: Sequence[Version], events: Sequence[Event]) -> list[str]:
    """Compare what truly happened with what was published; nothing means exactly once each.

    The log begins with the baseline; its sequences have no gap and no repeat.
    """
    found = []
    numbers = [event.data.sequence for event in events]
    if numbers != list(range(1, len(numbers) + 1)):
        found.append(f"sequences are not 1, 2, 3, …: {numbers}")
    if [event.data.kind for event in events[:1]] != ["baseline"]:
        found.append("the log does not begin with the baseline")
    truth = Counter(
        (edit.id, str(_KINDS[edit.op]), _minutes(edit.before), _minutes(edit.row))
        for edit in history
        if edit.op in _KINDS
    )
    published = Counter(
        (data.requirement_id, data.kind, _minutes(data.before), _minutes(data.after))
        for data in (event.data for event in events[1:])
    )
    for what, count in (truth - published).items():
        found.append(f"{count} times not published: {_edit_text(*what)}")
    for what, count in (published - truth).items():
        found.append(f"{count} times published, and not so: {_edit_text(*what)}")
    return found


def summary(reports: Sequence[Report]) -> str:
    """Give what all edits came to."""
    touched = sum(report.edit is Kind.TOUCHED for report in reports)
    times = [report.received_ms for report in reports if report.received_ms is not None]
    reads = sum(report.reads.list + report.reads.one for report in reports)
    median = f", median {statistics.median(times):.0f} ms from edit to consumer" if times else ""
    return (
        f"{len(reports)} edits: {len(times)} published, {touched} without a change; "
        f"{reads} reads of the platform{median}."
    )


def _minutes(side: Any) -> int | None:  # noqa: ANN401 - either of two records
    return None if side is None else int(side.required_minutes)


def _edit_text(id_: str, kind: str, before: int | None, after: int | None) -> str:
    return f"{kind} {id_}, minutes {before} → {after}"


def _await_start(editor: Editor, client: Client) -> None:
    deadline_s = time.monotonic() + _START_S
    while not editor.is_there():
        if time.monotonic() > deadline_s:
            raise click.ClickException("the sandbox does not answer")
        time.sleep(_POLL_S)
    client.get("/v1/changes", wait=True)


@click.command(hidden=True)
@click.option("--platform", type=int, required=True, help="Port of the sandbox.")
@click.option("--edits", type=int, default=0, help="How many; 0 for no end.")
@click.option("--seed", type=int, help="Make the minutes the same each time.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object an edit.")
def main(platform: int, edits: int, seed: int | None, as_json: bool) -> None:
    """Make edits, print what becomes of each, and judge in the end."""
    set_on_retry_hooks([])
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # asked to end: leave from anywhere
    settings = settings_table.load()
    ((slug, tenant),) = settings.tenants.items()
    keys, chance = Keyspace(slug), random.Random(seed)  # noqa: S311 - a demo's minutes
    editor, client = Editor(platform, tenant.tenant_id, chance), find_client(None, None)
    store = redis.Redis.from_url(settings.redis_url.reveal())
    consumer = Consumer(store, keys)
    story = Story(editor, consumer, client, store, keys.inbox)
    try:
        _await_start(editor, client)
        editor.point_to(f"{client.url}/webhooks/{slug}", tenant.webhook_secrets[0].reveal())
        _begin(consumer, as_json=as_json)
        pause_s = tenant.lag_s + _MARGIN_S if edits else _PAUSE_S
        for number, kind in enumerate(cycle(Kind), 1):
            report = story.tell(kind)
            click.echo(msgspec.json.encode(report) if as_json else row(report))
            if number == edits:
                break
            time.sleep(pause_s)  # replicas may lag so long: a later edit is another matter
        _judge(story, client, tenant, as_json=as_json)
    except KeyboardInterrupt:
        if not as_json:
            click.echo(f"\n{summary(story.reports)}")


def _begin(consumer: Consumer, *, as_json: bool) -> None:
    """Wait for the baseline, with which every log begins."""
    first = consumer.take(_START_S)
    if first is None:
        raise click.ClickException(f"no baseline within {_START_S:.0f} s")
    if not as_json:
        heading = _LAYOUT.format(
            "",
            "edit at the platform",
            "notification accepted",
            "reads it cost",
            "change published",
            "consumer received it",
        )
        click.echo(f"The log begins: {describe(first)}. From here on, one change at a time.\n")
        click.echo(heading)


def _judge(story: Story, client: Client, tenant: Tenant, *, as_json: bool) -> None:
    """Wait for what would come too late, compare, and end with 1 if anything differs."""
    time.sleep(sum(tenant.settle_s) + _MARGIN_S)  # the last re-reads: a duplicate would show now
    events = [rendering.decode(change) for change in tail.read_all(client)]
    found = differences(story.history(), events)
    if as_json:
        click.echo(msgspec.json.encode({"exactly_once": not found, "differences": found}))
    else:
        click.echo(f"\n{summary(story.reports)}")
        for difference in found:
            click.echo(f"  {difference}")
        if not found:
            click.echo("Each change was published exactly once, and nothing else.")
    if found:
        sys.exit(1)


if __name__ == "__main__":
    main()
