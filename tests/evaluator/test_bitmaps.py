"""Roaring bitmaps are written by hand, for speed: the library must read in them what was meant, and write the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from muster.definition.v1 import audience_pb2, definition_pb2
from pyroaring import BitMap

from services.evaluator.bitmaps import bitmap_of_bits
from services.evaluator.engine import compile_definition
from services.evaluator.population import Population


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


@pytest.mark.parametrize("members", [0, 1, 40, 60, 100, 3_000])
def test_the_members_in_a_partition_are_the_same_by_numbers_and_by_bits(members: int) -> None:
    population = Population(7, 3, 0)
    ordinals, _ = population.people.take(np.arange(1, 3_001))
    chosen = np.sort(np.random.default_rng(members).choice(ordinals, members, replace=False))
    population.engine.add_activity(1, chosen)
    everyone = definition_pb2.Definition(root=definition_pb2.Node(everyone=definition_pb2.Everyone()))
    compiled = compile_definition(everyone, workspaces={1: [1]}, workspace_ids=[1], look_back_ms=86_400_000)
    population.engine.activate(9, compiled)
    population.audiences[9] = audience_pb2.Audience(audience_id=9)
    expected = {part: BitMap(population.people.locals_of(chosen[chosen % 3 == part]).tolist()) for part in range(3)}
    assert population.members_by_partition(9, range(3)) == expected
