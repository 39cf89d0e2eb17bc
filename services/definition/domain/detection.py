"""What a value reads as, the narrowest that it can: `"5"` is a number, `"2026-01-31"` a date. The types are those of overrides.py."""

from __future__ import annotations

import re
from datetime import datetime

from .overrides import AttributeType

VALUE_MAX = 100
"""A longer value is cut: its first characters tell what it is."""

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,6})?")
_TRUTHS = frozenset({"true", "false"})


def text_of(value: object) -> str | None:
    """A value of JSON as text; None for what no attribute can be, and for a list, which has no text."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case _:
            return None


def type_of(text: str) -> AttributeType:
    """What a text reads as; any text is a string at least."""
    if text[4:5] == "-" and text[7:8] == "-" and _is_date(text):
        return AttributeType.DATE
    if text[:1] in "0123456789+-." and _NUMBER.fullmatch(text):
        return AttributeType.NUMBER
    if len(text) <= len("false") and text.casefold() in _TRUTHS:
        return AttributeType.BOOLEAN
    return AttributeType.STRING


def _is_date(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
