"""`muster audience export-json` and `import-json`: definitions in the public JSON form, with a report of each part."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from muster.definition.v1 import audience_pb2
from muster.definition.v1 import definition_service_pb2 as definition_pb
from muster.definition.v1 import public_json_service_pb2 as pb

from cli.client import Muster
from cli.faults import CliFault, ExitCode, bad_input
from cli.output import AccountOption, AudienceArgument, JsonOption, as_dict, note, print_json, table, word
from cli.settings import Settings

_TEXT_MAX_BYTES = 4 * 1024 * 1024


def add_to(app: typer.Typer) -> None:
    """Add these commands to `muster audience`."""
    app.command("export-json")(export_json)
    app.command("import-json")(import_json)


def export_json(
    audience: AudienceArgument,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the text to this file; otherwise it is printed.")] = None,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the definition of an audience in the public JSON form, and say what the form cannot carry."""
    with Muster(Settings.load(), account) as muster:
        request = pb.ExportPublicJsonRequest(audience_id=audience)
        answer = muster.call(muster.public_json.ExportPublicJson, request, service="definition")
    if answer.json_text and output is not None:
        _write(output, answer.json_text)
    if as_json:
        print_json(as_dict(answer))
        raise typer.Exit(ExitCode.OK if answer.json_text else ExitCode.FAILED)
    if not answer.json_text:
        _print_report(answer.report)
        raise CliFault("The audience can't be exported: the form cannot say all of it.", hint="The report says how to mend each part.")
    if output is None:
        sys.stdout.write(answer.json_text + "\n")
        for entry in answer.report.entries:
            if entry.outcome == pb.PUBLIC_JSON_OUTCOME_NOTED:
                note(f"{entry.place}: {entry.description}")
    else:
        _print_report(answer.report)


def import_json(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file in the public JSON form; `-` reads standard input.")],
    workspace: Annotated[list[int], typer.Option(min=1, help="A workspace to read; may be repeated.")],
    name: Annotated[str, typer.Option(help="The name of the audience; otherwise that of the file.")] = "",
    input_id: Annotated[list[int] | None, typer.Option("--input", min=1, help="An input to read; may be repeated. None: all.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would become of it, and save nothing.")] = False,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Save an audience in the public JSON form as a draft, if all of it can be read."""
    text = _read(file)
    with Muster(Settings.load(), account) as muster:
        request = pb.ImportPublicJsonRequest(json_text=text, workspace_ids=workspace, input_ids=input_id or [])
        answer = muster.call(muster.public_json.ImportPublicJson, request, service="definition")
        right = answer.HasField("definition") and not answer.faults
        made = None
        if right and not dry_run:
            wanted = audience_pb2.Audience(
                name=name or ("Imported audience" if file == "-" else Path(file).stem),
                workspace_ids=workspace,
                input_ids=input_id or [],
                definition=answer.definition,
            )
            made = muster.call(muster.audiences.CreateAudience, definition_pb.CreateAudienceRequest(audience=wanted), service="definition")
    if as_json:
        print_json({**as_dict(answer), "audience": as_dict(made) if made else None})
        raise typer.Exit(ExitCode.OK if right else ExitCode.BAD_INPUT)
    _print_report(answer.report)
    if answer.faults:
        table(["fault", "what"], [(fault.field, fault.description) for fault in answer.faults])
    if not right:
        raise bad_input("Nothing was saved: not all of the text can be an audience.", hint="The report says how to mend each part.")
    for warning in answer.warnings:
        note(f"{warning.field}: {warning.description}")
    note(f"Saved as the draft {made.audience_id} ({made.name})." if made else "Nothing was saved: it was a dry run.")


def _print_report(report: pb.PublicJsonReport) -> None:
    rows = [
        (word(pb.PublicJsonOutcome.Name(entry.outcome), "PUBLIC_JSON_OUTCOME_"), entry.place or "/", entry.description)
        for entry in report.entries
    ]
    table(["outcome", "where", "what"], rows)
    if report.omitted:
        note(f"{report.omitted} more are not listed.")


def _read(source: str) -> str:
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise bad_input(f"The file can't be read: {fault}") from None
    if len(text.encode(errors="replace")) > _TEXT_MAX_BYTES:
        raise bad_input(f"The text is longer than {_TEXT_MAX_BYTES:,} bytes.", hint="Split the audience.")
    return text


def _write(output: Path, text: str) -> None:
    try:
        output.write_text(text + "\n", encoding="utf-8")
    except OSError as fault:
        raise CliFault(f"The file can't be written: {fault}") from None
