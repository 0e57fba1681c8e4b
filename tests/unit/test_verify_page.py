"""The program in docs/verify.md proves a feed, and stops where it is not what it was."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.log import Log

PAGE = (Path(__file__).parent.parent.parent / "docs" / "verify.md").read_text(encoding="utf-8")
(PROGRAM,) = re.findall(r"<!-- tested -->\n```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def events() -> list[dict[str, Any]]:
    """Give a feed of every kind of change, with names in other scripts."""
    log = Log(1, 2)
    log.baseline()
    log.update(1, 90)
    log.create(3)
    log.remove(3)
    log.restore(3)
    return log.events


def run(events: list[dict[str, Any]], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Pipe events into the program."""
    lines = "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events)
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return subprocess.run(command, input=lines, capture_output=True, encoding="utf-8", check=False)


def test_feed_is_proven(events: list[dict[str, Any]]) -> None:
    """Each change of a feed follows from the one before, up to the last digest."""
    result = run(events)
    assert result.stdout.splitlines() == [
        f"{event['id']} {event['data']['digest']}" for event in events
    ]
    assert result.returncode == 0


def test_feed_goes_on_from_the_last_digest(events: list[dict[str, Any]]) -> None:
    """A consumer that goes on proves that nothing is missing since; another place does not fit."""
    known = events[1]["data"]["digest"]
    assert run(events[2:], known).returncode == 0
    assert run(events[3:], known).returncode == 1


def test_missing_and_altered_changes_are_told(events: list[dict[str, Any]]) -> None:
    """A change that is missing, out of order or not what it was stops the program by its id."""
    missing = run([*events[:2], *events[3:]])
    assert (missing.returncode, "e1:4" in missing.stderr) == (1, True)
    swapped = run([events[0], events[2], events[1]])
    assert (swapped.returncode, "e1:3" in swapped.stderr) == (1, True)
    events[1]["data"]["after"]["requiredMinutes"] = 91
    altered = run(events)
    assert (altered.returncode, "e1:2" in altered.stderr) == (1, True)
