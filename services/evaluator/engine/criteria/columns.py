"""What everybody has of one property, by ordinal: a column for each way in which values are told and tested.

Nothing in here knows the time: what holds only from an instant on is told when that has come (attribute.py).
"""

from collections.abc import Callable, Sequence
from decimal import Context, Decimal
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..facts import Instants, Ordinals, Point, Property, PropertyKind, Value
from ..keys import sorted_unique
from ..values import FIRST_INSTANT, LAST_INSTANT, NearTest, ValueTest, instant_of
from .held import NEVER, Held, People

Bools = NDArray[np.bool_]

NO_DATE = FIRST_INSTANT - 1
WORTH_TIDYING = 1024
EXACT = Context(prec=10_000)  # sums of amounts never come near so many digits


class Reader(Protocol):
    """A test of a column's values."""

    def of(self, people: People) -> Bools:
        """Whether the value of each passes it; for a negative test, whether there is a value that fails it."""


class Column(Protocol):
    @property
    def nbytes(self) -> int: ...

    @property
    def size(self) -> int:
        """For how many people it has room."""

    def make_room(self, people: int) -> None: ...

    def put(self, ordinals: Ordinals, values: Sequence[Value | None], times: Instants) -> Ordinals:
        """Take values in; the people whose value is another now, ascending."""

    def clear(self, ordinals: Ordinals) -> None:
        """Nothing is known of these people from now on."""

    def value_of(self, ordinal: int) -> Value | None: ...

    def with_more(self, ordinal: int, values: Sequence[Value | None], times: Sequence[int]) -> Value | None:
        """What the value of a person would be if these were taken in too."""

    def reader(self, test: ValueTest) -> Reader: ...

    def dates(self, people: People) -> Instants:
        """The values as instants; NO_DATE where there is none."""

    def tidy(self) -> None:
        """Let go of values that nobody has any more."""


def column_of(property_: Property) -> Column:
    """An empty column of a kind that fits."""
    match property_.kind:
        case PropertyKind.FIRST_SEEN | PropertyKind.LAST_SEEN:
            return SeenColumn(first=property_.kind is PropertyKind.FIRST_SEEN)
        case PropertyKind.LOCATION:
            return PointColumn()
        case PropertyKind.LIFETIME_VALUE:
            return TotalColumn()
        case _:
            return ValueColumn()


def latest(ordinals: Ordinals, times: Instants, known: Instants) -> NDArray[np.intp]:
    """The positions of what holds from now on: per person the latest, of equal times the last one told; not older than what is known."""
    newest = _newest(ordinals, times)
    return newest[times[newest] >= known[ordinals[newest]]]


def _newest(ordinals: Ordinals, times: Instants) -> NDArray[np.intp]:
    order = np.lexsort((times, ordinals))
    return order[np.append(np.diff(ordinals[order]) != 0, True)] if len(order) else order


class ValueColumn:
    """The latest value of everyone, as the number of a distinct value; 0: missing."""

    def __init__(self) -> None:
        self.values: list[Value | None] = [None]
        self.held = Held()
        self.tidied = 0
        self.stayed = np.zeros(0, np.int64)  # the codes that the last tidying kept, ascending: each became its place among them
        self._code_of: dict[object, int] = {}
        self._dates = _ByValue(self, _date, NO_DATE, np.int64)

    @property
    def nbytes(self) -> int:
        return self.held.nbytes

    @property
    def size(self) -> int:
        return self.held.size

    def make_room(self, people: int) -> None:
        self.held.make_room(people)

    def put(self, ordinals: Ordinals, values: Sequence[Value | None], times: Instants) -> Ordinals:
        """Per person the latest wins, of equal times the last one told; the people whose value is another now, ascending."""
        newest = _newest(ordinals, times)
        newest = newest[times[newest] >= self.held.times(ordinals[newest])]
        people = ordinals[newest]
        told = [values[at] for at in newest.tolist()]
        objects = {id(value): value for value in told}  # many values that are read back are few objects
        code_of = {key: self._code(value) for key, value in objects.items()}
        codes = np.fromiter((code_of[id(value)] for value in told), np.int32, len(told))
        changed: Ordinals = people[self.held.codes(people) != codes]
        self.held.put(people, codes, times[newest])
        return changed

    def clear(self, ordinals: Ordinals) -> None:
        self.held.clear(ordinals)

    def value_of(self, ordinal: int) -> Value | None:
        return self.values[int(self.held.codes(np.array([ordinal]))[0])]

    def with_more(self, ordinal: int, values: Sequence[Value | None], times: Sequence[int]) -> Value | None:
        return values[-1] if values else self.value_of(ordinal)

    def learn_dates(self, values: int) -> bool:
        """As `Answers.learn`, of `dates`."""
        return self._dates.learn(values)

    def reader(self, test: ValueTest) -> "Answers":
        return Answers(_ByValue(self, lambda value: test.holds(value) != test.missing, 0, np.int8))

    def dates(self, people: People) -> Instants:
        return self._dates.of(people)

    def tidy(self) -> None:
        if len(self.values) < WORTH_TIDYING:
            return
        used = self.held.used(len(self.values))
        if len(self.values) < 2 * len(used) + WORTH_TIDYING:
            return
        self.tidied, self.stayed = self.tidied + 1, used
        self.held.recode(used)
        self.values = [self.values[code] for code in used.tolist()]
        self._code_of = {_identity(value): code for code, value in enumerate(self.values) if value is not None}

    def _code(self, value: Value | None) -> int:
        if value is None:
            return 0
        identity = _identity(value)
        code = self._code_of.get(identity)
        if code is None:
            code = self._code_of[identity] = len(self.values)
            self.values.append(value)
        return code


class SeenColumn:
    """The earliest instant told of each person, or the latest. The instants are the times; values say nothing."""

    def __init__(self, *, first: bool) -> None:
        self._first = first
        self._nothing = (1 << 62) if first else NEVER
        self._instants: Instants = np.zeros(0, np.int64)

    @property
    def nbytes(self) -> int:
        return self._instants.nbytes

    @property
    def size(self) -> int:
        return len(self._instants)

    def make_room(self, people: int) -> None:
        if people > len(self._instants):
            self._instants = np.concatenate([self._instants, np.full(people - len(self._instants), self._nothing)])

    def put(self, ordinals: Ordinals, values: Sequence[Value | None], times: Instants) -> Ordinals:
        people = sorted_unique(ordinals)
        before = self._instants[people]
        (np.minimum if self._first else np.maximum).at(self._instants, ordinals, times)
        changed: Ordinals = people[self._instants[people] != before]
        return changed

    def clear(self, ordinals: Ordinals) -> None:
        self._instants[ordinals] = self._nothing

    def value_of(self, ordinal: int) -> Value | None:
        return self.with_more(ordinal, (), ())

    def with_more(self, ordinal: int, values: Sequence[Value | None], times: Sequence[int]) -> Value | None:
        edge = (min if self._first else max)(int(self._instants[ordinal]), *times, self._nothing)
        return None if edge == self._nothing else edge

    def reader(self, test: ValueTest) -> "_ByPerson":
        return _ByPerson(self, test)

    def dates(self, people: People) -> Instants:
        instants = self._instants[people]
        return np.where(instants == self._nothing, NO_DATE, np.clip(instants, FIRST_INSTANT, LAST_INSTANT))

    def tidy(self) -> None:
        """There is nothing to let go of."""


class PointColumn:
    """The latest place of each person."""

    def __init__(self) -> None:
        self._places: NDArray[np.float64] = np.zeros((2, 0))
        self._times: Instants = np.zeros(0, np.int64)

    @property
    def nbytes(self) -> int:
        return self._places.nbytes + self._times.nbytes

    @property
    def size(self) -> int:
        return len(self._times)

    def make_room(self, people: int) -> None:
        if people > self.size:
            more = people - self.size
            self._places = np.concatenate([self._places, np.full((2, more), np.nan)], axis=1)
            self._times = np.concatenate([self._times, np.full(more, NEVER)])

    def put(self, ordinals: Ordinals, values: Sequence[Value | None], times: Instants) -> Ordinals:
        newest = latest(ordinals, times, self._times)
        people = ordinals[newest]
        points = [value if isinstance(value, Point) else (np.nan, np.nan) for value in (values[at] for at in newest.tolist())]
        self._places[:, people] = np.array(points, np.float64).reshape(-1, 2).T
        self._times[people] = times[newest]
        return people

    def clear(self, ordinals: Ordinals) -> None:
        self._places[:, ordinals] = np.nan
        self._times[ordinals] = NEVER

    def value_of(self, ordinal: int) -> Value | None:
        latitude, longitude = self._places[:, ordinal].tolist()
        return None if np.isnan(latitude) else Point(latitude, longitude)

    def with_more(self, ordinal: int, values: Sequence[Value | None], times: Sequence[int]) -> Value | None:
        later = [value for value, time in zip(values, times, strict=True) if time >= self._times[ordinal]]
        return later[-1] if later else self.value_of(ordinal)

    def reader(self, test: ValueTest) -> Reader:
        return _Near(self, test) if isinstance(test, NearTest) else _ByPerson(self, test)

    def near(self, test: NearTest, people: People) -> Bools:
        return test.within(self._places[0, people], self._places[1, people])

    def dates(self, people: People) -> Instants:
        return np.full(len(self._times[people]), NO_DATE)

    def tidy(self) -> None:
        """There is nothing to let go of."""


class TotalColumn:
    """The exact sum of the amounts told of each person. Few people have one, so they are not laid out by ordinal."""

    def __init__(self) -> None:
        self._totals: dict[int, Decimal] = {}
        self._room = 0

    @property
    def nbytes(self) -> int:
        return 0  # no arrays

    @property
    def size(self) -> int:
        return self._room

    def make_room(self, people: int) -> None:
        self._room = max(self._room, people)

    def put(self, ordinals: Ordinals, values: Sequence[Value | None], times: Instants) -> Ordinals:
        for ordinal, value in zip(ordinals.tolist(), values, strict=True):
            if isinstance(value, Decimal):
                self._totals[ordinal] = EXACT.add(self._totals.get(ordinal, Decimal(0)), value)
        return sorted_unique(ordinals)

    def clear(self, ordinals: Ordinals) -> None:
        for ordinal in ordinals.tolist():
            self._totals.pop(ordinal, None)

    def value_of(self, ordinal: int) -> Value | None:
        return self._totals.get(ordinal)

    def with_more(self, ordinal: int, values: Sequence[Value | None], times: Sequence[int]) -> Value | None:
        total = self._totals.get(ordinal)
        for value in values:
            if isinstance(value, Decimal):
                total = EXACT.add(total or Decimal(0), value)
        return total

    def reader(self, test: ValueTest) -> "_Totals":
        return _Totals(self._totals, test, self)

    def dates(self, people: People) -> Instants:
        return np.full(len(range(*people.indices(self._room))) if isinstance(people, slice) else len(people), NO_DATE)

    def tidy(self) -> None:
        """There is nothing to let go of."""


def _identity(value: Value) -> object:
    """Distinct where a test could tell the difference: 1, True, 1.0 and "1" are four, and 1.0 and 1.00 are two."""
    return value if isinstance(value, str) else (type(value), repr(value))


class _ByValue:
    """A function of the value, worked out once for each distinct value of a column."""

    def __init__(self, column: ValueColumn, function: Callable[[Value], int], missing: int, width: type[np.signedinteger]) -> None:
        self._column = column
        self._function = function
        self._missing = missing
        self._known: NDArray[Any] = np.zeros(0, width)
        self._tidied = column.tidied

    def of(self, people: People) -> NDArray[Any]:
        self.learn(len(self._column.values))
        answers_of_people: NDArray[Any] = self._known[self._column.held.codes(people)]
        return answers_of_people

    def learn(self, values: int) -> bool:
        column = self._column
        if self._tidied != column.tidied:  # all codes are other ones
            stayed = column.stayed if self._tidied + 1 == column.tidied else column.stayed[:0]
            self._tidied, self._known = column.tidied, self._known[stayed[stayed < len(self._known)]]
        if len(self._known) < len(column.values):
            new = column.values[len(self._known) : len(self._known) + values]
            answers = (self._missing if value is None else self._function(value) for value in new)
            self._known = np.concatenate([self._known, np.fromiter(answers, self._known.dtype, len(new))])
        return len(self._known) == len(column.values)


class Answers:
    def __init__(self, by_value: _ByValue) -> None:
        self._by_value = by_value

    def learn(self, values: int) -> bool:
        """Put the test to so many values more; whether all are known now."""
        return self._by_value.learn(values)

    def of(self, people: People) -> Bools:
        passes: Bools = self._by_value.of(people) == 1
        return passes


class _ByPerson:
    """A test worked out person by person."""

    def __init__(self, column: Column, test: ValueTest) -> None:
        self._column = column
        self._test = test

    def of(self, people: People) -> Bools:
        ordinals = range(*people.indices(self._column.size)) if isinstance(people, slice) else people.tolist()
        values = (self._column.value_of(ordinal) for ordinal in ordinals)
        test = self._test
        return np.fromiter((value is not None and test.holds(value) != test.missing for value in values), np.bool_, len(ordinals))


class _Near:
    def __init__(self, column: PointColumn, test: NearTest) -> None:
        self._column = column
        self._test = test

    def of(self, people: People) -> Bools:
        return self._column.near(self._test, people)


class _Totals(_ByPerson):
    """Of everyone at once: only those who have a total are looked at."""

    def __init__(self, totals: dict[int, Decimal], test: ValueTest, column: Column) -> None:
        super().__init__(column, test)
        self._totals = totals

    def of(self, people: People) -> Bools:
        if not isinstance(people, slice):
            return super().of(people)
        true = np.zeros(self._column.size, np.bool_)
        true[[ordinal for ordinal, total in self._totals.items() if self._test.holds(total) != self._test.missing]] = True
        of_people: Bools = true[people]
        return of_people


def _date(value: Value) -> int:
    instant = instant_of(value)
    return NO_DATE if instant is None else instant
