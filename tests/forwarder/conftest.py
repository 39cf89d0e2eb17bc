"""Fixtures of the forwarder's tests: its database with every table, a partner, and a desk from which one connection is worked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.chassis.database import Database
from services.chassis.migrations import migrate
from services.forwarder.app import MIGRATIONS
from services.forwarder.stores.store import Store
from tests.fakes.webhook_partner import WebhookPartner
from tests.forwarder.desk import SECRET, Desk


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
