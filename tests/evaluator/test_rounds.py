"""The rounds: from the stream to membership facts, over restarts and crashes."""

from __future__ import annotations

import asyncio
import random
from functools import partial

import pytest
from muster.definition.v1 import audience_pb2, definition_pb2

from services.chassis.app import PartFailed
from services.chassis.pull import Message
from services.chassis.streams import events_subject
from services.evaluator import population
from services.evaluator.reader import StreamReader
from services.evaluator.store import Commit, Replaced, Store
from tests.evaluator.conftest import Home, members
from tests.evaluator.world import ACCOUNT, INSTALL, PARTITIONS, SESSION_START, Happening, criterion, seed_definition
from tests.fakes.clock import ManualClock

HOUR = 3_600_000


def seed_members(happenings: list[Happening], now_ms: int) -> set[int]:
    """Installed in the last 72 hours and fewer than 3 sessions in the last 30 days, counted one by one."""
    inside = set()
    for mpid in {happening.mpid for happening in happenings}:
        own = [happening for happening in happenings if happening.mpid == mpid]
        installs = [h for h in own if h.type == INSTALL and now_ms - 72 * HOUR <= h.time_ms <= now_ms]
        sessions = [h for h in own if h.type == SESSION_START and now_ms - 720 * HOUR <= h.time_ms <= now_ms]
        if installs and len(sessions) < 3:
            inside.add(mpid)
    return inside


def _is(home: Home, expected: set[int]) -> bool:
    return home.follower.members[1] == expected


def some_happenings(seed: int, now_ms: int, count: int = 300) -> list[Happening]:
    generator = random.Random(seed)
    people = [generator.randrange(-(2**63), 2**63) for _ in range(60)]
    return [
        Happening(generator.choice(people), now_ms - generator.randrange(0, 100 * HOUR), generator.choice([INSTALL, SESSION_START]))
        for _ in range(count)
    ]


async def test_people_enter_and_leave_as_events_arrive_and_as_time_passes(home: Home, clock: ManualClock) -> None:
    now = clock.now_ms()
    await home.world.workspace()
    await home.world.audience(1, seed_definition())
    async with home.evaluator() as evaluator:
        await home.world.events(
            [Happening(11, now - 71 * HOUR, INSTALL), Happening(12, now, INSTALL), Happening(13, now - 73 * HOUR, INSTALL)]
        )
        await home.until(lambda: home.follower.members[1] == {11, 12})
        await home.world.events([Happening(12, now, SESSION_START)] * 3)
        await home.until(lambda: home.follower.members[1] == {11})
        await clock.advance(3600)
        await home.until(lambda: evaluator.rounds.as_of_ms == now + HOUR)
        assert await members(evaluator, 1) == {11}, "the edge of the window is inside"
        await clock.advance(0.001)
        await home.until(lambda: home.follower.members[1] == set())
        assert await members(evaluator, 1) == set()


async def test_a_restart_tells_what_time_changed_while_nobody_counted(home: Home, clock: ManualClock) -> None:
    now = clock.now_ms()
    await home.world.workspace()
    await home.world.audience(1, seed_definition())
    happenings = some_happenings(1, now)
    async with home.evaluator():
        await home.world.events(happenings)
        await home.until(lambda: home.follower.members[1] == seed_members(happenings, now))
    later = some_happenings(2, now)
    await home.world.events(later)
    await clock.advance(20 * 3600)
    for _ in range(2):
        async with home.evaluator() as evaluator:
            expected = seed_members(happenings + later, clock.now_ms())
            await home.until(partial(_is, home, expected))
            assert await members(evaluator, 1) == expected
        await clock.advance(5 * 3600)


async def test_a_sequence_is_followed_over_a_restart(home: Home, clock: ManualClock) -> None:
    now = clock.now_ms()
    await home.world.workspace()
    left_alone = definition_pb2.SequenceCriterion(
        steps=[definition_pb2.SequenceStep(match=definition_pb2.EventMatch(type=INSTALL))],
        not_followed_by=definition_pb2.NotFollowedBy(
            match=definition_pb2.EventMatch(type=SESSION_START),
            within=definition_pb2.Duration(count=1, unit=definition_pb2.DURATION_UNIT_HOUR),
        ),
    )
    root = definition_pb2.Node(criterion=definition_pb2.Criterion(sequence=left_alone))
    await home.world.audience(1, definition_pb2.Definition(root=root))
    async with home.evaluator():
        await home.world.events([Happening(11, now - HOUR, INSTALL), Happening(12, now, INSTALL), Happening(13, now, INSTALL)])
        await home.until(lambda: home.follower.members[1] == {11})
        await home.world.events([Happening(11, now, SESSION_START), Happening(13, now + 1, SESSION_START)])
        await home.until(lambda: home.follower.members[1] == set())
    await clock.advance(3599)
    async with home.evaluator() as evaluator:
        await home.until(lambda: evaluator.rounds.as_of_ms == clock.now_ms())
        assert await members(evaluator, 1) == set()
        await clock.advance(1)
        await home.until(lambda: home.follower.members[1] == {12})
    async with home.evaluator() as evaluator:
        await home.world.events([Happening(12, now + HOUR, SESSION_START)])
        await home.until(lambda: home.follower.members[1] == set())
        assert await members(evaluator, 1) == set()


async def test_a_batch_that_is_published_again_counts_once(home: Home, clock: ManualClock) -> None:
    now = clock.now_ms()
    await home.world.workspace()
    await home.world.audience(1, seed_definition())
    async with home.evaluator():
        await home.world.events(
            [Happening(11, now, INSTALL), Happening(11, now, SESSION_START), Happening(11, now, SESSION_START)], batch_id="a"
        )
        await home.until(lambda: home.follower.members[1] == {11})
        await home.world.events([Happening(11, now, SESSION_START)] * 2, batch_id="a")
    async with home.evaluator() as evaluator:
        await home.world.events([Happening(11, now, SESSION_START)] * 2, batch_id="a")
        await home.world.events([Happening(12, now, INSTALL)])
        await home.until(lambda: 12 in home.follower.members[1])
        assert await members(evaluator, 1) == {11, 12}


async def test_a_crash_between_store_and_commit_loses_and_doubles_nothing(
    home: Home, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = clock.now_ms()
    await home.world.workspace()
    await home.world.audience(1, seed_definition())
    crashing = True
    crashes: list[Commit] = []
    commit = Store.commit

    async def crash(self: Store, written: Commit) -> None:
        if crashing and written.batches:
            crashes.append(written)
            raise RuntimeError("the process dies here")
        await commit(self, written)

    monkeypatch.setattr(Store, "commit", crash)
    sessions = [Happening(mpid, now, SESSION_START) for mpid in (11, 12) for _ in range(2)]
    with pytest.raises(PartFailed):
        async with home.evaluator():
            await home.world.events([Happening(11, now, INSTALL), Happening(12, now, INSTALL), *sessions])
            await home.until(lambda: bool(crashes))
            await asyncio.sleep(0.2)
    crashing = False
    async with home.evaluator():
        await home.until(lambda: home.follower.members[1] == {11, 12})


async def test_a_crash_after_the_commit_publishes_what_was_committed(
    home: Home, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = clock.now_ms()
    await home.world.workspace()
    await home.world.audience(1, seed_definition())
    crashes: list[Commit] = []
    commit = Store.commit

    async def crash(self: Store, written: Commit) -> None:
        await commit(self, written)
        if written.messages:
            crashes.append(written)
            raise RuntimeError("the process dies here")

    monkeypatch.setattr(Store, "commit", crash)
    with pytest.raises(PartFailed):
        async with home.evaluator():
            await home.world.events([Happening(11, now, INSTALL)])
            await home.until(lambda: bool(crashes))
            await asyncio.sleep(0.2)
    monkeypatch.setattr(Store, "commit", commit)
    async with home.evaluator():
        await home.world.events([Happening(12, now, INSTALL)])
        await home.until(lambda: home.follower.members[1] == {11, 12})


async def test_an_edited_audience_tells_only_the_difference(home: Home, clock: ManualClock) -> None:
    now = clock.now_ms()
    await home.world.workspace()
    await home.world.audience(1, seed_definition())
    async with home.evaluator():
        await home.world.events([Happening(mpid, now - mpid * HOUR, INSTALL) for mpid in range(1, 60)])
        await home.until(lambda: len(home.follower.members[1]) == 59)
        shorter = seed_definition()
        shorter.root.all.nodes[0].criterion.event.when.last.count = 24
        await home.world.audience(1, shorter, revision=2)
        await home.until(lambda: home.follower.members[1] == set(range(1, 25)))
        last = [message for message in home.follower.messages if message.revision == 2]
        assert sum(len(part.added) for message in last for part in message.partitions) == 0
        assert sum(len(part.dropped) for message in last for part in message.partitions) == 35


async def test_a_deactivated_audience_ends_and_begins_anew(home: Home, clock: ManualClock) -> None:
    now = clock.now_ms()
    await home.world.workspace()
    await home.world.audience(1, seed_definition())
    async with home.evaluator() as evaluator:
        await home.world.events([Happening(11, now, INSTALL), Happening(12, now, INSTALL)])
        await home.until(lambda: home.follower.members[1] == {11, 12})
        await home.world.audience(1, seed_definition(), active=False)
        await home.until(lambda: home.follower.messages[-1].ended)
        assert await members(evaluator, 1) == set()
    async with home.evaluator():
        await home.world.audience(1, seed_definition())
        await home.until(lambda: home.follower.members[1] == {11, 12})
        await home.world.audience(1, seed_definition(), state=audience_pb2.AUDIENCE_STATE_DELETED)
        await home.until(lambda: home.follower.members[1] == set())


async def test_an_audience_that_ended_while_the_evaluator_was_down_is_told_to_have_ended(home: Home, clock: ManualClock) -> None:
    await home.world.workspace()
    await home.world.audience(1, seed_definition())
    async with home.evaluator():
        await home.world.events([Happening(11, clock.now_ms(), INSTALL)])
        await home.until(lambda: home.follower.members[1] == {11})
    await home.world.audience(1, seed_definition(), active=False)
    async with home.evaluator():
        await home.until(lambda: home.follower.members[1] == set())


async def test_attributes_decide_and_the_latest_wins(home: Home, clock: ManualClock) -> None:
    now = clock.now_ms()
    definition = seed_definition()
    node = definition.root.all.nodes.add()
    node.criterion.user_attribute.attribute = "plan"
    node.criterion.user_attribute.test.string.operator = 3  # type: ignore[assignment]  # equals
    node.criterion.user_attribute.test.string.value = "GOLD"
    await home.world.workspace()
    await home.world.audience(1, definition)
    async with home.evaluator():
        await home.world.attributes(11, {"plan": "gold"}, now)
        await home.world.events([Happening(11, now, INSTALL)])
        await home.until(lambda: home.follower.members[1] == {11})
        await home.world.attributes(11, {"plan": "silver"}, now - 1000)
        await home.world.attributes(12, {"plan": "Gold"}, now)
        await home.world.events([Happening(12, now, INSTALL)])
        await home.until(lambda: home.follower.members[1] == {11, 12})
    async with home.evaluator():
        await home.world.attributes(11, {"plan": None}, now + 1)
        await home.until(lambda: home.follower.members[1] == {12})


async def test_someone_whose_attributes_arrive_first_is_a_candidate_at_once(home: Home, clock: ManualClock) -> None:
    await home.world.workspace()
    definition = seed_definition()
    del definition.root.all.nodes[0]
    await home.world.audience(1, definition)
    async with home.evaluator():
        await home.world.attributes(11, {"plan": "gold"}, clock.now_ms())
        await home.until(lambda: home.follower.members[1] == {11})


async def test_a_message_that_makes_no_sense_is_a_dead_letter_and_stops_nobody(home: Home, clock: ManualClock) -> None:
    await home.world.workspace()
    await home.world.audience(1, seed_definition())
    async with home.evaluator():
        await home.world.raw(events_subject(0), b"\xff\xff not protobuf")
        await home.world.events([Happening(mpid, clock.now_ms(), INSTALL) for mpid in range(1, 20)])
        await home.until(lambda: home.follower.members[1] == set(range(1, 20)))


async def test_an_evaluator_that_was_replaced_commits_nothing_and_begins_anew(home: Home, clock: ManualClock) -> None:
    await home.world.workspace()
    await home.world.audience(1, seed_definition())
    async with home.evaluator() as first:
        await home.world.events([Happening(11, clock.now_ms(), INSTALL)])
        await home.until(lambda: home.follower.members[1] == {11})
        before = dict(first.rounds.positions)
        await first.store.take_over(range(PARTITIONS), "the store of another")
        await home.world.events([Happening(mpid, clock.now_ms(), INSTALL) for mpid in range(20, 40)])
        with pytest.raises(Replaced):
            await first.store.commit(Commit(clock.now_ms(), moves={p: (at, at.moved(0)) for p, at in before.items()}))
        await home.until(lambda: home.follower.members[1] == {11, *range(20, 40)})
        assert all(at.epoch == before[partition].epoch + 2 for partition, at in first.rounds.positions.items())
        assert await members(first, 1) == {11, *range(20, 40)}


async def test_new_people_count_in_audiences_that_nobody_with_events_is_needed_for(home: Home, clock: ManualClock) -> None:
    await home.world.workspace()
    definition = seed_definition()
    definition.root.Clear()
    definition.root.CopyFrom(criterion(INSTALL, fewer_than=1))
    await home.world.audience(1, definition)
    async with home.evaluator() as evaluator:
        await home.world.events([Happening(11, clock.now_ms(), SESSION_START)])
        await home.until(lambda: home.follower.members[1] == {11})
        assert ACCOUNT in evaluator.rounds._accounts


async def test_many_audiences_at_once_are_activated_over_several_rounds(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(population, "ACTIVATED_CHANGES", 3)
    people = set(range(1, 6))
    await home.world.workspace()
    await home.world.events([Happening(mpid, home.clock.now_ms() - HOUR, INSTALL) for mpid in people])
    for audience_id in range(1, 7):
        await home.world.audience(audience_id, seed_definition())
    async with home.evaluator() as evaluator:
        await home.until(lambda: all(home.follower.members[audience_id] == people for audience_id in range(1, 7)))
        assert all([await members(evaluator, audience_id) == people for audience_id in range(1, 7)])
    async with home.evaluator() as evaluator:
        assert all([await members(evaluator, audience_id) == people for audience_id in range(1, 7)])


async def test_an_intake_that_does_not_hear_the_first_call_to_end_holds_nobody_up(
    home: Home, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As asyncio.wait_for before Python 3.12 may: it held up the next owners of the partitions for ever."""
    fetch, missed = StreamReader.fetch, 0

    async def deaf(reader: StreamReader, max_messages: int, wait_seconds: float) -> list[Message]:
        nonlocal missed
        try:
            return await fetch(reader, max_messages, wait_seconds)
        except asyncio.CancelledError:
            missed += 1
            if missed > 1:
                raise
            return []

    monkeypatch.setattr(StreamReader, "fetch", deaf)
    await home.world.workspace()
    await home.world.audience(1, seed_definition())
    async with asyncio.timeout(20):
        async with home.evaluator():
            await home.world.events([Happening(11, clock.now_ms(), INSTALL)])
            await home.until(lambda: _is(home, {11}))
    assert missed > 1
