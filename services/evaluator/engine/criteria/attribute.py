"""Criteria on what is known of a person: a column of dictionary codes per property, a test once per distinct value, then a look-up.

A date in a window that moves with time is an event in disguise: the people by their date, so that those who cross an edge are a slice.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..bits import BitRows, Row, place
from ..facts import AttributeChange, Instants, Ordinals, Property, Value, property_of
from ..keys import Keys, SortedRuns, sorted_unique
from ..periods import Window
from ..tree import AttributeDate, AttributeTest
from ..values import FIRST_INSTANT, LAST_INSTANT, instant_of

AttributeCriterion = AttributeTest | AttributeDate
Codes = NDArray[np.int32]

NEVER = -(1 << 62)  # when a value that nobody has told was told
NO_DATE = FIRST_INSTANT - 1
LONGEST = LAST_INSTANT - FIRST_INSTANT + 1
WORTH_TIDYING = 1024


class _Column:
    """The present value of one attribute of everyone, as the number of a distinct value; 0: missing."""

    def __init__(self) -> None:
        self.values: list[Value | None] = [None]
        self.codes: Codes = np.zeros(0, np.int32)
        self._times: Instants = np.zeros(0, np.int64)
        self._code_of: dict[object, int] = {}

    @property
    def nbytes(self) -> int:
        return self.codes.nbytes + self._times.nbytes

    def make_room(self, people: int) -> None:
        if people > len(self.codes):
            more = people - len(self.codes)
            self.codes = np.concatenate([self.codes, np.zeros(more, np.int32)])
            self._times = np.concatenate([self._times, np.full(more, NEVER)])

    def put(self, ordinals: Ordinals, values: Sequence[Value | None], times: Instants) -> Ordinals:
        """Per person the latest wins, of equal times the last one told; the people whose value is another now, ascending."""
        order = np.lexsort((times, ordinals))
        newest = order[np.append(np.diff(ordinals[order]) != 0, True)] if len(order) else order
        newest = newest[times[newest] >= self._times[ordinals[newest]]]
        people = ordinals[newest]
        codes = np.fromiter((self._code(values[at]) for at in newest.tolist()), np.int32, len(newest))
        self._times[people] = times[newest]
        moved = self.codes[people] != codes
        self.codes[people[moved]] = codes[moved]
        changed: Ordinals = people[moved]
        return changed

    def tidy(self) -> bool:
        """Let go of the values that nobody has any more, where they are many. If so, all codes are other ones."""
        used = np.union1d(self.codes, [0])
        if len(self.values) < 2 * len(used) + WORTH_TIDYING:
            return False
        self.codes = np.searchsorted(used, self.codes).astype(np.int32)
        self.values = [self.values[code] for code in used.tolist()]
        self._code_of = {_identity(value): code for code, value in enumerate(self.values) if value is not None}
        return True

    def _code(self, value: Value | None) -> int:
        if value is None:
            return 0
        identity = _identity(value)
        code = self._code_of.get(identity)
        if code is None:
            code = self._code_of[identity] = len(self.values)
            self.values.append(value)
        return code


def _identity(value: Value) -> object:
    """Distinct where a test could tell the difference: 1, True, 1.0 and "1" are four, and 1.0 and 1.00 are two."""
    return value if isinstance(value, str) else (type(value), repr(value))


@dataclass
class _ByValue:
    """A function of the value, worked out once for each distinct value of a column."""

    function: Callable[[Value], int]
    missing: int
    known: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def of(self, column: _Column, codes: Codes) -> NDArray[np.int64]:
        if len(self.known) < len(column.values):
            new = column.values[len(self.known) :]
            answers = (self.missing if value is None else self.function(value) for value in new)
            self.known = np.concatenate([self.known, np.fromiter(answers, np.int64, len(new))])
        answers_of_codes: NDArray[np.int64] = self.known[codes]
        return answers_of_codes

    def start_again(self) -> None:
        self.known = self.known[:0]


@dataclass
class _Attribute:
    column: _Column = field(default_factory=_Column)
    tests: dict[AttributeTest, tuple[int, _ByValue]] = field(default_factory=dict)
    windows: dict[Window, int] = field(default_factory=dict)
    dates: _ByValue = field(default_factory=lambda: _ByValue(_date, NO_DATE))
    by_date: SortedRuns | None = None  # kept while windows ask for it; also holds dates that people had before

    def in_window(self, window: Window, people: Ordinals | slice, now: int) -> NDArray[np.bool_]:
        first, last = window.bounds(now)
        dates = self.dates.of(self.column, self.column.codes[people])
        return (dates >= max(first, FIRST_INSTANT)) & (dates <= last)

    def enter_dates(self, people: Ordinals) -> None:
        if self.by_date is not None:
            dates = self.dates.of(self.column, self.column.codes[people])
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


class AttributeCriteria:
    def __init__(self, bits: BitRows) -> None:
        self._bits = bits
        self._attributes: dict[tuple[int, Property], _Attribute] = {}

    @property
    def nbytes(self) -> int:
        dated = sum(attribute.by_date.nbytes for attribute in self._attributes.values() if attribute.by_date is not None)
        return dated + sum(attribute.column.nbytes for attribute in self._attributes.values())

    def row(self, criterion: AttributeCriterion, now: int) -> Row:
        """For whom it is true now."""
        attribute = self._attributes.get((criterion.workspace, criterion.attribute))
        true = np.zeros(self._bits.people, np.bool_)
        if attribute is not None:
            present = slice(0, len(attribute.column.codes))
            if isinstance(criterion, AttributeDate):
                true[present] = attribute.in_window(criterion.window, present, now)
            else:
                true[present] = _answers(criterion).of(attribute.column, attribute.column.codes) == 1
        return np.packbits(true, bitorder="little")

    def value_of(self, workspace: int, attribute: Property, ordinal: int) -> Value | None:
        """Of one person; None where it is missing."""
        found = self._attributes.get((workspace, attribute))
        if found is None or ordinal >= len(found.column.codes):
            return None
        return found.column.values[int(found.column.codes[ordinal])]

    def add(self, criterion: AttributeCriterion, slot: int) -> None:
        attribute = self._attribute(criterion.workspace, criterion.attribute)
        if isinstance(criterion, AttributeTest):
            attribute.tests[criterion] = slot, _answers(criterion)
            return
        attribute.windows[criterion.window] = slot
        if attribute.by_date is None:
            attribute.by_date = SortedRuns()
            attribute.enter_dates(np.arange(len(attribute.column.codes)))

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
        attribute = self._attribute(change.workspace_id, property_of(change.attribute))
        attribute.column.make_room(self._bits.people)
        people = attribute.column.put(change.ordinals, change.values, change.times_ms)
        attribute.enter_dates(people)
        for slot, answers in attribute.tests.values():
            yield self._wrong(slot, people, answers.of(attribute.column, attribute.column.codes[people]) == 1)
        for window, slot in attribute.windows.items():
            yield self._wrong(slot, people, attribute.in_window(window, people, now))

    def pass_time(self, before: int, now: int) -> Iterator[Keys]:
        """The places of the bits that turn as dates cross the edges of windows."""
        for attribute in self._attributes.values():
            for window, slot in attribute.windows.items():
                people = attribute.crossing(window, before, now)
                yield self._wrong(slot, people, attribute.in_window(window, people, now))

    def tidy(self) -> None:
        """Let go of values and dates that nobody has any more."""
        for attribute in self._attributes.values():
            if attribute.column.tidy():
                for answers in (attribute.dates, *(answers for _, answers in attribute.tests.values())):
                    answers.start_again()
            if attribute.by_date is not None and len(attribute.by_date) > 2 * np.count_nonzero(attribute.column.codes) + WORTH_TIDYING:
                attribute.by_date = SortedRuns()
                attribute.enter_dates(np.flatnonzero(attribute.column.codes))

    def _attribute(self, workspace: int, attribute: Property) -> _Attribute:
        return self._attributes.setdefault((workspace, attribute), _Attribute())

    def _wrong(self, slot: int, people: Ordinals, true: NDArray[np.bool_]) -> Keys:
        return place(slot, people[self._bits.get(slot, people) != true])


def _answers(criterion: AttributeTest) -> _ByValue:
    test = criterion.test
    return _ByValue(lambda value: test.holds(value) != test.missing, missing=False)


def _date(value: Value) -> int:
    instant = instant_of(value)
    return NO_DATE if instant is None else instant
