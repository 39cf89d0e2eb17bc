"""What an audience costs is counted, reported, and told when it is much."""

from __future__ import annotations

import pytest
from muster.evaluator.v1 import evaluator_service_pb2 as pb

from services.evaluator import sums
from services.evaluator.costs import COSTLY_SECONDS, HOUR_MS, Cost, Costs
from services.evaluator.statistics import MINUTE_MS

NOW = 30_000_000 * MINUTE_MS


def test_the_time_of_the_last_hour_is_parted_by_what_was_looked_at() -> None:
    costs = Costs()
    assert costs.of(1) == (0, 0.0)
    assert not costs.spend(1.0, NOW)
    assert not costs.spend(2.0, NOW + MINUTE_MS - 1)
    assert costs.spend(1.0, NOW + MINUTE_MS)
    costs.count({1: 30, 2: 10}, 40, NOW + MINUTE_MS)
    assert costs.of(1) == (30, 3.0)
    assert costs.of(2) == (10, 1.0)
    assert costs.of(3) == (0, 0.0)
    assert costs.seconds == 4.0
    assert costs.spend(5.0, NOW + HOUR_MS)
    costs.count({2: 5}, 10, NOW + HOUR_MS)
    assert costs.of(2) == (15, 3.5)
    assert costs.spend(0.0, NOW + HOUR_MS + MINUTE_MS)
    costs.count({}, 0, NOW + HOUR_MS + MINUTE_MS)
    assert costs.of(1) == (0, 0.0)
    assert costs.of(2) == (5, 2.5)


def test_an_audience_that_takes_much_of_a_minute_is_told_once_an_hour() -> None:
    costs = Costs()
    told = []
    costs.spend(0.0, NOW)
    for minute in range(1, 70):
        now = NOW + minute * MINUTE_MS
        if costs.spend(COSTLY_SECONDS * 2, now):
            costs.count({1: 3, 2: 1}, 4, now)
            told += [(minute, audience_id, cost) for audience_id, cost in costs.costly(now)]
    assert told == [(1, 1, Cost(3, COSTLY_SECONDS * 1.5)), (61, 1, Cost(3, COSTLY_SECONDS * 1.5))]


def test_what_several_evaluators_spend_is_added_up() -> None:
    parts = [pb.AudienceStatistics(audience_id=1, cost=pb.Cost(looked_at=n, seconds=n / 2, seconds_of_all=n)) for n in (2, 4)]
    assert sums.statistics(parts).cost == pb.Cost(looked_at=6, seconds=3.0, seconds_of_all=6.0)
    assert not sums.statistics([pb.AudienceStatistics(audience_id=1)] * 2).HasField("cost")


def test_a_clock_that_goes_forward_by_hours_leaves_nothing_of_the_last_one() -> None:
    costs = Costs()
    costs.spend(9.0, NOW)
    costs.count({1: 3}, 3, NOW + 5 * HOUR_MS)
    assert costs.of(1) == (0, 0.0)
    assert list(costs.costly(NOW + 5 * HOUR_MS)) == []


@pytest.mark.parametrize("seconds", [0.0, 5.0])
def test_rounds_without_anything_to_look_at_cost_nobody(seconds: float) -> None:
    costs = Costs()
    costs.spend(seconds, NOW)
    costs.count({}, 0, NOW + MINUTE_MS)
    assert costs.of(1) == (0, 0.0)
    assert list(costs.costly(NOW + MINUTE_MS)) == []
