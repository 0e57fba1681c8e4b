"""What is worth another try, and when: as the platform says, if that can be understood."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from workers.contract.errors import (
    CpdfeedError,
    UpstreamRefused,
    UpstreamThrottled,
    UpstreamUnavailable,
)
from workers.upstream.client import (
    _retry_after_s,
    _worth_another_try,
)

NOW: Final = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)
NOW_MS: Final = int(NOW.timestamp() * 1000)


@pytest.mark.parametrize(("value", "wait_s"), [("0", 0), ("30", 30), (" 7 ", 7), ("007", 7)])
def test_seconds_are_understood(value: str, wait_s: float) -> None:
    """A number is seconds from now."""
    assert _retry_after_s(value, NOW_MS) == wait_s


def test_dates_are_understood() -> None:
    """An HTTP date is a moment; one that has passed means now."""
    later = format_datetime(NOW + timedelta(seconds=90), usegmt=True)
    earlier = format_datetime(NOW - timedelta(seconds=90), usegmt=True)
    assert _retry_after_s(later, NOW_MS) == 90
    assert _retry_after_s(earlier, NOW_MS) == 0


def test_date_without_a_zone_is_utc() -> None:
    """A date that names no zone is taken as UTC, as HTTP dates are."""
    assert _retry_after_s("Mon, 04 May 2026 12:00:05 -0000", NOW_MS) == 5


@pytest.mark.parametrize(
    "value", [None, "", "soon", "-5", "1.5", "1e3", "Mon", "Mon, 99 May 2026 12:00:05 GMT", "5 s"]
)
def test_rubbish_says_nothing(value: str | None) -> None:
    """What is neither is as if it were not there."""
    assert _retry_after_s(value, NOW_MS) is None


@given(st.text())
@example("Wed, 21 Oct 99999999999999999999 07:28:00 GMT")
@example("9" * 400)
@example("²")
def test_any_header_gives_a_usable_wait(value: str) -> None:
    """Whatever the header says, the wait is a finite number of seconds or unknown."""
    wait_s = _retry_after_s(value, NOW_MS)
    assert wait_s is None or 0 <= wait_s < float("inf")


@pytest.mark.parametrize(
    "error", [UpstreamUnavailable("no"), UpstreamThrottled("no", retry_after_s=None)]
)
def test_passing_fault_is_tried_again(error: CpdfeedError) -> None:
    """No answer, and a 429 that says nothing, are tried again after our own delay."""
    assert _worth_another_try(error) is True


def test_short_wait_is_waited_for() -> None:
    """A platform that asks for a short wait is asked again after just that."""
    assert _worth_another_try(UpstreamThrottled("no", retry_after_s=2.5)) == 2.5


def test_long_wait_is_left_to_the_next_round() -> None:
    """A platform that asks for more is left alone until then."""
    assert _worth_another_try(UpstreamThrottled("no", retry_after_s=3.1)) is False


def test_no_wait_at_all_is_tried_again() -> None:
    """A 429 that allows another try at once is not given up."""
    decision = _worth_another_try(UpstreamThrottled("no", retry_after_s=0))
    assert decision is not False
    assert decision == 0


@pytest.mark.parametrize("error", [UpstreamRefused("no"), ValueError("no")])
def test_lasting_fault_is_not_tried_again(error: Exception) -> None:
    """A refusal, and a fault of ours, would only repeat itself."""
    assert _worth_another_try(error) is False
