"""Definitions in any order, again, and while the evaluator is down: what is told adds up to what is evaluated."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

import pytest
from muster.definition.v1 import definition_pb2
from muster.definition.v1 import facts_pb2 as definition_facts

from services.chassis.database import DatabaseUnavailable
from services.chassis.dead_letters import DeadLetters
from services.evaluator.rounds import Rounds
from tests.evaluator.conftest import Evaluator, Home, members
from tests.evaluator.world import ACCOUNT, INSTALL, SESSION_START, Happening, criterion, seed_definition
from tests.fakes.clock import ManualClock

HOUR = 3_600_000
SESSION = definition_pb2.Definition(root=criterion(SESSION_START))


def reading(audience_id: int, *, type_: int = INSTALL) -> definition_pb2.Definition:
    """Members of another audience, and whoever has an event."""
    inner = definition_pb2.Node()
    inner.criterion.member_of.audience_id = audience_id
    return definition_pb2.Definition(root=definition_pb2.Node(any=definition_pb2.Group(nodes=[inner, criterion(type_)])))


def _in(home: Home, audience_id: int, mpid: int) -> bool:
    return mpid in home.follower.members[audience_id]


async def agree(home: Home, evaluator: Evaluator, expected: dict[int, set[int]]) -> None:
    """Wait until the follower has these members; the evaluator has them as well."""
    await home.until(lambda: all(home.follower.members[id_] == people for id_, people in expected.items()))
    assert {id_: await members(evaluator, id_) for id_ in expected} == expected


class Gate:
    """Holds the rounds up while it is closed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._open = asyncio.Event()
        self._open.set()
        round_ = Rounds._round

        async def gated(rounds: Rounds) -> None:
            await self._open.wait()
            await round_(rounds)

        monkeypatch.setattr(Rounds, "_round", gated)

    def close(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()


async def test_an_audience_that_ends_and_begins_before_the_first_round_tells_only_the_difference(
    home: Home, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = clock.now_ms()
    await home.world.workspace()
    await home.world.audience(1, seed_definition())
    async with home.evaluator():
        await home.world.events([Happening(mpid, now - mpid * HOUR, INSTALL) for mpid in range(1, 40)])
        await home.until(lambda: home.follower.members[1] == set(range(1, 40)))
        told = len(home.follower.messages)
    gate = Gate(monkeypatch)
    gate.close()
    async with home.evaluator() as evaluator:
        await home.world.audience(1, seed_definition(), active=False)
        await home.until(lambda: 1 in evaluator.rounds._accounts[ACCOUNT].population._waiting)
        await home.world.account(look_back_days=60)
        await home.until(lambda: 1 not in evaluator.rounds._accounts[ACCOUNT].population.audiences)
        shorter = seed_definition()
        shorter.root.all.nodes[0].criterion.event.when.last.count = 24
        await home.world.audience(1, shorter, revision=2)
        await home.until(lambda: 1 in evaluator.rounds._accounts[ACCOUNT].population._waiting)
        gate.open()
        await agree(home, evaluator, {1: set(range(1, 25))})
        changes = [part for message in home.follower.messages[told:] for part in message.partitions]
        assert not any(message.ended for message in home.follower.messages)
        assert (sum(len(part.added) for part in changes), sum(len(part.dropped) for part in changes)) == (0, 15)
    async with home.evaluator() as evaluator:
        await home.world.events([Happening(50, now, INSTALL)])
        await agree(home, evaluator, {1: {*range(1, 25), 50}})


async def test_audiences_whose_newest_states_read_each_other_wait_for_the_one_that_is_still_to_come(home: Home, clock: ManualClock) -> None:
    now = clock.now_ms()
    await home.world.workspace()
    await home.world.audience(1, reading(2))
    await home.world.audience(2, SESSION)
    async with home.evaluator() as evaluator:
        await home.world.events([Happening(11, now, INSTALL), Happening(12, now, SESSION_START), Happening(13, now, 1)])
        await agree(home, evaluator, {1: {11, 12}, 2: {12}})
        # 1 reads 2 no longer, and then 2 reads 1; of the former only the state after it is left, which comes later.
        await home.world.audience(2, reading(1, type_=SESSION_START), revision=2)
        await home.world.events([Happening(14, now, INSTALL)])
        await home.until(lambda: 14 in home.follower.members[1])
    installed = {11, 14, *range(100, 110)}
    async with home.evaluator():
        for mpid in range(100, 110):  # one by one, so that what was told is folded meanwhile
            await home.world.events([Happening(mpid, now, INSTALL)])
            await home.until(partial(_in, home, 1, mpid))
    async with home.evaluator() as evaluator:
        await home.world.audience(1, definition_pb2.Definition(root=criterion(INSTALL)), revision=3)
        await agree(home, evaluator, {1: installed, 2: {12, *installed}})
    async with home.evaluator() as evaluator:
        await home.world.audience(2, SESSION, active=False)
        await agree(home, evaluator, {1: installed, 2: set()})


async def test_an_inner_audience_may_come_later_and_go_again(home: Home, clock: ManualClock) -> None:
    now = clock.now_ms()
    await home.world.audience(2, reading(1))
    await home.world.audience(3, reading(2, type_=1))
    async with home.evaluator() as evaluator:
        await home.world.events([Happening(11, now, INSTALL), Happening(12, now, SESSION_START)])
        await home.world.workspace()
        await agree(home, evaluator, {2: {11}, 3: {11}})
        await home.world.audience(1, SESSION)
        await agree(home, evaluator, {1: {12}, 2: {11, 12}, 3: {11, 12}})
    async with home.evaluator() as evaluator:
        await agree(home, evaluator, {1: {12}, 2: {11, 12}, 3: {11, 12}})
        await home.world.audience(1, SESSION, active=False)
        await agree(home, evaluator, {1: set(), 2: {11}, 3: {11}})
    async with home.evaluator() as evaluator:
        await home.world.audience(1, SESSION)
        await agree(home, evaluator, {1: {12}, 2: {11, 12}, 3: {11, 12}})


async def test_a_fact_that_was_stored_when_the_database_went_away_is_learned_when_it_is_back(
    home: Home, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn, failures = Rounds.learn, 0

    async def failing(rounds: Rounds, facts: Sequence[definition_facts.DefinitionFact]) -> None:
        nonlocal failures
        if any(fact.HasField("audience") for fact in facts) and failures < 3:
            failures += 1
            raise DatabaseUnavailable("The database does not answer.")
        await learn(rounds, facts)

    monkeypatch.setattr(Rounds, "learn", failing)
    async with home.evaluator() as evaluator:
        await home.world.workspace()
        await home.world.audience(1, seed_definition())
        await home.world.events([Happening(11, clock.now_ms(), INSTALL)])
        await agree(home, evaluator, {1: {11}})


async def test_another_look_back_is_followed_also_when_the_database_goes_away_meanwhile(
    home: Home, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = clock.now_ms()
    build, failures = Rounds._build, 1

    async def failing(rounds: Rounds, *args: object) -> None:
        nonlocal failures
        if failures == 0:
            failures = 1
            raise DatabaseUnavailable("The database does not answer.")
        await build(rounds, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Rounds, "_build", failing)
    await home.world.workspace()
    await home.world.audience(1, SESSION)
    async with home.evaluator() as evaluator:
        await home.world.events([Happening(11, now - 40 * 24 * HOUR, SESSION_START), Happening(12, now - 20 * 24 * HOUR, SESSION_START)])
        await agree(home, evaluator, {1: {12}})
        failures = 0
        await home.world.account(look_back_days=60)
        await agree(home, evaluator, {1: {11, 12}})
        await home.world.account(look_back_days=10)
        await agree(home, evaluator, {1: set()})
    async with home.evaluator() as evaluator:
        await home.world.account(look_back_days=30)
        await agree(home, evaluator, {1: {12}})


async def test_a_look_back_that_can_not_be_indexed_is_a_dead_letter(home: Home, clock: ManualClock) -> None:
    await home.world.workspace()
    await home.world.audience(1, seed_definition())
    async with home.evaluator():
        await home.world.account(look_back_days=1000)
        await home.world.events([Happening(11, clock.now_ms(), INSTALL)])
        await home.until(lambda: home.follower.members[1] == {11})
        letters = DeadLetters(home.bus, "evaluator")

        async def one() -> bool:
            return len(await letters.list()) == 1

        await home.until(one)
    async with home.evaluator() as evaluator:
        await agree(home, evaluator, {1: {11}})


async def test_a_new_input_counts_in_audiences_that_read_all_inputs(home: Home, clock: ManualClock) -> None:
    now = clock.now_ms()
    await home.world.workspace()
    await home.world.audience(1, SESSION)
    await home.world.audience(2, reading(1, type_=1))
    async with home.evaluator() as evaluator:
        await home.world.events([Happening(11, now, SESSION_START)])
        await agree(home, evaluator, {1: {11}, 2: {11}})
        await home.world.events([Happening(12, now, SESSION_START)], input_id=999)
        await agree(home, evaluator, {1: {11, 12}, 2: {11, 12}})
        await home.world.input(998)
        await home.world.events([Happening(13, now, SESSION_START)], input_id=998)
        await agree(home, evaluator, {1: {11, 12, 13}, 2: {11, 12, 13}})
    async with home.evaluator() as evaluator:
        await agree(home, evaluator, {1: {11, 12, 13}, 2: {11, 12, 13}})
