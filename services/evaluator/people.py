"""Who has which ordinal. The engine knows people by dense numbers, the rest of the world by MPID.

A person's ordinal is made of a partition and a number in it: `ordinal = local * partitions + partition`. The local number is
what is stored, so a partition can be read back by itself and ordinals need no table of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.chassis.partition import partitions_of
from services.evaluator.bitmaps import CONTAINER_BYTES
from services.evaluator.lookup import Lookup

Ordinals = NDArray[np.int64]
Mpids = NDArray[np.int64]

UNKNOWN = -1
RETIRED = 0  # stands in the place of an MPID that is nobody's any more; no person has it


@dataclass(frozen=True, slots=True)
class Page:
    """People new to a partition, in the order of their local numbers from `first_local` on. RETIRED: nobody, any more."""

    partition: int
    first_local: int
    mpids: Mpids


class People:
    """The people of one account in this process."""

    def __init__(self, account_id: int, partitions: int) -> None:
        self._account_id = account_id
        self.partitions = partitions
        self._locals = np.zeros(partitions, np.int64)  # how many numbers each partition has given
        self._mpids: Mpids = np.zeros(1024, np.int64)  # by ordinal; 0 where nobody is, or is any more
        self._ordinals = Lookup(UNKNOWN)
        self._retired: Ordinals = np.empty(0, np.int64)  # whose MPIDs are known for a last time

    def __len__(self) -> int:
        return len(self._ordinals)

    def load(self, page: Page) -> Ordinals:
        """Take a stored page back; returns the ordinals of its people."""
        ordinals: Ordinals = (page.first_local + np.arange(len(page.mpids), dtype=np.int64)) * self.partitions + page.partition
        self._locals[page.partition] = max(self._locals[page.partition], page.first_local + len(page.mpids))
        there = page.mpids != RETIRED
        mpids, ordinals = page.mpids[there], ordinals[there]
        self._enter(mpids, ordinals)
        return ordinals

    def find(self, mpids: Mpids) -> Ordinals:
        """The ordinal of each MPID, UNKNOWN where there is none."""
        return self._ordinals.find(mpids)

    def retire(self, mpids: Mpids) -> Ordinals:
        """These people are known no longer, and their ordinals are nobody's for good; returns those. Until `forget_retired`, `mpids` still
        tells who they were."""
        found = self.find(mpids)
        ordinals: Ordinals = found[found != UNKNOWN]
        self._ordinals.remove(mpids)
        self._retired = np.append(self._retired, ordinals)
        return ordinals

    def forget_retired(self) -> None:
        """Nobody needs to be told of them any more."""
        self._mpids[self._retired] = RETIRED
        self._retired = self._retired[:0]

    def take(self, mpids: Mpids) -> tuple[Ordinals, list[Page]]:
        """The ordinal of each MPID; people seen for the first time get one. Returns also the pages to store."""
        found = self.find(mpids)
        missing = found == UNKNOWN
        if not missing.any():
            return found, []
        new = np.unique(mpids[missing])
        pages = []
        partitions = partitions_of(self._account_id, new, self.partitions)
        for partition in np.unique(partitions):
            page = Page(int(partition), int(self._locals[partition]), new[partitions == partition])
            self.load(page)
            pages.append(page)
        found[missing] = self.find(mpids[missing])
        return found, pages

    def mpids(self, ordinals: Ordinals) -> Mpids:
        """The MPIDs of ordinals."""
        return self._mpids[ordinals]

    def kept(self) -> dict[int, Mpids]:
        """A copy of the MPIDs of each partition that has people, in the order of their local numbers; RETIRED: nobody, any more."""
        given = enumerate(self._locals.tolist())
        return {p: self._mpids[p : locals_ * self.partitions : self.partitions].copy() for p, locals_ in given if locals_}

    def by_partition(self, ordinals: Ordinals) -> Iterator[tuple[int, Ordinals]]:
        """The ordinals of each partition that has some."""
        partitions = (ordinals % self.partitions).astype(np.uint16)  # 16 bits are sorted by radix
        order = np.argsort(partitions, kind="stable")
        bounds = np.searchsorted(partitions[order], np.arange(self.partitions + 1))
        for partition in range(self.partitions):
            part = ordinals[order[bounds[partition] : bounds[partition + 1]]]
            if len(part):
                yield partition, part

    def bits_by_partition(self, row: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A row of bits by ordinal as one row for each partition, by local number; as long as whole containers of a Roaring bitmap."""
        width = 8 * CONTAINER_BYTES * self.partitions
        bits = np.zeros(-(-8 * len(row) // width) * width, np.uint8)
        bits[: 8 * len(row)] = np.unpackbits(row, bitorder="little")
        return np.packbits(np.ascontiguousarray(bits.reshape(-1, self.partitions).T), axis=1, bitorder="little")

    def row_of(self, members: Mapping[int, NDArray[np.uint32]]) -> NDArray[np.uint8]:
        """The reverse of `bits_by_partition`, from the local numbers in each partition, which ascend."""
        numbers = max((int(own[-1]) + 1 for own in members.values() if len(own)), default=0)
        bits = np.zeros((numbers, self.partitions), np.bool_)
        for partition, own in members.items():
            bits[own, partition] = True
        return np.packbits(bits, bitorder="little")

    def locals_of(self, ordinals: Ordinals) -> NDArray[np.uint32]:
        """The local numbers of ordinals of one partition: what is stored of a membership."""
        return (ordinals // self.partitions).astype(np.uint32)

    def ordinals_of(self, partition: int, local_numbers: NDArray[np.integer]) -> Ordinals:
        """The reverse of `locals_of`."""
        return local_numbers.astype(np.int64) * self.partitions + partition

    def _enter(self, mpids: Mpids, ordinals: Ordinals) -> None:
        if not len(mpids):
            return
        top = int(ordinals.max()) + 1
        if top > len(self._mpids):
            grown = np.zeros(max(top, 2 * len(self._mpids)), np.int64)
            grown[: len(self._mpids)] = self._mpids
            self._mpids = grown
        self._mpids[ordinals] = mpids
        self._ordinals.enter(mpids, ordinals)
