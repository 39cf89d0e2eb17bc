"""The index of events: two orders of the same keys, from which every count in every window is a search or a slice.

    by series: series << 34 | time     with the person as the label: who did it in a window; who crosses a window's edge as time passes
    by person: person << 34 | time     with the series as the label: a person's history

Time is in milliseconds since the index's epoch, which lies shortly before the look-back and moves on with it: 34 bits hold 198 days. What
is further in the future than that waits aside; what is older than the look-back is not kept.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .facts import Instants, Ordinals, Series
from .keys import Keys, Labels, Positions, Run, SortedRuns
from .periods import FAR
from .tree import Match

TIME_BITS = 34
HORIZON = 1 << TIME_BITS
DAY = 86_400_000
LONGEST_LOOK_BACK = 150 * DAY
MOST_PEOPLE = 1 << 29
NO_SERIES = Series(0, 0, "")  # stands at a code that is a filter's no longer; no input has the number 0

Codes = NDArray[np.int32]


def in_time(owners: Positions, times: Instants) -> Positions:
    """The order of their owners and, for each, of the times. Of what comes from few sorted runs, that is merging them."""
    if not len(times):
        return np.empty(0, np.intp)
    return np.argsort((owners << TIME_BITS) + (times - times.min()), kind="stable")


class Histories:
    """What people did, as keys by person, each with a code. Of equal keys the order is that of their coming where `in_order` is said."""

    def __init__(self, *, look_back_ms: int, now_ms: int, in_order: bool = False) -> None:
        if not 0 <= look_back_ms <= LONGEST_LOOK_BACK:
            raise ValueError(f"a look-back of {look_back_ms} ms: at most {LONGEST_LOOK_BACK} can be indexed")
        self.look_back = look_back_ms
        self.now = now_ms
        self._epoch = now_ms - look_back_ms
        self._by_person = SortedRuns(in_order=in_order)
        self._waiting: list[tuple[Codes, Ordinals, Instants]] = []  # too far in the future for a key

    def __len__(self) -> int:
        return len(self._by_person) + sum(len(codes) for codes, _, _ in self._waiting)

    @property
    def nbytes(self) -> int:
        return self._by_person.nbytes + sum(column.nbytes for columns in self._waiting for column in columns)

    def insert(self, codes: Codes, ordinals: Ordinals, times: Instants) -> None:
        """Take events in: those that aren't too old; those that are too far in the future wait."""
        times = times - self._epoch
        oldest = self.now - self.look_back - self._epoch
        if len(times) and (times.min() < oldest or times.max() >= HORIZON):
            later = times >= HORIZON
            if later.any():
                self._waiting.append((codes[later], ordinals[later], times[later] + self._epoch))
            seen = (times >= oldest) & ~later
            codes, ordinals, times = codes[seen], ordinals[seen], times[seen]
        self._add(codes, ordinals, times)

    def advance(self, now: int) -> tuple[Codes, Ordinals]:
        """Let time pass. Months later the epoch moves on; the events that waited for that are returned."""
        self.now = now
        if now - self.look_back - self._epoch < (HORIZON - self.look_back) // 2:
            return np.empty(0, np.int32), np.empty(0, np.int64)
        self.forget(now)
        epoch = now - self.look_back
        self._shift(self._epoch - epoch)
        self._epoch = epoch
        waited, self._waiting = self._waiting, []
        for codes, ordinals, times in waited:
            self.insert(codes, ordinals, times)
        all_codes = np.concatenate([np.empty(0, np.int32), *(codes for codes, _, _ in waited)])
        return all_codes, np.concatenate([np.empty(0, np.int64), *(ordinals for _, ordinals, _ in waited)])

    def forget(self, now: int) -> int:
        """Drop what was older than the look-back at `now`, and say how many events that were."""
        oldest = now - self.look_back - self._epoch
        return self._drop_below(oldest) if oldest > 0 else 0

    def clear(self, people: Ordinals) -> None:
        """Drop all events of these people."""
        self._waiting = [tuple(column[~np.isin(waiting[1], people)] for column in waiting) for waiting in self._waiting]  # type: ignore[misc]
        self._clear(np.isin(np.arange(int(people.max(initial=-1)) + 1), people))

    def history(self, people: Ordinals, first: int = -FAR, last: int = FAR) -> tuple[Positions, Instants, Codes]:
        """The events of these people (ascending) with `first <= t <= last`: for each the position of its person, the time and the code."""
        base = people << TIME_BITS
        lower, upper = (min(max(instant - self._epoch, 0), HORIZON) for instant in (first, last + 1))
        return self._found(self._by_person.ranges(base + lower, base + upper))

    def everything(self) -> tuple[Positions, Instants, Codes]:
        """All events of everybody: for each its person, the time and the code."""
        runs = self._by_person.between(0, MOST_PEOPLE << TIME_BITS)
        return self._found((keys >> TIME_BITS, keys, codes) for keys, codes in runs)

    def codes(self) -> Codes:
        """Those in use, ascending."""
        held = [np.unique(codes) for _, codes in self._by_person.between(0, MOST_PEOPLE << TIME_BITS)]
        return np.unique(np.concatenate([np.empty(0, np.int32), *held, *(codes for codes, _, _ in self._waiting)]))

    def recode(self, codes: Codes) -> None:
        """Every code becomes the one at its place."""
        self._by_person.relabel(codes)
        self._waiting = [(codes[own], ordinals, times) for own, ordinals, times in self._waiting]

    def _found(self, parts: Iterable[tuple[Positions, Keys, Codes]]) -> tuple[Positions, Instants, Codes]:
        found = list(parts)
        if not found:
            return np.empty(0, np.intp), np.empty(0, np.int64), np.empty(0, np.int32)
        times: Keys = np.concatenate([keys for _, keys, _ in found])
        times &= HORIZON - 1
        times += self._epoch
        return np.concatenate([owner for owner, _, _ in found]), times, np.concatenate([codes for _, _, codes in found])

    def _add(self, codes: Codes, ordinals: Ordinals, times: Instants) -> None:
        """The times are since the epoch."""
        self._by_person.add((ordinals << TIME_BITS) + times, codes)

    def _shift(self, by: int) -> None:
        self._by_person.shift(by)

    def _drop_below(self, oldest: int) -> int:
        return self._by_person.drop_below(TIME_BITS, oldest)

    def _clear(self, chosen: NDArray[np.bool_]) -> None:
        """By ordinal: whose events go. Whoever lies beyond stays."""
        stays = np.append(~chosen, True)
        self._by_person.keep(lambda keys, codes: stays[np.minimum(keys >> TIME_BITS, len(chosen))])


@dataclass(frozen=True, slots=True)
class Kept:
    """The events of an index at an instant, to be written down and taken back: its own arrays, to which nobody writes.

    What filters let through is not a part of it, nor are people who are deleted: `block_of` and `waits` leave them out.
    """

    look_back: int
    epoch: int
    series: Sequence[Series | None]  # by code; None is a filter's
    by_series: Sequence[Run]
    by_person: Sequence[Run]
    waiting: Sequence[tuple[Codes, Ordinals, Instants]]
    deleted: Ordinals = field(default_factory=lambda: np.empty(0, np.int64))

    def block_of(self, keys: Keys, labels: Labels, *, by_person: bool) -> Run:
        """Of a part of a run what belongs to it."""
        owners = (keys >> TIME_BITS).astype(np.int32)
        stays = self._stays(*((labels, owners) if by_person else (owners, labels)))
        return (keys, labels) if stays is None else (keys[stays], labels[stays])

    def waits(self) -> Iterator[tuple[Codes, Ordinals, Instants]]:
        """Of what is too far in the future for a key."""
        for codes, people, times in self.waiting:
            stays = self._stays(codes, people)
            yield (codes, people, times) if stays is None else (codes[stays], people[stays], times[stays])

    def _stays(self, codes: Codes, people: NDArray[np.integer]) -> NDArray[np.bool_] | None:
        """None where all stay, which is usual and costs no copy."""
        of_filters = np.array([one is None for one in self.series])
        goes = of_filters[codes] if of_filters.any() else np.zeros(len(codes), np.bool_)
        if len(self.deleted):
            goes |= np.isin(people, self.deleted)
        return ~goes if goes.any() else None


class EventIndex(Histories):
    def __init__(self, *, look_back_ms: int, now_ms: int) -> None:
        super().__init__(look_back_ms=look_back_ms, now_ms=now_ms)
        self.series: list[Series | Match] = []  # by code; a match stands for the events that pass its filters
        self.version = 0  # another one whenever the events are other ones
        self._code_of: dict[Series | Match, int] = {}
        self._free: list[int] = []  # codes of matches that are dropped
        self._by_series = SortedRuns()
        self._aside: dict[Match, list[tuple[Labels, Instants]]] = {}  # people and times

    @property
    def nbytes(self) -> int:
        aside = sum(people.nbytes + times.nbytes for parts in self._aside.values() for people, times in parts)
        return super().nbytes + self._by_series.nbytes + aside

    def code(self, series: Series | Match) -> int:
        """The number of the series here; a new one is entered."""
        code = self._code_of.get(series)
        if code is None and self._free and isinstance(series, Match):
            code = self._code_of[series] = self._free.pop()
            self.series[code] = series
        if code is None:
            code = self._code_of[series] = len(self.series)
            self.series.append(series)
        return code

    def put_aside(self, match: Match, people: NDArray[np.integer], times: Instants) -> None:
        """Keep events that pass the match's filters where only `people_of` and `keys_of` find them: quickly done, quickly undone."""
        self.version += 1
        self._aside.setdefault(match, []).append((people.astype(np.int32), times))

    def bring_in(self, match: Match) -> None:
        """From now on, they are a series as any other."""
        code = self.code(match)
        for people, times in self._aside.pop(match, []):
            self.insert(np.full(len(people), code, np.int32), people.astype(np.int64), times)

    def drop(self, matches: Collection[Match]) -> None:
        """Let go of the series of these matches, which nobody reads any more."""
        self.version += 1
        for match in matches:
            self._aside.pop(match, None)
        codes = [self._code_of.pop(match) for match in matches if match in self._code_of]
        if not codes:
            return
        dropped = np.zeros(len(self.series), np.bool_)
        dropped[codes] = True
        self._by_series.keep(lambda keys, people: ~dropped[keys >> TIME_BITS])
        self._by_person.keep(lambda keys, codes: ~dropped[codes])
        self._waiting = [tuple(column[~dropped[waiting[0]]] for column in waiting) for waiting in self._waiting]  # type: ignore[misc]
        self._free += codes

    def kept(self, deleted: Ordinals) -> Kept:
        """What it holds now, save for these people; at once."""
        series = [one if isinstance(one, Series) and one != NO_SERIES else None for one in self.series]
        return Kept(self.look_back, self._epoch, series, self._by_series.runs, self._by_person.runs, list(self._waiting), deleted)

    def take_back(self, kept: Kept) -> None:
        """Hold just that; before anything else is entered. It was kept with this look-back, at an instant that is not later than now."""
        self.version += 1
        self._epoch = kept.epoch
        self.series = [one or NO_SERIES for one in kept.series]
        self._code_of = {one: code for code, one in enumerate(kept.series) if one is not None}
        self._free = [code for code, one in enumerate(kept.series) if one is None]
        self._by_series.take_back(kept.by_series)
        self._by_person.take_back(kept.by_person)
        self._waiting = list(kept.waiting)
        self.advance(self.now)

    def codes_of(self, match: Match) -> list[int]:
        """The series that the match reads, of those known."""
        if match.where:
            return [self._code_of[match]] if match in self._code_of else []
        if isinstance(match.name, str):
            wanted = (self._code_of.get(Series(input_id, match.type, match.name)) for input_id in sorted(match.inputs))
            return [code for code in wanted if code is not None]
        return [code for code, series in enumerate(self.series) if match.reads(series)]

    def people_of(self, match: Match, first: int, last: int) -> list[Labels]:
        """The people of the match's events with `first <= t <= last`, once per event."""
        aside = self._aside.get(match)
        if aside is not None:
            return [people[(times >= first) & (times <= last)] for people, times in aside]
        codes = self.codes_of(match)
        lower, upper = self._since_epoch(first), self._since_epoch(last + 1)
        return [people for code in codes for _, people in self._by_series.between((code << TIME_BITS) + lower, (code << TIME_BITS) + upper)]

    def keys_of(self, match: Match, first: int, last: int, base: int) -> Keys:
        """The match's events with `first <= t <= last` as keys, ascending: person << 34 | t - base. No event is before the base, or so
        far after it that 34 bits don't hold it."""
        lower, upper = self._since_epoch(first), self._since_epoch(last + 1)
        found = [np.empty(0, np.int64)]
        for people, times in self._aside.get(match, []):
            inside = (times >= first) & (times <= last)
            found.append((people[inside].astype(np.int64) << TIME_BITS) + (times[inside] - base))
        for code in self.codes_of(match):
            for keys, people in self._by_series.between((code << TIME_BITS) + lower, (code << TIME_BITS) + upper):
                packed = people.astype(np.int64) << TIME_BITS
                packed += keys
                packed += self._epoch - base - (code << TIME_BITS)
                found.append(packed)
        return np.sort(np.concatenate(found))

    def crossing(self, codes: Codes, edges: NDArray[np.int64], before: int, now: int) -> tuple[Positions, Ordinals]:
        """Whose events t of `codes[i]` have `before < t + edges[i] <= now`: each with its `i`. Quickest when (code, -edge) ascends."""
        base = codes.astype(np.int64) << TIME_BITS
        lower = base + np.clip(before + 1 - edges - self._epoch, 0, HORIZON)
        upper = base + np.clip(now + 1 - edges - self._epoch, 0, HORIZON)
        found = [(owner, people) for owner, _, people in self._by_series.ranges(lower, upper)]
        if not found:
            return np.empty(0, np.intp), np.empty(0, np.int64)
        return np.concatenate([owner for owner, _ in found]), np.concatenate([people for _, people in found]).astype(np.int64)

    def _add(self, codes: Codes, ordinals: Ordinals, times: Instants) -> None:
        self.version += 1
        self._by_series.add((codes.astype(np.int64) << TIME_BITS) + times, ordinals.astype(np.int32))
        super()._add(codes, ordinals, times)

    def _shift(self, by: int) -> None:
        self._by_series.shift(by)
        super()._shift(by)

    def _drop_below(self, oldest: int) -> int:
        self.version += 1
        self._keep_aside(lambda people, times: times >= oldest + self._epoch)
        self._by_series.drop_below(TIME_BITS, oldest)
        return super()._drop_below(oldest)

    def _clear(self, chosen: NDArray[np.bool_]) -> None:
        self.version += 1
        stays = np.append(~chosen, True)
        self._keep_aside(lambda people, times: stays[np.minimum(people, len(chosen))])
        self._by_series.keep(lambda keys, people: stays[np.minimum(people, len(chosen))])
        super()._clear(chosen)

    def _keep_aside(self, stays: Callable[[Labels, Instants], NDArray[np.bool_]]) -> None:
        for parts in self._aside.values():
            parts[:] = [(people[chosen], times[chosen]) for people, times in parts for chosen in [stays(people, times)]]

    def _since_epoch(self, instant: int) -> int:
        return min(max(instant - self._epoch, 0), HORIZON)
