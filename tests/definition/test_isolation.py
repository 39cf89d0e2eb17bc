"""Every method, tried with another account's ids: they are answered as ids that nobody has, and nothing of theirs changes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import grpc
from google.protobuf.descriptor import Descriptor, ServiceDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from muster.definition.v1 import account_pb2, audience_pb2, catalogue_service_pb2, language_service_pb2, public_json_service_pb2
from muster.definition.v1 import catalogue_service_pb2 as catalogue
from muster.definition.v1 import definition_pb2 as d
from muster.definition.v1 import definition_service_pb2 as pb
from muster.definition.v1 import language_service_pb2 as language
from muster.definition.v1 import public_json_service_pb2 as public_json

from services.chassis.errors import from_rpc_error
from tests.definition.builders import definition, event, everyone, member_of
from tests.definition.conftest import Client, Home, Service
from tests.definition.others import split

# Beyond all that any database here gave out.
_NOBODYS = 10**12


@dataclass(frozen=True)
class Ids:
    """What requests name. The `own` ones are the caller's, so that nothing else is wrong with a request."""

    workspace: int
    input: int
    audience: int
    test: int
    own_workspace: int
    own_audience: int
    etag: str


def drafted(ids: Ids, **fields: Any) -> audience_pb2.Audience:
    wanted: dict[str, Any] = {"name": "Mine", "workspace_ids": [ids.own_workspace], "definition": definition(everyone())} | fields
    return audience_pb2.Audience(**wanted)


def reads(ids: Ids) -> d.Definition:
    return definition(member_of(ids.audience))


def from_input(ids: Ids) -> d.Definition:
    return definition(event(input_ids=[ids.input]))


METHODS: dict[str, list[Callable[[Ids], Message]]] = {
    "CreateInput": [lambda ids: pb.CreateInputRequest(workspace_id=ids.workspace, name="x", kind=account_pb2.INPUT_KIND_FEED)],
    "SetAttributeOverride": [
        lambda ids: pb.SetAttributeOverrideRequest(
            workspace_id=ids.workspace,
            attribute_override=account_pb2.AttributeOverride(
                kind=account_pb2.ATTRIBUTE_KIND_USER, attribute="x", type=account_pb2.ATTRIBUTE_TYPE_STRING
            ),
        )
    ],
    "RemoveAttributeOverride": [
        lambda ids: pb.RemoveAttributeOverrideRequest(workspace_id=ids.workspace, kind=account_pb2.ATTRIBUTE_KIND_USER, attribute="x")
    ],
    "ListAttributeOverrides": [lambda ids: pb.ListAttributeOverridesRequest(workspace_id=ids.workspace)],
    "ListInputs": [lambda ids: pb.ListInputsRequest(workspace_id=ids.workspace)],
    "UpdateInput": [
        lambda ids: pb.UpdateInputRequest(
            input=account_pb2.Input(input_id=ids.input, name="taken", etag=ids.etag), update_mask=FieldMask(paths=["name"])
        )
    ],
    "RotateInputKey": [lambda ids: pb.RotateInputKeyRequest(input_id=ids.input)],
    "DeactivateInput": [lambda ids: pb.DeactivateInputRequest(input_id=ids.input)],
    "CreateAudience": [
        lambda ids: pb.CreateAudienceRequest(audience=drafted(ids, workspace_ids=[ids.workspace])),
        lambda ids: pb.CreateAudienceRequest(audience=drafted(ids, input_ids=[ids.input])),
        lambda ids: pb.CreateAudienceRequest(audience=drafted(ids, definition=reads(ids))),
        lambda ids: pb.CreateAudienceRequest(audience=drafted(ids, definition=from_input(ids))),
    ],
    "GetAudience": [lambda ids: pb.GetAudienceRequest(audience_id=ids.audience)],
    "UpdateAudience": [
        lambda ids: pb.UpdateAudienceRequest(
            audience=audience_pb2.Audience(audience_id=ids.audience, name="taken", etag=ids.etag), update_mask=FieldMask(paths=["name"])
        ),
        lambda ids: pb.UpdateAudienceRequest(
            audience=audience_pb2.Audience(audience_id=ids.own_audience, definition=reads(ids), etag="v1"),
            update_mask=FieldMask(paths=["definition"]),
        ),
    ],
    "ActivateAudience": [lambda ids: pb.ActivateAudienceRequest(audience_id=ids.audience)],
    "DeactivateAudience": [lambda ids: pb.DeactivateAudienceRequest(audience_id=ids.audience)],
    "ArchiveAudience": [lambda ids: pb.ArchiveAudienceRequest(audience_id=ids.audience)],
    "UnarchiveAudience": [lambda ids: pb.UnarchiveAudienceRequest(audience_id=ids.audience)],
    "ScheduleAudience": [lambda ids: pb.ScheduleAudienceRequest(audience_id=ids.audience)],
    "ListAudienceUses": [lambda ids: pb.ListAudienceUsesRequest(audience_id=ids.audience, cascade=True)],
    "DeleteAudience": [
        lambda ids: pb.DeleteAudienceRequest(audience_id=ids.audience),
        lambda ids: pb.DeleteAudienceRequest(audience_id=ids.audience, cascade=True, uses_digest="x"),
    ],
    "CloneAudience": [lambda ids: pb.CloneAudienceRequest(audience_id=ids.audience)],
    "ValidateDefinition": [
        lambda ids: pb.ValidateDefinitionRequest(definition=definition(everyone()), audience_id=ids.audience),
        lambda ids: pb.ValidateDefinitionRequest(definition=reads(ids), workspace_ids=[ids.workspace], input_ids=[ids.input]),
    ],
    "ListAudienceRevisions": [lambda ids: pb.ListAudienceRevisionsRequest(audience_id=ids.audience)],
    "RestoreAudienceRevision": [lambda ids: pb.RestoreAudienceRevisionRequest(audience_id=ids.audience, revision=1)],
    "CreateAbTest": [
        lambda ids: pb.CreateAbTestRequest(
            ab_test=audience_pb2.AbTest(audience_id=ids.audience, name="x", variations=[audience_pb2.Variation(name="a", percentage=1)])
        )
    ],
    "GetAbTest": [lambda ids: pb.GetAbTestRequest(audience_id=ids.audience)],
    "DeleteAbTest": [lambda ids: pb.DeleteAbTestRequest(ab_test_id=ids.test)],
    "DescribeDefinition": [lambda ids: language.DescribeDefinitionRequest(definition=reads(ids), workspace_ids=[ids.workspace])],
    "CompareDefinitions": [
        lambda ids: language.CompareDefinitionsRequest(audience_id=ids.audience),
        lambda ids: language.CompareDefinitionsRequest(audience_id=ids.own_audience, definition=reads(ids)),
    ],
    "ParseDefinition": [
        lambda ids: language.ParseDefinitionRequest(text=f"member of {ids.audience}", workspace_ids=[ids.workspace], input_ids=[ids.input])
    ],
    "ExportPublicJson": [
        lambda ids: public_json.ExportPublicJsonRequest(audience_id=ids.audience),
        lambda ids: public_json.ExportPublicJsonRequest(definition=reads(ids), workspace_ids=[ids.workspace]),
    ],
    "ImportPublicJson": [
        lambda ids: public_json.ImportPublicJsonRequest(json_text="{}", workspace_ids=[ids.workspace], input_ids=[ids.input])
    ],
    "ListEventNames": [
        lambda ids: catalogue.ListEventNamesRequest(workspace_id=ids.workspace),
        lambda ids: catalogue.ListEventNamesRequest(workspace_id=ids.own_workspace, input_id=ids.input),
    ],
    "ListEventAttributes": [lambda ids: catalogue.ListEventAttributesRequest(workspace_id=ids.workspace)],
    "ListUserAttributes": [lambda ids: catalogue.ListUserAttributesRequest(workspace_id=ids.workspace)],
    "ListAttributeValues": [
        lambda ids: catalogue.ListAttributeValuesRequest(
            workspace_id=ids.workspace, kind=catalogue.CATALOGUE_KIND_USER_ATTRIBUTE, attribute="x"
        )
    ],
    "GetCatalogueEntry": [
        lambda ids: catalogue.GetCatalogueEntryRequest(workspace_id=ids.workspace, kind=catalogue.CATALOGUE_KIND_USER_ATTRIBUTE, name="x")
    ],
    "UpdateCatalogueEntry": [
        lambda ids: catalogue.UpdateCatalogueEntryRequest(
            entry=catalogue.CatalogueEntry(workspace_id=ids.workspace, kind=catalogue.CATALOGUE_KIND_USER_ATTRIBUTE, name="x")
        )
    ],
}

SERVICES: tuple[ServiceDescriptor, ...] = tuple(
    service
    for file in (pb, language_service_pb2, public_json_service_pb2, catalogue_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
)


def names_things(message: Descriptor, seen: frozenset[str] = frozenset()) -> bool:
    """Whether a request names a workspace, an input, an audience or a test, anywhere in it."""
    if message.full_name in seen:
        return False
    return any(
        field.name in ("workspace_id", "workspace_ids", "input_id", "input_ids", "audience_id", "ab_test_id")
        or (field.message_type is not None and names_things(field.message_type, seen | {message.full_name}))
        for field in message.fields
    )


def test_every_method_that_names_something_is_tried() -> None:
    wanted = {method.name for service in SERVICES for method in service.methods if names_things(method.input_type)}
    # What they name is only read back, never looked up.
    assert wanted - METHODS.keys() == {"UpdateAccount", "PrintDefinition"} & wanted
    assert METHODS.keys() <= wanted


def stubs(client: Client) -> Iterator[Any]:
    yield from (client.accounts, client.audiences, client.ab_tests, client.language, client.public_json, client.catalogue)


async def answer(client: Client, method: str, request: Message) -> str:
    """What is said, every number of the request left out."""
    for stub in stubs(client):
        try:
            call = getattr(stub, method)
        except AttributeError:
            continue
        break
    try:
        said = await call(request)
        text = str(MessageToDict(said))
    except grpc.aio.AioRpcError as error:
        failure = from_rpc_error(error)
        text = f"{failure.code} {failure.reason} {failure.message} {failure.violations} {failure.metadata}"
    return re.sub(r"\d+", "#", text)


async def test_another_account_s_things_are_answered_as_if_they_were_not_there(service: Service, home: Home) -> None:
    audience = await home.audience("Secret name")
    test = await split(home, audience.audience_id)
    audience = await home.audiences.GetAudience(pb.GetAudienceRequest(audience_id=audience.audience_id))
    stranger = await service.home()
    own = await stranger.audience("Their own")
    theirs = Ids(
        workspace=home.workspace.workspace_id,
        input=home.ios.input.input_id,
        audience=audience.audience_id,
        test=test.ab_test_id,
        own_workspace=stranger.workspace.workspace_id,
        own_audience=own.audience_id,
        etag=audience.etag,
    )
    nobodys = Ids(_NOBODYS, _NOBODYS, _NOBODYS, _NOBODYS, theirs.own_workspace, theirs.own_audience, theirs.etag)
    assert {field.name for field in fields(Ids)} >= {"workspace", "input", "audience", "test"}
    for method, requests in METHODS.items():
        for make in requests:
            of_theirs = await answer(stranger.client, method, make(theirs))
            assert of_theirs == await answer(stranger.client, method, make(nobodys)), method
            assert "Secret" not in of_theirs
            assert "PERMISSION" not in of_theirs
            assert "UNIMPLEMENTED" not in of_theirs
    assert await home.audiences.GetAudience(pb.GetAudienceRequest(audience_id=audience.audience_id)) == audience
    assert await home.client.ab_tests.GetAbTest(pb.GetAbTestRequest(audience_id=audience.audience_id)) == test
    inputs = await home.accounts.ListInputs(pb.ListInputsRequest())
    assert home.ios.input in list(inputs.inputs)
