"""Costly definitions are taken in piece by piece: rounds go on in between, and what comes of it is exact."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from muster.definition.v1 import definition_pb2
from muster.evaluator.v1 import evaluator_service_pb2 as pb

from services.evaluator import population, preparation
from services.evaluator.engine import sieves
from services.evaluator.engine.compile import Compiled
from services.evaluator.engine.engine import Engine
from services.evaluator.engine.tree import Criterion
from services.evaluator.population import Population
from services.evaluator.rounds import Rounds
from tests.evaluator.conftest import Home, members
from tests.evaluator.serving import serving
from tests.evaluator.test_api import HOUR, database_url
from tests.evaluator.world import ACCOUNT, INSTALL, SESSION_START, WORKSPACE, Happening, criterion
from tests.fakes.clock import ManualClock

__all__ = ["database_url"]

PEOPLE = set(range(1, 21))


def within_any_of(hours: range) -> definition_pb2.Definition:
    """Installed within one of so many windows: each is a criterion of its own. And a filter, which reads the store."""
    filtered = criterion(INSTALL)
    one = filtered.criterion.event.match.where.add(attribute="colour")
    one.test.string.operator, one.test.string.value = definition_pb2.STRING_OPERATOR_EQUALS, "blue"
    nodes = [*(criterion(INSTALL, hours=hour) for hour in hours), filtered]
    return definition_pb2.Definition(root=definition_pb2.Node(any=definition_pb2.Group(nodes=nodes)))


def happenings(now: int) -> list[Happening]:
    """An hour apart; the last person's is blue."""
    return [
        Happening(mpid, now - mpid * HOUR, INSTALL, details='{"attributes":{"colour":"blue"}}' if mpid == 20 else "") for mpid in PEOPLE
    ]


async def test_an_estimate_lets_rounds_run_between_its_pieces(home: Home, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "SLICE_SECONDS", 0)
    asked = 0
    ask, hold = Rounds.ask, Engine.hold

    async def asking(rounds: Rounds, *args: Any, **options: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked == 5:  # in the middle of it somebody comes who counts
            await home.world.events([Happening(21, clock.now_ms() - HOUR, INSTALL)])
            await home.until(lambda: 21 in home.follower.members[1])
        return await ask(rounds, *args, **options)

    computed: list[Criterion] = []

    def computing(engine: Engine, one: Criterion) -> None:
        computed.append(one)
        hold(engine, one)

    monkeypatch.setattr(Engine, "hold", computing)
    async with serving(home) as client:
        await home.world.workspace()
        await home.world.audience(1, definition_pb2.Definition(root=criterion(INSTALL, hours=500)))
        await home.world.events(happenings(clock.now_ms()))
        await home.until(lambda: home.follower.members[1] == PEOPLE)
        monkeypatch.setattr(Rounds, "ask", asking)
        computed.clear()
        request = pb.EstimateRequest(definition=within_any_of(range(1, 9)), workspace_ids=[WORKSPACE])
        estimate = await client.call("Estimate", request)
        assert estimate.size == 8 + 2
        assert len(computed) == 8 + 1 + 1  # the windows, the filter, and who is a candidate
        assert asked >= len(computed)


async def test_what_a_draft_needed_is_let_go_after_its_estimate(home: Home, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "SLICE_SECONDS", 0)
    populations: list[Population] = []
    prepare = Population.prepare

    def preparing(one: Population, compiled: Compiled) -> preparation.Preparation:
        populations.append(one)
        return prepare(one, compiled)

    monkeypatch.setattr(Population, "prepare", preparing)
    async with serving(home) as client:
        await home.world.workspace()
        await home.world.audience(1, definition_pb2.Definition(root=criterion(SESSION_START)))
        await home.world.events([Happening(mpid, clock.now_ms(), SESSION_START) for mpid in PEOPLE])
        await home.until(lambda: home.follower.members[1] == PEOPLE)
        request = pb.EstimateRequest(definition=within_any_of(range(1, 9)), workspace_ids=[WORKSPACE])
        assert (await client.call("Estimate", request)).candidates == len(PEOPLE)
        await home.until(lambda: not populations[-1]._preparations)
        criteria = populations[-1].engine._criteria
        assert len(criteria._slots) == 2  # of the audience: its criterion, and who is a candidate
        assert not criteria._fresh


async def test_an_audience_is_activated_over_several_rounds(home: Home, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    now = clock.now_ms()
    await home.world.workspace()
    await home.world.audience(1, definition_pb2.Definition(root=criterion(INSTALL)))
    turns = 0
    turn = Population.turn

    def counting(*args: Any) -> Any:
        nonlocal turns
        turns += 1
        return turn(*args)

    async with home.evaluator() as evaluator:
        await home.world.events(happenings(now))
        await home.until(lambda: home.follower.members[1] == PEOPLE)
        monkeypatch.setattr(population, "ACTIVATED_SECONDS", 0)
        monkeypatch.setattr(Population, "turn", counting)
        await home.world.audience(2, within_any_of(range(1, 9)))
        await home.world.audience(1, within_any_of(range(3, 6)), revision=2)
        await home.until(lambda: home.follower.members[2] == {*range(1, 9), 20} and home.follower.members[1] == {*range(1, 6), 20})
        assert turns >= 9
        assert await members(evaluator, 2) == home.follower.members[2]
        held = evaluator.rounds._accounts[ACCOUNT].population
        await home.until(lambda: not held._preparations)
        await home.world.audience(2, within_any_of(range(1, 9)), active=False)
        await home.world.audience(1, within_any_of(range(3, 6)), active=False, revision=3)
        await home.until(lambda: not home.follower.members[2] and not home.follower.members[1])
        assert not held.engine._criteria._slots
    async with home.evaluator():
        await home.world.audience(2, within_any_of(range(1, 9)))
        await home.until(lambda: home.follower.members[2] == {*range(1, 9), 20})


async def test_an_audience_that_ends_while_it_is_taken_in_leaves_nothing(
    home: Home, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await home.world.workspace()
    async with home.evaluator() as evaluator:
        await home.world.events(happenings(clock.now_ms()))
        monkeypatch.setattr(population, "ACTIVATED_SECONDS", 0)
        monkeypatch.setattr(preparation.Preparation, "go_on", lambda one, part: False)
        await home.world.audience(1, within_any_of(range(1, 9)))

        def preparing() -> bool:
            account = evaluator.rounds._accounts.get(ACCOUNT)
            return account is not None and 1 in account.population._preparing

        await home.until(preparing)
        await home.world.audience(1, within_any_of(range(1, 9)), active=False)
        await home.until(lambda: not preparing())
        await home.until(lambda: not evaluator.rounds._accounts[ACCOUNT].population._preparations)
        assert not home.follower.members[1]


async def test_two_that_are_prepared_in_turns_do_not_push_out_what_the_other_has_read(
    home: Home, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation, "SLICE_SECONDS", 0)
    monkeypatch.setattr(sieves, "SPARE", 0)
    filled = 0
    fill = Engine.fill

    def filling(engine: Engine, *args: Any) -> None:
        nonlocal filled
        filled += 1
        fill(engine, *args)

    monkeypatch.setattr(Engine, "fill", filling)

    def coloured(*colours: str) -> definition_pb2.Definition:
        nodes = [criterion(INSTALL) for _ in colours]
        for node, colour in zip(nodes, colours, strict=True):
            one = node.criterion.event.match.where.add(attribute=f"{colour} or not")  # each is read for itself
            one.test.string.operator, one.test.string.value = definition_pb2.STRING_OPERATOR_EQUALS, colour
        return definition_pb2.Definition(root=definition_pb2.Node(any=definition_pb2.Group(nodes=nodes)))

    async with serving(home) as client:
        await home.world.workspace()
        await home.world.audience(1, definition_pb2.Definition(root=criterion(INSTALL)))
        await home.world.events(happenings(clock.now_ms()))
        await home.until(lambda: home.follower.members[1] == PEOPLE)
        drafts = [coloured("red", "green", "blue"), coloured("black", "white", "grey")]
        requests = [pb.EstimateRequest(definition=draft, workspace_ids=[WORKSPACE]) for draft in drafts]
        await asyncio.gather(*(client.call("Estimate", request) for request in requests))
        assert filled == 6
