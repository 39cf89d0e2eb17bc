"""Values, times and the tests of them, told a second time; it shares no code with the engine."""

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from functools import cache
from typing import TypeVar

from google.type import date_pb2
from muster.definition.v1 import definition_pb2 as pb

from tests.model.facts import Value

MILLISECOND = timedelta(milliseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_INSTANT, LAST_INSTANT = -62_135_683_200_000, 253_402_387_199_999  # of the years 1 to 9999, and a day for those with an offset
UNIT = {"SECOND": 1_000, "MINUTE": 60_000, "HOUR": 3_600_000, "DAY": 86_400_000, "WEEK": 7 * 86_400_000}


# --- tests of a value


def passes_of_user(test: pb.ValueTest, value: Value | None, now: int, type_: str | None = None) -> bool:
    """Of what is missing, the negative string and list operators, `!=` and `does not exist` are true."""
    if value is not None:
        return passes_as(type_, test, value, now)
    match test.WhichOneof("kind"):
        case "string":
            return is_negative(test.string)
        case "number":
            return test.number.comparison == pb.COMPARISON_NOT_EQUAL
        case "list":
            return test.list.operator == pb.LIST_OPERATOR_NOT_INCLUDES
    return is_not_exists(test)


def passes_of_event(test: pb.ValueTest, value: Value | Fraction | None, now: int, type_: str | None = None) -> bool:
    """Of what is missing, `does not exist` alone is true."""
    return is_not_exists(test) if value is None else passes_as(type_, test, value, now)


def is_not_exists(test: pb.ValueTest) -> bool:
    return test.WhichOneof("kind") == "presence" and test.presence.operator == pb.PRESENCE_OPERATOR_NOT_EXISTS


def passes_as(type_: str | None, test: pb.ValueTest, value: Value | Fraction, now: int) -> bool:
    """Of an attribute of this type (`STRING`, ...; None: of no type). Presence is that of what was sent, all else of what it reads as."""
    if type_ is None or test.WhichOneof("kind") == "presence" or (test.WhichOneof("kind") == "string" and type_ != "LIST"):
        return passes(test, value, now)
    converted = {"STRING": text, "NUMBER": as_number, "BOOLEAN": as_boolean, "DATE": as_instant, "LIST": as_list}[type_](value)
    return test.WhichOneof("kind") == type_.lower() and converted is not None and passes(test, converted, now)


def passes(test: pb.ValueTest, value: Value | Fraction, now: int) -> bool:
    """A value of the wrong type fails every test, negative ones too."""
    match test.WhichOneof("kind"):
        case "string":
            written = text(value)
            return written is not None and text_passes(test.string, written)
        case "number":
            return number_passes(test.number, as_number(value))
        case "boolean":
            return as_boolean(value) is test.boolean.value
        case "date":
            instant = as_instant(value)
            return instant is not None and (not test.date.HasField("when") or in_period(test.date.when, instant, now))
        case "list":
            return is_list(value) and list_passes(test.list, value)  # type: ignore[arg-type]
        case "presence":
            return {
                pb.PRESENCE_OPERATOR_EXISTS: True,
                pb.PRESENCE_OPERATOR_NOT_EXISTS: False,
                pb.PRESENCE_OPERATOR_EMPTY: value == "" or (is_list(value) and not list(value)),  # type: ignore[arg-type]
            }[test.presence.operator]
        case other:
            raise ValueError(f"the reference knows no test {other}")


def list_passes(test: pb.ListTest, value: Sequence[str]) -> bool:
    entries = [entry.casefold() for entry in value]
    wanted = test.value.casefold()
    return {
        pb.LIST_OPERATOR_INCLUDES: wanted in entries,
        pb.LIST_OPERATOR_NOT_INCLUDES: wanted not in entries,
        pb.LIST_OPERATOR_PARTIAL_MATCH: any(wanted in entry for entry in entries),
    }[test.operator]


def number_passes(test: pb.NumberTest, number: Decimal | Fraction | None) -> bool:
    """Exactly: a fraction is compared with fractions."""
    operands = Decimal(test.value), Decimal(test.upper or 0)
    if isinstance(number, Fraction):
        return compares(test.comparison, number, Fraction(operands[0]), Fraction(operands[1]))
    return number is not None and compares(test.comparison, number, *operands)


Number = TypeVar("Number", Decimal, Fraction, int)


def compares(comparison: pb.Comparison.ValueType, value: Number, operand: Number, upper: Number) -> bool:
    return {
        pb.COMPARISON_EQUAL: value == operand,
        pb.COMPARISON_NOT_EQUAL: value != operand,
        pb.COMPARISON_LESS: value < operand,
        pb.COMPARISON_LESS_OR_EQUAL: value <= operand,
        pb.COMPARISON_GREATER: value > operand,
        pb.COMPARISON_GREATER_OR_EQUAL: value >= operand,
        pb.COMPARISON_BETWEEN: operand <= value <= upper,
    }[comparison]


# --- what a value is


def is_list(value: object) -> bool:
    return isinstance(value, list | tuple)


def text(value: Value | Fraction) -> str | None:
    """None: a list has no text, and neither has a number that no decimal can write."""
    match value:
        case str():
            return value
        case bool():
            return str(value).lower()
        case float():
            return str(int(value)) if value.is_integer() else format(Decimal(repr(value)), "f")  # 5.0 reads 5
        case Decimal():
            return format(value, "f")
        case int():
            return str(value)
        case Fraction():
            places = next((places for places in range(400) if 10**places % value.denominator == 0), None)
            return None if places is None else format(Decimal(int(value * 10**places)).scaleb(-places), "f")
        case _:
            return None


def as_number(value: Value | Fraction) -> Decimal | Fraction | None:
    """Text counts where it is a decimal number; a float is the shortest decimal that reads as it."""
    if isinstance(value, bool) or is_list(value):
        return None
    if isinstance(value, Fraction):
        return value
    written = str(value)
    if not written.isascii() or any(c.isspace() or c == "_" for c in written):
        return None
    try:
        number = Decimal(written)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def as_boolean(value: Value | Fraction) -> bool | None:
    return value if isinstance(value, bool) else {"true": True, "false": False}.get(str(value).casefold())


def as_list(value: Value | Fraction) -> Sequence[str] | None:
    """A single value is a list of its text."""
    if is_list(value):
        return value  # type: ignore[return-value]
    written = text(value)
    return None if written is None else [written]


def amount(value: Value | None, digits: int) -> Fraction | None:
    """A number of at most so many digits on either side of the point; None: it is none."""
    number = None if value is None else as_number(value)
    if number is None:
        return None
    if isinstance(number, Fraction):
        return number
    if number == 0:
        return Fraction(0)
    if not -digits <= number.adjusted() < digits or (Fraction(number) * 10**digits).denominator != 1:
        return None
    return Fraction(number)


def as_instant(value: Value | Fraction) -> int | None:
    """A date (its UTC midnight), a date and time (UTC where it says nothing else), or Unix milliseconds."""
    if isinstance(value, str) and value[4:5] == "-" and value[7:8] == "-":
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH) // MILLISECOND
    number = as_number(value)
    if number is None or not FIRST_INSTANT <= number <= LAST_INSTANT:
        return None
    return math.floor(number)


# --- time


def length(duration: pb.Duration) -> int:
    return int(duration.count * UNIT[pb.DurationUnit.Name(duration.unit).removeprefix("DURATION_UNIT_")])


def in_period(period: pb.Period, t: int, now: int) -> bool:
    def named(day: date_pb2.Date) -> int:
        return (date(day.year, day.month, day.day) - EPOCH.date()).days

    day = t // UNIT["DAY"]  # UTC; an instant may lie before all dates

    match period.WhichOneof("kind"):
        case "last":
            return now - length(period.last) <= t <= now
        case "ago":
            return now - length(getattr(period.ago, "from")) <= t <= now - length(period.ago.to)
        case "on":
            return day == named(period.on)
        case "before":
            return day < named(period.before)
        case "after":
            return day > named(period.after)
        case "on_or_after":
            return day >= named(period.on_or_after)
        case "between":
            return named(period.between.first) <= day <= named(period.between.last)
        case other:
            raise ValueError(f"the reference knows no period {other}")


# --- strings


def is_negative(test: pb.StringTest) -> bool:
    return "_NOT_" in pb.StringOperator.Name(test.operator)


def text_passes(test: pb.StringTest, value: str) -> bool:
    return speaks_of(test, value) != is_negative(test)


def speaks_of(test: pb.StringTest, value: str) -> bool:
    """Whether the text is what the operator names, `not` left aside."""
    kind = pb.StringOperator.Name(test.operator).removeprefix("STRING_OPERATOR_").removeprefix("NOT_")
    has, wanted = value.casefold(), test.value.casefold()
    return {
        "CONTAINS": wanted in has,
        "EQUALS": has == wanted,
        "PATTERN": describes(test.value, value),
        "STARTS_WITH": has.startswith(wanted),
        "ENDS_WITH": has.endswith(wanted),
        "IN": has in [one.casefold() for one in test.values],
    }[kind]


def describes(pattern: str, value: str) -> bool:
    """`*`: any number of characters, `?`: exactly one, as the value is written; all else is itself, in any case."""
    wanted = pattern.casefold()
    letters = [
        (letter, place) for place, character in enumerate(value) for letter in character.casefold()
    ]  # `ß` is two letters of one character

    @cache
    def fits(p: int, v: int) -> bool:
        if p == len(wanted):
            return v == len(letters)
        if wanted[p] == "*":
            return fits(p + 1, v) or (v < len(letters) and fits(p, v + 1))
        if v == len(letters):
            return False
        letter, place = letters[v]
        if wanted[p] == "?":
            whole = v == 0 or letters[v - 1][1] != place
            return whole and fits(p + 1, v + sum(at == place for _, at in letters))
        return letter == wanted[p] and fits(p + 1, v + 1)

    return fits(0, 0)
