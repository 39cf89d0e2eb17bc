"""Events in an order.

Of the chains that end with an event of a step, the one that begins latest is in the period longest; it goes over the latest event of the
step before. So each last event has one stretch of time in which it makes the sequence true.
"""

from typing import NamedTuple

import numpy as np

from ..facts import Instants
from ..keys import Positions
from ..periods import FAR
from ..tree import SequenceTest
from .event import crossing
from .findings import Cause, Followed
from .person import Person
from .timeline import Timeline, during, in_bounds, stays


class _Chains(NamedTuple):
    """For each event that ends a chain the latest beginning, in the order of the ends."""

    begins: Instants
    ends: Instants


class Sequences:
    def __init__(self, person: Person) -> None:
        self._person = person

    def timeline(self, criterion: SequenceTest) -> Timeline:
        return during(*self._true(criterion, self._chains(criterion)[-1]))

    def finding(self, criterion: SequenceTest, *, wanted: bool) -> Followed:
        first, last = criterion.window.bounds(self._person.now)
        reached, chains = 0, self._chains(criterion)
        inside = [ends[(begins >= first) & (ends <= last)] for begins, ends in chains]
        reached = max((step + 1 for step, ends in enumerate(inside) if len(ends)), default=0)
        if not reached:
            return Followed(0, len(chains))
        latest = int(inside[reached - 1][-1])
        after = criterion.not_followed_by
        if reached < len(chains) or after is None:
            return Followed(reached, len(chains), latest)
        following = self._following(criterion, np.array([latest]))[0]
        followed = following <= (self._person.now if after.within is None else min(latest + after.within, self._person.now))
        due = latest + after.within if after.within is not None and not followed and latest + after.within > self._person.now else None
        return Followed(reached, len(chains), latest, int(following) if followed else None, due)

    def cause(self, criterion: SequenceTest, at: int) -> Cause | None:
        begins, ends = self._chains(criterion)[-1]
        first, last = self._true(criterion, _Chains(begins, ends))
        after = criterion.not_followed_by
        if after is not None and after.within is not None and (over := ends[(ends + after.within == at) & (first == at)]).size:
            return Cause(int(over[-1]), None)
        if after is not None and after.within is None and (came := self._following(criterion, ends)).size and at in came:
            return Cause(at, True, step=None)
        leaving = crossing(begins, first, last, at)
        if leaving is not None and not leaving.enters:
            return leaving
        coming = crossing(ends, first, last, at)
        return coming and coming._replace(step=len(criterion.steps) - 1)

    def _chains(self, criterion: SequenceTest) -> list[_Chains]:
        """Through the first step, the first two, ... and all."""
        found: list[_Chains] = []
        for step in criterion.steps:
            times = in_bounds(criterion.window, self._person.times_of(step.match))
            if not found:
                found.append(_Chains(times, times))
                continue
            begins, ends = found[-1]
            at: Positions = np.searchsorted(ends, times) - 1
            times, at = times[at >= 0], at[at >= 0]
            if step.within is not None:
                near = times - ends[at] <= step.within
                times, at = times[near], at[near]
            found.append(_Chains(begins[at], times))
        return found

    def _true(self, criterion: SequenceTest, chains: _Chains) -> tuple[Instants, Instants]:
        """The first and the last instant at which each chain makes the sequence true."""
        first, last = stays(criterion.window, chains.ends)[0], stays(criterion.window, chains.begins)[1]
        after = criterion.not_followed_by
        if after is None:
            return first, last
        following = self._following(criterion, chains.ends)
        if after.within is None:
            return first, np.minimum(last, following - 1)
        over = chains.ends + after.within
        return np.maximum(first, over), np.where(following <= over, -FAR, last)

    def _following(self, criterion: SequenceTest, ends: Instants) -> Instants:
        """When what must not follow first does, after each end; FAR: it doesn't."""
        after = criterion.not_followed_by
        if after is None:
            return np.full(len(ends), FAR)
        times = np.append(self._person.times_of(after.match), FAR)
        return times[np.searchsorted(times, ends, "right")]
