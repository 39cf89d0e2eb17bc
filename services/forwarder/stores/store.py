"""The database of the forwarder: transactions, and what can be done inside one, by subject."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis.bus import Outgoing
from services.chassis.database import Database
from services.chassis.outbox import Outbox
from services.forwarder import tables
from services.forwarder.domain.connections import Connection
from services.forwarder.facts import connection_changed
from services.forwarder.stores.ab_tests import AbTests
from services.forwarder.stores.configurations import Configurations
from services.forwarder.stores.connections import Connections
from services.forwarder.stores.deliveries import Deliveries
from services.forwarder.stores.erasures import Erasures
from services.forwarder.stores.members import Audiences, Members

T = TypeVar("T")
_outbox = Outbox(tables.outbox)


class Tx:
    """One transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.configurations = Configurations(connection)
        self.connections = Connections(connection)
        self.audiences = Audiences(connection)
        self.ab_tests = AbTests(connection)
        self.members = Members(connection)
        self.deliveries = Deliveries(connection)
        self.erasures = Erasures(connection)

    async def announce(self, facts: Sequence[Outgoing], *, now_ms: int) -> None:
        """Let these facts leave if and only if the transaction stays."""
        await _outbox.add(self._connection, facts, now_ms=now_ms)

    async def save_connection(self, changed: Connection) -> None:
        """Keep the changed state of a connection, and tell it."""
        await self.connections.save(changed)
        await self.tell_connection(changed)

    async def tell_connection(self, connection: Connection) -> None:
        """Let the state of a connection leave if and only if the transaction stays."""
        configuration = await self.configurations.get(connection.account_id, connection.configuration_id)
        await self.announce([connection_changed(connection, configuration)], now_ms=connection.update_time_ms)


class Store:
    """All transactions of the forwarder."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Tx]:
        """A transaction that only reads."""
        async with self._database.read() as connection:
            yield Tx(connection)

    async def write(self, work: Callable[[Tx], Awaitable[T]]) -> T:
        """The answer of `work`, done in a transaction that may write; done again, whole, where it lost against another."""
        return await self._database.run_in_transaction(lambda connection: work(Tx(connection)))
