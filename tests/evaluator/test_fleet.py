"""Several evaluators, real processes: whoever owns a partition, and whatever happens to them, memberships are what they should be."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import grpc
import pytest
from muster.evaluator.v1 import evaluator_service_pb2 as pb

from services.chassis import auth
from services.chassis.bus import Bus
from services.chassis.errors import from_rpc_error
from tests.evaluator.fleet import Fleet, fleet_of
from tests.evaluator.mixed import DEFINITIONS, Past, happenings
from tests.evaluator.world import PARTITIONS, WORKSPACE, seed_definition
from tests.fakes.event_stores import EventStores
from tests.fakes.nats_server import NatsServer


@pytest.fixture
async def fleet(tmp_path: Path, nats_server: NatsServer, postgres_url: str, bus: Bus, event_stores: EventStores) -> AsyncIterator[Fleet]:
    async with fleet_of(tmp_path, nats_server.url, postgres_url, bus, event_stores) as fleet:
        yield fleet


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Told:
    """What was told of people, and who belongs to each audience by that."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.past = Past()

    async def more(self, seed: int, count: int = 300) -> None:
        await self.past.tell(self._fleet.world, happenings(random.Random(seed), now_ms(), count))

    async def is_known_to(self, number: int) -> bool:
        """Whether this evaluator, and whoever follows the facts, knows it all."""
        for audience_id in DEFINITIONS:
            expected = self.past.expected(audience_id, now_ms())
            if self._fleet.follower.members[audience_id] != expected or await self._fleet.members(number, audience_id) != expected:
                return False
        return True


async def founded(fleet: Fleet) -> Told:
    """Audiences of every kind of criterion."""
    await fleet.world.workspace()
    for audience_id, definition in DEFINITIONS.items():
        await fleet.world.audience(audience_id, definition)
    return Told(fleet)


async def test_results_of_an_ab_test_are_of_all_evaluators_and_survive_a_change_of_owners(fleet: Fleet) -> None:
    told = await founded(fleet)
    await fleet.start(0, 1)
    await told.more(1)
    await fleet.until(lambda: told.is_known_to(0))
    await fleet.world.ab_test(1, {"A": 30, "B": 20}, time_ms=now_ms())
    members = told.past.expected(1, now_ms())

    async def participants(number: int) -> list[int]:
        try:
            said = await fleet.call(number, "GetAbTestResult", pb.GetAbTestResultRequest(audience_id=1))
        except grpc.aio.AioRpcError:
            return []
        return [one.participants for one in said.variations]

    async def all_take_part() -> bool:
        return sum(await participants(0)) == len(members)

    assert members
    await fleet.until(all_take_part)
    before = await participants(0)
    assert await participants(1) == before
    await fleet.kill(1)
    await fleet.until(lambda: fleet.owned_by(0) == set(range(PARTITIONS)))

    async def the_same() -> bool:
        return await participants(0) == before

    await fleet.until(the_same)


@pytest.mark.parametrize("evaluators", [1, 2, 4])
async def test_as_many_evaluators_as_one_likes_tell_the_same(fleet: Fleet, evaluators: int) -> None:
    told = await founded(fleet)
    numbers = range(evaluators)
    await fleet.start(*numbers)
    await told.more(1)
    await fleet.until(lambda: [len(fleet.owned_by(number)) for number in numbers] == [PARTITIONS // evaluators] * evaluators)
    for number in numbers:
        await fleet.until(partial(told.is_known_to, number))
    everywhere = told.past.everywhere(now_ms())
    expected, people = everywhere[1], set(told.past.people.known)
    assert all(members and members != people for members in everywhere.values()), "each audience divides them"
    draft = pb.EstimateRequest(definition=seed_definition(), workspace_ids=[WORKSPACE], overlap_audience_id=1)
    for number in numbers:
        statistics = await fleet.call(number, "GetAudienceStatistics", pb.GetAudienceStatisticsRequest(audience_id=1))
        assert (statistics.size, statistics.adds - statistics.drops) == (len(expected), len(expected))
        estimate = await fleet.call(number, "Estimate", draft)
        assert (estimate.size, estimate.overlap, estimate.candidates) == (len(expected), len(expected), len(people))
        for audience_id, members in everywhere.items():
            for mpid in sorted(people)[:2]:
                explanation = await fleet.call(number, "ExplainMembership", pb.ExplainMembershipRequest(audience_id=audience_id, mpid=mpid))
                assert explanation.member == (mpid in members)
        figures = await fleet.call(number, "ListAudienceFigures", pb.ListAudienceFiguresRequest())
        assert dict(zip(figures.audience_ids, figures.sizes, strict=True)) == {id_: len(members) for id_, members in everywhere.items()}
        request = pb.ListAudienceHistoryRequest(audience_id=1, step=pb.HISTORY_STEP_HOUR, to_ms=now_ms() + 60_000)
        history = await fleet.call(number, "ListAudienceHistory", request)
        assert history.points[-1].size == len(expected)
    await fleet.world.audience(1, seed_definition(), active=False)
    await fleet.until(lambda: fleet.follower.members[1] == set())


async def test_one_that_is_killed_and_one_that_is_added_under_load_lose_and_double_nothing(fleet: Fleet) -> None:
    told = await founded(fleet)
    await fleet.start(0, 1)
    stopping = False

    async def load() -> None:
        seed = 100
        while not stopping:
            seed += 1
            await told.more(seed, 20)
            await asyncio.sleep(0.05)

    loading = asyncio.create_task(load())
    await asyncio.sleep(1)
    await fleet.kill(0)
    await asyncio.sleep(0.5)
    await fleet.start(2)
    await asyncio.sleep(1)
    await fleet.start(0)
    await asyncio.sleep(1)
    stopping = True
    await loading
    for number in (0, 1, 2):
        await fleet.until(partial(told.is_known_to, number))


async def test_partitions_that_move_away_and_come_back_are_caught_up_with(fleet: Fleet) -> None:
    told = await founded(fleet)
    await fleet.start(0)
    await told.more(1)
    await fleet.until(partial(told.is_known_to, 0))
    await fleet.until(lambda: "snapshot_written" in fleet.log_of(0))
    await fleet.start(1)
    await fleet.until(lambda: len(fleet.owned_by(0)) == PARTITIONS // 2)
    await told.more(2)
    for number in (0, 1):
        await fleet.until(partial(told.is_known_to, number))
    assert "is another's" in fleet.log_of(0), "a snapshot of all partitions is not used for half of them"
    await fleet.until(lambda: fleet.log_of(0).count("snapshot_written") > 1)
    await fleet.kill(1)
    await told.more(3)
    await fleet.until(lambda: len(fleet.owned_by(0)) == PARTITIONS)
    await fleet.until(partial(told.is_known_to, 0))
    assert "snapshot_used" in fleet.log_of(0), "one of half of the partitions is, and the others are read"


async def test_one_that_stood_still_longer_than_its_lease_commits_nothing(fleet: Fleet) -> None:
    told = await founded(fleet)
    await fleet.start(0)
    await told.more(1)
    await fleet.until(partial(told.is_known_to, 0))
    await told.more(2)
    fleet.pause(0)
    await fleet.start(1)
    await told.more(3)
    await fleet.until(partial(told.is_known_to, 1))
    fleet.resume(0)
    await told.more(4)
    for number in (0, 1):
        await fleet.until(partial(told.is_known_to, number))
    assert not fleet.owned_by(0) & fleet.owned_by(1)


async def test_a_part_of_an_answer_is_for_evaluators_only(fleet: Fleet) -> None:
    told = await founded(fleet)
    await fleet.start(0)
    await told.more(1)
    await fleet.until(partial(told.is_known_to, 0))
    request = pb.ListAudienceStatisticsRequest()
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await fleet.call(0, "ListAudienceStatistics", request, ("muster-partitions", "0"))
    assert from_rpc_error(refusal.value).reason == "NOT_AN_EVALUATOR"
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await fleet.call(0, "ListAudienceStatistics", request, ("muster-partitions", "0"), roles=(auth.SERVICE,))
    assert from_rpc_error(refusal.value).reason == "STARTING", "it owns more than what is asked for"
