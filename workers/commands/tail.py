"""Follow the changes as they are published: `cpdfeed tail`.

By long polls of `/v1/changes`: exact from one cursor to the next, whatever happens in between.
"""

from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Final

import click
import msgspec
from msgspec import Struct

from workers.commands import rendering
from workers.commands.client import NEEDS, NO_BASELINE, Client, Refused, calling

_WAIT_S: Final = 25
_LIMIT: Final = 500
_EPILOG: Final = f"""\b
Examples:
  cpdfeed tail
  cpdfeed tail --from-start --json | jq .data.delta_minutes
  cpdfeed tail --type cpd.requirement.removed --count 1

{NEEDS}"""


class Batch(Struct):
    """One answer of `/v1/changes`: CloudEvents as they were written; no cursor before any."""

    changes: list[msgspec.Raw]
    cursor: str | None


class _Snapshot(Struct):
    changes_cursor: str


_batches: Final = msgspec.json.Decoder(Batch)
_snapshots: Final = msgspec.json.Decoder(_Snapshot)


@click.command(short_help="Follow the changes as they are published.", epilog=_EPILOG)
@click.option("--after", metavar="CURSOR", help="Begin after this cursor; a change's id is one.")
@click.option("--from-start", is_flag=True, help="Begin with the oldest change that is kept.")
@click.option(
    "--type",
    "types",
    metavar="TYPE",
    multiple=True,
    help="Only this type, such as cpd.requirement.removed; may be repeated.",
)
@click.option("--count", type=click.IntRange(min=1), help="End after this many changes.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print each change as CloudEvent, one a line."
)
@calling
def tail(
    client: Client,
    after: str | None,
    from_start: bool,
    types: tuple[str, ...],
    count: int | None,
    as_json: bool,
) -> None:
    """Print each change as it is published, from now on, until Ctrl-C.

    A line tells when it was observed, what happened, to which audience, the required time before
    and after, and the sequence. A service that is away is waited for; nothing is missed meanwhile.
    """
    if after and from_start:
        raise click.UsageError("--after and --from-start exclude each other")
    try:
        cursor = None if from_start else after or find_end(client)
        for number, event in enumerate(follow(client, cursor, types), 1):
            show(event, as_json=as_json)
            if number == count:
                return
    except KeyboardInterrupt:
        return
    except Refused as error:
        if error.status == HTTPStatus.GONE:
            hint = "Or begin with the oldest change that is kept: --from-start."
            raise error.with_hint(hint) from None
        raise


def show(event: msgspec.Raw, *, as_json: bool) -> None:
    """Print a change, for people or as it is."""
    click.echo(bytes(event) if as_json else rendering.line(rendering.decode(event)))


def find_end(client: Client) -> str | None:
    """Give the cursor of the last change there is; None while the feed has no baseline."""
    try:
        body = client.get("/v1/requirements", {"limit": 1}, wait=True)
    except Refused as error:
        if error.reason == NO_BASELINE:
            return None
        raise
    return _snapshots.decode(body).changes_cursor


def follow(client: Client, cursor: str | None, types: Sequence[str] = ()) -> Iterator[msgspec.Raw]:
    """Give every change after a cursor, for ever; without one from the log's start."""
    while True:
        query = {"after": cursor, "type": ",".join(types) or None, "limit": _LIMIT, "wait": _WAIT_S}
        batch = _batches.decode(client.get("/v1/changes", query, wait=True))
        yield from batch.changes
        cursor = batch.cursor


def read_all(client: Client, cursor: str | None = None) -> list[msgspec.Raw]:
    """Give every change there is after a cursor, without waiting for more."""
    found: list[msgspec.Raw] = []
    while True:
        body = client.get("/v1/changes", {"after": cursor, "limit": _LIMIT})
        batch = _batches.decode(body)
        found += batch.changes
        if len(batch.changes) < _LIMIT:
            return found
        cursor = batch.cursor
