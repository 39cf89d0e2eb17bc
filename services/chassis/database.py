"""The database of a service: SQLite (WAL) or PostgreSQL, by its URL. Stores use SQLAlchemy Core on the connections given here.

Instants are stored as whole milliseconds in `ms_column()`; bulk writes go through `upsert` and `insert_ignore`, alike on both.
"""

from __future__ import annotations

import asyncio
import functools
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, event
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_random_exponential

from . import log as logs
from .errors import Unavailable

log = logs.get(__name__)

_NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
_BUSY_SECONDS = 15
_RETRY_SECONDS = 15
_IDLE_IN_TRANSACTION_MS = 15_000
# Serialization failure, deadlock, lock not available.
_POSTGRES_TRANSIENT = {"40001", "40P01", "55P03"}
_SQLITE_AWAY = ("unable to open database file", "disk I/O error", "database or disk is full")
_WRITES = "muster_writes"

P = ParamSpec("P")
T = TypeVar("T")


class DatabaseUnavailable(Unavailable):
    """The database does not answer."""


def new_metadata() -> MetaData:
    """The MetaData of a service's tables, with names for every constraint, as migrations need."""
    return MetaData(naming_convention=_NAMING)


def id_column(name: str = "id") -> Column[int]:
    """A primary key that the database numbers upwards, 64-bit.

    Give its table `sqlite_autoincrement=True`, so that SQLite, as PostgreSQL, never uses the number of a deleted row again.
    """
    return Column(name, BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True)


def ms_column(name: str, *, nullable: bool = False) -> Column[int]:
    """An instant in milliseconds since 1970."""
    return Column(name, BigInteger, nullable=nullable)


def upsert(table: Table, *, keys: Sequence[str], update: Sequence[str], by: str = "") -> postgresql.Insert:
    """An insert that, where a row of these keys exists, sets the columns of `update` to the new values; with `by`, the name of a column,
    unless the row has a greater value there.

    `keys` are the columns of the primary key or of one unique constraint. Works on SQLite and PostgreSQL alike:
    `await connection.execute(upsert(ledger, keys=["connection_id", "mpid"], update=["state"]), rows)`.
    """
    statement = postgresql.insert(table)
    values = {name: statement.excluded[name] for name in update}
    newer = table.c[by] <= statement.excluded[by] if by else None
    return statement.on_conflict_do_update(index_elements=list(keys), set_=values, where=newer)


def add_up(table: Table, *, keys: Sequence[str], update: Sequence[str]) -> postgresql.Insert:
    """An insert that, where a row of these keys exists, adds the new values of the columns of `update` to those that are there."""
    statement = postgresql.insert(table)
    sums = {name: table.c[name] + statement.excluded[name] for name in update}
    return statement.on_conflict_do_update(index_elements=list(keys), set_=sums)


def insert_ignore(table: Table, *, keys: Sequence[str] = ()) -> postgresql.Insert:
    """An insert that skips rows whose keys exist already; without `keys`, whatever the constraint that they break."""
    return postgresql.insert(table).on_conflict_do_nothing(index_elements=list(keys) or None)


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """The answer of `work`, which is not cancelled with its caller: that one is, after it."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # nobody is there any more to be told
        raise


def uncut(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """A handler that opens a transaction and goes to its end when its caller hangs up, as `Database.run_in_transaction` does."""

    @functools.wraps(method)
    async def whole(*args: P.args, **kwargs: P.kwargs) -> T:
        return await to_its_end(method(*args, **kwargs))

    return whole


def is_transient(error: BaseException) -> bool:
    """Whether the transaction lost against another one and would likely succeed when repeated."""
    if not isinstance(error, DBAPIError):
        return False
    if isinstance(error.orig, sqlite3.OperationalError):
        return "is locked" in str(error.orig)
    return getattr(error.orig, "sqlstate", None) in _POSTGRES_TRANSIENT


def _is_away(error: DBAPIError) -> bool:
    # SQLite's words where its file cannot be used; to be told from a fault of the statement, which is an OperationalError as well.
    return any(words in str(error.orig) for words in _SQLITE_AWAY)


class Database:
    """The engine of one database; a part of the app, started before whatever uses it."""

    def __init__(self, url: str, *, pool_size: int = 8) -> None:
        self.url: URL = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._engine = self._sqlite(pool_size) if self.is_sqlite else self._postgres(pool_size)
        # SQLite has one writer at a time: waiting here is fair and quick, waiting in SQLite is polling.
        self._writer: asyncio.Lock | None = asyncio.Lock() if self.is_sqlite else None
        self._writing: asyncio.Task[Any] | None = None

    @property
    def engine(self) -> AsyncEngine:
        """The engine itself, for migrations and tests; stores use `transaction` and `read`."""
        return self._engine

    async def start(self) -> None:
        """Create the folder of an SQLite file and wait, up to 30 seconds, for the database to answer."""
        if self.is_sqlite and self.url.database not in (None, "", ":memory:"):
            Path(str(self.url.database)).parent.mkdir(parents=True, exist_ok=True)
        async for attempt in AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, DatabaseUnavailable)),
            wait=wait_random_exponential(0.2, max=3),
            stop=stop_after_delay(30),
            reraise=True,
        ):
            with attempt:
                async with self.read():
                    pass

    async def stop(self) -> None:
        """Close every connection."""
        await self._engine.dispose()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that may write: committed at the end of the block, rolled back by an exception."""
        if self._writer is None:
            async with self._begin(writes=True) as connection:
                yield connection
            return
        self._refuse_nesting()
        async with self._writer:
            self._writing = asyncio.current_task()
            try:
                async with self._begin(writes=True) as connection:
                    yield connection
            finally:
                self._writing = None

    def _refuse_nesting(self) -> None:
        if self._writer is not None and self._writing is not None and self._writing is asyncio.current_task():
            raise RuntimeError("a transaction inside a transaction: it would wait for itself")

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that only reads; on SQLite it sees one state throughout and waits for nobody."""
        async with self._begin(writes=False) as connection:
            yield connection

    async def run_in_transaction(self, fn: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """The answer of `fn` run in a transaction, repeated whole when it lost against another one; so `fn` must be repeatable.

        Who is cancelled meanwhile is so once the transaction has ended, one way or the other: a statement that is cut leaves SQLite locked
        until its cursor is collected as garbage.
        """
        self._refuse_nesting()
        return await to_its_end(self._run_in_transaction(fn))

    async def _run_in_transaction(self, fn: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        async for attempt in AsyncRetrying(
            retry=retry_if_exception(is_transient),
            wait=wait_random_exponential(0.01, max=1),
            stop=stop_after_delay(_RETRY_SECONDS),
            reraise=True,
        ):
            with attempt:
                async with self.transaction() as connection:
                    return await fn(connection)
        raise AssertionError("unreachable: the last attempt returns or raises")

    @asynccontextmanager
    async def _begin(self, *, writes: bool) -> AsyncIterator[AsyncConnection]:
        connection = self._engine.connect()
        try:
            await connection.start()
            await connection.execution_options(**{_WRITES: writes})
        except (OSError, SQLAlchemyError) as error:
            raise DatabaseUnavailable("The database does not answer.") from error
        try:
            async with connection.begin():
                yield connection
        except DBAPIError as error:
            if error.connection_invalidated or _is_away(error):
                raise DatabaseUnavailable("The database went away.") from error
            raise
        finally:
            await connection.close()

    def _sqlite(self, pool_size: int) -> AsyncEngine:
        timeout = {"timeout": _BUSY_SECONDS}
        engine = create_async_engine(self.url, pool_size=pool_size, max_overflow=pool_size, hide_parameters=True, connect_args=timeout)

        @event.listens_for(engine.sync_engine, "connect")
        def _prepare(connection: Any, _: Any) -> None:
            # The driver must not begin transactions of its own accord: `_start` below does.
            connection.isolation_level = None
            cursor = connection.cursor()
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={_BUSY_SECONDS * 1000}"):
                cursor.execute(f"PRAGMA {pragma}")
            cursor.close()

        @event.listens_for(engine.sync_engine, "begin")
        def _start(connection: Any) -> None:
            # A transaction that begins by reading and then writes could fail half way: take the write lock at once.
            writes = connection.get_execution_options().get(_WRITES, True)
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

        return engine

    def _postgres(self, pool_size: int) -> AsyncEngine:
        return create_async_engine(
            self.url,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_pre_ping=True,
            pool_timeout=10,
            # A process that stands still within a transaction must not hold its locks for ever.
            connect_args={"server_settings": {"idle_in_transaction_session_timeout": str(_IDLE_IN_TRANSACTION_MS)}},
            # An error's text goes to the log, where the values of a statement must not stand.
            hide_parameters=True,
        )
