"""The types of attributes that a workspace sets itself, by gRPC."""

from __future__ import annotations

import grpc
import pytest
from muster.definition.v1 import account_pb2, definition_pb2
from muster.definition.v1 import definition_service_pb2 as pb

from services.definition.domain import overrides, validation
from services.definition.domain.overrides import AttributeKind, AttributeType
from tests.definition.builders import (
    IOS,
    NOW,
    OTHER_WORKSPACE,
    WORKSPACE,
    all_of,
    around,
    attribute,
    definition,
    equals,
    event,
    number,
)
from tests.definition.conftest import Facts, Home, Service, refused

USER, EVENT = account_pb2.ATTRIBUTE_KIND_USER, account_pb2.ATTRIBUTE_KIND_EVENT
STRING, NUMBER, LIST = account_pb2.ATTRIBUTE_TYPE_STRING, account_pb2.ATTRIBUTE_TYPE_NUMBER, account_pb2.ATTRIBUTE_TYPE_LIST


def override(
    attribute: str, type_: account_pb2.AttributeType.ValueType, kind: account_pb2.AttributeKind.ValueType = USER
) -> account_pb2.AttributeOverride:
    return account_pb2.AttributeOverride(kind=kind, attribute=attribute, type=type_)


def set_(home: Home, one: account_pb2.AttributeOverride, etag: str = "") -> pb.SetAttributeOverrideRequest:
    return pb.SetAttributeOverrideRequest(workspace_id=home.workspace.workspace_id, attribute_override=one, etag=etag)


def remove(home: Home, attribute: str, kind: account_pb2.AttributeKind.ValueType = USER) -> pb.RemoveAttributeOverrideRequest:
    return pb.RemoveAttributeOverrideRequest(workspace_id=home.workspace.workspace_id, kind=kind, attribute=attribute)


async def listed(home: Home) -> list[account_pb2.AttributeOverride]:
    answer = await home.accounts.ListAttributeOverrides(pb.ListAttributeOverridesRequest(workspace_id=home.workspace.workspace_id))
    return list(answer.attribute_overrides)


async def test_an_attribute_has_one_type_until_it_is_removed(home: Home, facts: Facts) -> None:
    await home.accounts.SetAttributeOverride(set_(home, override("zip", NUMBER)))
    await home.accounts.SetAttributeOverride(set_(home, override("zip", LIST, EVENT)))
    workspace = await home.accounts.SetAttributeOverride(set_(home, override("zip", STRING)))
    assert list(workspace.attribute_overrides) == await listed(home) == [override("zip", STRING), override("zip", LIST, EVENT)]
    subject = f"muster.definitions.{home.account.account_id}.workspace.{workspace.workspace_id}"
    assert (await facts.newest(subject, 4)).workspace == workspace

    workspace = await home.accounts.RemoveAttributeOverride(remove(home, "zip"))
    assert await listed(home) == [override("zip", LIST, EVENT)]
    assert (await facts.newest(subject, 5)).workspace == workspace


async def test_setting_again_and_removing_what_is_not_there_changes_nothing(home: Home) -> None:
    workspace = await home.accounts.SetAttributeOverride(set_(home, override("zip", STRING)))
    assert workspace.etag != home.workspace.etag
    assert await home.accounts.SetAttributeOverride(set_(home, override("zip", STRING))) == workspace
    assert await home.accounts.RemoveAttributeOverride(remove(home, "Zip")) == workspace
    assert await home.accounts.RemoveAttributeOverride(remove(home, "zip", EVENT)) == workspace


async def test_a_stale_etag_of_the_workspace_overrides_nothing(home: Home) -> None:
    await home.accounts.SetAttributeOverride(set_(home, override("zip", STRING), etag=home.workspace.etag))
    failure = await refused(home.accounts.SetAttributeOverride(set_(home, override("zip", NUMBER), etag=home.workspace.etag)))
    assert (failure.code, failure.reason) == (grpc.StatusCode.ABORTED, "STALE_ETAG")
    assert await listed(home) == [override("zip", STRING)]


async def test_overrides_are_listed_page_by_page_and_not_with_the_workspaces(home: Home) -> None:
    wanted = [override(name, STRING) for name in ("A", "b", "ä")] + [override("a", NUMBER, EVENT)]
    for one in reversed(wanted):
        await home.accounts.SetAttributeOverride(set_(home, one))
    found, token = list[account_pb2.AttributeOverride](), ""
    while True:
        page = await home.accounts.ListAttributeOverrides(
            pb.ListAttributeOverridesRequest(workspace_id=home.workspace.workspace_id, page_size=2, page_token=token)
        )
        found += page.attribute_overrides
        token = page.next_page_token
        if not token:
            break
        foreign = await refused(home.accounts.ListWorkspaces(pb.ListWorkspacesRequest(page_token=token)))
        assert (foreign.code, foreign.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN")
    assert found == wanted
    [workspace] = (await home.accounts.ListWorkspaces(pb.ListWorkspacesRequest())).workspaces
    assert not workspace.attribute_overrides


async def test_what_is_wrong_is_told_with_its_field(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fields(request: pb.SetAttributeOverrideRequest) -> list[str]:
        failure = await refused(home.accounts.SetAttributeOverride(request))
        assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
        return [violation.field for violation in failure.violations]

    assert await fields(set_(home, override("", account_pb2.ATTRIBUTE_TYPE_UNSPECIFIED))) == [
        "attribute_override.attribute",
        "attribute_override.type",
    ]
    assert await fields(set_(home, override("a", 9, 9))) == ["attribute_override.kind", "attribute_override.type"]  # type: ignore[arg-type]
    assert await fields(set_(home, override("a" * 257, STRING))) == ["attribute_override.attribute"]
    assert await fields(set_(home, override("a\0", STRING))) == ["attribute_override.attribute"]
    assert await fields(pb.SetAttributeOverrideRequest(workspace_id=home.workspace.workspace_id)) == ["attribute_override"]

    await home.accounts.SetAttributeOverride(set_(home, override("a", STRING)))
    monkeypatch.setattr(overrides, "OVERRIDES_MAX", 1)
    failure = await refused(home.accounts.SetAttributeOverride(set_(home, override("b", STRING))))
    assert [(v.field, v.reason) for v in failure.violations] == [("attribute_override", "TOO_LARGE")]
    await home.accounts.SetAttributeOverride(set_(home, override("a", NUMBER)))
    assert await listed(home) == [override("a", NUMBER)]


async def test_a_workspace_of_another_account_does_not_exist(service: Service, home: Home) -> None:
    stranger = (await service.home(name="Stranger")).accounts
    for call in (
        stranger.SetAttributeOverride(set_(home, override("zip", STRING))),
        stranger.RemoveAttributeOverride(remove(home, "zip")),
        stranger.ListAttributeOverrides(pb.ListAttributeOverridesRequest(workspace_id=home.workspace.workspace_id)),
    ):
        failure = await refused(call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_WORKSPACE")
    assert await listed(home) == []


async def test_a_test_that_no_value_passes_for_its_type_is_warned_of(home: Home) -> None:
    await home.accounts.SetAttributeOverride(set_(home, override("zip", STRING)))
    await home.accounts.SetAttributeOverride(set_(home, override("price", NUMBER, EVENT)))
    exists = definition_pb2.ValueTest(presence=definition_pb2.PresenceTest(operator=definition_pb2.PRESENCE_OPERATOR_EXISTS))
    yes = definition_pb2.ValueTest(boolean=definition_pb2.BooleanTest(value=True))
    root = all_of(
        attribute("zip", number("10000")),
        attribute("zip", equals("10000")),
        attribute("price", equals("5")),
        attribute("zip", exists),
        event(where=[definition_pb2.Filter(attribute="price", test=yes)]),
        event(where=[definition_pb2.Filter(attribute="price", test=equals("5"))]),
        event(where=[definition_pb2.Filter(attribute="zip", test=number("5"))]),
    )
    request = pb.ValidateDefinitionRequest(definition=definition(root), workspace_ids=[home.workspace.workspace_id])
    verdict = await home.audiences.ValidateDefinition(request)
    assert not verdict.faults
    assert [(warning.field, warning.reason) for warning in verdict.warnings] == [
        ("definition.root.all.nodes[0].criterion.user_attribute.test.number", "NOT_APPLICABLE"),
        ("definition.root.all.nodes[4].criterion.event.match.where[0].test.boolean", "NOT_APPLICABLE"),
    ]
    assert "read as a string" in verdict.warnings[0].description


def test_types_of_several_workspaces_warn_only_where_none_of_them_lets_a_value_pass() -> None:
    def warned(*types: AttributeType | None, **scope: object) -> bool:
        root = event(where=[definition_pb2.Filter(attribute="price", test=number("5"))])
        workspaces = (WORKSPACE, OTHER_WORKSPACE)
        known = {(one, AttributeKind.EVENT, "price"): type_ for one, type_ in zip(workspaces, types, strict=True) if type_}
        return bool(validation.judge(definition(root), around(types=known, workspace_ids=workspaces, **scope), NOW).warnings)

    assert not warned(AttributeType.STRING, None)
    assert warned(AttributeType.STRING, None, input_ids=(IOS,))
    assert warned(AttributeType.STRING, AttributeType.LIST)
    assert not warned(AttributeType.STRING, AttributeType.NUMBER)
