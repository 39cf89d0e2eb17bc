"""A table from 64-bit numbers to others, in few sorted arrays that are merged by size: millions of entries, no Python object for any."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]

_GROWTH = 4  # a run that isn't this many times as long as the newer one is merged with it


class Lookup:
    """Each key is entered once, or again after it was removed."""

    def __init__(self, missing: int) -> None:
        """`missing`: what is found where nothing is."""
        self._missing = missing
        self._runs: list[tuple[Numbers, Numbers]] = []

    def __len__(self) -> int:
        return sum(len(keys) for keys, _ in self._runs)

    def find(self, keys: Numbers) -> Numbers:
        """What each key stands for."""
        found = np.full(len(keys), self._missing, np.int64)
        for own, values in self._runs:
            at = np.searchsorted(own, keys)
            at[at == len(own)] = 0
            hit = own[at] == keys
            found[hit] = values[at[hit]]
        return found

    def enter(self, keys: Numbers, values: Numbers) -> None:
        """Keys that are not in it."""
        if not len(keys):
            return
        order = np.argsort(keys)
        run = keys[order], values[order]
        while self._runs and len(self._runs[-1][0]) < _GROWTH * len(run[0]):
            older = self._runs.pop()
            keys, values = np.concatenate([older[0], run[0]]), np.concatenate([older[1], run[1]])
            order = np.argsort(keys, kind="stable")  # two sorted runs: merged in linear time
            run = keys[order], values[order]
        self._runs.append(run)

    def remove(self, keys: Numbers) -> None:
        """Those of these keys that are in it."""
        kept = []
        for own, values in self._runs:
            stays = ~np.isin(own, keys)
            if stays.any():
                kept.append((own, values) if stays.all() else (own[stays], values[stays]))
        self._runs = kept
