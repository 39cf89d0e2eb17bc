"""`muster workspace`: the parts of an account."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer
from muster.definition.v1 import account_pb2
from muster.definition.v1 import definition_service_pb2 as pb

from cli.client import Muster
from cli.faults import bad_input
from cli.output import AccountOption, JsonOption, as_dict, fields, print_json, table, when, word
from cli.settings import Settings

app = typer.Typer(no_args_is_help=True, help="The parts of an account.")
types = typer.Typer(no_args_is_help=True, help="What the attributes of a workspace are read as, where that is not left to what is sent.")
app.add_typer(types, name="types")

_KINDS = {False: account_pb2.ATTRIBUTE_KIND_USER, True: account_pb2.ATTRIBUTE_KIND_EVENT}
_TYPES = {word(name, "ATTRIBUTE_TYPE_"): number for name, number in account_pb2.AttributeType.items() if number}

WorkspaceArgument = Annotated[int, typer.Argument(min=1, help="The number of the workspace.")]
AttributeArgument = Annotated[str, typer.Argument(help="The exact name of the attribute.")]
EventOption = Annotated[bool, typer.Option("--event", help="An attribute of events, in place of one of users.")]


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="1 to 100 characters.")], account: AccountOption = None, as_json: JsonOption = False
) -> None:
    """Make a workspace."""
    with Muster(Settings.load(), account) as muster:
        workspace = muster.call(muster.accounts.CreateWorkspace, pb.CreateWorkspaceRequest(name=name), service="definition")
    if as_json:
        print_json(as_dict(workspace))
        return
    fields([("workspace", workspace.workspace_id), ("name", workspace.name)])


@app.command("list")
def list_workspaces(account: AccountOption = None, as_json: JsonOption = False) -> None:
    """List the workspaces of the account."""
    with Muster(Settings.load(), account) as muster:
        pages = muster.pages(muster.accounts.ListWorkspaces, pb.ListWorkspacesRequest(), service="definition")
        workspaces = [workspace for page in pages for workspace in page.workspaces]
    if as_json:
        print_json({"workspaces": [as_dict(workspace) for workspace in workspaces]})
        return
    rows = [(workspace.workspace_id, workspace.name, when(workspace.create_time_ms)) for workspace in workspaces]
    table(["workspace", "name", "created"], rows, right=["workspace"], empty="No workspaces: `muster workspace create NAME` makes one.")


@types.command("set")
def set_type(
    workspace: WorkspaceArgument,
    attribute: AttributeArgument,
    type_: Annotated[str, typer.Argument(metavar="TYPE", help=f"One of {', '.join(_TYPES)}.")],
    event: EventOption = False,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read an attribute as this type from now on."""
    if type_ not in _TYPES:
        raise bad_input(f"There is no type {type_!r}.", hint=f"There are: {', '.join(_TYPES)}.")
    override = account_pb2.AttributeOverride(kind=_KINDS[event], attribute=attribute, type=_TYPES[type_])
    request = pb.SetAttributeOverrideRequest(workspace_id=workspace, attribute_override=override)
    with Muster(Settings.load(), account) as muster:
        answer = muster.call(muster.accounts.SetAttributeOverride, request, service="definition")
    _show_types(answer.attribute_overrides, as_json)


@types.command("remove")
def remove_type(
    workspace: WorkspaceArgument,
    attribute: AttributeArgument,
    event: EventOption = False,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read an attribute as what is sent again."""
    request = pb.RemoveAttributeOverrideRequest(workspace_id=workspace, kind=_KINDS[event], attribute=attribute)
    with Muster(Settings.load(), account) as muster:
        answer = muster.call(muster.accounts.RemoveAttributeOverride, request, service="definition")
    _show_types(answer.attribute_overrides, as_json)


@types.command("list")
def list_types(workspace: WorkspaceArgument, account: AccountOption = None, as_json: JsonOption = False) -> None:
    """List the attributes whose type is set."""
    request = pb.ListAttributeOverridesRequest(workspace_id=workspace)
    with Muster(Settings.load(), account) as muster:
        pages = muster.pages(muster.accounts.ListAttributeOverrides, request, service="definition")
        overrides = [override for page in pages for override in page.attribute_overrides]
    _show_types(overrides, as_json)


def _show_types(overrides: Iterable[account_pb2.AttributeOverride], as_json: bool) -> None:
    if as_json:
        print_json({"attribute_overrides": [as_dict(override) for override in overrides]})
        return
    rows = [
        (
            override.attribute,
            word(account_pb2.AttributeKind.Name(override.kind), "ATTRIBUTE_KIND_"),
            word(account_pb2.AttributeType.Name(override.type), "ATTRIBUTE_TYPE_"),
        )
        for override in overrides
    ]
    table(["attribute", "of", "type"], rows, empty="None: every attribute is read as what is sent.")
