"""A sieve of keys (a Bloom filter): what it has not seen it never holds for seen, and of a hundred that it holds for seen one was not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Bits for a key, and how many of them are set. (10 and 7: one of 120 is held for seen wrongly once the sieve is full.)
_BITS_A_KEY = 10
_SET = 7


class Sieve:
    """Of keys that are 16 random bytes, such as sums; a sieve takes `capacity` keys, in 10 bits each."""

    def __init__(self, capacity: int) -> None:
        self._bits = 1 << max(10, (capacity * _BITS_A_KEY - 1).bit_length())
        self._table = np.zeros(self._bits // 8, np.uint8)
        self._capacity = self._bits // _BITS_A_KEY
        self.count = 0

    @property
    def is_full(self) -> bool:
        """Whether more keys would make it coarse."""
        return self.count >= self._capacity

    def add(self, keys: Sequence[bytes]) -> None:
        """Have seen these."""
        if keys:
            places = self._places(keys)
            np.bitwise_or.at(self._table, places >> 3, (1 << (places & 7)).astype(np.uint8))
            self.count += len(keys)

    def holds(self, keys: Sequence[bytes]) -> NDArray[np.bool_]:
        """For each key whether it may have been seen."""
        if not keys:
            return np.zeros(0, np.bool_)
        places = self._places(keys)
        found: NDArray[np.bool_] = ((self._table[places >> 3] >> (places & 7).astype(np.uint8)) & 1).all(axis=1)
        return found

    def _places(self, keys: Sequence[bytes]) -> NDArray[np.int64]:
        """The bits of each key, a row for each: a walk whose beginning and step are the halves of the key."""
        halves = np.frombuffer(b"".join(keys), "<u8").reshape(-1, 2)
        with np.errstate(over="ignore"):
            walk = halves[:, :1] + np.arange(_SET, dtype=np.uint64) * (halves[:, 1:] | np.uint64(1))
        return (walk & np.uint64(self._bits - 1)).astype(np.int64)
