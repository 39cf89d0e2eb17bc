"""Tests of values: strings, numbers, booleans, dates, lists, presence, and how often (semantics: Strings, Numbers)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal

from google.protobuf.descriptor import EnumDescriptor
from muster.definition.v1 import definition_pb2 as pb

from .faults import Place, Reason
from .periods import check_period

OPERAND_MAX = 1_000
VALUES_MAX = 5_000
FREQUENCY_MAX = 1_000_000_000
_NUMBER_MAX = 60  # characters
_EXPONENT_MAX = 300
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,6})?")

# Which operand a string operator takes: one `value`, or a list of `values`.
STRING_OPERANDS: Mapping[int, str] = {
    pb.STRING_OPERATOR_CONTAINS: "value",
    pb.STRING_OPERATOR_NOT_CONTAINS: "value",
    pb.STRING_OPERATOR_EQUALS: "value",
    pb.STRING_OPERATOR_NOT_EQUALS: "value",
    pb.STRING_OPERATOR_PATTERN: "value",
    pb.STRING_OPERATOR_NOT_PATTERN: "value",
    pb.STRING_OPERATOR_STARTS_WITH: "value",
    pb.STRING_OPERATOR_NOT_STARTS_WITH: "value",
    pb.STRING_OPERATOR_ENDS_WITH: "value",
    pb.STRING_OPERATOR_NOT_ENDS_WITH: "value",
    pb.STRING_OPERATOR_IN: "values",
    pb.STRING_OPERATOR_NOT_IN: "values",
}
# Whether a comparison has an upper end beside its value.
COMPARISON_HAS_UPPER: Mapping[int, bool] = {
    pb.COMPARISON_EQUAL: False,
    pb.COMPARISON_NOT_EQUAL: False,
    pb.COMPARISON_LESS: False,
    pb.COMPARISON_LESS_OR_EQUAL: False,
    pb.COMPARISON_GREATER: False,
    pb.COMPARISON_GREATER_OR_EQUAL: False,
    pb.COMPARISON_BETWEEN: True,
}


def check_enum(value: int, known: EnumDescriptor, place: Place) -> bool:
    """Whether an enum's value is specified and known."""
    if value == 0:
        prefix = known.values_by_number[0].name.removesuffix("UNSPECIFIED")
        choices = ", ".join(choice.name.removeprefix(prefix) for choice in known.values if choice.number)
        place.fault(Reason.MISSING, f"Nothing is chosen; choose one of {choices}.")
    elif value not in known.values_by_number:
        place.fault(Reason.UNKNOWN_VALUE, f"The number {value} is not one of {known.name} in this version.")
    else:
        return True
    return False


def check_text(text: str, place: Place, what: str) -> None:
    """A text that must be there, of at most 1,000 characters."""
    if not text:
        place.fault(Reason.MISSING, f"{what} is empty; fill it in.")
    elif len(text) > OPERAND_MAX:
        place.fault(Reason.TOO_LARGE, f"{what} has {len(text)} characters; shorten it to {OPERAND_MAX} or fewer.")


def number_of(text: str) -> Decimal | None:
    """The decimal that a text says; None when it says none (`NaN` and `Infinity` are none) or one that is too long to compare."""
    if len(text) > _NUMBER_MAX or _DECIMAL.fullmatch(text) is None:
        return None
    number = Decimal(text)
    return number if abs(number.adjusted()) <= _EXPONENT_MAX else None


def check_value_test(test: pb.ValueTest, place: Place, allowed: frozenset[str] | None = None) -> None:
    """A test has one kind with its operands. `allowed` names the kinds that have a meaning here; None: all."""
    kind = test.WhichOneof("kind")
    if kind is None:
        choices = ", ".join(sorted(allowed or VALUE_TEST_KINDS))
        place.fault(Reason.MISSING, f"The test is missing; choose one of {choices}.")
        return
    if allowed is not None and kind not in allowed:
        place.at(kind).fault(Reason.NOT_APPLICABLE, f"A {kind} test has no meaning here; choose one of {', '.join(sorted(allowed))}.")
        return
    VALUE_TEST_KINDS[kind](test, place.at(kind))


def check_string(test: pb.StringTest, place: Place) -> None:
    if not check_enum(test.operator, pb.StringOperator.DESCRIPTOR, place.at("operator")):
        return
    if STRING_OPERANDS[test.operator] == "value":
        check_text(test.value, place.at("value"), "The text to compare with")
    elif not test.values:
        place.at("values").fault(Reason.MISSING, "The list of texts is empty; give one or more.")
    elif len(test.values) > VALUES_MAX:
        place.at("values").fault(Reason.TOO_LARGE, f"The list has {len(test.values)} texts; give {VALUES_MAX} or fewer.")
    else:
        for index, value in enumerate(test.values):
            check_text(value, place.at("values", index), "The text to compare with")


def check_number(test: pb.NumberTest, place: Place) -> None:
    if not check_enum(test.comparison, pb.Comparison.DESCRIPTOR, place.at("comparison")):
        return
    value = _check_decimal(test.value, place.at("value"))
    if COMPARISON_HAS_UPPER[test.comparison]:
        upper = _check_decimal(test.upper, place.at("upper"))
        if value is not None and upper is not None and value > upper:
            place.fault(Reason.BOUNDS_REVERSED, f"The lower end {test.value} is above the upper end {test.upper}; exchange them.")


def check_frequency(test: pb.FrequencyTest, place: Place) -> None:
    if not check_enum(test.comparison, pb.Comparison.DESCRIPTOR, place.at("comparison")):
        return
    ends = ("value", "upper") if COMPARISON_HAS_UPPER[test.comparison] else ("value",)
    for end in ends:
        if getattr(test, end) > FREQUENCY_MAX:
            place.at(end).fault(Reason.OUT_OF_RANGE, f"{getattr(test, end)} times is too often; give {FREQUENCY_MAX} or less.")
    if COMPARISON_HAS_UPPER[test.comparison] and test.value > test.upper:
        place.fault(Reason.BOUNDS_REVERSED, f"The lower end {test.value} is above the upper end {test.upper}; exchange them.")


def _check_decimal(text: str, place: Place) -> Decimal | None:
    if not text:
        place.fault(Reason.MISSING, "The number to compare with is missing; give a decimal such as 3 or 19.90.")
        return None
    number = number_of(text)
    if number is None:
        shown = text if len(text) <= _NUMBER_MAX else f"{text[:_NUMBER_MAX]}..."
        place.fault(
            Reason.NOT_A_NUMBER,
            f"{shown!r} is no decimal that can be compared; write it as 3, -0.5, 19.90 or 1e6, in {_NUMBER_MAX} characters or fewer "
            f"and of a magnitude between 1e-{_EXPONENT_MAX} and 1e{_EXPONENT_MAX}.",
        )
    return number


def _string(test: pb.ValueTest, place: Place) -> None:
    check_string(test.string, place)


def _number(test: pb.ValueTest, place: Place) -> None:
    check_number(test.number, place)


def _boolean(test: pb.ValueTest, place: Place) -> None:
    """True and false are all that it can say."""


def _date(test: pb.ValueTest, place: Place) -> None:
    if not test.date.HasField("when"):
        place.at("when").fault(Reason.MISSING, "The dates to compare with are missing; give a period.")
        return
    check_period(test.date.when, place.at("when"), None)


def _list(test: pb.ValueTest, place: Place) -> None:
    if check_enum(test.list.operator, pb.ListOperator.DESCRIPTOR, place.at("operator")):
        check_text(test.list.value, place.at("value"), "The entry to look for")


def _presence(test: pb.ValueTest, place: Place) -> None:
    check_enum(test.presence.operator, pb.PresenceOperator.DESCRIPTOR, place.at("operator"))


VALUE_TEST_KINDS: Mapping[str, Callable[[pb.ValueTest, Place], None]] = {
    "string": _string,
    "number": _number,
    "boolean": _boolean,
    "date": _date,
    "list": _list,
    "presence": _presence,
}
