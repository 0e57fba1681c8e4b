"""The web process on a free port against a real server, and a token issuer that speaks HTTP."""

import base64
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import httpx2
import pytest
import redis
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from structlog.testing import capture_logs

from service.app import create_app
from workers.contract import settings
from workers.contract.calls import Call
from workers.contract.keyspace import Keyspace
from workers.contract.settings import Secret
from workers.contract.signing import sign

TENANT_ID = "eu-west-2_AbcdEfghI"
SECRET = "test-secret"
READER, WRITER, ADMIN = "reader-token", "writer-token", "admin-token"
INTROSPECTION_SECRET = "introspection-secret"
BODY = b'{"eventType":"assignment.updated","assignment":{"audienceId":"60d5ec49b60b4b3a2c8f9a11"}}'


def sha256(text: str) -> str:
    """Give the digest under which a token stands in the settings."""
    return hashlib.sha256(text.encode()).hexdigest()


def signed(body: bytes, secret: str = SECRET) -> dict[str, str]:
    """Give the headers of a signed notification."""
    return {"content-type": "application/json", "x-hmac-signature": sign(body, Secret(secret))}


def borne(token: str) -> dict[str, str]:
    """Give the headers of a notification that bears a token."""
    return {"content-type": "application/json", "authorization": f"Bearer {token}".rstrip()}


def segment(part: bytes | Mapping[str, Any]) -> str:
    """Give one part of a JWT: base64url without padding."""
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.ms = time.time_ns() // 1_000_000

    def __call__(self) -> int:
        """Give the time, Unix milliseconds."""
        return self.ms


class Issuer:
    """An issuer of tokens, with a count of what it was asked."""

    def __init__(self, key: RSAKey, other: RSAKey) -> None:
        self.key = key
        self.other = other
        self.published: list[Mapping[str, Any]] = [key.as_dict(private=False)]
        self.document: bytes | None = None
        self.known: dict[str, dict[str, Any]] = {}
        self.status = 200
        self.fetched = 0
        self.asked: list[dict[str, str]] = []
        self.url = ""

    def claims(self, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any claim
        """Give the claims of a good token; a change to None leaves a claim out."""
        now_s = int(time.time())
        good = {
            "iss": self.url,
            "exp": now_s + 3600,
            "client_id": "client-1",
            "scope": "api/webhooks",
            "token_use": "access",
        }
        return {name: value for name, value in (good | changes).items() if value is not None}

    def mint(
        self,
        header: Mapping[str, Any] | bytes | None = None,
        payload: bytes | None = None,
        key: RSAKey | None = None,
        **changes: Any,  # noqa: ANN401 - any claim
    ) -> str:
        """Give a signed token, good but for the changes."""
        parts = {"alg": "RS256", "typ": "JWT", "kid": "one"}
        if isinstance(header, Mapping):
            merged = {**parts, **header}
            header = {name: value for name, value in merged.items() if value is not None}
        body = self.claims(**changes) if payload is None else payload
        head = segment(parts if header is None else header)
        text = f"{head}.{segment(body)}"
        signer = (key or self.key).private_key
        assert signer is not None
        signature = signer.sign(text.encode(), padding.PKCS1v15(), SHA256())
        return f"{text}.{segment(signature)}"

    def app(self) -> Starlette:
        """Give the issuer's two endpoints."""
        return Starlette(
            routes=[
                Route("/.well-known/jwks.json", self._keys),
                Route("/introspect", self._introspect, methods=["POST"]),
            ]
        )

    async def _keys(self, _: Request) -> Response:
        self.fetched += 1
        if self.document is not None:
            return Response(self.document, self.status, media_type="application/json")
        return JSONResponse({"keys": self.published}, self.status)

    async def _introspect(self, request: Request) -> Response:
        form = dict(httpx2.QueryParams((await request.body()).decode()))
        form["authorization"] = request.headers.get("authorization", "")
        self.asked.append(form)
        if self.document is not None:
            return Response(self.document, self.status, media_type="text/html")
        return JSONResponse(self.known.get(form["token"], {"active": False}), self.status)


@pytest.fixture(scope="session")
def rsa_keys() -> tuple[RSAKey, RSAKey]:
    """Give two key pairs: the issuer's, and one that is not known at first."""
    return (
        RSAKey.generate_key(2048, {"kid": "one"}),
        RSAKey.generate_key(2048, {"kid": "two", "use": "sig", "alg": "RS256"}),
    )


@pytest.fixture
def issuer(rsa_keys: tuple[RSAKey, RSAKey], serve: Callable[[Starlette], str]) -> Issuer:
    """Give an issuer that is being served."""
    made = Issuer(*rsa_keys)
    made.url = serve(made.app())
    return made


@pytest.fixture
def clock() -> Clock:
    """Give a clock that stands still."""
    return Clock()


class Site:
    """The web process as callers see it, and what it handed to the broker."""

    def __init__(self, app: Starlette, client: httpx2.Client, calls: list[Call]) -> None:
        self.app = app
        self.client = client
        self.calls = calls

    def notify(
        self, body: bytes = BODY, headers: Mapping[str, str] | None = None, tenant: str = "acme"
    ) -> httpx2.Response:
        """Send a notification, signed if nothing else is said."""
        sent = signed(body) if headers is None else headers
        return self.client.post(f"/webhooks/{tenant}", content=body, headers=sent)


class Start(Protocol):
    """Starts the web process with some settings."""

    def __call__(
        self,
        enqueue: Callable[[Call], None] | None = None,
        now_ms: Callable[[], int] | None = None,
        /,
        **env: str,
    ) -> Site:
        """Give the site; settings go without their prefix, in lower case."""


@pytest.fixture
def start(redis_url: str, serve: Callable[[Starlette], str]) -> Iterator[Start]:
    """Give a function that starts the web process of one tenant, ``acme``."""
    tokens = {READER: "feed:read", WRITER: "feed:write", ADMIN: "admin"}
    common = {
        "REDIS_URL": redis_url,
        "CPDFEED_TENANT": "acme",
        "CPDFEED_TENANT_ID": TENANT_ID,
        "CPDFEED_REGION": "production",
        "CPDFEED_API_SECRET": "api-secret",
        "CPDFEED_WEBHOOK_AUTH": "signature",
        "CPDFEED_WEBHOOK_SECRETS": SECRET,
        "CPDFEED_API_TOKENS": ",".join(f"{sha256(t)}:{scope}" for t, scope in tokens.items()),
    }
    clients: list[httpx2.Client] = []

    def starting(
        enqueue: Callable[[Call], None] | None = None,
        now_ms: Callable[[], int] | None = None,
        /,
        **env: str,
    ) -> Site:
        given = {settings.env_name(name): value for name, value in env.items()}
        calls: list[Call] = []
        loaded = settings.load(common | given, Path("no-such-folder"))
        taking = enqueue or calls.append
        app = (
            create_app(loaded, enqueue=taking, now_ms=now_ms)
            if now_ms
            else create_app(loaded, enqueue=taking)
        )
        client = httpx2.Client(base_url=serve(app), timeout=30)
        clients.append(client)
        return Site(app, client, calls)

    yield starting
    for client in clients:
        client.close()


TWO_TENANTS = """
api_tokens = "{everywhere}:feed:write"
webhook_auth = "signature"
webhook_secrets = "test-secret"
region = "production"
[tenants.acme]
tenant_id = "eu-west-2_AbcdEfghI"
tenant_aliases = ["acme-corp"]
api_secret = "api-secret"
api_tokens = "{acme}:feed:write"
[tenants.other]
tenant_id = "eu-west-2_Other"
tenant_aliases = ["other-corp"]
api_secret = "api-secret"
webhook_secrets = "other-secret"
"""


@pytest.fixture
def two_tenants(
    redis_url: str, serve: Callable[[Starlette], str], tmp_path: Path
) -> Iterator[Site]:
    """Give the web process of the tenants ``acme`` and ``other``."""
    file = tmp_path / "two.toml"
    file.write_text(TWO_TENANTS.format(everywhere=sha256(WRITER), acme=sha256("acme-token")))
    loaded = settings.load({"REDIS_URL": redis_url, "CPDFEED_CONFIG": str(file)})
    calls: list[Call] = []
    app = create_app(loaded, enqueue=calls.append)
    with httpx2.Client(base_url=serve(app)) as client:
        yield Site(app, client, calls)


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """Give everything that is logged during the test."""
    with capture_logs() as entries:
        yield entries


class Refuse(Protocol):
    """Checks one refusal."""

    def __call__(
        self, answer: httpx2.Response, status: int, reason: str, *, never: tuple[str, ...] = ()
    ) -> None:
        """Hold an answer against the table of errors."""


@pytest.fixture
def refused(store: redis.Redis, keys: Keyspace, logged: list[Any]) -> Refuse:
    """Give the check that an answer is a problem of ours, and that nothing came of the request."""

    def check(
        answer: httpx2.Response, status: int, reason: str, *, never: tuple[str, ...] = ()
    ) -> None:
        problem = answer.json()
        assert (answer.status_code, problem["reason"]) == (status, reason), problem
        assert answer.headers["content-type"] == "application/problem+json"
        assert problem["type"] == f"urn:cpdfeed:problem:{reason}"
        assert problem["status"] == status
        assert problem["title"]
        assert problem["detail"]
        assert store.xlen(keys.inbox) == 0
        assert not store.exists(keys.head, keys.marks, keys.wake)
        said = f"{answer.text} {answer.headers} {logged}"
        for secret in (SECRET, READER, WRITER, ADMIN, INTROSPECTION_SECRET, *never):
            assert secret not in said

    return check
