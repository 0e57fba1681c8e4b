"""`cpdfeed demo` as a newcomer runs it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.test_up import processes_in
from tests.installation import ROOT, wait_until

CPDFEED = Path(sys.executable).with_name("cpdfeed")


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """Give an environment whose temporary folder is ours, with a setting that must not count."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(tmp_path),
        "CPDFEED_WEBHOOK_AUTH": "nonsense",
    }


def test_demo_publishes_each_edit_once(env: dict[str, str], tmp_path: Path) -> None:
    """Without configuration: each edit is published exactly once, the touch not at all."""
    demo = subprocess.run(
        [CPDFEED, "demo", "--edits", "5", "--seed", "1", "--json"],
        env=env,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    *edits, verdict = [json.loads(line) for line in demo.stdout.splitlines()]
    kinds = ["created", "updated", "removed", "restored", "touched"]
    assert [edit["edit"] for edit in edits] == kinds
    assert [edit["status"] for edit in edits] == [202] * 5
    assert [edit["sequence"] for edit in edits] == [2, 3, 4, 5, None]
    assert verdict == {"exactly_once": True, "differences": []}
    assert "Traceback" not in demo.stderr
    assert processes_in(tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


def test_demo_tells_people(env: dict[str, str]) -> None:
    """Its lines say what it is, then each edit in a row, then the verdict."""
    demo = subprocess.run(
        [CPDFEED, "demo", "--edits", "1"],
        env=env,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert demo.stdout.startswith("cpdfeed turns")
    assert "#2 created" in demo.stdout
    assert "exactly once" in demo.stdout


def test_demo_without_end_ends_when_asked(env: dict[str, str], tmp_path: Path) -> None:
    """Ctrl-C ends it with exit code 0, and leaves neither process nor file behind."""
    log = tmp_path.with_suffix(".log")
    with log.open("wb") as output:
        demo = subprocess.Popen(
            [CPDFEED, "demo"], env=env, stdout=output, stderr=output, start_new_session=True
        )
    wait_until(lambda: "#2 created" in log.read_text(), "the first change")
    os.killpg(demo.pid, signal.SIGINT)
    assert demo.wait(30) == 0
    assert "Traceback" not in log.read_text()
    assert processes_in(tmp_path) == {}
    assert list(tmp_path.iterdir()) == []
