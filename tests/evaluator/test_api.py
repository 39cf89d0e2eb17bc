"""The evaluator's gRPC methods, over a real server."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from muster.definition.v1 import definition_pb2
from muster.evaluator.v1 import evaluator_service_pb2 as pb
from muster.ingest.v1 import facts_pb2, identity_pb2

from services.evaluator.rounds import Rounds
from tests.evaluator.conftest import Home
from tests.evaluator.serving import failure, serving
from tests.evaluator.world import INSTALL, SESSION_START, WORKSPACE, Happening, criterion, seed_definition
from tests.fakes.clock import ManualClock

HOUR = 3_600_000


async def populated(home: Home, clock: ManualClock) -> None:
    """Twenty people, installed 1 to 20 hours ago; number 5 has three sessions."""
    now = clock.now_ms()
    await home.world.workspace()
    await home.world.audience(1, seed_definition())
    await home.world.events([Happening(mpid, now - mpid * HOUR, INSTALL) for mpid in range(1, 21)])
    await home.world.events([Happening(5, now, SESSION_START)] * 3)
    await home.until(lambda: len(home.follower.members[1]) == 19)


@pytest.fixture
def database_url(tmp_path: Any) -> str:
    """The API does not know the database: one kind is enough."""
    return f"sqlite+aiosqlite:///{tmp_path / 'test.db'}"


async def test_statistics_tell_size_adds_drops_and_volatility(home: Home, clock: ManualClock) -> None:
    async with serving(home) as client:
        await populated(home, clock)
        await home.world.events([Happening(6, clock.now_ms(), SESSION_START)] * 3)
        await home.until(lambda: len(home.follower.members[1]) == 18)
        statistics = await client.call("GetAudienceStatistics", pb.GetAudienceStatisticsRequest(audience_id=1))
        assert (statistics.state, statistics.size, statistics.revision) == (pb.POPULATION_STATE_LIVE, 18, 1)
        assert statistics.adds - statistics.drops == 18
        assert statistics.volatility == (statistics.adds + statistics.drops) / 18
        assert statistics.moment.as_of_ms == clock.now_ms()
        assert statistics.moment.pending_messages == 0


async def test_figures_of_many_audiences_come_by_column(home: Home, clock: ManualClock) -> None:
    async with serving(home) as client:
        await populated(home, clock)
        await home.world.audience(2, seed_definition(), active=False)
        said = await client.call("ListAudienceFigures", pb.ListAudienceFiguresRequest())
        one = await client.call("GetAudienceStatistics", pb.GetAudienceStatisticsRequest(audience_id=1))
        assert list(said.audience_ids) == [1], "those that are evaluated"
        assert (said.sizes[0], said.adds[0], said.drops[0]) == (one.size, one.adds, one.drops)
        assert said.moment.as_of_ms == clock.now_ms()
        assert not (await client.call("ListAudienceFigures", pb.ListAudienceFiguresRequest(audience_ids=[2, 3]))).audience_ids
        assert not (await client.call("ListAudienceFigures", pb.ListAudienceFiguresRequest(), account_id=8)).audience_ids


async def test_statistics_tell_what_the_audience_costs(home: Home, clock: ManualClock) -> None:
    async with serving(home) as client:
        await populated(home, clock)

        async def costs() -> bool:
            await clock.advance(60)
            statistics = await client.call("GetAudienceStatistics", pb.GetAudienceStatisticsRequest(audience_id=1))
            cost = statistics.cost
            return bool(cost.looked_at >= 20 and 0 < cost.seconds <= cost.seconds_of_all)

        await home.until(costs)


async def test_members_come_with_the_rounds_to_follow_from(home: Home, clock: ManualClock) -> None:
    async with serving(home) as client:
        await populated(home, clock)
        parts = [part async for part in client.call("ListMembers", pb.ListMembersRequest(audience_id=1))]
        assert {mpid for part in parts for mpid in part.mpids} == set(range(1, 21)) - {5}
        header = parts[0].header
        assert header.size == 19
        rounds = {position.partition: position.round for position in header.rounds}
        assert all(rounds[partition] >= round_ for (_, partition), round_ in home.follower.rounds.items())


async def test_an_estimate_is_the_size_that_the_audience_would_have(home: Home, clock: ManualClock) -> None:
    async with serving(home) as client:
        await populated(home, clock)
        definition = definition_pb2.Definition(
            root=definition_pb2.Node(
                id="both",
                all=definition_pb2.Group(nodes=[criterion(INSTALL, hours=10), criterion(SESSION_START, fewer_than=3)]),
            )
        )
        definition.root.all.nodes[0].id, definition.root.all.nodes[1].id = "installed", "few sessions"
        estimate = await client.call("Estimate", pb.EstimateRequest(definition=definition, workspace_ids=[WORKSPACE]))
        assert (estimate.size, estimate.candidates) == (9, 20)
        assert {node.node_id: node.size for node in estimate.nodes} == {"both": 9, "installed": 10, "few sessions": 19}


async def test_another_account_sees_nothing(home: Home, clock: ManualClock) -> None:
    async with serving(home) as client:
        await populated(home, clock)
        other = 8
        fault = await failure(client.call("GetAudienceStatistics", pb.GetAudienceStatisticsRequest(audience_id=1), other))
        assert (fault.code, fault.reason) == (grpc.StatusCode.NOT_FOUND, "AUDIENCE_NOT_FOUND")
        estimate = pb.EstimateRequest(definition=seed_definition(), workspace_ids=[WORKSPACE])
        fault = await failure(client.call("Estimate", estimate, other))
        assert [violation.reason for violation in fault.violations] == ["UNKNOWN_WORKSPACE"]
        listed = await client.call("ListAudienceStatistics", pb.ListAudienceStatisticsRequest(), other)
        assert not listed.statistics
        with pytest.raises(grpc.aio.AioRpcError) as error:
            [part async for part in client.call("ListMembers", pb.ListMembersRequest(audience_id=1), other)]
        assert error.value.code() == grpc.StatusCode.NOT_FOUND


async def test_what_this_version_does_not_evaluate_is_told_with_its_place(home: Home, clock: ManualClock) -> None:
    async with serving(home) as client:
        await populated(home, clock)
        definition = seed_definition()
        definition.root.all.nodes.add(id="ltv").criterion.lifetime_value.test.value = "3"
        fault = await failure(client.call("Estimate", pb.EstimateRequest(definition=definition, workspace_ids=[WORKSPACE])))
        assert fault.code == grpc.StatusCode.INVALID_ARGUMENT
        assert [violation.reason for violation in fault.violations] == ["NOT_EVALUATED_YET"]
        assert fault.violations[0].field == "definition.root.all.nodes[2]"
        definition.root.all.nodes[2].any.SetInParent()
        fault = await failure(client.call("Estimate", pb.EstimateRequest(definition=definition, workspace_ids=[WORKSPACE])))
        assert [(violation.field, violation.reason) for violation in fault.violations] == [("definition.root.all.nodes[2]", "MALFORMED")]


async def test_an_inactive_audience_has_no_population(home: Home, clock: ManualClock) -> None:
    async with serving(home) as client:
        await populated(home, clock)
        await home.world.audience(1, seed_definition(), active=False)
        await home.until(lambda: home.follower.messages[-1].ended)
        statistics = await client.call("GetAudienceStatistics", pb.GetAudienceStatisticsRequest(audience_id=1))
        assert (statistics.state, statistics.size) == (pb.POPULATION_STATE_NONE, 0)
        assert not statistics.HasField("volatility")


async def test_an_estimate_tells_what_it_shares_with_an_audience(home: Home, clock: ManualClock) -> None:
    async with serving(home) as client:
        await populated(home, clock)
        definition = definition_pb2.Definition(root=criterion(INSTALL, hours=10))
        request = pb.EstimateRequest(definition=definition, workspace_ids=[WORKSPACE], overlap_audience_id=1)
        estimate = await client.call("Estimate", request)
        assert (estimate.size, estimate.overlap) == (10, 9), "number 5 is in the estimate and not in the audience"
        request.overlap_audience_id = 99
        fault = await failure(client.call("Estimate", request))
        assert [violation.reason for violation in fault.violations] == ["UNKNOWN_AUDIENCE"]


async def test_the_history_of_an_audience_comes_by_hour(home: Home, clock: ManualClock) -> None:
    async with serving(home) as client:
        await populated(home, clock)
        start = clock.now_ms()
        await clock.advance(2 * 3600)
        await home.world.events([Happening(7, clock.now_ms(), SESSION_START)] * 3)
        await home.until(lambda: len(home.follower.members[1]) == 18)
        request = pb.ListAudienceHistoryRequest(audience_id=1, from_ms=start, to_ms=start + 4 * HOUR, step=pb.HISTORY_STEP_HOUR)
        points = (await client.call("ListAudienceHistory", request)).points
        assert [(point.time_ms, point.size) for point in points] == [(start + n * HOUR, size) for n, size in enumerate([19, 19, 18, 18])]
        assert points[0].adds - points[0].drops == 19
        assert [(point.adds, point.drops) for point in points[1:]] == [(0, 0), (0, 1), (0, 0)]
        assert [point.volatility for point in points[1:]] == [0, 1 / 18, 0]
        day = 24 * HOUR
        noon = start - start % day + 12 * HOUR
        by_day = pb.ListAudienceHistoryRequest(audience_id=1, from_ms=noon - day, to_ms=noon + day, step=pb.HISTORY_STEP_DAY)
        days = (await client.call("ListAudienceHistory", by_day)).points
        assert [(point.time_ms, point.size) for point in days] == [(start - start % day + n * day, 18 * (n >= 0)) for n in (-1, 0, 1)]
        assert not days[0].HasField("volatility"), "nobody was in it"
        assert (days[1].adds - days[1].drops, days[1].volatility) == (18, (days[1].adds + days[1].drops) / 18)
        request.to_ms = start
        assert (await failure(client.call("ListAudienceHistory", request))).code == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_watcher_hears_of_sizes_as_they_change(home: Home, clock: ManualClock) -> None:
    async with serving(home) as client:
        await populated(home, clock)
        stream = client.call("WatchAudiences", pb.WatchAudiencesRequest(audience_ids=[1]))
        assert [one.size for one in (await stream.read()).statistics] == [19]
        await home.world.events([Happening(8, clock.now_ms(), SESSION_START)] * 3)
        async with asyncio.timeout(10):
            while [one.size for one in (await stream.read()).statistics] != [18]:
                pass
        stream.cancel()
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await client.call("WatchAudiences", pb.WatchAudiencesRequest(audience_ids=[99])).read()
        assert error.value.code() == grpc.StatusCode.NOT_FOUND


async def test_a_person_is_explained_with_what_was_found_and_when_it_changes_by_time(home: Home, clock: ManualClock) -> None:
    definition = seed_definition()
    definition.root.id = "both"
    definition.root.all.nodes[0].id, definition.root.all.nodes[1].id = "installed", "few sessions"
    async with serving(home) as client:
        await populated(home, clock)
        await home.world.audience(1, definition, revision=2)
        request = pb.GetAudienceStatisticsRequest(audience_id=1)

        async def taken_in() -> bool:
            return bool((await client.call("GetAudienceStatistics", request)).revision == 2)

        await home.until(taken_in)
        now = clock.now_ms()
        inside = await client.call("ExplainMembership", pb.ExplainMembershipRequest(audience_id=1, mpid=4))
        assert inside.member
        assert inside.next_change_ms == now - 4 * HOUR + 72 * HOUR + 1
        assert [(node.node_id, node.holds, node.value, node.bound) for node in inside.nodes] == [
            ("both", True, "", "every part holds"),
            ("installed", True, "1", "1 or more in the last 72 hours"),
            ("few sessions", True, "0", "fewer than 3 in the last 30 days"),
        ]
        assert inside.since_ms == now - 4 * HOUR
        assert inside.summary == (
            "In the audience since 2026-01-15 08:00 UTC. "
            "Leaves on 2026-01-18 08:00 UTC by time alone, when the install of 2026-01-15 08:00 UTC leaves the window."
        )
        outside = await client.call("ExplainMembership", pb.ExplainMembershipRequest(audience_id=1, mpid=5))
        assert not outside.member
        assert outside.summary.startswith("Not in the audience")
        assert ": 3 sessions in the last 30 days, and it must be fewer than 3." in outside.summary
        (near,) = outside.near_misses
        assert (near.node_id, near.missing.partition(";")[0]) == ("few sessions", "1 session too many")
        fault = await failure(client.call("ExplainMembership", pb.ExplainMembershipRequest(audience_id=1, mpid=999)))
        assert (fault.code, fault.reason) == (grpc.StatusCode.NOT_FOUND, "PROFILE_NOT_FOUND")


async def test_since_when_is_told_from_what_the_store_keeps_of_the_past(home: Home, clock: ManualClock) -> None:
    now = clock.now_ms()
    plan = definition_pb2.UserAttributeCriterion(attribute="plan")
    plan.test.string.operator, plan.test.string.value = definition_pb2.STRING_OPERATOR_EQUALS, "pro"
    await home.world.workspace()
    root = definition_pb2.Node(criterion=definition_pb2.Criterion(user_attribute=plan))
    await home.world.audience(1, definition_pb2.Definition(root=root))
    await home.world.audience(2, definition_pb2.Definition(root=criterion(SESSION_START)))
    async with home.evaluator():
        await home.world.events([Happening(5, now - day * 24 * HOUR, SESSION_START) for day in (1, 20, 45)])
        await home.world.events([Happening(6, now - day * 24 * HOUR, SESSION_START) for day in (1, 20, 55)])
        await home.world.attributes(5, {"plan": "free"}, now - 500 * 24 * HOUR)
        await home.world.attributes(5, {"plan": "pro"}, now - 400 * 24 * HOUR)
        await home.world.attributes(5, {"plan": "Pro"}, now - HOUR)
        await home.until(lambda: home.follower.members[1] == {5} and home.follower.members[2] == {5, 6})
    async with serving(home) as client:

        async def since(audience: int, mpid: int) -> int:
            answer = await client.call("ExplainMembership", pb.ExplainMembershipRequest(audience_id=audience, mpid=mpid))
            assert answer.member
            return int(answer.since_ms)

        assert await since(1, 5) == now - 400 * 24 * HOUR
        assert await since(2, 5) == 0, "for the whole look-back there was a session in the 30 days before"
        assert await since(2, 6) == now - 20 * 24 * HOUR, "from 25 to 20 days ago there was none"


async def test_how_far_an_answer_is_behind_is_the_age_of_the_oldest_that_waits(
    home: Home, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = pb.GetAudienceStatisticsRequest(audience_id=1)
    async with serving(home) as client:
        await populated(home, clock)
        moment = (await client.call("GetAudienceStatistics", request)).moment
        assert (moment.pending_messages, moment.lag_ms) == (0, 0)
    await clock.advance(3_600)
    received = clock.now_ms()
    await home.world.events([Happening(30, received, INSTALL)])
    await clock.advance(5)
    await home.world.events([Happening(31, received, INSTALL)])
    await clock.advance(2)
    held = asyncio.Event()
    counted = Rounds._round

    async def waits(rounds: Rounds) -> None:
        await held.wait()
        await counted(rounds)

    monkeypatch.setattr(Rounds, "_round", waits)
    async with serving(home) as client:
        moment = (await client.call("GetAudienceStatistics", request)).moment
        assert (moment.pending_messages, moment.lag_ms) == (2, 7_000), "what the stream holds when it begins"
        await home.world.events([Happening(32, clock.now_ms(), INSTALL)])
        held.set()
        await home.until(lambda: len(home.follower.members[1]) == 22)
        moment = (await client.call("GetAudienceStatistics", request)).moment
        assert (moment.pending_messages, moment.lag_ms) == (0, 0)


async def test_all_that_is_kept_of_a_person_comes_in_pages(home: Home, clock: ManualClock) -> None:
    async with serving(home) as client:
        await populated(home, clock)
        for number in range(5):
            await home.world.attributes(5, {"colour": None if number == 3 else f"red {number}"}, clock.now_ms() + number)
        email = identity_pb2.Identity(type=identity_pb2.IDENTITY_TYPE_EMAIL, value="a@x.y")
        for told in ({"added_identities": [email]}, {"removed_identities": [email]}):
            await home.world.profiles([facts_pb2.ProfileChange(mpid=5, workspace_id=WORKSPACE, time_ms=clock.now_ms(), **told)])  # type: ignore[arg-type]

        async def whole(size: int) -> tuple[list[Any], list[tuple[Any, int]], list[int], int]:
            changes: list[Any] = []
            events: list[tuple[Any, int]] = []
            audiences: list[int] = []
            pages, token = 0, ""
            while True:
                page = await client.call("ExportPerson", pb.ExportPersonRequest(mpid=5, page_size=size, page_token=token))
                changes += list(page.changes)
                kinds = page.events.kinds
                events += [(kinds[kind].type, time) for kind, time in zip(page.events.kind_indexes, page.events.times_ms, strict=True)]
                audiences += page.audience_ids
                pages += 1
                token = page.next_page_token
                if not token:
                    return changes, events, audiences, pages

        async def complete() -> bool:
            return len((await whole(0))[0]) == 7

        await home.until(complete)
        changes, events, audiences, pages = await whole(0)
        assert [dict(change.set_attributes)["colour"].string_value for change in changes if change.set_attributes] == [
            "red 0",
            "red 1",
            "red 2",
            "red 4",
        ]
        assert [list(change.removed_attributes) for change in changes][3] == ["colour"]
        assert [bool(change.added_identities) for change in changes][-2:] == [True, False]
        assert list(changes[-1].removed_identities) == [email]
        assert sorted(kind for kind, _ in events) == sorted([INSTALL, *[SESSION_START] * 3])
        assert (audiences, pages) == ([], 2)
        small = await whole(2)
        assert (small[:3], small[3]) == ((changes, events, audiences), 4 + 3)
        assert (await client.call("ExportPerson", pb.ExportPersonRequest(mpid=4))).audience_ids == [1]
        assert not (await client.call("ExportPerson", pb.ExportPersonRequest(mpid=999))).changes
        fault = await failure(client.call("ExportPerson", pb.ExportPersonRequest(mpid=5, page_token="events 1; 2")))
        assert (fault.code, fault.violations[0].reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN")
        # Another account has nobody.
        assert not (await client.call("ExportPerson", pb.ExportPersonRequest(mpid=5), account_id=99)).changes
