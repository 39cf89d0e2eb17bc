"""How changes of memberships are stored: what a round changed in one partition, of all audiences of an account."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

Locals = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Entry:
    """What one round changed of one audience in one partition, by local numbers. `ended`: the audience is evaluated no longer."""

    audience_id: int
    added: Locals
    dropped: Locals
    ended: bool = False


@dataclass(slots=True)
class Standing:
    """The members of an audience in a partition, as last told, and the round that last changed them."""

    round: int
    members: BitMap


Standings = dict[tuple[int, int], Standing]  # by (audience, partition)


def encode(entries: Iterable[Entry]) -> bytes:
    """The entries of a round and partition as bytes."""
    return msgspec.msgpack.encode(
        [(entry.audience_id, entry.added.astype("<u4").tobytes(), entry.dropped.astype("<u4").tobytes(), entry.ended) for entry in entries]
    )


def decode(payload: bytes) -> list[Entry]:
    """The reverse of `encode`."""
    rows = msgspec.msgpack.decode(payload, type=list[tuple[int, bytes, bytes, bool]])
    return [
        Entry(audience_id, np.frombuffer(added, "<u4").astype(np.uint32), np.frombuffer(dropped, "<u4").astype(np.uint32), ended)
        for audience_id, added, dropped, ended in rows
    ]


def replay(standings: Standings, partition: int, rounds: Sequence[tuple[int, bytes]]) -> set[tuple[int, int]]:
    """Bring the standings, by (audience, partition), up to date with the rounds of a partition, given in their order.

    Returns those that the rounds touched.
    """
    touched = set()
    for round_, payload in rounds:
        for entry in decode(payload):
            touched.add((entry.audience_id, partition))
            standing = standings.setdefault((entry.audience_id, partition), Standing(0, BitMap()))
            if round_ <= standing.round:
                continue  # folded already
            standing.round = round_
            if entry.ended:
                standing.members.clear()
                continue
            standing.members.difference_update(BitMap(entry.dropped))
            standing.members.update(entry.added)
    return touched
