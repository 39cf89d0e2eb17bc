"""`muster audience edit, clone, revisions, diff, restore`: an audience as a document with a history."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from muster.definition.v1 import audience_pb2, definition_pb2
from muster.definition.v1 import definition_service_pb2 as pb
from muster.definition.v1 import language_service_pb2 as language_pb
from muster.evaluator.v1 import evaluator_service_pb2 as evaluator_pb
from rich.markup import escape

from cli import definition as definitions
from cli.client import Muster
from cli.definition import DefinitionOption, TextOption
from cli.faults import CliFault, ExitCode, bad_input
from cli.output import AccountOption, AudienceArgument, JsonOption, as_dict, console, count, fields, note, print_json, table, when, word
from cli.settings import Settings
from services.chassis.errors import FieldViolation

_MARKS = {
    language_pb.DIFFERENCE_KIND_ADDED: "[green]+[/]",
    language_pb.DIFFERENCE_KIND_REMOVED: "[red]-[/]",
    language_pb.DIFFERENCE_KIND_CHANGED: "[yellow]~[/]",
    language_pb.DIFFERENCE_KIND_MOVED: "[cyan]>[/]",
}
_CHOICES = {language_pb.DIFFERENCE_KIND_WORKSPACES: "workspaces", language_pb.DIFFERENCE_KIND_INPUTS: "inputs"}


def add_to(app: typer.Typer) -> None:
    """Add these commands to `muster audience`."""
    for command in (edit, clone, revisions, diff, restore):
        app.command(command.__name__)(command)


def edit(
    audience: AudienceArgument,
    text: TextOption = "",
    definition: DefinitionOption = "",
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    external_name: Annotated[str | None, typer.Option(help="What partners see; '' stands for the name.")] = None,
    description: Annotated[str | None, typer.Option(help="For colleagues.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A tag, in place of all that there are; may be repeated, '' for none.")] = None,
    note_text: Annotated[str, typer.Option("--note", help="Why, kept with the revision.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Edit an audience. Another definition is shown with what it changes, criterion by criterion, and who would enter and leave."""
    with Muster(Settings.load(), account) as muster:
        before = muster.call(muster.audiences.GetAudience, pb.GetAudienceRequest(audience_id=audience), service="definition")
        wanted = audience_pb2.Audience(audience_id=audience, etag=before.etag)
        request = pb.UpdateAudienceRequest(audience=wanted, note=note_text)
        told = {"name": name, "external_name": external_name, "description": description}
        for field, value in told.items():
            if value is not None:
                setattr(request.audience, field, value)
                request.update_mask.paths.append(field)
        if tag is not None:
            request.audience.tags.extend(one for one in tag if one)
            request.update_mask.paths.append("tags")
        compared, effect = None, None
        if text or definition:
            new = definitions.read(muster, definition, text, workspaces=before.workspace_ids, inputs=before.input_ids)
            _check(muster, before, new)
            request.audience.definition.CopyFrom(new)
            request.update_mask.paths.append("definition")
            compare = language_pb.CompareDefinitionsRequest(audience_id=audience, definition=new)
            compared = muster.call(muster.language.CompareDefinitions, compare, service="definition")
            effect = None if compared.same else _effect(muster, before, request.audience)
        if not request.update_mask.paths:
            raise bad_input("There is nothing to change.", hint="Say what, for example with --text or --name.")
        if compared is not None and not as_json:
            _print_differences(compared)
            if effect is not None:
                _print_effect(effect, before)
        if dry_run:
            if as_json:
                print_json({"compared": as_dict(compared) if compared else None, "effect": effect})
            return
        if not yes and compared is not None and not compared.same and before.state == audience_pb2.AUDIENCE_STATE_ACTIVE:
            if as_json or not sys.stdin.isatty():
                raise bad_input("This changes who is in an active audience.", hint="Say that you mean it with --yes.")
            typer.confirm("Apply it?", abort=True)
        _show(muster.call(muster.audiences.UpdateAudience, request, service="definition"), as_json)


def clone(
    audience: AudienceArgument,
    name: Annotated[str, typer.Option(help="At most 100 characters; otherwise `Copy of` the other's.")] = "",
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a draft of the same definition and tags, without connections and tests."""
    with Muster(Settings.load(), account) as muster:
        request = pb.CloneAudienceRequest(audience_id=audience, name=name)
        _show(muster.call(muster.audiences.CloneAudience, request, service="definition"), as_json)


def revisions(audience: AudienceArgument, account: AccountOption = None, as_json: JsonOption = False) -> None:
    """List the revisions of an audience's definition, the newest first."""
    with Muster(Settings.load(), account) as muster:
        request = pb.ListAudienceRevisionsRequest(audience_id=audience)
        pages = muster.pages(muster.audiences.ListAudienceRevisions, request, service="definition")
        found = [revision for page in pages for revision in page.revisions]
    if as_json:
        print_json({"revisions": [as_dict(revision) for revision in found]})
        return
    rows = [(one.revision, when(one.create_time_ms), one.author, one.note) for one in found]
    table(["revision", "made", "by", "note"], rows, right=["revision"])


def diff(
    audience: AudienceArgument,
    from_revision: Annotated[int, typer.Option("--from", min=0, help="A revision; 0: the one before the newest.")] = 0,
    to_revision: Annotated[int, typer.Option("--to", min=0, help="A revision; 0: the newest.")] = 0,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what is different between two revisions, criterion by criterion; exit code 1 if anything is."""
    with Muster(Settings.load(), account) as muster:
        if not from_revision:
            newest = muster.call(muster.audiences.GetAudience, pb.GetAudienceRequest(audience_id=audience), service="definition").revision
            from_revision = max(1, newest - 1)
        request = language_pb.CompareDefinitionsRequest(audience_id=audience, from_revision=from_revision, to_revision=to_revision)
        compared = muster.call(muster.language.CompareDefinitions, request, service="definition")
    if as_json:
        print_json(as_dict(compared))
    else:
        _print_differences(compared)
    if not compared.same:
        raise typer.Exit(ExitCode.FAILED)


def restore(
    audience: AudienceArgument,
    revision: Annotated[int, typer.Argument(min=1, help="The number of the revision.")],
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give an audience back the definition of a revision, as a new revision."""
    with Muster(Settings.load(), account) as muster:
        request = pb.RestoreAudienceRevisionRequest(audience_id=audience, revision=revision)
        _show(muster.call(muster.audiences.RestoreAudienceRevision, request, service="definition"), as_json)


def _check(muster: Muster, before: audience_pb2.Audience, new: definition_pb2.Definition) -> None:
    """Tell the warnings of a definition. Raises a fault for one that would be refused, before anybody is asked."""
    request = pb.ValidateDefinitionRequest(
        definition=new, workspace_ids=before.workspace_ids, input_ids=before.input_ids, audience_id=before.audience_id
    )
    verdict = muster.call(muster.audiences.ValidateDefinition, request, service="definition")
    for one in verdict.warnings:
        note(f"{one.field}: {one.description}")
    if verdict.faults:
        violations = [FieldViolation(one.field, one.description, one.reason) for one in verdict.faults]
        raise CliFault("The definition can't be saved.", exit_code=ExitCode.BAD_INPUT, reason="INVALID_AUDIENCE", violations=violations)


def _effect(muster: Muster, before: audience_pb2.Audience, after: audience_pb2.Audience) -> dict[str, int] | None:
    """How many people an active audience would gain and lose, and its new size; None where the evaluator does not answer."""
    request = evaluator_pb.EstimateRequest(
        definition=after.definition,
        workspace_ids=before.workspace_ids,
        input_ids=before.input_ids,
        overlap_audience_id=before.audience_id,
    )
    try:
        said = muster.call(muster.evaluator.Estimate, request, service="evaluator")
    except CliFault as fault:
        if fault.exit_code is ExitCode.UNAVAILABLE:
            return None
        raise
    return {"enter": said.size - said.overlap, "leave": said.overlap_size - said.overlap, "size": said.size}


def _print_effect(effect: dict[str, int], before: audience_pb2.Audience) -> None:
    if before.state == audience_pb2.AUDIENCE_STATE_ACTIVE:
        console.print(
            f"{count(effect['enter'])} would enter, {count(effect['leave'])} would leave; {count(effect['size'])} would be in it."
        )
    else:
        console.print(f"{count(effect['size'])} would be in it once it is active.")


def _print_differences(compared: language_pb.CompareDefinitionsResponse) -> None:
    if compared.same:
        console.print("Both mean the same.")
    for one in compared.differences:
        if one.kind in _CHOICES:
            console.print(escape(f"{_CHOICES[one.kind]}: {one.before} -> {one.after}"))
        elif one.kind == language_pb.DIFFERENCE_KIND_ADDED:
            console.print(f"{_MARKS[one.kind]} {escape(one.after)}", soft_wrap=True)
        elif one.kind == language_pb.DIFFERENCE_KIND_REMOVED:
            console.print(f"{_MARKS[one.kind]} {escape(one.before)}", soft_wrap=True)
        else:
            console.print(f"{_MARKS.get(one.kind, '?')} {escape(one.before)}", soft_wrap=True)
            console.print(f"  {escape(one.after)}", soft_wrap=True)


def _show(audience: audience_pb2.Audience, as_json: bool) -> None:
    if as_json:
        print_json(as_dict(audience))
        return
    state = word(audience_pb2.AudienceState.Name(audience.state), "AUDIENCE_STATE_")
    fields([("audience", audience.audience_id), ("name", audience.name), ("state", state), ("revision", audience.revision)])
