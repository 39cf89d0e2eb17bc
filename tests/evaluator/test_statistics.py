"""Adds and drops of the last 24 hours."""

import pytest

from services.evaluator.statistics import DAY_MS, MINUTE_MS, Minute, Statistics, history, volatility

NOON = 1_760_000_040_000 // MINUTE_MS * MINUTE_MS


def test_adds_and_drops_leave_the_figures_after_24_hours() -> None:
    statistics = Statistics()
    statistics.count(Minute(NOON, 5, 5, 0))
    statistics.count(Minute(NOON, -1, 0, 1))
    statistics.count(Minute(NOON + 2 * MINUTE_MS, 2, 2, 0))
    assert statistics.day(NOON + 3 * MINUTE_MS) == (7, 1)
    assert statistics.day(NOON + DAY_MS) == (2, 0)
    assert statistics.day(NOON + DAY_MS + 2 * MINUTE_MS) == (0, 0)


def test_rounds_of_one_minute_are_one_minute() -> None:
    statistics = Statistics()
    statistics.count(Minute(NOON, 5, 5, 0))
    statistics.count(Minute(NOON, -2, 1, 3))
    assert list(statistics) == [Minute(NOON, 3, 6, 3)]


@pytest.mark.parametrize(("size", "expected"), [(0, None), (10, 0.5), (2, 2.5)])
def test_volatility_is_changes_by_size_and_absent_when_the_size_is_0(size: int, expected: float | None) -> None:
    assert volatility(size, 3, 2) == expected


def test_a_step_without_a_change_keeps_the_size_of_the_one_before() -> None:
    hour = 60 * MINUTE_MS
    minutes = [Minute(NOON + hour, 2, 2, 0), Minute(NOON + hour + MINUTE_MS, -1, 0, 1), Minute(NOON + 3 * hour, -6, 0, 6)]
    points = history(minutes, 5, NOON, NOON + 5 * hour, hour)
    assert [(point.size, point.adds, point.drops) for point in points] == [(5, 0, 0), (6, 2, 1), (6, 0, 0), (0, 0, 6), (0, 0, 0)]
