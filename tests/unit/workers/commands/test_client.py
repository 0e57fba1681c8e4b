"""How commands call the service, and what they say when it refuses or is away."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from workers import embedded
from workers.commands import rendering
from workers.commands.client import Client, Refused, ServiceAway, find_client
from workers.commands.refresh import read_changes
from workers.commands.tail import find_end, read_all


class Service:
    """A service that answers as told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Response] = []
        self.asked: list[Request] = []

    def app(self) -> Starlette:
        """Give it as an application."""

        async def answer(request: Request) -> Response:
            self.asked.append(request)
            return self.answers.pop(0)

        return Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])


@pytest.fixture
def service() -> Service:
    """Give a service."""
    return Service()


@pytest.fixture
def client(service: Service, serve: Callable[[Any], str]) -> Iterator[Client]:
    """Give a client of it, of the tenant ``acme``."""
    with Client(serve(service.app()), "the-token", "acme") as client:
        yield client


def problem(status: int, reason: str, detail: str = "Because.") -> JSONResponse:
    """Give a refusal."""
    return JSONResponse({"status": status, "reason": reason, "detail": detail}, status)


def test_client_presents_token_and_tenant(client: Client, service: Service) -> None:
    """Every call says who asks, and about whom; what is not set is left out."""
    service.answers = [JSONResponse({})]
    client.get("/v1/changes", {"after": None, "limit": 5})
    (request,) = service.asked
    assert request.headers["Authorization"] == "Bearer the-token"
    assert dict(request.query_params) == {"tenant": "acme", "limit": "5"}


def test_client_says_why_it_was_refused(client: Client, service: Service) -> None:
    """The problem's sentence is told, and for a wrong token how to get a right one."""
    service.answers = [problem(403, "insufficient_scope"), problem(401, "invalid_token")]
    with pytest.raises(Refused, match=r"403: Because\.") as refused:
        client.get("/v1/stats")
    assert refused.value.reason == "insufficient_scope"
    with pytest.raises(Refused, match="CPDFEED_API_TOKENS"):
        client.get("/v1/stats")


def test_client_waits_for_a_service_that_is_away(client: Client, service: Service) -> None:
    """Asked to wait, it tries again after 503; otherwise it says so at once."""
    service.answers = [problem(503, "store_unavailable"), JSONResponse({"changes": []})]
    assert client.get("/v1/changes", wait=True) == b'{"changes":[]}'
    service.answers = [problem(503, "store_unavailable")]
    with pytest.raises(ServiceAway, match="doctor"):
        client.get("/v1/changes")


def test_client_says_where_nobody_answers() -> None:
    """Without an answer, the address and what to do are told."""
    url = f"http://127.0.0.1:{embedded.free_port()}"
    with Client(url, "token") as client, pytest.raises(ServiceAway, match=f"{url}.*cpdfeed up"):
        client.get("/livez")


def test_client_disarms_what_a_terminal_obeys(client: Client, service: Service) -> None:
    """What a stranger's service says cannot move the cursor."""
    service.answers = [problem(400, "bad_request", "\x1b[2J")]
    with pytest.raises(Refused) as refused:
        client.get("/v1/changes")
    assert refused.value.message.isprintable()


def test_end_is_unknown_before_the_baseline(client: Client, service: Service) -> None:
    """A service without a baseline is not waited for: the log is followed from its start."""
    service.answers = [problem(503, "no_baseline"), JSONResponse({"changes_cursor": "e:7"})]
    assert find_end(client) is None
    assert find_end(client) == "e:7"


def test_all_changes_are_read_page_by_page(client: Client, service: Service) -> None:
    """A full page is followed by the next, from its cursor."""
    service.answers = [
        JSONResponse({"changes": [{}] * 500, "cursor": "e:500"}),
        JSONResponse({"changes": [{}], "cursor": "e:501"}),
    ]
    assert len(read_all(client)) == 501
    assert service.asked[1].query_params["after"] == "e:500"


def test_changes_are_read_by_their_sequences(client: Client, service: Service) -> None:
    """What a notification led to is read from before the first of them, and nothing else given."""
    events = [
        {
            "id": f"e:{number}",
            "time": "2026-01-02T03:04:05Z",
            "type": "cpd.requirement.updated",
            "data": {"sequence": number, "kind": "updated"},
        }
        for number in (5, 6, 7)
    ]
    service.answers = [
        JSONResponse({"changes_cursor": "e:9"}),
        JSONResponse({"changes": events, "cursor": "e:7"}),
    ]
    found = [rendering.decode(change).id for change in read_changes(client, [5, 7])]
    assert found == ["e:5", "e:7"]
    assert service.asked[1].query_params["after"] == "e:4"


def test_token_of_up_is_found_in_its_folder(
    service: Service,
    serve: Callable[[Any], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """CPDFEED_TOKEN comes first, then the token that `up` keeps; without either, it is said."""
    url = serve(service.app())
    service.answers = [JSONResponse({}), JSONResponse({})]
    with pytest.raises(click.ClickException, match="CPDFEED_TOKEN"):
        find_client(url, None)
    (tmp_path / ".cpdfeed").mkdir()
    (tmp_path / ".cpdfeed" / "api-token").write_text("kept\n")
    with find_client(url, None) as client:
        client.get("/")
    monkeypatch.setenv("CPDFEED_TOKEN", "given")
    with find_client(url, None) as client:
        client.get("/")
    tokens = [request.headers["Authorization"] for request in service.asked]
    assert tokens == ["Bearer kept", "Bearer given"]
