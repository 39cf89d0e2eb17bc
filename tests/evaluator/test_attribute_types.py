"""Types of attributes that a workspace sets itself: members move with them in the next round, and a restart keeps them."""

from __future__ import annotations

import pytest
from muster.definition.v1 import account_pb2, definition_pb2, facts_pb2

from tests.evaluator.conftest import Home, members
from tests.evaluator.world import ACCOUNT, INPUT, WORKSPACE, Happening
from tests.fakes.clock import ManualClock

USER, EVENT = account_pb2.ATTRIBUTE_KIND_USER, account_pb2.ATTRIBUTE_KIND_EVENT
NUMBER, LIST, STRING = account_pb2.ATTRIBUTE_TYPE_NUMBER, account_pb2.ATTRIBUTE_TYPE_LIST, account_pb2.ATTRIBUTE_TYPE_STRING


def override(kind: int, attribute: str, type_: int) -> account_pb2.AttributeOverride:
    return account_pb2.AttributeOverride(kind=kind, attribute=attribute, type=type_)  # type: ignore[arg-type]


def includes(value: str) -> definition_pb2.ValueTest:
    return definition_pb2.ValueTest(list=definition_pb2.ListTest(operator=definition_pb2.LIST_OPERATOR_INCLUDES, value=value))


def of_user(attribute: str, test: definition_pb2.ValueTest) -> definition_pb2.Node:
    wanted = definition_pb2.UserAttributeCriterion(attribute=attribute, test=test)
    return definition_pb2.Node(criterion=definition_pb2.Criterion(user_attribute=wanted))


def of_event(attribute: str, test: definition_pb2.ValueTest) -> definition_pb2.Node:
    match = definition_pb2.EventMatch(type=Happening(0, 0).type, where=[definition_pb2.Filter(attribute=attribute, test=test)])  # type: ignore[arg-type]
    return definition_pb2.Node(criterion=definition_pb2.Criterion(event=definition_pb2.EventCriterion(match=match)))


def defined(root: definition_pb2.Node) -> definition_pb2.Definition:
    return definition_pb2.Definition(root=root)


async def test_members_move_when_a_type_is_set_and_taken_back_and_a_restart_keeps_it(home: Home, clock: ManualClock) -> None:
    now = clock.now_ms()
    await home.world.workspace()
    await home.world.audience(1, defined(of_user("sizes", includes("m"))))
    await home.world.audience(2, defined(of_event("colour", includes("red"))), input_ids=[INPUT])
    outside = definition_pb2.Node(exclude=definition_pb2.Exclude(node=definition_pb2.Node(criterion=_member_of(1))))
    await home.world.audience(3, defined(outside))
    async with home.evaluator():
        await home.world.attributes(11, {"sizes": "M"}, now)
        await home.world.events([Happening(12, now, details='{"attributes":{"colour":"red"}}')])
        await home.until(lambda: home.follower.members[3] == {11, 12})
        assert (home.follower.members[1], home.follower.members[2]) == (set(), set())

        await home.world.types(override(USER, "sizes", LIST), override(EVENT, "colour", LIST))
        await home.until(lambda: (home.follower.members[1], home.follower.members[2], home.follower.members[3]) == ({11}, {12}, {12}))
    async with home.evaluator() as evaluator:
        await home.world.attributes(13, {"sizes": "m"}, now)
        await home.until(lambda: home.follower.members[1] == {11, 13})
        assert (await members(evaluator, 2), await members(evaluator, 3)) == ({12}, {12})
        await home.world.types(override(USER, "sizes", NUMBER))
        await home.until(lambda: (home.follower.members[1], home.follower.members[2]) == (set(), set()))
        assert await members(evaluator, 3) == {11, 12, 13}
    await home.world.types(override(USER, "sizes", LIST))
    async with home.evaluator() as evaluator:
        await home.until(lambda: home.follower.members[1] == {11, 13})
        await home.world.types()
        await home.until(lambda: home.follower.members[1] == set())


async def test_a_type_of_a_newer_version_is_not_taken_in(home: Home) -> None:
    async with home.evaluator() as evaluator:
        workspace = account_pb2.Workspace(workspace_id=WORKSPACE, attribute_overrides=[override(USER, "sizes", 99)])
        fact = facts_pb2.DefinitionFact(account_id=ACCOUNT, version=1, workspace=workspace)
        with pytest.raises(ValueError, match="'sizes' is overridden"):
            evaluator.rounds.check(fact)


def _member_of(audience_id: int) -> definition_pb2.Criterion:
    return definition_pb2.Criterion(member_of=definition_pb2.MemberOfCriterion(audience_id=audience_id))
