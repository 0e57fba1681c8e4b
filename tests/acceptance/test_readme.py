"""The README's examples, run as they stand there."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.sandbox import Platform, create_app
from tests.installation import API_TOKEN, ROOT, Installation, installed, sandbox_settings

README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"<!-- tested -->\n```(sh|python)\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def feed(platform: Platform, serve: Callable[[Any], str], tmp_path: Path) -> Iterator[Installation]:
    """Give a running installation with a baseline."""
    with installed(tmp_path, sandbox_settings(serve(create_app(platform)))) as running:
        running.has_baseline()
        yield running


def test_examples_read_the_baseline(feed: Installation) -> None:
    """Every example of reading runs, and shows what there is to read."""
    epoch = feed.get("/v1/changes")["cursor"].partition(":")[0]
    env = os.environ | {
        "CPDFEED_URL": str(feed.client.base_url).rstrip("/"),
        "TOKEN": API_TOKEN,
        "CURSOR": f"{epoch}:0",
        "REQUIREMENT": "60d5ec49b60b4b3a2c8f9a10",
        "REDIS_URL": str(feed.redis_url),
    }
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    shown = []
    for language, text in EXAMPLES:
        command = [sys.executable, "-c", text] if language == "python" else ["bash", "-ec", text]
        run = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        shown.append(run.stdout)
    snapshot, changes, stream, group, past = shown
    assert '"requiredMinutes":660' in snapshot.replace(" ", "")
    assert '"history":[]' in past
    for output in (changes, stream, group):
        assert "cpd.requirements.baseline" in output
