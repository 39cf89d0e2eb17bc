"""What commands print: for people, or as JSON for programs. Results go to standard output, faults to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.faults import CliFault

JSON_FLAG = "--json"

# What commands share.
AudienceArgument = Annotated[int, typer.Argument(min=1, metavar="AUDIENCE", help="The number of the audience.")]
JsonOption = Annotated[bool, typer.Option(JSON_FLAG, help="Print JSON, as protobuf writes it: 64-bit numbers as text.")]
AccountOption = Annotated[
    int | None,
    typer.Option("--account", min=1, help="The account to work in; otherwise MUSTER_ACCOUNT, or the first one of `muster dev`."),
]

console = Console(highlight=False)
_errors = Console(stderr=True, highlight=False)


def as_dict(message: Message) -> dict[str, Any]:
    """A message as JSON has it, every field named as in the contract."""
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def print_json(value: Any) -> None:
    """One JSON document."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = (), empty: str = "None.") -> None:
    """A table for people; `right` names the columns of numbers."""
    rows = list(rows)
    if not rows:
        console.print(empty)
        return
    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        shown.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(escape(str(cell)) for cell in row))
    console.print(shown)


def fields(pairs: Iterable[tuple[str, object]]) -> None:
    """Names and values, one a line; empty values are left out."""
    shown = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    shown.add_column(style="dim")
    shown.add_column(overflow="fold")
    for name, value in pairs:
        if value not in ("", None):
            shown.add_row(name, escape(str(value)))
    console.print(shown)


def print_fault(fault: CliFault, *, as_json: bool) -> None:
    """The one message of a command that failed."""
    if as_json:
        sys.stderr.write(json.dumps(fault.as_dict(), ensure_ascii=False) + "\n")
        return
    _errors.print(f"[bold red]muster:[/] {escape(fault.message)}", soft_wrap=True)
    for line in fault.excerpt:
        _errors.print(escape(line), soft_wrap=True)
    for violation in fault.violations if not fault.excerpt else []:
        _errors.print(f"  [bold]{escape(violation.field)}[/]: {escape(violation.description)}", soft_wrap=True)
    if fault.hint:
        _errors.print(f"[dim]{escape(fault.hint)}[/]", soft_wrap=True)


def note(words: str) -> None:
    """Something for people beside the result, on standard error so that it is in nobody's pipe."""
    _errors.print(f"[dim]{escape(words)}[/]", soft_wrap=True)


def word(enum_name: str, prefix: str) -> str:
    """An enum value for people: `AUDIENCE_STATE_ACTIVE` with the prefix `AUDIENCE_STATE_` is `active`."""
    return enum_name.removeprefix(prefix).lower().replace("_", " ")


def when(ms: int) -> str:
    """An instant for people, in UTC; empty for 0, which means never."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if ms else ""


def count(number: int) -> str:
    """`12,345`."""
    return f"{number:,}"
