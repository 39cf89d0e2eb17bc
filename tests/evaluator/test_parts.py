"""Changes cut by partition."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.evaluator.engine.facts import Changes
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
    assert found.keys() == changes.keys()
    for audience, (entered, left) in told.items():
        parts = found[audience]
        assert [part.partition for part in parts] == sorted({part.partition for part in parts})
        assert sorted(mpid for part in parts for mpid in part.added_mpids.tolist()) == sorted(entered)
        assert sorted(mpid for part in parts for mpid in part.dropped_mpids.tolist()) == sorted(left - entered)
        for part in parts:
            assert len(part.added) + len(part.dropped) > 0
            for locals_, mpids in ((part.added, part.added_mpids), (part.dropped, part.dropped_mpids)):
                assert people.mpids(people.ordinals_of(part.partition, locals_)).tolist() == mpids.tolist()
