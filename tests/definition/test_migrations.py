"""The migrations and the tables say the same."""

from __future__ import annotations

from services.chassis.database import Database
from services.chassis.migrations import difference, migrate
from services.definition import tables
from services.definition.app import MIGRATIONS


async def test_the_migrated_database_has_just_the_tables(database: Database) -> None:
    await migrate(database, MIGRATIONS)
    await migrate(database, MIGRATIONS)
    assert await difference(database, tables.metadata) == []
