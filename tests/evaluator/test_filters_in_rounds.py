"""Filters through the service: what arrives, what arrived before, and what a restart finds again."""

from __future__ import annotations

from functools import partial

from muster.definition.v1 import definition_pb2 as pb

from tests.evaluator.conftest import Evaluator, Home, members
from tests.evaluator.world import ACCOUNT, INPUT, SESSION_START, WORKSPACE, Happening
from tests.fakes.clock import ManualClock

HOUR = 3_600_000
GOLD, TIN = '{"attributes":{"level":"Gold","x":1}}', '{"attributes":{"level":"tin","x":2}}'


def gold(more_than: int = 0, operator: str = "EQUALS") -> pb.Definition:
    """More than so many sessions of level gold in 24 hours."""
    text = pb.StringTest(operator=pb.StringOperator.Value(f"STRING_OPERATOR_{operator}"), value="gold")
    where = [pb.Filter(attribute="level", test=pb.ValueTest(string=text))]
    event = pb.EventCriterion(
        match=pb.EventMatch(type=SESSION_START, where=where),
        frequency=pb.FrequencyTest(comparison=pb.COMPARISON_GREATER, value=more_than),
        when=pb.Period(last=pb.Duration(count=24, unit=pb.DURATION_UNIT_HOUR)),
    )
    return pb.Definition(root=pb.Node(criterion=pb.Criterion(event=event)))


async def estimated(evaluator: Evaluator, definition: pb.Definition) -> int:
    def answer(account: object) -> int:
        population = account.population  # type: ignore[attr-defined]
        return int(population.estimate(population.compile(definition, [WORKSPACE], [INPUT]), 0).size)

    return await evaluator.rounds.ask(ACCOUNT, answer)


async def test_a_filter_finds_what_came_before_it_and_what_comes_after_it_once(home: Home, clock: ManualClock) -> None:
    now = clock.now_ms()
    await home.world.workspace()
    async with home.evaluator() as evaluator:
        await home.world.audience(9, pb.Definition(root=pb.Node(everyone=pb.Everyone())))
        await home.world.events(
            [
                Happening(11, now - 23 * HOUR, SESSION_START, details=GOLD),
                Happening(11, now, SESSION_START, details=TIN),
                Happening(12, now, SESSION_START, details=TIN),
                Happening(13, now, SESSION_START, details="no JSON"),
            ]
        )
        await home.until(lambda: home.follower.members[9] == {11, 12, 13})
        assert await estimated(evaluator, gold()) == 1
        # The definition and the events of one round: what arrives must not be counted as the past too.
        await home.world.audience(1, gold())
        await home.world.audience(2, gold(more_than=1))
        await home.world.events([Happening(12, now, SESSION_START, details=GOLD)])
        await home.until(lambda: home.follower.members[1] == {11, 12})
        assert await members(evaluator, 2) == set()
        assert await estimated(evaluator, gold(more_than=1)) == 0
        await home.world.events([Happening(12, now, SESSION_START, details=GOLD)])
        await home.until(lambda: home.follower.members[2] == {12})
        await clock.advance(3600.001)
        await home.until(lambda: home.follower.members[1] == {12})
    await home.world.events([Happening(14, now, SESSION_START, details=GOLD)])
    for _ in range(2):
        async with home.evaluator() as evaluator:
            await home.until(partial(lambda home: home.follower.members[1] == {12, 14}, home))
            assert await members(evaluator, 1) == {12, 14}
            assert await members(evaluator, 2) == {12}
            assert await estimated(evaluator, gold(operator="CONTAINS")) == 2
    await clock.advance(3600)


def aggregate(function: str, test: pb.ValueTest, attribute: str = "level") -> pb.Definition:
    """Of all sessions of the look-back."""
    criterion = pb.AggregateCriterion(
        match=pb.EventMatch(type=SESSION_START),
        function=pb.AggregateFunction.Value(f"AGGREGATE_FUNCTION_{function}"),
        attribute=attribute,
        test=test,
    )
    return pb.Definition(root=pb.Node(criterion=pb.Criterion(aggregate=criterion)))


async def test_an_aggregate_is_the_same_after_a_restart(home: Home, clock: ManualClock) -> None:
    now = clock.now_ms()
    await home.world.workspace()
    last_gold = pb.ValueTest(string=pb.StringTest(operator=pb.STRING_OPERATOR_EQUALS, value="gold"))
    sum_three = pb.ValueTest(number=pb.NumberTest(comparison=pb.COMPARISON_EQUAL, value="3"))
    await home.world.audience(1, aggregate("LAST", last_gold))
    await home.world.audience(2, aggregate("SUM", sum_three, "x"))
    async with home.evaluator():
        # At one instant: the order in which they come decides, within a message and over several.
        await home.world.events([Happening(11, now, SESSION_START, details=details) for details in (TIN, GOLD)])
        await home.world.events([Happening(12, now, SESSION_START, details=details) for details in (GOLD, TIN)])
        await home.world.events([Happening(13, now, SESSION_START, details=GOLD)])
        await home.world.events([Happening(13, now, SESSION_START, details=TIN), Happening(14, now, SESSION_START, details=TIN)])
        await home.world.events([Happening(14, now, SESSION_START, details="{}"), Happening(14, now, SESSION_START, details=GOLD)])
        await home.world.events([Happening(14, now, SESSION_START, details=TIN), Happening(14, now, SESSION_START, details=GOLD)])
        await home.until(lambda: {id_: home.follower.members[id_] for id_ in (1, 2)} == {1: {11, 14}, 2: {11, 12, 13}})
    for _ in range(2):
        async with home.evaluator() as evaluator:
            assert await members(evaluator, 1) == {11, 14}
            assert await members(evaluator, 2) == {11, 12, 13}
            assert await estimated(evaluator, aggregate("FIRST", last_gold)) == 2
            assert await estimated(evaluator, aggregate("MOST_FREQUENT", last_gold)) == 2
