"""The tables in the documents and in the deployment are those of the code.

Write them anew with ``python -m tests.unit.test_docs``.
"""

from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from workers.contract.keyspace import BRAKE_FIELDS, HEAD_FIELDS, KEYS, STATS
from workers.contract.settings import Secret, Settings, Tenant, describe, env_name, table

ROOT: Final = Path(__file__).parent.parent.parent


def _shown(field: msgspec.structs.FieldInfo) -> str:
    """Give a setting's default as an environment variable would hold it; empty if none."""
    value: Any = "" if field.required else field.default
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value)
    return "" if value is None else str(value)


def settings_page() -> str:
    """Give docs/settings.md."""
    lines = [
        "# Settings",
        "",
        "Read once, at a process's start, from the environment over `cpdfeed.toml` in the working",
        "folder, or the file that `CPDFEED_CONFIG` names. In the file the names are those of the",
        "first column; settings of a tenant may stand under `[tenants.<slug>]`, and those common",
        "to all tenants at the top level. `CPDFEED_TENANT` names the one tenant of an environment",
        "(`default`). Intervals are seconds, and may be fractions; lists are comma-separated.",
        "",
        'Any setting may be given as a file instead: `<NAME>_FILE`, or `{ file = "…" }`.',
        "The command line talks to `CPDFEED_URL` with `CPDFEED_TOKEN`.",
    ]
    for title, record in (("Of the installation", Settings), ("Of a tenant", Tenant)):
        lines += [
            "",
            f"## {title}",
            "",
            "| in the file | in the environment | default | what it is |",
        ]
        lines.append("|---|---|---|---|")
        for field in table(record):
            default = "required" if field.required else f"`{_shown(field)}`".replace("``", "none")
            description = describe(field).replace("|", "\\|")
            lines.append(
                f"| `{field.name}` | `{env_name(field.name)}` | {default} | {description} |"
            )
    return "\n".join(lines) + "\n"


def keys_page() -> str:
    """Give docs/keys.md."""
    lines = [
        "# Keys",
        "",
        "Every key of a tenant begins `cpdfeed:{<tenant>}:`, with literal braces: one hash slot,",
        "so that each atomic step is one script. `cpdfeed:schema` holds the version of this table;",
        "Celery's own keys begin `cpdfeed:celery:`.",
        "",
        "| key | type | lives | holds | written by | read by |",
        "|---|---|---|---|---|---|",
        *(
            f"| `{key.suffix}` | {key.kind} | {key.lifetime} | {key.holds} | {key.writer} "
            f"| {key.reader} |"
            for key in KEYS
        ),
        "",
        "Those of subscriptions (`subscriptions`, `cursors`, `sub:…`, `dead`, `audit`) are not",
        "written yet: they are set aside for what is to come.",
    ]
    for key, fields in (("head", HEAD_FIELDS), ("brake", BRAKE_FIELDS), ("stats", STATS)):
        lines += ["", f"## Fields of `{key}`", "", "| field | holds |", "|---|---|"]
        lines += [f"| `{name}` | {holds} |" for name, holds in fields.items()]
    return "\n".join(lines) + "\n"


def env_example() -> str:
    """Give deploy/.env.example."""
    lines = [
        "# Settings of cpdfeed for one tenant. What is required has no default; take the # off",
        "# what you set. Keep the file readable by its owner alone: it holds secrets.",
        "",
        "# Slug of the tenant, in paths and keys.",
        "#CPDFEED_TENANT=default",
    ]
    for record in (Tenant, Settings):
        for field in table(record):
            if record is Settings and field.name == "api_tokens":
                continue  # the same name as the tenant's: with one tenant they are one
            mark = "" if field.required else "#"
            lines += ["", f"# {describe(field)}", f"{mark}{env_name(field.name)}={_shown(field)}"]
    return "\n".join(lines) + "\n"


PAGES: Final = {
    "docs/settings.md": settings_page,
    "docs/keys.md": keys_page,
    "deploy/.env.example": env_example,
}


@pytest.mark.parametrize("path", PAGES)
def test_page_is_the_code_s(path: str) -> None:
    """A table in the documents or the deployment says what the code says."""
    assert (ROOT / path).read_text(encoding="utf-8") == PAGES[path]()


def test_every_link_of_the_readme_leads_somewhere() -> None:
    """What the README links to in this project exists."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = [part.split(")")[0] for part in readme.split("](")[1:]]
    local = [target for target in targets if "://" not in target]
    assert local
    assert [target for target in local if not (ROOT / target).exists()] == []


if __name__ == "__main__":
    for name, render in PAGES.items():
        (ROOT / name).write_text(render(), encoding="utf-8")
