"""Roaring bitmaps are written by hand, for speed: the library must read in them what was meant, and write the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from services.evaluator.bitmaps import bitmap_of_bits


def check(numbers: list[int], size: int) -> None:
    bits = np.zeros(size, np.bool_)
    bits[numbers] = True
    found = bitmap_of_bits(np.packbits(bits, bitorder="little"))
    expected = BitMap(numbers)
    assert found == expected
    assert found.serialize() == expected.serialize()


@given(st.lists(st.integers(0, 200_000), max_size=50), st.integers(200_001, 300_000))
def test_the_numbers_are_those_whose_bits_are_set(numbers: list[int], size: int) -> None:
    check(numbers, size)


@pytest.mark.parametrize("held", [4_095, 4_096, 4_097, 65_536])
@pytest.mark.parametrize("first", [0, 65_536, 5 * 65_536])
def test_a_container_is_a_list_or_bits(held: int, first: int) -> None:
    step = 65_536 // held
    check([0, *range(first, first + held * step, step)], first + 65_536)


def test_nobody_is_in_a_row_without_bits() -> None:
    check([], 0)
    check([], 70_000)
