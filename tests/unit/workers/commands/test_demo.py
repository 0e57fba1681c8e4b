"""What the demo runs with."""

from pathlib import Path

from workers.commands.demo import demo_environment
from workers.contract import settings as settings_table


def test_environment_is_complete_whatever_is_set(tmp_path: Path) -> None:
    """The demo needs no setting, and none that is set reaches it."""
    base = {
        "PATH": "/bin",
        "HOST": "0.0.0.0",  # noqa: S104 - must not be taken over
        "PORT": "1",
        "REDIS_URL": "redis://example.com/0",
        "CELERY_BROKER_URL": "amqp://example.com",
        "CPDFEED_TENANT": "acme",
        "CPDFEED_CONFIG": "/etc/cpdfeed.toml",
    }
    env = demo_environment(base, 18099)
    assert env["PATH"] == "/bin"
    assert not {"HOST", "PORT", "REDIS_URL", "CELERY_BROKER_URL", "CPDFEED_CONFIG"} & set(env)
    settings = settings_table.load(env, tmp_path)
    assert settings.unknown == ()
    assert settings.tenants["default"].api_url == "http://127.0.0.1:18099/public/rest/v1"
