"""Tables of Arrow by gRPC, flat out: ingest is a process of its own, the sender is this one.

Beside it, in the same run, is the same service that only reads and checks the same tables (`validate_only`), and keeps nothing.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import grpc
import numpy as np
import pyarrow as pa
from muster.ingest.v1 import ingest_service_pb2 as pb
from muster.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub

from cli.supervisor import Supervisor
from tests.bench.figure import Figure
from tests.e2e.installation import QUICK, Installation, now_ms
from tests.fakes.webhook_partner import WebhookPartner

ROWS = 10_000
REQUESTS = 60
PEOPLE = 200_000
_NAMES = np.array(["Viewed", "Searched", "Opened", "Shared", "Rated"])


def events(number: int, *, people: int = PEOPLE, message_ids: bool = False) -> pa.Table:
    """A table of events with two attributes, of so many people in all."""
    chance = np.random.default_rng(number)
    columns = {
        "customer_id": pa.array([f"bench-{person}" for person in chance.integers(0, people, ROWS)]),
        "event_name": pa.array(_NAMES[chance.integers(0, len(_NAMES), ROWS)]).dictionary_encode(),
        "time": pa.array(now_ms() - chance.integers(0, 86_400_000, ROWS), pa.timestamp("ms", "UTC")),
        "attributes.price": pa.array((chance.integers(0, 10_000, ROWS) / 100).round(2)),
        "attributes.place": pa.array([f"place {place}" for place in chance.integers(0, 50, ROWS)]),
    }
    if message_ids:
        columns["source_message_id"] = pa.array([f"{number}-{row}-{time.monotonic_ns()}" for row in range(ROWS)])
    return pa.table(columns)


def people(number: int) -> pa.Table:
    """A table of user attributes: each row is somebody else, whom the events brought or who is new."""
    chance = np.random.default_rng(number)
    numbers = number % (PEOPLE // ROWS) * ROWS + np.arange(ROWS)
    return pa.table(
        {
            "customer_id": pa.array([f"bench-{person}" for person in numbers]),
            "user_attributes.plan": pa.array([f"plan {plan}" for plan in chance.integers(0, 5, ROWS)]),
            "user_attributes.city": pa.array([f"city {city}" for city in chance.integers(0, 2_000, ROWS)]),
            "user_attributes.credit": pa.array(chance.integers(0, 10_000, ROWS)),
        }
    )


def written(table: pa.Table) -> bytes:
    """As Arrow IPC."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue())


class Sender:
    """One stream to one ingest."""

    def __init__(self, channel: grpc.aio.Channel, token: str, input_id: int) -> None:
        self._stub = IngestServiceStub(channel)
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._input_id = input_id
        self._runs = 0

    async def rate(self, tables: Sequence[bytes], *, validate_only: bool = False, ids: bool = True) -> float:
        """Rows a second, until the last answer."""
        self._runs += 1

        async def requests() -> AsyncIterator[pb.IngestTableRequest]:
            for number, table in enumerate(tables):
                id = f"bench-{self._runs}-{number}" if ids else ""
                yield pb.IngestTableRequest(input_id=self._input_id, source_request_id=id, table=table, validate_only=validate_only)

        begin = time.monotonic()
        rows = 0
        async for answer in self._stub.IngestTable(requests(), metadata=self._metadata):
            rows += answer.accepted_rows
        assert rows == ROWS * len(tables), rows
        return rows / (time.monotonic() - begin)


async def _measure(folder: Path, scale: float) -> list[Figure]:
    count = max(2, round(REQUESTS * scale))
    async with WebhookPartner("no secret at all") as partner:
        async with Supervisor(folder, environment=QUICK, services=("definition", "ingest")) as stack:
            installation = Installation(stack, partner)
            await installation.found(connected=False)
            async with grpc.aio.insecure_channel(
                stack.ports.grpc_address("ingest"), options=[("grpc.max_send_message_length", -1)]
            ) as channel:
                sender = Sender(channel, stack.token(installation.account_id), installation.input_id)
                of_events = [written(events(number)) for number in range(count)]
                of_people = [written(people(number)) for number in range(count)]
                with_ids = [written(events(number, message_ids=True)) for number in range(count // 2)]
                await sender.rate(of_people[:2], validate_only=True)
                new = await sender.rate([written(people(number)) for number in range(PEOPLE // ROWS)])
                read = await sender.rate(of_events, validate_only=True)
                kept = await sender.rate(of_events)
                kept_with_ids = await sender.rate(with_ids)
                read_people = await sender.rate(of_people, validate_only=True)
                kept_people = await sender.rate(of_people)
            await installation.close()
    return [
        Figure("arrow: events, kept", kept, "events/s", read, kept / read, ">= 100,000", kept >= 100_000),
        Figure("arrow: events, each with a message id", kept_with_ids, "events/s", kept, kept_with_ids / kept, "", True),
        Figure(
            "arrow: user attributes, kept",
            kept_people,
            "rows/s",
            read_people,
            kept_people / read_people,
            ">= 100,000",
            kept_people >= 100_000,
        ),
        Figure("arrow: user attributes of people who are new", new, "rows/s", kept_people, new / kept_people, "", True),
    ]


def run(scale: float = 1.0) -> list[Figure]:
    """The figures of the columnar way in; about half a minute at scale 1."""
    with tempfile.TemporaryDirectory(prefix="muster-bench-") as folder:
        return asyncio.run(_measure(Path(folder), scale))
