"""The command line: one group, one file a command in `workers/commands/`."""

from typing import Any

import click
from stamina.instrumentation import set_on_retry_hooks

from workers.commands.client import announce_retry
from workers.commands.demo import demo
from workers.commands.doctor import doctor
from workers.commands.notify import notify
from workers.commands.refresh import refresh
from workers.commands.tail import tail
from workers.commands.up import up
from workers.commands.verify import verify
from workers.contract import logs
from workers.contract.errors import SettingsError

_EPILOG = """\b
First steps:
  cpdfeed demo --edits 5   see it work, nothing needed
  cpdfeed doctor           check your settings and what they lead to
  cpdfeed up               run it
  cpdfeed tail             follow the changes
"""


class _Commands(click.Group):
    """Commands whose settings may be wrong: the faults on standard error, exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except SettingsError as error:
            click.echo(str(error), err=True)
            ctx.exit(2)


@click.group(
    cls=_Commands, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="cpdfeed")
def main() -> None:
    """Know, provably, when a learning platform's CPD requirements changed.

    Settings come from the environment (CPDFEED_…, REDIS_URL) and cpdfeed.toml. Exit code 2: the
    settings or the call are wrong; 1: it failed, and the message says what to do next.
    """
    logs.configure("auto", "warning")
    set_on_retry_hooks([announce_retry])


main.add_command(up)
main.add_command(demo)
main.add_command(doctor)
main.add_command(notify)
main.add_command(refresh)
main.add_command(tail)
main.add_command(verify)
