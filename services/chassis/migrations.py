"""Migrations of a service's database, run to the newest at start. The `env.py` of a service is three lines:

from services.chassis.migrations import run_env
from services.definition.tables import metadata
run_env(metadata)
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

from alembic import command, context
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, text

from .database import Database

_CONNECTION = "connection"
_OPTIONS: dict[str, Any] = {"compare_type": True, "compare_server_default": False, "render_as_batch": True}


def run_env(metadata: MetaData) -> None:
    """What a service's `env.py` calls: run the migrations on the connection that `migrate` opened."""
    context.configure(connection=context.config.attributes[_CONNECTION], target_metadata=metadata, **_OPTIONS)
    with context.begin_transaction():
        context.run_migrations()


async def migrate(database: Database, script_location: Path | str) -> None:
    """Bring the database to the newest revision of this folder, in one transaction. Replicas that start at once wait for each other."""
    location = Path(script_location)

    def upgrade(connection: Connection) -> None:
        if connection.dialect.name == "postgresql":
            key = zlib.crc32(f"muster migrations {location.parent.name}".encode())
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
        command.upgrade(_config(location, connection), "head")

    async with database.transaction() as connection:
        await connection.run_sync(upgrade)


async def difference(database: Database, metadata: MetaData) -> list[Any]:
    """What the migrated database lacks, or has too much, beside these tables; for the test that each service has of its migrations."""

    def compare(connection: Connection) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection, opts=dict(_OPTIONS)), metadata))

    async with database.read() as connection:
        return await connection.run_sync(compare)


def _config(location: Path, connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(location).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes[_CONNECTION] = connection
    return config


class Migrations:
    """`migrate` as a part of the app: added after its database, before whatever uses it."""

    def __init__(self, database: Database, script_location: Path | str) -> None:
        self._database = database
        self._script_location = script_location

    async def start(self) -> None:
        """Bring the database to the newest revision."""
        await migrate(self._database, self._script_location)

    async def stop(self) -> None:
        """Nothing to stop."""
