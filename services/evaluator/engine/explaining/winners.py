"""Which of the entries that count decides, where no sum can tell: the first, the least, the most frequent one, as they come and go.

Entry by entry, so only so many are looked at on either side of now.
"""

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple, Protocol

import numpy as np

from ..facts import Instants
from ..keys import Positions
from ..periods import FAR
from .timeline import Numbers

SWEPT_MAX = 10_000  # comings and goings, before now and after


class Best(Protocol):
    """The entries that count, of which one decides."""

    def add(self, entry: int) -> None: ...

    def remove(self, entry: int) -> None: ...

    def entry(self) -> int:
        """The one that decides; -1: none counts."""


class Winners(NamedTuple):
    """Before the first instant, and from each on, the entry that decides; -1: none. Looked at from `first` to `last`."""

    instants: Instants
    entries: Numbers
    first: int
    last: int


def swept(owners: Positions, first: Instants, last: Instants, now: int, best: Callable[[Positions], Best]) -> Winners:
    """`best` is made of the entries that count at first."""
    real = np.flatnonzero(first <= last)
    edges = np.concatenate([first[real], last[real] + 1])
    order = np.argsort(edges, kind="stable")
    edges = edges[order]
    present = int(np.searchsorted(edges, now, "right"))
    begin, end = max(0, present - SWEPT_MAX), min(len(edges), present + SWEPT_MAX)
    if begin:  # whole instants only
        begin = int(np.searchsorted(edges, edges[begin - 1], "right"))
    if end < len(edges):
        end = int(np.searchsorted(edges, edges[end], "left"))
    known_from = int(edges[begin - 1]) if begin else -FAR
    known_until = int(edges[end]) - 1 if end < len(edges) else FAR
    state = best(np.sort(owners[real[(first[real] <= known_from) & (known_from <= last[real])]]))
    entries, instants = [state.entry()], []
    steps = zip(
        edges[begin:end].tolist(),
        owners[real[order[begin:end] % max(len(real), 1)]].tolist(),
        (order[begin:end] < len(real)).tolist(),
        strict=True,
    )
    for instant, turns in groupby(steps, key=itemgetter(0)):
        for _, entry, comes in turns:
            (state.add if comes else state.remove)(entry)
        instants.append(instant)
        entries.append(state.entry())
    return Winners(np.array(instants, np.int64), np.array(entries, np.int64), known_from, known_until)


class Ranked(Best):
    """The entry of the lowest rank decides; no two are equal."""

    def __init__(self, ranks: Numbers, present: Positions) -> None:
        self._ranks = ranks
        few = 2 * SWEPT_MAX + 1  # one of these stays, however many of them go
        least = np.argpartition(ranks[present], few)[:few] if len(present) > few else slice(None)
        self._present = set(present.tolist())
        self._heap = [(int(ranks[entry]), entry) for entry in present[least].tolist()]
        heapify(self._heap)

    def add(self, entry: int) -> None:
        self._present.add(entry)
        heappush(self._heap, (int(self._ranks[entry]), entry))

    def remove(self, entry: int) -> None:
        self._present.discard(entry)

    def entry(self) -> int:
        while self._heap and self._heap[0][1] not in self._present:
            heappop(self._heap)
        return self._heap[0][1] if self._heap else -1


class Frequent(Best):
    """The last entry of the worth that most of them have, of equals of the one whose last entry is the latest."""

    def __init__(self, worths: Numbers, present: Positions) -> None:
        self._worths = worths
        self._present = np.zeros(len(worths), np.bool_)
        self._present[present] = True
        self._order = np.argsort(worths, kind="stable")  # the entries of each worth, one after the other
        self._place = np.empty(len(worths), np.intp)
        self._place[self._order] = np.arange(len(worths))
        ordered = self._order[self._present[self._order]]
        ends = np.flatnonzero(np.append(worths[ordered][1:] != worths[ordered][:-1], True)) if len(ordered) else ordered
        self._lasts, self._counts = ordered[ends], np.diff(ends, prepend=-1)
        self._held = worths[self._lasts]
        self._turned: dict[int, tuple[int, int]] = {}  # by worth: how many count, and the latest of them
        few = 2 * SWEPT_MAX + 1
        keys = self._counts * len(worths) + self._lasts
        most = np.argpartition(-keys, few)[:few] if len(keys) > few else slice(None)
        self._heap = [(-count, -last) for count, last in zip(self._counts[most].tolist(), self._lasts[most].tolist(), strict=True)]
        heapify(self._heap)

    def add(self, entry: int) -> None:
        count, last = self._state(entry)
        self._present[entry] = True
        self._turn(entry, count + 1, max(last, entry))

    def remove(self, entry: int) -> None:
        count, last = self._state(entry)
        self._present[entry] = False
        if entry == last and count > 1:
            place = self._place[entry]
            while not self._present[self._order[place]]:
                place -= 1
            last = int(self._order[place])
        self._turn(entry, count - 1, last if count > 1 else -1)

    def entry(self) -> int:
        while self._heap:
            count, last = (-one for one in self._heap[0])
            if self._state(last) == (count, last):
                return int(last)
            heappop(self._heap)
        return -1

    def _turn(self, entry: int, count: int, last: int) -> None:
        self._turned[int(self._worths[entry])] = count, last
        if count:
            heappush(self._heap, (-count, -last))

    def _state(self, entry: int) -> tuple[int, int]:
        """Of the worth of this one."""
        worth = int(self._worths[entry])
        if worth not in self._turned:
            at = int(np.searchsorted(self._held, worth))
            known = at < len(self._held) and self._held[at] == worth
            self._turned[worth] = (int(self._counts[at]), int(self._lasts[at])) if known else (0, -1)
        return self._turned[worth]
