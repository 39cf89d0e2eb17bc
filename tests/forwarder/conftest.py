"""Fixtures of the forwarder's tests: its database with every table, a partner, and a desk from which one connection is worked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from services.chassis.bus import Bus
from services.chassis.database import Database
from services.chassis.migrations import migrate
from services.forwarder.app import MIGRATIONS
from services.forwarder.stores.store import Store
from tests.fakes.webhook_partner import WebhookPartner
from tests.forwarder.desk import SECRET, Desk
from tests.forwarder.office import Around, Office


@pytest.fixture
async def partner() -> AsyncIterator[WebhookPartner]:
    """A partner that takes everything; at the end of the test nothing that it got may have been unfit."""
    async with WebhookPartner(SECRET) as partner:
        yield partner
        assert partner.unfit == []


@pytest.fixture
async def store(database: Database) -> Store:
    """The store, on each kind of database."""
    await migrate(database, MIGRATIONS)
    return Store(database)


@pytest.fixture
async def sqlite_database(tmp_path: Path) -> AsyncIterator[Database]:
    """A migrated SQLite database."""
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'forwarder.db'}")
    await database.start()
    await migrate(database, MIGRATIONS)
    yield database
    await database.stop()


@pytest.fixture
async def desk(sqlite_database: Database, partner: WebhookPartner) -> AsyncIterator[Desk]:
    """A desk on SQLite; most of what the loop does is the same on every database."""
    desk = Desk(Store(sqlite_database), partner)
    yield desk
    await desk.close()


@pytest.fixture
async def either_desk(store: Store, partner: WebhookPartner) -> AsyncIterator[Desk]:
    """A desk on each kind of database."""
    desk = Desk(store, partner)
    yield desk
    await desk.close()


@pytest.fixture
async def office(settings_of: Callable[..., Any], bus: Bus, partner: WebhookPartner) -> AsyncIterator[Office]:
    """The whole forwarder on SQLite."""
    around = await Around.begin()
    office = Office(settings_of, bus, partner, around)
    await office.start()
    yield office
    await office.stop()
    await around.stop()


@pytest.fixture
async def either_office(settings_of: Callable[..., Any], bus: Bus, partner: WebhookPartner, database_url: str) -> AsyncIterator[Office]:
    """The whole forwarder on each kind of database."""
    around = await Around.begin()
    office = Office(settings_of, bus, partner, around, database_url=database_url)
    await office.start()
    yield office
    await office.stop()
    await around.stop()
