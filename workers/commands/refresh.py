"""Ask the service to read the platform again: `cpdfeed refresh`."""

import time
from collections.abc import Callable, Collection
from functools import partial
from typing import Final, Literal

import click
import msgspec
from msgspec import Struct

from workers.commands import rendering, tail
from workers.commands.client import NEEDS, Client, calling
from workers.contract.codec import Cursor

_PATIENCE_S: Final = 120.0
_POLL_S: Final = 0.2
_EPILOG: Final = f"""\b
Examples:
  cpdfeed refresh --wait
  cpdfeed refresh --audience 60d5ec49b60b4b3a2c8f9a11
  cpdfeed refresh --release-brake --wait

{NEEDS}"""


class Receipt(Struct):
    """What became of a notification, under which id it can be looked up."""

    notification: str
    status: str


class State(Struct):
    """How far a notification has come."""

    id: str
    state: Literal["pending", "covered", "ignored"]
    changes: tuple[int, ...] = ()


_receipts: Final = msgspec.json.Decoder(Receipt)
_states: Final = msgspec.json.Decoder(State)


@click.command(short_help="Have the platform read again now.", epilog=_EPILOG)
@click.option("--audience", metavar="ID", help="Read what concerns this audience.")
@click.option("--requirement", metavar="ID", help="Read this requirement.")
@click.option(
    "--release-brake", is_flag=True, help="Let the removals go that the brake holds back."
)
@click.option("--wait", is_flag=True, help="Wait for the read, and print what it found.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@calling
def refresh(
    client: Client,
    audience: str | None,
    requirement: str | None,
    release_brake: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """Have the platform read again now: everything, an audience, or one requirement.

    When much of a collection is missing at once, removals are held back (`cpdfeed doctor` says
    so). --release-brake says that these rows are truly gone: they are asked for by id, and removed
    where the platform says 404. It needs a token with the scope admin.
    """
    given = {"audience_id": audience, "requirement_id": requirement, "release_brake": release_brake}
    body = {name: value for name, value in given.items() if value}
    if len(body) > 1:
        raise click.UsageError("--audience, --requirement and --release-brake exclude each other")
    body = body or {"scope": "collection"}
    send = partial(client.post, "/v1/refresh", body)
    report(send, client if wait else None, as_json=as_json)


def report(send: Callable[[], bytes], client: Client | None, *, as_json: bool) -> None:
    """Send a notification, print what became of it and, given a client, what its read found.

    Raises:
        click.ClickException: It was not covered in time.
    """
    receipt = _receipts.decode(send())
    if client is None:
        line = f"{receipt.status}  {receipt.notification}"
        click.echo(msgspec.json.encode(receipt) if as_json else line)
        return
    state = await_covered(client, receipt.notification)
    changes = read_changes(client, state.changes)
    if as_json:
        found = {**msgspec.to_builtins(receipt), "state": state.state, "changes": changes}
        click.echo(msgspec.json.encode(found))
        return
    click.echo(f"{receipt.status}, {state.state}  {receipt.notification}")
    for change in changes:
        tail.show(change, as_json=False)
    if not changes:
        click.echo("No change was found.")


def read_changes(client: Client, sequences: Collection[int]) -> list[msgspec.Raw]:
    """Give the changes of these sequences."""
    end = tail.find_end(client) if sequences else None
    if end is None:
        return []
    before = Cursor(Cursor.parse(end).epoch, min(sequences) - 1)
    return [
        change
        for change in tail.read_all(client, str(before))
        if rendering.decode(change).data.sequence in sequences
    ]


def await_covered(client: Client, id_: str, patience_s: float = _PATIENCE_S) -> State:
    """Give a notification's state once a read that began after it is committed, or it is ignored.

    Raises:
        click.ClickException: It is still pending after that time.
    """
    deadline = time.monotonic() + patience_s
    while True:
        state = _states.decode(client.get(f"/v1/notifications/{id_}", wait=True))
        if state.state != "pending":
            return state
        if time.monotonic() > deadline:
            raise click.ClickException(
                f"notification {id_} is still pending after {patience_s:.0f} s. It is kept; "
                "`cpdfeed doctor` tells whether the platform answers, the log of `refresh` why not."
            )
        time.sleep(_POLL_S)
