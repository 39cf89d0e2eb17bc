"""Whether tests of one thing can all fail or all pass, by trying them at a few points that stand for all there are.

A test of a number changes only at its operands, and one of a text, of equality, only at its own; so what holds at every point holds
everywhere. A test may be undecided at a point (None), and then nothing is concluded from it. There may be points that stand for nothing, as
when a number and a text would have to be one value: they only make a conclusion rarer, never wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from itertools import pairwise, product

from muster.definition.v1 import definition_pb2 as pb

from .times import ages_of, days_of, holds_at

Truth = bool | None
POINTS_MAX = 500


class Domain(Enum):
    """What a thing can be."""

    COUNT = "0, 1, 2, ..."
    NUMBER = "any number, and never missing"
    USER_VALUE = "any value of a person, or none"
    EVENT_VALUE = "any value of events, or none"
    TIME = "an instant, or none"
    ATOM = "true or false"


@dataclass(frozen=True, slots=True)
class Point:
    """One possibility. Of a value: the number, the folded text and the truth that it reads as, None for none; or it has some other text
    than those that are asked for. Of an instant: its day, and how many seconds ago it was. `missing`: there is no value."""

    missing: bool = False
    number: Fraction | None = None
    text: str | None = None
    other_text: bool = False
    truth: Truth = None
    day: int = 0
    age: Fraction = Fraction(0)


MISSING = Point(missing=True)

# The tests of a thing: of a count or number, of a value, of a time; of an atom, True.
Test = pb.FrequencyTest | pb.NumberTest | pb.ValueTest | pb.Period | bool

_NEGATIVE = frozenset(number for name, number in pb.StringOperator.items() if "_NOT_" in name)
COMPARES: Mapping[int, Callable[[Fraction, Fraction, Fraction], bool]] = {
    pb.COMPARISON_EQUAL: lambda value, operand, upper: value == operand,
    pb.COMPARISON_NOT_EQUAL: lambda value, operand, upper: value != operand,
    pb.COMPARISON_LESS: lambda value, operand, upper: value < operand,
    pb.COMPARISON_LESS_OR_EQUAL: lambda value, operand, upper: value <= operand,
    pb.COMPARISON_GREATER: lambda value, operand, upper: value > operand,
    pb.COMPARISON_GREATER_OR_EQUAL: lambda value, operand, upper: value >= operand,
    pb.COMPARISON_BETWEEN: lambda value, operand, upper: operand <= value <= upper,
}
SPEAKS_OF: Mapping[int, Callable[[str, Sequence[str]], bool]] = {
    pb.STRING_OPERATOR_CONTAINS: lambda text, wanted: wanted[0] in text,
    pb.STRING_OPERATOR_EQUALS: lambda text, wanted: text == wanted[0],
    pb.STRING_OPERATOR_STARTS_WITH: lambda text, wanted: text.startswith(wanted[0]),
    pb.STRING_OPERATOR_ENDS_WITH: lambda text, wanted: text.endswith(wanted[0]),
    pb.STRING_OPERATOR_IN: lambda text, wanted: text in wanted,
}
POSITIVE: Mapping[int, int] = {
    pb.STRING_OPERATOR_NOT_CONTAINS: pb.STRING_OPERATOR_CONTAINS,
    pb.STRING_OPERATOR_NOT_EQUALS: pb.STRING_OPERATOR_EQUALS,
    pb.STRING_OPERATOR_NOT_STARTS_WITH: pb.STRING_OPERATOR_STARTS_WITH,
    pb.STRING_OPERATOR_NOT_ENDS_WITH: pb.STRING_OPERATOR_ENDS_WITH,
    pb.STRING_OPERATOR_NOT_IN: pb.STRING_OPERATOR_IN,
}
_OF_EQUALITY = frozenset({pb.STRING_OPERATOR_EQUALS, pb.STRING_OPERATOR_IN})


def truths(domain: Domain, tests: Sequence[Test]) -> list[list[Truth]]:
    """At every point the truth of each test; nothing where there would be too many points."""
    points = _points(domain, tests)
    # Folded once, not at every point: a list may have hundreds of texts.
    folded = [_folds(test.string) if points and isinstance(test, pb.ValueTest) else [] for test in tests]
    return [[_holds(domain, test, texts, point) for test, texts in zip(tests, folded, strict=True)] for point in points]


def passes_missing(test: pb.ValueTest, *, of_user: bool) -> bool:
    """Whether what is missing passes (semantics: a negative operator on a missing user attribute is true)."""
    kind = test.WhichOneof("kind")
    if kind == "presence":
        return test.presence.operator == pb.PRESENCE_OPERATOR_NOT_EXISTS
    if not of_user:
        return False
    return (
        (kind == "string" and test.string.operator in _NEGATIVE)
        or (kind == "number" and test.number.comparison == pb.COMPARISON_NOT_EQUAL)
        or (kind == "list" and test.list.operator == pb.LIST_OPERATOR_NOT_INCLUDES)
    )


# --- points


def _points(domain: Domain, tests: Sequence[Test]) -> list[Point]:
    match domain:
        case Domain.ATOM:
            return [Point(truth=True), Point(truth=False)]
        case Domain.COUNT:
            whole = {math.floor(operand) + near for operand in (*_operands(tests), Fraction(0)) for near in (-1, 0, 1, 2)}
            return [Point(number=Fraction(number)) for number in sorted(whole) if number >= 0]
        case Domain.NUMBER:
            return [Point(number=number) for number in _around(_operands(tests))]
        case Domain.TIME:
            periods = [test for test in tests if isinstance(test, pb.Period)]
            days = {day + near for period in periods for day in days_of(period) for near in (-1, 0, 1)} or {0}
            ages = [age for age in _around(Fraction(age) for period in periods for age in ages_of(period)) if age >= 0]
            if len(days) * len(ages) > POINTS_MAX:
                return []
            return [MISSING, *(Point(day=day, age=age) for day, age in product(days, ages))]
        case Domain.USER_VALUE | Domain.EVENT_VALUE:
            values = _values(tests)
            return [MISSING, *values] if values else []


def _values(tests: Sequence[Test]) -> list[Point]:
    of_values = [test for test in tests if isinstance(test, pb.ValueTest)]
    texts = {text for test in of_values if _equality_of(test.string) for text in _folds(test.string)}
    numbers: list[Fraction | None] = [None, *_around(_operands(tests))]
    # None and False: it has no text, as a list has none.
    worded: list[tuple[str | None, bool]] = [(None, False), (None, True), *((text, False) for text in texts)]
    true_or_not: list[Truth] = [None, True, False] if any(test.HasField("boolean") for test in of_values) else [None]
    if len(numbers) * len(worded) * len(true_or_not) > POINTS_MAX:
        return []
    return [
        Point(number=number, text=text, other_text=other, truth=truth)
        for number, (text, other), truth in product(numbers, worded, true_or_not)
        # What reads as a number or a truth has a text.
        if text is not None or other or (number is None and truth is None)
    ]


def _around(operands: Iterable[Fraction]) -> list[Fraction]:
    """The operands, one between each two, and one on either side."""
    known = sorted(set(operands))
    if not known:
        return [Fraction(0)]
    return [known[0] - 1, *known, *((low + high) / 2 for low, high in pairwise(known)), known[-1] + 1]


def _operands(tests: Iterable[Test]) -> list[Fraction]:
    found = []
    for test in tests:
        number = test.number if isinstance(test, pb.ValueTest) and test.HasField("number") else test
        if isinstance(number, pb.NumberTest | pb.FrequencyTest):
            found.append(Fraction(number.value))
            if number.comparison == pb.COMPARISON_BETWEEN:
                found.append(Fraction(number.upper))
    return found


def _folds(test: pb.StringTest) -> list[str]:
    listed = test.operator in (pb.STRING_OPERATOR_IN, pb.STRING_OPERATOR_NOT_IN)
    return [text.casefold() for text in (test.values if listed else [test.value])]


def _equality_of(test: pb.StringTest) -> bool:
    return POSITIVE.get(test.operator, test.operator) in _OF_EQUALITY


# --- truths at a point


def _holds(domain: Domain, test: Test, texts: Sequence[str], point: Point) -> Truth:
    if isinstance(test, bool):
        return point.truth
    if point.missing:
        return isinstance(test, pb.ValueTest) and passes_missing(test, of_user=domain is Domain.USER_VALUE)
    if isinstance(test, pb.Period):
        return holds_at(test, point.day, point.age)
    if isinstance(test, pb.FrequencyTest | pb.NumberTest):
        return _compares(test, point.number)
    return VALUE_TESTS[test.WhichOneof("kind") or ""](test, texts, point)


def _compares(test: pb.FrequencyTest | pb.NumberTest, number: Fraction | None) -> bool:
    upper = Fraction(test.upper) if test.comparison == pb.COMPARISON_BETWEEN else Fraction(0)
    return number is not None and COMPARES[test.comparison](number, Fraction(test.value), upper)


def _string(test: pb.ValueTest, texts: Sequence[str], point: Point) -> Truth:
    """Patterns are not looked into: how many characters a text has is not known by its folded form."""
    positive = POSITIVE.get(test.string.operator, test.string.operator)
    if point.text is None and not point.other_text:
        return False
    if positive not in SPEAKS_OF or (point.text is None and positive not in _OF_EQUALITY):
        return None
    speaks = point.text is not None and SPEAKS_OF[positive](point.text, texts)
    return speaks != (positive != test.string.operator)


def _presence(test: pb.ValueTest, texts: Sequence[str], point: Point) -> Truth:
    match test.presence.operator:
        case pb.PRESENCE_OPERATOR_EXISTS:
            return True
        case pb.PRESENCE_OPERATOR_NOT_EXISTS:
            return False
        case _:
            # An operand is never empty, and neither is a number or a truth.
            return False if point.number is not None or point.text is not None or point.truth is not None else None


def _boolean(test: pb.ValueTest, texts: Sequence[str], point: Point) -> Truth:
    return point.truth is test.boolean.value


def _undecided(test: pb.ValueTest, texts: Sequence[str], point: Point) -> Truth:
    return None


# `texts` are those of the test, folded.
VALUE_TESTS: Mapping[str, Callable[[pb.ValueTest, Sequence[str], Point], Truth]] = {
    "string": _string,
    "number": lambda test, texts, point: _compares(test.number, point.number),
    "boolean": _boolean,
    "date": _undecided,
    "list": _undecided,
    "presence": _presence,
}
