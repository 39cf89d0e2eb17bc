"""`muster import`, as it is called; `run` does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.importing.format import Format
from cli.output import AccountOption, JsonOption


def import_file(
    file: Annotated[str, typer.Argument(help="A CSV, NDJSON or Parquet file: a path, or s3://bucket/key.")],
    input: Annotated[int, typer.Option(min=1, help="The input that the data is of.")],
    mapping: Annotated[Path | None, typer.Option(help="A YAML file that says which column becomes which field.")] = None,
    format: Annotated[Format | None, typer.Option(help="The format, where the ending does not tell it.")] = None,
    delimiter: Annotated[str, typer.Option(help="Between the values of CSV; otherwise the one that the header has most of.")] = "",
    rejects: Annotated[Path | None, typer.Option(help="Where refused rows go; otherwise beside the file.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check every row and keep none.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Import a file that was imported; what it holds counts once more.")] = False,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import events or user attributes from a file; called again after a stop, it goes on where it was."""
    # Here, so that no other command waits for Arrow.
    from cli.importing.run import Call, run  # noqa: PLC0415

    run(Call(file, input, mapping, format, delimiter, rejects, dry_run, again, account, as_json))
