"""Following the members of connected audiences: the facts, the snapshots, and what lies between, on both databases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from muster.evaluator.v1 import facts_pb2

from services.forwarder.following import Snapshot, StaleSnapshot, apply_facts, apply_snapshot
from services.forwarder.stores.members import ACTIVE, Audience, Following
from services.forwarder.stores.store import Store
from tests.forwarder.test_stores import ACCOUNT, AUDIENCE, KEY, connect, waiting

pytestmark = pytest.mark.filterwarnings("error::sqlalchemy.exc.SAWarning")


def part(
    round: int,
    previous: int = 0,
    *,
    added: Sequence[int] = (),
    dropped: Sequence[int] = (),
    partition: int = 0,
    piece: int = 0,
    pieces: int = 1,
) -> facts_pb2.PartitionChanges:
    return facts_pb2.PartitionChanges(
        partition=partition,
        round=round,
        previous_round=previous,
        piece=piece,
        pieces=pieces,
        added=added,
        dropped=dropped,
        receive_time_ms=round * 10,
    )


def fact(
    *parts: facts_pb2.PartitionChanges, as_of_ms: int = 0, ended: bool = False, audience: int = AUDIENCE
) -> facts_pb2.MembershipChanges:
    as_of = as_of_ms or max((one.round for one in parts), default=1) * 100
    return facts_pb2.MembershipChanges(account_id=ACCOUNT, audience_id=audience, as_of_ms=as_of, partitions=parts, ended=ended)


async def take(store: Store, *facts: facts_pb2.MembershipChanges) -> tuple[set[int], set[tuple[int, int]]]:
    return await apply_facts(store, [(one, one.SerializeToString()) for one in facts], now_ms=1)


async def follow(store: Store, following: Following = Following.LIVE) -> None:
    await store.write(lambda tx: tx.audiences.follow(KEY, following))


async def audience(store: Store) -> Audience:
    async with store.read() as tx:
        found = await tx.audiences.get(KEY)
    assert found is not None
    return found


async def members(store: Store) -> set[int]:
    async with store.read() as tx:
        return set((await tx.members.all(KEY)).tolist())


def snapshot(people: Sequence[int], rounds: Mapping[int, int], as_of_ms: int = 0) -> Snapshot:
    return Snapshot(np.array(sorted(people), dtype=np.int64), rounds, as_of_ms or max(rounds.values(), default=1) * 100)


async def test_rounds_are_taken_in_their_order_and_their_people_marked(store: Store) -> None:
    connection = await connect(store)
    await follow(store)
    woken, wanted = await take(store, fact(part(1, added=[1, 2, 3])), fact(part(4, 1, added=[4], dropped=[2])))
    assert (woken, wanted) == ({connection.id}, set())
    assert await members(store) == {1, 3, 4}
    assert sorted(await waiting(store, connection)) == [1, 2, 3, 4]


async def test_rounds_that_were_taken_are_skipped(store: Store) -> None:
    await connect(store)
    await follow(store)
    first, second = fact(part(1, added=[1])), fact(part(2, 1, dropped=[1]))
    await take(store, first, second)
    woken, wanted = await take(store, first, second, first)
    assert (woken, wanted) == (set(), set())
    assert await members(store) == set()


async def test_a_round_in_one_partition_says_nothing_about_another(store: Store) -> None:
    await connect(store)
    await follow(store)
    await take(store, fact(part(9, added=[9], partition=1)), fact(part(1, added=[1]), part(10, 9, dropped=[9], partition=1)))
    assert await members(store) == {1}


async def test_a_gap_asks_for_a_snapshot_and_holds_what_comes_until_it_is_there(store: Store) -> None:
    connection = await connect(store)
    await follow(store)
    await take(store, fact(part(1, added=[1])))
    # Round 2 was missed.
    _, wanted = await take(store, fact(part(3, 2, added=[3])), fact(part(4, 3, added=[4])))
    assert wanted == {KEY}
    assert await members(store) == {1}
    await take(store, fact(part(5, 4, dropped=[4])), fact(part(6, 5, added=[6])))
    now = await audience(store)
    assert now.needs_snapshot
    # True for round 4: of what was held, 3 and 4 are old, 5 and 6 are news.
    assert await apply_snapshot(store, now, snapshot([2, 3, 4], {0: 4}), now_ms=1)
    assert await members(store) == {2, 3, 6}
    assert set(await waiting(store, connection)) == {1, 2, 3, 4, 6}
    assert (await audience(store)).following is Following.LIVE
    await take(store, fact(part(7, 6, added=[7])))
    assert await members(store) == {2, 3, 6, 7}


async def test_a_gap_among_the_held_facts_asks_for_another_snapshot(store: Store) -> None:
    await connect(store)
    await follow(store, Following.WANTED)
    await take(store, fact(part(9, 8, added=[9])))
    assert not await apply_snapshot(store, await audience(store), snapshot([1], {0: 4}), now_ms=1)
    assert (await audience(store)).needs_snapshot
    assert await apply_snapshot(store, await audience(store), snapshot([1, 9], {0: 9}), now_ms=1)
    assert await members(store) == {1, 9}


async def test_a_round_in_pieces_is_taken_piece_by_piece(store: Store) -> None:
    await connect(store)
    await follow(store)
    pieces = [fact(part(1, added=[number], piece=number, pieces=3)) for number in range(3)]
    await take(store, *pieces[:2])
    # Delivered again after a crash before the acknowledgement.
    _, wanted = await take(store, *pieces)
    assert (wanted, await members(store)) == (set(), {0, 1, 2})
    _, wanted = await take(store, fact(part(2, 1, added=[9])))
    assert (wanted, await members(store)) == (set(), {0, 1, 2, 9})


async def test_a_missing_piece_is_a_gap(store: Store) -> None:
    await connect(store)
    await follow(store)
    _, wanted = await take(store, fact(part(1, added=[0], piece=0, pieces=2)), fact(part(2, 1, added=[9])))
    assert wanted == {KEY}


async def test_an_audience_that_ended_has_no_members(store: Store) -> None:
    connection = await connect(store)
    await follow(store)
    await take(store, fact(part(1, added=[1, 2])), fact(as_of_ms=200, ended=True))
    assert await members(store) == set()
    assert sorted(await waiting(store, connection)) == [1, 2]


async def test_an_end_that_comes_again_after_a_new_beginning_changes_nothing(store: Store) -> None:
    await connect(store)
    await follow(store)
    end = fact(as_of_ms=200, ended=True)
    await take(store, fact(part(1, added=[1])), end, fact(part(5, 1, added=[7])))
    await take(store, end)
    assert await members(store) == {7}


async def test_facts_of_audiences_that_nobody_is_connected_to_are_passed_over(store: Store) -> None:
    await store.write(lambda tx: tx.audiences.save(Audience(ACCOUNT, AUDIENCE, "Fans", "", ACTIVE, 1)))
    assert await take(store, fact(part(1, added=[1])), fact(part(1, added=[1]), audience=99)) == (set(), set())
    assert await members(store) == set()


async def test_a_snapshot_marks_only_whom_it_changes(store: Store) -> None:
    connection = await connect(store)
    await follow(store, Following.WANTED)
    await store.write(lambda tx: tx.members.add(KEY, [1, 2, 3]))
    assert await apply_snapshot(store, await audience(store), snapshot([2, 3, 4], {0: 1}), now_ms=1)
    assert await members(store) == {2, 3, 4}
    assert sorted(await waiting(store, connection)) == [1, 4]


async def test_a_snapshot_older_than_what_was_taken_is_refused(store: Store) -> None:
    await connect(store)
    await follow(store)
    await take(store, fact(part(5, added=[5])))
    await follow(store, Following.WANTED)
    with pytest.raises(StaleSnapshot):
        await apply_snapshot(store, await audience(store), snapshot([], {0: 4}), now_ms=1)
    assert await members(store) == {5}


async def test_a_snapshot_that_was_overtaken_by_another_wish_for_one_changes_nothing(store: Store) -> None:
    await connect(store)
    await follow(store, Following.WANTED)
    before = await audience(store)
    # All connections ended and a new one began, while the snapshot was on its way.
    await follow(store, Following.NONE)
    await follow(store, Following.WANTED)
    await apply_snapshot(store, before, snapshot([1], {0: 1}), now_ms=1)
    assert await members(store) == set()
    assert (await audience(store)).needs_snapshot


async def test_an_evaluator_that_counts_anew_is_followed_by_a_snapshot(store: Store) -> None:
    await connect(store)
    await follow(store)
    await take(store, fact(part(50, added=[1]), as_of_ms=5_000))
    _, wanted = await take(store, fact(part(1, added=[2]), as_of_ms=9_000))
    assert wanted == {KEY}
    assert await apply_snapshot(store, await audience(store), snapshot([1, 2], {0: 1}, as_of_ms=9_500), now_ms=1)
    assert await members(store) == {1, 2}
