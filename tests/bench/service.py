"""The evaluator's rounds whole: from messages of the stream EVENTS to memberships that are committed and published.

One process on one core with its database (SQLite) and its event store, a nats-server beside it; a million people, twenty million events
and a thousand audiences, as in engine.py. Rounds take 10,000 events each. The restart is a start on what an evaluator left.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from muster.definition.v1 import account_pb2, audience_pb2
from muster.definition.v1 import definition_pb2 as pb
from muster.definition.v1 import facts_pb2 as definition_facts
from muster.ingest.v1 import facts_pb2 as ingest_facts

from services.chassis.app import running
from services.chassis.bus import Bus
from services.chassis.clock import SystemClock
from services.chassis.consumer import Consumer
from services.chassis.database import Database
from services.chassis.migrations import Migrations
from services.chassis.outbox import Outbox, Relay
from services.chassis.partition import partitions_of
from services.chassis.publisher import Outgoing
from services.chassis.streams import DEFINITIONS, definitions_subject, events_subject
from services.evaluator import app, tables
from services.evaluator.messages import Definitions
from services.evaluator.ownership import Ownership
from services.evaluator.rounds import Rounds
from services.evaluator.settings import EvaluatorSettings
from services.evaluator.store import Store
from tests.bench import engine as bench
from tests.bench import prototype
from tests.bench.figure import Figure, processor_seconds
from tests.fakes.nats_server import NatsServer

ACCOUNT, WORKSPACE, INPUT = 1, 1, 1
ROUNDS = 12
CHUNK, PIECE, HISTORY_ROUND = 1_000_000, 25_000, 200_000


def settings_in(folder: Path, nats_url: str, round_events: int) -> EvaluatorSettings:
    """Of one evaluator on SQLite; full rounds, without a pause."""
    return EvaluatorSettings(
        data_dir=folder,
        nats_url=nats_url,
        token_secret="a secret for benchmarks, and nothing else",
        round_events_max=round_events,
        round_pause_seconds=0,
    )


@dataclass
class Evaluator:
    """A running one, and how many seconds it took to be ready for questions."""

    rounds: Rounds
    relay: Relay
    bus: Bus
    ready_seconds: float

    async def taken(self, sequence: int, *, published: bool = True) -> None:
        """Return once all up to this message of EVENTS is committed, and what it changed published."""
        while max(position.sequence for position in self.rounds.positions.values()) < sequence:
            await self.rounds.changed(self.rounds.count, within_seconds=0.005)
        if published:
            await self.relay.flush(120)


@asynccontextmanager
async def evaluator(settings: EvaluatorSettings) -> AsyncIterator[Evaluator]:
    """An evaluator on what the one before it left."""
    database = Database(settings.sql_url)
    bus = Bus.from_settings(settings)
    relay = Relay(database, tables.outbox, bus)
    store = Store(database, Outbox(tables.outbox))
    ownership = Ownership(bus, "bench", lambda: "127.0.0.1:1", settings.partitions, settings.lease_seconds)
    rounds = Rounds(settings, store, bus, relay, SystemClock(), ownership)
    told = Consumer(bus, DEFINITIONS, "evaluator-definitions", Definitions(store, rounds).handle, service="evaluator")
    migrations = Migrations(database, Path(app.__file__).parent / "migrations")
    begin = time.monotonic()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running(database, migrations, bus, relay, ownership, rounds, told))
        yield Evaluator(rounds, relay, bus, time.monotonic() - begin)


def definitions(world: bench.World) -> list[tuple[str, int, definition_facts.DefinitionFact]]:
    """The facts of the account, its workspace, its input and its active audiences: kind, id, fact."""
    source = account_pb2.Input(input_id=INPUT, workspace_id=WORKSPACE, name="all")
    facts = [
        ("account", ACCOUNT, definition_facts.DefinitionFact(account=account_pb2.Account(account_id=ACCOUNT, look_back_days=30))),
        ("workspace", WORKSPACE, definition_facts.DefinitionFact(workspace=account_pb2.Workspace(workspace_id=WORKSPACE, name="all"))),
        ("input", INPUT, definition_facts.DefinitionFact(input=definition_facts.InputCredentials(input=source))),
    ]
    for audience_id, (shape, counts) in enumerate(world.audiences, start=1):
        audience = audience_pb2.Audience(
            audience_id=audience_id,
            name=f"audience {audience_id}",
            workspace_ids=[WORKSPACE],
            definition=pb.Definition(root=bench.SHAPES[shape][0](*[count.node() for count in counts])),
            state=audience_pb2.AUDIENCE_STATE_ACTIVE,
            revision=1,
        )
        facts.append(("audience", audience_id, definition_facts.DefinitionFact(audience=audience)))
    for _, _, fact in facts:
        fact.account_id, fact.version = ACCOUNT, 1
    return facts


def batches(world: bench.World, partitions: int, names: bench.Ints, ordinals: bench.Ints, times: bench.Ints, tag: str) -> list[Outgoing]:
    """Events as messages of ingest: one a partition, as long as they fit."""
    mpids = ordinals + 1
    of = partitions_of(ACCOUNT, mpids, partitions)
    kinds = [ingest_facts.EventKind(type=bench.CUSTOM, name=f"event {name}") for name in range(bench.NAMES)]  # type: ignore[arg-type]
    messages = []
    for partition in range(partitions):
        own = np.flatnonzero(of == partition)
        for piece in range(0, len(own), PIECE):
            rows = own[piece : piece + PIECE]
            batch = ingest_facts.EventBatch(
                batch_id=f"{tag}-{partition}-{piece}",
                account_id=ACCOUNT,
                partition=partition,
                receive_time_ms=int(time.time() * 1000),
                sources=[ingest_facts.EventSource(input_id=INPUT, workspace_id=WORKSPACE)],
                kinds=kinds,
                contexts=[ingest_facts.EventContext()],
                mpids=mpids[rows].tolist(),
                times_ms=times[rows].tolist(),
                event_ids=range(len(rows)),
                source_indexes=[0] * len(rows),
                kind_indexes=names[rows].tolist(),
                context_indexes=[0] * len(rows),
                details=[""] * len(rows),
            )
            messages.append(Outgoing(events_subject(partition), batch.SerializeToString(), batch.batch_id, {}))
    return messages


async def prepare(settings: EvaluatorSettings, world: bench.World) -> None:
    """Let an evaluator take all the history, and then the audiences."""
    now = int(time.time() * 1000)
    async with evaluator(settings) as one:
        for start in range(0, len(world.names), CHUNK):
            part = slice(start, start + CHUNK)
            times = world.times[part] - bench.START + now
            messages = batches(world, settings.partitions, world.names[part], world.ordinals[part], times, f"history-{start}")
            await one.taken(max([sent.sequence for sent in await one.bus.publish_many(messages, timeout_seconds=60)]))
        facts = [
            Outgoing(definitions_subject(ACCOUNT, kind, id_), fact.SerializeToString(), f"{kind}-{id_}", {})
            for kind, id_, fact in definitions(world)
        ]
        await one.bus.publish_many(facts)
        while not await one.rounds.ask(ACCOUNT, lambda account: len(account.population.audiences) == len(world.audiences)):
            await one.rounds.changed(one.rounds.count, within_seconds=0.5)
        await one.relay.flush(120)
        await _merged(one)


async def _merged(one: Evaluator) -> None:
    """Return once the event store has merged what the history left: in the background, on other cores, it would count as the rounds'."""
    store = one.rounds._store_of_events()
    quiet = 0
    while quiet < 3:
        going_on = await one.rounds._in_thread(lambda: store._client.query("SELECT count() FROM system.merges").first_row[0])
        quiet = 0 if going_on else quiet + 1
        await asyncio.sleep(1)


def new_events(world: bench.World, seed: int) -> tuple[bench.Ints, bench.Ints, bench.Ints]:
    """Names, ordinals and times of the events of one round, some a little in the future."""
    chance = np.random.default_rng(seed)
    weights = 1 / np.arange(1, bench.NAMES + 1)
    now = int(time.time() * 1000)
    return (
        chance.choice(bench.NAMES, bench.ROUND_EVENTS, p=weights / weights.sum()),
        chance.integers(0, world.people, bench.ROUND_EVENTS),
        chance.integers(now - 1000, now + 500, bench.ROUND_EVENTS),
    )


async def rate_of_rounds(one: Evaluator, world: bench.World, partitions: int, rounds: int) -> tuple[float, float]:
    """Events a second, from the first message taken until the last change is published: by the clock, and by this process's time of the
    processor."""
    messages: list[Outgoing] = []
    for number in range(rounds):
        messages += batches(world, partitions, *new_events(world, rounds * 100 + number), f"{rounds}-{number}")
    async with one.rounds.quiet():
        last = max(sent.sequence for sent in await one.bus.publish_many(messages))
        begin, computed = time.monotonic(), processor_seconds()
    await one.taken(last)
    events = rounds * bench.ROUND_EVENTS
    return events / (time.monotonic() - begin), events / (processor_seconds() - computed)


async def _measure(folder: Path, world: bench.World, beside: float | None) -> list[Figure]:
    nats = NatsServer(folder / "nats")
    nats.start()
    await prepare(settings_in(folder, nats.url, HISTORY_ROUND), world)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    settings = settings_in(folder, nats.url, bench.ROUND_EVENTS)
    async with evaluator(settings) as one:
        await rate_of_rounds(one, world, settings.partitions, 2)
        by_clock, rate = await rate_of_rounds(one, world, settings.partitions, ROUNDS)
        ready = one.ready_seconds
    nats.kill()
    ratio = None if beside is None else rate / beside
    return [
        Figure("service: ready after a restart", ready, "s", None, None, "< 15", ready < 15),
        Figure("service: whole rounds, published", rate, "events/s", beside, ratio, ">= 0.6x" if beside else "", (ratio or 1) >= 0.6),
        Figure("service: the same by the clock, with all waiting", by_clock, "events/s", None, None, "", True),
    ]


def run(scale: float = 1.0) -> list[Figure]:
    """The figures of the service; about six minutes at scale 1."""
    world = bench.make_world(scale)
    beside = prototype.run(world).events_per_second if prototype.FILE else None
    with tempfile.TemporaryDirectory(prefix="muster-bench-", ignore_cleanup_errors=True) as folder:
        return asyncio.run(_measure(Path(folder), world, beside))
