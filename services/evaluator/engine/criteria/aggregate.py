"""Criteria on what a function makes of the values of events in a window.

Whoever has a new event, or one that crossed an edge of the window, is worked out again from all values that are in it now.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..aggregates import judged, known_of
from ..bits import PLACE_BITS, PLACE_MASK, BitRows, Row, place
from ..events import Codes, EventIndex
from ..facts import Ordinals
from ..keys import Keys, Positions, sorted_unique, starts_of_groups
from ..measure import Known, Measure
from ..periods import Window
from ..sieve import measure_of
from ..sieves import Sieves
from ..tree import AggregateTest, Match
from ..values import DateTest
from ..work import Work
from .event import Touched
from .slots import Slots

PEOPLE = 1 << 15  # who are looked at together: bounds the memory of a large round


@dataclass
class _Kept:
    """Of a criterion in use."""

    slot: int
    measure: Measure
    known: Known
    version: int  # of the measure, for which `known` is right
    dates: list[int]  # edges that dates in the entries cross


class AggregateCriteria:
    def __init__(self, index: EventIndex, sieves: Sieves, bits: BitRows, work: Work) -> None:
        self._index = index
        self._work = work
        self._sieves = sieves
        self._bits = bits
        self._kept: dict[AggregateTest, _Kept] = {}
        self._codes: dict[Match, list[int]] = {}
        self._series_known = 0
        self._plan: _Plan | None = None
        self._crossed: Keys = np.empty(0, np.int64)  # places to look at, as time passed

    def row(self, criterion: AggregateTest, now: int) -> Row:
        """For whom it is true now."""
        measure = self._sieves.measure(measure_of(criterion))
        owners, labels = measure.rows(None, criterion.window, now)
        true = judged(criterion, measure, known_of(criterion), owners, labels, self._bits.people, now)
        return np.packbits(true != criterion.passes_empty, bitorder="little")

    def add(self, criterion: AggregateTest, slot: int) -> None:
        self._learn_series()
        measure = self._sieves.measure(measure_of(criterion))
        dates = _date_edges(criterion)
        if dates:
            measure.keep_dates()
        self._kept[criterion] = _Kept(slot, measure, known_of(criterion), measure.version, dates)
        self._codes.setdefault(criterion.match, self._index.codes_of(criterion.match))
        self._plan = None

    def remove(self, criterion: AggregateTest) -> None:
        del self._kept[criterion]
        read = {other.match for other in self._kept}
        self._codes = {match: codes for match, codes in self._codes.items() if match in read}
        self._plan = None

    def known_of(self, criterion: AggregateTest) -> Known:
        """The test of a single value, with what is known of it."""
        kept = self._kept.get(criterion)
        return known_of(criterion) if kept is None or kept.version != kept.measure.version else kept.known

    def pass_time(self, before: int, now: int) -> None:
        """Remember the events and dates that crossed an edge; `flips` looks at their people."""
        if not self._kept:
            return
        plan = self._plan_of_now()
        which, people = self._index.crossing(plan.edge_codes, plan.edges, before, now)
        found = [plan.slots_of_edge.places(which, people)]
        for kept in self._kept.values():
            found.append(place(kept.slot, kept.measure.crossing(kept.dates, before, now)))
        self._crossed = np.concatenate([self._crossed, *found])

    def flips(self, touched: Sequence[Touched], now: int) -> Keys:
        """The places of the bits that turn, ascending, now that these events came and time passed."""
        crossed, self._crossed = self._crossed, np.empty(0, np.int64)
        if not self._kept:
            return np.empty(0, np.int64)
        plan = self._plan_of_now()
        places = sorted_unique(np.concatenate([crossed, *(plan.slots_of_code.places(codes, people) for codes, people in touched)]))
        return np.concatenate([np.empty(0, np.int64), *self._recomputed(plan, places, now)])

    def _recomputed(self, plan: "_Plan", places: Keys, now: int) -> Iterator[Keys]:
        read = _Rows()
        bounds = [*starts_of_groups(places >> PLACE_BITS).tolist(), len(places)]
        for begin, end in pairwise(bounds):
            criterion = plan.tests[int(places[begin] >> PLACE_BITS)]
            kept = self._kept[criterion]
            if kept.version != kept.measure.version:
                kept.version, kept.known = kept.measure.version, known_of(criterion)
            for start in range(begin, end, PEOPLE):
                people: Ordinals = places[start : min(start + PEOPLE, end)] & PLACE_MASK
                owners, labels = read.of(kept.measure, people, criterion.window, now)
                self._work.count(kept.slot, len(people) + len(labels))
                true = judged(criterion, kept.measure, kept.known, owners, labels, len(people), now) != criterion.passes_empty
                yield place(kept.slot, people[self._bits.get(kept.slot, people) != true])

    def _plan_of_now(self) -> "_Plan":
        self._learn_series()
        if self._plan is None:
            slots = {criterion: kept.slot for criterion, kept in self._kept.items()}
            self._plan = _Plan(slots, self._codes, len(self._index.series))
        return self._plan

    def _learn_series(self) -> None:
        """A series seen for the first time may be one that a match asks for."""
        for code in range(self._series_known, len(self._index.series)):
            series = self._index.series[code]
            for match, codes in self._codes.items():
                if match.reads(series):
                    codes.append(code)
            self._plan = None
        self._series_known = len(self._index.series)


class _Rows:
    """The values that were read last: criteria that differ only in what they make of them follow one another."""

    def __init__(self) -> None:
        self._of: tuple[Measure, Window, Ordinals] | None = None
        self._found: tuple[Positions, Codes]

    def of(self, measure: Measure, people: Ordinals, window: Window, now: int) -> tuple[Positions, Codes]:
        """As of the measure."""
        last = self._of
        if last is None or last[0] is not measure or last[1] != window or not np.array_equal(last[2], people):
            self._of, self._found = (measure, window, people), measure.rows(people, window, now)
        return self._found


class _Plan:
    """The criteria as arrays: which events concern which of them, and at which edges."""

    def __init__(self, slots: Mapping[AggregateTest, int], codes: Mapping[Match, list[int]], series: int) -> None:
        self.tests = {slot: criterion for criterion, slot in slots.items()}
        by_code = {(code, slot) for criterion, slot in slots.items() for code in codes[criterion.match]}
        self.slots_of_code = Slots(sorted(by_code), series)
        # As `crossing` is quickest: (code, -edge) ascends.
        asked = ((criterion, slot, edge) for criterion, slot in slots.items() for edge in criterion.window.edges())
        by_edge = sorted({(code, -edge, slot) for criterion, slot, edge in asked for code in codes[criterion.match]})
        edges = sorted({(code, minus) for code, minus, _ in by_edge})
        number = {edge: i for i, edge in enumerate(edges)}
        self.edge_codes = np.array([code for code, _ in edges], np.int32)
        self.edges = np.array([-minus for _, minus in edges], np.int64)
        self.slots_of_edge = Slots([(number[code, minus], slot) for code, minus, slot in by_edge], len(edges))


def _date_edges(criterion: AggregateTest) -> list[int]:
    windows = [*measure_of(criterion).windows, *([criterion.test.window] if isinstance(criterion.test, DateTest) else [])]
    return sorted({edge for window in windows for edge in window.edges()})
