"""What `cpdfeed up` prepares before it starts anything."""

import hashlib
import os
import socket
from pathlib import Path

import click
import pytest

from workers.commands.up import check_free, environment, hold, needs_server, own_token
from workers.contract import settings as settings_table
from workers.contract.settings import Settings

TOKEN_A = f"{'a' * 64}:feed:read"
TOKEN_B = f"{'b' * 64}:feed:read+feed:write"
TENANT = {
    "CPDFEED_TENANT_ID": "eu-west-2_One",
    "CPDFEED_REGION": "staging",
    "CPDFEED_API_SECRET": "secret",
    "CPDFEED_WEBHOOK_AUTH": "signature",
    "CPDFEED_WEBHOOK_SECRETS": "secret",
}


def accepted(base: dict[str, str], settings: Settings, data: Path) -> set[str]:
    """Give the tokens that the parts would accept, without our own."""
    env = environment(base, settings, data, host="127.0.0.1", port=1)
    own = f"{hashlib.sha256(own_token(data).encode()).hexdigest()}:admin"
    texts = env["CPDFEED_API_TOKENS"].split(",")
    assert own in texts
    return set(texts) - {own}


def test_environment_gives_parts_what_only_up_knows(tmp_path: Path) -> None:
    """Parts get port, host and data as `up` chose them, over what the environment says."""
    base = TENANT | {"PORT": "9", "CPDFEED_DATA": "elsewhere", "HOME": "/home/me"}
    settings = settings_table.load(base, tmp_path)
    env = environment(base, settings, tmp_path, host="127.0.0.1", port=8123)
    assert (env["PORT"], env["HOST"]) == ("8123", "127.0.0.1")
    assert (env["CPDFEED_DATA"], env["HOME"]) == (str(tmp_path), "/home/me")
    assert settings_table.load(env, tmp_path).port == 8123


def test_own_token_joins_those_of_the_environment(tmp_path: Path) -> None:
    """Our token is added to the tokens that are set."""
    base = TENANT | {"CPDFEED_API_TOKENS": f"{TOKEN_A},{TOKEN_B}"}
    assert accepted(base, settings_table.load(base, tmp_path), tmp_path) == {TOKEN_A, TOKEN_B}


def test_own_token_joins_those_of_the_file(tmp_path: Path) -> None:
    """The environment replaces the file's list, so what the file holds goes along."""
    (tmp_path / "cpdfeed.toml").write_text(
        f'api_tokens = ["{TOKEN_A}"]\n[tenants.one]\napi_tokens = ["{TOKEN_B}"]\n'
    )
    settings = settings_table.load(TENANT, tmp_path)
    assert accepted(TENANT, settings, tmp_path) == {TOKEN_A, TOKEN_B}


def test_tokens_of_one_of_several_tenants_stay_its_own(tmp_path: Path) -> None:
    """A token that opens one of several tenants is not made to open all of them."""
    (tmp_path / "cpdfeed.toml").write_text(
        'region = "staging"\nwebhook_auth = "signature"\n'
        "[tenants.one]\ntenant_id = 'One'\napi_secret = 'x'\nwebhook_secrets = ['x']\n"
        f"api_tokens = ['{TOKEN_B}']\n"
        "[tenants.two]\ntenant_id = 'Two'\napi_secret = 'x'\nwebhook_secrets = ['x']\n"
    )
    settings = settings_table.load({}, tmp_path)
    assert accepted({}, settings, tmp_path) == set()
    env = environment({}, settings, tmp_path, host="127.0.0.1", port=1)
    reread = settings_table.load(env, tmp_path)
    assert [token.sha256 for token in reread.tenants["one"].api_tokens] == ["b" * 64]


def test_own_token_is_made_once_and_private(tmp_path: Path) -> None:
    """The token stays the same from run to run, readable by its owner alone."""
    token = own_token(tmp_path)
    assert own_token(tmp_path) == token
    assert len(token) >= 32
    assert (tmp_path / "api-token").stat().st_mode & 0o777 == 0o600


def test_own_token_is_made_anew_when_its_file_is_empty(tmp_path: Path) -> None:
    """A file that a crash left empty is no token."""
    (tmp_path / "api-token").touch()
    assert own_token(tmp_path)


def test_server_is_embedded_only_where_none_is_named(tmp_path: Path) -> None:
    """Without REDIS_URL there is an embedded server; with it, even the default's, there is not."""
    named = TENANT | {"REDIS_URL": "redis://127.0.0.1:6379/0"}
    assert needs_server(settings_table.load(TENANT, tmp_path))
    assert not needs_server(settings_table.load(named, tmp_path))


def test_folder_has_one_holder(tmp_path: Path) -> None:
    """A second holder is refused, told who has it, until the first lets go."""
    with (
        hold(tmp_path),
        pytest.raises(click.ClickException, match=str(os.getpid())),
        hold(tmp_path),
    ):
        pass
    with hold(tmp_path):
        pass


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """A data folder that cannot be is said, with the setting's name."""
    (tmp_path / "file").touch()
    with pytest.raises(click.ClickException, match="CPDFEED_DATA"), hold(tmp_path / "file"):
        pass


def test_port_in_use_is_refused() -> None:
    """A port somebody listens on is refused, one nobody does is not."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(click.ClickException, match="--port"):
            check_free("127.0.0.1", port)
    check_free("127.0.0.1", port)
