"""What time changes while no evaluator runs is told when one starts, whatever kind of criterion it is; a restart changes nothing else."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from services.evaluator.engine.facts import Property, Value
from services.evaluator.profiles import KEPT
from services.evaluator.rounds import Account
from tests.evaluator.conftest import Evaluator, Home, members
from tests.evaluator.mixed import COMMERCE, DEFINITIONS, HOUR, PEOPLE, Past, happenings
from tests.evaluator.world import ACCOUNT, INPUT, INSTALL, SESSION_START, WORKSPACE
from tests.fakes.clock import ManualClock
from tests.model import facts

ANNA, BEN, CARL = 11, 12, 13
BERLIN, MUNICH = {"latitude": 52.5, "longitude": 13.4}, {"latitude": 48.1, "longitude": 11.6}


class Told(NamedTuple):
    """A fact about a person, so many hours from now."""

    mpid: int
    hours: float
    fact: facts.Event | facts.Change


def session(**details: object) -> facts.Event:
    return facts.Event(INPUT, SESSION_START, "", 0, details)


def scored(score: int) -> facts.Event:
    return session(attributes={"score": score})


def paid(name: str, amount: int) -> facts.Event:
    return facts.Event(INPUT, COMMERCE, name, 0, {"total_amount": amount})


def renewal(at: str) -> facts.Change:
    return facts.AttributeChange(WORKSPACE, "renewal", at, 0)


HERE = facts.Here(WORKSPACE, 0)
INSTALLED = facts.Event(INPUT, INSTALL, "", 0)
# What is asked (tests/evaluator/mixed.py), what was told at noon, who is in then, and ten hours later.
WHILE_IT_IS_DOWN: dict[str, tuple[int, Sequence[Told], set[int], set[int]]] = {
    "a sum falls as its window moves": (
        4,
        [Told(ANNA, -71, scored(5)), Told(ANNA, -1, scored(1)), Told(BEN, -1, scored(6))],
        {ANNA, BEN},
        {BEN},
    ),
    "a sum grows by what was told of the future": (
        4,
        [Told(ANNA, -1, scored(5)), Told(ANNA, 3, scored(1)), Told(BEN, 11, scored(9))],
        set(),
        {ANNA},
    ),
    "a last value comes": (
        5,
        [
            Told(ANNA, -1, session(attributes={"level": "gold"})),
            Told(ANNA, 1, session(attributes={"level": "tin"})),
            Told(BEN, 2, session(attributes={"level": "gold"})),
        ],
        {ANNA},
        {BEN},
    ),
    "a filter's date moves": (
        3,
        [
            Told(ANNA, -1, session(attributes={"due": "2026-01-13T13:00:00Z"})),
            Told(BEN, -1, session(attributes={"due": "2026-01-15T13:00:00Z"})),
        ],
        {ANNA},
        {BEN},
    ),
    "an attribute's date moves": (
        10,
        [Told(ANNA, -1, renewal("2026-01-13T13:00:00Z")), Told(BEN, -1, renewal("2026-01-15T13:00:00Z"))],
        {ANNA},
        {BEN},
    ),
    "first seen leaves": (
        12,
        [Told(ANNA, -63, HERE), Told(BEN, -61, session()), Told(CARL, 1, HERE), Told(CARL, -80, session())],
        {ANNA, BEN},
        {BEN},
    ),
    "last seen enters and leaves": (
        13,
        [Told(ANNA, -63, session()), Told(BEN, -3, HERE), Told(CARL, -13, HERE), Told(CARL, 1, session())],
        {ANNA, CARL},
        {BEN},
    ),
    "a payment of the future comes": (
        15,
        [
            Told(ANNA, -1, paid("purchase", 20)),
            Told(ANNA, 1, paid("purchase", 1)),
            Told(BEN, -1, paid("purchase", 21)),
            Told(BEN, 2, paid("refund", 5)),
        ],
        {BEN},
        {ANNA},
    ),
    "a place of the future comes": (
        14,
        [
            Told(ANNA, -1, session(location=MUNICH)),
            Told(ANNA, 1, session(location=BERLIN)),
            Told(BEN, -1, session(location=BERLIN)),
            Told(BEN, 2, session(location=MUNICH)),
        ],
        {BEN},
        {ANNA},
    ),
    "nothing followed in time": (
        8,
        [Told(ANNA, -1, INSTALLED), Told(BEN, -1, INSTALLED), Told(BEN, 1, session(attributes={"level": "gold"}))],
        set(),
        {ANNA},
    ),
    "an audience follows the one that it names": (
        20,
        [
            Told(ANNA, -71, scored(5)),
            Told(ANNA, -1, scored(1)),
            Told(BEN, -1, scored(6)),
            Told(CARL, -47, session(attributes={"level": "gold", "score": 6})),
        ],
        {ANNA, BEN},
        {BEN, CARL},
    ),
}


async def test_what_time_changed_while_nobody_counted_is_told_at_the_start(home: Home, clock: ManualClock) -> None:
    past, now = Past(), clock.now_ms()
    await home.world.workspace()
    for audience_id, definition in DEFINITIONS.items():
        await home.world.audience(audience_id, definition)
    # People of their own for each change, and all changes in one time.
    of_change = {change: 100 * place for place, change in enumerate(WHILE_IT_IS_DOWN)}

    async def found(evaluator: Evaluator) -> dict[str, set[int]]:
        """Who is in, of each change; the evaluator says so itself, and what it told adds up to the same."""
        await home.until(lambda: is_told(home, past, clock.now_ms()))
        people = {}
        for change, first in of_change.items():
            audience = WHILE_IT_IS_DOWN[change][0]
            own = {first + person: person for person in (ANNA, BEN, CARL)}
            assert await members(evaluator, audience) == home.follower.members[audience]
            people[change] = {own[mpid] for mpid in own.keys() & home.follower.members[audience]}
        return people

    async with home.evaluator() as evaluator:
        for change, first in of_change.items():
            told = WHILE_IT_IS_DOWN[change][1]
            await past.tell(home.world, [(first + person, fact._replace(time_ms=now + round(at * HOUR))) for person, at, fact in told])
        assert await found(evaluator) == {change: before for change, (_, _, before, _) in WHILE_IT_IS_DOWN.items()}
    await clock.advance(10 * 3600)
    async with home.evaluator() as evaluator:
        assert await found(evaluator) == {change: after for change, (_, _, _, after) in WHILE_IT_IS_DOWN.items()}


async def test_of_what_is_kept_only_while_it_is_asked_for_a_restart_finds_the_same(home: Home, clock: ManualClock) -> None:
    past, now = Past(), clock.now_ms()
    await home.world.workspace()
    async with home.evaluator() as evaluator:
        for audience_id, definition in DEFINITIONS.items():
            await home.world.audience(audience_id, definition)
        for seed in (1, 2):
            await past.tell(home.world, happenings(random.Random(seed), now, 150))
            await home.until(lambda: is_told(home, past, now))
        before = await evaluator.rounds.ask(ACCOUNT, held)
    assert {property_.kind for _, property_, _ in before[0]} == KEPT
    async with home.evaluator() as evaluator:
        assert await evaluator.rounds.ask(ACCOUNT, held) == before
        assert [message.ended for message in home.follower.messages if message.ended] == []
        assert is_told(home, past, now)
    await clock.advance(3 * 3600)
    async with home.evaluator() as evaluator:
        await home.until(lambda: is_told(home, past, clock.now_ms()))
        assert await is_true(evaluator, past, clock.now_ms())


def is_told(home: Home, past: Past, now_ms: int) -> bool:
    """Whether the members of each audience, as its changes add up, are those of the reference."""
    return all(home.follower.members[audience_id] == expected for audience_id, expected in past.everywhere(now_ms).items())


async def is_true(evaluator: Evaluator, past: Past, now_ms: int) -> bool:
    """Whether the evaluator itself says so."""
    return all([await members(evaluator, audience_id) == expected for audience_id, expected in past.everywhere(now_ms).items()])


Values = dict[tuple[int, Property, int], Value | None]


def held(account: Account) -> tuple[Values, dict[tuple[int, int], tuple[bool, int | None]]]:
    """Each kept value of each person, and when each membership changes by time alone."""
    population = account.population
    of_people = dict(zip(PEOPLE, population.people.find(np.array(PEOPLE, np.int64)).tolist(), strict=True))
    values = {
        (workspace, property_, mpid): population.engine.value_of(workspace, property_, ordinal)
        for workspace, property_ in population.engine.held()
        if property_.kind in KEPT
        for mpid, ordinal in of_people.items()
        if ordinal >= 0
    }
    # Audiences that ask for them, in mixed.py.
    explained = {(audience_id, mpid): population.explain(audience_id, mpid) for audience_id in range(11, 16) for mpid in PEOPLE[:4]}
    changes = {key: (one.member, one.next_change_ms) for key, one in explained.items() if one is not None}
    return values, changes
