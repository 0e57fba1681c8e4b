"""How `cpdfeed doctor` judges what it was answered."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from msgspec.structs import replace

from workers.commands import diagnosis
from workers.commands.diagnosis import Finding, Verdict
from workers.contract.model import Brake, Strength
from workers.contract.settings import Secret

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DURABLE = {"aof_enabled": 1, "maxmemory_policy": "noeviction"}
PAGE = b'{"pagination":{"totalResults":2,"totalPages":2,"page":1,"perPage":1},"results":[{}]}'


def verdict(finding: Finding) -> Verdict:
    """Give the verdict; whatever is not ok must say what to do."""
    assert finding.verdict is Verdict.OK or finding.next
    return finding.verdict


def test_settings_with_unknown_names_are_warned_of() -> None:
    """A name that looks like a setting and is none is told by name."""
    assert verdict(diagnosis.judge_names(())) is Verdict.OK
    finding = diagnosis.judge_names(("CPDFEED_TYPO",))
    assert verdict(finding) is Verdict.WARN
    assert "CPDFEED_TYPO" in finding.says


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({"redis_version": "7.0.15"}, Verdict.OK),
        ({"redis_version": "7.2.4", "valkey_version": "9.1.2"}, Verdict.OK),
        ({"redis_version": "10.0.0"}, Verdict.OK),
        ({"redis_version": "6.2.14"}, Verdict.FAIL),
        ({"redis_version": "7.2.4", "cluster_enabled": 1}, Verdict.FAIL),
        ({}, Verdict.FAIL),
    ],
)
def test_server_is_redis_7_and_no_cluster(info: dict[str, object], expected: Verdict) -> None:
    """Redis 7 or Valkey, but never a cluster."""
    assert verdict(diagnosis.judge_server(info)) is expected


@pytest.mark.parametrize(
    ("info", "appendfsync", "expected", "hint"),
    [
        (DURABLE, "always", Verdict.OK, ""),
        (DURABLE, "everysec", Verdict.WARN, "appendfsync always"),
        (DURABLE, None, Verdict.WARN, "whoever runs it"),
        (DURABLE | {"aof_enabled": 0}, "always", Verdict.WARN, "appendonly yes"),
        (DURABLE | {"maxmemory_policy": "allkeys-lru"}, "always", Verdict.WARN, "noeviction"),
    ],
)
def test_durability_less_than_promised_is_warned_of(
    info: dict[str, object], appendfsync: str | None, expected: Verdict, hint: str
) -> None:
    """A server that may lose what was acknowledged, or does not tell, is no failure but said."""
    finding = diagnosis.judge_durability(info, appendfsync)
    assert verdict(finding) is expected
    assert hint in finding.next


def test_schema_of_another_version_fails() -> None:
    """Data of an unknown schema are refused; none, and our own, need no words."""
    assert diagnosis.judge_schema(None) is None
    assert diagnosis.judge_schema(b"1") is None
    finding = diagnosis.judge_schema(b"99")
    assert finding is not None
    assert verdict(finding) is Verdict.FAIL


@pytest.mark.parametrize(
    ("status", "body", "expected", "hint"),
    [
        (200, PAGE, Verdict.OK, ""),
        (200, b"<html>", Verdict.FAIL, "api_url"),
        (200, b'{"status":"ok"}', Verdict.FAIL, "api_url"),
        (401, b"", Verdict.FAIL, "api_secret"),
        (403, b"", Verdict.FAIL, "api_secret"),
        (404, b"", Verdict.FAIL, "api_url"),
    ],
)
def test_page_must_be_the_platforms(status: int, body: bytes, expected: Verdict, hint: str) -> None:
    """Only the platform's own list will do; otherwise the settings to look at are named."""
    finding = diagnosis.judge_page(status, body)
    assert verdict(finding) is expected
    assert hint in finding.next


def test_page_tells_how_many_requirements() -> None:
    """The number of requirements at the platform is told."""
    assert "2 requirements" in diagnosis.judge_page(200, PAGE).says


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        (format_datetime(NOW - timedelta(seconds=29), usegmt=True), Verdict.OK),
        (format_datetime(NOW + timedelta(seconds=31), usegmt=True), Verdict.WARN),
        (format_datetime(NOW - timedelta(seconds=31), usegmt=True), Verdict.WARN),
        ("not a date", Verdict.WARN),
        (None, Verdict.WARN),
    ],
)
def test_clock_is_compared_with_the_platforms(date: str | None, expected: Verdict) -> None:
    """More than 30 seconds either way are warned of."""
    assert verdict(diagnosis.judge_clock(date, NOW)) is expected


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"keys":[{}]}', Verdict.OK),
        (200, b'{"keys":[]}', Verdict.FAIL),
        (200, b"<html>", Verdict.FAIL),
        (404, b'{"keys":[{}]}', Verdict.FAIL),
    ],
)
def test_issuer_must_have_keys(status: int, body: bytes, expected: Verdict) -> None:
    """Without keys no token can be verified."""
    assert verdict(diagnosis.judge_keys(status, body)) is expected


def test_short_secret_is_warned_of_and_not_shown() -> None:
    """Fewer than 16 characters are warned of; no secret is printed."""
    assert verdict(diagnosis.judge_secrets([Secret("x" * 16)])) is Verdict.OK
    finding = diagnosis.judge_secrets([Secret("y" * 40), Secret("short-secret")])
    assert verdict(finding) is Verdict.WARN
    assert "2 webhook secrets" in finding.says
    assert "12" in finding.says
    assert "short-secret" not in finding.says + finding.next


@pytest.mark.parametrize(
    ("head", "expected", "says"),
    [
        ({}, Verdict.WARN, "no baseline"),
        (
            {b"baseline_ms": b"1", b"sequence": b"7", b"complete_ms": b"1000"},
            Verdict.OK,
            "sequence 7, last complete scan 60 s ago",
        ),
        (
            {b"baseline_ms": b"1", b"sequence": b"7", b"complete_ms": b"0"},
            Verdict.WARN,
            "61 s ago",
        ),
        ({b"baseline_ms": b"1"}, Verdict.WARN, "never"),
    ],
)
def test_feed_is_judged_by_its_last_scan(
    head: dict[bytes, bytes], expected: Verdict, says: str
) -> None:
    """No baseline, and a scan that is overdue twice, are warned of."""
    finding = diagnosis.judge_head(head, now_ms=61_000, reconcile_s=30)
    assert verdict(finding) is expected
    assert says in finding.says


def test_held_removals_are_warned_of() -> None:
    """A brake is said with what lets it go, and nothing is said without one."""
    held = Brake(Strength.SCAN, 1, 1, 100, frozenset({b"a" * 12}))
    assert diagnosis.judge_brake(None) is None
    waiting = diagnosis.judge_brake(held)
    assert waiting is not None
    assert "1 of 100" in waiting.says
    assert "second scan" in waiting.next
    stuck = diagnosis.judge_brake(replace(held, strength=Strength.OPERATOR))
    assert stuck is not None
    assert "--release-brake" in stuck.next


def test_quarantined_rows_are_warned_of() -> None:
    """Rows that do not fit are counted, and nothing is said where all do."""
    assert diagnosis.judge_quarantine(0) is None
    finding = diagnosis.judge_quarantine(3)
    assert finding is not None
    assert (finding.verdict, "3 rows" in finding.says) == (Verdict.WARN, True)
