"""The sandbox's command line: `python -m service.sandbox`."""

import random
from datetime import UTC, datetime

import click
import uvicorn

from service.sandbox.app import create_app
from service.sandbox.platform import DEFAULT_TENANT, Options, Platform

EPILOG = """\b
Examples:
  python -m service.sandbox --port 8099
  python -m service.sandbox --port 8099 --rows 100000 --seed 1
  curl -u eu-west-2_Sandbox01:sandbox-secret \\
    http://127.0.0.1:8099/public/rest/v1/cpdRequirementSummaries
"""


@click.command(epilog=EPILOG)
@click.option("--port", type=click.IntRange(1, 65535), required=True, help="Port to listen on.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--rows",
    type=click.IntRange(min=0),
    help="Generate this many requirements per tenant instead of the platform's two examples.",
)
@click.option("--seed", type=int, help="Make rows, ids and random faults reproducible.")
@click.option(
    "--tenants",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Make this many tenants more: eu-west-2_Sandbox02, 03, …",
)
@click.option(
    "--retry-base-s",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Wait before the first of five notification retries; it doubles from one to the next.",
)
def main(
    port: int, host: str, rows: int | None, seed: int | None, tenants: int, retry_base_s: float
) -> None:
    """Emulate the learning platform over HTTP, for development and tests.

    Serves the public API under /public, token hosts under /public and /user, keys under /idp, and
    its own controls with a page for the browser under /sandbox. The controls ask for no
    credentials: keep the sandbox on a loopback address.
    """
    rng = random.Random(seed)  # noqa: S311 - reproducible, not secret
    platform = Platform(lambda: datetime.now(UTC), rng, retry_base_s, default_tenant=False)
    for number in range(1, tenants + 2):
        platform.put(f"eu-west-2_Sandbox{number:02}", rows="seed" if rows is None else rows)
    base = f"http://{host}:{port}"
    click.echo(f"public API      {base}/public/rest/v1")
    click.echo(f"API tokens      {base}/public/oauth2/token/{DEFAULT_TENANT}")
    click.echo(f"webhook tokens  {base}/user/oauth2/token/{DEFAULT_TENANT}")
    click.echo(f"issuer          {base}/idp/{DEFAULT_TENANT}")
    click.echo(f"Basic           {DEFAULT_TENANT}:{Options().api_secret}")
    click.echo(f"OAuth client    {DEFAULT_TENANT} / {Options().client_secret}")
    click.echo(f"controls        {base}/sandbox")
    uvicorn.run(create_app(platform), host=host, port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
