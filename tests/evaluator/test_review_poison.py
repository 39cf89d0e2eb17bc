"""What decodes but can't be used: it is a dead letter, or counts as far as it can, and stops nobody, now or after a restart."""

from __future__ import annotations

from muster.definition.v1 import definition_pb2
from muster.ingest.v1 import facts_pb2, identity_pb2

from services.chassis.dead_letters import DeadLetters
from services.chassis.partition import partition_of
from services.chassis.streams import events_subject, profiles_subject
from services.evaluator import intake
from tests.evaluator.conftest import Home, members
from tests.evaluator.world import ACCOUNT, INPUT, INSTALL, PARTITIONS, SESSION_START, WORKSPACE, Happening, criterion, seed_definition
from tests.fakes.clock import ManualClock

MPID = 11
PARTITION = partition_of(ACCOUNT, MPID, PARTITIONS)
PEOPLE = set(range(20, 40))


def batch(**changed: object) -> facts_pb2.EventBatch:
    """One installation of one person, with something changed."""
    good = facts_pb2.EventBatch(
        batch_id="good",
        account_id=ACCOUNT,
        partition=PARTITION,
        sources=[facts_pb2.EventSource(input_id=INPUT, workspace_id=WORKSPACE)],
        kinds=[facts_pb2.EventKind(type=INSTALL)],
        contexts=[facts_pb2.EventContext()],
        mpids=[MPID],
        times_ms=[1],
        event_ids=[1],
        source_indexes=[0],
        kind_indexes=[0],
        context_indexes=[0],
        details=[""],
    )
    for name in changed:
        good.ClearField(name)  # type: ignore[arg-type]
    good.MergeFrom(facts_pb2.EventBatch(**changed))  # type: ignore[arg-type]
    return good


STRANGER = next(mpid for mpid in range(1, 100) if partition_of(ACCOUNT, mpid, PARTITIONS) != PARTITION)
BAD = [
    batch(batch_id=""),
    batch(batch_id="a\0b"),
    batch(batch_id="x" * 65),
    batch(kinds=[facts_pb2.EventKind(type=70_000)]),  # type: ignore[arg-type]
    batch(kinds=[facts_pb2.EventKind(type=-1)]),  # type: ignore[arg-type]
    batch(mpids=[STRANGER]),
    batch(mpids=[0]),
    batch(details=[]),
    batch(kind_indexes=[1]),
]


async def test_batches_that_can_not_be_used_are_dead_letters_and_stop_nobody(home: Home, clock: ManualClock) -> None:
    await home.world.workspace()
    await home.world.audience(1, seed_definition())
    async with home.evaluator():
        for bad in BAD:
            await home.world.raw(events_subject(PARTITION), bad.SerializeToString())
        await home.world.events([Happening(mpid, clock.now_ms(), INSTALL) for mpid in PEOPLE])
        await home.until(lambda: home.follower.members[1] == PEOPLE)
        letters = await DeadLetters(home.bus, "evaluator").list()
        assert [letter.data for letter in letters] == [bad.SerializeToString() for bad in BAD]
        assert {letter.subject for letter in letters} == {events_subject(PARTITION)}


async def test_profiles_of_another_partition_are_a_dead_letter(home: Home, clock: ManualClock) -> None:
    changes = [facts_pb2.ProfileChange(mpid=STRANGER, workspace_id=WORKSPACE)]
    bad = facts_pb2.ProfileChanges(batch_id="p", account_id=ACCOUNT, partition=PARTITION, changes=changes)
    async with home.evaluator() as evaluator:
        await home.world.raw(profiles_subject(PARTITION), bad.SerializeToString())
        await home.until(lambda: evaluator.rounds.positions[PARTITION].sequence > 0)
        assert len(await DeadLetters(home.bus, "evaluator").list()) == 1


def test_a_batch_without_faults_is_taken() -> None:
    assert intake.decode(events_subject(PARTITION), 1, batch().SerializeToString(), PARTITIONS).rows == 1


NUMBERS = ["abc", "NaN", "sNaN", "-Infinity", "1e999999", "-1e-999999", "1e99999999999999999999", "", "1_000", "１２", "9" * 5000, "\0"]


def criteria_on(attribute: str, text: str) -> list[definition_pb2.Node]:
    """A number test, a date test and a text test of an attribute."""
    nodes = [definition_pb2.Node() for _ in range(3)]
    tests = [node.criterion.user_attribute.test for node in nodes]
    tests[0].number.comparison, tests[0].number.value = definition_pb2.COMPARISON_GREATER, "5"
    tests[1].date.when.last.CopyFrom(definition_pb2.Duration(count=1, unit=definition_pb2.DURATION_UNIT_DAY))
    tests[2].string.operator, tests[2].string.value = definition_pb2.STRING_OPERATOR_EQUALS, text
    for node in nodes:
        node.criterion.user_attribute.attribute = attribute
    return nodes


async def test_a_number_that_is_none_or_too_large_stops_nobody(home: Home, clock: ManualClock) -> None:
    values = {f"n{i}": identity_pb2.AttributeValue(number_value=number) for i, number in enumerate(NUMBERS)}
    nodes = [node for i, number in enumerate(NUMBERS) for node in criteria_on(f"n{i}", number)]
    definition = definition_pb2.Definition()
    definition.root.any.nodes.extend([*nodes, criterion(INSTALL)])
    await home.world.workspace()
    await home.world.audience(1, definition)
    change = facts_pb2.ProfileChange(mpid=MPID, workspace_id=WORKSPACE, time_ms=5, set_attributes={**values, "": values["n0"]})
    profiles = facts_pb2.ProfileChanges(batch_id="p", account_id=ACCOUNT, partition=PARTITION, changes=[change])
    async with home.evaluator():
        await home.world.raw(profiles_subject(PARTITION), profiles.SerializeToString())
        await home.world.events([Happening(mpid, clock.now_ms(), INSTALL) for mpid in PEOPLE])
        await home.until(lambda: home.follower.members[1] == {MPID, *PEOPLE})
    async with home.evaluator() as evaluator:
        await home.world.events([Happening(50, clock.now_ms(), INSTALL)])
        await home.until(lambda: 50 in home.follower.members[1])
        assert await members(evaluator, 1) == home.follower.members[1] == {50, MPID, *PEOPLE}


async def test_extreme_times_names_and_people_are_kept_over_a_restart(home: Home, clock: ManualClock) -> None:
    now = clock.now_ms()
    await home.world.workspace()
    await home.world.audience(1, definition_pb2.Definition(root=criterion(INSTALL)))
    await home.world.audience(2, definition_pb2.Definition(root=criterion(SESSION_START, fewer_than=2)))
    extremes = [-(2**63), -(2**63) + 1, -1, 0, 1, 2**62, 2**63 - 1]
    people = [-1, 1, -(2**63), 2**63 - 1]
    happenings = [Happening(mpid, time, SESSION_START) for mpid in people for time in [*extremes, now]]
    happenings += [Happening(mpid, now, INSTALL, name) for mpid in people for name in ["", "\0", "a\0b", "x" * 300, "🧭", "'\\"]]
    async with home.evaluator():
        await home.world.events(happenings)
        await home.until(lambda: home.follower.members[1] == home.follower.members[2] == set(people))
    async with home.evaluator() as evaluator:
        await home.world.events([Happening(50, now, INSTALL)])
        await home.until(lambda: 50 in home.follower.members[1])
        assert await members(evaluator, 1) == {50, *people}
        assert await members(evaluator, 2) == {50, *people}
        assert home.follower.members[1] == home.follower.members[2] == {50, *people}


# Two names of 16 letters that CityHash64 can't tell from each other; anyone can find such.
TWINS = ("add to the cart!", "Xsg_^}p#cquqtcvr")


async def test_event_names_made_to_look_alike_do_not_keep_the_evaluator_from_starting(home: Home, clock: ManualClock) -> None:
    now = clock.now_ms()
    await home.world.workspace()
    definition = definition_pb2.Definition(root=criterion(SESSION_START))
    definition.root.criterion.event.match.name = TWINS[1]
    await home.world.audience(1, definition)
    async with home.evaluator():
        await home.world.events([Happening(11, now, SESSION_START, TWINS[0]), Happening(12, now, SESSION_START, TWINS[1])])
        await home.until(lambda: home.follower.members[1] == {12})
    async with home.evaluator() as evaluator:
        assert await members(evaluator, 1) == {12}
