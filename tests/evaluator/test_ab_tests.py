"""Results of A/B tests: who takes part, what became of them, and how sure that is (semantics: A/B tests)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from muster.definition.v1 import audience_pb2, definition_pb2, facts_pb2
from muster.evaluator.v1 import evaluator_service_pb2 as pb
from muster.ingest.v1 import event_type_pb2

from services.chassis.variations import CONTROL, variations_of
from services.evaluator.ab_tests import PartRow, difference_of, outcomes, rate_of
from services.evaluator.population import Population
from tests.evaluator.conftest import Home
from tests.evaluator.serving import Client, failure, serving
from tests.evaluator.world import ACCOUNT, INSTALL, PARTITIONS, SESSION_START, Happening, seed_definition
from tests.fakes.clock import ManualClock

HOUR = 3_600_000
BOUGHT = event_type_pb2.EVENT_TYPE_CUSTOM
SHARES = {"A": 30, "B": 20}
GOAL = definition_pb2.EventMatch(type=BOUGHT, name="buy")


def name_of(mpid: int, ab_test_id: int = 90) -> str:
    place = int(variations_of(ab_test_id, list(SHARES.values()), np.array([mpid], np.int64))[0])
    return "Control" if place == CONTROL else list(SHARES)[place]


async def result(client: Client, goal: definition_pb2.EventMatch | None = GOAL, audience_id: int = 1) -> pb.AbTestResult:
    said: pb.AbTestResult = await client.call("GetAbTestResult", pb.GetAbTestResultRequest(audience_id=audience_id, goal=goal))
    return said


def by_name(said: pb.AbTestResult, *figures: str) -> dict[str, tuple[int, ...]]:
    return {one.name: tuple(getattr(one, figure) for figure in figures) for one in said.variations}


def expected(*told: list[int]) -> dict[str, tuple[int, ...]]:
    """How many of each list each variation has."""
    return {name: tuple(sum(name_of(mpid) == name for mpid in people) for people in told) for name in (*SHARES, "Control")}


async def test_who_takes_part_and_what_became_of_them(home: Home, clock: ManualClock) -> None:
    """People leave by a third session; those who left still count, those who bought before they came in do not."""
    now = clock.now_ms()
    await home.world.workspace()
    await home.world.audience(1, seed_definition())
    first, later, left = list(range(1, 201)), list(range(201, 301)), list(range(1, 51))
    async with serving(home) as client:
        await home.world.events([Happening(mpid, now - HOUR, INSTALL) for mpid in first])
        await home.world.events([Happening(mpid, now - HOUR, BOUGHT, "buy") for mpid in range(1, 301)])
        await home.until(lambda: len(home.follower.members[1]) == 200)
        assert (await failure(result(client))).reason == "AB_TEST_NOT_FOUND"
        await clock.advance(60)
        start = clock.now_ms()
        await home.world.ab_test(1, SHARES, time_ms=start)

        async def opened() -> bool:
            said = await client.call("GetAudienceStatistics", pb.GetAudienceStatisticsRequest(audience_id=1))
            return len(said.variations) == 3 and sum(one.participants for one in (await result(client)).variations) == 200

        await home.until(opened)
        said = await result(client)
        assert (said.ab_test_id, said.start_ms, said.goal_from_ms) == (90, start, start)
        assert [(one.variation_id, one.name, one.percentage) for one in said.variations] == [(1, "A", 30), (2, "B", 20), (0, "Control", 50)]
        assert by_name(said, "participants", "converted", "adds", "drops") == {
            name: (people, 0, 0, 0) for name, (people,) in expected(first).items()
        }

        await clock.advance(60)
        await home.world.events([Happening(mpid, clock.now_ms(), INSTALL) for mpid in later])
        await home.world.events([Happening(mpid, clock.now_ms(), SESSION_START) for mpid in left for _ in range(3)])
        await home.until(lambda: len(home.follower.members[1]) == 250)
        await clock.advance(60)
        buyers = [mpid for mpid in range(1, 301) if mpid % 3 == 0]
        await home.world.events([Happening(mpid, clock.now_ms(), BOUGHT, "buy") for mpid in buyers * 2])
        await home.world.events([Happening(mpid, clock.now_ms(), BOUGHT, "sell") for mpid in range(1, 301)])

        async def counted() -> bool:
            return sum(one.goals for one in (await result(client)).variations) == 2 * len(buyers)

        await home.until(counted)
        figures = ("participants", "converted", "size", "total_adds", "total_drops")
        stay = [mpid for mpid in first + later if mpid not in left]
        as_it_is = expected(first + later, buyers, stay, later, left)
        assert by_name(await result(client), *figures) == as_it_is
    async with serving(home) as client:
        assert by_name(await result(client), *figures) == as_it_is, "after a restart"
        await home.world.delete(300, clock.now_ms())

        async def gone() -> bool:
            return by_name(await result(client), "participants") == expected([mpid for mpid in first + later if mpid != 300])

        await home.until(gone)
        plain = await result(client, goal=None)
        assert not any(one.HasField("rate") or one.converted for one in plain.variations)
        await home.world.ab_test(1, {})

        async def over() -> bool:
            return len((await client.call("GetAudienceStatistics", pb.GetAudienceStatisticsRequest(audience_id=1))).variations) == 0

        await home.until(over)
        assert (await failure(result(client))).reason == "AB_TEST_NOT_FOUND"


async def test_a_goal_that_cannot_be_counted_is_refused_with_its_place(home: Home, clock: ManualClock) -> None:
    await home.world.workspace()
    await home.world.audience(1, seed_definition())
    await home.world.ab_test(1, SHARES, time_ms=clock.now_ms())
    async with serving(home) as client:
        await home.world.events([Happening(1, clock.now_ms(), INSTALL)])
        await home.until(lambda: len(home.follower.members[1]) == 1)
        moving = definition_pb2.EventMatch(type=BOUGHT, name="buy")
        moving.where.add(attribute="until").test.date.when.last.CopyFrom(
            definition_pb2.Duration(count=1, unit=definition_pb2.DURATION_UNIT_DAY)
        )
        refusal = await failure(result(client, moving))
        assert [(one.field, one.reason) for one in refusal.violations] == [("goal.where", "NOT_APPLICABLE")]
        refusal = await failure(result(client, audience_id=77))
        assert refusal.reason == "AUDIENCE_NOT_FOUND"


def test_at_a_start_only_what_is_stored_of_deleted_tests_is_forgotten() -> None:
    population = Population(ACCOUNT, PARTITIONS, 0)
    for ab_test_id in (90, 91):
        population.learn(facts_pb2.DefinitionFact(account_id=ACCOUNT, ab_test=audience_pb2.AbTest(ab_test_id=ab_test_id, audience_id=1)))
    assert population.tests_to_forget == [90, 91]
    population.load_participants([PartRow(91, 0, np.array([], np.uint32), np.array([], np.int64))])
    assert population.tests_to_forget == [91]


@pytest.mark.parametrize(
    ("converted", "participants", "low", "high"),
    # Newcombe, Two-sided confidence intervals for the single proportion (1998), method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_rates_have_wilsons_interval(converted: int, participants: int, low: float, high: float) -> None:
    rate = rate_of(converted, participants)
    assert rate is not None
    assert (round(rate.low, 4), round(rate.high, 4)) == (low, high)


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    # Newcombe, Interval estimation for the difference between independent proportions (1998), method 10.
    [((56, 70), (48, 80), 0.0524, 0.3339), ((9, 10), (3, 10), 0.1705, 0.8090), ((10, 10), (0, 20), 0.6791, 1.0)],
)
def test_differences_have_newcombes_interval(one: tuple[int, int], other: tuple[int, int], low: float, high: float) -> None:
    first, second = rate_of(*one), rate_of(*other)
    assert first is not None
    assert second is not None
    found = difference_of(first, second)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


def test_nobody_has_no_rate() -> None:
    assert rate_of(0, 0) is None


people = st.dictionaries(st.integers(-9, 9), st.integers(0, 20), max_size=12)
goals = st.lists(st.tuples(st.integers(-12, 12), st.integers(0, 20)), max_size=40)


@given(people, goals)
def test_outcomes_are_what_counting_one_by_one_gives(since: dict[int, int], reached: list[tuple[int, int]]) -> None:
    test = audience_pb2.AbTest(
        ab_test_id=90, variations=[audience_pb2.Variation(name=name, percentage=share) for name, share in SHARES.items()]
    )
    found = outcomes(
        test,
        np.array(list(since), np.int64),
        np.array(list(since.values()), np.int64),
        np.array([mpid for mpid, _ in reached], np.int64),
        np.array([time for _, time in reached], np.int64),
    )
    counted = [mpid for mpid, time in reached if mpid in since and time >= since[mpid]]
    for id_, name in enumerate(("Control", *SHARES)):
        own = [mpid for mpid in counted if name_of(mpid) == name]
        assert found[id_] == (sum(name_of(mpid) == name for mpid in since), len(set(own)), len(own))


def test_people_are_dealt_as_the_percentages_say() -> None:
    """Chi-square over a million people and several tests, at one in a thousand."""
    mpids = np.random.default_rng(1).integers(-(2**63), 2**63 - 1, 1_000_000, np.int64)
    for ab_test_id in range(1, 6):
        places = variations_of(ab_test_id, list(SHARES.values()), mpids)
        observed = np.array([np.sum(places == 0), np.sum(places == 1), np.sum(places == CONTROL)])
        wanted = np.array([0.3, 0.2, 0.5]) * len(mpids)
        assert ((observed - wanted) ** 2 / wanted).sum() < 13.82  # of two degrees of freedom


def test_one_test_says_nothing_of_another() -> None:
    """Chi-square of independence of two tests' splits."""
    mpids = np.random.default_rng(2).integers(-(2**63), 2**63 - 1, 1_000_000, np.int64)
    one, other = (variations_of(number, [30, 20], mpids) + 1 for number in (7, 8))
    observed = np.bincount(one * 3 + other, minlength=9).reshape(3, 3)
    wanted = observed.sum(axis=1, keepdims=True) * observed.sum(axis=0, keepdims=True) / observed.sum()
    assert ((observed - wanted) ** 2 / wanted).sum() < 18.47  # of four degrees of freedom
