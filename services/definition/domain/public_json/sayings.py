"""What is said of one subject: comparisons with the same left side. Every test of a definition is one saying, and a saying is one test or
none, so that both directions are one table (semantics: Strings, Numbers, Time).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from muster.definition.v1 import definition_pb2 as pb

from ..value_tests import STRING_OPERANDS, number_of
from .dates import Ago, Day, Unsaid, period_of, said_of_period
from .text import Number

# A string, Number, bool, Day or Ago; None for an operator that takes nothing.
Right = Any

STRINGS: Mapping[int, str] = {
    pb.STRING_OPERATOR_EQUALS: "equals",
    pb.STRING_OPERATOR_NOT_EQUALS: "not_equals",
    pb.STRING_OPERATOR_CONTAINS: "contains",
    pb.STRING_OPERATOR_NOT_CONTAINS: "not_contains",
    pb.STRING_OPERATOR_STARTS_WITH: "starts_with",
    pb.STRING_OPERATOR_NOT_STARTS_WITH: "not_starts_with",
    pb.STRING_OPERATOR_ENDS_WITH: "ends_with",
    pb.STRING_OPERATOR_NOT_ENDS_WITH: "not_ends_with",
    pb.STRING_OPERATOR_PATTERN: "matches",
    pb.STRING_OPERATOR_NOT_PATTERN: "not_matches",
}
# The form has no lists as operands: `in` is an `or` of `equals`, `not in` an `and` of `not_equals`.
STRING_LISTS: Mapping[int, tuple[str, str]] = {
    pb.STRING_OPERATOR_IN: ("or", "equals"),
    pb.STRING_OPERATOR_NOT_IN: ("and", "not_equals"),
}
NUMBERS: Mapping[int, str] = {
    pb.COMPARISON_EQUAL: "equals",
    pb.COMPARISON_NOT_EQUAL: "not_equals",
    pb.COMPARISON_LESS: "less_than",
    pb.COMPARISON_LESS_OR_EQUAL: "less_than_equal",
    pb.COMPARISON_GREATER: "greater_than",
    pb.COMPARISON_GREATER_OR_EQUAL: "greater_than_equal",
}
BETWEEN = ("greater_than_equal", "less_than_equal")
LISTS: Mapping[int, str] = {pb.LIST_OPERATOR_INCLUDES: "contains", pb.LIST_OPERATOR_NOT_INCLUDES: "not_contains"}
PRESENCES: Mapping[int, str] = {pb.PRESENCE_OPERATOR_EXISTS: "exists", pb.PRESENCE_OPERATOR_NOT_EXISTS: "not_exists"}
PRESENCE_WORDS = frozenset({"exists", "not_exists", "null", "not_null"})
# What a reader of the form may take for a regular expression.
PATTERN_LETTERS = ".^$+()[]{}|\\"

_STRING_BY_WORD = {word: operator for operator, word in STRINGS.items()}
_NUMBER_BY_WORD = {word: comparison for comparison, word in NUMBERS.items()}
_LIST_BY_WORD = {word: operator for operator, word in LISTS.items()}
_PRESENCE_BY_WORD = {
    "exists": pb.PRESENCE_OPERATOR_EXISTS,
    "not_null": pb.PRESENCE_OPERATOR_EXISTS,
    "not_exists": pb.PRESENCE_OPERATOR_NOT_EXISTS,
    "null": pb.PRESENCE_OPERATOR_NOT_EXISTS,
}
_OPPOSITES = {
    "equals": "not_equals",
    "contains": "not_contains",
    "starts_with": "not_starts_with",
    "ends_with": "not_ends_with",
    "matches": "not_matches",
    "exists": "not_exists",
}
OPPOSITES: Mapping[str, str] = {**_OPPOSITES, **{negative: positive for positive, negative in _OPPOSITES.items()}}


@dataclass(frozen=True, slots=True)
class Saying:
    """`joined` is `and`, `or`, or empty for a single comparison; each part is an operator and its right side."""

    joined: str
    parts: tuple[tuple[str, Right], ...]

    @classmethod
    def one(cls, operator: str, right: Right = None) -> Saying:
        return cls("", ((operator, right),))


@dataclass(frozen=True, slots=True)
class Asked:
    """A test that a saying means; `excluded`: those who pass it are meant to be out, as the test has no negative of its own."""

    test: pb.ValueTest
    excluded: bool = False


def saying_of(test: pb.ValueTest, *, past: bool = False) -> Saying:
    """What a test says. `past`: the times it speaks of are never later than now. Raises Unsaid."""
    match test.WhichOneof("kind"):
        case "string":
            return saying_of_string(test.string)
        case "number":
            return saying_of_number(test.number)
        case "boolean":
            return Saying.one("equals", test.boolean.value)
        case "date":
            joined, parts = said_of_period(test.date.when, past=past)
            return Saying(joined, parts)
        case "list" if test.list.operator in LISTS:
            return Saying.one(LISTS[test.list.operator], test.list.value)
        case "list":
            raise Unsaid("A partial match in a list has no form; ask whether the list includes a whole entry.")
        case "presence" if test.presence.operator in PRESENCES:
            return Saying.one(PRESENCES[test.presence.operator])
        case "presence":
            raise Unsaid("Being empty has no form; ask whether it exists, or compare it with a value.")
        case _:
            raise Unsaid("The test is missing; choose one.")


def saying_of_string(test: pb.StringTest) -> Saying:
    """Raises Unsaid."""
    if STRING_OPERANDS.get(test.operator) == "values":
        if not test.values:
            raise Unsaid("The list of texts is empty; give one or more.")
        joined, word = STRING_LISTS[test.operator]
        return Saying(joined, tuple((word, value) for value in test.values))
    if test.operator not in STRINGS:
        raise Unsaid("The operator of the text is missing; choose one.")
    if test.operator in (pb.STRING_OPERATOR_PATTERN, pb.STRING_OPERATOR_NOT_PATTERN) and (letter := strange_letter(test.value)):
        raise Unsaid(f"The pattern holds `{letter}`, which readers of the form take for a regular expression; use `*` and `?` alone.")
    return Saying.one(STRINGS[test.operator], test.value)


def saying_of_number(test: pb.NumberTest) -> Saying:
    """Raises Unsaid."""
    if test.comparison == pb.COMPARISON_BETWEEN:
        return Saying("and", ((BETWEEN[0], _number(test.value)), (BETWEEN[1], _number(test.upper))))
    if test.comparison not in NUMBERS:
        raise Unsaid("The comparison is missing; choose one.")
    return Saying.one(NUMBERS[test.comparison], _number(test.value))


def strange_letter(pattern: str) -> str:
    """The first letter of a pattern that a regular expression gives a meaning to, `*` and `?` aside; empty when there is none."""
    return next((letter for letter in pattern if letter in PATTERN_LETTERS), "")


def asked_of(saying: Saying, *, past: bool = False, of_list: bool = False) -> Asked | None:
    """The one test that a saying means; None when it is no single test. `past`: as in `saying_of`; `of_list`: the subject is a list."""
    if of_list:
        return _asked_of_list(saying)
    if len(saying.parts) == 1 and not saying.joined:
        return _asked_of_one(*saying.parts[0], past=past)
    words, rights = [word for word, _ in saying.parts], [right for _, right in saying.parts]
    for operator, (joined, word) in STRING_LISTS.items():
        if saying.joined == joined and set(words) == {word} and all(isinstance(right, str) for right in rights):
            return Asked(pb.ValueTest(string=pb.StringTest(operator=operator, values=rights)))  # type: ignore[arg-type]
    if saying.joined != "and" or tuple(words) != BETWEEN:
        return None
    if all(isinstance(right, Number) for right in rights):
        between = pb.NumberTest(comparison=pb.COMPARISON_BETWEEN, value=rights[0].text, upper=rights[1].text)
        return Asked(pb.ValueTest(number=between))
    period = period_of(saying.joined, saying.parts, past=past)
    return Asked(pb.ValueTest(date=pb.DateTest(when=period))) if period is not None else None


def opposite(saying: Saying) -> Saying | None:
    """What is said of exactly those whom a single comparison leaves out, where it has a `not_` form."""
    if saying.joined in ("or", "and"):
        word = "equals" if saying.joined == "or" else "not_equals"
        if {operator for operator, _ in saying.parts} == {word} and all(isinstance(right, str) for _, right in saying.parts):
            joined = "and" if saying.joined == "or" else "or"
            return Saying(joined, tuple((OPPOSITES[word], right) for _, right in saying.parts))
        return None
    operator, right = saying.parts[0]
    return Saying.one(OPPOSITES[operator], right) if operator in OPPOSITES else None


def _asked_of_list(saying: Saying) -> Asked | None:
    if saying.joined:
        return None
    operator, right = saying.parts[0]
    if operator in PRESENCE_WORDS:
        return Asked(pb.ValueTest(presence=pb.PresenceTest(operator=_PRESENCE_BY_WORD[operator])))
    if operator in _LIST_BY_WORD and isinstance(right, str):
        return Asked(pb.ValueTest(list=pb.ListTest(operator=_LIST_BY_WORD[operator], value=right)))  # type: ignore[arg-type]
    return None


def _asked_of_one(operator: str, right: Right, *, past: bool) -> Asked | None:
    if operator in PRESENCE_WORDS:
        return Asked(pb.ValueTest(presence=pb.PresenceTest(operator=_PRESENCE_BY_WORD[operator])))
    excluded = operator == "not_equals"
    match right:
        case str() if operator in _STRING_BY_WORD:
            return Asked(pb.ValueTest(string=pb.StringTest(operator=_STRING_BY_WORD[operator], value=right)))  # type: ignore[arg-type]
        case Number() if operator in _NUMBER_BY_WORD:
            test = pb.NumberTest(comparison=_NUMBER_BY_WORD[operator], value=right.text)  # type: ignore[arg-type]
            return Asked(pb.ValueTest(number=test))
        case bool() if operator in ("equals", "not_equals"):
            return Asked(pb.ValueTest(boolean=pb.BooleanTest(value=right)), excluded)
        case Day() | Ago():
            period = period_of("", (("equals", right),) if excluded else ((operator, right),), past=past)
            return Asked(pb.ValueTest(date=pb.DateTest(when=period)), excluded) if period is not None else None
        case _:
            return None


def _number(text: str) -> Number:
    number = number_of(text)
    if number is None or number_of(str(Decimal(text))) is None:
        raise Unsaid("The number is missing or none that can be compared; write it as 3, -0.5 or 19.90.")
    return Number(text)
