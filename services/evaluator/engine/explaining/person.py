"""One person, as far as anybody knows: what the index and the columns hold, and what is told beside them of the past."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ..details import Happening
from ..events import EventIndex
from ..facts import EventContext, EventRows, Events, Instants, Ordinals, Property, Series, Value
from ..sieve import Sieve
from ..tree import Activity, Match, Node


class Past(NamedTuple):
    """What the engine doesn't keep of one person.

    `events`: from before the look-back. `changes`: that led to the present values, by workspace and property, in the order in which they
    were told, in the form of AttributeChange. `heard`: since when anything is known of the person, by workspace.
    """

    events: Mapping[Series, Events]
    changes: Mapping[tuple[int, Property], Sequence[tuple[int, Value | None]]]
    heard: Mapping[int, int]


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
