"""Variations of A/B tests: by the test and the MPID alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chassis.partition import partitions_of
from services.chassis.variations import CONTROL, variations_of

MPIDS = np.random.default_rng(7).integers(-(2**63), 2**63 - 1, 100_000)


def test_people_are_dealt_as_the_percentages_say() -> None:
    percentages = [30, 20, 5, 1, 4]
    found = variations_of(90, percentages, MPIDS)
    counts = [int(np.count_nonzero(found == place)) for place in [0, 1, 2, 3, 4, CONTROL]]
    expected = np.array([*percentages, 40]) / 100 * len(MPIDS)
    chi_square = float((((np.array(counts) - expected) ** 2) / expected).sum())
    assert chi_square < 20.5  # 5 degrees of freedom, one in a thousand


def test_what_was_dealt_stays_so() -> None:
    """These are in the hands of partners: another hash would move people."""
    dealt = variations_of(90, [50, 25], np.array([*range(1, 13), -4, 2**62, -(2**63)]))
    assert dealt.tolist() == [0, -1, 0, 1, 0, 1, 0, 1, 1, -1, 1, 0, 0, 0, 0]


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 2**40), st.integers(1, 2**40))
def test_two_tests_deal_independently(one: int, other: int) -> None:
    if one == other:
        return
    both = np.mean((variations_of(one, [50], MPIDS) == 0) & (variations_of(other, [50], MPIDS) == 0))
    assert abs(both - 0.25) < 0.01  # seven standard deviations


def test_a_variation_is_not_that_of_a_partition() -> None:
    partitions = partitions_of(90, MPIDS, 4)
    for partition in range(4):
        share = np.mean(variations_of(90, [50], MPIDS[partitions == partition]) == 0)
        assert abs(share - 0.5) < 0.02


@pytest.mark.parametrize(("percentages", "expected"), [([], {CONTROL}), ([100], {0}), ([50, 50], {0, 1})])
def test_edges(percentages: list[int], expected: set[int]) -> None:
    assert set(variations_of(1, percentages, MPIDS).tolist()) == expected
