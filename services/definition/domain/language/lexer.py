"""A text of the language in tokens, each with its place, and texts in quotes."""

from __future__ import annotations

import re
import unicodedata
from enum import Enum, auto
from typing import NamedTuple

from .places import Slip, Slips

TOKENS_MAX = 100_000


class Kind(Enum):
    """What a token is."""

    WORD = auto()
    STRING = auto()
    NUMBER = auto()
    DATE = auto()
    SYMBOL = auto()
    # What has no meaning, and was told.
    OTHER = auto()
    END = auto()


class Token(NamedTuple):
    """A piece of the text from `start` up to `end`. `text` is a word in lower case, a string without its quotes, all else as it stands."""

    kind: Kind
    text: str
    start: int
    end: int


_TOKEN = re.compile(
    r"""
      (?P<SPACE>\s+ | \#[^\n]*)
    | (?P<DATE>[0-9]{4}-[0-9]{2}-[0-9]{2}(?!\w))
    | (?P<NUMBER>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    | (?P<WORD>[^\W\d][\w$]*)
    | (?P<STRING>"[^"\\\r\n]*(?:\\[^\r\n][^"\\\r\n]*)*" | '[^'\\\r\n]*(?:\\[^\r\n][^'\\\r\n]*)*')
    | (?P<SYMBOL>!=|<=|>=|[()\[\],=<>])
    | (?P<OPEN>["'][^\r\n]*)
    | (?P<OTHER>[^\w\s"'\#()\[\],=<>!+.-]+ | .)
    """,
    re.VERBOSE | re.DOTALL,
)
_SHOWN_MAX = 10  # characters
_KINDS = {kind.name: kind for kind in Kind}
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPED = {'"': '"', "'": "'", "\\": "\\", "n": "\n", "r": "\r", "t": "\t"}
_QUOTES = "“”„‟«»‘’‚‛`´"
# Controls and separators of lines and paragraphs, which would break the line.
_UNPRINTABLE = {"Cc", "Zl", "Zp"}


def tokens_of(text: str, slips: Slips) -> list[Token]:
    """The tokens with an END behind them. What has no meaning is told. Raises Slip when there are too many."""
    tokens = list[Token]()
    for match in _TOKEN.finditer(text):
        group, found = match.lastgroup or "", match[0]
        if group == "SPACE":
            continue
        start, end = match.span()
        if group in ("OPEN", "OTHER"):
            slips.add(_no_token(group, found, start, end))
            if slips.closed:
                break
            if group == "OPEN":
                group, found = "STRING", f"{found}{found[0]}"
        if len(tokens) == TOKENS_MAX:
            raise Slip(start, end, f"The text has more than {TOKENS_MAX:,} words and signs; split it into several audiences.")
        if group == "STRING":
            found = _unquoted(found, start, slips)
        elif group == "WORD":
            found = found.casefold()
        tokens.append(Token(_KINDS[group], found, start, end))
    tokens.append(Token(Kind.END, "", len(text), len(text)))
    return tokens


def quoted(text: str) -> str:
    """A text in quotes, on one line."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if unicodedata.category(character) in _UNPRINTABLE:
        return f"\\u{ord(character):04x}"
    return character


def _unquoted(found: str, start: int, slips: Slips) -> str:
    inside = found[1:-1]
    if "\\" not in inside:
        return inside

    def meant(match: re.Match[str]) -> str:
        at, end = start + 1 + match.start(), start + 1 + match.end()
        if match[1]:
            character = chr(int(match[1], 16))
            if unicodedata.category(character) != "Cs":
                return character
            slips.add(Slip(at, end, f"{match[0]} is half a character; write the character itself."))
        elif match[2] in _ESCAPED:
            return _ESCAPED[match[2]]
        else:
            slips.add(
                Slip(at, end, f"{match[0]} has no meaning; write \\\\ for a backslash, \\n for a line break, or \\u and four digits.")
            )
        return ""

    return _ESCAPE.sub(meant, inside)


def _no_token(group: str, found: str, start: int, end: int) -> Slip:
    if group == "OPEN":
        return Slip(start, end, f"The text in quotes does not end; close it with {found[0]} on the same line.")
    if found[0] in _QUOTES:
        return Slip(start, start + 1, f'{found[0]} is no quote of the language; write straight ones, "like this".', '"')
    return Slip(start, end, f"{found[:_SHOWN_MAX]!r} has no meaning here; remove it, or put the text that it belongs to in quotes.")
