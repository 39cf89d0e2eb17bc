"""The `muster` command: its groups, and what becomes of faults."""

from __future__ import annotations

import os
import sys

import typer

from cli import (
    account,
    audience,
    audit,
    catalogue,
    configuration,
    connection,
    deadletters,
    deleting,
    dev,
    input,
    integration,
    lifecycle,
    listing,
    person,
    public_json,
    revisions,
    status,
    test,
    token,
    validation,
    workspace,
)
from cli.code import command as code
from cli.demo import command as demo
from cli.faults import CliFault, ExitCode, bad_input
from cli.importing import command as importing
from cli.output import JSON_FLAG, print_fault

app = typer.Typer(
    name="muster",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Muster, the open audience manager: live, exact audiences, and every connected tool equal to them.\n\n"
    "Exit codes: 0 done; 1 failed, or differs; 2 called wrongly, or bad input; 3 a service does not answer.",
)
app.command("dev")(dev.dev)
app.command("demo")(demo.demo)
app.command("status")(status.status)
app.command("import")(importing.import_file)
code.add_to(app)
for commands in (listing, lifecycle, revisions, public_json, validation, deleting):
    commands.add_to(audience.app)
for group in (
    account,
    workspace,
    input,
    person,
    catalogue,
    audience,
    test,
    integration,
    configuration,
    connection,
    deadletters,
    audit,
    token,
):
    app.add_typer(group.app, name=group.__name__.rpartition(".")[2])


def main() -> None:
    """Run the command of the command line, and end the process with its exit code."""
    as_json = JSON_FLAG in sys.argv
    try:
        # Typer tells people itself how a command is called.
        code = app(prog_name="muster", standalone_mode=not as_json)
        sys.exit(code if isinstance(code, int) else ExitCode.OK)
    except CliFault as fault:
        print_fault(fault, as_json=as_json)
        sys.exit(fault.exit_code)
    except typer.TyperException as fault:
        print_fault(bad_input(fault.format_message()), as_json=as_json)
        sys.exit(ExitCode.BAD_INPUT)
    except typer.Abort:
        sys.exit(ExitCode.FAILED)
    except BrokenPipeError:
        # Whoever read our output has had enough, as `| head` has.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.OK)
    except Exception as error:
        if os.environ.get("MUSTER_DEBUG"):
            raise
        words = f"Something unexpected happened: {type(error).__name__}: {error}"
        print_fault(CliFault(words, hint="MUSTER_DEBUG=1 shows where."), as_json=as_json)
        sys.exit(ExitCode.FAILED)
