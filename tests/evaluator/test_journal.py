"""Changes of memberships, stored and replayed."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from services.evaluator import journal
from services.evaluator.journal import Entries, Standing


def entries(audience_id: int, added: set[int], dropped: set[int]) -> Entries:
    entered, left = (np.array(sorted(side), np.uint32) for side in (added, dropped))
    return Entries(np.array([audience_id]), np.array([len(entered)]), np.array([len(left)]), entered, left)


people = st.sets(st.integers(0, 50), max_size=20)


@given(st.lists(st.tuples(people, people), max_size=12), st.integers(0, 12))
def test_replaying_the_rounds_gives_the_members_wherever_they_were_folded(rounds: list[tuple[set[int], set[int]]], folded: int) -> None:
    members: set[int] = set()
    payloads, at_fold = [], set[int]()
    for number, (some, others) in enumerate(rounds, start=1):
        added, dropped = some - members, others & members - some
        members = (members | added) - dropped
        payloads.append((number, journal.encode(entries(9, added, dropped))))
        if number == folded:
            at_fold = set(members)
    start = {(9, 2): Standing(folded, BitMap(at_fold))} if 0 < folded <= len(rounds) else {}
    journal.replay(start, 2, payloads)
    assert set(start[9, 2].members) == members if payloads else not start


def test_an_ended_audience_has_nobody_left() -> None:
    standings: journal.Standings = {}
    touched = journal.replay(
        standings, 0, [(1, journal.encode(entries(9, {1, 2}, set()))), (2, journal.encode(replace(entries(8, {3}, set()), ended=[9])))]
    )
    assert not standings[9, 0].members
    assert standings[9, 0].round == 2
    assert set(standings[8, 0].members) == {3}
    assert touched == {(8, 0), (9, 0)}
