"""`muster workspace`: the parts of an account."""

from __future__ import annotations

from typing import Annotated

import typer
from muster.definition.v1 import definition_service_pb2 as pb

from cli.client import Muster
from cli.output import AccountOption, JsonOption, as_dict, fields, print_json, table, when
from cli.settings import Settings

app = typer.Typer(no_args_is_help=True, help="The parts of an account.")


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
