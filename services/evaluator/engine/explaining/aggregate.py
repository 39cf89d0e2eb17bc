"""What a function makes of the values of events."""

import numpy as np

from ..aggregates import judged, known_of, made
from ..events import Codes
from ..facts import Instants
from ..measure import NO_DATE, Measure
from ..sieve import measure_of
from ..tree import AggregateTest
from ..values import DateTest
from .event import crossing
from .findings import Cause, Held
from .person import Person
from .timeline import Timeline, in_bounds, stays

INSTANTS_MAX = 2_000  # before now, and after: of somebody with more edges the furthest are not looked at


class Aggregates:
    def __init__(self, person: Person) -> None:
        self._person = person

    def timeline(self, criterion: AggregateTest) -> Timeline:
        values = _Values(self._person, criterion)
        instants, now = values.edges(), self._person.now
        starts = np.concatenate([instants[instants <= now][-INSTANTS_MAX:], instants[instants > now][:INSTANTS_MAX]])
        before = [int(starts[0]) - 1] if len(starts) else [now]
        return Timeline.of(starts, np.array([values.true(at) for at in [*before, *starts.tolist()]], np.bool_))

    def finding(self, criterion: AggregateTest, *, wanted: bool) -> Held:
        values = _Values(self._person, criterion)
        return Held(made(criterion.function, values.measure, values.labels_at(self._person.now)))

    def cause(self, criterion: AggregateTest, at: int) -> Cause | None:
        times = in_bounds(criterion.window, _Values(self._person, criterion).times)
        return crossing(times, *stays(criterion.window, times), at)


class _Values:
    """Of one person, with a measure of their own: it also has what is older than the look-back."""

    def __init__(self, person: Person, criterion: AggregateTest) -> None:
        self._criterion = criterion
        sieve = measure_of(criterion)
        taken = [(time, entry) for time, entry in person.entries_of(sieve) if not isinstance(entry.value, tuple | list)]
        self._windows = sieve.windows
        self._dates = [entry.dates for _, entry in taken]
        self._known = known_of(criterion)
        self.measure = Measure(sieve.windows, look_back_ms=person.index.look_back, now_ms=person.now)
        self.times: Instants = np.array([time for time, _ in taken], np.int64)
        self._labels = self.measure.labels_of([entry for _, entry in taken])

    def labels_at(self, at: int) -> Codes:
        """Those that count at the instant, in their order."""
        first, last = self._criterion.window.bounds(at)
        inside = (self.times >= first) & (self.times <= last) & self.measure.in_windows(self._labels, at)
        found: Codes = self._labels[inside]
        return found

    def true(self, at: int) -> bool:
        labels = self.labels_at(at)
        owners = np.zeros(len(labels), np.intp)
        passes = judged(self._criterion, self.measure, self._known, owners, labels, 1, at)
        return bool(passes[0]) != self._criterion.passes_empty

    def edges(self) -> Instants:
        """The instants at which time alone may turn it, ascending."""
        first, last = stays(self._criterion.window, self.times)
        found = [first, last + 1]
        for place, window in enumerate(self._windows):
            dates = np.array([row[place] for rows in self._dates for row in rows], np.int64)
            found += [dates + edge for edge in window.edges()]
        if isinstance(self._criterion.test, DateTest):
            dates = self.measure.dates(self._labels)
            found += [dates[dates != NO_DATE] + edge for edge in self._criterion.test.window.edges()]
        return np.unique(np.concatenate([np.empty(0, np.int64), *found]))
