"""One person, as far as anybody knows: what the index and the columns hold, and what is told beside them of the past."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ..details import Happening
from ..events import EventIndex
from ..facts import EventContext, EventRows, Events, Instants, Ordinals, Property, Series, Value
from ..periods import FAR
from ..sieve import Sieve
from ..tree import Activity, Match, Node


class Past(NamedTuple):
    """What the engine doesn't keep of one person: events from before the look-back; the changes of values that led to the present ones, by
    workspace and property, in the order in which they were told; since when anything is known of the person, by workspace."""

    events: Mapping[Series, Events]
    changes: Mapping[tuple[int, Property], Sequence[tuple[int, Value | None]]]
    heard: Mapping[int, int]


NO_PAST = Past({}, {}, {})


class Version(NamedTuple):
    """A value and the first and the last instant at which it is held."""

    first: int
    last: int
    value: Value


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
    past: Past = NO_PAST
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

    def _earlier(self, match: Match) -> Iterator[Instants]:
        edge, sieve = self.now - self.index.look_back, Sieve(match)
        for series, events in self.past.events.items():
            if match.source.reads(series):
                rows = EventRows(*events)
                passes = rows.times_ms < edge
                if match.where:
                    details, contexts = rows.details or [""] * len(passes), rows.contexts or [EventContext()] * len(passes)
                    known = zip(details, contexts, strict=True)
                    passes &= np.array([bool(sieve.entries(Happening(*one))) for one in known], np.bool_)
                yield rows.times_ms[passes]

    def versions_of(self, workspace: int, attribute: Property) -> list[Version]:
        """The values of a property: past ones, the present one, and those that it will have if nothing new is told; times without a value
        are left out. A change that is told for a time to come counts from now on, as it does in the columns."""
        told = sorted(((min(time, self.now), value) for time, value in self.past.changes.get((workspace, attribute), ())), key=_time)
        firsts = [time for time, _ in told] or [-FAR]
        values = [*(value for _, value in told[:-1]), self.value_of(workspace, attribute)]
        coming = sorted(set(self.to_come(workspace, attribute)))
        firsts += coming
        values += [self.value_at(workspace, attribute, at) for at in coming]
        lasts = [*(first - 1 for first in firsts[1:]), FAR]
        return [
            Version(first, last, value)
            for first, last, value in zip(firsts, lasts, values, strict=True)
            if value is not None and first <= last
        ]


def _time(change: tuple[int, Value | None]) -> int:
    return change[0]
