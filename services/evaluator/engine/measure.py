"""The values that a sieve takes: everybody's in the order of their times, each as the number of a different one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal

import numpy as np
from numpy.typing import NDArray

from .events import Codes, Histories, in_time
from .facts import Instants, Ordinals, Value
from .keys import Positions, SortedRuns, expand, sorted_unique
from .periods import Window
from .sieve import SieveEntry
from .values import FIRST_INSTANT, LAST_INSTANT, instant_of, number_of, text_of

DIGITS = 100  # that an amount has at most on either side of the point
SAFE = 1 << 62
NO_DATE = FIRST_INSTANT - 1
LONGEST = LAST_INSTANT - FIRST_INSTANT + 1
WORTH_TIDYING = 4096
CELLS = 1 << 22  # instants that are looked at together: bounds the memory of many filters by date

_WIDE = Context(prec=10_000)  # more than the text of a value has characters

Numbers = NDArray[np.generic]
"""Whole numbers: int64, or Python's own where they are too large for it."""


def amount_of(value: Value) -> Decimal | None:
    """The number that sums and the like take, without zeros at its end; None: it is none, or one of too many digits."""
    number = number_of(value)
    if number is None:
        return None
    if not number:
        return Decimal(0)
    if not -DIGITS <= number.adjusted() < DIGITS:
        return None
    number = number.normalize(_WIDE)
    return number if places_of(number) <= DIGITS else None


def places_of(number: Decimal) -> int:
    """How many digits it has behind the point."""
    return max(0, -int(number.as_tuple().exponent))


def whole(number: Decimal, places: int) -> int:
    """The number times ten to so many places, which is a whole number."""
    numerator, denominator = number.as_integer_ratio()
    return int(numerator * 10**places // denominator)


def fits(numbers: Numbers, times: int = 1) -> bool:
    """Whether so many of these add up to something that int64 holds."""
    return numbers.dtype != object and (not len(numbers) or max(abs(int(numbers.max())), abs(int(numbers.min()))) * max(times, 1) < SAFE)


class Amounts:
    """The amounts of values, by label, as whole numbers of one scale: `wholes / 10**places`."""

    def __init__(self) -> None:
        self.known: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self.wholes: Numbers = np.zeros(0, np.int64)
        self.places = 0

    def grow(self, values: Sequence[Value | None]) -> None:
        """More labels."""
        amounts = [None if value is None else amount_of(value) for value in values]
        places = max([self.places, *(places_of(amount) for amount in amounts if amount is not None)])
        if places > self.places:
            by = 10 ** (places - self.places)
            self.wholes = (self.wholes if by < SAFE and fits(self.wholes, by) else self.wholes.astype(object)) * by
            self.places = places
        new = [0 if amount is None else whole(amount, places) for amount in amounts]
        large = any(abs(one) >= SAFE for one in new)
        self.wholes = np.concatenate([self.wholes, np.array(new, object if large else np.int64)])
        self.known = np.concatenate([self.known, np.array([amount is not None for amount in amounts], np.bool_)])


class Rows:
    """Arrays of which each label has some rows, one after the other."""

    def __init__(self, width: int) -> None:
        self._starts: NDArray[np.int64] = np.zeros(0, np.int64)
        self._counts: NDArray[np.int64] = np.zeros(0, np.int64)
        self._rows: NDArray[np.int64] = np.zeros((0, width), np.int64)

    def grow(self, rows: Sequence[Sequence[Sequence[int]]]) -> None:
        counts = np.array([len(own) for own in rows], np.int64)
        self._starts = np.concatenate([self._starts, len(self._rows) + np.cumsum(counts) - counts])
        self._counts = np.concatenate([self._counts, counts])
        flat = np.array([row for own in rows for row in own], np.int64).reshape(int(counts.sum()), self._rows.shape[1])
        self._rows = np.concatenate([self._rows, flat])

    def of(self, labels: Codes) -> tuple[Positions, NDArray[np.int64]]:
        """All rows of these labels: for each the position of its label, and the row."""
        owner, at = expand(self._starts[labels], self._counts[labels])
        return owner, self._rows[at]


@dataclass
class Known:
    """A function of the value, worked out once for each label that it is asked for."""

    function: Callable[[Value], bool]
    _answers: NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, np.int8))

    def of(self, values: Sequence[Value | None], labels: Codes) -> NDArray[np.bool_]:
        if len(self._answers) < len(values):
            self._answers = np.concatenate([self._answers, np.full(len(values) - len(self._answers), -1, np.int8)])
        asked = labels[self._answers[labels] < 0]
        for label in np.unique(asked).tolist():
            value = values[label]
            self._answers[label] = value is not None and self.function(value)
        found: NDArray[np.bool_] = self._answers[labels] == 1
        return found


class Measure:
    """`windows`: those that an entry's instants are looked at with. Lists have no part in what aggregates make, so they aren't kept."""

    def __init__(self, windows: Sequence[Window], *, look_back_ms: int, now_ms: int) -> None:
        self._windows = windows
        self._histories = Histories(look_back_ms=look_back_ms, now_ms=now_ms, in_order=True)
        self._by_date: SortedRuns | None = None  # the people of the dates that entries have, while anybody asks for it
        self.version = 0  # another one whenever the labels are other ones
        self._dates: Instants = np.zeros(0, np.int64)
        self._start_values()

    @property
    def nbytes(self) -> int:
        return self._histories.nbytes + (self._by_date.nbytes if self._by_date is not None else 0)

    def __len__(self) -> int:
        return len(self._histories)

    # --- what comes, and what goes
    def insert(self, ordinals: Ordinals, times: Instants, which: NDArray[np.integer], entries: Sequence[Sequence[SieveEntry]]) -> None:
        """`entries[which[i]]` are those of event i; the events are in the order of their coming."""
        labels = [[label for entry in found if (label := self._label(entry)) >= 0] for found in entries]
        counts = np.array([len(own) for own in labels], np.int64)
        flat = np.array([label for own in labels for label in own], np.int32)
        event, at = expand((np.cumsum(counts) - counts)[which], counts[which])
        self._grow()
        self._histories.insert(flat[at], ordinals[event], times[event])
        self._enter_dates(ordinals[event], flat[at])

    def advance(self, now: int) -> None:
        self._histories.advance(now)

    def forget(self, now: int) -> None:
        """What the look-back doesn't see any more, and values that nobody has any more where they are many."""
        if self._histories.forget(now):
            self._dates_anew()
        used = self._histories.codes()
        if len(self.values) > 2 * len(used) + WORTH_TIDYING:
            renamed = np.zeros(len(self.values), np.int32)
            renamed[used] = np.arange(len(used))
            self._histories.recode(renamed)
            entries = self._entries
            self._start_values()
            for label in used.tolist():
                self._label(entries[label])
            self._grow()
            self.version += 1

    def clear(self, people: Ordinals) -> None:
        """Drop the values of these people."""
        self._histories.clear(people)
        self._dates_anew()

    def keep_dates(self) -> None:
        """From now on `crossing` can be asked."""
        if self._by_date is None:
            self._by_date = SortedRuns()
            people, _, labels = self._histories.everything()
            self._enter_dates(people, labels)

    # --- questions
    def rows(self, people: Ordinals | None, window: Window, now: int) -> tuple[Positions, Codes]:
        """The values in the window, in the order of the people (ascending; None: everybody, by ordinal), of their times and of their
        coming: for each the position of its person, and the label."""
        first, last = window.bounds(now)
        owners, times, labels = self._histories.everything() if people is None else self._histories.history(people, first, last)
        inside = (times >= first) & (times <= last)
        if self._windows:
            inside[inside] = self._in_windows(labels[inside], now)
        owners, times, labels = owners[inside], times[inside], labels[inside]
        order = in_time(owners, times)
        return owners[order], labels[order]

    def crossing(self, edges: Sequence[int], before: int, now: int) -> Ordinals:
        """Who has an entry with a date that crossed one of these edges."""
        if self._by_date is None or not edges:
            return np.empty(0, np.int64)
        at = np.array(edges, np.int64)
        lower, upper = (np.clip(instant + 1 - at - FIRST_INSTANT, 0, LONGEST) for instant in (before, now))
        found = [people for _, _, people in self._by_date.ranges(lower, upper)]
        return sorted_unique(np.concatenate([np.empty(0, np.int32), *found]).astype(np.int64))

    def dates(self, labels: Codes) -> Instants:
        """The values as dates; NO_DATE where they are none."""
        if len(self._dates) < len(self.values):
            more = [NO_DATE if value is None else _date(value) for value in self.values[len(self._dates) :]]
            self._dates = np.concatenate([self._dates, np.array(more, np.int64)])
        found: Instants = self._dates[labels]
        return found

    def of_person(self, ordinal: int) -> tuple[Instants, Codes]:
        """The times and labels of all values of one person, in the order of their times and of their coming."""
        _, times, labels = self._histories.history(np.array([ordinal]))
        order = np.argsort(times, kind="stable")
        return times[order], labels[order]

    def labels_of(self, entries: Sequence[SieveEntry]) -> Codes:
        """The labels of these; new values get one. Lists have none and must not be given."""
        labels = np.array([self._label(entry) for entry in entries], np.int32)
        self._grow()
        return labels

    def rows_of(self, labels: Codes) -> tuple[Positions, NDArray[np.int64]]:
        """What the windows look at: for each row of instants the position of its label, and the instants."""
        return self._rows.of(labels)

    def worths_of(self, values: Sequence[Value | None]) -> NDArray[np.int64]:
        """As `worths`, of values that need not be known here; new ones get other numbers, and are not entered."""
        new: dict[object, int] = {}
        keys = [_worth(value) for value in values]
        known = len(self._worth_of)
        found = [self._worth_of[key] if key in self._worth_of else new.setdefault(key, known + len(new)) for key in keys]
        return np.array(found, np.int64)

    # --- inside
    def _dates_anew(self) -> None:
        if self._by_date is not None:
            self._by_date = None
            self.keep_dates()

    def _start_values(self) -> None:
        self.values: list[Value | None] = []
        self.amounts = Amounts()
        self.worths: NDArray[np.int64] = np.zeros(0, np.int64)  # alike for values that count as one
        self._entries: list[SieveEntry] = []
        self._label_of: dict[object, int] = {}
        self._worth_of: dict[object, int] = {}
        self._rows = Rows(len(self._windows))
        self._dates = np.zeros(0, np.int64)

    def _label(self, entry: SieveEntry) -> int:
        value = entry.value
        if isinstance(value, tuple | list):
            return -1
        key = (value if isinstance(value, str) else (type(value), str(value)), entry.dates)
        label = self._label_of.get(key)
        if label is None:
            label = self._label_of[key] = len(self._entries)
            self._entries.append(entry)
        return label

    def _grow(self) -> None:
        """Bring what is kept of each label up to the labels."""
        new = self._entries[len(self.values) :]
        if not new:
            return
        values = [entry.value for entry in new]
        self.values += values
        self.amounts.grow(values)
        worths = [self._worth_of.setdefault(_worth(value), len(self._worth_of)) for value in values]
        self.worths = np.concatenate([self.worths, np.array(worths, np.int64)])
        self._rows.grow([entry.dates for entry in new])

    def _in_windows(self, labels: Codes, now: int) -> NDArray[np.bool_]:
        step = max(CELLS // len(self._windows), 1)
        if len(labels) > step:
            return np.concatenate([self._in_windows(labels[start : start + step], now) for start in range(0, len(labels), step)])
        owner, dates = self._rows.of(labels)
        bounds = [window.bounds(now) for window in self._windows]
        first, last = np.array([first for first, _ in bounds]), np.array([last for _, last in bounds])
        true = ((dates >= first) & (dates <= last)).all(axis=1)
        inside = np.zeros(len(labels), np.bool_)
        inside[owner[true]] = True
        return inside

    def _enter_dates(self, people: Ordinals, labels: Codes) -> None:
        if self._by_date is None:
            return
        own = self.dates(labels)
        owner, dates = self._rows.of(labels)
        instants = np.concatenate([own, dates.ravel()])
        owners = np.concatenate([people, np.repeat(people[owner], dates.shape[1])])
        dated = instants != NO_DATE
        self._by_date.add(instants[dated] - FIRST_INSTANT, owners[dated].astype(np.int32))


def _date(value: Value) -> int:
    instant = instant_of(value)
    return NO_DATE if instant is None else instant


def _worth(value: Value | None) -> object:
    number = None if value is None else number_of(value)
    return number if number is not None else None if value is None else (text_of(value) or "").casefold()
