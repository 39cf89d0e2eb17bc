"""Changes cut by partition."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.partition import partitions_of
from services.evaluator.engine.facts import Changes
from services.evaluator.journal import Entries
from services.evaluator.parts import parts_of
from services.evaluator.people import People

crowds = st.sets(st.integers(1, 60), max_size=30)


@given(st.dictionaries(st.integers(1, 9), st.tuples(crowds, crowds), max_size=4), st.integers(1, 9))
def test_the_parts_of_all_audiences_hold_exactly_what_changed(told: dict[int, tuple[set[int], set[int]]], partitions: int) -> None:
    people = People(5, partitions)
    people.take(np.arange(1, 61))
    changes = {
        audience: Changes(*(np.sort(people.find(np.array(sorted(some), np.int64))) for some in (entered, left - entered)))
        for audience, (entered, left) in told.items()
    }
    found = parts_of(people, changes)
    assert found.by_audience.keys() == changes.keys()
    for audience, (entered, left) in told.items():
        parts = found.by_audience[audience]
        assert [part.partition for part in parts] == sorted({part.partition for part in parts})
        assert sorted(mpid for part in parts for mpid in mpids_in(part.added)) == sorted(entered)
        assert sorted(mpid for part in parts for mpid in mpids_in(part.dropped)) == sorted(left - entered)
        for part in parts:
            assert part.added or part.dropped
            assert set(partitions_of(5, np.array(mpids_in(part.added + part.dropped)), partitions)) == {part.partition}
    by_partition: dict[int, dict[int, tuple[list[int], list[int]]]] = {}
    for audience, parts in found.by_audience.items():
        for part in parts:
            by_partition.setdefault(part.partition, {})[audience] = (mpids_in(part.added), mpids_in(part.dropped))
    assert {partition: changed_in(people, partition, entries) for partition, entries in found.by_partition.items()} == by_partition


def mpids_in(packed: bytes) -> list[int]:
    mpids: list[int] = np.frombuffer(packed, "<i8").tolist()
    return mpids


def changed_in(people: People, partition: int, entries: Entries) -> dict[int, tuple[list[int], list[int]]]:
    """By audience: who entered and who left."""
    sides = []
    for counts, locals_ in ((entries.added, entries.added_locals), (entries.dropped, entries.dropped_locals)):
        mpids = people.mpids(people.ordinals_of(partition, locals_))
        sides.append([part.tolist() for part in np.split(mpids, np.cumsum(counts)[:-1])])
        assert sum(counts) == len(locals_)
    return dict(zip(entries.audience_ids.tolist(), zip(*sides, strict=True), strict=True))
