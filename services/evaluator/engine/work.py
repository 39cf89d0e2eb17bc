"""How much is looked at for each criterion: what it costs, counted and not timed, so that it is the same wherever it runs."""

import numpy as np
from numpy.typing import NDArray


class Work:
    """By slot: the people, and their events and values, that were looked at since the count was last taken."""

    def __init__(self) -> None:
        self._looked_at: NDArray[np.int64] = np.zeros(1024, np.int64)

    def count(self, slot: int, looked_at: int) -> None:
        if slot >= len(self._looked_at):
            self._grow(slot)
        self._looked_at[slot] += looked_at

    def count_each(self, slots: NDArray[np.int64], looked_at: NDArray[np.int64]) -> None:
        """So much for each of these; a slot may come more than once."""
        if len(slots):
            self._grow(int(slots.max()))
            counted = np.bincount(slots, looked_at)
            self._looked_at[: len(counted)] += counted.astype(np.int64)

    def take(self) -> NDArray[np.int64]:
        """By slot; the count begins anew."""
        taken, self._looked_at = self._looked_at, np.zeros_like(self._looked_at)
        return taken

    def forget(self, slot: int) -> None:
        """It is another criterion's from now on."""
        if slot < len(self._looked_at):
            self._looked_at[slot] = 0

    def _grow(self, slot: int) -> None:
        if slot >= len(self._looked_at):
            self._looked_at = np.concatenate([self._looked_at, np.zeros(max(slot + 1, 2 * len(self._looked_at)), np.int64)])
