"""A running ingest service for tests, with inputs as definition would tell them, and eyes on the stream."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from muster.definition.v1 import account_pb2
from muster.definition.v1 import facts_pb2 as definition_facts_pb2
from muster.ingest.v1 import facts_pb2

from services.chassis import auth
from services.chassis.app import App
from services.chassis.bus import Bus
from services.chassis.streams import EVENTS, definitions_subject
from services.ingest.app import build
from services.ingest.settings import IngestSettings
from tests.conftest import TOKEN_SECRET
from tests.fakes.nats_server import NatsServer, free_port

ACCOUNT, WORKSPACE, INPUT = 1, 10, 100
KEY, SECRET = "an-api-key", "the secret of the input"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def batch(customer: str = "c-1", *events: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A good batch of a customer; a session start unless events are given."""
    sent = list(events) or [{"event_type": "session_start", "data": {"timestamp_unixtime_ms": now_ms()}}]
    return {"environment": "production", "user_identities": {"customer_id": customer}, "events": sent, **fields}


def custom(name: str = "Viewed", **data: Any) -> dict[str, Any]:
    return {"event_type": "custom_event", "data": {"event_name": name, "custom_event_type": "other", **data}}


async def tell_input(
    bus: Bus,
    input_id: int = INPUT,
    *,
    account_id: int = ACCOUNT,
    workspace_id: int = WORKSPACE,
    key: str = KEY,
    secret: str = SECRET,
    version: int = 1,
    active: bool = True,
    **more: Any,
) -> None:
    """What definition publishes of an input."""
    state = account_pb2.INPUT_STATE_ACTIVE if active else account_pb2.INPUT_STATE_INACTIVE
    fact = definition_facts_pb2.DefinitionFact(account_id=account_id, version=version)
    fact.input.input.CopyFrom(
        account_pb2.Input(
            input_id=input_id,
            workspace_id=workspace_id,
            api_key=key,
            state=state,
            platform=account_pb2.PLATFORM_IOS,
            kind=account_pb2.INPUT_KIND_PLATFORM,
            **more,
        )
    )
    fact.input.api_secret_sha256 = hashlib.sha256(secret.encode()).digest()
    subject = definitions_subject(account_id, "input", input_id)
    await bus.publish(subject, fact.SerializeToString(), message_id=f"{account_id}-{input_id}-{version}")


@dataclass(frozen=True)
class Told:
    """One event as consumers see it."""

    mpid: int
    type: int
    name: str
    time_ms: int
    event_id: int
    input_id: int
    details: Any
    platform: str


@dataclass
class Stream:
    """What is in the stream EVENTS, a batch id counted once, as consumers do."""

    events: list[Told] = field(default_factory=list)
    changes: list[facts_pb2.ProfileChange] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    repeated: int = 0

    @property
    def names(self) -> list[str]:
        return sorted(event.name for event in self.events)


async def read_stream(bus: Bus) -> Stream:
    """Everything that was published so far."""
    told = Stream()
    seen: set[str] = set()
    state = (await bus.jetstream.stream_info(EVENTS)).state
    for message in await asyncio.gather(
        *[bus.jetstream.get_msg(EVENTS, number) for number in range(state.first_seq or 1, state.last_seq + 1)]
    ):
        kind = str(message.subject).split(".")[1]
        told.order.append(kind)
        if kind == "profiles":
            changes = facts_pb2.ProfileChanges.FromString(message.data or b"")
            if changes.batch_id in seen:
                told.repeated += 1
                continue
            seen.add(changes.batch_id)
            told.changes += changes.changes
            continue
        sent = facts_pb2.EventBatch.FromString(message.data or b"")
        if sent.batch_id in seen:
            told.repeated += 1
            continue
        seen.add(sent.batch_id)
        for row, mpid in enumerate(sent.mpids):
            kind_ = sent.kinds[sent.kind_indexes[row]]
            told.events.append(
                Told(
                    mpid=mpid,
                    type=kind_.type,
                    name=kind_.name,
                    time_ms=sent.times_ms[row],
                    event_id=sent.event_ids[row],
                    input_id=sent.sources[sent.source_indexes[row]].input_id,
                    details=json.loads(sent.details[row], parse_float=str) if sent.details[row] else {},
                    platform=sent.contexts[sent.context_indexes[row]].platform,
                )
            )
    return told


def token_for(account_id: int = ACCOUNT) -> tuple[tuple[str, str], ...]:
    """The metadata of a call made for an account."""
    token = auth.mint(TOKEN_SECRET, account_id=account_id, subject="test", ttl=timedelta(hours=1), now=datetime.now(UTC))
    return (("authorization", f"Bearer {token}"),)


class Service:
    """A running ingest and a client of its HTTP Events API."""

    def __init__(self, settings: IngestSettings, app: App | None = None) -> None:
        self.settings = settings
        self.app = app
        self.url = f"http://127.0.0.1:{settings.http_port}"
        self.grpc_address = f"127.0.0.1:{settings.grpc_port}"
        self.http = httpx2.AsyncClient(base_url=self.url, auth=(KEY, SECRET), timeout=20, trust_env=False)

    async def events(self, body: Any, **more: Any) -> httpx2.Response:
        return await self._post("/v2/events", body, **more)

    async def bulk(self, body: Any, **more: Any) -> httpx2.Response:
        return await self._post("/v2/bulkevents", body, **more)

    async def _post(self, path: str, body: Any, **more: Any) -> httpx2.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.http.post(path, content=content, **more)

    async def until_serving(self, seconds: float = 15) -> None:
        """Return once it would accept events from the usual input."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if (await self.http.get("/healthz")).status_code == 200 and (await self.bulk([])).status_code == 202:
                    return
            except httpx2.TransportError:
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.02)
        raise TimeoutError("ingest does not serve")


Serve = Callable[..., Any]


@pytest.fixture
def ingest_settings(settings_of: Callable[..., Any], nats_server: NatsServer) -> Callable[..., IngestSettings]:
    """Settings of an ingest on free ports."""

    def make(**values: object) -> IngestSettings:
        ports = {"http_port": free_port(), "grpc_port": free_port(), "partitions": 4, "publish_seconds": 5}
        settings: IngestSettings = settings_of(IngestSettings, **{**ports, **values})
        return settings

    return make


@pytest.fixture
async def serve(ingest_settings: Callable[..., IngestSettings], bus: Bus) -> Serve:
    """`async with serve(database_url=...) as service`: an ingest in this process."""

    @asynccontextmanager
    async def start(**values: object) -> AsyncIterator[Service]:
        settings = ingest_settings(**values)
        app = App(grace_seconds=1)
        await build(app, settings)
        service = Service(settings, app)
        try:
            await app.start()
            await service.until_serving()
            yield service
        finally:
            await service.http.aclose()
            await app.stop()

    await tell_input(bus)
    return start


@pytest.fixture
async def service(serve: Serve) -> AsyncIterator[Service]:
    """An ingest with SQLite in this process."""
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(serve())


@dataclass
class Process:
    """An ingest in a process of its own."""

    settings: IngestSettings
    popen: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait(10)

    def terminate(self) -> int:
        self.popen.terminate()
        return self.popen.wait(20)


@pytest.fixture
def start_process(ingest_settings: Callable[..., IngestSettings], tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start `python -m services.ingest`; what still runs is killed at the end."""
    started: list[Process] = []

    def start(settings: IngestSettings | None = None) -> Process:
        settings = settings or ingest_settings()
        environment = {
            **os.environ,
            "MUSTER_DATA_DIR": str(settings.data_dir),
            "MUSTER_NATS_URL": settings.nats_url,
            "MUSTER_TOKEN_SECRET": TOKEN_SECRET,
            "MUSTER_INGEST_HTTP_PORT": str(settings.http_port),
            "MUSTER_INGEST_GRPC_PORT": str(settings.grpc_port),
            "MUSTER_PARTITIONS": str(settings.partitions),
            "PYTHONPATH": f"{Path.cwd()}{os.pathsep}{Path.cwd() / 'gen'}",
        }
        log = tmp_path / f"ingest-{len(started)}.log"
        with log.open("wb") as output:
            popen = subprocess.Popen([sys.executable, "-m", "services.ingest"], env=environment, stdout=output, stderr=output)
        started.append(Process(settings, popen, log))
        return started[-1]

    yield start
    for process in started:
        if process.popen.poll() is None:
            process.kill()
