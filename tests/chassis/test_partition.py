from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.partition import partition_of, partitions_of

int64 = st.integers(-(2**63), 2**63 - 1)


def test_the_partition_of_a_person_never_changes() -> None:
    """Stored data and subjects depend on these very numbers."""
    people = [1, -1, 2**63 - 1, -(2**63), 1234567890123456789]
    assert [partition_of(1, mpid, 8) for mpid in people] == [6, 2, 5, 6, 2]
    assert [partition_of(2, mpid, 1000) for mpid in people] == [605, 925, 910, 330, 349]


@given(account_id=st.integers(0, 2**63 - 1), mpids=st.lists(int64, max_size=20), partitions=st.integers(1, 4096))
def test_many_at_once_are_divided_as_one_by_one(account_id: int, mpids: list[int], partitions: int) -> None:
    one_by_one = [partition_of(account_id, mpid, partitions) for mpid in mpids]
    assert partitions_of(account_id, np.array(mpids, dtype=np.int64), partitions).tolist() == one_by_one
    assert all(0 <= partition < partitions for partition in one_by_one)


def test_people_with_neighbouring_numbers_are_divided_evenly() -> None:
    counts = np.bincount(partitions_of(7, np.arange(80_000, dtype=np.int64), 8), minlength=8)
    assert counts.min() > 9_500
    assert counts.max() < 10_500
