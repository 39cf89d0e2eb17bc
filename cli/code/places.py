"""Where something stands in a file, and what is wrong there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from cli.faults import CliFault, ExitCode
from services.chassis.errors import FieldViolation


class Place(NamedTuple):
    """A place in a file; `line` and `column` are from 1, and 0 where the file as a whole is meant."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


class Fault(NamedTuple):
    """What is wrong at a place, and how to mend it."""

    place: Place
    description: str


def refused(faults: Iterable[Fault]) -> CliFault:
    """All faults of all files, in the order of their places."""
    # A name may be wrong for two reasons that are told alike.
    found = sorted(dict.fromkeys(faults))
    return CliFault(
        "The files have faults." if len(found) > 1 else "The files have a fault.",
        exit_code=ExitCode.BAD_INPUT,
        violations=[FieldViolation(str(fault.place), fault.description) for fault in found],
        hint="docs/guides/audiences-as-code.md shows a file, and says what each field is.",
    )
