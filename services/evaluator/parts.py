"""Changes of audiences, cut by partition: a busy round changes a thousand audiences in every partition, so all are cut at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from services.evaluator.engine.facts import Changes
from services.evaluator.journal import Entries
from services.evaluator.people import People

_MPID_BYTES = 8


class Part(NamedTuple):
    """Who entered and who left an audience in one partition, by MPID: packed int64, little-endian."""

    partition: int
    added: bytes
    dropped: bytes


@dataclass(frozen=True, slots=True)
class Parts:
    """The same changes by audience, in the order of the partitions, and by partition; only where something changed."""

    by_audience: Mapping[int, list[Part]] = field(default_factory=dict)
    by_partition: Mapping[int, Entries] = field(default_factory=dict)


def parts_of(people: People, changes: Mapping[int, Changes]) -> Parts:
    """The changes of each audience, cut."""
    if not changes:
        return Parts()
    audiences, partitions = np.array(list(changes), np.int64), people.partitions
    sides = [side for change in changes.values() for side in change]  # of each audience first who entered, then who left
    ordinals = np.concatenate(sides)
    side = np.repeat(np.arange(len(sides)), [len(some) for some in sides])
    place = ((side >> 1) * partitions + ordinals % partitions) * 2 + (side & 1)  # by audience, partition and side
    places = len(sides) * partitions
    order = np.argsort(place.astype(np.uint16) if places <= 1 << 16 else place, kind="stable")  # 16 bits are sorted by radix
    ordinals, place = ordinals[order], place[order]
    counts = np.bincount(place, minlength=places).reshape(len(audiences), partitions, 2)

    mpids = people.mpids(ordinals).astype("<i8", copy=False).tobytes()
    ends = [0, *accumulate((counts.ravel() * _MPID_BYTES).tolist())]
    by_audience: dict[int, list[Part]] = {audience_id: [] for audience_id in changes}
    held = np.flatnonzero(counts.any(axis=2))
    for at, audience_id, partition in zip(held.tolist(), audiences[held // partitions].tolist(), (held % partitions).tolist(), strict=True):
        start, middle, end = ends[2 * at : 2 * at + 3]
        by_audience[audience_id].append(Part(partition, mpids[start:middle], mpids[middle:end]))

    locals_ = people.locals_of(ordinals)[np.argsort((place % (2 * partitions)).astype(np.uint16), kind="stable")]
    ends = [0, *accumulate(counts.sum(axis=0).ravel().tolist())]
    by_partition: dict[int, Entries] = {}
    for partition in range(partitions):
        start, middle, end = ends[2 * partition : 2 * partition + 3]
        own = np.flatnonzero(counts[:, partition].any(axis=1))
        if len(own):
            added, dropped = counts[own, partition].T
            by_partition[partition] = Entries(audiences[own], added, dropped, locals_[start:middle], locals_[middle:end])
    return Parts(by_audience, by_partition)
