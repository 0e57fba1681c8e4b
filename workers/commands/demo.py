"""Show the whole of cpdfeed at work without any configuration: `cpdfeed demo`."""

import os
import secrets
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click
from honcho.printer import Message

from workers import embedded
from workers.commands import processes
from workers.commands.up import environment, serve
from workers.contract import settings as settings_table

_STORY: Final = "story"
_TENANT_ID: Final = "eu-west-2_Sandbox01"
_CLIENT_SECRET: Final = "sandbox-client-secret"  # noqa: S105 - the sandbox's documented one
_INTRO: Final = """\
cpdfeed turns "something may have changed" into "exactly this changed": once, in order, provably.
Here an emulated platform is edited ({platform}). It notifies; the notification says little.
cpdfeed reads, compares, and publishes what changed. A touched row did not change: nothing comes.
"""
_EPILOG: Final = """\b
Examples:
  cpdfeed demo
  cpdfeed demo --edits 10 && echo exactly once

\b
Needs:
  nothing. It runs an emulated platform, an embedded server and cpdfeed itself on free ports of
  this machine, in a temporary folder, and leaves nothing behind.
"""


@click.command(short_help="See it work, nothing needed.", epilog=_EPILOG)
@click.option("--edits", type=click.IntRange(min=1), help="End after this many edits, and judge.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port of web; a free one if not given.")
@click.option("--seed", type=int, help="Make ids and minutes the same each time.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object an edit.")
@click.pass_context
def demo(
    ctx: click.Context, edits: int | None, port: int | None, seed: int | None, as_json: bool
) -> None:
    """See it work: an emulated platform is edited, and each change arrives exactly once.

    Shows for each edit the notification it caused, the reads that cost, the change that was
    published and what a consumer of the stream received. With --edits the exit code is 0 only if
    each edit was published exactly once, and those that changed nothing not at all.
    """
    noted = processes.note_signals()
    with tempfile.TemporaryDirectory(prefix="cpdfeed-demo-") as folder:
        data = Path(folder)
        platform, web = embedded.free_port(), port or embedded.free_port()
        env = demo_environment(os.environ, platform)
        settings = settings_table.load(env, data)
        if not as_json:
            click.echo(_INTRO.format(platform=f"http://127.0.0.1:{platform}/sandbox"))
        seeded = "" if seed is None else f" --seed {seed}"
        commands = {
            "sandbox": processes.module_command(
                f"service.sandbox --port {platform}{seeded} >/dev/null"
            ),
            **{name: processes.command(name, quiet=True) for name in processes.PARTS},
            _STORY: processes.module_command(
                f"workers.commands.story --platform {platform} --edits {edits or 0}{seeded}"
                + (" --json" if as_json else "")
            ),
        }
        within = environment(env, settings, data, host="127.0.0.1", port=web)
        ended = serve(settings, data, commands, within, _Stage(sys.stderr), noted, data)
    if ended is None:
        ctx.exit(1 if edits else 0)  # who asked for a judgement did not get it
    if ended.name != _STORY:
        raise click.ClickException(f"{ended.name} ended unasked; its last lines above say why.")
    ctx.exit(ended.code and 1)


class _Stage(processes.Output):
    """The story as it is told, on standard output; of the others only what goes wrong."""

    def write(self, message: Message) -> None:
        """Print the lines of one message."""
        if message.name == _STORY:
            click.echo(message.data, nl=False)
        elif not self.ending:  # what a part says of its end is expected
            super().write(message)


def demo_environment(base: Mapping[str, str], platform: int) -> dict[str, str]:
    """Give the settings of the demo: the sandbox's tenant, and intervals too short to wait for.

    Args:
        base: The environment; nothing of it that is a setting stays.
        platform: The sandbox's port.
    """
    host = f"http://127.0.0.1:{platform}"
    foreign = {*settings_table.PLAIN_NAMES.values(), "HOST"}
    return {
        **{
            name: value
            for name, value in base.items()
            if name not in foreign and not name.startswith(settings_table.PREFIX)
        },
        "CPDFEED_TENANT_ID": _TENANT_ID,
        "CPDFEED_API_URL": f"{host}/public/rest/v1",
        "CPDFEED_API_AUTH": "oauth",
        "CPDFEED_CLIENT_SECRET": _CLIENT_SECRET,
        "CPDFEED_WEBHOOK_AUTH": "both",
        "CPDFEED_WEBHOOK_SECRETS": secrets.token_urlsafe(24),
        "CPDFEED_WEBHOOK_ISSUER": f"{host}/idp/{_TENANT_ID}",
        "CPDFEED_WEBHOOK_TOKEN_URL": f"{host}/user/oauth2/token/{_TENANT_ID}",
        "CPDFEED_LAG_S": "1",
        "CPDFEED_SETTLE_S": "0.5,2",
        "CPDFEED_REFRESH_MIN_S": "0.2",
        "CPDFEED_RECONCILE_S": "30",
        "CPDFEED_SWEEP_S": "1",
        "CPDFEED_RATE_PER_MIN": "0",
        "CPDFEED_LOG_LEVEL": "warning",
        "PYTHONWARNINGS": "ignore",  # Celery's, of being run by root
    }
