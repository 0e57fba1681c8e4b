"""Prove that log and snapshot are whole: `cpdfeed verify`.

Reads Redis itself, so that it also tells what the service would not.
"""

import contextlib
import sys
from collections.abc import Callable, Iterable
from typing import Any, Final

import click
import msgspec
import redis
from msgspec import Struct

from workers.commands import diagnosis, rendering
from workers.commands.store import connect, find_url
from workers.contract import settings as settings_table
from workers.contract.codec import GENESIS
from workers.contract.keyspace import SCHEMA_KEY, Keyspace
from workers.contract.model import Head
from workers.contract.settings import Settings
from workers.entry import Fault
from workers.proof import Proof, Proven

_BATCH: Final = 1_000
_LONG: Final = 10_000
"""A log of so many changes takes a while: say how far we are, though nobody may be looking."""
_TIMEOUT_S: Final = 60.0
_TRIES: Final = 3
_SHOWN: Final = 12
_OK: Final = click.style("ok  ", fg="green")
_FAIL: Final = click.style("fail", fg="red")
_EPILOG: Final = """\b
Examples:
  cpdfeed verify
  cpdfeed verify --tenant acme --json | jq '.tenants[] | select(.verdict == "fail")'

\b
Needs:
  the settings of the service, from the environment or cpdfeed.toml, and Redis or a running
  `cpdfeed up`; not the service itself. It writes nothing anywhere.
"""

Outcome = Proven | Fault | None
"""None where there is no log yet."""


class _Standing(Struct):
    """What belongs together: head, snapshot, the log's last entry and its number of entries."""

    head: Head
    rows: dict[bytes, bytes]
    last: bytes | None
    length: int


@click.command(short_help="Prove that log and snapshot are whole.", epilog=_EPILOG)
@click.option("--tenant", "slug", metavar="SLUG", help="Only this tenant; otherwise every one.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def verify(ctx: click.Context, slug: str | None, as_json: bool) -> None:
    """Prove each tenant's log and snapshot: chain, sequence, links, snapshot and baseline.

    A line each: ok, with what was proven, or fail, with the first change that disagrees. Exit
    code 1 when anything fails. docs/verify.md says what that proves, and what it cannot.
    """
    settings = settings_table.load()
    if slug is not None and slug not in settings.tenants:
        raise click.BadParameter(f"known are {', '.join(settings.tenants)}", param_hint="--tenant")
    outcomes: dict[str, Outcome] = {}
    try:
        with contextlib.closing(_open(settings)) as store:
            for name in [slug] if slug else settings.tenants:
                outcomes[name] = _prove_watched(store, name, quiet=as_json)
                if not as_json:
                    click.echo(line(name, outcomes[name]))
    except redis.exceptions.RedisError as error:
        raise click.ClickException(
            f"Redis does not answer as it should ({type(error).__name__}). Check REDIS_URL and "
            "that the server runs; `cpdfeed doctor` tells more."
        ) from error
    if as_json:
        click.echo(msgspec.json.encode({"tenants": [report(*each) for each in outcomes.items()]}))
    if any(isinstance(outcome, Fault) for outcome in outcomes.values()):
        ctx.exit(1)


def line(slug: str, outcome: Outcome) -> str:
    """Give what was found of a tenant in one line."""
    match outcome:
        case None:
            return f"{_OK}  {slug}  no log yet: it begins with the first complete scan"
        case Fault():
            says = rendering.printable(outcome.says)
            return f"{_FAIL}  {slug}  sequence {outcome.sequence}: {says} ({outcome.reason})"
    baseline = "baseline proven"
    if outcome.baseline is None:
        baseline = f"baseline trimmed, {_count(outcome.untouched, 'row')} without a change since"
    return (
        f"{_OK}  {slug}  {_count(outcome.changes, 'change')}, "
        f"chain to {outcome.digest[:_SHOWN]}, {_count(outcome.rows, 'row')}, {baseline}"
    )


def report(slug: str, outcome: Outcome) -> dict[str, Any]:
    """Give what was found of a tenant for programs."""
    match outcome:
        case None:
            return {"tenant": slug, "verdict": "empty"}
        case Fault():
            return {"tenant": slug, "verdict": "fail", **msgspec.to_builtins(outcome)}
    return {"tenant": slug, "verdict": "ok", **msgspec.to_builtins(outcome)}


def prove(store: redis.Redis, slug: str, watch: Callable[[int, int], None]) -> Outcome:
    """Walk along a tenant's log up to the head, and compare the snapshot that belongs to it.

    The log may be trimmed meanwhile: what is gone is held against nobody, and we begin again.

    Args:
        store: The server.
        slug: The tenant.
        watch: Told how many changes were checked just now, and how many there are.

    Keys: head, rows, changes. The first two, and where the log ends, are read in one transaction.

    Raises:
        click.ClickException: The log is trimmed faster than it can be read.
    """
    keys = Keyspace(slug)
    for _ in range(_TRIES):
        standing = _stand(store, keys)
        if standing.last is None and not standing.head.sequence:
            return None
        outcome = _walk(store, keys, standing, watch)
        if not isinstance(outcome, Fault) or not _is_trimmed(store, keys, outcome.sequence):
            return outcome
    raise click.ClickException(
        f"the log of {slug} is trimmed faster than it can be read: try again later."
    )


def _prove_watched(store: redis.Redis, slug: str, *, quiet: bool) -> Outcome:
    """Prove, and show on standard error how far that is."""
    with contextlib.ExitStack() as stack:
        bars: list[Any] = []

        def watch(done: int, length: int) -> None:
            if not (bars or quiet) and (length >= _LONG or sys.stderr.isatty()):
                bar = click.progressbar(
                    length=length, label=f"{slug}: {length} changes", file=sys.stderr
                )
                bars.append(stack.enter_context(bar))
            for bar in bars:
                bar.update(done)

        return prove(store, slug, watch)


def _open(settings: Settings) -> redis.Redis:
    url = find_url(settings)
    if url is None:
        raise click.ClickException(
            "there is no Redis: REDIS_URL is not set, and no `cpdfeed up` runs with this "
            "CPDFEED_DATA."
        )
    store = connect(url, _TIMEOUT_S)
    version: Any = store.get(SCHEMA_KEY)
    if (finding := diagnosis.judge_schema(version)) is not None:
        raise click.ClickException(f"{finding.says}. {finding.next}")
    return store


def _stand(store: redis.Redis, keys: Keyspace) -> _Standing:
    with store.pipeline(transaction=True) as transaction:
        transaction.hmget(keys.head, ["epoch", "sequence", "digest"])
        transaction.hgetall(keys.rows)
        transaction.xrevrange(keys.changes, count=1)
        transaction.xlen(keys.changes)
        (epoch, sequence, digest), rows, last, length = transaction.execute()
    head = Head(
        epoch=_text(epoch),
        sequence=int(sequence) if sequence and sequence.isdigit() else 0,
        digest=_text(digest) or GENESIS,
    )
    return _Standing(head, rows, last[0][0] if last else None, length)


def _walk(
    store: redis.Redis, keys: Keyspace, standing: _Standing, watch: Callable[[int, int], None]
) -> Proven | Fault:
    proof = Proof(keys.tenant)
    for entries in _batches(store, keys, standing.last):
        for entry_id, fields in entries:
            if fault := proof.take(entry_id, fields):
                return fault
        watch(len(entries), standing.length)
    return proof.close(standing.rows, standing.head)


def _batches(store: redis.Redis, keys: Keyspace, last: bytes | None) -> Iterable[list[Any]]:
    """Give the log up to an entry, oldest first."""
    start = b"-"
    while last is not None:
        entries: Any = store.xrange(keys.changes, min=start, max=last, count=_BATCH)
        if not entries:
            return
        yield entries
        start = b"(" + entries[-1][0]


def _is_trimmed(store: redis.Redis, keys: Keyspace, sequence: int) -> bool:
    """Tell whether the log no longer holds a change, but later ones."""
    oldest: Any = store.xrange(keys.changes, count=1)
    return bool(oldest) and int(oldest[0][0].partition(b"-")[0]) > sequence


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
