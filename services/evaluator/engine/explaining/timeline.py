"""Truth over time: when something is true of one person, from the first instant to the last."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..facts import Instants
from ..keys import sorted_unique, starts_of_groups
from ..periods import FAR, Window

Truths = NDArray[np.bool_]
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Timeline:
    """`values[i + 1]` from `starts[i]` on, up to the next start; `values[0]` before all. The starts ascend, and each is a turn."""

    starts: Instants
    values: Truths

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

    def __invert__(self) -> "Timeline":
        return Timeline(self.starts, ~self.values)


def constant(value: bool) -> Timeline:
    return Timeline(np.empty(0, np.int64), np.array([value]))


def combined(every: bool, parts: Sequence[Timeline]) -> Timeline:
    """True where all parts are true, or any of them."""
    starts: Instants = sorted_unique(np.concatenate([np.empty(0, np.int64), *(part.starts for part in parts)]))
    values = np.full(len(starts) + 1, every)
    for part in parts:
        own = part.values[np.searchsorted(part.starts, starts, "right")]
        whole = np.concatenate([part.values[:1], own])
        values = values & whole if every else values | whole
    return Timeline.of(starts, values)


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


def in_bounds(window: Window, times: Instants) -> Instants:
    """Those that may be in the window at some time: inside its fixed ends."""
    first, last = (-FAR if window.first is None else window.first), (FAR if window.last is None else window.last)
    return times[(times >= first) & (times <= last)]


def stays(window: Window, times: Instants) -> tuple[Instants, Instants]:
    """The first and the last instant at which each of the times is in the window, if it is in bounds."""
    first = np.full(len(times), -FAR) if window.newest_ago is None else times + window.newest_ago
    last = np.full(len(times), FAR) if window.oldest_ago is None else times + window.oldest_ago
    return first, last
