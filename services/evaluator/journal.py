"""How changes of memberships are stored: what a round changed in one partition, of all audiences of an account, by column."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

Locals = NDArray[np.uint32]

REPLAYED = 2_000_000  # so many changes are put together at a time: bounds the memory of a restart
_PERSON_BITS = 32


@dataclass(frozen=True, slots=True)
class Entries:
    """What one round changed in one partition: of each audience how many people, and all their local numbers in that order. `ended`: the
    audiences that are evaluated no longer, which have no changes."""

    audience_ids: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    added: NDArray[np.integer] = field(default_factory=lambda: np.empty(0, np.int64))
    dropped: NDArray[np.integer] = field(default_factory=lambda: np.empty(0, np.int64))
    added_locals: Locals = field(default_factory=lambda: np.empty(0, np.uint32))
    dropped_locals: Locals = field(default_factory=lambda: np.empty(0, np.uint32))
    ended: Sequence[int] = ()

    @property
    def audiences(self) -> list[int]:
        """All that the entries are about."""
        return [*self.ended, *self.audience_ids.tolist()]


@dataclass(slots=True)
class Standing:
    """The members of an audience in a partition, as last told, and the round that last changed them."""

    round: int
    members: BitMap


Standings = dict[tuple[int, int], Standing]  # by (audience, partition)


class _Columns(msgspec.Struct, array_like=True):
    """A payload: per entry the audience, how many were added and dropped, whether it ended; then all local numbers."""

    audience_ids: bytes
    added: bytes
    dropped: bytes
    ended: bytes
    added_locals: bytes
    dropped_locals: bytes


def bitmap_of(locals_: Locals) -> BitMap:
    """The numbers as a set. From an `array` it is made ten times as fast as from numpy's."""
    values = array("I")
    values.frombytes(locals_.astype(np.uint32, copy=False).tobytes())
    return BitMap(values)


def locals_of(members: BitMap) -> Locals:
    """The reverse of `bitmap_of`, ascending."""
    return np.frombuffer(members.to_array(), np.uint32)


def encode(entries: Entries) -> bytes:
    """The entries of a round and partition as bytes."""
    none = np.zeros(len(entries.ended), np.int64)
    return msgspec.msgpack.encode(
        _Columns(
            np.array(entries.audiences, "<i8").tobytes(),
            np.concatenate([none, entries.added]).astype("<u4").tobytes(),
            np.concatenate([none, entries.dropped]).astype("<u4").tobytes(),
            b"\1" * len(entries.ended) + bytes(len(entries.audience_ids)),
            entries.added_locals.astype("<u4").tobytes(),
            entries.dropped_locals.astype("<u4").tobytes(),
        )
    )


def replay(standings: Standings, partition: int, rounds: Sequence[tuple[int, bytes]]) -> set[tuple[int, int]]:
    """Bring the standings, by (audience, partition), up to date with the rounds of a partition, given in their order.

    Returns those that the rounds touched.
    """
    touched: set[tuple[int, int]] = set()
    pending = _Pending(standings, partition)
    for round_, payload in rounds:
        columns = msgspec.msgpack.decode(payload, type=_Columns)
        audience_ids = np.frombuffer(columns.audience_ids, "<i8")
        newer = np.ones(len(audience_ids), np.bool_)
        for place, audience_id in enumerate(audience_ids.tolist()):
            key = audience_id, partition
            touched.add(key)
            standing = standings.setdefault(key, Standing(0, BitMap()))
            newer[place] = round_ > standing.round  # else it is folded already
            standing.round = max(standing.round, round_)
        if any(columns.ended):
            pending.apply()
            for place in np.flatnonzero(np.frombuffer(columns.ended, np.uint8) & newer).tolist():
                standings[int(audience_ids[place]), partition].members.clear()
        pending.take(audience_ids, newer, columns)
    pending.apply()
    return touched


class _Pending:
    """Changes of one partition that are not in the standings yet; of a person's several changes the last one holds."""

    def __init__(self, standings: Standings, partition: int) -> None:
        self._standings = standings
        self._partition = partition
        self._numbers: dict[int, int] = {}  # of the audiences here
        self._keys: list[NDArray[np.int64]] = []  # audience's number << 32 | local number
        self._enters: list[NDArray[np.bool_]] = []
        self._held = 0

    def take(self, audience_ids: NDArray[np.int64], newer: NDArray[np.bool_], columns: _Columns) -> None:
        """One round. In one entry nobody is both added and dropped; an entry that ends an audience has nobody."""
        numbers = np.array([self._numbers.setdefault(one, len(self._numbers)) for one in audience_ids.tolist()], np.int64)
        for counts, locals_, enters in (
            (columns.added, columns.added_locals, True),
            (columns.dropped, columns.dropped_locals, False),
        ):
            each = np.frombuffer(counts, "<u4")
            keys = np.repeat(numbers, each) << _PERSON_BITS | np.frombuffer(locals_, "<u4").astype(np.int64)
            keys = keys[np.repeat(newer, each)]
            self._keys.append(keys)
            self._enters.append(np.full(len(keys), enters))
            self._held += len(keys)
        if self._held > REPLAYED:
            self.apply()

    def apply(self) -> None:
        """Into the standings."""
        if not self._held:
            return
        keys, enters = np.concatenate(self._keys), np.concatenate(self._enters)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        last = np.append(keys[1:] != keys[:-1], True)
        keys, enters = keys[last], enters[order][last]
        bounds = np.searchsorted(keys, np.arange(len(self._numbers) + 1) << _PERSON_BITS)
        locals_ = (keys & ((1 << _PERSON_BITS) - 1)).astype(np.uint32)
        for audience_id, number in self._numbers.items():
            part = slice(bounds[number], bounds[number + 1])
            if part.stop > part.start:
                members = self._standings[audience_id, self._partition].members
                members |= bitmap_of(locals_[part][enters[part]])
                members -= bitmap_of(locals_[part][~enters[part]])
        self._keys, self._enters, self._held = [], [], 0
        self._numbers.clear()
