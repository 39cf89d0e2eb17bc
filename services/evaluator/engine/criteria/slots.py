"""Which criteria something concerns."""

from collections.abc import Sequence

import numpy as np

from ..bits import PLACE_BITS
from ..facts import Ordinals
from ..keys import Keys, expand


class Slots:
    """For each key of a table the slots that it concerns."""

    def __init__(self, pairs: Sequence[tuple[int, int]], keys: int) -> None:
        """`pairs` of key and slot, in ascending order."""
        self._slots = np.array([slot for _, slot in pairs], np.int64)
        self._counts = np.bincount(np.array([key for key, _ in pairs], np.int64), minlength=keys)
        self._first = np.cumsum(self._counts) - self._counts

    def places(self, keys: np.ndarray, people: Ordinals) -> Keys:
        """Of each key with its person the places in all its slots."""
        event, at = expand(self._first[keys], self._counts[keys])
        return (self._slots[at] << PLACE_BITS) | people[event]
