"""JSON text to values and back. Numbers keep their digits, and what most readers pass over in silence is told: keys that come twice,
halves of surrogate pairs, and nesting that no reader could follow.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NoReturn

import msgspec

from .report import Report, Why

TEXT_MAX_BYTES = 4 * 1024 * 1024
NESTING_MAX = 200
# A string, number, true, false, null, a list, or an object: what `parsed` gives and `written` takes.
Json = Any
_ENCODER = msgspec.json.Encoder(decimal_format="number")


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it is written."""

    text: str


class Object(dict[str, Json]):
    """An object, which knows the keys that came more than once."""

    repeated: tuple[str, ...] = ()


def pointer(place: str, *steps: str | int) -> str:
    """The JSON pointer (RFC 6901) of what lies below a place."""
    return place + "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)


def parsed(text: str, report: Report) -> Json:
    """The value of a JSON text; None where it is none, which is then in the report."""
    if len(text.encode()) > TEXT_MAX_BYTES:
        report.refused("", Why.TOO_LARGE, f"The text is longer than {TEXT_MAX_BYTES:,} bytes; split the audience.")
        return None
    try:
        value = json.loads(text, parse_int=Number, parse_float=Number, parse_constant=_no_constant, object_pairs_hook=_object)
    except RecursionError:
        report.refused("", Why.TOO_DEEP, f"The text is nested deeper than {NESTING_MAX} levels; flatten it.")
        return None
    except json.JSONDecodeError as fault:
        report.refused("", Why.NOT_JSON, f"The text is no JSON: {fault.msg} at line {fault.lineno}, column {fault.colno}.")
        return None
    except _NoNumberError as fault:
        report.refused("", Why.NOT_JSON, f"The text is no JSON: {fault} is no number.")
        return None
    _check(value, report)
    return value if report.complete else None


def written(value: Json) -> str:
    """The text of a value, indented, with numbers as decimals."""
    return msgspec.json.format(_ENCODER.encode(_plain(value)), indent=2).decode()


class _NoNumberError(Exception):
    """NaN and the infinities, which other readers take."""


def _no_constant(name: str) -> NoReturn:
    raise _NoNumberError(name)


def _object(pairs: list[tuple[str, Json]]) -> Object:
    value = Object(pairs)
    if len(value) < len(pairs):
        seen, repeated = set[str](), dict[str, None]()
        for key, _ in pairs:
            if key in seen:
                repeated[key] = None
            seen.add(key)
        value.repeated = tuple(repeated)
    return value


# A place as the place above it and the last step, so that the pointer is only made where there is something to tell.
_Place = tuple["_Place", str | int] | tuple[()]


def _check(value: Json, report: Report) -> None:
    """What is wrong at any place of any text; without recursion, as the text may be nested as deep as it likes."""
    waiting: list[tuple[Json, _Place, int]] = [(value, (), 0)]
    while waiting:
        part, place, depth = waiting.pop()
        if depth > NESTING_MAX:
            report.refused(_pointer(place), Why.TOO_DEEP, f"The text is nested deeper than {NESTING_MAX} levels; flatten it.")
            return
        if isinstance(part, Object):
            for key in part.repeated:
                report.refused(_pointer((place, key)), Why.DUPLICATE_KEY, "The key comes twice in its object; keep one.")
            for key in part:
                if not _is_text(key):
                    report.refused(_pointer(place), Why.NOT_JSON, "A key holds half of a surrogate pair, which is no character; remove it.")
            waiting += [(inner, (place, key), depth + 1) for key, inner in reversed(part.items()) if isinstance(inner, _LOOKED_INTO)]
        elif isinstance(part, list):
            inside = [(inner, index) for index, inner in enumerate(part) if isinstance(inner, _LOOKED_INTO)]
            waiting += [(inner, (place, index), depth + 1) for inner, index in reversed(inside)]
        elif isinstance(part, str) and not _is_text(part):
            report.refused(_pointer(place), Why.NOT_JSON, "The text holds half of a surrogate pair, which is no character; remove it.")


_LOOKED_INTO = (str, list, dict)


def _pointer(place: _Place) -> str:
    steps = list[str | int]()
    while place:
        place, step = place
        steps.append(step if isinstance(step, int) else _printable(step))
    return pointer("", *reversed(steps))


def _is_text(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _printable(key: str) -> str:
    return key.encode(errors="replace").decode()


def _plain(value: Json) -> Json:
    match value:
        case Number():
            return Decimal(value.text)
        case dict():
            return {key: _plain(inner) for key, inner in value.items()}
        case list():
            return [_plain(inner) for inner in value]
        case _:
            return value
