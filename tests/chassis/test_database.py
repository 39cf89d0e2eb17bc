from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest
from sqlalchemy import BigInteger, Column, Table, Text, UniqueConstraint, func, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis.database import Database, DatabaseUnavailable, id_column, insert_ignore, is_transient, ms_column, new_metadata, upsert
from tests.fakes.postgres_server import PostgresServer

metadata = new_metadata()
things = Table(
    "things",
    metadata,
    id_column(),
    Column("account_id", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    ms_column("create_time"),
    UniqueConstraint("account_id", "name"),
    sqlite_autoincrement=True,
)


def thing(name: str, size: int = 1) -> dict[str, object]:
    return {"account_id": 1, "name": name, "size": size, "create_time": 2**41}


@pytest.fixture
async def store(database: Database) -> Database:
    async with database.transaction() as connection:
        await connection.run_sync(metadata.create_all)
    return database


async def sizes(database: Database) -> dict[str, int]:
    async with database.read() as connection:
        return {row.name: row.size for row in await connection.execute(select(things.c.name, things.c.size))}


async def test_an_upsert_inserts_what_is_new_and_updates_what_is_there(store: Database) -> None:
    statement = upsert(things, keys=["account_id", "name"], update=["size"])
    async with store.transaction() as connection:
        await connection.execute(statement, [thing("a", 1), thing("b", 1)])
    async with store.transaction() as connection:
        await connection.execute(statement, [thing("b", 2), thing("c", 2)])
    assert await sizes(store) == {"a": 1, "b": 2, "c": 2}


async def test_an_ignoring_insert_leaves_what_is_there(store: Database) -> None:
    async with store.transaction() as connection:
        await connection.execute(insert_ignore(things, keys=["account_id", "name"]), [thing("a", 1)])
        await connection.execute(insert_ignore(things, keys=["account_id", "name"]), [thing("a", 2), thing("b", 2)])
        await connection.execute(insert_ignore(things), [thing("a", 3)])
    assert await sizes(store) == {"a": 1, "b": 2}


async def test_ids_go_up_and_are_never_used_again(store: Database) -> None:
    async def add(name: str) -> int:
        async with store.transaction() as connection:
            return int((await connection.execute(things.insert().returning(things.c.id), thing(name))).scalar_one())

    first, second = await add("a"), await add("b")
    async with store.transaction() as connection:
        await connection.execute(things.delete())
    assert first < second < await add("c")


async def test_an_exception_takes_everything_back(store: Database) -> None:
    with pytest.raises(KeyError):
        async with store.transaction() as connection:
            await connection.execute(things.insert(), thing("a"))
            raise KeyError
    assert await sizes(store) == {}


async def test_an_error_of_the_block_itself_passes_as_it_is(store: Database) -> None:
    """A failing file or a faulty statement must not look like a database that is away: that one is waited for."""
    with pytest.raises(FileNotFoundError):
        async with store.transaction():
            raise FileNotFoundError
    with pytest.raises(IntegrityError):
        async with store.transaction() as connection:
            await connection.execute(things.insert(), [thing("a"), thing("a")])
    with pytest.raises(DBAPIError) as fault:
        async with store.transaction() as connection:
            await connection.execute(text("SELECT nothing FROM nowhere"))
    assert not is_transient(fault.value)


async def test_the_values_of_a_statement_do_not_stand_in_its_error(store: Database) -> None:
    with pytest.raises(IntegrityError) as fault:
        async with store.transaction() as connection:
            await connection.execute(things.insert(), thing("someone@example.com"))
            await connection.execute(things.insert(), thing("someone@example.com"))
    assert "[SQL parameters hidden" in str(fault.value)


async def test_transactions_that_read_and_then_write_at_once_lose_nothing(store: Database) -> None:
    async with store.transaction() as connection:
        await connection.execute(things.insert(), thing("counter", 0))

    async def count(connection: AsyncConnection) -> None:
        if not store.is_sqlite:
            await connection.execute(text("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"))
        size = await connection.scalar(select(things.c.size))
        await asyncio.sleep(0.001)
        await connection.execute(things.update().values(size=(size or 0) + 1))

    await asyncio.gather(*(store.run_in_transaction(count) for _ in range(8)))
    assert await sizes(store) == {"counter": 8}


async def test_reading_waits_for_no_writer(store: Database) -> None:
    async with store.transaction() as connection:
        await connection.execute(things.insert(), thing("a"))
        assert await asyncio.wait_for(sizes(store), 5) == {}
    assert await sizes(store) == {"a": 1}


async def test_a_read_sees_one_state_on_sqlite(tmp_path: Path) -> None:
    store = Database(f"sqlite+aiosqlite:///{tmp_path / 'one.db'}")
    await store.start()
    async with store.transaction() as connection:
        await connection.run_sync(metadata.create_all)
    async with store.read() as reading:
        count = select(func.count()).select_from(things)
        assert await reading.scalar(count) == 0
        async with store.transaction() as connection:
            await connection.execute(things.insert(), thing("a"))
        assert await reading.scalar(count) == 0
    await store.stop()


async def test_a_transaction_inside_another_is_refused_rather_than_waiting_for_itself(tmp_path: Path) -> None:
    store = Database(f"sqlite+aiosqlite:///{tmp_path / 'one.db'}")
    await store.start()
    with pytest.raises(RuntimeError, match="inside a transaction"):
        async with store.transaction():
            async with store.transaction():
                pass
    async with store.transaction():
        pass
    await store.stop()


async def test_whoever_is_cancelled_amid_a_transaction_leaves_no_lock(store: Database) -> None:
    async def work(connection: AsyncConnection) -> None:
        for number in range(5):
            await connection.execute(select(func.count()).select_from(things))
            await connection.execute(upsert(things, keys=["account_id", "name"], update=["size"]), [thing("a", number)])

    gc.disable()  # what only the collector would free stays
    try:
        for number in range(60):
            task = asyncio.create_task(store.run_in_transaction(work))
            await asyncio.sleep(0.0002 * (number % 40))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            async with asyncio.timeout(5):
                await store.run_in_transaction(work)
    finally:
        gc.enable()


async def test_a_nested_transaction_is_refused_also_where_it_can_be_repeated(tmp_path: Path) -> None:
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/one.db")
    await database.start()

    async def inner(_: AsyncConnection) -> None:
        pytest.fail("it began")

    async def outer(_: AsyncConnection) -> None:
        await database.run_in_transaction(inner)

    with pytest.raises(RuntimeError, match="inside a transaction"):
        await database.run_in_transaction(outer)
    await database.stop()


async def test_sqlite_makes_its_folder_and_is_durable(tmp_path: Path) -> None:
    store = Database(f"sqlite+aiosqlite:///{tmp_path / 'new' / 'folder' / 'one.db'}")
    await store.start()
    async with store.read() as connection:
        assert await connection.scalar(text("PRAGMA journal_mode")) == "wal"
        assert await connection.scalar(text("PRAGMA synchronous")) == 2
        assert await connection.scalar(text("PRAGMA foreign_keys")) == 1
    await store.stop()


async def test_two_processes_on_one_sqlite_file_wait_for_each_other(tmp_path: Path) -> None:
    one, other = (Database(f"sqlite+aiosqlite:///{tmp_path / 'one.db'}") for _ in range(2))
    await one.start()
    await other.start()
    async with one.transaction() as connection:
        await connection.run_sync(metadata.create_all)

    async def add(database: Database, name: str) -> None:
        async with database.transaction() as connection:
            await connection.scalar(select(func.count()).select_from(things))
            await connection.execute(things.insert(), thing(name))

    await asyncio.gather(*(add(database, f"{index}.{number}") for index, database in enumerate((one, other)) for number in range(20)))
    assert len(await sizes(one)) == 40
    await one.stop()
    await other.stop()


async def test_a_database_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    nowhere = Database(f"postgresql+asyncpg://postgres@/nothing?host={tmp_path}")
    with pytest.raises(DatabaseUnavailable):
        async with nowhere.read():
            pass
    file = Database(f"sqlite+aiosqlite:///{tmp_path / 'no folder' / 'one.db'}")
    with pytest.raises(DatabaseUnavailable):
        async with file.transaction():
            pass
    await nowhere.stop()
    await file.stop()
    # The driver's thread is about to end; it must find the loop still there.
    await asyncio.sleep(0.05)


async def test_a_postgres_that_cuts_the_line_is_unavailable_and_then_back(postgres_url: str, postgres_server: PostgresServer) -> None:
    store = Database(postgres_url, pool_size=1)
    await store.start()
    other = Database(postgres_url)
    with pytest.raises(DatabaseUnavailable):
        async with store.transaction() as connection:
            process = await connection.scalar(text("SELECT pg_backend_pid()"))
            async with other.transaction() as cutting:
                await cutting.execute(text("SELECT pg_terminate_backend(:process)"), {"process": process})
            await asyncio.sleep(0.1)
            await connection.scalar(text("SELECT 1"))
    async with store.transaction() as connection:
        assert await connection.scalar(text("SELECT 1")) == 1
    await store.stop()
    await other.stop()


def test_only_what_another_transaction_caused_is_transient() -> None:
    import sqlite3

    def of(error: BaseException) -> OperationalError:
        return OperationalError("SELECT", {}, error)

    assert is_transient(of(sqlite3.OperationalError("database is locked")))
    assert not is_transient(of(sqlite3.OperationalError("no such table: things")))
    assert not is_transient(ValueError("database is locked"))
