"""One person, as far as anybody knows: what the index and the columns hold, and what is told beside them of the past."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ..details import Happening
from ..events import EventIndex
from ..facts import EventContext, EventRows, Events, Instants, Ordinals, Property, Series, Value
from ..measure import Measure
from ..sieve import Sieve, SieveEntry
from ..tree import Activity, Match, Node
from .timeline import Timeline


class Past(NamedTuple):
    """What the engine doesn't keep of one person.

    `events`: from before the look-back. `changes`: that led to the present values, by workspace and property, in the order in which they
    were told, in the form of AttributeChange. `heard`: since when anything is known of the person, by workspace. `known_from`: what
    happened before is left out, as it is too much; None: nothing is.
    """

    events: Mapping[Series, Events]
    changes: Mapping[tuple[int, Property], Sequence[tuple[int, Value | None]]]
    heard: Mapping[int, int]
    known_from: int | None = None


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
    measure: Callable[[Sieve], Measure]  # what the engine has of everybody
    past: Past = NO_PAST
    memberships: dict[int, Timeline] = field(default_factory=dict)  # of other audiences, as far as they are worked out
    _times: dict[Match, Instants] = field(default_factory=dict)

    def value_of(self, workspace: int, attribute: Property) -> Value | None:
        """The present one."""
        return self.value_at(workspace, attribute, self.now)

    def times_of(self, match: Match) -> Instants:
        """When the person did what the match reads, in order."""
        if match not in self._times:
            people: Ordinals = np.array([self.ordinal])
            _, times, codes = self.index.history(people)
            kept = times >= self.now - self.index.look_back
            present = times[kept & np.isin(codes, self.index.codes_of(match))]
            self._times[match] = np.sort(np.concatenate([present, *self._earlier(match)]))
        return self._times[match]

    def heard_in(self, workspaces: frozenset[int]) -> int | None:
        """Since when anything is known of the person in one of the workspaces; None: that is not told."""
        return min((self.past.heard[workspace] for workspace in workspaces & self.past.heard.keys()), default=None)

    def earlier_entries(self, sieve: Sieve) -> list[tuple[int, SieveEntry]]:
        """What the sieve takes of what the person did before the look-back, with the times, in order."""
        edge = self.now - self.index.look_back
        past = [(time, entry) for series in self.past.events for time, entry in self._sifted(series, sieve) if time < edge]
        return sorted(past, key=lambda taken: taken[0])

    def _earlier(self, match: Match) -> list[Instants]:
        edge = self.now - self.index.look_back
        found = (self._times_in(series, match) for series in self.past.events if match.source.reads(series))
        return [times[times < edge] for times in found]

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
