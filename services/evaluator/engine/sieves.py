"""The sieves that criteria need, each with what it let through so far: the events that pass, as a series of its own in the index, and
the values of a measure.

What no criterion in use reads stands aside: it is quickly there for an estimate, and is sorted into the index with its first use.

A sieve is filled once from all that happened before, and then takes from what arrives. One that no criterion uses stays for the next
estimate until `tidy` finds it not asked for, but no more than SPARE of them and SPARE_EVENTS of their events beside those of the definition
in hand.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from .details import Happening, Subject
from .events import Codes, EventIndex
from .facts import EventContext, EventRows, Instants, Ordinals, Series
from .measure import Measure
from .reading import Reading
from .sieve import Sieve, SieveEntry
from .tree import Match

SPARE = 200
SPARE_EVENTS = 4_000_000  # 12 bytes each
READ_EVENTS = 8_000_000  # 16 bytes each, that readings hold in all
READ_HAPPENINGS = 100_000  # some 1,000 bytes each

NOTHING = EventContext()

Read = tuple[Match, frozenset[Subject]]  # of which events what is read
Some = NDArray[np.integer]
T = TypeVar("T")

Taken = tuple[Codes, Ordinals, Instants]


@dataclass
class _Kept:
    measure: Measure | None  # where the values are asked for
    events: int = 0
    asked: bool = True  # since the last `tidy`
    aside: bool = True  # its series is not in the index yet


class Sieves:
    def __init__(self, index: EventIndex) -> None:
        self._index = index
        self._kept: dict[Sieve, _Kept] = {}  # those that were asked for last come last
        self._uses: Counter[Sieve] = Counter()
        self._readers: dict[Series, list[Sieve]] = {}
        self._readings: dict[Read, Reading] = {}  # those that were asked for last come last

    def missing(self, wanted: Iterable[Sieve]) -> list[Sieve]:
        """Those that must be filled before what needs them can be worked out."""
        missing = []
        wanted = dict.fromkeys(wanted)
        self._make_room(wanted.keys())
        for sieve in wanted:
            if sieve in self._kept:
                self._kept[sieve] = kept = self._kept.pop(sieve)
                kept.asked = True
            elif (reading := self._reading_for(sieve)) is not None:
                self.fill(sieve, *reading.told_to(sieve))
            else:
                missing.append(sieve)
        return missing

    def keep(self, source: Match, subjects: frozenset[Subject], reading: Reading) -> None:
        """What is known of these subjects of all events of the match: other sieves that read the same are filled from it."""
        self._readings.pop((source, subjects), None)
        self._readings[source, subjects] = reading
        self._bound_readings()

    def fill(self, sieve: Sieve, ordinals: Some, times: Instants, which: Some, entries: Sequence[Sequence[SieveEntry]]) -> None:
        """All that the sieve lets through of the past, in the order of its arrival: `entries[which[i]]` are those of event i."""
        if sieve in self._kept:
            raise ValueError("a sieve is filled once")
        look_back, now = self._index.look_back, self._index.now
        measure = Measure(sieve.windows, look_back_ms=look_back, now_ms=now) if sieve.is_measure else None
        self._kept[sieve] = _Kept(measure)
        self._readers.clear()
        self._take(sieve, ordinals, times, which, entries)

    def require(self, wanted: Iterable[Sieve]) -> None:
        """Raises KeyError where one isn't filled."""
        for sieve in wanted:
            if sieve not in self._kept:
                raise KeyError(f"not filled: {sieve}")

    def use(self, wanted: Iterable[Sieve]) -> None:
        """Keep these from now on; once more for each who uses them."""
        wanted = list(wanted)
        self.bring_in(wanted)
        self._uses.update(wanted)

    def reserve(self, wanted: Iterable[Sieve]) -> None:
        """Keep these, once they are filled, as if they were used."""
        self._uses.update(wanted)

    def bring_in(self, wanted: Iterable[Sieve]) -> None:
        """Have the series of these in the index."""
        for sieve in wanted:
            kept = self._kept[sieve]
            if kept.aside and sieve.is_series:
                self._index.bring_in(sieve.match)
            kept.aside = False

    def release(self, wanted: Iterable[Sieve]) -> None:
        self._uses -= Counter(wanted)

    def read(self, series: Series) -> bool:
        """Whether a sieve takes from the series, or a reading is kept of it."""
        return bool(self._readers_of(series)) or bool(self._readings_of(series))

    def sift(self, events: Mapping[Series, EventRows]) -> Sequence[Taken]:
        """What the sieves take of these: as events of their own series."""
        parts: dict[Sieve, list[_Part[Sequence[SieveEntry]]]] = {}
        told: dict[Read, list[_Part[Happening]]] = {}
        for series, rows in events.items():
            sieves, readings = self._readers_of(series), self._readings_of(series)
            if (sieves or readings) and len(rows.ordinals):
                which, happenings = _distinct(rows)
                for sieve in sieves:
                    parts.setdefault(sieve, []).append(_Part(rows, which, [sieve.entries(one) for one in happenings]))
                for read in readings:
                    told.setdefault(read, []).append(_Part(rows, which, happenings))
        for read, own_parts in told.items():
            self._tell(self._readings[read], *_joined(own_parts))
        self._bound_readings()
        taken = (self._take(sieve, *_joined(own)) for sieve, own in parts.items())
        return [one for one in taken if one is not None]

    def measure(self, sieve: Sieve) -> Measure:
        """The values that it took."""
        measure = self._kept[sieve].measure
        if measure is None:
            raise KeyError(f"no measure: {sieve}")
        return measure

    def advance(self, now: int) -> None:
        """Let time pass."""
        for kept in self._kept.values():
            if kept.measure is not None:
                kept.measure.advance(now)

    def forget(self, now: int) -> None:
        """What the look-back at `now` doesn't see any more."""
        for kept in self._kept.values():
            if kept.measure is not None:
                kept.measure.forget(now)

    def clear(self, people: Ordinals) -> None:
        """Drop all that these people did."""
        for kept in self._kept.values():
            if kept.measure is not None:
                kept.measure.clear(people)
        self._readings.clear()

    @property
    def nbytes(self) -> int:
        """Of the values; the series are the index's."""
        measures = sum(kept.measure.nbytes for kept in self._kept.values() if kept.measure is not None)
        return measures + sum(reading.nbytes for reading in self._readings.values())

    def tidy(self) -> None:
        """Let go of what nobody uses and nobody asked for lately."""
        self._drop([sieve for sieve, kept in self._kept.items() if not kept.asked and not self._uses[sieve]])
        self._readings.clear()
        for kept in self._kept.values():
            kept.asked = False

    def _take(self, sieve: Sieve, ordinals: Some, times: Instants, which: Some, entries: Sequence[Sequence[SieveEntry]]) -> Taken | None:
        """What goes into the index."""
        kept = self._kept[sieve]
        passes = np.fromiter((bool(found) for found in entries), np.bool_, len(entries))[which]
        people, times = ordinals[passes].astype(np.int64), times[passes]
        kept.events += len(people)
        if kept.measure is not None:
            kept.measure.insert(people, times, which[passes], entries)
        if not sieve.is_series:
            return None
        if kept.aside:
            self._index.put_aside(sieve.match, people, times)
            return None
        return np.full(len(people), self._index.code(sieve.match), np.int32), people, times

    def _tell(self, reading: Reading, ordinals: Ordinals, times: Instants, which: NDArray[np.int64], more: Sequence[Happening]) -> None:
        reading.add(ordinals, times, which + len(reading.happenings))
        reading.happenings += more

    def _reading_for(self, sieve: Sieve) -> Reading | None:
        read = sieve.match.source, sieve.subjects
        reading = self._readings.pop(read, None)
        if reading is None:
            return None
        self._readings[read] = reading
        return reading if reading.in_order or not sieve.is_measure else None

    def _bound_readings(self) -> None:
        while self._readings and (
            sum(map(len, self._readings.values())) > READ_EVENTS
            or sum(len(reading.happenings) for reading in self._readings.values()) > READ_HAPPENINGS
        ):
            del self._readings[next(iter(self._readings))]

    def _readings_of(self, series: Series) -> list[Read]:
        return [(source, subjects) for source, subjects in self._readings if source.reads(series)]

    def _readers_of(self, series: Series) -> list[Sieve]:
        if series not in self._readers:
            self._readers[series] = [sieve for sieve in self._kept if sieve.match.source.reads(series)]
        return self._readers[series]

    def _make_room(self, wanted: Collection[Sieve]) -> None:
        spare = [(sieve, kept.events) for sieve, kept in self._kept.items() if not self._uses[sieve] and sieve not in wanted]
        events = sum(count for _, count in spare)
        dropped: list[Sieve] = []
        for sieve, count in spare:
            if len(spare) - len(dropped) <= SPARE and events <= SPARE_EVENTS:
                break
            dropped.append(sieve)
            events -= count
        self._drop(dropped)

    def _drop(self, sieves: Collection[Sieve]) -> None:
        for sieve in sieves:
            del self._kept[sieve]
        self._index.drop([sieve.match for sieve in sieves if sieve.is_series])
        self._readers.clear()


def _distinct(rows: EventRows) -> tuple[NDArray[np.int64], list[Happening]]:
    """The different events, and which of them each row is."""
    details = rows.details or [""] * len(rows.ordinals)
    contexts = rows.contexts or [NOTHING] * len(rows.ordinals)
    places: dict[tuple[str, EventContext], int] = {}
    which = np.fromiter((places.setdefault(key, len(places)) for key in zip(details, contexts, strict=True)), np.int64, len(details))
    return which, [Happening(*key) for key in places]


class _Part(NamedTuple, Generic[T]):
    """Events of one series: which of what is told is told of each row."""

    rows: EventRows
    which: NDArray[np.int64]
    entries: Sequence[T]


def _joined(parts: Sequence[_Part[T]]) -> tuple[Ordinals, Instants, NDArray[np.int64], Sequence[T]]:
    """The parts as one, in the order in which the events came."""
    starts = accumulate((len(part.entries) for part in parts), initial=0)
    ordinals = np.concatenate([part.rows.ordinals for part in parts])
    times = np.concatenate([part.rows.times_ms for part in parts])
    which = np.concatenate([part.which + start for part, start in zip(parts, starts, strict=False)])
    entries = [found for part in parts for found in part.entries]
    if not all(len(part.rows.arrivals) for part in parts):
        return ordinals, times, which, entries
    order = np.argsort(np.concatenate([part.rows.arrivals for part in parts]), kind="stable")
    return ordinals[order], times[order], which[order], entries
