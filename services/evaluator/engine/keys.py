"""Sorted keys in runs: small arrays that are merged by size into larger ones, so that there are few (a log-structured merge)."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.int64]
Labels = NDArray[np.int32]
Positions = NDArray[np.intp]
Run = tuple[Keys, Labels]

GROWTH = 4  # a run that isn't this many times as long as the newer one is merged with it
BLOCK = 1 << 18  # a merge works on so many keys at a time: they stay in the processor's cache, and little memory is held twice


def expand(starts: NDArray[np.integer], counts: NDArray[np.integer]) -> tuple[Positions, Positions]:
    """The ranges `starts[i] .. starts[i] + counts[i]` laid end to end: for each element its range `i`, and its position."""
    owner = np.repeat(np.arange(len(counts)), counts)
    before = np.cumsum(counts) - counts
    return owner, np.arange(len(owner)) + (starts - before)[owner]


def sorted_unique(keys: Keys) -> Keys:
    keys = np.sort(keys)
    return keys[starts_of_groups(keys)]


def starts_of_groups(ordered: NDArray[np.integer]) -> Positions:
    """Where each group of equal neighbours begins."""
    if not len(ordered):
        return np.empty(0, np.intp)
    begins = np.empty(len(ordered), np.bool_)
    begins[0] = True
    np.not_equal(ordered[1:], ordered[:-1], out=begins[1:])
    return np.flatnonzero(begins)


class SortedRuns:
    """A multiset of 64-bit keys, each with a 32-bit label, in few sorted runs."""

    def __init__(self, *, in_order: bool = False) -> None:
        """`in_order`: of equal keys those that came first come first, in `ranges` and `between` run by run."""
        self._in_order = in_order
        self._runs: list[Run] = []

    def __len__(self) -> int:
        return sum(len(keys) for keys, _ in self._runs)

    @property
    def nbytes(self) -> int:
        return sum(keys.nbytes + labels.nbytes for keys, labels in self._runs)

    def add(self, keys: Keys, labels: Labels) -> None:
        if not len(keys):
            return
        newest = _sorted(keys, labels, in_order=self._in_order)
        while self._runs and len(self._runs[-1][0]) < GROWTH * len(newest[0]):
            newest = _merge(self._runs.pop(), newest)
        self._runs.append(newest)

    def ranges(self, lower: Keys, upper: Keys) -> Iterator[tuple[Positions, Keys, Labels]]:
        """Per run the keys with `lower[i] <= key < upper[i]`: for each its range `i`, the key, the label.

        Quickest when the bounds ascend.
        """
        bounds = np.stack([lower, upper], axis=1).ravel()
        for keys, labels in self._runs:
            at = np.searchsorted(keys, bounds)
            starts, counts = at[::2], np.maximum(at[1::2] - at[::2], 0)
            owner, position = expand(starts, counts)
            if len(owner):
                yield owner, keys[position], labels[position]

    def between(self, lower: int, upper: int) -> list[tuple[Keys, Labels]]:
        """The keys with `lower <= key < upper` and their labels: one pair per run, not copied."""
        found = []
        for keys, labels in self._runs:
            start, end = np.searchsorted(keys, [lower, upper])
            if end > start:
                found.append((keys[start:end], labels[start:end]))
        return found

    def drop_below(self, bits: int, least: int) -> int:
        """Forget the keys whose low `bits` are less than `least`, and say how many they were."""
        return self.keep(lambda keys, labels: (keys & ((1 << bits) - 1)) >= least)

    def keep(self, stays: Callable[[Keys, Labels], NDArray[np.bool_]]) -> int:
        """Forget all others, and say how many they were."""
        dropped = 0
        kept = []
        for keys, labels in self._runs:
            staying = stays(keys, labels)
            left = int(np.count_nonzero(staying))
            dropped += len(keys) - left
            if left == len(keys):
                kept.append((keys, labels))
            elif left:
                kept.append((keys[staying], labels[staying]))
        self._runs = kept
        return dropped

    def relabel(self, labels: Labels) -> None:
        """Every label becomes the one at its place."""
        self._runs = [(keys, labels[own]) for keys, own in self._runs]

    def shift(self, by: int) -> None:
        """Add `by` to every key."""
        self._runs = [(keys + by, labels) for keys, labels in self._runs]

    @property
    def runs(self) -> list[Run]:
        """The runs as they are now. Nobody writes to them, here neither."""
        return list(self._runs)

    def take_back(self, runs: Iterable[Run]) -> None:
        """Have these runs, and no others."""
        self._runs = [(keys, labels) for keys, labels in runs if len(keys)]  # a merge wants some


def _sorted(keys: Keys, labels: Labels, *, in_order: bool) -> tuple[Keys, Labels]:
    bits = int(labels.max()).bit_length()
    if in_order or int(keys.max()).bit_length() + bits > 63 or min(keys.min(), labels.min()) < 0:
        order = np.argsort(keys, kind="stable" if in_order else None)
        return keys[order], labels[order]
    both = keys << bits | labels  # sorting numbers is several times as quick as sorting places
    both.sort()
    return both >> bits, (both & (1 << bits) - 1).astype(np.int32)


def _merge(older: tuple[Keys, Labels], newer: tuple[Keys, Labels]) -> tuple[Keys, Labels]:
    old_keys, old_labels = older
    new_keys, new_labels = newer
    keys = np.empty(len(old_keys) + len(new_keys), np.int64)
    labels = np.empty(len(keys), np.int32)
    cuts = np.arange(0, len(old_keys), BLOCK)
    old_cuts = [*cuts.tolist(), len(old_keys)]
    new_cuts = [0, *np.searchsorted(new_keys, old_keys[cuts[1:]]).tolist(), len(new_keys)]
    for i in range(len(cuts)):
        old, new = slice(old_cuts[i], old_cuts[i + 1]), slice(new_cuts[i], new_cuts[i + 1])
        out = slice(old.start + new.start, old.stop + new.stop)
        both = np.concatenate([old_keys[old], new_keys[new]])
        order = np.argsort(both, kind="stable")  # of two sorted parts: one pass of merging
        np.take(both, order, out=keys[out])
        np.take(np.concatenate([old_labels[old], new_labels[new]]), order, out=labels[out])
    return keys, labels
