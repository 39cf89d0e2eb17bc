"""The most frequent values of an attribute, and about how many there are, in a few kilobytes, however many come.

Counts are those of Space-Saving (Metwally, Agrawal and El Abbadi, 2005), merged as Cafaro, Pulimeno and Tempesta (2016) do it: a count is
never too low, and by at most its error too high. Numbers of different things are those of HyperLogLog (Flajolet and others, 2007).

A value is written down only once several people share it: until then it is known by a hash alone. Of people nothing is kept but in which of
32 groups they fall, so no person can be found in a sketch and none needs to be taken out of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

TRACKED = 200
KEPT = 50
PEOPLE_MIN = 3
DIFFERENT_MIN = 100
"""Up to so many different values an attribute is never withheld: too little is known of it."""

_REGISTERS = 256
_ALPHA = 0.7213 / (1 + 1.079 / _REGISTERS)

Hashes = NDArray[np.uint64]
Registers = NDArray[np.uint8]


def hash_of(text: str) -> int:
    """The same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def mixed(numbers: Hashes) -> Hashes:
    """Numbers of which every bit depends on every bit of what was given (the finalizer of SplitMix64)."""
    with np.errstate(over="ignore"):
        numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return numbers ^ (numbers >> np.uint64(31))


def registers_of(hashes: Hashes) -> Registers:
    """What HyperLogLog keeps of these; that of two sets together is the greater of each register."""
    registers = np.zeros(_REGISTERS, np.uint8)
    rest = hashes >> np.uint64(8)
    # The exponent is the number of bits, so this is how many zeros lead the 56 bits, and one more.
    ranks = (57 - np.frexp(rest.astype(np.float64))[1]).clip(1, 57).astype(np.uint8)
    np.maximum.at(registers, (hashes & np.uint64(_REGISTERS - 1)).astype(np.intp), ranks)
    return registers


def estimate(registers: Registers) -> int:
    """About how many different ones there were: 6.5% off as a rule, less where they are few."""
    raw = _ALPHA * _REGISTERS**2 / float(np.sum(np.exp2(-registers.astype(np.float64))))
    empty = int(np.count_nonzero(registers == 0))
    if raw <= 2.5 * _REGISTERS and empty:
        return round(_REGISTERS * float(np.log(_REGISTERS / empty)))
    return round(raw)


@dataclass(slots=True)
class Told:
    """Different values that came together: how often each, and the groups of the people with it, a bit each."""

    texts: Sequence[str]
    hashes: Hashes
    counts: NDArray[np.int64]
    people: NDArray[np.uint32]
    pairs: Registers  # of values and people together

    @classmethod
    def of(cls, texts: Sequence[str], places: NDArray[np.intp], mpids: NDArray[np.int64]) -> Told:
        """`texts` are different; the i-th telling is that of the value at `places[i]`, by the person `mpids[i]`."""
        hashes = np.fromiter(map(hash_of, texts), np.uint64, len(texts))
        people = mixed(mpids.view(np.uint64))
        groups = np.zeros(len(texts), np.uint32)
        np.bitwise_or.at(groups, places, (np.uint64(1) << (people & np.uint64(31))).astype(np.uint32))
        pairs = registers_of(mixed(hashes[places] ^ mixed(people)))
        return cls(texts, hashes, np.bincount(places, minlength=len(texts)).astype(np.int64), groups, pairs)


@dataclass(slots=True)
class Tracked:
    """A value that is counted. `text` is empty until several people have shared it."""

    count: int
    error: int
    people: int
    text: str = ""

    @property
    def is_shared(self) -> bool:
        """As far as is known: people of one group count as one."""
        return self.people.bit_count() >= PEOPLE_MIN


def _nothing() -> Registers:
    return np.zeros(_REGISTERS, np.uint8)


@dataclass(slots=True)
class ValueSketch:
    """Of one attribute. `tracked` is by hash."""

    tracked: dict[int, Tracked] = field(default_factory=dict)
    values: Registers = field(default_factory=_nothing)
    pairs: Registers = field(default_factory=_nothing)

    @property
    def different(self) -> int:
        """About how many different values came."""
        return estimate(self.values)

    @property
    def is_withheld(self) -> bool:
        """Whether nearly every person has a value of their own, as of e-mail addresses: fewer than two people a value."""
        different = self.different
        return different > DIFFERENT_MIN and 2 * different > estimate(self.pairs)

    @property
    def shared(self) -> list[Tracked]:
        """At most 50, the most frequent first."""
        known = (one for one in self.tracked.values() if one.is_shared and one.text)
        return sorted(known, key=lambda one: (-one.count, one.error, one.text))[:KEPT]

    def tell(self, told: Told) -> None:
        """Count these too."""
        self.values = np.maximum(self.values, registers_of(mixed(told.hashes)))
        self.pairs = np.maximum(self.pairs, told.pairs)
        if self.is_withheld:
            self.tracked.clear()
            return
        # One that is not tracked came at most as often as the least one that is.
        floor = self._floor
        new = np.ones(len(told.texts), np.bool_)
        places = {number: place for place, number in enumerate(told.hashes.tolist())}
        for number, one in self.tracked.items():
            place = places.get(number)
            if place is not None:
                new[place] = False
                one.count += int(told.counts[place])
                self._name(one, told, place)
        found = np.flatnonzero(new)
        if len(found) > TRACKED:
            found = found[np.argpartition(-told.counts[found], TRACKED)[:TRACKED]]
        for place in found.tolist():
            one = Tracked(int(told.counts[place]) + floor, floor, 0)
            self._name(one, told, place)
            self.tracked[int(told.hashes[place])] = one
        self._cut()

    def merged(self, other: ValueSketch) -> ValueSketch:
        """Of what both were told."""
        both = ValueSketch(values=np.maximum(self.values, other.values), pairs=np.maximum(self.pairs, other.pairs))
        if both.is_withheld:
            return both
        for number in self.tracked.keys() | other.tracked.keys():
            mine, others = self.tracked.get(number), other.tracked.get(number)
            one = Tracked(0, 0, 0)
            for sketch, part in ((self, mine), (other, others)):
                one.count += part.count if part else sketch._floor
                one.error += part.error if part else sketch._floor
                one.people |= part.people if part else 0
                one.text = one.text or (part.text if part else "")
            both.tracked[number] = one
        both._cut()
        return both

    @property
    def _floor(self) -> int:
        return min(one.count for one in self.tracked.values()) if len(self.tracked) >= TRACKED else 0

    def _name(self, one: Tracked, told: Told, place: int) -> None:
        one.people |= int(told.people[place])
        if one.is_shared:
            one.text = told.texts[place]

    def _cut(self) -> None:
        if len(self.tracked) > TRACKED:
            best = sorted(self.tracked.items(), key=lambda item: (-item[1].count, item[1].error, item[0]))
            self.tracked = dict(best[:TRACKED])

    @classmethod
    def all_of(cls, kept: Iterable[bytes]) -> ValueSketch:
        """Of all of these together; without any, of nothing."""
        return reduce(lambda both, one: both.merged(one), map(cls.from_bytes, kept), cls())

    def to_bytes(self) -> bytes:
        """To be kept; `from_bytes` reads it."""
        tracked = [(number, one.count, one.error, one.people, one.text) for number, one in self.tracked.items()]
        return msgspec.msgpack.encode((tracked, self.values.tobytes(), self.pairs.tobytes()))

    @classmethod
    def from_bytes(cls, kept: bytes) -> ValueSketch:
        tracked, values, pairs = msgspec.msgpack.decode(kept, type=_Kept)
        return cls({number: Tracked(*one) for number, *one in tracked}, np.frombuffer(values, np.uint8), np.frombuffer(pairs, np.uint8))


_Kept = tuple[list[tuple[int, int, int, int, str]], bytes, bytes]


def different(values: Sequence[Any]) -> tuple[list[Any], NDArray[np.intp]]:
    """The different ones of these in the order in which they come first, and for each of these its place among them."""
    index: dict[Any, int] = {}
    places = [index.setdefault(value, len(index)) for value in values]
    return list(index), np.array(places, np.intp)
