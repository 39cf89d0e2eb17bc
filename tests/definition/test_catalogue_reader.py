"""The catalogue counts each message of the stream once: after redelivery, kills, takeovers, and what was taken by somebody else."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from services.chassis.app import running
from services.chassis.bus import Bus
from services.chassis.database import Database
from services.chassis.dead_letters import DeadLetters
from services.chassis.migrations import migrate
from services.chassis.pull import PullSubscription
from services.chassis.streams import EVENTS, events_subject
from services.definition import catalogue_intake, catalogue_reader, tables
from services.definition.app import MIGRATIONS
from services.definition.catalogue_intake import CatalogueIntake, LeaseLost, Window
from services.definition.catalogue_reader import DURABLE, CatalogueReader
from services.definition.catalogue_store import CatalogueScope
from services.definition.domain.catalogue import CatalogueKind, Entry, EntryKey
from services.definition.sightings import Sightings, sightings_of
from tests.conftest import TOKEN_SECRET
from tests.definition import arriving
from tests.definition.arriving import batch, event, profiles, publish
from tests.fakes.clock import ManualClock
from tests.fakes.nats_server import NatsServer
from tests.fakes.waiting import eventually

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def migrated(database: Database) -> Database:
    await migrate(database, MIGRATIONS)
    return database


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue_reader, "FLUSH_SECONDS", 0.05)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def reader(migrated: Database, bus: Bus, clock: ManualClock) -> Callable[[], CatalogueReader]:
    return lambda: CatalogueReader(migrated, bus, clock, service="definition", lease_seconds=15)


async def counted(database: Database) -> int:
    """Events in all names together."""
    async with database.read() as connection:
        return int(await connection.scalar(select(func.coalesce(func.sum(tables.catalogue_names.c.count), 0))) or 0)


async def position(database: Database) -> int:
    async with database.read() as connection:
        return int(await connection.scalar(select(tables.catalogue_reading.c.sequence)) or 0)


async def until_read(database: Database, sequence: int) -> None:
    async def there() -> bool:
        return await position(database) == sequence

    await eventually(there)


def some(count: int) -> Any:
    return batch(1, 1, 11, *(event("buy", plan="gold") for _ in range(count)))


async def test_each_message_counts_once_and_is_acknowledged(migrated: Database, bus: Bus, reader: Callable[[], CatalogueReader]) -> None:
    async with running(reader()):
        await publish(bus, some(3), some(4), profiles(1, 1, 11, {"city": "Berlin"}))
        await until_read(migrated, 3)
        assert await counted(migrated) == 7

        async def acknowledged() -> bool:
            return not (await bus.jetstream.consumer_info(EVENTS, DURABLE)).num_ack_pending

        await eventually(acknowledged)


async def test_a_batch_that_is_published_again_counts_once(migrated: Database, bus: Bus, reader: Callable[[], CatalogueReader]) -> None:
    one = some(3)
    async with running(reader()):
        await publish(bus, one, one)
        await until_read(migrated, 2)
        await publish(bus, one, some(1))
        await until_read(migrated, 4)
    assert await counted(migrated) == 4


async def test_who_dies_between_commit_and_acknowledgement_counts_nothing_twice(
    migrated: Database, bus: Bus, clock: ManualClock, reader: Callable[[], CatalogueReader], monkeypatch: pytest.MonkeyPatch
) -> None:
    dies = asyncio.Event()

    async def die(self: object, messages: object) -> None:
        dies.set()
        await asyncio.Event().wait()

    await publish(bus, some(3), some(4))
    with monkeypatch.context() as patch:
        patch.setattr(PullSubscription, "ack_many", die)
        dead = asyncio.create_task(reader().run())
        await asyncio.wait_for(dies.wait(), 10)
        dead.cancel()
        await asyncio.wait([dead])
    done = await position(migrated)
    assert done > 0
    await publish(bus, some(5))
    await clock.advance(16)
    async with running(reader()):
        await until_read(migrated, 3)
    assert await counted(migrated) == 12


async def test_one_reads_and_another_reads_on_at_once_when_it_stops(
    migrated: Database, bus: Bus, reader: Callable[[], CatalogueReader], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue_reader, "_RENEWALS", 300)
    first, second = reader(), reader()
    async with running(second):
        async with running(first):
            await publish(bus, *(some(1) for _ in range(20)))
            await until_read(migrated, 20)
        await publish(bus, *(some(1) for _ in range(20)))
        await until_read(migrated, 40)
    assert await counted(migrated) == 40


async def test_who_lost_its_lease_writes_nothing(migrated: Database) -> None:
    old, new = CatalogueIntake(migrated, "old"), CatalogueIntake(migrated, "new")
    assert await old.take_lease(stream="s", now_ms=1_000, until_ms=2_000) == 0
    assert await new.take_lease(stream="s", now_ms=1_500, until_ms=2_500) is None
    assert await new.take_lease(stream="s", now_ms=2_001, until_ms=3_000) == 0
    window = Window(sightings_of([some(3)]), ["a"], "s", 0, 5)
    with pytest.raises(LeaseLost):
        await old.add(window, now_ms=2_001, until_ms=9_000)
    assert (await counted(migrated), await position(migrated)) == (0, 0)
    await new.add(window, now_ms=2_001, until_ms=3_000)
    with pytest.raises(LeaseLost):
        await new.add(window, now_ms=2_001, until_ms=3_000)
    assert (await counted(migrated), await position(migrated)) == (3, 5)


async def test_a_stream_that_was_made_anew_is_read_from_its_beginning(migrated: Database) -> None:
    intake = CatalogueIntake(migrated, "one")
    assert await intake.take_lease(stream="s", now_ms=1_000, until_ms=2_000) == 0
    await intake.add(Window(Sightings(), [], "s", 0, 5), now_ms=1_000, until_ms=2_000)
    assert await intake.take_lease(stream="s", now_ms=1_000, until_ms=2_000) == 5
    assert await intake.take_lease(stream="t", now_ms=1_000, until_ms=2_000) == 0


async def test_what_somebody_else_was_handed_is_not_passed_over(
    migrated: Database, bus: Bus, reader: Callable[[], CatalogueReader]
) -> None:
    thief = PullSubscription(bus, EVENTS, DURABLE)
    await thief.start()
    # Its request waits at the server, as that of a process that stands still.
    assert await thief.fetch(3, 0.1) == []
    async with running(reader()):
        await asyncio.sleep(0.3)
        await publish(bus, *(some(1) for _ in range(10)))
        await until_read(migrated, 10)
    await thief.stop()
    assert await counted(migrated) == 10


async def test_what_was_deleted_from_the_stream_is_passed_over(migrated: Database, bus: Bus, reader: Callable[[], CatalogueReader]) -> None:
    await publish(bus, *(some(1) for _ in range(6)))
    for sequence in (1, 2, 4):
        await bus.jetstream.delete_msg(EVENTS, sequence)
    async with running(reader()):
        await until_read(migrated, 6)
    assert await counted(migrated) == 3


async def test_what_makes_no_sense_goes_to_the_dead_letters_and_holds_up_nothing(
    migrated: Database, bus: Bus, reader: Callable[[], CatalogueReader]
) -> None:
    async with running(reader()):
        await bus.publish(events_subject(0), b"\xff", message_id="bad")
        await publish(bus, some(2))
        await until_read(migrated, 2)
    [letter] = await DeadLetters(bus, "definition").list()
    assert (letter.stream_sequence, letter.consumer) == (1, DURABLE)
    assert await counted(migrated) == 2


async def test_what_can_t_be_counted_goes_to_the_dead_letters_alone(
    migrated: Database, bus: Bus, reader: Callable[[], CatalogueReader], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = some(1)

    def fails(facts: Any) -> Sightings:
        told = list(facts)
        if bad in told:
            raise ZeroDivisionError("nobody thought of it")
        return sightings_of(told)

    monkeypatch.setattr(catalogue_reader, "sightings_of", fails)
    await publish(bus, some(2), bad, some(3))
    async with running(reader()):
        await until_read(migrated, 3)
    [letter] = await DeadLetters(bus, "definition").list()
    assert (letter.stream_sequence, letter.reason) == (2, "ZeroDivisionError: nobody thought of it")
    assert await counted(migrated) == 5


async def test_where_there_is_no_room_what_did_not_arrive_for_long_gives_way(migrated: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue_intake, "NAMES_MAX", 3)
    intake = CatalogueIntake(migrated, "one")
    await intake.take_lease(stream="s", now_ms=1_000, until_ms=2_000)

    async def arrive(number: int, workspace_id: int, arrived_ms: int, *names: str) -> None:
        told = batch(1, workspace_id, 11, *(event(name, plan="gold") for name in names), arrived_ms=arrived_ms)
        await intake.add(Window(sightings_of([told]), [], "s", number, number + 1), now_ms=1_000, until_ms=2_000)

    async def left() -> list[tuple[int, str]]:
        found = list[tuple[int, str]]()
        async with migrated.read() as connection:
            for name in (tables.catalogue_names.c.name, tables.catalogue_attributes.c.event_name):
                rows = await connection.execute(select(name.table.c.workspace_id, name).order_by(name.table.c.workspace_id, name))
                found += [(row[0], row[1]) for row in rows]
        return found

    await arrive(0, 1, 10, "old", "described", "new")
    await arrive(1, 2, 10, "old")
    async with migrated.transaction() as connection:
        key = EntryKey(1, CatalogueKind.EVENT_NAME, arriving.CUSTOM, "described")
        await CatalogueScope(connection, 1).save_entry(Entry(key, 1, "It is."))
    await arrive(2, 1, 90, "new")
    await intake.make_room(before_ms=50)
    assert await left() == [(1, "described"), (1, "new"), (2, "old"), (1, "new"), (2, "old")]
    await arrive(3, 1, 95, "next")
    assert (1, "next") in await left()
    assert await CatalogueIntake(migrated, "two").take_lease(stream="s", now_ms=3_000, until_ms=4_000) == 4
    with pytest.raises(LeaseLost):
        await intake.make_room(before_ms=50)


async def test_names_beyond_the_bound_are_counted_only(
    migrated: Database, bus: Bus, reader: Callable[[], CatalogueReader], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue_intake, "NAMES_MAX", 3)
    attributes: list[dict[str, Any]] = [{f"a{number}": "x"} for number in range(5)]
    events = [event(f"e{number}", **attributes[number]) for number in range(5) for _ in range(5 - number)]
    async with running(reader()):
        await publish(bus, batch(1, 1, 11, *events))
        await until_read(migrated, 1)
        await publish(bus, batch(1, 1, 11, event("e0"), event("e4"), event("n" * 300)), batch(1, 2, 21, event("e4")))
        await until_read(migrated, 3)
    async with migrated.read() as connection:
        names = tables.catalogue_names
        found = await connection.execute(select(names.c.workspace_id, names.c.name, names.c.count).order_by(*names.primary_key.columns))
        assert [tuple(row) for row in found] == [(1, "e0", 6), (1, "e1", 4), (1, "e2", 3), (2, "e4", 1)]
        workspace = (
            await connection.execute(select(tables.catalogue_workspaces).where(tables.catalogue_workspaces.c.workspace_id == 1))
        ).one()
        assert (workspace.names, workspace.attributes, workspace.unlisted_events, workspace.unlisted_attributes) == (3, 3, 5, 3)


@asynccontextmanager
async def process(environment: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """A definition service of its own, killed at the end."""
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.definition"), cwd=ROOT, env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        yield started
    finally:
        started.send_signal(signal.SIGKILL)
        await started.wait()


@pytest.fixture
def environment(migrated: Database, nats_server: NatsServer, tmp_path: Path) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("MUSTER_")},
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}",
        "MUSTER_DATA_DIR": str(tmp_path),
        "MUSTER_DEFINITION_DATABASE_URL": migrated.url.render_as_string(hide_password=False),
        "MUSTER_DEFINITION_GRPC_PORT": "0",
        "MUSTER_DEFINITION_CATALOGUE_LEASE_SECONDS": "0.5",
        "MUSTER_NATS_URL": nats_server.url,
        "MUSTER_TOKEN_SECRET": TOKEN_SECRET,
    }


class Sender:
    """Publishes batches of ten events one after the other, for the length of a block."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._ends = False
        self.batches = 0

    async def __aenter__(self) -> Sender:
        self._task = asyncio.create_task(self._go_on())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ends = True
        await self._task

    async def _go_on(self) -> None:
        while not self._ends:
            await publish(self._bus, some(10))
            self.batches += 1
            await asyncio.sleep(0.005)


async def moves_past(database: Database, sequence: int) -> None:
    async def there() -> bool:
        return await position(database) > sequence

    await eventually(there, within_seconds=60)


async def test_a_service_that_is_killed_again_and_again_counts_each_event_once(
    migrated: Database, bus: Bus, environment: dict[str, str]
) -> None:
    async with Sender(bus) as sender:
        for seconds in (0.2, 1.4, 0.7):
            before = await position(migrated)
            async with process(environment):
                await moves_past(migrated, before)
                await asyncio.sleep(seconds)
    assert 0 < await position(migrated) < sender.batches
    async with process(environment):
        await until_read(migrated, sender.batches)
    assert await counted(migrated) == 10 * sender.batches


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_a_service_that_stands_still_and_goes_on_counts_nothing_twice_and_loses_nothing(
    migrated: Database, bus: Bus, environment: dict[str, str]
) -> None:
    """On PostgreSQL alone, as replicas are: who stands still in a transaction on SQLite holds its lock until it goes on."""
    async with Sender(bus) as sender:
        async with process(environment) as first:
            await moves_past(migrated, 0)
            first.send_signal(signal.SIGSTOP)
            stood_at = sender.batches
            async with process(environment) as second:
                await moves_past(migrated, stood_at)
                first.send_signal(signal.SIGCONT)
                await moves_past(migrated, sender.batches)
                second.send_signal(signal.SIGSTOP)
                await moves_past(migrated, sender.batches)
    async with process(environment):
        await until_read(migrated, sender.batches)
    assert await counted(migrated) == 10 * sender.batches
