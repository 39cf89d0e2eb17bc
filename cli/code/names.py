"""Definitions by name: in files `member of "Loyal"`, `in workspace "Shop"` and `from inputs ("Web", "iOS")` have names where the text
language has numbers, and no other place of a text has either. So the one is turned into the other without understanding the rest.
"""

from __future__ import annotations

import enum
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from muster.definition.v1 import definition_pb2


class Kind(enum.StrEnum):
    """What is named."""

    AUDIENCE = "audience"
    WORKSPACE = "workspace"
    INPUT = "input"


class Reference(NamedTuple):
    """A name in a text, `start` to `end` with its quotes; the phrase that it ends (`member of "Loyal"`) begins at `phrase`."""

    kind: Kind
    name: str
    phrase: int
    start: int
    end: int


class Slip(NamedTuple):
    """What is wrong at an offset of a text."""

    start: int
    description: str


class _Token(NamedTuple):
    kind: str
    text: str
    start: int
    end: int


# As the language has them, so far as names and numbers go; tests/cli/code compares the two.
_TOKEN = re.compile(
    r"""
      (?P<SPACE>\s+ | \#[^\n]*)
    | (?P<DATE>[0-9]{4}-[0-9]{2}-[0-9]{2}(?!\w))
    | (?P<NUMBER>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    | (?P<WORD>[^\W\d][\w$]*)
    | (?P<STRING>"[^"\\\r\n]*(?:\\[^\r\n][^"\\\r\n]*)*" | '[^'\\\r\n]*(?:\\[^\r\n][^'\\\r\n]*)*')
    | (?P<OPEN>["'][^\r\n]*)
    | (?P<SIGN>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}
_QUOTED_BY_CODE = {"Cc", "Zl", "Zp"}
# The words before what is named. The inputs may be several, in brackets.
_PHRASES = {
    ("member", "of"): Kind.AUDIENCE,
    ("in", "workspace"): Kind.WORKSPACE,
    ("from", "input"): Kind.INPUT,
    ("from", "inputs"): Kind.INPUT,
}
_EXAMPLES = {Kind.AUDIENCE: 'member of "Loyal"', Kind.WORKSPACE: 'in workspace "Shop"', Kind.INPUT: 'from input "Web"'}


def tokens_of(text: str) -> list[_Token]:
    """The pieces of a text that are no blanks and notes; words in lower case."""
    found = []
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        if kind != "SPACE":
            found.append(_Token(kind, match[0].casefold() if kind == "WORD" else match[0], *match.span()))
    return found


def references(text: str) -> tuple[list[Reference], list[Slip]]:
    """The names in a text, in their order, and each place where a number stands in place of a name."""
    found: list[Reference] = []
    slips: list[Slip] = []
    for kind, phrase, token in _named(text):
        if token.kind == "STRING":
            found.append(Reference(kind, unquoted(token.text), phrase, token.start, token.end))
        else:
            slips.append(
                Slip(token.start, f"the {kind} is told by its number, which is another elsewhere; write its name: {_EXAMPLES[kind]}")
            )
    return found, slips


def with_names(text: str, name: Callable[[Kind, int], str]) -> str:
    """A text as the server prints it, each number of an audience, a workspace or an input replaced by the name."""
    pieces, end = [], 0
    for kind, _, token in _named(text):
        if token.kind == "NUMBER":
            pieces += [text[end : token.start], quoted(name(kind, int(token.text)))]
            end = token.end
    return "".join([*pieces, text[end:]])


def _named(text: str) -> Iterator[tuple[Kind, int, _Token]]:
    """Each name or number of something, with what it is of and where its phrase begins."""
    tokens = tokens_of(text)
    for index, (first, second) in enumerate(pairwise(tokens)):
        if first.kind != "WORD" or second.kind != "WORD" or (kind := _PHRASES.get((first.text, second.text))) is None:
            continue
        rest = tokens[index + 2 :][:1]
        if kind is Kind.INPUT and rest and rest[0].text == "(":
            rest = []
            for token in tokens[index + 3 :]:
                if token.kind not in ("STRING", "NUMBER") and token.text != ",":
                    break
                rest.append(token)
        yield from ((kind, first.start, token) for token in rest if token.kind in ("STRING", "NUMBER"))


@dataclass(frozen=True, slots=True)
class Replaced:
    """A text with some pieces replaced, and the way back from its places to those of the text that it was made of."""

    text: str
    before: str
    # (start before, end before, start now, end now) of each piece, in their order.
    pieces: tuple[tuple[int, int, int, int], ...]

    def place(self, line: int, column: int) -> tuple[int, int]:
        """The line and column before of a line and column now, all from 1; inside a piece, where that begins."""
        return line_and_column(self.before, self._offset(_offset(self.text, line, column)))

    def _offset(self, now: int) -> int:
        moved = 0
        for start, end, start_now, end_now in self.pieces:
            if now < start_now:
                break
            if now < end_now:
                return start
            moved = end - end_now
        return now + moved


def replaced(text: str, pieces: Sequence[tuple[int, int, str]]) -> Replaced:
    """The text with each piece from `start` up to `end` replaced; they are in order and do not overlap."""
    made, places, end, length = [], [], 0, 0
    for start, stop, new in pieces:
        made += [text[end:start], new]
        length += start - end
        places.append((start, stop, length, length + len(new)))
        length += len(new)
        end = stop
    return Replaced("".join([*made, text[end:]]), text, tuple(places))


def with_numbers(text: str, found: Sequence[Reference], number: Callable[[Reference], int]) -> Replaced:
    """The text as the server reads it."""
    return replaced(text, [(one.start, one.end, str(number(one))) for one in found])


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """From 1."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def _offset(text: str, line: int, column: int) -> int:
    start = 0
    for _ in range(line - 1):
        start = text.find("\n", start) + 1
    return start + column - 1


def quoted(text: str) -> str:
    """A text in quotes, on one line."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if unicodedata.category(character) in _QUOTED_BY_CODE:
        return f"\\u{ord(character):04x}"
    return character


def unquoted(text: str) -> str:
    """What a text in quotes says."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)) if match[1] else _ESCAPED.get(match[2], match[2]), text[1:-1])


def inner_audiences(definition: definition_pb2.Definition) -> set[int]:
    """The numbers of the audiences whose members a definition reads."""
    return {one.audience_id for one in _memberships(definition)}


def renumbered(definition: definition_pb2.Definition, number: Callable[[int], int]) -> definition_pb2.Definition:
    """A copy in which the number of each audience is another."""
    made = definition_pb2.Definition()
    made.CopyFrom(definition)
    for one in _memberships(made):
        one.audience_id = number(one.audience_id)
    return made


def _memberships(definition: definition_pb2.Definition) -> Iterator[definition_pb2.MemberOfCriterion]:
    waiting = [definition.root]
    while waiting:
        node = waiting.pop()
        match node.WhichOneof("kind"):
            case "all":
                waiting += node.all.nodes
            case "any":
                waiting += node.any.nodes
            case "exclude":
                waiting.append(node.exclude.node)
            case "criterion" if node.criterion.WhichOneof("kind") == "member_of":
                yield node.criterion.member_of
