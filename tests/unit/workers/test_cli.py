"""The command line as a whole."""

import pytest
from click.testing import CliRunner

from workers.cli import main


@pytest.mark.parametrize("name", sorted(main.commands))
def test_help_teaches(name: str) -> None:
    """Each command's help says what it does, shows an example, and names what it needs."""
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0
    assert "Example" in result.output
    assert f"cpdfeed {name}" in result.output
    assert "Needs:" in result.output


@pytest.mark.parametrize("name", ["doctor", "notify", "up", "verify"])
def test_wrong_settings_are_named_with_exit_code_2(name: str) -> None:
    """Every fault stands on standard error, and the exit code tells a supervisor not to retry."""
    result = CliRunner().invoke(main, [name])
    assert result.exit_code == 2
    assert "CPDFEED_TENANT_ID" in result.stderr
    assert "CPDFEED_WEBHOOK_AUTH" in result.stderr


def test_contradicting_options_are_refused() -> None:
    """Options that exclude each other are told apart with exit code 2."""
    for call in (
        ["tail", "--after", "e:1", "--from-start"],
        ["refresh", "--audience", "a", "--requirement", "b"],
        ["notify", "--audience", "a", "--requirement", "b"],
    ):
        result = CliRunner().invoke(main, call, env={"CPDFEED_TOKEN": "x"})
        assert result.exit_code == 2
        assert "exclude each other" in result.stderr
