"""Tests of text: always case-insensitive, by full Unicode case folding. semantics: Strings."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import cached_property


class Way(Enum):
    CONTAINS = "contains"
    EQUALS = "equals"
    PATTERN = "pattern"
    STARTS_WITH = "starts with"
    ENDS_WITH = "ends with"
    IN = "in"


@dataclass(frozen=True)
class StringTest:
    """A test of a text that is there; what a missing one means is for the criterion to say. The operands are case-folded."""

    way: Way
    operands: frozenset[str]
    negative: bool = False

    @classmethod
    def of(cls, way: Way, operands: Iterable[str], *, negative: bool = False) -> "StringTest":
        folded = (operand.casefold() for operand in operands)
        if way is Way.PATTERN:  # any number of stars says no more than one
            folded = (re.sub(r"\*+", "*", operand) for operand in folded)
        return cls(way, frozenset(folded), negative)

    def holds(self, text: str) -> bool:
        return self._matches(text) != self.negative

    def _matches(self, text: str) -> bool:
        folded = text.casefold()
        match self.way:
            case Way.EQUALS | Way.IN:
                return folded in self.operands
            case Way.CONTAINS:
                return self._operand in folded
            case Way.STARTS_WITH:
                return folded.startswith(self._operand)
            case Way.ENDS_WITH:
                return folded.endswith(self._operand)
            case Way.PATTERN if len(folded) == len(text):  # every character folds to one
                return self._expression.match(folded) is not None
            case Way.PATTERN:
                return _describes(self._operand, text)

    @cached_property
    def _operand(self) -> str:
        (operand,) = self.operands
        return operand

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        """Of the pattern.

        The first place where a piece between two stars fits is as good as any later one, so the search never goes back.
        """
        first, *rest = ("".join("." if c == "?" else re.escape(c) for c in piece) for piece in self._operand.split("*"))
        middle = "".join(f"(?>.*?{piece})" for piece in rest[:-1] if piece)
        end = f".*{rest[-1]}" if rest else ""
        return re.compile(rf"{first}{middle}{end}\Z", re.DOTALL)


def _describes(pattern: str, text: str) -> bool:
    """The pattern of a text with characters that fold to several letters, as `ß` does to `ss`: `?` is still one written character."""
    places = _past_stars(pattern, {0})  # in the pattern: how far it may have come
    for character in text:
        skipped = {place + 1 for place in places if pattern[place : place + 1] == "?"}
        for letter in character.casefold():
            stays = {place for place in places if pattern[place : place + 1] == "*"}
            moves = {place + 1 for place in places if pattern[place : place + 1] == letter and letter not in "*?"}
            places = _past_stars(pattern, stays | moves)
        places |= _past_stars(pattern, skipped)
    return len(pattern) in places


def _past_stars(pattern: str, places: set[int]) -> set[int]:
    """A star may also stand for nothing."""
    reached = set(places)
    for place in places:
        while pattern[place : place + 1] == "*":
            place += 1
            reached.add(place)
    return reached
