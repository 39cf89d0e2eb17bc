"""Criteria on what is known of a person: a column per property, a test once per distinct value, then a look-up.

A date in a window that moves with time is an event in disguise: the people by their date, so that those who cross an edge are a slice.
What is told of the future and holds only from then on waits aside.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import count

import numpy as np
from numpy.typing import NDArray

from ..bits import BitRows, Row, place
from ..facts import AttributeChange, Ordinals, Property, PropertyKind, Value, property_of
from ..keys import Keys, SortedRuns, sorted_unique
from ..periods import Window
from ..tree import AttributeDate, AttributeTest
from ..values import FIRST_INSTANT, LAST_INSTANT
from ..work import Work
from .columns import NO_DATE, WORTH_TIDYING, Answers, Column, Reader, ValueColumn, column_of

AttributeCriterion = AttributeTest | AttributeDate
Key = tuple[int, Property]  # workspace and property

LEARNT = 20_000  # values that a test is put to in one piece
SPARE = 8  # tests of an attribute that nobody uses, but perhaps asks for again
LONGEST = LAST_INSTANT - FIRST_INSTANT + 1
IN_TIME = frozenset({PropertyKind.FIRST_SEEN, PropertyKind.LAST_SEEN, PropertyKind.LOCATION, PropertyKind.LIFETIME_VALUE})


@dataclass
class _Attribute:
    column: Column
    tests: dict[AttributeTest, tuple[int, Reader]] = field(default_factory=dict)
    windows: dict[Window, int] = field(default_factory=dict)
    by_date: SortedRuns | None = None  # kept while windows ask for it; also holds dates that people had before
    spare: dict[AttributeTest, Reader] = field(default_factory=dict)  # of tests that were asked for last, and are not in use

    def reader(self, test: AttributeTest) -> Reader:
        """One for each test, so that a value is put to it once, for an estimate, the activation after it, and the rounds."""
        if test in self.tests:
            return self.tests[test][1]
        reader = self.spare.pop(test, None) or self.column.reader(test.test)
        while len(self.spare) >= SPARE:
            del self.spare[next(iter(self.spare))]
        self.spare[test] = reader
        return reader

    def in_window(self, window: Window, people: Ordinals | slice, now: int) -> NDArray[np.bool_]:
        first, last = window.bounds(now)
        dates = self.column.dates(people)
        return (dates >= max(first, FIRST_INSTANT)) & (dates <= last)

    def enter_dates(self, people: Ordinals) -> None:
        if self.by_date is None:
            return
        if len(self.by_date) > 4 * self.column.size + WORTH_TIDYING:
            self.by_date, people = SortedRuns(), np.arange(self.column.size)
        dates = self.column.dates(people)
        dated = dates != NO_DATE
        self.by_date.add(dates[dated] - FIRST_INSTANT, people[dated].astype(np.int32))

    def crossing(self, window: Window, before: int, now: int) -> Ordinals:
        """Whose date may have crossed an edge of the window."""
        if self.by_date is None:
            return np.empty(0, np.int64)
        edges = np.array(window.edges(), np.int64)
        lower, upper = (np.clip(instant + 1 - edges - FIRST_INSTANT, 0, LONGEST) for instant in (before, now))
        return sorted_unique(
            np.concatenate([np.empty(0, np.int64), *(people for _, _, people in self.by_date.ranges(lower, upper))]).astype(np.int64)
        )


class _Later:
    """What is told of the future, until its time comes."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Key, int, Value | None]] = []
        self._number = count()  # of equal times in the order in which it was told

    def add(self, key: Key, change: AttributeChange) -> None:
        values = change.values if len(change.values) else [None] * len(change.ordinals)
        for ordinal, value, time in zip(change.ordinals.tolist(), values, change.times_ms.tolist(), strict=True):
            heappush(self._heap, (time, next(self._number), key, ordinal, value))

    def due(self, now: int) -> Iterator[AttributeChange]:
        """What holds by now."""
        found: dict[Key, list[tuple[int, Value | None, int]]] = defaultdict(list)
        while self._heap and self._heap[0][0] <= now:
            time, _, key, ordinal, value = heappop(self._heap)
            found[key].append((ordinal, value, time))
        for (workspace, property_), rows in found.items():
            ordinals, values, times = zip(*rows, strict=True)
            yield AttributeChange(workspace, property_, np.array(ordinals, np.int64), values, np.array(times, np.int64))

    def of(self, key: Key, ordinal: int) -> tuple[list[Value | None], list[int]]:
        """The values and times that wait for one person, in their order."""
        found = sorted((time, number, value) for time, number, *of, value in self._heap if of == [key, ordinal])
        return [value for _, _, value in found], [time for time, _, _ in found]

    def clear(self, people: AbstractSet[int]) -> None:
        """Nothing comes for these any more."""
        self._heap = [entry for entry in self._heap if entry[3] not in people]
        heapify(self._heap)

    def drop(self, key: Key) -> None:
        self._heap = [entry for entry in self._heap if entry[2] != key]
        heapify(self._heap)


class AttributeCriteria:
    def __init__(self, bits: BitRows, work: Work) -> None:
        self._bits = bits
        self._work = work
        self._attributes: dict[Key, _Attribute] = {}
        self._later = _Later()

    @property
    def nbytes(self) -> int:
        dated = sum(attribute.by_date.nbytes for attribute in self._attributes.values() if attribute.by_date is not None)
        return dated + sum(attribute.column.nbytes for attribute in self._attributes.values())

    def row(self, criterion: AttributeCriterion, now: int) -> Row:
        """For whom it is true now."""
        attribute = self._attributes.get((criterion.workspace, criterion.attribute))
        true = np.zeros(self._bits.people, np.bool_)
        if attribute is not None:
            present = slice(0, attribute.column.size)
            if isinstance(criterion, AttributeDate):
                true[present] = attribute.in_window(criterion.window, present, now)
            else:
                true[present] = attribute.reader(criterion).of(present)
        return np.packbits(true, bitorder="little")

    def learn(self, criterion: AttributeCriterion) -> bool:
        """A part of what `row` has to do at the most; whether the rest is little."""
        attribute = self._attributes.get((criterion.workspace, criterion.attribute))
        if attribute is None or not isinstance(attribute.column, ValueColumn):
            return True
        if isinstance(criterion, AttributeDate):
            return attribute.column.learn_dates(LEARNT)
        reader = attribute.reader(criterion)
        return not isinstance(reader, Answers) or reader.learn(LEARNT)

    def value_of(self, workspace: int, attribute: Property, ordinal: int, at: int) -> Value | None:
        """Of one person at an instant, if nothing new is told; None where it is missing."""
        key = workspace, attribute
        found = self._attributes.get(key)
        if found is None:
            return None
        found.column.make_room(self._bits.people)
        if ordinal >= found.column.size:
            return None
        values, times = self._later.of(key, ordinal)
        come = int(np.searchsorted(times, at, "right"))
        return found.column.with_more(ordinal, values[:come], times[:come])

    def held(self) -> AbstractSet[Key]:
        return self._attributes.keys()

    def to_come(self, workspace: int, attribute: Property, ordinal: int) -> Sequence[int]:
        """The instants at which something more is known of one person."""
        return self._later.of((workspace, attribute), ordinal)[1]

    def add(self, criterion: AttributeCriterion, slot: int) -> None:
        attribute = self._attribute(criterion.workspace, criterion.attribute)
        if isinstance(criterion, AttributeTest):
            attribute.tests[criterion] = slot, attribute.reader(criterion)
            attribute.spare.pop(criterion, None)
            return
        attribute.windows[criterion.window] = slot
        if attribute.by_date is None:
            attribute.by_date = SortedRuns()
            attribute.enter_dates(np.arange(attribute.column.size))

    def remove(self, criterion: AttributeCriterion) -> None:
        attribute = self._attribute(criterion.workspace, criterion.attribute)
        if isinstance(criterion, AttributeTest):
            del attribute.tests[criterion]
            return
        del attribute.windows[criterion.window]
        if not attribute.windows:
            attribute.by_date = None

    def change(self, change: AttributeChange, now: int) -> Iterator[Keys]:
        """Take values in; the places of the bits that turn."""
        property_ = property_of(change.attribute)
        if property_.kind in IN_TIME and len(change.times_ms) and change.times_ms.max() > now:
            self._later.add((change.workspace_id, property_), _rows_of(change, change.times_ms > now))
            change = _rows_of(change, change.times_ms <= now)
        yield from self._take(change, now)

    def pass_time(self, before: int, now: int) -> Iterator[Keys]:
        """The places of the bits that turn as dates cross the edges of windows, and as the time of what waits comes."""
        for change in self._later.due(now):
            yield from self._take(change, now)
        for attribute in self._attributes.values():
            for window, slot in attribute.windows.items():
                people = attribute.crossing(window, before, now)
                yield self._wrong(slot, people, attribute.in_window(window, people, now))

    def clear(self, ordinals: Ordinals) -> None:
        """Nothing is known of these people any more; their bits are nobody's."""
        self._later.clear(frozenset(ordinals.tolist()))
        for attribute in self._attributes.values():
            attribute.column.make_room(self._bits.people)
            attribute.column.clear(ordinals)

    def drop(self, workspace: int, attribute: Property) -> None:
        """Let go of a property that no criterion in use reads."""
        del self._attributes[workspace, attribute]
        self._later.drop((workspace, attribute))

    def tidy(self) -> None:
        """Let go of values and dates that nobody has any more."""
        for attribute in self._attributes.values():
            attribute.spare.clear()
            attribute.column.tidy()
            if attribute.by_date is not None:
                dated = np.flatnonzero(attribute.column.dates(slice(0, attribute.column.size)) != NO_DATE)
                if len(attribute.by_date) > 2 * len(dated) + WORTH_TIDYING:
                    attribute.by_date = SortedRuns()
                    attribute.enter_dates(dated)

    def _take(self, change: AttributeChange, now: int) -> Iterator[Keys]:
        attribute = self._attribute(change.workspace_id, property_of(change.attribute))
        attribute.column.make_room(self._bits.people)
        yield from self._mend(attribute, attribute.column.put(change.ordinals, change.values, change.times_ms), now)

    def _mend(self, attribute: _Attribute, people: Ordinals, now: int) -> Iterator[Keys]:
        attribute.enter_dates(people)
        for slot, reader in attribute.tests.values():
            yield self._wrong(slot, people, reader.of(people))
        for window, slot in attribute.windows.items():
            yield self._wrong(slot, people, attribute.in_window(window, people, now))

    def _attribute(self, workspace: int, attribute: Property) -> _Attribute:
        key = workspace, attribute
        if key not in self._attributes:
            self._attributes[key] = _Attribute(column_of(attribute))
        return self._attributes[key]

    def _wrong(self, slot: int, people: Ordinals, true: NDArray[np.bool_]) -> Keys:
        self._work.count(slot, len(people))
        return place(slot, people[self._bits.get(slot, people) != true])


def _rows_of(change: AttributeChange, chosen: NDArray[np.bool_]) -> AttributeChange:
    values = [change.values[at] for at in np.flatnonzero(chosen).tolist()] if len(change.values) else ()
    return change._replace(ordinals=change.ordinals[chosen], values=values, times_ms=change.times_ms[chosen])
