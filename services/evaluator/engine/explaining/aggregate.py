"""What a function makes of the values of events, over all of time: of each value it is known when it counts, so sums of what comes and goes
tell all at once; where a single value decides, it is looked for."""

from decimal import Decimal
from functools import partial

import numpy as np

from ..aggregates import Signs, compared, made, sign_of, tested
from ..measure import Numbers, fits
from ..periods import FAR
from ..tree import AggregateTest, Function
from ..values import FIRST_INSTANT, DateTest, ExistsTest, ListTest, NumberTest
from .entries import Entries, united
from .event import crossing
from .findings import Cause, Held
from .person import Person
from .timeline import Edges, Timeline, bounded, constant, during, in_bounds, stays
from .timeline import Numbers as Ints
from .winners import Frequent, Ranked, Winners, swept

TESTED_MAX = 50_000  # different values that are put to a test


class Aggregates:
    def __init__(self, person: Person) -> None:
        self._person = person
        self._entries: dict[AggregateTest, Entries] = {}
        self._found: dict[AggregateTest, Held] = {}

    def timeline(self, criterion: AggregateTest) -> Timeline:
        entries = self._of(criterion)
        if not len(entries.owners):
            return constant(False)
        line = _over_time(criterion, entries, self._person.now)
        return Timeline(line.starts, line.values != criterion.passes_empty, line.first, line.last)

    def finding(self, criterion: AggregateTest, *, wanted: bool) -> Held:
        if criterion not in self._found:
            entries = self._of(criterion)
            self._found[criterion] = Held(made(criterion.function, entries.measure, entries.labels_now().astype(np.int32)))
        return self._found[criterion]

    def cause(self, criterion: AggregateTest, at: int) -> Cause | None:
        times = in_bounds(criterion.window, self._of(criterion).times)
        return crossing(times, *stays(criterion.window, times), at)

    def _of(self, criterion: AggregateTest) -> Entries:
        if criterion not in self._entries:
            self._entries[criterion] = Entries(self._person, criterion, self._person.known_of(criterion))
        return self._entries[criterion]


def _over_time(criterion: AggregateTest, entries: Entries, now: int) -> Timeline:
    """When it passes the test, of somebody who has values at some time."""
    match criterion.function, criterion.test:
        case Function.COUNT, _:
            edges = Edges(entries.first, entries.last)
            return _numbers(criterion, edges, edges.numbers)
        case Function.DISTINCT_COUNT, _:
            _, first, last = united(entries.worths()[entries.owners], entries.first, entries.last)
            edges = Edges(first, last)
            return _numbers(criterion, edges, edges.numbers)
        case ((Function.SUM | Function.AVERAGE), _):
            return _sums(criterion, entries)
        case ((Function.MIN | Function.MAX), ExistsTest()):
            return _sums(criterion, entries)
        case ((Function.MIN | Function.MAX), NumberTest()):
            return _extremes(criterion, criterion.test, entries)
        case ((Function.FIRST | Function.LAST | Function.MOST_FREQUENT), ExistsTest()):
            edges = Edges(entries.first, entries.last)
            return _numbers(criterion, edges, edges.numbers)
        case Function.UNIQUE_LIST, _:
            return _lists(criterion, entries)
        case _:
            return _decided(criterion, entries, now)


def _numbers(criterion: AggregateTest, edges: Edges, totals: Numbers, places: int = 0, counts: Ints | None = None) -> Timeline:
    true = tested(criterion, totals, places, counts, 0)
    return Timeline.of(edges.instants, np.where(edges.numbers > 0, true, criterion.passes_empty))


def _sums(criterion: AggregateTest, entries: Entries) -> Timeline:
    known, wholes, places = entries.amounts()
    numeric = known[entries.owners]
    edges, wholes = Edges(entries.first[numeric], entries.last[numeric]), wholes[entries.owners[numeric]]
    totals = edges.sums(wholes if fits(wholes, len(wholes)) else wholes.astype(object))
    return _numbers(criterion, edges, totals, places, np.maximum(edges.numbers, 1) if criterion.function is Function.AVERAGE else None)


def _extremes(criterion: AggregateTest, test: NumberTest, entries: Entries) -> Timeline:
    """The least is less than a number while one of them is; so with equal and more."""
    known, wholes, places = entries.amounts()
    numeric = known[entries.owners]
    edges, wholes = Edges(entries.first[numeric], entries.last[numeric]), wholes[entries.owners[numeric]]
    beyond = -1 if criterion.function is Function.MIN else 1

    def signs(operand: Decimal) -> Signs:
        of_each = sign_of(wholes, places, None, operand)
        some_beyond, some_equal = edges.counts(of_each == beyond) > 0, edges.counts(of_each == 0) > 0
        return np.where(some_beyond, beyond, np.where(some_equal, 0, -beyond)).astype(np.int8)

    return Timeline.of(edges.instants, np.where(edges.numbers > 0, compared(test, signs), criterion.passes_empty))


def _lists(criterion: AggregateTest, entries: Entries) -> Timeline:
    edges = Edges(entries.first, entries.last)
    true = np.zeros(len(edges.numbers), np.bool_)
    match criterion.test:
        case ListTest(negative=negative):
            labels, at = np.unique(entries.labels[entries.owners], return_inverse=True)
            true = (edges.counts(entries.passes(labels)[at]) > 0) != negative
        case ExistsTest(exists):
            true[:] = exists
    return Timeline.of(edges.instants, np.where(edges.numbers > 0, true, criterion.passes_empty))


def _decided(criterion: AggregateTest, entries: Entries, now: int) -> Timeline:
    """By the one value that decides, at each instant."""
    instants, winners, first, last = _winners(criterion, entries, now)
    turns = np.flatnonzero(np.append(True, winners[1:] != winners[:-1]))
    present = max(int(np.searchsorted(instants, now, "right")), 1)
    labels = np.where(winners[turns] < 0, -1, entries.labels[winners[turns]])
    different, at = np.unique(labels, return_inverse=True)
    if len(different) > TESTED_MAX:  # only around now
        here = int(np.searchsorted(turns, present, "right"))
        begin, end = max(0, here - TESTED_MAX // 2), min(len(turns), here + TESTED_MAX // 2)
        first = max(first, int(instants[turns[begin] - 1])) if begin else first
        last = min(last, int(instants[turns[end] - 1]) - 1) if end < len(turns) else last
        turns, labels = turns[begin:end], labels[begin:end]
        different, at = np.unique(labels, return_inverse=True)
    begins = np.append(first, instants[turns[1:] - 1])
    held = different >= 0
    if isinstance(criterion.test, DateTest):
        dates = np.full(len(different), FIRST_INSTANT - 1)
        dates[held] = entries.dates(different[held], FIRST_INSTANT - 1)
        ends, of_each, window = np.append(begins[1:] - 1, FAR), dates[at], criterion.test.window
        dated = (of_each >= FIRST_INSTANT) & bounded(window, of_each)
        stay_first, stay_last = stays(window, of_each)
        return during(np.maximum(begins, stay_first)[dated], np.minimum(ends, stay_last)[dated]).within(first, last)
    passes = np.full(len(different), criterion.passes_empty)
    passes[held] = entries.passes(different[held])
    true = passes[at]
    return Timeline.of(begins[1:], true).within(first, last)


def _winners(criterion: AggregateTest, entries: Entries, now: int) -> Winners:
    function, (owners, first, last) = criterion.function, (entries.owners, entries.first, entries.last)
    places = np.arange(len(entries))
    match function:
        case Function.FIRST | Function.LAST if entries.slides:
            edges = Edges(first, last)
            begun = np.append(0, np.searchsorted(first, edges.instants, "right"))
            at = begun - 1 if function is Function.LAST else begun - edges.numbers
            return Winners(edges.instants, np.where(edges.numbers > 0, owners[np.minimum(at, len(owners) - 1)], -1), -FAR, FAR)
        case Function.FIRST | Function.LAST:
            return swept(owners, first, last, now, partial(Ranked, places if function is Function.FIRST else -places))
        case Function.MOST_FREQUENT:
            return swept(owners, first, last, now, partial(Frequent, entries.worths()))
        case _:  # the least or greatest number
            known, wholes, _ = entries.amounts()
            order = np.argsort(wholes, kind="stable")
            ranks = np.empty(len(order), np.int64)
            ranks[order] = places
            numeric = known[owners]
            ranks = ranks if function is Function.MIN else -ranks
            return swept(owners[numeric], first[numeric], last[numeric], now, partial(Ranked, ranks))
