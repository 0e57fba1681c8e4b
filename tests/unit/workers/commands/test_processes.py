"""What `cpdfeed up` runs."""

import shlex
import sys
from pathlib import Path

import pytest
from honcho.environ import parse_procfile

from workers.commands import processes

PROCFILE = Path(__file__).parents[4] / "Procfile"


def test_parts_are_those_of_the_procfile() -> None:
    """Whoever runs the Procfile and whoever runs `up` run the same."""
    assert dict(parse_procfile(PROCFILE.read_text()).processes) == processes.PARTS


@pytest.mark.parametrize("name", processes.PARTS)
def test_command_runs_in_this_interpreter(name: str) -> None:
    """A command works without an activated environment, and replaces its shell."""
    program, *arguments = shlex.split(processes.PARTS[name])
    words = shlex.split(processes.command(name))
    assert words[:4] == ["exec", sys.executable, "-m", program]
    assert words[-len(arguments) :] == arguments


def test_command_can_be_quiet() -> None:
    """The demo has uvicorn say only what goes wrong."""
    assert processes.command("web", quiet=True).endswith("--log-level warning")
    assert "--log-level" not in processes.command("web")
