"""Truth over time: when something is true of one person, from the first instant to the last."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..facts import Instants
from ..keys import Positions, starts_of_groups
from ..periods import FAR, Window

Truths = NDArray[np.bool_]
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Timeline:
    """`values[i + 1]` from `starts[i]` on, up to the next start; `values[0]` before all. The starts ascend, and each is a turn.

    Only the time from `first` to `last` was looked at: what was before and what comes after is not known.
    """

    starts: Instants
    values: Truths
    first: int = -FAR
    last: int = FAR

    @classmethod
    def of(cls, instants: Instants, values: Truths) -> "Timeline":
        """The same of ascending instants of which not each need be a turn."""
        turns = values[1:] != values[:-1]
        return cls(instants[turns], np.concatenate([values[:1], values[1:][turns]]))

    def at(self, instant: int) -> bool:
        return bool(self.values[np.searchsorted(self.starts, instant, "right")])

    def since(self, instant: int) -> int | None:
        """From when on it has been what it is at the instant; None: always."""
        before = int(np.searchsorted(self.starts, instant, "right"))
        return int(self.starts[before - 1]) if before else None

    def next_turn(self, instant: int) -> int | None:
        """When it first becomes something else after the instant; None: never."""
        after = int(np.searchsorted(self.starts, instant, "right"))
        return int(self.starts[after]) if after < len(self.starts) else None

    def within(self, first: int, last: int) -> "Timeline":
        """Looked at from the first of these instants to the last one only."""
        first, last = max(first, self.first), min(last, self.last)
        begin, end = (int(np.searchsorted(self.starts, instant, "right")) for instant in (first, last))
        return Timeline(self.starts[begin:end], self.values[begin : end + 1], first, last)

    def __invert__(self) -> "Timeline":
        return Timeline(self.starts, ~self.values, self.first, self.last)


def constant(value: bool) -> Timeline:
    return Timeline(np.empty(0, np.int64), np.array([value]))


def combined(every: bool, parts: Sequence[Timeline]) -> Timeline:
    """True where all parts are true, or any of them."""
    starts: Instants = np.unique(np.concatenate([np.empty(0, np.int64), *(part.starts for part in parts)]))
    values = np.full(len(starts) + 1, every)
    for part in parts:
        own = part.values[np.searchsorted(part.starts, starts, "right")]
        whole = np.concatenate([part.values[:1], own])
        values = values & whole if every else values | whole
    return Timeline.of(starts, values).within(
        max((part.first for part in parts), default=-FAR), min((part.last for part in parts), default=FAR)
    )


class Edges:
    """Where the stretches `first[i] <= t <= last[i]` begin and end: the instants at which what is counted of them may change, and
    `numbers`, how many there are. A stretch that ends before it begins is none."""

    def __init__(self, first: Instants, last: Instants) -> None:
        self._real: Positions = np.flatnonzero(first <= last)
        edges = np.concatenate([first[self._real], last[self._real] + 1])
        self._order = np.argsort(edges, kind="stable")  # of parts in order: a merge
        edges = edges[self._order]
        self._kept = np.flatnonzero(np.append(edges[1:] != edges[:-1], True)) if len(edges) else self._order
        self.instants: Instants = edges[self._kept]
        begun = np.cumsum(self._order < len(self._real))[self._kept]
        self.numbers: Numbers = np.append(0, 2 * begun - self._kept - 1)  # those that have begun less those that have ended

    def sums(self, weights: NDArray[np.generic]) -> NDArray[np.generic]:
        """Of the stretches that there are: before the first of the instants, and from each on."""
        weights = weights[self._real]
        totals = np.cumsum(np.concatenate([weights, np.negative(weights)])[self._order])[self._kept]
        return np.concatenate([np.zeros(1, totals.dtype), totals])

    def counts(self, chosen: Truths) -> Numbers:
        """How many of the chosen ones there are."""
        return self.sums(chosen.astype(np.int64)).astype(np.int64)


def count_of(first: Instants, last: Instants) -> tuple[Instants, Numbers]:
    """How many of the stretches `first[i] <= t <= last[i]` there are at a time: the instants at which that may change, and the numbers
    before the first of them and from each on. A stretch that ends before it begins is none."""
    real = first <= last
    always = np.count_nonzero(real & (first <= -FAR))
    begins, ends = np.sort(first[real & (first > -FAR)]), np.sort(last[real & (last < FAR)] + 1)
    instants = np.sort(np.concatenate([begins, ends]))
    instants = instants[starts_of_groups(instants)]
    numbers = always + np.searchsorted(begins, instants, "right") - np.searchsorted(ends, instants, "right")
    return instants, np.concatenate([np.array([always], np.int64), numbers])


def during(first: Instants, last: Instants) -> Timeline:
    """True inside the stretches `first[i] <= t <= last[i]`."""
    instants, numbers = count_of(first, last)
    return Timeline.of(instants, numbers > 0)


def bounded(window: Window, times: Instants) -> Truths:
    """Which may be in the window at some time: those inside its fixed ends."""
    first, last = (-FAR if window.first is None else window.first), (FAR if window.last is None else window.last)
    return (times >= first) & (times <= last)


def in_bounds(window: Window, times: Instants) -> Instants:
    """Those that may be in the window at some time."""
    return times[bounded(window, times)]


def stays(window: Window, times: Instants) -> tuple[Instants, Instants]:
    """The first and the last instant at which each of the times is in the window, if it is in bounds."""
    first = np.full(len(times), -FAR) if window.newest_ago is None else times + window.newest_ago
    last = np.full(len(times), FAR) if window.oldest_ago is None else times + window.oldest_ago
    return first, last
