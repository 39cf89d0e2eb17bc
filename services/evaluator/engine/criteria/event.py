"""Criteria that count events in a window.

One counting serves every criterion of the same series and window. As time passes and events arrive, only those people are counted again
who have a new event or one that crossed an edge of a window: all windows of a match at once, from their own histories.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..bits import PLACE_BITS, BitRows, Row, row_of
from ..events import Codes, EventIndex
from ..facts import Ordinals
from ..keys import Keys, Labels, Positions, expand, sorted_unique, starts_of_groups
from ..periods import FAR, Window
from ..tree import UNBOUNDED, EventCount, Match
from ..work import Work

Numbers = NDArray[np.int64]

CELLS = 1 << 22  # people x matches that are looked at together: bounds the memory of a large round
AT_ONCE = 1 << 20  # events that are counted in one go: bounds the memory, too
COUNTS_BYTES = 1 << 26  # that are kept between activations
SPARSE = 128  # with fewer than one event per so many people, sorting the events is quicker than an array over all people


class Touched(NamedTuple):
    """Events by which a count may have changed: the series and the person of each."""

    codes: Codes
    people: Ordinals


@dataclass
class _Reading:
    """What is asked of the series of one match: per window the tests (at least, at most) and the slots of their bits."""

    codes: list[int]
    windows: dict[Window, dict[tuple[int, int], int]] = field(default_factory=dict)


class EventCriteria:
    def __init__(self, index: EventIndex, bits: BitRows, work: Work) -> None:
        self._index = index
        self._bits = bits
        self._work = work
        self._readings: dict[Match, _Reading] = {}
        self._series_known = 0
        self._plan: _Plan | None = None
        self._counts = _Counts()

    def row(self, criterion: EventCount, now: int) -> Row:
        """For whom it is true now."""
        people = self._index.people_of(criterion.match, *criterion.window.bounds(now))
        if sum(map(len, people)) * SPARSE <= self._bits.people:
            return _row_of_few(people, criterion, self._bits.width)
        counts = self._counts.of(criterion, (now, self._index.version, self._bits.people), people)
        enough = counts >= criterion.at_least
        return np.packbits(enough if criterion.at_most == UNBOUNDED else enough & (counts <= criterion.at_most), bitorder="little")

    def add(self, criterion: EventCount, slot: int) -> None:
        self._learn_series()
        reading = self._readings.get(criterion.match)
        if reading is None:
            reading = self._readings[criterion.match] = _Reading(self._index.codes_of(criterion.match))
        reading.windows.setdefault(criterion.window, {})[criterion.at_least, criterion.at_most] = slot
        self._plan = None

    def remove(self, criterion: EventCount) -> None:
        reading = self._readings[criterion.match]
        tests = reading.windows[criterion.window]
        del tests[criterion.at_least, criterion.at_most]
        if not tests:
            del reading.windows[criterion.window]
        if not reading.windows:
            del self._readings[criterion.match]
        self._plan = None

    def crossing(self, before: int, now: int) -> Touched:
        """The events that crossed an edge of a window that is asked of their series, as time passed."""
        plan = self._plan_of_now()
        which, people = self._index.crossing(plan.edge_codes, plan.edges, before, now)
        return Touched(plan.edge_codes[which], people)

    def flips(self, touched: Sequence[Touched], now: int) -> Keys:
        """The places of the bits that turn, ascending, now that these events came or crossed an edge."""
        plan = self._plan_of_now()
        if not plan.matches:
            return np.empty(0, np.int64)
        pairs = sorted_unique(np.concatenate([plan.pairs(events) for events in touched]))
        return np.sort(np.concatenate([np.empty(0, np.int64), *(self._recount(plan, part, now) for part in plan.portions(pairs))]))

    def _recount(self, plan: "_Plan", pairs: Keys, now: int) -> Keys:
        """Count these pairs of person and match in all windows of the match; the places where a bit is no longer right."""
        people_of_pair = pairs // plan.matches
        match_of_pair = pairs - people_of_pair * plan.matches
        starts = starts_of_groups(people_of_pair)
        people = people_of_pair[starts]
        pair, times = self._events_of(
            plan, pairs, people, np.repeat(np.arange(len(people)), np.diff(starts, append=len(pairs))), match_of_pair
        )

        # one tally for each pair and window
        tallies_of_pair = plan.windows_of_match[match_of_pair]
        window_before = plan.first_window[match_of_pair] - (np.cumsum(tallies_of_pair) - tallies_of_pair)
        event, window = expand(plan.first_window[match_of_pair[pair]], tallies_of_pair[pair])
        first, last = plan.bounds(now)
        time = times[event]
        inside = (time >= first[window]) & (time <= last[window])
        tally = (window - window_before[pair[event]])[inside]
        pair_of_tally, window_of_tally = expand(plan.first_window[match_of_pair], tallies_of_pair)
        counts = np.bincount(tally, minlength=len(pair_of_tally))

        # one row for each tally and test
        row, test = expand(plan.first_test[window_of_tally], plan.tests_of_window[window_of_tally])
        count = counts[row]
        true = (count >= plan.at_least[test]) & (count <= plan.at_most[test])
        slots = plan.slots[test]
        ordinals = people_of_pair[pair_of_tally[row]]
        self._work.count_each(slots, count + 1)
        wrong = self._bits.get(slots, ordinals) != true
        places: Keys = (slots[wrong] << PLACE_BITS) | ordinals[wrong]
        return places

    def _events_of(
        self, plan: "_Plan", pairs: Keys, people: Ordinals, person_of_pair: Positions, match_of_pair: Numbers
    ) -> tuple[Positions, Numbers]:
        """The events of each pair, in any order: the position of the pair and the time."""
        width = plan.matches + 1  # a column more, for events of no match
        position = np.full(len(people) * width, -1, np.int32)
        position[person_of_pair * width + match_of_pair] = np.arange(len(pairs), dtype=np.int32)
        person, times, codes = self._index.history(people)
        if plan.only_match is not None:
            pair = position[person * width + plan.only_match[codes]]
        else:
            event, at = expand(plan.first_match[codes], plan.matches_of_code[codes])
            pair = position[person[event] * width + plan.match_at[at]]
            times = times[event]
        known = pair >= 0
        return pair[known], times[known]

    def _plan_of_now(self) -> "_Plan":
        self._learn_series()
        if self._plan is None:
            self._plan = _Plan(list(self._readings.values()), len(self._index.series))
        return self._plan

    def _learn_series(self) -> None:
        """A series seen for the first time may be one that a match asks for."""
        for code in range(self._series_known, len(self._index.series)):
            series = self._index.series[code]
            for match, reading in self._readings.items():
                if match.reads(series):
                    reading.codes.append(code)
            self._plan = None
        self._series_known = len(self._index.series)


class _Plan:
    """The readings as arrays: series -> matches -> windows -> tests, each level in the order of the one above."""

    def __init__(self, readings: list[_Reading], series: int) -> None:
        self.matches = len(readings)
        by_code = sorted((code, match) for match, reading in enumerate(readings) for code in reading.codes)
        self.match_at = np.array([match for _, match in by_code], np.int64)
        self.matches_of_code = np.bincount(np.array([code for code, _ in by_code], np.int64), minlength=series)
        self.first_match = np.cumsum(self.matches_of_code) - self.matches_of_code
        self.only_match = None  # where no series has two
        if not (self.matches_of_code > 1).any():
            self.only_match = np.full(series, self.matches, np.int64)
            self.only_match[[code for code, _ in by_code]] = self.match_at

        windows = [(window, tests) for reading in readings for window, tests in reading.windows.items()]
        self.windows_of_match = np.array([len(reading.windows) for reading in readings], np.int64)
        self.first_window = np.cumsum(self.windows_of_match) - self.windows_of_match
        self._oldest_ago = np.array([_or(window.oldest_ago, FAR) for window, _ in windows], np.int64)
        self._newest_ago = np.array([_or(window.newest_ago, -FAR) for window, _ in windows], np.int64)
        self._first = np.array([_or(window.first, -FAR) for window, _ in windows], np.int64)
        self._last = np.array([_or(window.last, FAR) for window, _ in windows], np.int64)

        tests = [(least, most, slot) for _, tests in windows for (least, most), slot in tests.items()]
        self.tests_of_window = np.array([len(tests) for _, tests in windows], np.int64)
        self.first_test = np.cumsum(self.tests_of_window) - self.tests_of_window
        self.at_least = np.array([least for least, _, _ in tests], np.int64)
        self.at_most = np.array([most for _, most, _ in tests], np.int64)
        self.slots = np.array([slot for _, _, slot in tests], np.int64)

        edges = [sorted({edge for window in reading.windows for edge in window.edges()}, reverse=True) for reading in readings]
        crossings = [(code, edge, match) for code, match in by_code for edge in edges[match]]
        self.edge_codes = np.array([code for code, _, _ in crossings], np.int32)
        self.edges = np.array([edge for _, edge, _ in crossings], np.int64)
        self.edge_matches = np.array([match for _, _, match in crossings], np.int64)

    def bounds(self, now: int) -> tuple[Numbers, Numbers]:
        """Of each window, as Window.bounds."""
        return np.maximum(now - self._oldest_ago, self._first), np.minimum(now - self._newest_ago, self._last)

    def pairs(self, events: Touched) -> Keys:
        """Of each event its person with each of the matches that read its series."""
        event, at = expand(self.first_match[events.codes], self.matches_of_code[events.codes])
        return events.people[event] * self.matches + self.match_at[at]

    def portions(self, pairs: Keys) -> Iterator[Keys]:
        """Ascending pairs in parts that are counted one after the other; a person's stay together."""
        starts = starts_of_groups(pairs // max(self.matches, 1))
        step = max(CELLS // (self.matches + 1), 1)
        for start in range(0, len(starts), step):
            end = starts[start + step] if start + step < len(starts) else len(pairs)
            yield pairs[starts[start] : end]


def _or(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value


def _row_of_few(people: list[Labels], criterion: EventCount, width: int) -> Row:
    """For whom it is true, where the events are so few that sorting them is quicker than an array over all people."""
    events = np.sort(np.concatenate(people)) if people else np.empty(0, np.int32)
    starts = starts_of_groups(events)
    counts = np.diff(starts, append=len(events))
    return row_of(events[starts[(counts >= criterion.at_least) & (counts <= criterion.at_most)]].astype(np.int64), width)


def _counted(events: list[Labels], everybody: int) -> NDArray[np.integer]:
    """By ordinal, how many of these events are somebody's."""
    counts = np.zeros(everybody, np.uint8)
    for people in events:
        for start in range(0, len(people), AT_ONCE):
            np.add.at(counts, people[start : start + AT_ONCE].astype(np.intp), np.uint8(1))
    if counts.sum(dtype=np.int64) == sum(map(len, events)):
        return counts
    wide = np.bincount(np.concatenate(events), minlength=everybody)  # somebody has more than a byte holds
    return wide.astype(np.min_scalar_type(wide.max()))


class _Counts:
    """Everybody's events in the windows that were asked for last. Audiences that are activated one after the other share windows."""

    def __init__(self) -> None:
        self._of: object = None
        self._kept: dict[tuple[Match, Window], NDArray[np.integer]] = {}

    def of(self, criterion: EventCount, state: tuple[int, int, int], events: list[Labels]) -> NDArray[np.integer]:
        """By ordinal. `state`: the instant, the index's version, how many people; `events`: the people of the events, once for each."""
        if self._of != state:
            self._of = state
            self._kept.clear()
        key = criterion.match, criterion.window
        if key not in self._kept:
            self._kept[key] = _counted(events, state[2])
            while sum(kept.nbytes for kept in self._kept.values()) > COUNTS_BYTES and len(self._kept) > 1:
                del self._kept[next(iter(self._kept))]
        return self._kept[key]
