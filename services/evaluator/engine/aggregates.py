"""What aggregate functions make of values, for many people at once; exact. semantics: Kinds of criteria, Numbers."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from math import gcd

import numpy as np
from numpy.typing import NDArray

from .events import Codes
from .facts import Value
from .keys import Positions, sorted_unique, starts_of_groups
from .measure import SAFE, Known, Measure, Numbers, fits
from .tree import AggregateTest, Function
from .values import FIRST_INSTANT, Comparison, DateTest, ExistsTest, ListTest, NumberTest, instant_of, text_of

Truths = NDArray[np.bool_]
Signs = NDArray[np.int8]
MOST_PLACES = 1_000  # of a quotient that is written out
DENSE = 4  # cells of a table for each value, at the most


def judged(criterion: AggregateTest, measure: Measure, known: Known, owners: Positions, labels: Codes, size: int, now: int) -> Truths:
    """Of each of so many people (positions from 0 on) whether the test passes; the rows are as `Measure.rows` has them. `known`: what
    is known of the test, by label."""
    true = np.full(size, criterion.passes_empty)
    function = criterion.function
    if function in (Function.SUM, Function.AVERAGE, Function.MIN, Function.MAX):
        amounts = measure.amounts.known[labels]
        owners, labels = owners[amounts], labels[amounts]
    elif function is Function.DISTINCT_COUNT or function is Function.UNIQUE_LIST or function is Function.MOST_FREQUENT:
        owners, labels, times, places = _by_worth(measure, owners, labels)
        if function is Function.MOST_FREQUENT:
            order = np.lexsort((places, times, owners))
            owners, labels = owners[order], labels[order]
    starts = starts_of_groups(owners)
    people, ends = owners[starts], np.append(starts[1:], len(owners)) - 1
    if not len(people):
        return true
    match function:
        case Function.COUNT | Function.DISTINCT_COUNT:
            true[people] = tested(criterion, ends - starts + 1, 0, None, now)
        case Function.SUM | Function.AVERAGE:
            wholes = measure.amounts.wholes[labels]
            totals = np.add.reduceat(wholes if fits(wholes, len(wholes)) else wholes.astype(object), starts)
            counts = ends - starts + 1 if function is Function.AVERAGE else None
            true[people] = tested(criterion, totals, measure.amounts.places, counts, now)
        case Function.MIN | Function.MAX:
            least = np.minimum if function is Function.MIN else np.maximum
            found = least.reduceat(measure.amounts.wholes[labels], starts)
            true[people] = tested(criterion, found, measure.amounts.places, None, now)
        case Function.FIRST:
            true[people] = _passes(criterion, measure, known, labels[starts], now)
        case Function.LAST | Function.MOST_FREQUENT:
            true[people] = _passes(criterion, measure, known, labels[ends], now)
        case Function.UNIQUE_LIST:
            true[people] = _listed(criterion, measure, known, labels, starts)
    return true


def made(function: Function, measure: Measure, labels: Codes) -> Value | None:
    """What the function makes of one person's values, for a person's eyes: a quotient without an end is cut off."""
    wholes = measure.amounts.wholes[labels[measure.amounts.known[labels]]]
    one = 10**measure.amounts.places
    match function:
        case Function.COUNT:
            return len(labels)
        case Function.DISTINCT_COUNT:
            return len(sorted_unique(measure.worths[labels]))
        case Function.SUM:
            return written(Fraction(_sum(wholes), one))
        case Function.AVERAGE | Function.MIN | Function.MAX:
            if not len(wholes):
                return None
            number = Fraction(_sum(wholes), one * len(wholes)) if function is Function.AVERAGE else _least(function, wholes, one)
            return written(number) or Decimal(number.numerator) / Decimal(number.denominator)
        case Function.FIRST | Function.LAST:
            return measure.values[labels[0 if function is Function.FIRST else -1]] if len(labels) else None
        case Function.MOST_FREQUENT:
            _, found, times, places = _by_worth(measure, np.zeros(len(labels), np.intp), labels)
            return measure.values[found[np.lexsort((places, times))[-1]]] if len(found) else None
        case Function.UNIQUE_LIST:
            _, found, _, places = _by_worth(measure, np.zeros(len(labels), np.intp), labels)
            values = [measure.values[label] for label in found[np.argsort(places)].tolist()]
            return tuple(text_of(value) or "" for value in values if value is not None)


def _sum(wholes: Numbers) -> int:
    return int(wholes.sum()) if fits(wholes, len(wholes)) else sum(wholes.tolist())


def _least(function: Function, wholes: Numbers, one: int) -> Fraction:
    return Fraction(int(wholes.min() if function is Function.MIN else wholes.max()), one)


def _by_worth(measure: Measure, owners: Positions, labels: Codes) -> tuple[Positions, Codes, NDArray[np.int64], Positions]:
    """The different values of each person, ascending: person, label of the last one, how often, and the place of the last one."""
    worths = measure.worths[labels]
    order = np.lexsort((worths, owners)) if len(owners) and owners[0] != owners[-1] else np.argsort(worths, kind="stable")
    starts = starts_of_groups(owners[order] * (int(worths.max(initial=0)) + 1) + worths[order])
    ends = np.append(starts[1:], len(order)) - 1 if len(order) else starts
    places = order[ends]
    return owners[places], labels[places], ends - starts + 1, places


def known_of(criterion: AggregateTest) -> Known:
    """The test of a single value; of a unique list, whether an entry is what the test asks for."""
    test = criterion.test
    if criterion.function is not Function.UNIQUE_LIST:
        return Known(test.holds)
    entry = replace(test, negative=False) if isinstance(test, ListTest) else test
    return Known(lambda value: entry.holds((text_of(value) or "",)))


def _passes(criterion: AggregateTest, measure: Measure, known: Known, labels: Codes, now: int) -> Truths:
    if isinstance(criterion.test, DateTest):
        first, last = criterion.test.window.bounds(now)
        dates = measure.dates(labels)
        within: Truths = (dates >= max(first, FIRST_INSTANT)) & (dates <= last)
        return within
    return known.of(measure.values, labels)


def _listed(criterion: AggregateTest, measure: Measure, known: Known, labels: Codes, starts: Positions) -> Truths:
    match criterion.test:
        case ListTest(negative=negative):
            found: Truths = np.logical_or.reduceat(known.of(measure.values, labels), starts) != negative
            return found
        case ExistsTest(exists):
            return np.full(len(starts), exists)
        case _:
            return np.zeros(len(starts), np.bool_)


def tested(criterion: AggregateTest, totals: Numbers, places: int, counts: NDArray[np.int64] | None, now: int) -> Truths:
    """Whether the numbers `totals / 10**places / counts` pass."""
    match criterion.test:
        case NumberTest() as test:
            return _compares(test, totals, places, counts)
        case ExistsTest(exists):
            return np.full(len(totals), exists)
        case test:
            known: dict[tuple[int, int], bool] = {}
            pairs = list(zip(totals.tolist(), [1] * len(totals) if counts is None else counts.tolist(), strict=True))
            for total, count in set(pairs):
                number = written(Fraction(total, 10**places * count))
                if number is None:
                    known[total, count] = False
                elif isinstance(test, DateTest):
                    first, last = test.window.bounds(now)
                    instant = instant_of(number)
                    known[total, count] = instant is not None and first <= instant <= last
                else:
                    known[total, count] = test.holds(number)
            return np.array([known[pair] for pair in pairs], np.bool_)


def _compares(test: NumberTest, totals: Numbers, places: int, counts: NDArray[np.int64] | None) -> Truths:
    return compared(test, lambda operand: sign_of(totals, places, counts, operand))


def compared(test: NumberTest, sign: Callable[[Decimal], Signs]) -> Truths:
    """Of numbers of which it is known how they compare with an operand."""
    signs = sign(test.operand)
    true: Truths
    match test.comparison:
        case Comparison.EQUAL:
            true = signs == 0
        case Comparison.NOT_EQUAL:
            true = signs != 0
        case Comparison.LESS:
            true = signs < 0
        case Comparison.LESS_OR_EQUAL:
            true = signs <= 0
        case Comparison.GREATER:
            true = signs > 0
        case Comparison.GREATER_OR_EQUAL:
            true = signs >= 0
        case Comparison.BETWEEN:
            true = (signs >= 0) & (sign(test.operand if test.upper is None else test.upper) <= 0)
    return true


def sign_of(totals: Numbers, places: int, counts: NDArray[np.int64] | None, operand: Decimal) -> Signs:
    """-1, 0 or 1 as the number is less than the operand, equal or more: both sides times what makes them whole."""
    numerator, denominator = operand.as_integer_ratio()
    numerator *= 10**places
    common = gcd(numerator, denominator)
    numerator, denominator = numerator // common, denominator // common
    many = np.ones(len(totals), np.int64) if counts is None else counts
    left = (totals if denominator < SAFE and fits(totals, denominator) else totals.astype(object)) * denominator
    right = (many if abs(numerator) < SAFE and fits(many, abs(numerator)) else many.astype(object)) * numerator
    sign: Signs = (left > right).astype(np.int8) - (left < right).astype(np.int8)
    return sign


def written(number: Fraction) -> Decimal | None:
    """The number as a decimal; None where no decimal of so many places is."""
    rest, twos, fives = number.denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    places = max(twos, fives)
    if rest != 1 or places > MOST_PLACES:
        return None
    return Decimal(f"{number.numerator * 10**places // number.denominator}E-{places}")
