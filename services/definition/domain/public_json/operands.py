"""Operands of the public JSON form: objects with the keys that they must have, values, days and times before now."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from ..value_tests import number_of
from .dates import COUNT_MAX, MONTH_DAYS, UNIT_BY_WORD, Ago, Day, Since, day_of
from .report import Report, Why, nearest, shown
from .sayings import PRESENCE_WORDS, Right, strange_letter
from .text import Json, Number, pointer

COMPARISONS = (
    "equals",
    "not_equals",
    "less_than",
    "less_than_equal",
    "greater_than",
    "greater_than_equal",
    "matches",
    "not_matches",
    "contains",
    "not_contains",
    "starts_with",
    "not_starts_with",
    "ends_with",
    "not_ends_with",
)
AUDIENCE_OPERATORS = ("in", "not_in")
LOGIC = ("and", "or")
SEQUENCE = "then"
AGGREGATION_WORDS = ("min", "max", "sum", "avg", "list", "count")
OPERATORS = (*COMPARISONS, *AUDIENCE_OPERATORS, *LOGIC, SEQUENCE, *sorted(PRESENCE_WORDS))
# The form declares these, and has no place where they may stand.
UNREACHABLE = {
    "between": "write an `and` of `greater_than_equal` and `less_than_equal`",
    "match_any": "write an `or` of `equals`",
    "match_all": "write an `and` of `contains` about a `list`",
    "within": "name a city, state, zip or country of `profile`",
    "plus": "compare with a value that is worked out",
    "minus": "compare with a value that is worked out",
    "multiply": "compare with a value that is worked out",
    "divide": "compare with a value that is worked out",
    "mod": "compare with a value that is worked out",
    "not": "use the `not_` form of the comparison",
}
_UNITS = (*UNIT_BY_WORD, "month", "quarter", "year")
# Of the unknown keys of one object so many are told.
_TOLD_MAX = 100
_KINDS = {dict: "an object", list: "a list", str: "a text", Number: "a number", bool: "true or false", type(None): "null"}


def kind_of(value: Json) -> str:
    """What a value is, for a sentence."""
    return next(words for kind, words in _KINDS.items() if isinstance(value, kind))


def has_keys(value: Json, place: str, report: Report, needed: Sequence[str], more: Sequence[str] = ()) -> bool:
    """Whether a value is an object with these keys and no others; every fault is told."""
    if not isinstance(value, dict):
        report.refused(place, Why.WRONG_TYPE, f"An object with {', '.join(f'`{key}`' for key in needed)} is needed, not {kind_of(value)}.")
        return False
    known = (*needed, *more)
    unknown = [key for key in value if key not in known]
    for key in unknown[:_TOLD_MAX]:
        report.refused(pointer(place, key), Why.UNKNOWN_KEY, f"The key {shown(key)} is not known here.{nearest(key, known)}")
    report.omitted += max(0, len(unknown) - _TOLD_MAX)
    missing = [key for key in needed if key not in value]
    for key in missing:
        report.refused(place, Why.MISSING, f"The key `{key}` is missing; add it.")
    return not unknown and not missing


def operator_of(value: Json, place: str, report: Report, known: Sequence[str]) -> str | None:
    """The operator of an expression; None for one that is not known here, which is told with the nearest one."""
    if not isinstance(value, dict):
        report.refused(place, Why.WRONG_TYPE, f"An expression is an object with an `operator`, not {kind_of(value)}.")
        return None
    if "operator" not in value:
        report.refused(place, Why.MISSING, "The key `operator` is missing; add it.")
        return None
    word, at = value["operator"], pointer(place, "operator")
    if not isinstance(word, str):
        report.refused(at, Why.WRONG_TYPE, f"An operator is a text, not {kind_of(word)}.")
    elif word in known:
        return word
    elif word in UNREACHABLE:
        report.refused(at, Why.UNKNOWN_OPERATOR, f"The form has no place for `{word}`; {UNREACHABLE[word]}.")
    elif word in AGGREGATION_WORDS:
        report.refused(at, Why.UNKNOWN_OPERATOR, f"`{word}` gives a value; compare it with one: put it on the left of a comparison.")
    elif word in OPERATORS:
        report.refused(at, Why.UNKNOWN_OPERATOR, f"`{word}` cannot stand here.{nearest(word, tuple(known))}")
    else:
        report.refused(at, Why.UNKNOWN_OPERATOR, f"The operator {shown(word)} is not known.{nearest(word, tuple(known))}")
    return None


def right_of(operator: str, value: Json, place: str, report: Report, *, steps: bool = False) -> Right | None:
    """What a comparison compares with; None where it was refused. `steps`: a time may count from another step of the sequence."""
    if isinstance(value, Number):
        if number_of(value.text) is None:
            report.refused(place, Why.UNKNOWN_VALUE, f"{shown(value.text)} can't be compared; write at most 60 characters.")
            return None
        return value
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        if operator in ("matches", "not_matches") and (letter := strange_letter(value)):
            told = (
                f"The pattern holds `{letter}`; only `*` (any characters) and `?` (one character) have a meaning. Use these, or `contains`."
            )
            report.refused(place, Why.NOT_SUPPORTED, told)
            return None
        return value
    if isinstance(value, dict) and "date" in value:
        return _date(value, place, report, steps=steps)
    report.refused(place, Why.WRONG_TYPE if not isinstance(value, dict) else Why.NOT_SUPPORTED, _no_right(value))
    return None


def _no_right(value: Json) -> str:
    match value:
        case None:
            return "null is no value to compare with; ask with `null` or `not_exists`."
        case list():
            return "A list can't be compared with; write an `or` of `equals`, one for each entry."
        case {"audience": _}:
            return "An audience is compared with by `in` and `not_in` alone."
        case {"alias": _}:
            return "A value of another step of a sequence can't be compared with; give a value."
        case {"location": _}:
            return "The form has no operator for a location; name a city, state, zip or country of `profile`."
        case {"model": _}:
            return "Two paths can't be compared with each other; give a value on the right."
        case {"operator": _}:
            return "What is worked out stands on the left; give a value on the right."
        case _:
            return "This is no value; give a text, a number, true, false, or a date."


def _date(value: Json, place: str, report: Report, *, steps: bool) -> Day | Ago | Since | None:
    if not has_keys(value, place, report, ("date",)):
        return None
    date, place = value["date"], pointer(place, "date")
    if isinstance(date, dict) and "relative" in date:
        if not has_keys(date, place, report, ("relative",)):
            return None
        return _relative(date["relative"], pointer(place, "relative"), report, steps=steps)
    if not has_keys(date, place, report, ("absolute",)):
        return None
    text, place = date["absolute"], pointer(place, "absolute")
    day = day_of(text) if isinstance(text, str) else None
    if day is None:
        report.refused(place, Why.UNKNOWN_VALUE, "Dates are whole UTC days; write `2026-01-31`, or `2026-01-31T00:00:00Z` for its begin.")
    return day


def _relative(value: Json, place: str, report: Report, *, steps: bool) -> Ago | Since | None:
    if not has_keys(value, place, report, ("offset", "unit"), ("boundary", "relative_to")):
        return None
    offset, count = value["offset"], None
    number = number_of(offset.text) if isinstance(offset, Number) else None
    if number is not None and number == number.to_integral_value() and abs(number) <= COUNT_MAX:
        count = int(number)
    else:
        report.refused(pointer(place, "offset"), Why.UNKNOWN_VALUE, "The offset is no whole number of units; give one.")
    length = _unit(value["unit"], pointer(place, "unit"), report)
    if "boundary" in value:
        told = "The start or end of a calendar unit can't be said; leave the boundary out, or give a day."
        report.refused(pointer(place, "boundary"), Why.NOT_SUPPORTED, told)
        return None
    if count is None or length is None:
        return None
    unit, days = length
    if abs(count) * days > COUNT_MAX:
        report.refused(pointer(place, "offset"), Why.UNKNOWN_VALUE, "The offset is too far; shorten it.")
        return None
    if "relative_to" in value:
        return _since(value["relative_to"], count * days, unit, place, report, steps=steps)
    if count > 0:
        report.refused(pointer(place, "offset"), Why.NOT_SUPPORTED, "Times after now can't be said; give an offset of 0 or less.")
        return None
    return Ago(-count * days, unit)


def _since(to: Json, count: int, unit: int, place: str, report: Report, *, steps: bool) -> Since | None:
    at = pointer(place, "relative_to")
    if not has_keys(to, at, report, ("alias", "path")):
        return None
    if not steps:
        report.refused(at, Why.NOT_SUPPORTED, "Only the time of a step of a sequence counts from another step; leave it out.")
    elif not isinstance(to["alias"], str) or to["path"] != "timestamp":
        report.refused(at, Why.NOT_SUPPORTED, "The time of a step counts from the `timestamp` of another one, by its alias.")
    elif count < 0:
        report.refused(pointer(place, "offset"), Why.NOT_SUPPORTED, "A step comes after the other one; give an offset of 0 or more.")
    else:
        return Since(to["alias"], count, unit)
    return None


def _unit(word: Json, place: str, report: Report) -> tuple[int, int] | None:
    """The unit of a word, and how many of it the word is: a month is 30 days."""
    if not isinstance(word, str):
        report.refused(place, Why.WRONG_TYPE, f"A unit is a text, not {kind_of(word)}.")
    elif word in UNIT_BY_WORD:
        return UNIT_BY_WORD[word], 1
    elif word == "month":
        report.noted(place, f"A month is read as {MONTH_DAYS} days.")
        return UNIT_BY_WORD["day"], MONTH_DAYS
    elif word in _UNITS:
        report.refused(place, Why.NOT_SUPPORTED, f"A {word} has no fixed length; give it in days.")
    else:
        report.refused(place, Why.UNKNOWN_VALUE, f"The unit {shown(word)} is not known.{nearest(word, _UNITS)}")
    return None


def whole_number(text: str, most: int) -> int | None:
    """The whole number from 0 to `most` that a decimal says; None where it says none."""
    number = number_of(text)
    if number is None or number != number.to_integral_value() or not 0 <= number <= Decimal(most):
        return None
    return int(number)
