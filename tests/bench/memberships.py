"""Membership messages: a round's changes of a thousand audiences cut by partition, encoded and published to a stream, acknowledged."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import numpy as np

from services.chassis.bus import Bus
from services.evaluator import facts
from services.evaluator.engine.facts import Changes
from services.evaluator.population import Population, Turn
from tests.bench.figure import Figure
from tests.fakes.nats_server import NatsServer

PEOPLE, AUDIENCES, PARTITIONS, ROUNDS = 1_000_000, 1_000, 8, 5
CHANGES = {"a busy round's": 114, "larger rounds'": 2_000}  # of each audience


def turn_of(chance: np.random.Generator, people: int, audiences: int, changes: int) -> Turn:
    """As many enter as leave."""
    half = changes // 2
    some = (np.unique(chance.integers(0, people, changes)) for _ in range(audiences))
    return Turn(changes={number: Changes(one[:half], one[half:]) for number, one in enumerate(some, start=1)})


async def _measure(folder: Path, people: int, audiences: int) -> list[Figure]:
    nats = NatsServer(folder)
    nats.start()
    bus = Bus(nats.url, name="bench")
    await bus.start()
    population = Population(1, PARTITIONS, 0)
    population.people.take(np.arange(1, people + 1))
    chance = np.random.default_rng(7)
    figures = []
    for name, changes in CHANGES.items():
        rates = []
        for number in range(1, ROUNDS + 1):
            turn = turn_of(chance, people, audiences, changes)
            begin = time.perf_counter()
            rounds = dict.fromkeys(range(PARTITIONS), number)
            messages = list(facts.membership_messages(population, turn, population.parts(turn), rounds, number * changes, 0))
            await bus.publish_many(messages, timeout_seconds=60)
            took = time.perf_counter() - begin
            rates.append(sum(len(side) for change in turn.changes.values() for side in change) / took)
        rate = float(np.median(rates))
        figures.append(
            Figure(f"memberships: {name} changes encoded and published", rate, "changes/s", None, None, ">= 1,000,000", rate >= 1e6)
        )
    await bus.stop()
    nats.kill()
    return figures


def run(scale: float = 1.0) -> list[Figure]:
    """A few seconds."""
    with tempfile.TemporaryDirectory(prefix="muster-bench-", ignore_cleanup_errors=True) as folder:
        return asyncio.run(_measure(Path(folder), int(PEOPLE * scale), int(AUDIENCES * scale)))
