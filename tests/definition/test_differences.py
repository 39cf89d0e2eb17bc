"""Differences of definitions: by criterion, complete, and none where both mean the same."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from muster.definition.v1 import definition_pb2 as pb
from muster.definition.v1 import definition_service_pb2 as rpc
from muster.definition.v1 import language_service_pb2 as language

from services.definition.domain import differences as rules
from services.definition.domain.canonical import same
from services.definition.domain.completeness import incomplete
from services.definition.domain.differences import Difference, DifferenceKind, Meaning, differences
from services.definition.domain.language.reading import read
from services.definition.domain.nesting import nodes_of
from services.definition.domain.node_ids import with_ids
from services.definition.domain.sentences.telling import Telling
from tests.definition.builders import all_of, any_of, definition, everyone, exclude
from tests.definition.conftest import Home, Service, refused
from tests.definition.test_totality import kinds
from tests.definition.trees import right_definitions

ADDED, REMOVED, CHANGED, MOVED = list(DifferenceKind)[:4]
TELLING = Telling(workspace_ids=(1,))


def said(text: str) -> pb.Definition:
    definition = read(text).definition
    assert definition is not None, text
    return definition


def meaning(definition: pb.Definition, inputs: tuple[int, ...] = ()) -> Meaning:
    return Meaning(definition, (1,), inputs)


def between(before: str, after: str) -> list[Difference]:
    """Of two texts, the second of which was saved over the first."""
    old = with_ids(said(before))
    return differences(meaning(old), meaning(with_ids(said(after), old)), TELLING)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("sessions < 3", "sessions < 3", []),
        ("sessions < 3 and crash", "crash and sessions < 3", []),
        (
            "installed within 72 hours and sessions < 3",
            "installed within 48 hours and sessions < 3",
            [(CHANGED, "installed in the last 72 hours", "installed in the last 48 hours")],
        ),
        (
            "sessions < 3 and crash",
            "sessions < 3",
            [
                (REMOVED, "all of these", ""),
                (REMOVED, "had a crash in the last 30 days that are kept", ""),
            ],
        ),
        (
            "sessions < 3",
            "sessions < 3 or opted out within 1 day",
            [(ADDED, "", "any of these"), (ADDED, "", "opted out in the last day")],
        ),
        (
            "installed and sessions < 3",
            "installed and sessions < 3 and crash within 1 day",
            [(ADDED, "", "had a crash in the last day")],
        ),
        ("installed and crash and opted out", "installed and opted out", [(REMOVED, "had a crash in the last 30 days that are kept", "")]),
        ("installed and crash", "installed or crash", [(CHANGED, "all of these", "any of these")]),
        (
            "installed and (crash or opted out)",
            "crash and (installed or opted out)",
            [
                (MOVED, "any of these (definition.root.all.nodes[1])", "all of these (definition.root)"),
                (MOVED, "all of these (definition.root)", "any of these (definition.root.all.nodes[1])"),
            ],
        ),
        (
            'user attribute "plan" = "gold" and crash',
            'user attribute "tier" = "gold" and crash',
            [
                (ADDED, "", 'have an attribute "tier" that is "gold"'),
                (REMOVED, 'have an attribute "plan" that is "gold"', ""),
            ],
        ),
    ],
)
def test_what_is_told_of_two_definitions(before: str, after: str, expected: list[tuple[DifferenceKind, str, str]]) -> None:
    assert [(one.kind, one.before, one.after) for one in between(before, after)] == expected


@pytest.mark.parametrize("levels", [(1, 28), (28, 1), (28, 28)])
def test_more_nodes_than_a_definition_has_are_compared_at_once(levels: tuple[int, int]) -> None:
    def nested(group: Callable[[pb.Node], pb.Node], levels: int) -> pb.Definition:
        nodes = [everyone() for _ in range(7_999 // (levels + 1))]
        for _ in range(levels):
            nodes = [group(node) for node in nodes]
        return definition(all_of(*nodes))

    before, after = meaning(nested(any_of, levels[0])), meaning(nested(exclude, levels[1]))
    begin = time.process_time()
    assert differences(before, after, TELLING)
    assert time.process_time() - begin < 3


def test_other_inputs_and_workspaces_are_told() -> None:
    one, other = Meaning(said("crash"), (1,), ()), Meaning(said("crash"), (1, 2), (7, 3))
    found = differences(one, other, TELLING)
    assert [(one.kind, one.path, one.before, one.after) for one in found if one.kind.value > 4] == [
        (DifferenceKind.WORKSPACES, "workspace_ids", "1", "1, 2"),
        (DifferenceKind.INPUTS, "input_ids", "all", "3, 7"),
    ]


def test_every_kind_of_criterion_has_a_subject() -> None:
    assert set(rules.SUBJECTS) == kinds(pb.Criterion.DESCRIPTOR)


complete = right_definitions().filter(lambda definition: not incomplete(definition).faults)


@given(complete, complete)
def test_there_is_a_difference_just_where_two_do_not_mean_the_same(one: pb.Definition, other: pb.Definition) -> None:
    assert (not differences(meaning(one), meaning(other), TELLING)) == same(one, (1,), other, (1,))


@given(complete, st.data())
def test_a_criterion_that_is_put_in_place_of_another_is_the_one_change(definition: pb.Definition, data: st.DataObject) -> None:
    before = with_ids(definition)
    criteria = [node for node in nodes_of(before) if node.WhichOneof("kind") == "criterion"]
    if not criteria:
        return
    chosen = data.draw(st.sampled_from([node.id for node in criteria]))
    after = pb.Definition()
    after.CopyFrom(before)
    for node in nodes_of(after):
        if node.id == chosen:
            node.criterion.CopyFrom(
                pb.Criterion(lifetime_value=pb.LifetimeValueCriterion(test=pb.NumberTest(comparison=pb.COMPARISON_EQUAL, value="77")))
            )
    found = differences(meaning(before), meaning(after), TELLING)
    assert [(one.kind, one.node_id) for one in found] in ([], [(CHANGED, chosen)])


async def test_revisions_and_drafts_are_compared_by_grpc(service: Service, home: Home) -> None:
    audience = await home.audience(definition=said("installed within 72 hours and sessions < 3"))
    await home.update(audience, definition=said("installed within 48 hours and sessions < 3"))
    number = audience.audience_id
    compared = await home.client.language.CompareDefinitions(language.CompareDefinitionsRequest(audience_id=number, from_revision=1))
    assert [(one.kind, one.after) for one in compared.differences] == [(language.DIFFERENCE_KIND_CHANGED, "installed in the last 48 hours")]
    draft = language.CompareDefinitionsRequest(audience_id=number, definition=said("sessions < 3 and installed within 48 hours"))
    compared = await home.client.language.CompareDefinitions(draft)
    assert compared.same
    assert not compared.differences
    failure = await refused(
        home.client.language.CompareDefinitions(language.CompareDefinitionsRequest(audience_id=number, from_revision=9))
    )
    assert failure.reason == "REVISION_NOT_FOUND"
    empty = language.CompareDefinitionsRequest(audience_id=number, definition=pb.Definition())
    assert (await refused(home.client.language.CompareDefinitions(empty))).reason == "INVALID_AUDIENCE"
    stranger = await service.home()
    failure = await refused(stranger.client.language.CompareDefinitions(language.CompareDefinitionsRequest(audience_id=number)))
    assert failure.reason == "AUDIENCE_NOT_FOUND"
    assert (await home.audiences.GetAudience(rpc.GetAudienceRequest(audience_id=number))).revision == 2, "nothing was saved"
