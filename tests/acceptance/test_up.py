"""`cpdfeed up` with real processes: what it starts, and that nothing of it is left."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service.sandbox import Platform, create_app
from tests.installation import ROOT, sandbox_settings, wait_until
from workers import embedded

CPDFEED = Path(sys.executable).with_name("cpdfeed")


def processes_in(folder: Path) -> dict[int, str]:
    """Give the command lines of the processes that run or were started with a folder, by pid.

    The server writes its title over its environment, and runs in its data folder.
    """
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            started = str(folder).encode() in (process / "environ").read_bytes()
            if int(process.name) == os.getpid():
                continue  # a test may run in such a folder
            if started or (process / "cwd").readlink().is_relative_to(folder):
                found[int(process.name)] = (process / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue  # it ended, or is not ours
    return found


class Up:
    """One `cpdfeed up`, its environment and what it said."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.data = folder / "data"
        self.log = folder / "up.log"
        self.port = embedded.free_port()
        self.env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "CPDFEED_DATA": str(self.data),
            "PORT": str(self.port),
            **settings,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        """Start it, in a session of its own."""
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [CPDFEED, "up"], env=self.env, stdout=log, stderr=log, start_new_session=True
            )
        return self.process

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command beside it."""
        return subprocess.run(
            [CPDFEED, *arguments],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def lives(self) -> bool:
        """Tell whether the web service answers."""
        try:
            return httpx2.get(f"http://127.0.0.1:{self.port}/livez").status_code == 200
        except httpx2.TransportError:
            return False

    def said(self) -> str:
        """Give what it printed so far."""
        return self.log.read_text() if self.log.exists() else ""

    def left(self) -> dict[int, str]:
        """Give every process of it that runs."""
        return processes_in(self.data)

    def pid_of(self, text: str) -> int:
        """Give the process whose command line holds a text."""
        return next(pid for pid, command in self.left().items() if text in command)


@pytest.fixture
def settings(platform: Platform, serve: Callable[[Any], str]) -> dict[str, str]:
    """Give the settings of a tenant of a sandbox that runs."""
    return sandbox_settings(serve(create_app(platform)))


@pytest.fixture
def up(tmp_path: Path, settings: dict[str, str]) -> Iterator[Up]:
    """Give an `up` that serves, and end what a failed test left of it."""
    run = Up(tmp_path, settings)
    run.start()
    try:
        wait_until(run.lives, "an answer of /livez")
        yield run
    finally:
        for pid in run.left():
            os.kill(pid, signal.SIGKILL)
        if run.process is not None:
            run.process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_end_leaves_nothing(up: Up, number: signal.Signals) -> None:
    """SIGINT and SIGTERM end every process, the server last, with exit code 0 and no traceback."""
    assert up.process is not None
    assert {"uvicorn", "refresh@", "dispatch@", "beat", "valkey"} <= {
        part
        for part in ("uvicorn", "refresh@", "dispatch@", "beat", "valkey")
        for command in up.left().values()
        if part in command
    }
    os.killpg(up.process.pid, number)  # as Ctrl-C does, to the whole foreground group
    assert up.process.wait(30) == 0
    assert up.left() == {}
    assert "Traceback" not in up.said()


def test_asked_at_once_leaves_nothing(tmp_path: Path, settings: dict[str, str]) -> None:
    """SIGINT while it is still starting ends it as well, with exit code 0."""
    run = Up(tmp_path, settings)
    process = run.start()
    wait_until(lambda: "Ctrl-C" in run.said(), "its first lines")
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) == 0
    assert run.left() == {}
    assert "Traceback" not in run.said()


@pytest.mark.parametrize("part", ["uvicorn", "refresh@", "dispatch@", "beat", "valkey"])
def test_part_that_dies_ends_all(up: Up, part: str) -> None:
    """When a part or the server is killed, all end, and exit code 1 has a supervisor restart it."""
    assert up.process is not None
    os.kill(up.pid_of(part), signal.SIGKILL)
    assert up.process.wait(30) == 1
    assert up.left() == {}
    assert "ended unasked" in up.said()


def test_killed_itself_leaves_nothing(up: Up) -> None:
    """When `up` itself is killed, its parts and the server end, and the next one starts."""
    assert up.process is not None
    os.kill(up.process.pid, signal.SIGKILL)
    up.process.wait()
    wait_until(lambda: not up.left(), "the end of all processes", within_s=10)
    up.start()
    wait_until(up.lives, "an answer of /livez")


def test_second_in_same_folder_is_refused(up: Up) -> None:
    """A second `up` on the same data says so, ends with 1, and disturbs nothing."""
    second = up.call("up", "--port", "0")
    assert second.returncode == 1
    assert "another `cpdfeed up`" in second.stderr
    assert up.lives()


def test_port_in_use_is_refused_before_anything_starts(up: Up, tmp_path: Path) -> None:
    """A port that somebody listens on is said before anything starts, with what to do."""
    up.env["CPDFEED_DATA"] = str(tmp_path / "other")
    second = up.call("up")
    assert second.returncode == 1
    assert f"port {up.port}" in second.stderr
    assert "--port" in second.stderr
    assert not (tmp_path / "other" / "redis.pid").exists()


def test_bad_settings_start_nothing(tmp_path: Path) -> None:
    """Wrong settings are all named on standard error, exit code 2, before anything starts."""
    run = Up(tmp_path, {"CPDFEED_WEBHOOK_AUTH": "none"})
    refused = run.call("up")
    assert refused.returncode == 2
    assert "webhook_auth" in refused.stderr.lower()
    assert "CPDFEED_TENANT_ID" in refused.stderr
    assert not run.data.exists()


def test_commands_work_beside_it(up: Up, platform: Platform) -> None:
    """With the token that `up` keeps: tail, refresh, notify and the others work out of the box."""
    assert up.data.joinpath("api-token").stat().st_mode & 0o777 == 0o600
    baseline = up.call("tail", "--from-start", "--count", "1")
    assert "baseline" in baseline.stdout, baseline.stderr
    platform.tenant("eu-west-2_Sandbox01").update("60d5ec49b60b4b3a2c8f9a10", 720)
    refreshed = up.call("refresh", "--wait")
    assert "11 h → 12 h" in refreshed.stdout, refreshed.stderr
    platform.tenant("eu-west-2_Sandbox01").update("60d5ec49b60b4b3a2c8f9a10", 600)
    notified = up.call("notify", "--audience", "60d5ec49b60b4b3a2c8f9a11", "--wait", "--json")
    found = json.loads(notified.stdout)
    assert found["state"] == "covered", notified.stderr
    assert [change["data"]["delta_minutes"] for change in found["changes"]] == [-120]
    verified = up.call("verify")
    assert "3 changes" in verified.stdout, verified.stderr
    assert "baseline proven" in verified.stdout
    checked = up.call("doctor", "--json")
    verdicts = {
        finding["check"]: finding["verdict"] for finding in json.loads(checked.stdout)["findings"]
    }
    assert checked.returncode == 0, checked.stdout
    for check in ("redis", "durability", "broker", "page", "clock", "feed", "service"):
        assert verdicts[check] == "ok", checked.stdout


def test_tail_survives_a_restart(up: Up, platform: Platform) -> None:
    """A `tail` misses nothing while the whole is stopped and started again."""
    assert up.process is not None
    wait_until(lambda: "baseline" in up.call("tail", "--from-start", "--count", "1").stdout, "it")
    tail = subprocess.Popen(
        [CPDFEED, "tail", "--from-start", "--count", "2", "--json"],
        env=up.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert tail.stdout is not None
    assert json.loads(tail.stdout.readline())["data"]["kind"] == "baseline"
    up.process.terminate()
    assert up.process.wait(30) == 0
    platform.tenant("eu-west-2_Sandbox01").update("60d5ec49b60b4b3a2c8f9a10", 720)
    up.start()
    wait_until(up.lives, "an answer of /livez")
    up.call("refresh")
    assert json.loads(tail.stdout.readline())["data"]["delta_minutes"] == 60
    assert tail.wait(30) == 0
    tail.stdout.close()
