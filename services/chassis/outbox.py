"""The outbox: a fact is written in the transaction of its change, and leaves if and only if the change stays.

After a crash the relay publishes again what it had not deleted; the message id lets the stream and the consumers drop what they have.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Sequence

from sqlalchemy import JSON, Column, LargeBinary, MetaData, Table, Text, delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from . import log as logs
from .bus import PAYLOAD_MAX_BYTES, Bus, Outgoing, PublishFailed
from .database import Database, id_column, is_transient, ms_column
from .errors import Unavailable

log = logs.get(__name__)

_BATCH = 500
_POLL_SECONDS = 1.0
_BACKOFF_MOST_SECONDS = 5.0


def outbox_table(metadata: MetaData, name: str = "outbox") -> Table:
    """The outbox of a service, among its tables. Rows are published in the order of `id`."""
    return Table(
        name,
        metadata,
        id_column(),
        Column("subject", Text, nullable=False),
        Column("message_id", Text, nullable=False),
        Column("payload", LargeBinary, nullable=False),
        Column("headers", JSON, nullable=False),
        ms_column("create_time"),
        sqlite_autoincrement=True,
    )


class Outbox:
    """Writes to the outbox."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def add(self, connection: AsyncConnection, messages: Sequence[Outgoing], *, now_ms: int) -> None:
        """Enter messages, in their order, as a part of this connection's transaction. Afterwards wake the relay."""
        for message in messages:
            if len(message.payload) > PAYLOAD_MAX_BYTES:
                raise ValueError(f"a message of {len(message.payload)} bytes to {message.subject}: at most {PAYLOAD_MAX_BYTES} fit")
        rows = [
            {
                "subject": message.subject,
                "message_id": message.message_id,
                "payload": message.payload,
                "headers": dict(message.headers),
                "create_time": now_ms,
            }
            for message in messages
        ]
        if rows:
            await connection.execute(self._table.insert(), rows)


class Relay:
    """Publishes the rows of an outbox in order and deletes what is acknowledged; a part of the app, one a process.

    Of several processes on one PostgreSQL, one at a time publishes, so the order holds there too.
    """

    def __init__(self, database: Database, table: Table, bus: Bus) -> None:
        self._database = database
        self._table = table
        self._bus = bus
        self._work = asyncio.Event()
        self._hurry = asyncio.Event()
        self._forget_reconnect: Callable[[], None] | None = None
        self._stopping = False
        self._running = False
        self._ended = asyncio.Event()
        self._published = asyncio.Condition()
        # SQLite only, where rows come in the order of their ids: all up to this one are published.
        self._through = 0
        self._lock_key = zlib.crc32(f"muster relay {table.name}".encode())

    def wake(self) -> None:
        """There is something new in the outbox: publish at once rather than at the next look."""
        self._work.set()

    async def flush(self, timeout_seconds: float = 10) -> None:
        """Return once all that is in the outbox now is published. Raises PublishFailed after the timeout."""
        async with self._database.read() as connection:
            last = await connection.scalar(select(func.max(self._table.c.id)))
        if last is None:
            return
        self.wake()
        try:
            async with asyncio.timeout(timeout_seconds):
                async with self._published:
                    while self._through < last and await self._first() <= last:
                        # Another process may be the one that publishes: look now and then.
                        try:
                            await asyncio.wait_for(self._published.wait(), 0.1)
                        except TimeoutError:
                            self.wake()
        except TimeoutError:
            raise PublishFailed("The outbox was not published in time.") from None

    async def start(self) -> None:
        """Be told when the bus is back; `run` does the work."""
        self._forget_reconnect = self._bus.on_reconnect(self._hurry.set)
        self._work.set()

    async def run(self) -> None:
        """The loop; ends after `stop`. What an earlier process left is published first."""
        self._running = True
        failures = 0
        try:
            while not self._stopping:
                try:
                    await asyncio.wait_for(self._work.wait(), _POLL_SECONDS)
                except TimeoutError:
                    log.debug("outbox_polled")
                self._work.clear()
                try:
                    while await self._round() == _BATCH:
                        failures = 0
                    failures = 0
                except Exception as error:
                    if not (isinstance(error, Unavailable) or is_transient(error)):
                        raise
                    failures += 1
                    wait = min(_BACKOFF_MOST_SECONDS, 0.05 * 2 ** min(failures, 10))
                    log.warning("outbox_waits", error=repr(error), failures=failures, wait_seconds=wait)
                    await self._cured(wait)
                    self._work.set()
        finally:
            self._running = False
            self._ended.set()

    async def stop(self) -> None:
        """Let the round in hand end; what is left stays in the outbox for the next process."""
        self._stopping = True
        self._work.set()
        self._hurry.set()
        if self._forget_reconnect is not None:
            self._forget_reconnect()
            self._forget_reconnect = None
        if self._running:
            await self._ended.wait()

    async def _cured(self, seconds: float) -> None:
        """Wait before the next try: this long at most, less if the bus is back or the relay is to stop."""
        self._hurry.clear()
        try:
            await asyncio.wait_for(self._hurry.wait(), seconds)
        except TimeoutError:
            return

    async def _round(self) -> int:
        """How many rows were published and deleted."""
        if self._database.is_sqlite:
            async with self._database.read() as connection:
                rows = await self._rows(connection)
            done = await self._publish(rows) if rows else []
            if done:
                # Whoever waits for the acknowledgement need not wait for the deletion.
                if len(done) == len(rows):
                    self._through = max(self._through, done[-1])
                    await self._tell()
                async with self._database.transaction() as connection:
                    await connection.execute(delete(self._table).where(self._table.c.id.in_(done)))
        else:
            # The lock lasts as long as the transaction: only one process publishes, and a dead one frees it.
            async with self._database.transaction() as connection:
                if not await connection.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": self._lock_key}):
                    return 0
                rows = await self._rows(connection)
                done = await self._publish(rows) if rows else []
                if done:
                    await connection.execute(delete(self._table).where(self._table.c.id.in_(done)))
        if done:
            await self._tell()
        if len(done) < len(rows):
            raise PublishFailed("Not all of the outbox was acknowledged.")
        return len(done)

    async def _tell(self) -> None:
        async with self._published:
            self._published.notify_all()

    async def _rows(self, connection: AsyncConnection) -> Sequence[tuple[int, Outgoing]]:
        found = await connection.execute(select(self._table).order_by(self._table.c.id).limit(_BATCH))
        return [(row.id, Outgoing(row.subject, row.payload, row.message_id, row.headers)) for row in found]

    async def _publish(self, rows: Sequence[tuple[int, Outgoing]]) -> list[int]:
        answers = await self._bus.publish_each([message for _, message in rows])
        failures = [answer for answer in answers if isinstance(answer, PublishFailed)]
        if failures:
            log.warning("outbox_refused", count=len(failures), error=str(failures[0]))
        return [id for (id, _), answer in zip(rows, answers, strict=True) if not isinstance(answer, PublishFailed)]

    async def _first(self) -> int:
        async with self._database.read() as connection:
            first = await connection.scalar(select(func.min(self._table.c.id)))
        return 1 << 62 if first is None else int(first)


__all__ = ["Outbox", "Relay", "outbox_table"]
