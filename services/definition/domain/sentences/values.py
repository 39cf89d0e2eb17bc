"""Tests of values in words, and what becomes of those who have no value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal

from muster.definition.v1 import definition_pb2 as pb

from ..language.lexer import quoted
from ..value_tests import number_of
from .telling import listed
from .when import period_words

STRINGS: Mapping[int, str] = {
    pb.STRING_OPERATOR_CONTAINS: "contains",
    pb.STRING_OPERATOR_NOT_CONTAINS: "does not contain",
    pb.STRING_OPERATOR_EQUALS: "is",
    pb.STRING_OPERATOR_NOT_EQUALS: "is not",
    pb.STRING_OPERATOR_PATTERN: "matches the pattern",
    pb.STRING_OPERATOR_NOT_PATTERN: "does not match the pattern",
    pb.STRING_OPERATOR_STARTS_WITH: "starts with",
    pb.STRING_OPERATOR_NOT_STARTS_WITH: "does not start with",
    pb.STRING_OPERATOR_ENDS_WITH: "ends with",
    pb.STRING_OPERATOR_NOT_ENDS_WITH: "does not end with",
    pb.STRING_OPERATOR_IN: "is one of",
    pb.STRING_OPERATOR_NOT_IN: "is none of",
}
NEGATIVES: Mapping[int, int] = {
    pb.STRING_OPERATOR_NOT_CONTAINS: pb.STRING_OPERATOR_CONTAINS,
    pb.STRING_OPERATOR_NOT_EQUALS: pb.STRING_OPERATOR_EQUALS,
    pb.STRING_OPERATOR_NOT_PATTERN: pb.STRING_OPERATOR_PATTERN,
    pb.STRING_OPERATOR_NOT_STARTS_WITH: pb.STRING_OPERATOR_STARTS_WITH,
    pb.STRING_OPERATOR_NOT_ENDS_WITH: pb.STRING_OPERATOR_ENDS_WITH,
    pb.STRING_OPERATOR_NOT_IN: pb.STRING_OPERATOR_IN,
}
COMPARISONS: Mapping[int, str] = {
    pb.COMPARISON_EQUAL: "is",
    pb.COMPARISON_NOT_EQUAL: "is not",
    pb.COMPARISON_LESS: "is less than",
    pb.COMPARISON_LESS_OR_EQUAL: "is at most",
    pb.COMPARISON_GREATER: "is more than",
    pb.COMPARISON_GREATER_OR_EQUAL: "is at least",
    pb.COMPARISON_BETWEEN: "is between",
}
LISTS: Mapping[int, str] = {
    pb.LIST_OPERATOR_INCLUDES: "is a list that includes the entry",
    pb.LIST_OPERATOR_NOT_INCLUDES: "is a list that does not include the entry",
    pb.LIST_OPERATOR_PARTIAL_MATCH: "is a list with an entry that contains",
}
PRESENCES: Mapping[int, str] = {
    pb.PRESENCE_OPERATOR_EXISTS: "exists",
    pb.PRESENCE_OPERATOR_NOT_EXISTS: "does not exist",
    pb.PRESENCE_OPERATOR_EMPTY: "is empty",
}


def test_words(test: pb.ValueTest) -> str:
    """What is asked of a value: `contains "gold"`."""
    return TESTS[test.WhichOneof("kind") or ""](test)


def of_event(test: pb.ValueTest) -> str:
    """What is asked of a value of an event: one that is missing passes no negative test."""
    return test_words(test) + (" (and is known)" if is_negative(test) else "")


def have_words(noun: str, test: pb.ValueTest) -> str:
    """That a person has a value which passes: one that is missing passes negative tests."""
    if test.presence.operator == pb.PRESENCE_OPERATOR_EXISTS:
        return f"have {noun}"
    if test.presence.operator == pb.PRESENCE_OPERATOR_NOT_EXISTS:
        return f"have no {noun.split(' ', 1)[1]}"
    return f"have {noun} that {test_words(test)}" + (" (or have none)" if is_negative(test) else "")


def is_negative(test: pb.ValueTest) -> bool:
    """Whether a test says what a value is not."""
    return test.string.operator in NEGATIVES or test.number.comparison == pb.COMPARISON_NOT_EQUAL


def string_words(test: pb.StringTest) -> str:
    """`is one of "a", "b" or "c"`."""
    if test.operator in (pb.STRING_OPERATOR_IN, pb.STRING_OPERATOR_NOT_IN):
        return f"{STRINGS[test.operator]} {listed([quoted(value) for value in test.values], 'or')}"
    return f"{STRINGS[test.operator]} {quoted(test.value)}"


def number_words(test: pb.NumberTest) -> str:
    """`is between 1 and 5`."""
    upper = f" and {test.upper}" if test.comparison == pb.COMPARISON_BETWEEN else ""
    return f"{COMPARISONS[test.comparison]} {test.value}{upper}"


def zero_passes(comparison: int, value: str, upper: str) -> bool:
    """Whether 0 passes a comparison."""
    low, high = number_of(value) or Decimal(0), number_of(upper) or Decimal(0)
    return ZERO_PASSES[comparison](low, high)


ZERO_PASSES: Mapping[int, Callable[[Decimal, Decimal], bool]] = {
    pb.COMPARISON_EQUAL: lambda low, high: low == 0,
    pb.COMPARISON_NOT_EQUAL: lambda low, high: low != 0,
    pb.COMPARISON_LESS: lambda low, high: low > 0,
    pb.COMPARISON_LESS_OR_EQUAL: lambda low, high: low >= 0,
    pb.COMPARISON_GREATER: lambda low, high: low < 0,
    pb.COMPARISON_GREATER_OR_EQUAL: lambda low, high: low <= 0,
    pb.COMPARISON_BETWEEN: lambda low, high: low <= 0 <= high,
}
TESTS: Mapping[str, Callable[[pb.ValueTest], str]] = {
    "string": lambda test: string_words(test.string),
    "number": lambda test: number_words(test.number),
    "boolean": lambda test: f"is {str(test.boolean.value).lower()}",
    "date": lambda test: f"is a time {period_words(test.date.when)}",
    "list": lambda test: f"{LISTS[test.list.operator]} {quoted(test.list.value)}",
    "presence": lambda test: PRESENCES[test.presence.operator],
}
