"""Definitions in words, by gRPC."""

from __future__ import annotations

import grpc
from muster.definition.v1 import definition_pb2, language_service_pb2

from services.definition.domain.canonical import canonical
from tests.definition.builders import all_of, any_of, attribute, definition, equals, event, last, member_of, seed
from tests.definition.conftest import Home, Service, refused

pb = language_service_pb2


async def test_a_text_becomes_a_definition_and_the_definition_the_text(home: Home) -> None:
    parsed = await home.language.ParseDefinition(pb.ParseDefinitionRequest(text="installed within 72 hours and sessions < 3"))
    assert canonical(parsed.definition) == canonical(seed())
    assert not parsed.faults
    printed = await home.language.PrintDefinition(pb.PrintDefinitionRequest(definition=parsed.definition))
    assert printed.text == "installed within 72 hours and sessions < 3"
    several = await home.language.PrintDefinition(pb.PrintDefinitionRequest(definition=parsed.definition, multiline=True))
    assert several.text == "installed within 72 hours\nand sessions < 3"


async def test_a_saved_definition_is_described_with_the_account_s_own_names_and_look_back(service: Service) -> None:
    home = await service.home(name="Long", look_back_days=90)
    inner = await home.audience('The "best"')
    tree = definition(all_of(event("SESSION_START"), member_of(inner.audience_id)))
    saved = await home.audience("outer", definition=tree)
    request = pb.DescribeDefinitionRequest(definition=saved.definition, workspace_ids=saved.workspace_ids)
    answer = await home.language.DescribeDefinition(request)
    members = f'are members of audience {inner.audience_id} ("The \\"best\\"")'
    assert answer.sentence == f"People who had a session in the last 90 days that are kept and {members}."
    assert [(phrase.path, phrase.text, phrase.depth) for phrase in answer.phrases] == [
        ("definition.root", "all of these:", 0),
        ("definition.root.all.nodes[0]", "had a session in the last 90 days that are kept", 1),
        ("definition.root.all.nodes[1]", members, 1),
    ]
    assert [phrase.node_id for phrase in answer.phrases] == [saved.definition.root.id, *(n.id for n in saved.definition.root.all.nodes)]


async def test_the_name_of_another_account_s_audience_is_not_told(service: Service, home: Home) -> None:
    other = await service.home(name="Other")
    theirs = await other.audience("Secret")
    request = pb.DescribeDefinitionRequest(definition=definition(member_of(theirs.audience_id)))
    assert (await home.language.DescribeDefinition(request)).sentence == f"People who are members of audience {theirs.audience_id}."


async def test_what_is_incomplete_has_no_words_and_is_told_so_with_all_faults(home: Home) -> None:
    tree = definition(all_of(any_of(), attribute("plan", definition_pb2.ValueTest())))
    for call in (
        home.language.DescribeDefinition(pb.DescribeDefinitionRequest(definition=tree)),
        home.language.PrintDefinition(pb.PrintDefinitionRequest(definition=tree)),
    ):
        failure = await refused(call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_AUDIENCE")
        assert [violation.field for violation in failure.violations] == [
            "definition.root.all.nodes[0].any",
            "definition.root.all.nodes[1].criterion.user_attribute.test",
        ]


async def test_what_the_account_would_refuse_today_can_be_said_all_the_same(home: Home) -> None:
    tree = definition(all_of(event(when=last(99)), attribute("plan", equals("gold"), workspace=999)))
    printed = await home.language.PrintDefinition(pb.PrintDefinitionRequest(definition=tree))
    assert printed.text == 'sessions within 99 days and plan = "gold" in workspace 999'
    described = await home.language.DescribeDefinition(pb.DescribeDefinitionRequest(definition=tree))
    assert 'have an attribute "plan" that is "gold", in workspace 999' in described.sentence


async def test_all_faults_of_a_text_are_told_with_their_places(home: Home) -> None:
    parsed = await home.language.ParseDefinition(pb.ParseDefinitionRequest(text='sesions < 3\nand plan contain "x"'))
    assert not parsed.HasField("definition")
    assert [(fault.line, fault.column, fault.length, fault.suggestion) for fault in parsed.faults] == [
        (1, 1, 7, "sessions"),
        (2, 10, 7, "contains"),
    ]


async def test_with_workspaces_the_account_s_own_faults_are_told_at_the_criterion(service: Service, home: Home) -> None:
    other = await service.home(name="Other")
    theirs = await other.audience("Secret")
    text = f"sessions within 99 days or member of {theirs.audience_id}\nor plan exists in workspace 999 or crash from input 998"
    alone = await home.language.ParseDefinition(pb.ParseDefinitionRequest(text=text))
    assert not alone.faults
    request = pb.ParseDefinitionRequest(text=text, workspace_ids=[home.workspace.workspace_id])
    parsed = await home.language.ParseDefinition(request)
    assert [(fault.line, fault.column, fault.length) for fault in parsed.faults] == [
        (1, 1, len("sessions within 99 days")),
        (1, 28, len(f"member of {theirs.audience_id}")),
        (2, 4, len("plan exists in workspace 999")),
        (2, 36, len("crash from input 998")),
    ]
    assert parsed.faults[1].description == f"There is no audience {theirs.audience_id} in this account."


async def test_a_text_that_is_too_long_is_refused_as_a_fault(home: Home) -> None:
    parsed = await home.language.ParseDefinition(pb.ParseDefinitionRequest(text="x" * 1_000_001))
    assert [(fault.line, fault.column, fault.length) for fault in parsed.faults] == [(1, 1, 0)]
