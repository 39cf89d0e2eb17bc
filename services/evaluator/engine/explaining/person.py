"""One person, as far as anybody knows: what the index and the columns hold, and what is told beside them of the past."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from ..details import Happening
from ..events import Codes, EventIndex
from ..facts import EventContext, EventRows, Events, Instants, Ordinals, Property, Series, Value
from ..measure import Known, Measure
from ..sieve import Sieve, SieveEntry
from ..tree import Activity, AggregateTest, Match, Node
from .timeline import Timeline


class Past(NamedTuple):
    """What the engine doesn't keep of one person.

    `events`: from before the look-back, all from `events_from` on (None: all of another look-back). `changes`: that led to the present
    values, by workspace and property, in the order in which they were told, in the form of AttributeChange. `heard`: since when anything is
    known of the person, by workspace. `known_from`: of changes that are not all there, from when on they are.
    """

    events: Mapping[Series, Events]
    changes: Mapping[tuple[int, Property], Sequence[tuple[int, Value | None]]]
    heard: Mapping[int, int]
    events_from: int | None = None
    known_from: Mapping[tuple[int, Property], int] = MappingProxyType({})


NO_PAST = Past({}, {}, {})


@dataclass
class Person:
    """`now` is the engine's."""

    index: EventIndex
    ordinal: int
    now: int
    value_at: Callable[[int, Property, int], Value | None]  # in a workspace, at an instant from now on
    to_come: Callable[[int, Property], Sequence[int]]  # the instants at which more is known of a property
    is_active: Callable[[Activity], bool]
    tree_of: Callable[[int], Node | None]  # of another audience; None where it isn't active
    measure_of: Callable[[Sieve], Measure]
    known_of: Callable[[AggregateTest], Known]
    past: Past = NO_PAST
    memberships: dict[int, Timeline] = field(default_factory=dict)  # of other audiences, inner ones first
    _times: dict[Match, Instants] = field(default_factory=dict)

    @property
    def events_known_from(self) -> int:
        """Since when it is known what event criteria see."""
        since = self.now - 2 * self.index.look_back
        return self.index.look_back + max(since, self.past.events_from or since)

    def value_of(self, workspace: int, attribute: Property) -> Value | None:
        """The present one."""
        return self.value_at(workspace, attribute, self.now)

    def times_of(self, match: Match) -> Instants:
        """When the person did what the match reads, in order."""
        if match not in self._times:
            times, codes = self._history
            present = times[np.isin(codes, self.index.codes_of(match))]
            self._times[match] = np.concatenate([self._earlier(match), present])
        return self._times[match]

    @cached_property
    def _history(self) -> tuple[Instants, Codes]:
        """All times in the look-back, in order, with what was done."""
        people: Ordinals = np.array([self.ordinal])
        _, times, codes = self.index.history(people)
        order = np.argsort(times, kind="stable")
        order = order[np.searchsorted(times[order], self.now - self.index.look_back) :]
        return times[order], codes[order]

    def heard_in(self, workspaces: frozenset[int]) -> int | None:
        """Since when anything is known of the person in one of the workspaces; None: that is not told."""
        return min((self.past.heard[workspace] for workspace in workspaces & self.past.heard.keys()), default=None)

    def values_of(self, sieve: Sieve) -> tuple[Instants, Codes]:
        """The times and labels of what the sieve's measure has of the person in the look-back, in order."""
        times, labels = self.measure_of(sieve).of_person(self.ordinal)
        seen = times >= self.now - self.index.look_back
        return times[seen], labels[seen]

    def earlier_entries(self, sieve: Sieve) -> list[tuple[int, SieveEntry]]:
        """What the sieve takes of what the person did before the look-back, with the times."""
        edge = self.now - self.index.look_back
        return [(time, entry) for series in self.past.events for time, entry in self._sifted(series, sieve) if time < edge]

    def _earlier(self, match: Match) -> Instants:
        edge = self.now - self.index.look_back
        found = [self._times_in(series, match) for series in self.past.events if match.source.reads(series)]
        times = np.sort(np.concatenate([np.empty(0, np.int64), *found]))
        return times[times < edge]

    def _times_in(self, series: Series, match: Match) -> Instants:
        """Of the past events of the series those that the match reads."""
        if match.where:
            return np.array([time for time, _ in self._sifted(series, Sieve(match))], np.int64)
        return np.asarray(self.past.events[series][1], np.int64)

    def _sifted(self, series: Series, sieve: Sieve) -> Iterator[tuple[int, SieveEntry]]:
        if sieve.match.source.reads(series):
            rows = EventRows(*self.past.events[series])
            details, contexts = rows.details or [""] * len(rows.ordinals), rows.contexts or [EventContext()] * len(rows.ordinals)
            for time, known, context in zip(rows.times_ms.tolist(), details, contexts, strict=True):
                yield from ((time, entry) for entry in sieve.entries(Happening(known, context)))
