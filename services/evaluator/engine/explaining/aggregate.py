"""What a function makes of the values of events."""

import numpy as np
from numpy.typing import NDArray

from ..aggregates import judged, judged_stretches, known_of, made
from ..events import Codes
from ..facts import Instants
from ..keys import sorted_unique
from ..measure import NO_DATE
from ..sieve import measure_of
from ..tree import AggregateTest
from ..values import DateTest
from .event import crossing
from .findings import Cause, Held
from .person import Person
from .timeline import Timeline, in_bounds, stays

# What is worked out instant by instant: so many before now, and after, and so many values for them. Of somebody with more edges the
# furthest are not looked at.
INSTANTS_MAX = 2_000
VALUES_MAX = 20_000_000


class Aggregates:
    def __init__(self, person: Person) -> None:
        self._person = person
        self._values: dict[AggregateTest, _Values] = {}

    def timeline(self, criterion: AggregateTest) -> Timeline:
        values = self._of(criterion)
        instants, now = values.edges(), self._person.now
        if (true := values.true_at_once(instants)) is not None:
            return Timeline.of(instants, true)
        most = max(min(INSTANTS_MAX, VALUES_MAX // max(len(values.times), 1)), 1)
        starts = np.concatenate([instants[instants <= now][-most:], instants[instants > now][:most]])
        before = [int(starts[0]) - 1] if len(starts) else [now]
        return Timeline.of(starts, np.array([values.true(at) for at in [*before, *starts.tolist()]], np.bool_))

    def finding(self, criterion: AggregateTest, *, wanted: bool) -> Held:
        values = self._of(criterion)
        return Held(made(criterion.function, values.measure, values.labels_at(self._person.now)))

    def cause(self, criterion: AggregateTest, at: int) -> Cause | None:
        times = in_bounds(criterion.window, self._of(criterion).times)
        return crossing(times, *stays(criterion.window, times), at)

    def _of(self, criterion: AggregateTest) -> "_Values":
        if criterion not in self._values:
            self._values[criterion] = _Values(self._person, criterion)
        return self._values[criterion]


class _Values:
    """Of one person; also what is older than the look-back."""

    def __init__(self, person: Person, criterion: AggregateTest) -> None:
        self._criterion = criterion
        sieve = measure_of(criterion)
        self._windows = sieve.windows
        self._known = known_of(criterion)
        self.measure = person.measure(sieve)
        earlier = [(time, entry) for time, entry in person.earlier_entries(sieve) if not isinstance(entry.value, tuple | list)]
        times, labels = self.measure.of_one(person.ordinal)
        kept = times >= person.now - person.index.look_back
        self.times: Instants = np.concatenate([np.array([time for time, _ in earlier], np.int64), times[kept]])
        self._labels = np.concatenate([self.measure.labels_of([entry for _, entry in earlier]), labels[kept]])

    def labels_at(self, at: int) -> Codes:
        """Those that count at the instant, in their order."""
        first, last = self._criterion.window.bounds(at)
        inside = (self.times >= first) & (self.times <= last)
        inside[inside] = self.measure.in_windows(self._labels[inside], at)
        found: Codes = self._labels[inside]
        return found

    def true(self, at: int) -> bool:
        labels = self.labels_at(at)
        owners = np.zeros(len(labels), np.intp)
        passes = judged(self._criterion, self.measure, self._known, owners, labels, 1, at)
        return bool(passes[0]) != self._criterion.passes_empty

    def true_at_once(self, instants: Instants) -> NDArray[np.bool_] | None:
        """Before the first of the instants and at each of them; None where that can't be worked out for all of them together."""
        test, window = self._criterion.test, self._criterion.window
        if self._windows or (isinstance(test, DateTest) and test.window.edges()):
            return None
        at = np.concatenate([instants[:1] - 1, instants]) if len(instants) else np.zeros(1, np.int64)
        first, last = window.bounds_at(at)
        begins, ends = np.searchsorted(self.times, first), np.searchsorted(self.times, last, "right")
        true = judged_stretches(self._criterion, self.measure, self._known, self._labels, begins, np.maximum(begins, ends))
        return None if true is None else true != self._criterion.passes_empty

    def edges(self) -> Instants:
        """The instants at which time alone may turn it, ascending."""
        first, last = stays(self._criterion.window, self.times)
        found = [first, last + 1]
        if self._windows:
            dates = self.measure.dates_of(self._labels)
            found += [dates[:, place] + edge for place, window in enumerate(self._windows) for edge in window.edges()]
        if isinstance(self._criterion.test, DateTest):
            dates = self.measure.dates(self._labels)
            found += [dates[dates != NO_DATE] + edge for edge in self._criterion.test.window.edges()]
        return sorted_unique(np.concatenate([np.empty(0, np.int64), *found]))
