"""Attributes that workspaces read as types of their own: whatever is sent and tested, the engine's members are the reference's."""

from collections.abc import Callable
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st
from muster.definition.v1 import definition_pb2 as pb

from tests.evaluator.engine import definitions as d
from tests.evaluator.engine.test_exactness import START, values
from tests.model import facts, reference
from tests.scenarios.scenario import MAIN, Scenario, Told
from tests.scenarios.ways import by_the_engine_in_rounds, by_the_reference

WORKSPACES = {1: [11], 2: [21], 3: [31]}
DAY = 86_400_000
days = st.just(datetime.fromtimestamp(START // 1000, UTC).date())
one_type = st.sampled_from(["STRING", "NUMBER", "BOOLEAN", "DATE", "LIST", "LIST"])
types = st.dictionaries(st.sampled_from([*WORKSPACES]), one_type) | one_type.map(lambda one: dict.fromkeys(WORKSPACES, one))
tests = d.value_tests(days) | st.builds(d.listed, st.sampled_from(["includes", "not_includes", "partial_match"]), d.texts)
own_values = st.lists(st.tuples(st.sampled_from([*WORKSPACES]), values.filter(lambda value: value is not None)), min_size=1, max_size=6)


def of_user(test: pb.ValueTest) -> pb.Node:
    return d.attribute("colour", test, workspace=1)


def of_event(test: pb.ValueTest) -> pb.Node:
    where = [pb.Filter(attribute="colour", test=test), pb.Filter(attribute="colour", test=d.presence("exists"))]
    match = pb.EventMatch(type=d.CUSTOM, where=where)  # type: ignore[arg-type]  # the number of an EventType
    return pb.Node(criterion=pb.Criterion(event=pb.EventCriterion(match=match)))


@settings(max_examples=500, deadline=None)
@given(types, types, own_values, tests, st.sampled_from([of_user, of_event]), st.sampled_from([(1,), (1, 2), (1, 2, 3)]))
def test_the_engine_reads_types_as_the_reference(
    of_users: dict[int, str],
    of_events: dict[int, str],
    told: list[tuple[int, facts.Value]],
    test: pb.ValueTest,
    root: Callable[[pb.ValueTest], pb.Node],
    workspaces: tuple[int, ...],
) -> None:
    people = [f"p{number}" for number in range(len(told))]
    facts_told = [Told("nobody", START, facts.Here(1, START))]
    for person, (workspace, value) in zip(people, told, strict=True):
        event = facts.Event(WORKSPACES[workspace][0], d.CUSTOM, "pay", START, {"attributes": {"colour": value}})
        facts_told += [Told(person, START, facts.AttributeChange(1, "colour", value, START)), Told(person, START, event)]
    scenario = Scenario(
        name="typed",
        rule="",
        now=START,
        look_back_ms=30 * DAY,
        workspaces=WORKSPACES,
        audiences={MAIN: reference.Audience(d.definition(root(test)), workspaces)},
        people=["nobody", *people],
        told=facts_told,
        expected=[(START, set()), (START + DAY, set())],
        not_by={},
        types={workspace: {"colour": type_} for workspace, type_ in of_users.items()},
        event_types={workspace: {"colour": type_} for workspace, type_ in of_events.items()},
    )
    assert by_the_engine_in_rounds(scenario) == by_the_reference(scenario)
