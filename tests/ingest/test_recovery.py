"""What happens when NATS, the database or the process itself goes away in the middle."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import httpx2
import pytest

from services.chassis.bus import Bus
from services.ingest.inputs import Inputs, InputsUnknown
from services.ingest.settings import IngestSettings
from tests.fakes.nats_server import NatsServer
from tests.fakes.postgres_server import PostgresServer
from tests.ingest.conftest import Process, Serve, Service, batch, custom, read_stream, tell_input


@contextmanager
def standing_still(nats_server: NatsServer) -> Iterator[None]:
    """NATS keeps its connections and answers nothing."""
    assert nats_server._process is not None
    os.kill(nats_server._process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(nats_server._process.pid, signal.SIGCONT)


def outbox_rows(settings: IngestSettings) -> int:
    with sqlite3.connect(settings.data_dir / "ingest.db") as database:
        return int(database.execute("SELECT count(*) FROM outbox").fetchone()[0])


async def until(what: Callable[[], Any], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come about"
        await asyncio.sleep(0.02)


async def accepted(service: Service, body: Any, seconds: float = 15) -> None:
    """Send until it is accepted, as senders do."""
    end = time.monotonic() + seconds
    while (answer := await service.bulk(body)).status_code != 202:
        assert answer.status_code == 503, answer.text
        assert time.monotonic() < end, "it is not accepted"
        await asyncio.sleep(0.05)


async def test_while_nats_is_away_the_answer_is_503_and_afterwards_all_counts_once(
    service: Service, bus: Bus, nats_server: NatsServer
) -> None:
    sent = [batch("c-1", custom("away"), source_request_id="r-1")]
    assert (await service.bulk([batch("c-1", custom("before"))])).status_code == 202
    nats_server.kill()
    try:
        for _ in range(3):
            answer = await service.bulk(sent)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert answer.json()["errors"][0]["code"] == "SERVICE_UNAVAILABLE"
        health = await service.http.get("/healthz")
        assert (health.status_code, health.json()["away"]) == (503, ["nats"])
        # Nothing was begun, so what has no id is not half there either.
        assert (await service.bulk([batch("c-2", custom("without an id"))])).status_code == 503
    finally:
        nats_server.start()
    await accepted(service, sent)
    assert (await read_stream(bus)).names == ["away", "before"]


async def test_a_repetition_is_not_answered_202_before_what_came_first_is_published(
    serve: Serve, bus: Bus, nats_server: NatsServer, database_url: str
) -> None:
    sent = [batch("c-1", custom("once"), source_request_id="r-1")]
    async with serve(database_url=database_url, publish_seconds=0.5) as service:
        with standing_still(nats_server):
            # Committed, but not published: the promise cannot be made, neither now nor to the repetition.
            assert [(await service.bulk(sent)).status_code for _ in range(2)] == [503, 503]
        await accepted(service, sent)
    assert (await read_stream(bus)).names == ["once"]


async def test_a_process_killed_between_commit_and_publishing_loses_nothing_and_doubles_nothing(
    start_process: Callable[..., Process], bus: Bus, nats_server: NatsServer
) -> None:
    await tell_input(bus)
    process = start_process()
    service = Service(process.settings)
    await service.until_serving()
    sent = [batch(f"c-{number}", custom(f"event {number}"), source_request_id=f"r-{number}") for number in range(5)]
    with standing_still(nats_server):
        asking = asyncio.create_task(service.bulk(sent))
        await until(lambda: outbox_rows(process.settings))
        process.kill()
        assert isinstance((await asyncio.gather(asking, return_exceptions=True))[0], Exception)
    assert outbox_rows(process.settings)
    again = start_process(process.settings)
    await service.until_serving()
    await until(lambda: not outbox_rows(process.settings))
    # The sender, who had no answer, sends again.
    assert (await service.bulk(sent)).status_code == 202
    told = await read_stream(bus)
    assert told.names == [f"event {number}" for number in range(5)]
    await service.http.aclose()
    assert again.terminate() == 0


async def test_a_process_killed_again_and_again_under_load_loses_nothing_and_doubles_nothing(
    start_process: Callable[..., Process], bus: Bus
) -> None:
    await tell_input(bus)
    process = start_process()
    service = Service(process.settings)
    await service.until_serving()
    finished: list[int] = []

    async def send(worker: int) -> None:
        for number in range(worker, 120, 4):
            body = [batch(f"c-{number % 7}", custom(f"{number:03}-{place}"), source_request_id=f"{number}-{place}") for place in range(10)]
            while True:
                try:
                    if (await service.bulk(body)).status_code == 202:
                        break
                except Exception:
                    await asyncio.sleep(0.1)
                await asyncio.sleep(0.02)
            finished.append(number)
            await asyncio.sleep(0.02)

    senders = [asyncio.create_task(send(worker)) for worker in range(4)]
    for _ in range(2):
        goal = len(finished) + 15
        await until(lambda: len(finished) >= goal, 20)  # noqa: B023 - called before the next turn
        process.kill()
        process = start_process(process.settings)
    await asyncio.gather(*senders)
    told = await read_stream(bus)
    assert told.names == sorted(f"{number:03}-{place}" for number in range(120) for place in range(10))
    people: dict[int, set[int]] = {}
    for event in told.events:
        people.setdefault(int(event.name[:3]) % 7, set()).add(event.mpid)
    assert all(len(mpids) == 1 for mpids in people.values())
    await service.http.aclose()


async def test_killed_amid_requests_what_was_answered_202_is_there_once_and_what_was_refused_nowhere(
    start_process: Callable[..., Process], bus: Bus
) -> None:
    requests, kills = int(os.environ.get("MUSTER_KILL_REQUESTS", "1500")), 3
    await tell_input(bus)
    process = start_process()
    service = Service(process.settings)
    await service.until_serving()
    status: dict[int, int] = {}
    numbers, serving = iter(range(requests)), asyncio.Event()
    serving.set()

    async def send() -> None:
        # Nobody sends again: what had no answer may be there or not.
        for number in numbers:
            await serving.wait()
            event = custom(f"{number:06}" if number % 10 else "")
            try:
                status[number] = (await service.events(batch(f"c-{number % 100}", event))).status_code
            except httpx2.TransportError:
                status[number] = 0

    senders = [asyncio.create_task(send()) for _ in range(16)]
    for kill in range(1, kills + 1):
        await until(lambda: len(status) >= requests * kill // (kills + 1), 600)  # noqa: B023 - called before the next turn
        process.kill()
        serving.clear()
        process = start_process(process.settings)
        await service.until_serving()
        serving.set()
    await asyncio.gather(*senders)
    await until(lambda: not outbox_rows(process.settings))
    times = Counter((await read_stream(bus)).names)
    assert len(status) == requests
    assert {times[f"{number:06}"] for number, code in status.items() if code == 202} == {1}
    assert {times[f"{number:06}"] for number, code in status.items() if code not in (0, 202)} <= {0}
    assert {times[f"{number:06}"] for number, code in status.items() if not code} <= {0, 1}
    assert times[""] == 0
    assert sum(code == 202 for code in status.values()) > requests // 3
    assert {code for number, code in status.items() if number % 10 == 0} <= {0, 400}
    await service.http.aclose()


async def test_a_process_that_is_told_to_stop_answers_what_it_took(start_process: Callable[..., Process], bus: Bus) -> None:
    await tell_input(bus)
    process = start_process()
    service = Service(process.settings)
    await service.until_serving()
    asking = [asyncio.create_task(service.bulk([batch(f"c-{number}", custom(str(number)))])) for number in range(20)]
    await asyncio.sleep(0.02)
    assert process.terminate() == 0
    answers = await asyncio.gather(*asking, return_exceptions=True)
    taken = sum(not isinstance(answer, BaseException) and answer.status_code == 202 for answer in answers)
    assert len((await read_stream(bus)).events) >= taken
    await service.http.aclose()


@asynccontextmanager
async def out_of_reach(postgres_server: PostgresServer) -> AsyncIterator[None]:
    """PostgreSQL cuts every connection and can't be found."""
    admin = await asyncpg.connect(user="postgres", database="postgres", host=str(postgres_server.folder))
    door = postgres_server.folder / ".s.PGSQL.5432"
    hidden = door.rename(door.with_name("hidden"))
    try:
        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE 'test%'")
        yield
    finally:
        hidden.rename(door)
        await admin.close()


async def test_while_the_database_is_away_the_answer_is_503(
    serve: Serve, bus: Bus, postgres_url: str, postgres_server: PostgresServer
) -> None:
    sent = [batch("c-1", custom("event"), source_request_id="r-1")]
    async with serve(database_url=postgres_url) as service:
        async with out_of_reach(postgres_server):
            answer = await service.bulk(sent)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert (await service.http.get("/healthz")).json()["away"] == ["database"]
        await accepted(service, sent)
    assert (await read_stream(bus)).names == ["event"]


async def test_until_the_inputs_are_known_an_unknown_key_is_told_to_come_again(bus: Bus) -> None:
    with pytest.raises(InputsUnknown):
        Inputs(bus, service="ingest").authenticated("key", "secret")
