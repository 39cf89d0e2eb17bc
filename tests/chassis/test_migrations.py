from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import Column, MetaData, Table, Text, inspect, text

from services.chassis.database import Database, id_column, new_metadata
from services.chassis.migrations import difference, migrate

ENV = """
from services.chassis.database import new_metadata
from services.chassis.migrations import run_env
run_env(new_metadata())
"""
FIRST = """
from alembic import op
from sqlalchemy import Column, Text
from services.chassis.database import id_column
revision, down_revision = "0001", None
def upgrade():
    op.create_table("towns", id_column(), Column("name", Text, nullable=False), sqlite_autoincrement=True)
"""
SECOND = """
from alembic import op
from sqlalchemy import Column, Text
revision, down_revision = "0002", "0001"
def upgrade():
    with op.batch_alter_table("towns") as towns:
        towns.add_column(Column("country", Text))
        towns.create_unique_constraint("uq_towns_name", ["name"])
"""
FAULTY = """
from alembic import op
revision, down_revision = "0003", "0002"
def upgrade():
    op.execute("DELETE FROM towns")
    op.execute("DELETE FROM nothing")
"""


def folder(path: Path, *revisions: str) -> Path:
    """A service's migrations/ with these revisions."""
    versions = path / "migrations" / "versions"
    versions.mkdir(parents=True, exist_ok=True)
    (path / "migrations" / "env.py").write_text(ENV)
    for number, revision in enumerate(revisions, 1):
        (versions / f"{number:04}.py").write_text(revision)
    return path / "migrations"


async def columns(database: Database) -> list[str]:
    async with database.read() as connection:
        return await connection.run_sync(lambda sync: [column["name"] for column in inspect(sync).get_columns("towns")])


async def test_a_new_database_is_brought_to_the_newest_revision(database: Database, tmp_path: Path) -> None:
    await migrate(database, folder(tmp_path, FIRST, SECOND))
    assert await columns(database) == ["id", "name", "country"]


async def test_an_older_database_keeps_its_rows_and_gets_what_it_lacks(database: Database, tmp_path: Path) -> None:
    await migrate(database, folder(tmp_path, FIRST))
    async with database.transaction() as connection:
        await connection.execute(text("INSERT INTO towns (name) VALUES ('Delft')"))
    await migrate(database, folder(tmp_path, FIRST, SECOND))
    async with database.read() as connection:
        assert (await connection.execute(text("SELECT name, country FROM towns"))).all() == [("Delft", None)]


async def test_migrating_again_changes_nothing(database: Database, tmp_path: Path) -> None:
    for _ in range(2):
        await migrate(database, folder(tmp_path, FIRST))
    assert await columns(database) == ["id", "name"]


async def test_a_migration_that_fails_leaves_everything_as_it_was(database: Database, tmp_path: Path) -> None:
    await migrate(database, folder(tmp_path, FIRST, SECOND))
    async with database.transaction() as connection:
        await connection.execute(text("INSERT INTO towns (name) VALUES ('Delft')"))
    with pytest.raises(Exception, match="nothing"):
        await migrate(database, folder(tmp_path, FIRST, SECOND, FAULTY))
    async with database.read() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM towns")) == 1
        assert await connection.scalar(text("SELECT version_num FROM alembic_version")) == "0002"


async def test_replicas_that_start_at_once_migrate_once(database_url: str, tmp_path: Path) -> None:
    location = folder(tmp_path, FIRST, SECOND)
    replicas = [Database(database_url) for _ in range(3)]
    for replica in replicas:
        await replica.start()
    await asyncio.gather(*(migrate(replica, location) for replica in replicas))
    assert await columns(replicas[0]) == ["id", "name", "country"]
    for replica in replicas:
        await replica.stop()


def towns(*more: Column[str]) -> MetaData:
    metadata = new_metadata()
    Table("towns", metadata, id_column(), Column("name", Text, nullable=False), *more)
    return metadata


async def test_a_difference_between_migrations_and_tables_is_found(database: Database, tmp_path: Path) -> None:
    await migrate(database, folder(tmp_path, FIRST))
    assert await difference(database, towns()) == []
    assert await difference(database, towns(Column("mayor", Text))) != []
