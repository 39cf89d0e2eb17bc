"""Changes of audiences, cut by partition: a busy round changes a thousand audiences in every partition, so all are cut at once."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from services.evaluator.engine.facts import Changes
from services.evaluator.journal import Locals
from services.evaluator.people import Mpids, People


class Part(NamedTuple):
    """Who entered and who left an audience in one partition: by local numbers, and the same people by MPID."""

    partition: int
    added: Locals
    dropped: Locals
    added_mpids: Mpids
    dropped_mpids: Mpids


def parts_of(people: People, changes: Mapping[int, Changes]) -> dict[int, list[Part]]:
    """By audience: the partitions in which something changed, ascending."""
    if not changes:
        return {}
    sides = [side for change in changes.values() for side in change]  # of each audience first who entered, then who left
    ordinals = np.concatenate(sides)
    side = np.repeat(np.arange(len(sides)), [len(some) for some in sides])
    partitions = people.partitions
    place = side * partitions + ordinals % partitions
    fits = len(sides) * partitions <= 1 << 16
    order = np.argsort(place.astype(np.uint16) if fits else place, kind="stable")  # 16 bits are sorted by radix
    ordinals = ordinals[order]
    locals_, mpids = people.locals_of(ordinals), people.mpids(ordinals)
    ends = [0, *accumulate(np.bincount(place, minlength=len(sides) * partitions).tolist())]
    parts: dict[int, list[Part]] = {}
    for number, audience_id in enumerate(changes):
        parts[audience_id] = []
        for partition in range(partitions):
            entered, left = 2 * number * partitions + partition, (2 * number + 1) * partitions + partition
            a, b, c, d = ends[entered], ends[entered + 1], ends[left], ends[left + 1]
            if b > a or d > c:
                parts[audience_id].append(Part(partition, locals_[a:b], locals_[c:d], mpids[a:b], mpids[c:d]))
    return parts
