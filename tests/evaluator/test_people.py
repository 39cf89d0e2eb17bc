"""Ordinals: dense numbers by partition, there and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.partition import partition_of
from services.evaluator.engine.bits import row_of
from services.evaluator.lookup import Lookup
from services.evaluator.people import UNKNOWN, People

mpids_lists = st.lists(st.lists(st.integers(-(2**63), 2**63 - 1).filter(bool), max_size=30), max_size=8)


@given(mpids_lists, st.integers(1, 9))
def test_everyone_keeps_one_ordinal_and_can_be_found_by_it(arrivals: list[list[int]], partitions: int) -> None:
    people = People(5, partitions)
    known: dict[int, int] = {}
    for arrival in arrivals:
        ordinals, _ = people.take(np.array(arrival, np.int64))
        for mpid, ordinal in zip(arrival, ordinals.tolist(), strict=True):
            assert known.setdefault(mpid, ordinal) == ordinal
            assert ordinal % partitions == partition_of(5, mpid, partitions)
    assert len(set(known.values())) == len(known) == len(people)
    everyone = np.array(list(known), np.int64)
    assert people.mpids(people.find(everyone)).tolist() == everyone.tolist()


@given(mpids_lists)
def test_stored_pages_bring_back_the_same_ordinals(arrivals: list[list[int]]) -> None:
    before, pages = People(5, 3), []
    for arrival in arrivals:
        pages += before.take(np.array(arrival, np.int64))[1]
    after = People(5, 3)
    for page in pages:
        after.load(page)
    everyone = np.array([mpid for arrival in arrivals for mpid in arrival], np.int64)
    assert after.find(everyone).tolist() == before.find(everyone).tolist()


mpids_sets = st.sets(st.integers(-(2**63), 2**63 - 1))


@given(mpids_sets, mpids_sets, st.data())
def test_who_is_removed_is_found_no_more_and_all_others_are(first: set[int], then: set[int], data: st.DataObject) -> None:
    lookup = Lookup(UNKNOWN)
    known: dict[int, int] = {}
    for turn, some in enumerate((first, then, first)):
        new = np.array(sorted(some - known.keys()), np.int64)
        lookup.enter(new, new // 3 + turn)
        known |= {key: key // 3 + turn for key in new.tolist()}
        gone = data.draw(st.sets(st.sampled_from(sorted(known)))) if known else set()
        lookup.remove(np.array(sorted(gone), np.int64))
        known = {key: value for key, value in known.items() if key not in gone}
    asked = sorted({*first, *then, 0})
    assert lookup.find(np.array(asked, np.int64)).tolist() == [known.get(key, UNKNOWN) for key in asked]
    assert len(lookup) == len(known)


def test_a_stranger_has_no_ordinal() -> None:
    people = People(5, 3)
    people.take(np.array([11, 12], np.int64))
    assert people.find(np.array([12, 13], np.int64)).tolist()[1] == UNKNOWN


def test_ordinals_of_a_partition_are_stored_by_their_local_numbers() -> None:
    people = People(5, 4)
    ordinals, _ = people.take(np.arange(1, 200, dtype=np.int64))
    parts = dict(people.by_partition(ordinals))
    assert sum(len(part) for part in parts.values()) == 199
    for partition, part in parts.items():
        assert people.ordinals_of(partition, people.locals_of(part)).tolist() == part.tolist()
        assert sorted(people.locals_of(part).tolist()) == list(range(len(part)))


@pytest.mark.parametrize("partitions", [1, 3, 8])
def test_bits_by_ordinal_are_cut_into_bits_by_local_number(partitions: int) -> None:
    people = People(5, partitions)
    ordinals, _ = people.take(np.arange(1, 200, dtype=np.int64))
    chosen = np.sort(ordinals[::3])
    rows = people.bits_by_partition(row_of(chosen, 64))
    numbers = {p: people.locals_of(chosen[chosen % partitions == p]) for p in range(partitions)}
    again = people.row_of(numbers)
    assert np.flatnonzero(np.unpackbits(again, bitorder="little")).tolist() == chosen.tolist()
    assert len(people.row_of({})) == len(people.row_of({0: numbers[0][:0]})) == 0
    for partition in range(partitions):
        own = chosen[chosen % partitions == partition]
        assert np.flatnonzero(np.unpackbits(rows[partition], bitorder="little")).tolist() == people.locals_of(own).tolist()
