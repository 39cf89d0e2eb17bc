"""Who takes which partition, and leases on a real NATS."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.bus import Bus
from services.evaluator.ownership import Announcement, Lease, NameTaken, Ownership, Table, shares, to_give, to_take
from tests.fakes.waiting import eventually

PARTITIONS = 8


def settle(replicas: dict[str, Announcement], leases: dict[int, str], partitions: int) -> dict[int, str]:
    """The owners in the end, where each replica in turn gives up and takes as it should."""
    for _ in range(3 * partitions):
        before = dict(leases)
        for name, me in sorted(replicas.items()):
            owned = {partition for partition, owner in leases.items() if owner == name}
            for partition in to_give(me, owned, table_of(replicas, leases), partitions):
                del leases[partition]
            for partition in to_take(me, table_of(replicas, leases), partitions):
                leases[partition] = name
        if leases == before:
            return leases
    raise AssertionError("partitions move for ever")


def table_of(replicas: dict[str, Announcement], leases: dict[int, str]) -> Table:
    return Table(dict(replicas), {partition: (Lease(name, "1", ""), 1) for partition, name in leases.items()})


@given(st.integers(1, 5), st.integers(1, 16), st.data())
def test_every_partition_that_somebody_can_complete_finds_an_owner_and_shares_are_fair(
    count: int, partitions: int, data: st.DataObject
) -> None:
    everything = st.integers(0, partitions - 1)
    unfit = [data.draw(st.sets(everything, max_size=data.draw(st.sampled_from([0, partitions])))) for _ in range(count)]
    replicas = {f"r{number}": Announcement(f"r{number}", "1", "", tuple(sorted(some))) for number, some in enumerate(unfit)}
    fit = {partition: [name for name, one in replicas.items() if partition not in one.unfit] for partition in range(partitions)}
    owners = {partition: data.draw(st.sampled_from([*names, ""])) for partition, names in fit.items()}
    before = {partition: owner for partition, owner in owners.items() if owner}
    leases = settle(replicas, before, partitions)
    assert set(leases) == {partition for partition, names in fit.items() if names}
    assert all(owner in fit[partition] for partition, owner in leases.items())
    if not any(unfit):
        wanted = shares(replicas, partitions)
        assert {name: sum(owner == name for owner in leases.values()) for name in replicas} == wanted
        assert max(wanted.values()) - min(wanted.values()) <= 1


def ownership(bus: Bus, name: str, lease_seconds: float = 1.0) -> Ownership:
    return Ownership(bus, name, lambda: f"{name}:1", PARTITIONS, lease_seconds)


async def joined(bus: Bus, name: str, lease_seconds: float = 1.0) -> Ownership:
    one = ownership(bus, name, lease_seconds)
    await one.start()
    await one.join()
    return one


async def test_one_alone_has_all_at_once_and_the_next_process_of_its_name_too(bus: Bus) -> None:
    began = time.monotonic()
    first = await joined(bus, "a", 60)
    assert first.held == frozenset(range(PARTITIONS))
    second = await joined(bus, "a", 60)
    assert second.held == frozenset(range(PARTITIONS))
    assert time.monotonic() - began < 2
    with pytest.raises(NameTaken):
        await first.check()
    assert not first.held


async def test_a_second_one_gets_its_half_and_what_it_leaves_goes_back(bus: Bus) -> None:
    first, second = await joined(bus, "a"), await joined(bus, "b")
    assert not second.held
    await first.check()
    assert len(first.held) == 4
    assert first.holds(range(PARTITIONS)), "what is to be given up is kept until the round in hand is over"
    await first.give_up(set(range(PARTITIONS)) - first.held)
    await second.check()
    assert second.held == frozenset(range(PARTITIONS)) - first.held
    assert {lease.address for lease, _ in (await second.refresh()).leases.values()} == {"a:1", "b:1"}
    await second.stop()
    await first.check()
    assert first.held == frozenset(range(PARTITIONS))


async def test_a_lease_that_is_not_renewed_ends_by_itself_for_both_sides(bus: Bus) -> None:
    first, second = await joined(bus, "a"), await joined(bus, "b")
    assert first.holds([0])
    async with asyncio.timeout(10):
        while len(second.held) < PARTITIONS:
            assert not (first.held & second.held), "two at once"
            await asyncio.sleep(0.05)
            await second.check()
    assert not first.holds([0])
    assert not first.held
    await first.check()
    assert not first.held


async def test_leases_come_back_when_the_bucket_was_lost(bus: Bus) -> None:
    one = await joined(bus, "a")
    await bus.jetstream.delete_stream("KV_EVALUATORS")
    await one.check()
    await one.check()
    assert one.held == frozenset(range(PARTITIONS))


async def test_one_that_could_not_join_at_once_joins_later(bus: Bus) -> None:
    one = ownership(bus, "a")
    answers = [TimeoutError(), TimeoutError()]

    async def unfit() -> frozenset[int]:
        if answers:
            raise answers.pop()
        return frozenset()

    one.judge_by(unfit)
    await one.start()
    await one.join()
    assert not one.held
    loop = asyncio.create_task(one.run())
    await eventually(lambda: one.held == frozenset(range(PARTITIONS)))
    await one.stop()
    await loop
