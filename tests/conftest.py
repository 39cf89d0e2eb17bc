"""Fixtures for every test: a real nats-server, a real PostgreSQL, SQLite files, settings and tokens. Servers start when first asked for.

The evaluator's event stores are the engine inside the process, each in a folder of its own. With a ClickHouse server they are there, each
in a database of its own that is dropped at the end, and all tests of the evaluator that touch a store run against it:

    MUSTER_TEST_CLICKHOUSE=clickhouse://user:password@host:8123 make test ARGS="-k 'evaluator or scenarios'"

`?cluster=name` at its end makes it a cluster's. The user must be allowed to make databases and to drop them.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import pytest

from services.chassis import auth
from services.chassis.bus import Bus
from services.chassis.database import Database
from services.chassis.settings import ServiceSettings
from tests.fakes.event_stores import EventStores
from tests.fakes.nats_server import NatsServer
from tests.fakes.postgres_server import PostgresServer

TOKEN_SECRET = "a secret for tests, and for nothing else"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def _nats_server() -> Iterator[NatsServer]:
    with tempfile.TemporaryDirectory(prefix="muster-nats-", ignore_cleanup_errors=True) as folder:
        server = NatsServer(Path(folder))
        server.start()
        yield server
        server.kill()


@pytest.fixture
async def nats_server(_nats_server: NatsServer) -> NatsServer:
    """The nats-server of this worker, running and without any stream."""
    import nats

    _nats_server.start()
    connection = await nats.connect(_nats_server.url)
    js = connection.jetstream()
    for stream in await js.streams_info():
        await js.delete_stream(str(stream.config.name))
    await connection.close()
    return _nats_server


@pytest.fixture
async def bus(nats_server: NatsServer) -> AsyncIterator[Bus]:
    """A started bus with its streams."""
    bus = Bus(nats_server.url, name="test")
    await bus.start()
    yield bus
    await bus.stop()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The PostgreSQL of this worker."""
    # Not in pytest's own folders: another user runs the server, and those are closed to others.
    server = PostgresServer(Path(tempfile.mkdtemp(prefix="muster-pg-")))
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def postgres_url(postgres_server: PostgresServer) -> AsyncIterator[str]:
    """A fresh PostgreSQL database."""
    name = f"test_{next(_numbers)}"
    connection = await asyncpg.connect(user="postgres", database="postgres", host=str(postgres_server.folder))
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 STRATEGY file_copy")
    yield postgres_server.url(name)
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh database of each kind: a test that asks for it runs on both."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'test.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A started database of each kind, empty."""
    database = Database(database_url)
    await database.start()
    yield database
    await database.stop()


@pytest.fixture(scope="session")
def event_stores() -> Iterator[EventStores]:
    """Event stores where MUSTER_TEST_CLICKHOUSE says, or else in folders."""
    stores = EventStores(os.environ.get("MUSTER_TEST_CLICKHOUSE", ""))
    yield stores
    stores.drop()


@pytest.fixture
def token_secret() -> str:
    """The secret that signs the tokens of tests."""
    return TOKEN_SECRET


@pytest.fixture
def settings_of(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Settings for a test: `settings_of(DefinitionSettings, database_url=...)`; free ports, a folder and, if the test has one, its NATS."""

    def make(settings_class: type[ServiceSettings], **values: object) -> ServiceSettings:
        defaults: dict[str, object] = {"data_dir": tmp_path, "token_secret": TOKEN_SECRET, "grpc_port": 0, "shutdown_grace_seconds": 1}
        if "nats_server" in request.fixturenames:
            defaults["nats_url"] = request.getfixturevalue("nats_server").url
        return settings_class.load(**{**defaults, **values})

    return make


@pytest.fixture
def operator_token() -> str:
    """A token of the operator of the installation, valid for an hour of the machine's clock."""
    now, hour = datetime.now(UTC), timedelta(hours=1)
    return auth.mint(TOKEN_SECRET, account_id=auth.OPERATOR_ACCOUNT, subject="operator", roles=[auth.OPERATOR], ttl=hour, now=now)
