from __future__ import annotations

import asyncio

import nats
import pytest
from sqlalchemy import func, select

from services.chassis.app import running
from services.chassis.bus import PAYLOAD_MAX_BYTES, Bus, Outgoing, PublishFailed
from services.chassis.database import Database, new_metadata
from services.chassis.outbox import Outbox, Relay, outbox_table
from tests.fakes.nats_server import NatsServer
from tests.fakes.waiting import eventually

metadata = new_metadata()
table = outbox_table(metadata)
outbox = Outbox(table)


@pytest.fixture
async def store(database: Database) -> Database:
    async with database.transaction() as connection:
        await connection.run_sync(metadata.create_all)
    return database


async def add(store: Database, *names: str) -> None:
    messages = [Outgoing("muster.shares.1", name.encode(), f"id-{name}", {"Muster-Account": "1"}) for name in names]
    async with store.transaction() as connection:
        await outbox.add(connection, messages, now_ms=1)


async def left(store: Database) -> int:
    async with store.read() as connection:
        return int(await connection.scalar(select(func.count()).select_from(table)) or 0)


async def emptied(store: Database) -> None:
    async def is_empty() -> bool:
        return await left(store) == 0

    await eventually(is_empty)


async def published(server: NatsServer) -> list[str]:
    """The bodies of SHARES in the stream's order."""
    connection = await nats.connect(server.url)
    js = connection.jetstream()
    count = (await js.stream_info("SHARES")).state.messages
    subscription = await js.subscribe("muster.shares.*", ordered_consumer=True)
    bodies = [(await subscription.next_msg(timeout=5)).data.decode() for _ in range(count)]
    await connection.close()
    return bodies


async def test_a_committed_message_is_published_with_its_headers_and_then_gone(store: Database, bus: Bus) -> None:
    relay = Relay(store, table, bus)
    async with running(relay):
        await add(store, "a")
        await relay.flush()
        raw = await bus.jetstream.get_msg("SHARES", seq=1)
        assert (raw.subject, raw.data, raw.headers) == ("muster.shares.1", b"a", {"Muster-Account": "1", "Nats-Msg-Id": "id-a"})
        await emptied(store)


async def test_a_message_of_a_transaction_taken_back_never_leaves(store: Database, bus: Bus, nats_server: NatsServer) -> None:
    relay = Relay(store, table, bus)
    async with running(relay):
        with pytest.raises(KeyError):
            async with store.transaction() as connection:
                await outbox.add(connection, [Outgoing("muster.shares.1", b"never", "1")], now_ms=1)
                raise KeyError
        await add(store, "a")
        await relay.flush()
    assert await published(nats_server) == ["a"]


async def test_messages_leave_in_the_order_of_their_commits(store: Database, bus: Bus, nats_server: NatsServer) -> None:
    relay = Relay(store, table, bus)
    names = [f"{number}" for number in range(1_200)]
    async with running(relay):
        for start in range(0, 1_200, 40):
            await add(store, *names[start : start + 40])
            relay.wake()
        await relay.flush()
    assert await published(nats_server) == names


async def test_what_a_crash_left_between_commit_and_publish_leaves_at_the_next_start(
    store: Database, bus: Bus, nats_server: NatsServer
) -> None:
    await add(store, "a", "b")
    async with running(Relay(store, table, bus)):
        await emptied(store)
    assert await published(nats_server) == ["a", "b"]


async def test_what_a_crash_left_between_publish_and_deletion_is_not_doubled(store: Database, bus: Bus, nats_server: NatsServer) -> None:
    await add(store, "a", "b")
    await bus.publish("muster.shares.1", b"a", message_id="id-a")
    async with running(Relay(store, table, bus)):
        await emptied(store)
    assert await published(nats_server) == ["a", "b"]


async def test_messages_wait_while_nats_is_away_and_then_leave_in_order(store: Database, bus: Bus, nats_server: NatsServer) -> None:
    relay = Relay(store, table, bus)
    async with running(relay):
        await add(store, "a")
        await relay.flush()
        nats_server.kill()
        await add(store, "b", "c")
        with pytest.raises(PublishFailed):
            await relay.flush(timeout_seconds=0.5)
        await add(store, "d")
        nats_server.start()
        await relay.flush()
    assert await published(nats_server) == ["a", "b", "c", "d"]


async def test_nats_killed_again_and_again_under_load_loses_doubles_and_turns_round_nothing(
    store: Database, bus: Bus, nats_server: NatsServer
) -> None:
    relay = Relay(store, table, bus)
    names = [f"{number}" for number in range(3_000)]
    async with running(relay):
        for start in range(0, 3_000, 100):
            await add(store, *names[start : start + 100])
            relay.wake()
            if start % 1_000 == 300:
                await asyncio.sleep(0.01)
                await asyncio.to_thread(nats_server.restart)
        await relay.flush(timeout_seconds=20)
    assert await published(nats_server) == names


async def test_several_may_wait_for_their_messages_at_once(store: Database, bus: Bus) -> None:
    relay = Relay(store, table, bus)

    async def one(name: str) -> None:
        await add(store, name)
        await relay.flush()

    async with running(relay):
        await asyncio.gather(*(one(f"{number}") for number in range(20)))
        assert (await bus.jetstream.stream_info("SHARES")).state.messages == 20


async def test_two_processes_on_one_postgres_publish_each_message_once_and_in_order(
    postgres_url: str, bus: Bus, nats_server: NatsServer
) -> None:
    stores = [Database(postgres_url) for _ in range(2)]
    for store in stores:
        await store.start()
    async with stores[0].transaction() as connection:
        await connection.run_sync(metadata.create_all)
    relays = [Relay(store, table, bus) for store in stores]
    names = [f"{number}" for number in range(600)]
    async with running(*relays):
        for start in range(0, 600, 20):
            index = start // 20 % 2
            await add(stores[index], *names[start : start + 20])
            await relays[index].flush()
    assert await published(nats_server) == names
    for store in stores:
        await store.stop()


async def test_a_message_too_large_for_the_bus_is_refused_before_the_commit(store: Database) -> None:
    with pytest.raises(ValueError, match="at most"):
        async with store.transaction() as connection:
            await outbox.add(connection, [Outgoing("muster.shares.1", b"x" * (PAYLOAD_MAX_BYTES + 1), "1")], now_ms=1)
    assert await left(store) == 0


async def test_flushing_an_empty_outbox_returns_at_once(store: Database, bus: Bus) -> None:
    await asyncio.wait_for(Relay(store, table, bus).flush(), 1)
