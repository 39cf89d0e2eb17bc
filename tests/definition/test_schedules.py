"""Audiences that are archived, and what becomes of audiences by themselves."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from muster.definition.v1 import audience_pb2
from muster.definition.v1 import definition_service_pb2 as pb

from services.chassis.audit import Audit, Verifier
from services.chassis.bus import Bus
from services.chassis.database import Database
from services.chassis.migrations import migrate
from services.chassis.outbox import Outbox, Relay
from services.definition import tables
from services.definition.app import MIGRATIONS
from services.definition.domain.accounts import Account, Workspace
from services.definition.domain.audiences import Edit, draft
from services.definition.domain.lifecycle import Move
from services.definition.domain.schedules import NO_SCHEDULE, Schedule, failed, judge_schedule, without
from services.definition.schedules import Schedules
from services.definition.store import Store
from tests.definition.builders import seed
from tests.definition.conftest import Home, Service, refused
from tests.fakes.clock import ManualClock
from tests.fakes.waiting import eventually

ACTIVE, INACTIVE, DRAFT = audience_pb2.AUDIENCE_STATE_ACTIVE, audience_pb2.AUDIENCE_STATE_INACTIVE, audience_pb2.AUDIENCE_STATE_DRAFT
HOUR = 3_600_000


async def schedule(home: Home, audience: audience_pb2.Audience, activate: int = 0, deactivate: int = 0) -> audience_pb2.Audience:
    told = audience_pb2.Schedule(activate_time_ms=activate, deactivate_time_ms=deactivate)
    request = pb.ScheduleAudienceRequest(audience_id=audience.audience_id, schedule=told, etag=audience.etag)
    changed: audience_pb2.Audience = await home.audiences.ScheduleAudience(request)
    return changed


async def get(home: Home, audience: audience_pb2.Audience) -> audience_pb2.Audience:
    found: audience_pb2.Audience = await home.audiences.GetAudience(pb.GetAudienceRequest(audience_id=audience.audience_id))
    return found


async def becomes(home: Home, audience: audience_pb2.Audience, state: int) -> audience_pb2.Audience:
    async def so() -> bool:
        return (await get(home, audience)).state == state

    await eventually(so)
    return await get(home, audience)


async def archive(home: Home, audience: audience_pb2.Audience) -> audience_pb2.Audience:
    changed: audience_pb2.Audience = await home.audiences.ArchiveAudience(pb.ArchiveAudienceRequest(audience_id=audience.audience_id))
    return changed


async def test_an_audience_is_activated_and_ended_at_the_instants_of_its_schedule(service: Service, home: Home) -> None:
    start = service.clock.now_ms()
    audience = await schedule(home, await home.audience(), start + HOUR, start + 2 * HOUR)
    assert (audience.schedule.activate_time_ms, audience.schedule.set_by, audience.state) == (start + HOUR, "ann", DRAFT)
    await service.clock.advance(3_599)
    assert (await get(home, audience)).state == DRAFT
    await service.clock.advance(2)
    active = await becomes(home, audience, ACTIVE)
    assert (active.schedule.activate_time_ms, active.schedule.deactivate_time_ms) == (0, start + 2 * HOUR)
    assert active.updated_by == "ann"
    await service.clock.advance(3_600)
    ended = await becomes(home, audience, INACTIVE)
    assert not ended.HasField("schedule")


async def test_what_both_came_due_meanwhile_is_done_in_its_order(service: Service, home: Home) -> None:
    start = service.clock.now_ms()
    audience = await schedule(home, await home.audience(), start + 10, start + 20)
    await service.clock.advance(60)
    ended = await becomes(home, audience, INACTIVE)
    assert not ended.HasField("schedule")
    assert ended.revision == 1


async def test_of_several_processes_that_look_at_once_each_thing_is_done_by_one(database: Database) -> None:
    await migrate(database, MIGRATIONS)
    audit, clock = Audit("test", tables.audit_heads, tables.audit_entries), ManualClock()
    store = Store(database, Outbox(tables.outbox), audit)
    async with store.transaction(0, now_ms=1) as tx:
        tx.actor = "ann"
        account_id = (await tx.add_account(Account(name="Acme", look_back_days=30, create_time_ms=1))).account_id
        workspace = await tx.add_workspace(Workspace(account_id=account_id, name="Shop", create_time_ms=1))
        for number in range(20):
            wanted = Edit(name=f"a{number}", workspace_ids=(workspace.workspace_id,), definition=seed())
            audience = draft(wanted, account_id=account_id, author="ann", now_ms=1)
            await tx.add_audience(replace(audience, schedule=Schedule(activate_time_ms=5, set_by="ann")))
    relay = Relay(database, tables.outbox, Bus("nats://127.0.0.1:1", name="test"))
    processes = [asyncio.create_task(Schedules(store, relay, clock).run()) for _ in range(3)]

    async def done() -> bool:
        async with store.read(account_id) as scope:
            return len(await scope.active_audiences()) == 20

    await eventually(done)
    for process in processes:
        process.cancel()
    await asyncio.wait(processes)
    async with store.read(account_id) as scope:
        assert {audience.version for audience in await scope.active_audiences()} == {2}
    verifier = Verifier()
    async for page in audit.chain(database, account_id, after=0):
        assert all(verifier.take(one.entry, one.hash) for one in page), verifier.fault
    assert verifier.number == 2 + 2 * 20


async def test_a_person_who_is_faster_leaves_nothing_to_be_done(service: Service, home: Home) -> None:
    start = service.clock.now_ms()
    audience = await schedule(home, await home.audience(), start + HOUR)
    active = await home.activate(audience)
    assert not active.HasField("schedule")
    again = await schedule(home, active, 0, start + HOUR)
    taken = await schedule(home, again)
    assert not taken.HasField("schedule")
    await service.clock.advance(2 * 3_600)
    assert (await get(home, audience)).state == ACTIVE


async def test_what_cannot_be_done_is_told_on_the_audience(service: Service, home: Home) -> None:
    audience = await home.audience()
    await schedule(home, audience, 0, service.clock.now_ms() + 10)
    await service.clock.advance(60)

    async def told() -> bool:
        return "draft" in (await get(home, audience)).schedule.fault

    await eventually(told)
    found = await get(home, audience)
    assert (found.state, found.schedule.deactivate_time_ms) == (DRAFT, 0)
    start = service.clock.now_ms()
    assert not (await schedule(home, found, start + 10)).schedule.fault


async def test_faults_of_a_schedule_are_told_with_their_places(service: Service, home: Home) -> None:
    audience, now = await home.audience(), service.clock.now_ms()
    failure = await refused(schedule(home, audience, now, now - 1))
    assert failure.reason == "INVALID_SCHEDULE"
    assert [(one.field, one.reason) for one in failure.violations] == [
        ("activate_time_ms", "IN_THE_PAST"),
        ("deactivate_time_ms", "IN_THE_PAST"),
        ("deactivate_time_ms", "BOUNDS_REVERSED"),
    ]
    failure = await refused(home.audiences.ScheduleAudience(pb.ScheduleAudienceRequest(audience_id=audience.audience_id, etag="v7")))
    assert (failure.code, failure.reason) == (grpc.StatusCode.ABORTED, "STALE_ETAG")


async def test_an_archived_audience_is_out_of_the_way_until_it_is_taken_back(service: Service, home: Home) -> None:
    audience = await home.activate(await home.audience())
    failure = await refused(archive(home, audience))
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "AUDIENCE_IS_ACTIVE")
    await home.audiences.DeactivateAudience(pb.DeactivateAudienceRequest(audience_id=audience.audience_id))
    away = await archive(home, audience)
    assert away.archive_time_ms == service.clock.now_ms()
    assert await archive(home, audience) == away, "repeated, it changes nothing"
    assert [one.audience_id for one in (await home.audiences.ListAudiences(pb.ListAudiencesRequest())).audiences] == []
    listed = await home.audiences.ListAudiences(pb.ListAudiencesRequest(archived=True))
    assert [one.audience_id for one in listed.audiences] == [audience.audience_id]
    for call in (
        home.update(away, name="x"),
        home.activate(away),
        schedule(home, away, service.clock.now_ms() + HOUR),
        home.client.ab_tests.CreateAbTest(
            pb.CreateAbTestRequest(
                ab_test=audience_pb2.AbTest(
                    audience_id=audience.audience_id, name="x", variations=[audience_pb2.Variation(name="a", percentage=1)]
                )
            )
        ),
    ):
        failure = await refused(call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "AUDIENCE_ARCHIVED")
    clone = await home.audiences.CloneAudience(pb.CloneAudienceRequest(audience_id=audience.audience_id))
    assert not clone.archive_time_ms
    back = await home.audiences.UnarchiveAudience(pb.UnarchiveAudienceRequest(audience_id=audience.audience_id, etag=away.etag))
    assert (back.archive_time_ms, back.state) == (0, INACTIVE)
    assert (await home.activate(back)).state == ACTIVE


async def test_another_account_s_audiences_do_not_exist(service: Service, home: Home) -> None:
    number = (await home.audience()).audience_id
    stranger = (await service.home()).audiences
    for call in (
        stranger.ArchiveAudience(pb.ArchiveAudienceRequest(audience_id=number)),
        stranger.UnarchiveAudience(pb.UnarchiveAudienceRequest(audience_id=number)),
        stranger.ScheduleAudience(pb.ScheduleAudienceRequest(audience_id=number)),
    ):
        failure = await refused(call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "AUDIENCE_NOT_FOUND")


times = st.integers(0, 20)


@given(times, times, times)
def test_a_schedule_is_right_just_when_its_times_lie_ahead_in_order(activate: int, deactivate: int, now: int) -> None:
    right = all(not time or time > now for time in (activate, deactivate)) and (not (activate and deactivate) or activate < deactivate)
    assert (not judge_schedule(Schedule(activate, deactivate), now)) == right


@given(times, times)
def test_doing_what_comes_first_again_and_again_does_each_once(activate: int, deactivate: int) -> None:
    schedule, done = Schedule(activate, deactivate), []
    while schedule.next_time_ms:
        done.append((schedule.next_time_ms, schedule.next_move))
        schedule = without(schedule, schedule.next_move)
    wanted = [(activate, Move.ACTIVATE)] * bool(activate) + [(deactivate, Move.DEACTIVATE)] * bool(deactivate)
    assert done == sorted(wanted, key=lambda one: (one[0], one[1] is Move.DEACTIVATE))
    assert schedule == NO_SCHEDULE


def test_both_moves_that_could_not_be_made_are_told() -> None:
    schedule = failed(failed(Schedule(1, 2, "ann"), Move.ACTIVATE, "It is wrong."), Move.DEACTIVATE, "It is a draft.")
    assert schedule == Schedule(0, 0, "ann", "It is wrong. It is a draft.")


@pytest.mark.parametrize("move", list(Move))
def test_without_a_schedule_nothing_is_left_of_it(move: Move) -> None:
    assert without(NO_SCHEDULE, move) == NO_SCHEDULE
