"""Membership messages are written by hand, for speed: they must read as the contract has them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from muster.definition.v1 import audience_pb2
from muster.evaluator.v1 import facts_pb2

from services.evaluator import facts
from services.evaluator.engine.facts import Changes
from services.evaluator.parts import Parts
from services.evaluator.population import Population, Turn

PARTITIONS = 3
MPIDS = np.array([-(2**63), 2**63 - 1, -1, 1, *range(10, 300)], np.int64)


def population_of(rounds: dict[tuple[int, int], int]) -> Population:
    population = Population(7, PARTITIONS, 0)
    population.people.take(MPIDS)
    population.rounds.update(rounds)
    population.audiences[1] = audience_pb2.Audience(audience_id=1, revision=2**40)
    return population


@pytest.mark.parametrize("most", [100_000, 7])
@settings(max_examples=60, deadline=None)
@given(
    entered=st.lists(st.sampled_from(range(len(MPIDS))), unique=True),
    left=st.lists(st.sampled_from(range(len(MPIDS))), unique=True),
    numbers=st.lists(st.integers(0, 2**62), min_size=5, max_size=5),
)
def test_a_message_reads_as_what_was_meant(entered: list[int], left: list[int], numbers: list[int], most: int) -> None:
    (*rounds, as_of, received), audience = numbers, 1
    before = {(audience, partition): number // 2 for partition, number in enumerate(rounds)}
    population = population_of(before)
    sides = [np.sort(population.people.find(MPIDS[sorted(side)])) for side in (entered, set(left) - set(entered))]
    turn = Turn(changes={audience: Changes(*sides)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(facts, "PIECE_CHANGES", most)
        messages = list(facts.membership_messages(population, turn, population.parts(turn), dict(enumerate(rounds)), as_of, received))
    assert len({message.message_id for message in messages}) == len(messages)
    read = [facts_pb2.MembershipChanges.FromString(message.payload) for message in messages]
    assert {(one.account_id, one.audience_id, one.as_of_ms, one.revision, one.ended) for one in read} == {(7, 1, as_of, 2**40, False)}
    sections = [section for one in read for section in one.partitions]
    assert sorted(mpid for section in sections for mpid in section.added) == sorted(population.people.mpids(sides[0]).tolist())
    assert sorted(mpid for section in sections for mpid in section.dropped) == sorted(population.people.mpids(sides[1]).tolist())
    for one in read:
        assert sum(len(section.added) + len(section.dropped) for section in one.partitions) <= most
    for section in sections:
        assert section.round == rounds[section.partition]
        assert section.previous_round == before[audience, section.partition]
        assert section.receive_time_ms == received
        assert 0 <= section.piece < section.pieces
    # Written anew by the library, it takes as many bytes.
    assert [len(one.SerializeToString()) for one in read] == [len(message.payload) for message in messages]


def test_an_audience_that_ended_is_told_by_one_who_has_all() -> None:
    population = population_of({(5, 0): 3, (5, 2): 4})
    turn = Turn(ended={5: population.people.find(MPIDS[:3])})
    (message,) = facts.membership_messages(population, turn, Parts(), {0: 9, 1: 9, 2: 9}, 1_000, 0)
    read = facts_pb2.MembershipChanges.FromString(message.payload)
    assert (read.ended, read.revision) == (True, 0)
    assert [(one.partition, one.round, one.previous_round, list(one.dropped)) for one in read.partitions] == [(0, 9, 3, []), (2, 9, 4, [])]
