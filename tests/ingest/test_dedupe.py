"""What is sent again counts once: at once, later, after a restart, from another process, and after an answer that was lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

import pytest
from sqlalchemy import func, select

import services.ingest
import services.ingest.store
from services.chassis.bus import Bus
from services.chassis.database import Database
from services.chassis.migrations import difference, migrate
from services.ingest import tables
from services.ingest.domain.dedupe import event_ids, message_key, message_keys, request_key
from services.ingest.domain.model import Batch, Context, Event
from services.ingest.domain.sieve import Places, Sieve
from services.ingest.seen import SPAN_MS, Seen
from services.ingest.store import Store
from tests.fakes.clock import ManualClock
from tests.ingest.conftest import Serve, Service, batch, custom, read_stream, tell_input

MIGRATIONS = Path(services.ingest.__path__[0]) / "migrations"


async def test_a_batch_that_is_sent_again_counts_once(serve: Serve, bus: Bus, database_url: str) -> None:
    sent = [batch(f"c-{number}", custom(f"event {number}"), source_request_id=f"r-{number}") for number in range(5)]
    async with serve(database_url=database_url) as service:
        for _ in range(3):
            assert (await service.bulk(sent)).status_code == 202
        # Twice in one request, and in many requests at once.
        assert (await service.bulk([sent[0], sent[0]])).status_code == 202
        more = [batch("c-9", custom("event 9"), source_request_id="r-9")] * 2
        assert {answer.status_code for answer in await asyncio.gather(*[service.bulk(more) for _ in range(10)])} == {202}
    async with serve(database_url=database_url) as restarted:
        assert (await restarted.bulk([*sent, *more])).status_code == 202
    assert (await read_stream(bus)).names == [*(f"event {number}" for number in range(5)), "event 9"]


async def test_an_event_that_is_sent_again_counts_once_also_beside_new_ones(serve: Serve, bus: Bus, database_url: str) -> None:
    first, second, third = (custom(name, source_message_id=f"m-{name}") for name in "abc")
    change = {"event_type": "user_attribute_change", "data": {"user_attribute_name": "plan", "new": "x", "source_message_id": "m-d"}}
    async with serve(database_url=database_url) as service:
        assert (await service.events(batch("c-1", first, second, second, change))).status_code == 202
        assert (await service.events(batch("c-1", second, third, change))).status_code == 202
        # Events without an id are taken each time.
        assert (await service.events(batch("c-1", first, custom("no id"), custom("no id")))).status_code == 202
    told = await read_stream(bus)
    assert told.names == ["a", "b", "c", "no id", "no id", "plan"]
    assert len({event.event_id for event in told.events}) == len(told.events)
    assert [change.set_attributes["plan"].string_value for change in told.changes if change.set_attributes] == ["x"]


async def test_two_processes_take_what_both_are_sent_once(serve: Serve, bus: Bus, postgres_url: str) -> None:
    sent = [batch(f"c-{number}", custom(f"event {number:02}"), source_request_id=f"r-{number}") for number in range(30)]
    async with serve(database_url=postgres_url) as one, serve(database_url=postgres_url) as other:
        for _ in range(3):
            answers = await asyncio.gather(one.bulk(sent), other.bulk(list(reversed(sent))), one.bulk(sent), other.bulk(sent))
            assert {answer.status_code for answer in answers} == {202}
    assert (await read_stream(bus)).names == [f"event {number:02}" for number in range(30)]


async def test_ids_of_another_input_are_other_ids(service: Service, bus: Bus) -> None:
    await tell_input(bus, 101, key="another", secret="secret")
    sent = batch("c-1", custom("one", source_message_id="1"), source_request_id="1")
    assert (await service.events(sent)).status_code == 202
    for _ in range(200):
        answer = await service.http.post("/v2/events", json=sent, auth=("another", "secret"))
        if answer.status_code == 202:
            break
        await asyncio.sleep(0.01)
    told = await read_stream(bus)
    assert len(told.events) == 2
    assert len({event.event_id for event in told.events}) == 2


async def test_a_corrected_batch_is_taken_under_the_id_that_was_refused(service: Service, bus: Bus) -> None:
    wrong = batch("c-1", custom(""), source_request_id="r-1")
    assert (await service.events(wrong)).status_code == 400
    assert (await service.events(batch("c-1", custom("right"), source_request_id="r-1"))).status_code == 202
    assert (await read_stream(bus)).names == ["right"]


def test_an_event_keeps_its_number_when_it_is_sent_again() -> None:
    def made(request_id: str, *ids: str) -> Batch:
        events = [Event(1, "x", 5, message_id=id) for id in ids]
        return Batch(request_id, 7, [], Context(), events, [], 5)

    def numbers(sent: Batch, input_id: int = 1) -> list[int]:
        return event_ids(1, input_id, sent, message_keys(1, input_id, sent))

    assert numbers(made("r", "", "m", "")) == numbers(made("r", "", "m", ""))
    assert numbers(made("r", "m", "n")) == numbers(made("other", "m", "n"))
    assert numbers(made("r", "", ""))[0] != numbers(made("s", "", ""))[0]
    assert numbers(made("", "", "")) != numbers(made("", "", ""))
    assert numbers(made("r", "m")) != numbers(made("r", "m"), input_id=2)
    assert all(0 <= number < 2**63 for number in numbers(made("r", *[""] * 1000)))
    assert request_key(1, 1, "x") != message_key(1, 1, "x")


def key(number: int) -> bytes:
    return blake2b(str(number).encode(), digest_size=16).digest()


async def remembered(seen: Seen, store: Store, numbers: Iterable[int], now_ms: int) -> set[int]:
    keys = {key(number): number for number in numbers}
    async with store.database.transaction() as connection:
        return {keys[one] for one in await seen.remember(connection, keys, now_ms=now_ms)}


@pytest.mark.parametrize("seed", range(4))
async def test_an_id_is_known_for_the_window_whatever_the_sieves_hold(database: Database, seed: int) -> None:
    await migrate(database, MIGRATIONS)
    drawn, store, clock, window = random.Random(seed), Store(database), ManualClock(), 2
    seen = Seen(store, clock, window_hours=window)
    entered: dict[int, int] = {}
    for _ in range(60):
        await clock.advance(drawn.choice([0, 5, 30, 300, 599, 601, 4000]))
        now_ms = clock.now_ms()
        span, numbers = now_ms // SPAN_MS, drawn.sample(range(150), 20)
        expected = {number for number in numbers if entered.get(number, -1) < span - window * 6}
        assert await remembered(seen, store, numbers, now_ms) == expected
        entered |= dict.fromkeys(numbers, span)
        match drawn.randrange(6):
            case 0:
                # A start, in which nothing is held yet.
                seen = Seen(store, clock, window_hours=window)
            case 1 | 2:
                await seen.keep()


async def test_what_is_too_old_goes_from_the_database(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services.ingest.store, "_FORGOTTEN", 3)
    await migrate(database, MIGRATIONS)
    store, clock = Store(database), ManualClock()
    await clock.advance(120)  # where nothing is entered in the span before as well
    seen = Seen(store, clock, window_hours=1)
    await remembered(seen, store, range(10), clock.now_ms())
    await clock.advance(3600)
    await remembered(seen, store, range(5, 12), clock.now_ms())
    await seen.keep()
    assert await counted(store) == 17
    await clock.advance(600)
    await seen.keep()
    assert await counted(store) == 7
    assert await remembered(seen, store, range(12), clock.now_ms()) == set(range(5))


async def counted(store: Store) -> int:
    async with store.database.read() as connection:
        return int(await connection.scalar(select(func.count()).select_from(tables.sent)) or 0)


async def test_a_repetition_at_the_edge_of_two_spans_is_noticed_by_another_process(postgres_url: str) -> None:
    database = Database(postgres_url)
    await database.start()
    await migrate(database, MIGRATIONS)
    store, clock = Store(database), ManualClock()
    one, other = Seen(store, clock, window_hours=1), Seen(store, clock, window_hours=1)
    edge_ms = (clock.now_ms() // SPAN_MS + 1) * SPAN_MS
    async with database.transaction() as slow:
        assert await one.remember(slow, [key(1)], now_ms=edge_ms - 1) == {key(1)}
        # It has not committed yet: the other one, a moment later, waits for it.
        waiting = asyncio.create_task(remembered(other, store, [1, 2], edge_ms + 1))
        await asyncio.sleep(0.2)
        assert not waiting.done()
    assert await waiting == {2}
    await database.stop()


def test_a_sieve_never_forgets_and_is_seldom_wrong() -> None:
    def places(*numbers: int) -> Places:
        return sieve.places([key(number) for number in range(*numbers)])

    sieve = Sieve(10_000)
    sieve.add(places(10_000))
    assert sieve.holds(places(10_000)).all()
    assert sieve.holds(places(10_000, 30_000)).mean() < 0.002
    assert not sieve.is_full
    sieve.add(places(30_000, 40_000))
    assert sieve.is_full
    assert sieve.holds(places(50_000, 90_000)).mean() < 0.005


async def test_the_migrations_make_the_tables(database: Database) -> None:
    await migrate(database, MIGRATIONS)
    assert await difference(database, tables.metadata) == []
