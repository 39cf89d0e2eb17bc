"""Settings as they are given on the command line: `--setting url=https://...`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from cli.faults import bad_input

SettingOption = Annotated[
    list[str] | None,
    typer.Option(
        "--setting",
        help="KEY=VALUE, or KEY=@FILE for what a file holds, as with a secret (`@-`: standard input); may be repeated.",
    ),
]


def read_settings(given: Iterable[str]) -> dict[str, str]:
    """The settings by key. Raises a fault for what is not KEY=VALUE, or for a file that can't be read."""
    settings = {}
    for pair in given:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise bad_input(f"{pair!r} is not a setting.", hint="Write it as KEY=VALUE; `muster integration list` names the keys.")
        if key in settings:
            raise bad_input(f"The setting {key} is given twice.")
        settings[key] = _read(key, value[1:]) if value.startswith("@") else value
    return settings


def _read(key: str, source: str) -> str:
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text()
    except (OSError, UnicodeDecodeError) as fault:
        raise bad_input(f"The setting {key} can't be read: {fault}") from None
    # Editors end files with a line break that is no part of a secret.
    return text.rstrip("\r\n")
