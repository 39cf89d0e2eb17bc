"""The values that a function aggregates, of one person, each with the time in which it counts."""

from collections.abc import Sequence

import numpy as np

from ..facts import Instants, Value
from ..keys import Positions, starts_of_groups
from ..measure import SAFE, Amounts, Known, Measure, Numbers, amount_of, fits
from ..sieve import measure_of
from ..tree import AggregateTest, Function
from ..values import instant_of
from .person import Person
from .timeline import Numbers as Ints
from .timeline import Truths, bounded, stays


class Entries:
    """In the order of their times, and of their coming. What is older than the look-back is of the past, and has labels of its own, which
    come after those of the engine.

    Entry `owners[i]` counts at the instants `first[i] <= t <= last[i]`; of one entry these don't meet. `slides`: what begins first ends
    first, and each entry has one such stretch.
    """

    def __init__(self, person: Person, criterion: AggregateTest, known: Known) -> None:
        sieve = measure_of(criterion)
        self._criterion, self._known, self._present = criterion, known, person.measure_of(sieve)
        self._past = Measure(sieve.windows, look_back_ms=person.index.look_back, now_ms=person.now)
        before = sorted(((time, entry) for time, entry in person.earlier_entries(sieve)), key=lambda taken: taken[0])
        before = [(time, entry) for time, entry in before if not isinstance(entry.value, tuple | list)]
        self._past_labels = self._past.labels_of([entry for _, entry in before])
        times, self._labels = person.values_of(sieve)
        self.times: Instants = np.concatenate([np.array([time for time, _ in before], np.int64), times])
        self.labels: Ints = np.concatenate([self._past_labels.astype(np.int64) + len(self._present.values), self._labels.astype(np.int64)])
        self.slides = not sieve.windows
        self.owners, self.first, self.last = self._stretches()
        self.now = person.now

    def __len__(self) -> int:
        return len(self.times)

    @property
    def measure(self) -> Measure:
        """Of what is not older than the look-back."""
        return self._present

    def labels_now(self) -> Ints:
        """Those that count now; they are of `measure`."""
        inside = (self.first <= self.now) & (self.now <= self.last)
        found: Ints = self.labels[self.owners[inside]]
        return found

    def amounts(self) -> tuple[Truths, Numbers, int]:
        """Which of them are numbers, and these as whole numbers over ten to so many places."""
        parts = [(self._past.amounts, self._past_labels), (self._present.amounts, self._labels)]
        places = max(amounts.places for amounts, _ in parts)
        known: Truths = np.concatenate([amounts.known[labels] for amounts, labels in parts])
        return known, np.concatenate([_scaled(amounts, amounts.wholes[labels], places) for amounts, labels in parts]), places

    def worths(self) -> Ints:
        """Alike for values that count as one."""
        past = self._present.worths_of(self._past.values)
        found: Ints = np.concatenate([past[self._past_labels], self._present.worths[self._labels]])
        return found

    def passes(self, labels: Ints) -> Truths:
        """Whether the value of each of these labels passes the test of a single value."""
        past = labels >= len(self._present.values)
        true = np.zeros(len(labels), np.bool_)
        if self._criterion.function in (Function.MIN, Function.MAX):
            amounts = [None if value is None else amount_of(value) for value in self.values_of(labels)]
            return np.array([amount is not None and self._criterion.test.holds(amount) for amount in amounts], np.bool_)
        true[~past] = self._known.of(self._present.values, labels[~past].astype(np.int32))
        own = Known(self._known.function)
        true[past] = own.of(self._past.values, (labels[past] - len(self._present.values)).astype(np.int32))
        return true

    def dates(self, labels: Ints, missing: int) -> Instants:
        """The values of these labels as instants; `missing` where they are none."""
        found = [None if value is None else instant_of(value) for value in self.values_of(labels)]
        return np.array([missing if instant is None else instant for instant in found], np.int64)

    def values_of(self, labels: Ints) -> Sequence[Value | None]:
        present = len(self._present.values)
        return [self._present.values[label] if label < present else self._past.values[label - present] for label in labels.tolist()]

    def _stretches(self) -> tuple[Positions, Instants, Instants]:
        window = self._criterion.window
        inside = bounded(window, self.times)
        first, last = stays(window, self.times)
        if self.slides:
            return np.flatnonzero(inside), first[inside], last[inside]
        parts = [measure.rows_of(labels) for measure, labels in ((self._past, self._past_labels), (self._present, self._labels))]
        owners = np.concatenate([parts[0][0], parts[1][0] + len(self._past_labels)])
        dates = np.concatenate([parts[0][1], parts[1][1]])
        chosen = inside[owners]
        first, last = first[owners], last[owners]
        for place, moving in enumerate(measure_of(self._criterion).windows):
            chosen &= bounded(moving, dates[:, place])
            begin, end = stays(moving, dates[:, place])
            first, last = np.maximum(first, begin), np.minimum(last, end)
        return united(owners[chosen], first[chosen], last[chosen])


def united(groups: Ints, first: Instants, last: Instants) -> tuple[Ints, Instants, Instants]:
    """The stretches of each group with those that meet as one; ascending by group. One that ends before it begins is none."""
    real = np.flatnonzero(first <= last)
    order = real[np.lexsort((first[real], groups[real]))]
    groups, first, last = groups[order], first[order], last[order]
    new = np.zeros(len(order), np.bool_)
    new[starts_of_groups(groups)] = True
    if np.any((last[1:] < last[:-1]) & ~new[1:]):  # the furthest so far, of the group: as numbers that are larger in every later group
        number = np.cumsum(new)
        ends, rank = np.unique(last, return_inverse=True)
        last = ends[np.maximum.accumulate(number * len(ends) + rank) - number * len(ends)]
    begins = np.flatnonzero(new | np.append(True, first[1:] > last[:-1])[: len(order)])
    return groups[begins], first[begins], last[np.append(begins[1:], len(order)) - 1 if len(order) else begins]


def _scaled(amounts: Amounts, wholes: Numbers, places: int) -> Numbers:
    by = 10 ** (places - amounts.places)
    return wholes if by == 1 else (wholes if by < SAFE and fits(wholes, by) else wholes.astype(object)) * by
