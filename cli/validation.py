"""`muster audience validate`: what is wrong with a definition, and what its author may not have meant."""

from __future__ import annotations

from typing import Annotated

import typer
from muster.definition.v1 import definition_service_pb2 as pb

from cli import definition as definitions
from cli.client import Muster
from cli.definition import DefinitionOption, TextOption
from cli.faults import ExitCode, bad_input
from cli.output import AccountOption, JsonOption, as_dict, console, print_json, table
from cli.settings import Settings


def add_to(app: typer.Typer) -> None:
    """Add the command to `muster audience`."""
    app.command("validate")(validate)


def validate(
    audience: Annotated[int | None, typer.Argument(min=1, metavar="[AUDIENCE]", help="A saved audience, a draft for example.")] = None,
    definition: DefinitionOption = "",
    text: TextOption = "",
    workspace: Annotated[list[int] | None, typer.Option(min=1, help="A workspace to read; may be repeated.")] = None,
    input_id: Annotated[list[int] | None, typer.Option("--input", min=1, help="An input to read; may be repeated. None: all.")] = None,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the faults and warnings of a definition, without saving anything. Exit code 2 if there are faults."""
    if [audience is not None, bool(definition), bool(text)].count(True) != 1:
        raise bad_input("Validate what? Give the number of an audience, or --definition FILE or --text TEXT with --workspace.")
    with Muster(Settings.load(), account) as muster:
        if audience is not None:
            saved = muster.call(muster.audiences.GetAudience, pb.GetAudienceRequest(audience_id=audience), service="definition")
            request = pb.ValidateDefinitionRequest(
                definition=saved.definition, workspace_ids=saved.workspace_ids, input_ids=saved.input_ids, audience_id=audience
            )
        else:
            workspaces, inputs = workspace or [], input_id or []
            tree = definitions.read(muster, definition, text, workspaces=workspaces, inputs=inputs)
            request = pb.ValidateDefinitionRequest(definition=tree, workspace_ids=workspaces, input_ids=inputs)
        verdict = muster.call(muster.audiences.ValidateDefinition, request, service="definition")
    if as_json:
        print_json(as_dict(verdict))
    elif verdict.faults or verdict.warnings:
        found = [("fault", one) for one in verdict.faults] + [("warning", one) for one in verdict.warnings]
        table(["", "where", "what"], [(kind, one.field, one.description) for kind, one in found])
    else:
        console.print("Nothing is wrong with it.")
    if verdict.faults:
        raise typer.Exit(ExitCode.BAD_INPUT)
