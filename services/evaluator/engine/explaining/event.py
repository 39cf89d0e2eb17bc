"""Counts of events."""

import numpy as np

from ..facts import Instants
from ..tree import UNBOUNDED, EventCount
from .findings import Cause, Counted
from .person import Person
from .timeline import Edges, Timeline, in_bounds, stays


class Counts:
    def __init__(self, person: Person) -> None:
        self._person = person

    def timeline(self, criterion: EventCount) -> Timeline:
        edges = Edges(*stays(criterion.window, self._times(criterion)))
        return Timeline.of(edges.instants, (edges.numbers >= criterion.at_least) & (edges.numbers <= criterion.at_most))

    def finding(self, criterion: EventCount, *, wanted: bool) -> Counted:
        window, now = criterion.window, self._person.now
        first, last = window.bounds(now)
        times = self._times(criterion)
        inside = times[(times >= first) & (times <= last)]
        count = len(inside)
        more, fewer = _missing(count, criterion.at_least, criterion.at_most, wanted)
        until = None
        if more is not None and not window.newest_ago:
            ends = [window.last, int(inside[0]) + window.oldest_ago if count and window.oldest_ago is not None else None]
            until = min((end for end in ends if end is not None), default=None)
        gone = int(inside[fewer - 1]) + window.oldest_ago + 1 if fewer and window.oldest_ago is not None else None
        return Counted(count, more, until, fewer, gone)

    def cause(self, criterion: EventCount, at: int) -> Cause | None:
        return crossing(self._times(criterion), *stays(criterion.window, self._times(criterion)), at)

    def _times(self, criterion: EventCount) -> Instants:
        return in_bounds(criterion.window, self._person.times_of(criterion.match))


def crossing(times: Instants, first: Instants, last: Instants, at: int) -> Cause | None:
    """Which of the times begins or ends its stay at the instant."""
    for found, enters in ((times[last + 1 == at], False), (times[first == at], True)):
        if len(found):
            return Cause(int(np.min(found)), enters)
    return None


def _missing(count: int, least: int, most: int, wanted: bool) -> tuple[int | None, int | None]:
    """How many more, and how many fewer, would do; None where that way nothing does, or nothing is missing."""
    allowed = [(least, most)] if wanted else [(0, least - 1), *([(most + 1, UNBOUNDED)] if most != UNBOUNDED else [])]
    if any(low <= count <= high for low, high in allowed):
        return None, None
    more = min((low - count for low, _ in allowed if low > count), default=None)
    fewer = min((count - high for _, high in allowed if high < count), default=None)
    return more, fewer
