"""Sets of people as rows of bits, one bit a person; a place in them is `slot << 32 | ordinal`."""

import numpy as np
from numpy.typing import NDArray

from .facts import Ordinals
from .keys import Keys, starts_of_groups

Row = NDArray[np.uint8]

PLACE_BITS = 32
PLACE_MASK = (1 << PLACE_BITS) - 1
FIRST_PEOPLE = 1024
ROWS = 8192  # how many the table has room for from the start, if that is no more than
DENSE = 16  # with people in one of so many words, the whole row is unpacked: quicker than picking the words
RESERVED = 1 << 31  # so many bytes of address space: pages that nobody wrote to cost no memory


def place(slot: int, ordinals: Ordinals) -> Keys:
    return (slot << PLACE_BITS) | ordinals


def ordinals_of(row: Row) -> Ordinals:
    """Ascending."""
    words = row.view(np.uint64)
    held = np.flatnonzero(words)
    if len(held) * DENSE > len(words):
        return np.flatnonzero(np.unpackbits(row, bitorder="little").view(np.bool_))
    at = np.flatnonzero(np.unpackbits(words[held].view(np.uint8), bitorder="little").view(np.bool_))
    ordinals: Ordinals = (held[at >> 6] << 6) + (at & 63)
    return ordinals


def row_of(ordinals: Ordinals, width: int) -> Row:
    """A row of `width` bytes that holds these people; repeats are harmless."""
    chosen = np.zeros(width * 8, np.bool_)
    chosen[ordinals] = True
    return np.packbits(chosen, bitorder="little")


def count(row: Row) -> int:
    return int(np.bitwise_count(row.view(np.uint64)).sum())


class BitRows:
    """A table of bits: a row per set (slot), a column per person. It grows both ways; what is new is 0. Slot 0 is the empty set, always."""

    def __init__(self) -> None:
        self._table = np.zeros((ROWS, FIRST_PEOPLE // 8), np.uint8)
        self._free: list[int] = []
        self._used = 1

    @property
    def people(self) -> int:
        """For how many people a row has room."""
        return self._table.shape[1] * 8

    @property
    def width(self) -> int:
        return self._table.shape[1]

    @property
    def nbytes(self) -> int:
        return self._used * self.width

    def new(self) -> int:
        if self._free:
            return self._free.pop()
        if self._used == len(self._table):
            self._resize(2 * self._used, self.width)
        self._used += 1
        return self._used - 1

    def free(self, slot: int) -> None:
        self._table[slot] = 0
        self._free.append(slot)

    def make_room(self, people: int) -> None:
        if people > self.people:
            people = max(people, self.people * 5 // 4)
            width = -(-people // 512) * 64
            self._resize(max(self._used, min(ROWS, RESERVED // width)), width)

    def row(self, slot: int) -> Row:
        """The set itself: writing to it changes the set. Only good until the table grows."""
        row: Row = self._table[slot]
        return row

    def get(self, slots: NDArray[np.int64] | int, ordinals: Ordinals) -> NDArray[np.uint8]:
        """0 or 1 for each ordinal, in the one set or in one set each."""
        found: NDArray[np.uint8] = self._table.reshape(-1)[slots * self.width + (ordinals >> 3)]
        found >>= (ordinals & 7).astype(np.uint8)
        found &= np.uint8(1)
        return found

    def flip(self, places: Keys) -> None:
        """Turn each of these bits; the places ascend and none comes twice."""
        ordinals = places & PLACE_MASK
        at = (places >> PLACE_BITS) * self.width
        at += ordinals >> 3
        bit = np.left_shift(np.uint8(1), (ordinals & 7).astype(np.uint8))
        starts = starts_of_groups(at)
        if len(starts):
            self._table.reshape(-1)[at[starts]] ^= np.bitwise_xor.reduceat(bit, starts)

    def _resize(self, rows: int, width: int) -> None:
        table = np.zeros((rows, width), np.uint8)
        table[: self._used, : self.width] = self._table[: self._used]
        self._table = table
