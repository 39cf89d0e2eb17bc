"""Criteria on events in an order. semantics: Sequence.

Of all chains through the first steps only those matter that end latest before an event of the next one: whether it is in reach of the
latest decides whether it is in reach of any. So each step is one search in the ends of the step before, for everybody at once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ..bits import PLACE_BITS, PLACE_MASK, BitRows, Row, place, row_of
from ..events import TIME_BITS, Codes, EventIndex
from ..facts import Ordinals
from ..keys import Keys, expand, sorted_unique, starts_of_groups
from ..tree import Match, SequenceTest, matches_of
from ..work import Work
from .event import Touched
from .slots import Slots

PEOPLE = 1 << 15  # whose histories are looked at together: bounds the memory of a large round

KeysOf = Callable[[Match, int, int], Keys]
"""The events of a match with `first <= t <= last`, ascending keys: person << 34 | t since the look-back's edge."""


def holders(test: SequenceTest, keys_of: KeysOf, now: int, look_back: int) -> Ordinals:
    """The person of each chain that makes the test true; a person comes once or more, in ascending order."""
    first, last = test.window.bounds(now)
    ends = keys_of(test.steps[0].match, first, last)
    for step in test.steps[1:]:
        keys = keys_of(step.match, first, last)
        at = np.searchsorted(ends, keys) - 1  # the latest end that is strictly earlier, perhaps another person's
        keys, at = keys[at >= 0], at[at >= 0]
        before = ends[at]
        reached = before >> TIME_BITS == keys >> TIME_BITS
        if step.within is not None:
            reached &= keys - before <= step.within
        ends = keys[reached]
    after = test.not_followed_by
    if after is not None:
        if after.within is not None:
            ends = ends[(ends & ((1 << TIME_BITS) - 1)) + after.within <= look_back]
        keys = keys_of(after.match, now - look_back, now)
        at = np.searchsorted(keys, ends, "right")
        found = np.flatnonzero(at < len(keys))
        following = keys[at[found]]
        followed = following >> TIME_BITS == ends[found] >> TIME_BITS
        if after.within is not None:
            followed &= following - ends[found] <= after.within
        ends = np.delete(ends, found[followed])
    return ends >> TIME_BITS


class SequenceCriteria:
    def __init__(self, index: EventIndex, bits: BitRows, work: Work) -> None:
        self._index = index
        self._work = work
        self._bits = bits
        self._slots: dict[SequenceTest, int] = {}
        self._codes: dict[Match, list[int]] = {}
        self._series_known = 0
        self._plan: _Plan | None = None
        self._crossed: Keys = np.empty(0, np.int64)  # places to look at, as time passed

    def row(self, criterion: SequenceTest, now: int) -> Row:
        """For whom it is true now."""
        base = now - self._index.look_back
        read: dict[tuple[Match, int, int], Keys] = {}

        def keys_of(match: Match, first: int, last: int) -> Keys:
            if (match, first, last) not in read:
                read[match, first, last] = self._index.keys_of(match, first, last, base)
            return read[match, first, last]

        return row_of(holders(criterion, keys_of, now, self._index.look_back), self._bits.width)

    def add(self, criterion: SequenceTest, slot: int) -> None:
        self._learn_series()
        self._slots[criterion] = slot
        for match in matches_of(criterion):
            self._codes.setdefault(match, self._index.codes_of(match))
        self._plan = None

    def remove(self, criterion: SequenceTest) -> None:
        del self._slots[criterion]
        read = {match for other in self._slots for match in matches_of(other)}
        self._codes = {match: codes for match, codes in self._codes.items() if match in read}
        self._plan = None

    def pass_time(self, before: int, now: int) -> None:
        """Remember the events that crossed an edge; `flips` looks at them."""
        if self._slots:
            plan = self._plan_of_now()
            which, people = self._index.crossing(plan.edge_codes, plan.edges, before, now)
            self._crossed = np.concatenate([self._crossed, plan.slots_of_edge.places(which, people)])

    def flips(self, touched: Sequence[Touched], now: int) -> Keys:
        """The places of the bits that turn, ascending, now that these events came and time passed."""
        crossed, self._crossed = self._crossed, np.empty(0, np.int64)
        if not self._slots:
            return np.empty(0, np.int64)
        plan = self._plan_of_now()
        places = sorted_unique(np.concatenate([crossed, *(plan.slots_of_code.places(codes, people) for codes, people in touched)]))
        return np.sort(np.concatenate([np.empty(0, np.int64), *self._recomputed(plan, places, now)]))

    def _recomputed(self, plan: "_Plan", places: Keys, now: int) -> Iterator[Keys]:
        """Work these bits out from the histories of their people; the places of those that are no longer right."""
        everybody = sorted_unique(places & PLACE_MASK)
        for start in range(0, len(everybody), PEOPLE):
            people = everybody[start : start + PEOPLE]
            history = _History.of(self._index, people, now)
            ordinals = places & PLACE_MASK
            some = places[(ordinals >= people[0]) & (ordinals <= people[-1])]
            bounds = [*starts_of_groups(some >> PLACE_BITS).tolist(), len(some)]
            for begin, end in pairwise(bounds):
                slot, ordinals = int(some[begin] >> PLACE_BITS), some[begin:end] & PLACE_MASK
                positions = np.searchsorted(people, ordinals)
                self._work.count(slot, len(ordinals) + int(history.counts[positions].sum()))
                keys_of = history.reader(positions, plan.reads)
                true = np.zeros(len(people), np.bool_)
                true[holders(plan.tests[slot], keys_of, now, self._index.look_back)] = True
                yield place(slot, ordinals[self._bits.get(slot, ordinals) != true[positions]])

    def _plan_of_now(self) -> "_Plan":
        self._learn_series()
        if self._plan is None:
            self._plan = _Plan(self._slots, self._codes, len(self._index.series))
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


class _History(NamedTuple):
    """What some people did in the look-back, in order: keys as in KeysOf with the person's position, and the code of each."""

    keys: Keys
    codes: Codes
    starts: Keys
    counts: Keys
    base: int

    @classmethod
    def of(cls, index: EventIndex, people: Ordinals, now: int) -> "_History":
        base = now - index.look_back
        positions, times, codes = index.history(people)
        seen = (times >= base) & (times <= now)
        keys = (positions[seen] << TIME_BITS) + (times[seen] - base)
        order = np.argsort(keys, kind="stable")
        counts = np.bincount(positions[seen], minlength=len(people))
        return cls(keys[order], codes[seen][order], np.cumsum(counts) - counts, counts, base)

    def reader(self, positions: Ordinals, reads: "Mapping[Match, np.ndarray]") -> KeysOf:
        """Of these people only."""
        _, at = expand(self.starts[positions], self.counts[positions])
        keys, codes, base = self.keys[at], self.codes[at], self.base
        times = keys & ((1 << TIME_BITS) - 1)

        def keys_of(match: Match, first: int, last: int) -> Keys:
            found: Keys = keys[reads[match][codes] & (times >= first - base) & (times <= last - base)]
            return found

        return keys_of


class _Plan:
    """The sequences as arrays: which events concern which of them, and at which edges."""

    def __init__(self, slots: Mapping[SequenceTest, int], codes: Mapping[Match, list[int]], series: int) -> None:
        self.tests = {slot: test for test, slot in slots.items()}
        self.reads = {match: np.zeros(series, np.bool_) for match in codes}
        for match, of_match in codes.items():
            self.reads[match][of_match] = True
        by_code = {(code, slot) for test, slot in slots.items() for match in matches_of(test) for code in codes[match]}
        self.slots_of_code = Slots(sorted(by_code), series)
        # As `crossing` is quickest: (code, -edge) ascends.
        by_edge = sorted({(code, -edge, slot) for test, slot in slots.items() for match, edge in _edges(test) for code in codes[match]})
        edges = sorted({(code, minus) for code, minus, _ in by_edge})
        number = {edge: i for i, edge in enumerate(edges)}
        self.edge_codes = np.array([code for code, _ in edges], np.int32)
        self.edges = np.array([-minus for _, minus in edges], np.int64)
        self.slots_of_edge = Slots([(number[code, minus], slot) for code, minus, slot in by_edge], len(edges))


def _edges(test: SequenceTest) -> Iterator[tuple[Match, int]]:
    """Each match and `e` such that an event t of it may turn the test when now reaches `t + e`."""
    for step in test.steps:
        for edge in test.window.edges():
            yield step.match, edge
    after = test.not_followed_by
    if after is not None:
        yield (after.match, 0) if after.within is None else (test.steps[-1].match, after.within)
