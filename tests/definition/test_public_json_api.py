"""The public JSON form by gRPC: saved audiences out, texts in, and the accounts apart."""

from __future__ import annotations

import json

import grpc
from muster.definition.v1 import definition_pb2
from muster.definition.v1 import public_json_service_pb2 as pb

from services.definition.domain.canonical import same
from tests.definition.builders import all_of, attribute, criterion, definition, equals, event, last, seed
from tests.definition.conftest import Home, Service, refused

NEAR = criterion(node_id="near", location=definition_pb2.LocationCriterion(near=definition_pb2.Near(distance_metres=5)))


def outcomes(report: pb.PublicJsonReport) -> list[tuple[str, str, str]]:
    return [
        (
            pb.PublicJsonOutcome.Name(entry.outcome).removeprefix("PUBLIC_JSON_OUTCOME_"),
            entry.place,
            pb.PublicJsonReason.Name(entry.reason).removeprefix("PUBLIC_JSON_REASON_"),
        )
        for entry in report.entries
    ]


async def test_a_saved_audience_goes_out_and_comes_back_the_same(home: Home) -> None:
    tree = definition(all_of(event(when=last(3)), attribute("plan", equals("gold"), workspace=home.workspace.workspace_id)))
    audience = await home.audience(definition=tree)
    out = await home.client.public_json.ExportPublicJson(pb.ExportPublicJsonRequest(audience_id=audience.audience_id))
    assert {outcome for outcome, _, _ in outcomes(out.report)} == {"TAKEN"}
    assert all(entry.node_id for entry in out.report.entries)
    workspaces = [home.workspace.workspace_id]
    back = await home.client.public_json.ImportPublicJson(pb.ImportPublicJsonRequest(json_text=out.json_text, workspace_ids=workspaces))
    assert same(back.definition, workspaces, audience.definition, workspaces)
    assert not back.faults


async def test_the_inputs_of_an_audience_are_noted_as_they_stay_behind(home: Home) -> None:
    audience = await home.audience(input_ids=[home.ios.input.input_id])
    out = await home.client.public_json.ExportPublicJson(pb.ExportPublicJsonRequest(audience_id=audience.audience_id))
    assert ("NOTED", "input_ids", "REWRITTEN") in outcomes(out.report)
    assert out.json_text


async def test_what_cannot_be_said_is_in_the_report_and_there_is_no_text(home: Home) -> None:
    tree = definition(all_of(event(node_id="e"), NEAR))
    out = await home.client.public_json.ExportPublicJson(pb.ExportPublicJsonRequest(definition=tree))
    assert out.json_text == ""
    assert outcomes(out.report) == [
        ("TAKEN", "definition.root.all.nodes[0].criterion.event", "UNSPECIFIED"),
        ("REFUSED", "definition.root.all.nodes[1].criterion.location", "NOT_EXPORTABLE"),
    ]
    assert [entry.node_id for entry in out.report.entries] == ["e", "near"]


async def test_what_is_read_is_judged_in_the_workspaces_that_are_given(home: Home) -> None:
    out = await home.client.public_json.ExportPublicJson(pb.ExportPublicJsonRequest(definition=definition(event(when=last(90)))))
    unjudged = await home.client.public_json.ImportPublicJson(pb.ImportPublicJsonRequest(json_text=out.json_text))
    assert unjudged.HasField("definition")
    assert not unjudged.faults
    request = pb.ImportPublicJsonRequest(json_text=out.json_text, workspace_ids=[home.workspace.workspace_id])
    judged = await home.client.public_json.ImportPublicJson(request)
    assert [fault.reason for fault in judged.faults] == ["WINDOW_PAST_LOOK_BACK"]


async def test_what_is_no_text_of_the_form_has_a_report_and_no_definition(home: Home) -> None:
    for text, place, reason in (
        ("{", "", "NOT_JSON"),
        (json.dumps({"schema_version": "1.6.0", "audience": {"operator": "equalz"}}), "/audience/operator", "UNKNOWN_OPERATOR"),
    ):
        answer = await home.client.public_json.ImportPublicJson(pb.ImportPublicJsonRequest(json_text=text, workspace_ids=[1]))
        assert not answer.HasField("definition")
        assert outcomes(answer.report) == [("REFUSED", place, reason)]


async def test_another_account_s_audience_is_as_one_that_is_not_there(service: Service, home: Home) -> None:
    audience = await home.audience()
    other = await service.home(name="Other")
    theirs = await refused(other.client.public_json.ExportPublicJson(pb.ExportPublicJsonRequest(audience_id=audience.audience_id)))
    nobody = await refused(other.client.public_json.ExportPublicJson(pb.ExportPublicJsonRequest(audience_id=987_654)))
    assert (theirs.code, theirs.reason) == (nobody.code, nobody.reason) == (grpc.StatusCode.NOT_FOUND, "AUDIENCE_NOT_FOUND")
    request = pb.ImportPublicJsonRequest(workspace_ids=[home.workspace.workspace_id])
    out = await home.client.public_json.ExportPublicJson(pb.ExportPublicJsonRequest(definition=seed()))
    request.json_text = out.json_text
    answer = await other.client.public_json.ImportPublicJson(request)
    assert [fault.reason for fault in answer.faults] == ["UNKNOWN_WORKSPACE"]


async def test_an_export_of_nothing_is_refused(home: Home) -> None:
    fault = await refused(home.client.public_json.ExportPublicJson(pb.ExportPublicJsonRequest()))
    assert (fault.code, [violation.reason for violation in fault.violations]) == (grpc.StatusCode.INVALID_ARGUMENT, ["MISSING"])
