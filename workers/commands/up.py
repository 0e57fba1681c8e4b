"""Run all of cpdfeed on one machine, in one terminal: `cpdfeed up`."""

import contextlib
import fcntl
import hashlib
import os
import secrets
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import click

from workers import embedded
from workers.commands import processes
from workers.commands.processes import Ended, Output
from workers.contract import settings as settings_table
from workers.contract.settings import DEFAULT_REDIS_URL, ApiToken, Settings

TOKEN_FILE: Final = "api-token"  # noqa: S105 - the name of a file
_LOCK_FILE: Final = "up.lock"

_EPILOG: Final = """\b
Example:
  export CPDFEED_REGION=staging CPDFEED_TENANT_ID=eu-west-2_AbcdEfghI
  export CPDFEED_API_SECRET=… CPDFEED_WEBHOOK_AUTH=signature CPDFEED_WEBHOOK_SECRETS=…
  cpdfeed up --port 8000

\b
Needs:
  the settings of a tenant, from the environment or cpdfeed.toml; `cpdfeed doctor` checks them.
  No Redis: without REDIS_URL it starts a server of its own.
  To be reached from outside, a reverse proxy with TLS before it, or --host 0.0.0.0.
  No tenant at hand? Try `cpdfeed demo`.
"""


@click.command(short_help="Run everything in one terminal.", epilog=_EPILOG)
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port of the web service; 0 takes a free one."
)
@click.option(
    "--host",
    envvar="HOST",
    default="127.0.0.1",
    show_default=True,
    help="Address the web service listens on.",
)
def up(port: int | None, host: str) -> None:
    """Run everything in one terminal: web, workers, timetable, and Redis if you have none.

    Data and generated secrets are in CPDFEED_DATA (.cpdfeed/), among them an API token, so that
    `cpdfeed tail` and the others work on this machine without further ado. Ctrl-C ends all of it.
    When a part dies unasked all of it ends with exit code 1, so that a supervisor starts it anew;
    nothing is lost.
    """
    noted = processes.note_signals()
    chosen = {} if port is None else {"PORT": str(port)}
    settings = settings_table.load(dict(os.environ) | chosen)
    for name in settings.unknown:
        click.echo(
            f"cpdfeed: {name} looks like a setting and is none, see docs/settings.md", err=True
        )
    data = Path(settings.data).absolute()
    with hold(data):
        listen = settings.port or embedded.free_port()
        check_free(host, listen)
        _greet(settings, data, host, listen)
        commands = {name: processes.command(name) for name in processes.PARTS}
        env = environment(os.environ, settings, data, host=host, port=listen)
        ended = serve(settings, data, commands, env, Output(sys.stdout), noted)
    if ended:
        raise click.ClickException(
            f"{ended.name} ended unasked, so everything was stopped. Its last lines above say why; "
            "`cpdfeed doctor` checks what it needs."
        )


def serve(
    settings: Settings,
    data: Path,
    commands: Mapping[str, str],
    env: Mapping[str, str],
    output: Output,
    noted: list[int],
    folder: Path | None = None,
) -> Ended | None:
    """Run parts, around them the embedded server where none is set; give what ended unasked.

    The server starts before the first part and stops after the last.
    """
    if not needs_server(settings):
        return processes.run(commands, env, output, noted, folder=folder)
    try:
        running = embedded.start(data)
    except (OSError, RuntimeError) as error:
        raise click.ClickException(str(error)) from error
    try:
        with processes.ending_with_us(running.process):
            within = {**env, "REDIS_URL": running.url.reveal()}
            return processes.run(
                commands, within, output, noted, server=running.process, folder=folder
            )
    finally:
        running.stop()


def needs_server(settings: Settings) -> bool:
    """Tell whether `up` starts a server: nobody named one, not even the default by its name."""
    return settings.redis_url is DEFAULT_REDIS_URL


def environment(
    base: Mapping[str, str], settings: Settings, data: Path, *, host: str, port: int
) -> dict[str, str]:
    """Give the environment of the parts: ours, and what only `up` knows.

    Our token joins those that the settings hold: what stands in the environment replaces what
    stands in the file.
    """
    tokens = list(settings.api_tokens)
    if len(settings.tenants) == 1:  # with several, the file's `[tenants.…]` keep their own
        (tenant,) = settings.tenants.values()
        tokens += tenant.api_tokens
    tokens.append(ApiToken(_sha256(own_token(data)), frozenset({"admin"})))
    console = settings.log_format == "auto" and sys.stdout.isatty()
    return {
        **base,
        "HOST": host,
        "PORT": str(port),
        "CPDFEED_DATA": str(data),
        "CPDFEED_API_TOKENS": ",".join(dict.fromkeys(map(_token_text, tokens))),
        "CPDFEED_LOG_FORMAT": "console" if console else settings.log_format,
        "PYTHONUNBUFFERED": "1",  # a line is to be read when it is written
    }


def own_token(data: Path) -> str:
    """Give the API token of this folder's operator, made when there is none (mode 0600)."""
    path = data / TOKEN_FILE
    with contextlib.suppress(FileNotFoundError):
        if known := path.read_text(encoding="ascii").strip():
            return known
    token = secrets.token_urlsafe(32)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(token + "\n")
    return token


@contextlib.contextmanager
def hold(data: Path) -> Iterator[None]:
    """Keep a second `up` out of a data folder, which is made when missing.

    Raises:
        click.ClickException: Another one has it.
    """
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (data / _LOCK_FILE).open("a+", encoding="ascii")
    except OSError as error:
        raise click.ClickException(
            f"{data} cannot be used ({error.strerror}): set CPDFEED_DATA to a folder of yours."
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise click.ClickException(
                f"another `cpdfeed up` (process {file.read().strip()}) uses {data}: end it first, "
                "or set CPDFEED_DATA to a folder of its own for this one."
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def check_free(host: str, port: int) -> None:
    """Check that nobody listens on a port yet.

    Raises:
        click.ClickException: Somebody does, or the address is not ours.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port)[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        raise click.ClickException(
            f"cannot listen on {host} port {port} ({error.strerror}): choose another with "
            "--port or --host."
        ) from error


def _greet(settings: Settings, data: Path, host: str, port: int) -> None:
    reachable = "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104 - only compared
    url = f"http://{reachable}:{port}"
    state = "embedded server" if needs_server(settings) else "the server of REDIS_URL"
    click.echo(f"cpdfeed        {url}")
    for slug in settings.tenants:
        click.echo(f"notifications  {url}/webhooks/{slug}")
    click.echo(f"follow         CPDFEED_URL={url} cpdfeed tail")
    click.echo(f"data           {data} ({state})")
    click.echo("end            Ctrl-C\n")


def _token_text(token: ApiToken) -> str:
    return f"{token.sha256}:{'+'.join(sorted(token.scopes))}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
