"""The `muster` command: its groups, and what becomes of faults."""

from __future__ import annotations

import os
import sys

import typer

from cli import account, audience, configuration, connection, deadletters, dev, input, integration, status, token, workspace
from cli.demo import command as demo
from cli.faults import CliFault, ExitCode
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
for group in (account, workspace, input, audience, integration, configuration, connection, deadletters, token):
    app.add_typer(group.app, name=group.__name__.rpartition(".")[2])


def main() -> None:
    """Run the command of the command line, and end the process with its exit code."""
    try:
        app(prog_name="muster")
    except CliFault as fault:
        print_fault(fault, as_json=JSON_FLAG in sys.argv)
        sys.exit(fault.exit_code)
    except BrokenPipeError:
        # Whoever read our output has had enough, as `| head` has.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.OK)
