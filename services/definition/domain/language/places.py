"""What is wrong at a place of a text, and all that is wrong with one text."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field

SLIPS_MAX = 100


class Slip(Exception):
    """Something wrong from `start` up to `end`, offsets into the text, which are equal where something is missing. `suggestion` is the
    phrase that was probably meant, or empty."""

    def __init__(self, start: int, end: int, description: str, suggestion: str = "") -> None:
        super().__init__(description)
        self.start = start
        self.end = end
        self.description = description
        self.suggestion = suggestion


@dataclass(slots=True)
class Slips:
    """Where lexer and parser write what they find: one at each place, until there are 100 or `closed` is set."""

    found: dict[int, Slip] = field(default_factory=dict)
    closed: bool = False

    def add(self, slip: Slip) -> None:
        if not self.closed:
            self.found.setdefault(slip.start, slip)
            self.closed = len(self.found) >= SLIPS_MAX


@dataclass(frozen=True, slots=True)
class TextFault:
    """A fault of a text: `line` and `column` from 1, `length` in characters, all inside the line; 0 where something is missing."""

    line: int
    column: int
    length: int
    description: str
    suggestion: str = ""


def placed(slips: Iterable[Slip], text: str) -> tuple[TextFault, ...]:
    """Slips in the order of their places, by line and column."""
    lines = text.split("\n")
    starts, start = [0], 0
    for line in lines[:-1]:
        start += len(line) + 1
        starts.append(start)
    faults = []
    for slip in sorted(slips, key=lambda slip: (slip.start, slip.end)):
        number = bisect_right(starts, slip.start) - 1
        column = slip.start - starts[number]
        # What spans several lines is shown to the end of its first one.
        length = min(slip.end - slip.start, len(lines[number]) - column)
        faults.append(TextFault(number + 1, column + 1, max(length, 0), slip.description, slip.suggestion))
    return tuple(faults)
