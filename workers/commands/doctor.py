"""Check what cpdfeed needs, one after another: `cpdfeed doctor`."""

import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import click
import httpx2
import kombu
import msgspec
import redis

from workers.commands import diagnosis
from workers.commands.client import default_url
from workers.commands.diagnosis import Finding, Verdict, fail, ok, warn
from workers.commands.store import REDIS_TIMEOUT_S, connect, find_url
from workers.contract import settings as settings_table
from workers.contract.codec import read_brake
from workers.contract.errors import SettingsError, UpstreamError
from workers.contract.keyspace import SCHEMA_KEY, Keyspace
from workers.contract.settings import Secret, Settings, Tenant
from workers.upstream.tokens import mint

_TIMEOUT_S: Final = 10.0
_COLOURS: Final = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "red"}
_EPILOG: Final = """\b
Examples:
  cpdfeed doctor
  cpdfeed doctor --json | jq '.findings[] | select(.verdict != "ok")'

\b
Needs:
  the settings of the service, from the environment or cpdfeed.toml. It writes nothing anywhere.
"""


@click.command(short_help="Check settings and all they lead to.", epilog=_EPILOG)
@click.option("--url", envvar="CPDFEED_URL", help="Where the service is (CPDFEED_URL).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def doctor(ctx: click.Context, url: str | None, as_json: bool) -> None:
    """Check settings, Redis, broker, the platform, webhooks and the service, and say what to do.

    A line each: ok, warn (it works, but promises less) or fail. Exit code 1 when anything fails.
    """
    findings: list[Finding] = []
    try:
        for finding in check_all(settings_table.load(), url):
            findings.append(finding)
            if not as_json:
                show(finding)
    except SettingsError as error:
        if as_json:
            findings.append(fail("settings", "; ".join(error.faults), "See docs/settings.md."))
            click.echo(msgspec.json.encode({"findings": findings}))
        raise
    if as_json:
        click.echo(msgspec.json.encode({"findings": findings}))
    if any(finding.verdict is Verdict.FAIL for finding in findings):
        ctx.exit(1)


def show(finding: Finding) -> None:
    """Print a finding, and under it what to do."""
    verdict = click.style(f"{finding.verdict:<4}", fg=_COLOURS[finding.verdict])
    where = f"{finding.tenant}: " if finding.tenant else ""
    click.echo(f"{verdict}  {finding.check:<15}  {where}{finding.says}")
    if finding.next:
        click.echo(f"{'':<23}→ {finding.next}")


def check_all(settings: Settings, url: str | None) -> Iterator[Finding]:
    """Make every check, in the order in which one depends on another."""
    yield diagnosis.judge_names(settings.unknown)
    with contextlib.ExitStack() as stack:
        redis_url = find_url(settings)
        store = None
        if redis_url is None:
            yield warn("redis", "no REDIS_URL, and no server of ours", "`cpdfeed up` starts one.")
        else:
            store = stack.enter_context(contextlib.closing(connect(redis_url)))
            yield from _check_redis(store)
        broker = settings.celery_broker_url or redis_url
        if broker is not None:
            yield _check_broker(broker)
        for tenant in settings.tenants.values():
            for finding in _check_tenant(tenant, store):
                several = len(settings.tenants) > 1
                yield msgspec.structs.replace(finding, tenant=tenant.slug if several else "")
    yield _check_web(url or default_url(settings.port))


def _check_redis(store: redis.Redis) -> Iterator[Finding]:
    try:
        info: Any = store.info()
    except redis.exceptions.RedisError as error:
        yield fail(
            "redis",
            f"no answer ({type(error).__name__})",
            "Check REDIS_URL and that the server runs; without REDIS_URL, run `cpdfeed up`.",
        )
        return
    yield diagnosis.judge_server(info)
    try:
        configured: Any = store.config_get("appendfsync")
    except redis.exceptions.ResponseError:  # managed servers forbid CONFIG
        configured = {}
    yield diagnosis.judge_durability(info, configured.get("appendfsync"))
    stored: Any = store.get(SCHEMA_KEY)
    if (finding := diagnosis.judge_schema(stored)) is not None:
        yield finding


def _check_broker(url: Secret) -> Finding:
    # kombu's name for a Unix socket differs from redis-py's
    address = url.reveal().replace("unix://", "redis+socket://", 1)
    options = {"socket_connect_timeout": REDIS_TIMEOUT_S, "socket_timeout": REDIS_TIMEOUT_S}
    try:
        with kombu.Connection(
            address,
            connect_timeout=REDIS_TIMEOUT_S,
            transport_options=options if address.startswith("redis") else {},
        ) as connection:
            connection.ensure_connection(max_retries=1, timeout=REDIS_TIMEOUT_S)
    except Exception as error:  # noqa: BLE001 - each broker's library has its own errors
        return fail(
            "broker",
            f"no answer ({type(error).__name__})",
            "Check CELERY_BROKER_URL, or unset it to use Redis.",
        )
    return ok("broker", "answers")


def _check_tenant(tenant: Tenant, store: redis.Redis | None) -> Iterator[Finding]:
    yield from _check_platform(tenant)
    yield from _check_authenticity(tenant)
    if store is None:
        return
    keys = Keyspace(tenant.slug)
    try:
        pipe = store.pipeline(transaction=False)
        pipe.hgetall(keys.head)
        pipe.hgetall(keys.brake)
        pipe.hlen(keys.quarantine)
        head, brake, misfits = pipe.execute()
    except redis.exceptions.RedisError:
        return  # said already
    yield diagnosis.judge_head(head, time.time_ns() // 1_000_000, tenant.reconcile_s)
    for finding in (
        diagnosis.judge_brake(read_brake(brake)),
        diagnosis.judge_quarantine(misfits),
    ):
        if finding is not None:
            yield finding


def _check_platform(tenant: Tenant) -> Iterator[Finding]:
    headers, basic = {}, None
    if tenant.api_auth == "oauth":
        try:
            token, life_s = mint(tenant, tenant.token_url, tenant.api_scope)
        except UpstreamError as error:
            next_ = "Check token_url, client_id, client_secret, token_auth and api_scope."
            yield fail("token", str(error), next_)
            return
        headers["Authorization"] = f"Bearer {token}"
        yield ok("token", f"minted, lives {life_s:.0f} s")
    elif tenant.api_secret is not None:
        basic = httpx2.BasicAuth(tenant.tenant_id, tenant.api_secret.reveal())
    try:
        answer = httpx2.get(
            f"{tenant.api_url}/cpdRequirementSummaries",
            params={"page": 1, "perPage": 1},
            headers=headers,
            auth=basic,
            timeout=_TIMEOUT_S,
        )
    except httpx2.HTTPError as error:
        next_ = "Check region or api_url, and that this machine may reach it."
        yield fail("page", f"no answer from the platform ({type(error).__name__})", next_)
        return
    yield diagnosis.judge_page(answer.status_code, answer.content)
    yield diagnosis.judge_clock(answer.headers.get("Date"), datetime.now(UTC))


def _check_authenticity(tenant: Tenant) -> Iterator[Finding]:
    if tenant.webhook_auth != "signature":
        if tenant.webhook_issuer:
            yield _check_keys(tenant.webhook_jwks_url)
        if tenant.webhook_introspection_url:
            yield ok("introspection", f"at {tenant.webhook_introspection_url}")
    if tenant.webhook_auth != "bearer":
        yield diagnosis.judge_secrets(tenant.webhook_secrets)


def _check_keys(url: str) -> Finding:
    try:
        answer = httpx2.get(url, timeout=_TIMEOUT_S)
    except httpx2.HTTPError as error:
        next_ = "Check webhook_issuer and webhook_jwks_url, and that this machine may reach it."
        return fail("webhook keys", f"no answer from {url} ({type(error).__name__})", next_)
    return diagnosis.judge_keys(answer.status_code, answer.content)


def _check_web(url: str) -> Finding:
    next_ = "Start it with `cpdfeed up`, or say where it is with --url or CPDFEED_URL."
    try:
        answer = httpx2.get(f"{url.rstrip('/')}/readyz", timeout=_TIMEOUT_S, trust_env=False)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        return warn("service", f"no answer from {url} ({type(error).__name__})", next_)
    if not answer.is_success:
        return warn("service", f"{url} is not ready ({answer.status_code})", f"See {url}/readyz.")
    return ok("service", f"{url} is ready")
