"""An evaluator in this process, on a real NATS and a real database; started, stopped and killed at will."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from services.chassis.app import running
from services.chassis.bus import Bus
from services.chassis.consumer import Consumer
from services.chassis.database import Database
from services.chassis.migrations import Migrations
from services.chassis.outbox import Outbox, Relay
from services.chassis.streams import DEFINITIONS
from services.evaluator import app, tables
from services.evaluator.messages import Definitions
from services.evaluator.ownership import Ownership
from services.evaluator.rounds import Rounds
from services.evaluator.settings import EvaluatorSettings
from services.evaluator.store import Store
from tests.evaluator.world import PARTITIONS, Follower, World
from tests.fakes.clock import ManualClock
from tests.fakes.event_stores import EventStores


@dataclass
class Evaluator:
    """A running one."""

    rounds: Rounds
    store: Store
    relay: Relay
    ownership: Ownership


class Home:
    """Where evaluators of a test live, one after the other: the same database, event store, NATS and clock."""

    def __init__(self, settings: EvaluatorSettings, clock: ManualClock, bus: Bus) -> None:
        self.settings = settings
        self.clock = clock
        self.bus = bus
        self.world = World(bus)
        self.follower = Follower(bus)

    @asynccontextmanager
    async def evaluator(self) -> AsyncIterator[Evaluator]:
        """An evaluator for the length of a block; an exception in the block is a crash as far as the stream and the database can tell."""
        database = Database(self.settings.sql_url)
        bus = Bus.from_settings(self.settings)
        relay = Relay(database, tables.outbox, bus)
        store = Store(database, Outbox(tables.outbox))
        ownership = Ownership(bus, "test", lambda: "127.0.0.1:1", self.settings.partitions, self.settings.lease_seconds)
        rounds = Rounds(self.settings, store, bus, relay, self.clock, ownership)
        definitions = Consumer(bus, DEFINITIONS, "evaluator-definitions", Definitions(store, rounds).handle, service="evaluator")
        migrations = Migrations(database, Path(app.__file__).parent / "migrations")
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(running(database, migrations, bus, relay, ownership, rounds, definitions))
            yield Evaluator(rounds, store, relay, ownership)

    async def until(self, holds: Callable[[], bool | Awaitable[bool]], seconds: float = 30) -> None:
        """Wait until it holds; the follower reads on meanwhile."""
        async with asyncio.timeout(seconds):
            while True:
                await self.follower.follow()
                answer = holds()
                if answer if isinstance(answer, bool) else await answer:
                    return
                await asyncio.sleep(0.02)


@pytest.fixture
def clock() -> ManualClock:
    """Noon of a day in 2026, until the test says otherwise."""
    return ManualClock()


@pytest.fixture
async def home(
    settings_of: Callable[..., Any], clock: ManualClock, bus: Bus, database_url: str, event_stores: EventStores, tmp_path: Path
) -> Home:
    """On SQLite and on PostgreSQL."""
    settings = settings_of(
        EvaluatorSettings,
        database_url=database_url,
        store_url=event_stores.url(tmp_path / "events"),
        partitions=PARTITIONS,
        round_seconds=0.05,
        round_pause_seconds=0.01,
        fold_after_bytes=300,
        snapshot_events=1,
    )
    return Home(settings, clock, bus)


async def members(evaluator: Evaluator, audience_id: int, account_id: int = 7) -> set[int]:
    """What the evaluator itself says."""
    return await evaluator.rounds.ask(
        account_id,
        lambda account: set(account.population.members(audience_id).tolist()) if audience_id in account.population.audiences else set(),
    )
