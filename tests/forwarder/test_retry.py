"""When a partner is asked again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from tenacity import Future, RetryCallState

from services.forwarder.delivery import _wait
from services.forwarder.domain.faults import CAUSES, Cause, PartnerError, of_status, tidy
from services.forwarder.domain.retry import RetryPolicy, retry_after

NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
POLICY = RetryPolicy(tries=6, first_seconds=0.5, most_seconds=20, total_seconds=60)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (" 7 ", 7),
        ("Thu, 15 Jan 2026 12:00:30 GMT", 30),
        ("Thu, 15 Jan 2026 13:00:30 +0100", 30),
        ("Thursday, 15-Jan-26 12:00:30 GMT", 30),
        ("Thu, 15 Jan 2026 11:59:00 GMT", 0),
        ("Thu, 15 Jan 2026 12:00:30 -0000", 30),
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("Thu, 99 Jan 2026 12:00:30 GMT", None),
        ("9" * 400, 999_999_999),
    ],
)
def test_retry_after_is_read_in_both_of_its_forms(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, NOW) == seconds


def _state(attempt: int, error: Exception) -> RetryCallState:
    nothing: Any = None
    state = RetryCallState(nothing, None, (), {})
    state.attempt_number = attempt
    state.outcome = Future.construct(attempt, error, True)
    return state


def _error(wait: float | None = None) -> PartnerError:
    return PartnerError(Cause.PARTNER_DOWN, "503", retry=True, retry_after=wait)


@pytest.mark.parametrize(("attempt", "most"), [(1, 0.5), (2, 1), (3, 2), (4, 4), (5, 8), (6, 16), (7, 20), (60, 20)])
def test_waits_double_up_to_the_most_and_are_spread_over_the_whole_range(attempt: int, most: float) -> None:
    wait = _wait(POLICY)
    waits = [wait(_state(attempt, _error())) for _ in range(300)]
    assert all(0 <= one <= most for one in waits)
    # Spread, so that many connections of one partner do not come back at one instant.
    assert min(waits) < most / 4
    assert max(waits) > most * 3 / 4


def test_a_partners_own_word_wins_over_our_wait() -> None:
    wait = _wait(POLICY)
    assert {wait(_state(attempt, _error(33.0))) for attempt in range(1, 7)} == {33.0}
    assert wait(_state(1, _error(0.0))) == 0


@pytest.mark.parametrize(
    ("status", "cause", "retried", "in_doubt"),
    [
        (301, Cause.REFUSED, False, False),
        (400, Cause.REFUSED, False, False),
        (401, Cause.AUTHENTICATION, False, False),
        (403, Cause.PERMISSION, False, False),
        (404, Cause.LIST_GONE, False, False),
        (408, Cause.PARTNER_DOWN, True, False),
        (410, Cause.LIST_GONE, False, False),
        (418, Cause.REFUSED, False, False),
        (429, Cause.RATE_LIMIT, True, False),
        (500, Cause.PARTNER_DOWN, True, False),
        (502, Cause.PARTNER_DOWN, True, True),
        (503, Cause.PARTNER_DOWN, True, False),
        (504, Cause.PARTNER_DOWN, True, True),
        (599, Cause.PARTNER_DOWN, True, False),
    ],
)
def test_statuses_have_a_cause_and_a_rule(status: int, cause: Cause, retried: bool, in_doubt: bool) -> None:
    error = of_status(status, "words", causes=CAUSES)
    assert (error.cause, error.retry, error.in_doubt) == (cause, retried, in_doubt)
    assert error.message.startswith(str(status))


def test_a_partners_words_are_one_line_of_bounded_length() -> None:
    assert tidy(" no\r\nsuch\x00 \x1b[31mlist\u2028 ") == "no such [31mlist"
    assert len(tidy("x" * 1000)) == 300
