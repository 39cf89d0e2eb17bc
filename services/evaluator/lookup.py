"""A table from 64-bit numbers to others: millions of entries in arrays, no Python object for any, and as many looked up at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Places = NDArray[np.int64]

_FREE, _HELD, _GONE = 0, 1, 2  # a place that was never held ends a search; one that somebody left does not
_FIRST_BITS = 10
_FULL = 0.6  # of all places, those that are not free
_STEP = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / the golden ratio: neighbours are spread far apart


class Lookup:
    """Each key is entered once, or again after it was removed. Whoever finds a place held by another looks at the next one."""

    def __init__(self, missing: int) -> None:
        """`missing`: what is found where nothing is."""
        self._missing = missing
        self._start(_FIRST_BITS)

    def __len__(self) -> int:
        return int(np.count_nonzero(self._states == _HELD))

    def find(self, keys: Numbers) -> Numbers:
        """What each key stands for."""
        found = np.full(len(keys), self._missing, np.int64)
        for which, at in self._search(keys):
            found[which] = self._values[at]
        return found

    def enter(self, keys: Numbers, values: Numbers) -> None:
        """Keys that are not in it."""
        if self._used + len(keys) > _FULL * len(self._keys):
            held = self._states == _HELD
            keys, values = np.concatenate([self._keys[held], keys]), np.concatenate([self._values[held], values])
            self._start(max(_FIRST_BITS, int(2 * len(keys) / _FULL).bit_length() - 1))
        self._used += len(keys)
        left, at = np.arange(len(keys)), self._places(keys)
        while len(left):
            free = self._states[at] == _FREE
            self._keys[at[free]] = keys[left[free]]  # of several who want one place, the last has it
            has = free & (self._keys[at] == keys[left])
            self._states[at[has]] = _HELD
            self._values[at[has]] = values[left[has]]
            left, at = left[~has], self._next(at[~has])

    def remove(self, keys: Numbers) -> None:
        """Those of these keys that are in it."""
        for _, at in self._search(keys):
            self._states[at] = _GONE

    def _search(self, keys: Numbers) -> Iterator[tuple[NDArray[np.intp], Places]]:
        """In several parts: which of the keys are found, and where."""
        left, at = np.arange(len(keys)), self._places(keys)
        while len(left):
            states = self._states[at]
            here = (self._keys[at] == keys[left]) & (states == _HELD)
            yield left[here], at[here]
            more = ~here & (states != _FREE)
            left, at = left[more], self._next(at[more])

    def _places(self, keys: Numbers) -> Places:
        """Where the search for each begins."""
        return (keys.view(np.uint64) * _STEP >> np.uint64(64 - self._bits)).astype(np.int64)

    def _next(self, at: Places) -> Places:
        return at + 1 & (1 << self._bits) - 1

    def _start(self, bits: int) -> None:
        self._bits = bits
        self._keys: Numbers = np.zeros(1 << bits, np.int64)
        self._values: Numbers = np.zeros(1 << bits, np.int64)
        self._states: NDArray[np.uint8] = np.zeros(1 << bits, np.uint8)
        self._used = 0  # places that are not free
