"""Send a notification as the platform would: `cpdfeed notify`."""

from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from typing import Any, BinaryIO, Final

import click
import msgspec

from workers.commands.client import default_url, exchange, find_client, open_http
from workers.commands.refresh import report
from workers.contract import settings as settings_table
from workers.contract import signing
from workers.contract.codec import to_us, us_text
from workers.contract.errors import UpstreamError
from workers.contract.settings import Tenant
from workers.upstream.tokens import mint

_SCOPE: Final = "api/webhooks"
_EPILOG: Final = """\b
Examples:
  cpdfeed notify --audience 60d5ec49b60b4b3a2c8f9a11 --wait
  echo '{"eventType":"assignment.updated"}' | cpdfeed notify --payload -

\b
Needs:
  the settings of the service, from the environment or cpdfeed.toml: the first of the webhook
  secrets signs, CPDFEED_WEBHOOK_TOKEN_URL mints the token, as CPDFEED_WEBHOOK_AUTH asks for.
  The running service at CPDFEED_URL or --url (default http://127.0.0.1:$PORT, port 8000).
  With --wait an API token too, see `cpdfeed refresh --help`.
"""


@click.command(short_help="Send a test notification.", epilog=_EPILOG)
@click.option("--audience", metavar="ID", help="Say that something about this audience changed.")
@click.option("--requirement", metavar="ID", help="Say that this requirement changed.")
@click.option("--payload", type=click.File("rb"), help="Send this file as it is; - for stdin.")
@click.option("--wait", is_flag=True, help="Wait until it is covered, and print what was found.")
@click.option("--url", envvar="CPDFEED_URL", help="Where the service is (CPDFEED_URL).")
@click.option("--tenant", "slug", envvar="CPDFEED_TENANT", help="For whom, if there are several.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def notify(
    audience: str | None,
    requirement: str | None,
    payload: BinaryIO | None,
    wait: bool,
    url: str | None,
    slug: str | None,
    as_json: bool,
) -> None:
    """Send a test notification, signed and with a token as the tenant's settings ask for."""
    if sum(given is not None for given in (audience, requirement, payload)) > 1:
        raise click.UsageError("--audience, --requirement and --payload exclude each other")
    settings = settings_table.load()
    tenant = choose_tenant(settings.tenants, slug)
    body = payload.read() if payload else compose(tenant, audience, requirement, datetime.now(UTC))
    headers = credentials(tenant, body)
    path = f"/webhooks/{tenant.slug}"
    with ExitStack() as stack:
        client = stack.enter_context(find_client(url, slug)) if wait else None
        http = stack.enter_context(open_http(url or default_url(settings.port)))
        send = partial(exchange, http, "POST", path, body=body, headers=headers)
        report(send, client, as_json=as_json)


def choose_tenant(tenants: dict[str, Tenant], slug: str | None) -> Tenant:
    """Give the tenant of that name, or the only one.

    Raises:
        click.UsageError: There is none, or several.
    """
    if slug is None and len(tenants) == 1:
        return next(iter(tenants.values()))
    if slug in tenants:
        return tenants[slug]
    raise click.UsageError(f"say --tenant, one of: {', '.join(sorted(tenants))}")


def compose(tenant: Tenant, audience: str | None, requirement: str | None, now: datetime) -> bytes:
    """Give the body of a notification about an audience, a requirement, or everything."""
    moment = us_text(to_us(now))
    payload: dict[str, Any] = {
        "eventType": "cpd.requirement.changed" if requirement else "assignment.updated",
        "tenantId": tenant.tenant_id,
        "createdAt": moment,
        "dispatchedAt": moment,
    }
    if requirement:
        payload["audienceRequirementId"] = requirement
    if audience:
        payload["assignment"] = {"audienceId": audience}
    return msgspec.json.encode(payload)


def credentials(tenant: Tenant, body: bytes) -> dict[str, str]:
    """Give the headers that prove who sends; where either is accepted, the signature.

    Raises:
        click.ClickException: No token is to be had.
    """
    headers = {}
    if tenant.webhook_auth != "bearer":
        headers[signing.HEADER] = signing.sign(body, tenant.webhook_secrets[0])
    if tenant.webhook_auth in {"bearer", "both"}:
        headers["Authorization"] = f"Bearer {_token(tenant)}"
    return headers


def _token(tenant: Tenant) -> str:
    if not tenant.webhook_token_url:
        raise click.ClickException(
            "a token is needed, and it is not known where to get it: set CPDFEED_WEBHOOK_TOKEN_URL."
        )
    try:
        token, _ = mint(tenant, tenant.webhook_token_url, _SCOPE)
    except UpstreamError as error:
        raise click.ClickException(
            f"no token from {tenant.webhook_token_url}: {error}. Check CPDFEED_CLIENT_ID and "
            "CPDFEED_CLIENT_SECRET, and that this client may have the scope api/webhooks."
        ) from error
    return token
