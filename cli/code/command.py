"""`muster export`, `muster diff`, `muster apply`: audiences as code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cli.client import Muster
from cli.code.account import read_account
from cli.code.applying import Applying, Outcome, summary
from cli.code.exporting import chosen, make_export
from cli.code.files import write_folder
from cli.code.plan import Action, Change, Kind, Step
from cli.code.planning import Planned, make_plan
from cli.code.showing import outcome_dict, plan_dict, print_plan
from cli.faults import CliFault, ExitCode, bad_input
from cli.output import AccountOption, JsonOption, console, note, print_fault, print_json
from cli.settings import Settings

FolderArgument = Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of the files.")]
PruneOption = Annotated[bool, typer.Option("--prune", help="Delete audiences that have no file, with their tests and connections.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to `muster`."""
    app.command("export")(export)
    app.command("diff")(diff)
    app.command("apply")(apply)


def export(
    folder: FolderArgument,
    audience: Annotated[list[int] | None, typer.Argument(min=1, metavar="[AUDIENCE]...", help="Their numbers; none: all.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Those with this tag; may be repeated, then with all of them.")] = None,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the audiences of the account to files, one each; the same account gives the same bytes."""
    with Muster(Settings.load(), account) as muster:
        found = read_account(muster)
    made = make_export(folder, found, chosen(found, audience or [], tag or []))
    changed = write_folder(folder, made.documents)
    if as_json:
        print_json({"files": sorted(made.documents), "changed": changed, "without_audience": list(made.without_audience)})
        return
    for path in changed:
        console.print(path, markup=False, soft_wrap=True)
    note(f"{len(made.documents)} audiences in {folder}; {len(changed)} files are other than before.")
    if made.without_audience:
        note(f"About no audience, and left alone: {', '.join(made.without_audience)}. `muster apply` would make them.")


def diff(folder: FolderArgument, prune: PruneOption = False, account: AccountOption = None, as_json: JsonOption = False) -> None:
    """Show what `muster apply` would change; exit code 1 if there is anything, 2 if the files have faults."""
    with Muster(Settings.load(), account) as muster:
        planned = make_plan(muster, folder, prune=prune)
    if as_json:
        print_json(plan_dict(planned))
    else:
        print_plan(planned)
    if planned.plan.changes:
        raise typer.Exit(ExitCode.FAILED)


def apply(
    folder: FolderArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    prune: PruneOption = False,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the account as the files say, after showing what changes. Called again after a stop, it goes on where that was."""
    with Muster(Settings.load(), account) as muster:
        planned = make_plan(muster, folder, prune=prune)
        if not as_json:
            print_plan(planned)
        if not planned.plan.changes:
            if as_json:
                print_json({**plan_dict(planned), "outcomes": []})
            return
        if not yes:
            if as_json or not sys.stdin.isatty():
                raise bad_input("This changes the account.", hint="Say that you mean it with --yes; `muster diff` only shows.")
            typer.confirm(_question(planned), abort=True)
        outcomes = _carry_out(muster, planned, as_json=as_json)
    failed = [outcome for outcome in outcomes if outcome.fault]
    if as_json:
        print_json({**plan_dict(planned), "outcomes": [outcome_dict(outcome) for outcome in outcomes]})
    else:
        for outcome in failed:
            print_fault(_named(outcome), as_json=False)
        note(f"{len(outcomes) - len(failed)} of {len(outcomes)} changes were made.")
    if failed:
        raise typer.Exit(ExitCode.FAILED)


def _question(planned: Planned) -> str:
    gone = sum(change.kind is Kind.DELETE for change in planned.plan.changes)
    deleting = f", and delete {gone} audience{'s' if gone > 1 else ''} for good" if gone else ""
    return f"Make {len(planned.plan.changes)} change{'s' if len(planned.plan.changes) > 1 else ''}{deleting}?"


def _carry_out(muster: Muster, planned: Planned, *, as_json: bool) -> list[Outcome]:
    outcomes: list[Outcome] = []

    def told(change: Change, step: Step) -> None:
        if not as_json and step.action in (Action.CREATE, Action.DELETE):
            console.print(f"{summary(change)} {change.name}", markup=False, soft_wrap=True)

    try:
        for outcome in Applying(muster, planned, told).run():
            outcomes.append(outcome)
            if not as_json and not outcome.fault and outcome.change.kind is Kind.EDIT:
                console.print(f"{summary(outcome.change)} {outcome.change.name}", markup=False, soft_wrap=True)
    except CliFault as fault:
        made = sum(not outcome.fault for outcome in outcomes)
        fault.hint = f"{made} of {len(planned.plan.changes)} changes were made. Call it again: it goes on where it stopped."
        raise
    return outcomes


def _named(outcome: Outcome) -> CliFault:
    fault = outcome.fault or CliFault("")
    return CliFault(f"{outcome.change.name}: {fault.message}", violations=fault.violations, hint=fault.hint)
