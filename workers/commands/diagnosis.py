"""Judge what `cpdfeed doctor` was answered. Pure."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from workers.contract.keyspace import SCHEMA_VERSION
from workers.contract.model import Brake, Strength
from workers.contract.settings import Secret

_OLDEST_REDIS: Final = 7
_SKEW_MAX: Final = timedelta(seconds=30)
_SECRET_LENGTH_MIN: Final = 16
_SCANS_MISSED: Final = 2
"""A scan is late when so many could have been made since the last one."""


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(Struct, frozen=True, omit_defaults=True):
    """What one check found, and what to do about it."""

    check: str
    verdict: Verdict
    says: str
    next: str = ""
    tenant: str = ""


def ok(check: str, says: str) -> Finding:
    """Give a finding that needs nothing."""
    return Finding(check, Verdict.OK, says)


def warn(check: str, says: str, next_: str) -> Finding:
    """Give a finding that works, but promises less."""
    return Finding(check, Verdict.WARN, says, next_)


def fail(check: str, says: str, next_: str) -> Finding:
    """Give a finding that does not work."""
    return Finding(check, Verdict.FAIL, says, next_)


def judge_names(unknown: Sequence[str]) -> Finding:
    """Judge the settings, which could be read."""
    if unknown:
        return warn(
            "settings",
            f"no settings, though they look like it: {', '.join(unknown)}",
            "Look for the right names in docs/settings.md, or unset them.",
        )
    return ok("settings", "complete")


def judge_server(info: Mapping[str, Any]) -> Finding:
    """Judge what server it is, by its INFO."""
    version = str(info.get("redis_version", "0"))
    name = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {version}"
    if info.get("cluster_enabled"):
        return fail("redis", f"{name}, a cluster", "Point REDIS_URL at a server of its own.")
    if int(version.partition(".")[0]) < _OLDEST_REDIS:
        return fail("redis", f"{name} is too old", "Use Redis 7 or later, or Valkey.")
    return ok("redis", f"{name} answers")


def judge_durability(info: Mapping[str, Any], appendfsync: str | None) -> Finding:
    """Judge whether what is accepted is on disk; no ``appendfsync`` where CONFIG is forbidden."""
    lacking = []
    if not info.get("aof_enabled"):
        lacking.append("appendonly yes")
    elif appendfsync not in {None, "always"}:
        lacking.append("appendfsync always")
    if info.get("maxmemory_policy", "noeviction") != "noeviction":
        lacking.append("maxmemory-policy noeviction")
    if lacking:
        return warn(
            "durability",
            "a restart of Redis can lose what was accepted shortly before",
            f"Set in redis.conf: {', '.join(lacking)}.",
        )
    if appendfsync is None:
        return warn(
            "durability",
            "it cannot be seen how often Redis writes to disk (CONFIG is forbidden)",
            "Ask whoever runs it for appendfsync always.",
        )
    return ok("durability", "every write is on disk before it is answered")


def judge_schema(version: bytes | None) -> Finding | None:
    """Judge the version of what is stored; nothing to say for a fresh server."""
    if version is None or version.decode() == SCHEMA_VERSION:
        return None
    return fail(
        "schema",
        f"Redis holds data of schema {version.decode()}, this cpdfeed knows {SCHEMA_VERSION}",
        "Run the version that wrote it, or point REDIS_URL at an empty database.",
    )


class _Pagination(Struct, rename="camel"):
    total_results: Annotated[int, Meta(ge=0)]


class _List(Struct):
    pagination: _Pagination
    results: list[msgspec.Raw]


def judge_page(status: int, body: bytes) -> Finding:
    """Judge the answer to a page of the platform's list."""
    if status in {401, 403}:
        return fail(
            "page",
            f"the platform refuses our credentials ({status})",
            "Check the tenant's tenant_id, api_auth, api_secret or client_secret, and api_scope.",
        )
    wrong_url = "Check region or api_url: it ends with /rest/v1."
    if status != 200:  # noqa: PLR2004 - OK
        return fail("page", f"the platform answers {status}", wrong_url)
    try:
        page = msgspec.json.decode(body, type=_List)
    except msgspec.MsgspecError:
        return fail("page", "something answers that is not the platform's list", wrong_url)
    return ok("page", f"{page.pagination.total_results} requirements at the platform")


def judge_clock(date: str | None, now: datetime) -> Finding:
    """Judge our clock by a ``Date`` header (RFC 9110, 6.6.1), which has whole seconds."""
    try:
        theirs = parsedate_to_datetime(date or "")
    except ValueError:
        return warn("clock", "the platform does not tell the time", "Check that NTP is running.")
    apart = abs(now - (theirs if theirs.tzinfo else theirs.replace(tzinfo=UTC)))
    if apart > _SKEW_MAX:
        return warn(
            "clock",
            f"ours and the platform's are {apart.total_seconds():.0f} s apart",
            "Check that NTP is running here: tokens and times of changes depend on it.",
        )
    return ok("clock", "agrees with the platform's")


class _Keys(Struct):
    keys: list[msgspec.Raw]


def judge_keys(status: int, body: bytes) -> Finding:
    """Judge the answer of the JWKS URL."""
    next_ = "Check webhook_issuer and webhook_jwks_url: no notification's token can be verified."
    try:
        keys = msgspec.json.decode(body, type=_Keys).keys
    except msgspec.MsgspecError:
        keys = []
    if status != 200 or not keys:  # noqa: PLR2004 - OK
        return fail("webhook keys", f"no keys there (status {status})", next_)
    return ok("webhook keys", f"{len(keys)} of the issuer")


def judge_secrets(secrets: Sequence[Secret]) -> Finding:
    """Judge the secrets that notifications are signed with."""
    shortest = min(len(secret.reveal()) for secret in secrets)
    count = f"{len(secrets)} webhook secret{'' if len(secrets) == 1 else 's'}"
    if shortest < _SECRET_LENGTH_MIN:
        return warn(
            "webhook secrets",
            f"{count}, the shortest has {shortest} characters",
            f"Agree on one of at least {_SECRET_LENGTH_MIN}; several may be set while rotating.",
        )
    return ok("webhook secrets", count)


def judge_brake(brake: Brake | None) -> Finding | None:
    """Judge whether removals are held back; nothing to say when they are not."""
    if brake is None:
        return None
    says = f"{len(brake.ids)} of {brake.rows} requirements seem to be gone, and are held back"
    if brake.strength is Strength.SCAN:
        return warn("brake", says, "A second scan, which starts by itself, decides.")
    return warn(
        "brake",
        says,
        "Is the platform's list complete? If so, let them go: cpdfeed refresh --release-brake.",
    )


def judge_quarantine(count: int) -> Finding | None:
    """Judge how many rows do not fit; nothing to say when all do."""
    if not count:
        return None
    rows = f"{count} row{'' if count == 1 else 's'}"
    return warn(
        "quarantine",
        f"{rows} of the platform do not fit the schema, and are left as they were",
        "See GET /v1/quarantine for which and why; tell the platform's vendor.",
    )


def judge_head(head: Mapping[bytes, bytes], now_ms: int, reconcile_s: float) -> Finding:
    """Judge how far a tenant's feed has come, by its ``head``."""
    start = "Is `refresh` running, and `beat`? The first scan begins by itself."
    if b"baseline_ms" not in head:
        return warn("feed", "no baseline yet", start)
    sequence = head.get(b"sequence", b"0").decode()
    if b"complete_ms" not in head:
        return warn("feed", f"at sequence {sequence}, never scanned whole", start)
    age_s = (now_ms - int(head[b"complete_ms"])) / 1000
    says = f"at sequence {sequence}, last complete scan {age_s:.0f} s ago"
    if age_s > _SCANS_MISSED * reconcile_s:
        return warn("feed", says, f"It is due every {reconcile_s:.0f} s. {start}")
    return ok("feed", says)
