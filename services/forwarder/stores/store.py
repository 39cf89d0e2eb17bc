"""The database of the forwarder: transactions, and what can be done inside one, by subject."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis.audit import Audit, Change
from services.chassis.bus import Outgoing
from services.chassis.database import Database
from services.chassis.outbox import Outbox
from services.forwarder import tables
from services.forwarder.changes import configuration_change, connection_change
from services.forwarder.domain.connections import Connection
from services.forwarder.facts import connection_changed
from services.forwarder.stores.ab_tests import AbTests
from services.forwarder.stores.configurations import Configuration, Configurations
from services.forwarder.stores.connections import Connections
from services.forwarder.stores.deliveries import Deliveries
from services.forwarder.stores.erasures import Erasures
from services.forwarder.stores.members import Audiences, Members

T = TypeVar("T")
_outbox = Outbox(tables.outbox)
AUDIT = Audit("forwarder", tables.audit_heads, tables.audit_entries)


class Tx:
    """One transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._noted: dict[tuple[int, int], list[Change]] = {}
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
        """Keep the changed state of a connection, tell it, and enter it into the audit log."""
        before = await self.connections.get(changed.account_id, changed.id)
        await self.connections.save(changed)
        await self.tell_connection(changed, before)

    async def tell_connection(self, connection: Connection, before: Connection | None = None) -> None:
        """Let the state of a connection leave if and only if the transaction stays; without a state before it, it was made."""
        configuration = await self.configurations.get(connection.account_id, connection.configuration_id)
        await self.announce([connection_changed(connection, configuration)], now_ms=connection.update_time_ms)
        self._note(connection.account_id, connection_change(before, connection), connection.update_time_ms)

    def note_configuration(self, before: Configuration | None, after: Configuration | None, *, now_ms: int) -> None:
        """Let what became of a configuration be entered into the audit log; None: it was made, or deleted."""
        one = after or before
        if one is not None:
            self._note(one.account_id, configuration_change(before, after, one.id), now_ms)

    def _note(self, account_id: int, change: Change, now_ms: int) -> None:
        self._noted.setdefault((account_id, now_ms), []).append(change)

    async def finish(self) -> None:
        """Enter what was noted into the audit log: last of all, as it locks the end of the account's log."""
        for (account_id, now_ms), changes in sorted(self._noted.items(), key=lambda one: one[0]):
            await AUDIT.write(self._connection, account_id, changes, now_ms=now_ms)
        self._noted.clear()


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

        async def whole(connection: AsyncConnection) -> T:
            tx = Tx(connection)
            answer = await work(tx)
            await tx.finish()
            return answer

        return await self._database.run_in_transaction(whole)
