"""The command line."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2
from click.testing import CliRunner

from service.sandbox.__main__ import main

START_S = 20.0


def test_help_teaches_how_to_start() -> None:
    """The help shows a command that starts it and one that reads from it."""
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    assert "python -m service.sandbox --port 8099" in result.output
    assert "curl" in result.output


def test_process_serves_the_tenants_asked_for() -> None:
    """The started process serves as many tenants and rows as its options say."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    root = Path(__file__).parents[4]
    options = ["--port", str(port), "--rows", "3", "--tenants", "2", "--seed", "1"]
    command = [sys.executable, "-m", "service.sandbox", *options]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL) as process:
        try:
            tenants = poll(f"http://127.0.0.1:{port}/sandbox/tenants").json()["tenants"]
        finally:
            process.terminate()
    assert [(tenant["tenant_id"], tenant["rows"]) for tenant in tenants] == [
        ("eu-west-2_Sandbox01", 3),
        ("eu-west-2_Sandbox02", 3),
        ("eu-west-2_Sandbox03", 3),
    ]


def poll(url: str) -> httpx2.Response:
    """Ask until somebody answers."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            return httpx2.get(url)
        except httpx2.ConnectError:
            assert time.monotonic() < deadline, "the process does not listen"
            time.sleep(0.05)
