"""A sieve of keys (a Bloom filter): what it holds for not seen was never seen; of a thousand others it holds one for seen.

The bits of a key lie together in one line of the processor's cache: a look at a key costs one look at the memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.int64]

# Bits for a key, how many of them are set, and how many bits a line has (as a power of two).
_BITS_A_KEY = 16
_SET = 7
_LINE = 9


class Sieve:
    """Of keys that are 16 random bytes, such as sums. It takes `capacity` keys, or up to twice as many, in 2 bytes each."""

    def __init__(self, capacity: int) -> None:
        self._bits = 1 << max(_LINE + 1, (capacity * _BITS_A_KEY - 1).bit_length())
        self._table = np.zeros(self._bits // 8, np.uint8)
        self._capacity = self._bits // _BITS_A_KEY
        self.count = 0

    @property
    def is_full(self) -> bool:
        """Whether more keys would make it coarse."""
        return self.count >= self._capacity

    def places(self, keys: Sequence[bytes]) -> Places:
        """The bits of each key, a row for each, in this sieve and all of its capacity: one half of it tells the line, pieces of the other
        half the bits in it."""
        halves = np.frombuffer(b"".join(keys), "<u8").reshape(-1, 2)
        lines = (halves[:, :1] & np.uint64((self._bits >> _LINE) - 1)) << np.uint64(_LINE)
        bits = (halves[:, 1:] >> np.arange(0, _SET * _LINE, _LINE, dtype=np.uint64)) & np.uint64((1 << _LINE) - 1)
        return (lines | bits).astype(np.int64)

    def add(self, places: Places) -> None:
        """Have seen these."""
        np.bitwise_or.at(self._table, places >> 3, (1 << (places & 7)).astype(np.uint8))
        self.count += len(places)

    def holds(self, places: Places) -> NDArray[np.bool_]:
        """For each whether it may have been seen."""
        found: NDArray[np.bool_] = ((self._table[places >> 3] >> (places & 7).astype(np.uint8)) & 1).all(axis=1)
        return found
