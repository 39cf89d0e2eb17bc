"""Connections in the database: their states, and which process works for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis.database import insert_ignore
from services.forwarder.domain.connections import Connection, Fault, State
from services.forwarder.domain.faults import Cause
from services.forwarder.tables import connections, deliveries, rejected_records, waiting


class Connections:
    """The connections of all accounts, inside one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, account_id: int, id: int, *, lock: bool = False) -> Connection | None:
        """The connection, unless it is another account's. `lock` keeps it as it is for the rest of the transaction."""
        query = select(connections).where(connections.c.account_id == account_id, connections.c.id == id)
        row = (await self._connection.execute(query.with_for_update() if lock else query)).one_or_none()
        return None if row is None else to_connection(row)

    async def of_key(self, account_id: int, idempotency_key: str) -> Connection | None:
        """The connection that was made under this key."""
        query = select(connections).where(connections.c.account_id == account_id, connections.c.idempotency_key == idempotency_key)
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else to_connection(row)

    async def page(
        self,
        account_id: int,
        *,
        audience_id: int = 0,
        configuration_id: int = 0,
        states: Sequence[State] = (),
        after: int = 0,
        limit: int,
        lock: bool = False,
    ) -> list[Connection]:
        """Those with ids above `after`, in their order; 0 and nothing stand for all, save deleted ones, which must be asked for."""
        query = select(connections).where(connections.c.account_id == account_id, connections.c.id > after)
        if audience_id:
            query = query.where(connections.c.audience_id == audience_id)
        if configuration_id:
            query = query.where(connections.c.configuration_id == configuration_id)
        query = query.where(connections.c.state.in_(states) if states else connections.c.state != State.DELETED)
        query = query.order_by(connections.c.id).limit(limit)
        found = await self._connection.execute(query.with_for_update() if lock else query)
        return [to_connection(row) for row in found]

    async def insert(
        self,
        account_id: int,
        *,
        audience_id: int,
        variation: str,
        configuration_id: int,
        settings: dict[str, str],
        now_ms: int,
        idempotency_key: str | None,
        ab_test_id: int = 0,
        variation_id: int = 0,
    ) -> Connection | None:
        """A new connection; None: there is one of this audience, variation and configuration, or of this key."""
        values: dict[str, Any] = {
            "account_id": account_id,
            "audience_id": audience_id,
            "variation": variation,
            "ab_test_id": ab_test_id,
            "variation_id": variation_id,
            "configuration_id": configuration_id,
            "settings": settings,
            "state": State.SENDING,
            "version": 1,
            "pause_reason": "",
            "subscribed": False,
            "subscription": {},
            "delivered_members": 0,
            "create_time": now_ms,
            "update_time": now_ms,
            "idempotency_key": idempotency_key,
            "lease_end": 0,
        }
        statement = insert_ignore(connections).values(values).returning(connections)
        row = (await self._connection.execute(statement)).one_or_none()
        return None if row is None else to_connection(row)

    async def save(self, changed: Connection) -> None:
        """Keep the changed state, with what belongs to it."""
        fault = changed.fault
        await self._connection.execute(
            update(connections)
            .where(connections.c.id == changed.id)
            .values(
                state=changed.state,
                version=changed.version,
                fault_cause=fault.cause.value if fault else None,
                fault_message=fault.message if fault else None,
                fault_time=fault.time_ms if fault else None,
                fault_waiting=fault.waiting_changes if fault else None,
                pause_reason=changed.pause_reason,
                subscribed=changed.subscribed,
                update_time=changed.update_time_ms,
            )
        )

    async def resubscribe(self, configuration_id: int) -> list[int]:
        """Let the partner be told anew that the connections of this configuration started; their ids."""
        mine = and_(connections.c.configuration_id == configuration_id, connections.c.state != State.DELETED)
        statement = update(connections).where(mine).values(subscribed=False).returning(connections.c.id)
        return list(await self._connection.scalars(statement))

    async def of_audiences(self, audiences: Sequence[tuple[int, int]]) -> dict[tuple[int, int], list[int]]:
        """The ids of the connections of each of these (account, audience), deleted ones left out."""
        found: dict[tuple[int, int], list[int]] = {}
        ids = sorted({audience_id for _, audience_id in audiences})
        for start in range(0, len(ids), 500):
            query = select(connections.c.id, connections.c.account_id, connections.c.audience_id).where(
                connections.c.audience_id.in_(ids[start : start + 500]), connections.c.state != State.DELETED
            )
            for row in await self._connection.execute(query):
                found.setdefault((row.account_id, row.audience_id), []).append(row.id)
        return found

    async def of_test(self, account_id: int, ab_test_id: int) -> list[int]:
        """The ids of the connections of a test's variations, deleted ones left out."""
        mine = (connections.c.account_id == account_id, connections.c.ab_test_id == ab_test_id, connections.c.state != State.DELETED)
        return list(await self._connection.scalars(select(connections.c.id).where(*mine).order_by(connections.c.id)))

    async def accounts(self) -> set[int]:
        """The accounts that have connections."""
        query = select(connections.c.account_id).distinct().where(connections.c.state != State.DELETED)
        return set(await self._connection.scalars(query))

    async def waiting_counts(self, ids: Sequence[int]) -> dict[int, int]:
        """How many people wait at each of these; those without any are left out."""
        return await self._counts(waiting.c.connection_id, ids)

    async def rejected_counts(self, ids: Sequence[int]) -> dict[int, int]:
        """How many records the partner refused at each of these; those without any are left out."""
        return await self._counts(rejected_records.c.connection_id, ids)

    async def with_work(self) -> list[int]:
        """Those for which there is something to send now."""
        sending = connections.c.state == State.SENDING
        has_waiting = exists().where(waiting.c.connection_id == connections.c.id)
        closing = exists().where(
            deliveries.c.connection_id == connections.c.id, deliveries.c.outcome == "pending", deliveries.c.purpose == "unsubscribe"
        )
        pending = exists().where(deliveries.c.connection_id == connections.c.id, deliveries.c.outcome == "pending")
        query = select(connections.c.id).where(
            or_(and_(sending, or_(~connections.c.subscribed, pending, has_waiting)), and_(connections.c.state == State.DELETED, closing))
        )
        return list(await self._connection.scalars(query))

    async def claim(self, id: int, owner: str, *, now_ms: int, lease_ms: int) -> bool:
        """Whether this process may work for the connection from now on: nobody else holds it."""
        free = or_(connections.c.lease_owner == owner, connections.c.lease_owner.is_(None), connections.c.lease_end < now_ms)
        statement = update(connections).where(connections.c.id == id, free).values(lease_owner=owner, lease_end=now_ms + lease_ms)
        return (await self._connection.execute(statement)).rowcount == 1

    async def release(self, owner: str) -> None:
        """Give up all that this process holds."""
        await self._connection.execute(update(connections).where(connections.c.lease_owner == owner).values(lease_owner=None, lease_end=0))

    async def _counts(self, column: ColumnElement[int], ids: Sequence[int]) -> dict[int, int]:
        query = select(column, func.count()).where(column.in_(ids)).group_by(column)
        return {row[0]: row[1] for row in await self._connection.execute(query)}


def to_connection(row: Any) -> Connection:
    """The connection of a row."""
    fault = None
    if row.fault_cause is not None:
        fault = Fault(Cause(row.fault_cause), row.fault_message, row.fault_time, row.fault_waiting)
    return Connection(
        id=row.id,
        account_id=row.account_id,
        audience_id=row.audience_id,
        configuration_id=row.configuration_id,
        create_time_ms=row.create_time,
        update_time_ms=row.update_time,
        variation=row.variation,
        ab_test_id=row.ab_test_id,
        variation_id=row.variation_id,
        settings=row.settings,
        state=State(row.state),
        version=row.version,
        fault=fault,
        pause_reason=row.pause_reason,
        subscribed=row.subscribed,
        subscription=row.subscription,
        delivered_members=row.delivered_members,
        last_delivery_time_ms=row.last_delivery_time,
    )
