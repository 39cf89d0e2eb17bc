"""How many members each variation of an audience's A/B test has."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from muster.definition.v1 import definition_pb2

from services.chassis.variations import CONTROL, variations_of
from tests.evaluator.conftest import Evaluator, Home
from tests.evaluator.world import ACCOUNT, INSTALL, Happening, criterion
from tests.fakes.clock import ManualClock


async def dealt(evaluator: Evaluator) -> dict[str, int]:
    """By the name of the variation."""
    return await evaluator.rounds.ask(ACCOUNT, lambda account: {name: size for _, name, size in account.population.variations(1)})


def expected(members: Iterable[int]) -> dict[str, int]:
    places = variations_of(90, [30, 20], np.array(list(members))).tolist()
    return {"A": places.count(0), "B": places.count(1), "Control": places.count(CONTROL)}


async def test_an_audience_with_a_test_is_counted_by_variation(home: Home, clock: ManualClock) -> None:
    now = clock.now_ms()
    await home.world.workspace()
    await home.world.audience(1, definition_pb2.Definition(root=criterion(INSTALL, hours=72)))
    async with home.evaluator() as evaluator:
        await home.world.events([Happening(mpid, now, INSTALL) for mpid in range(1, 2_001)])
        await home.until(lambda: len(home.follower.members[1]) == 2_000)
        assert await dealt(evaluator) == {}
        await home.world.ab_test(1, {"A": 30, "B": 20})

        async def tested() -> bool:
            return bool(await dealt(evaluator))

        await home.until(tested)
        assert await dealt(evaluator) == expected(range(1, 2_001))
        await home.world.events([Happening(mpid, now, INSTALL) for mpid in range(2_001, 2_101)])
        await home.until(lambda: len(home.follower.members[1]) == 2_100)
        assert await dealt(evaluator) == expected(range(1, 2_101))
    async with home.evaluator() as evaluator:
        assert await dealt(evaluator) == expected(range(1, 2_101))
        await home.world.ab_test(1, {})

        async def over() -> bool:
            return not await dealt(evaluator)

        await home.until(over)
