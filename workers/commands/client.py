"""Call our own service over HTTP, for the commands that look at it or ask it for something."""

import functools
import os
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Self

import click
import httpx2
import msgspec
import stamina
from msgspec import Struct
from stamina.instrumentation import RetryDetails

from workers.commands import rendering
from workers.commands.up import TOKEN_FILE
from workers.contract import settings as settings_table
from workers.contract.errors import SettingsError

_Params = Mapping[str, str | int | None]

_TIMEOUT_S: Final = 40.0
"""Longer than the 30 s a long poll may take."""

NO_BASELINE: Final = "no_baseline"
"""The service is there, and waits for the platform."""

NEEDS: Final = """\b
Needs:
  the running service at CPDFEED_URL or --url (default http://127.0.0.1:$PORT, port 8000),
  and its API token in CPDFEED_TOKEN, or the one that `cpdfeed up` keeps in CPDFEED_DATA.
"""


class ServiceAway(click.ClickException):
    """The service does not answer, or says that it cannot for now."""


class Refused(click.ClickException):
    """The service understood and said no; `reason` is its stable name for why."""

    def __init__(self, message: str, status: int, reason: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason

    def with_hint(self, hint: str) -> "Refused":
        """Give the same with one sentence more on what to do."""
        return Refused(f"{self.message} {hint}", self.status, self.reason)


class _Problem(Struct):
    title: str = ""
    detail: str = ""
    reason: str = ""


class Client:
    """The service as one caller sees it; leaving it closes the connections."""

    def __init__(self, url: str, token: str, tenant: str | None = None) -> None:
        """Take where it is, the caller's token, and the tenant where there are several."""
        self.url = url.rstrip("/")
        self._tenant = tenant
        self._http = open_http(url, {"Authorization": f"Bearer {token}"})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, params: _Params | None = None, *, wait: bool = False) -> bytes:
        """Read; `wait` goes on trying for as long as the service is away.

        Raises:
            ServiceAway: It does not answer.
            Refused: It says no.
        """
        if not wait:
            return self._send("GET", path, params, None)
        for attempt in stamina.retry_context(on=ServiceAway, attempts=None, timeout=None):
            with attempt:
                return self._send("GET", path, params, None)
        raise AssertionError("unreachable")  # stamina goes on until one succeeds

    def post(self, path: str, body: object) -> bytes:
        """Ask for something.

        Raises:
            ServiceAway: It does not answer.
            Refused: It says no.
        """
        return self._send("POST", path, None, msgspec.json.encode(body))

    def _send(self, method: str, path: str, params: _Params | None, body: bytes | None) -> bytes:
        given = {"tenant": self._tenant, **(params or {})}
        try:
            return exchange(self._http, method, path, params=given, body=body)
        except Refused as error:
            if error.status == HTTPStatus.UNAUTHORIZED:
                raise error.with_hint(_HOW_TO_GET_IN) from None
            raise


def exchange(
    http: httpx2.Client,
    method: str,
    path: str,
    *,
    params: _Params | None = None,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Make one request of our own service and give the answer's body.

    Args:
        http: Knows where it is.
        method: Of HTTP.
        path: Below that.
        params: The query; what is None is left out.
        body: JSON.
        headers: Further ones.

    Raises:
        ServiceAway: There is no answer, or 429 or 5xx.
        Refused: Any other that is not 2xx.
    """
    where = str(http.base_url).rstrip("/")
    content_type = {} if body is None else {"Content-Type": "application/json"}
    try:
        answer = http.request(
            method,
            path,
            params={name: value for name, value in (params or {}).items() if value is not None},
            content=body,
            headers={**content_type, **(headers or {})},
        )
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise ServiceAway(
            f"no answer from {where} ({type(error).__name__}). Start the service with "
            "`cpdfeed up`, or say where it is with --url or CPDFEED_URL."
        ) from error
    if answer.is_success:
        return answer.content
    problem = _problem(answer.content)
    said = problem.detail or problem.title or answer.reason_phrase
    text = f"{where} answers {answer.status_code}: {rendering.printable(said)}"
    busy = answer.status_code == HTTPStatus.TOO_MANY_REQUESTS
    away = answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
    if (busy or away) and problem.reason != NO_BASELINE:
        raise ServiceAway(f"{text} Try again, or see what `cpdfeed doctor` says.")
    raise Refused(text, answer.status_code, problem.reason)


_HOW_TO_GET_IN: Final = (
    "Set CPDFEED_TOKEN to a token of this service. To make one: `token=$(openssl rand -hex 32)`, "
    'and add what `printf %s "$token" | sha256sum` prints, with `:feed:read+feed:write` behind it, '
    "to the service's CPDFEED_API_TOKENS."
)


def open_http(url: str, headers: Mapping[str, str] | None = None) -> httpx2.Client:
    """Give connections to the service there, without a proxy between."""
    return httpx2.Client(base_url=url, headers=headers, timeout=_TIMEOUT_S, trust_env=False)


def default_url(port: int) -> str:
    """Give where the service is unless said otherwise."""
    return f"http://127.0.0.1:{port}"


def find_client(url: str | None, tenant: str | None) -> Client:
    """Give a client as the environment says where, and with which token.

    Raises:
        click.ClickException: There is no token.
    """
    try:
        settings = settings_table.load()
        port, data = settings.port, Path(settings.data)
    except SettingsError:  # the service may run elsewhere, with settings that we have not
        given = os.environ.get("PORT", "")
        port = int(given) if given.isdecimal() else 8000
        data = Path(os.environ.get("CPDFEED_DATA") or ".cpdfeed")
    token = os.environ.get("CPDFEED_TOKEN") or _kept_token(data)
    if token is None:
        raise click.ClickException(
            f"there is no API token: CPDFEED_TOKEN is not set, and {data.absolute() / TOKEN_FILE}, "
            f"where `cpdfeed up` keeps one, cannot be read. {_HOW_TO_GET_IN}"
        )
    return Client(url or default_url(port), token, tenant)


def calling(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command a client, and the options that say of what."""

    @click.option("--url", envvar="CPDFEED_URL", help="Where the service is (CPDFEED_URL).")
    @click.option("--tenant", envvar="CPDFEED_TENANT", help="Whose feed, where there are several.")
    @functools.wraps(command)
    def found(*args: Any, url: str | None, tenant: str | None, **kwargs: Any) -> None:  # noqa: ANN401 - click's own
        with find_client(url, tenant) as client:
            command(client, *args, **kwargs)

    return found


def announce_retry(details: RetryDetails) -> None:
    """Say, once per absence, that we wait for the service."""
    if details.retry_num == 1:
        message = getattr(details.caused_by, "message", type(details.caused_by).__name__)
        click.echo(f"cpdfeed: {message} Trying again…", err=True)


def _kept_token(data: Path) -> str | None:
    try:
        return (data / TOKEN_FILE).read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _problem(body: bytes) -> _Problem:
    try:
        return msgspec.json.decode(body, type=_Problem)
    except msgspec.MsgspecError:
        return _Problem()
