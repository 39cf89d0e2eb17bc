"""Deliveries in the database, each written before it is sent, so that a repetition is the same request; and the ledger that they make."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import and_, bindparam, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis.database import upsert
from services.forwarder.connectors.base import Purpose, Refusal
from services.forwarder.domain.ab_tests import AbTest, name_downstream
from services.forwarder.domain.connections import Connection, State
from services.forwarder.domain.identities import Presented, pack
from services.forwarder.domain.reconcile import Action, Change, Waiting
from services.forwarder.stores.ab_tests import AbTests
from services.forwarder.stores.connections import to_connection
from services.forwarder.tables import audiences, configurations, connections, deliveries, ledger, members, rejected_records, waiting


class Outcome(StrEnum):
    """What became of a delivery."""

    # Written down; sent or about to be. At most one of a connection.
    PENDING = "pending"
    ACCEPTED = "accepted"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One request to a partner, with the same id and content in every try."""

    id: int
    connection_id: int
    request_id: str
    purpose: Purpose
    audience_name: str
    subscription: Mapping[str, str]
    changes: Sequence[Change]
    outcome: Outcome
    in_doubt: bool
    tries: int
    create_time_ms: int


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """A delivery as it is listed."""

    id: int
    connection_id: int
    request_id: str
    outcome: Outcome
    adds: int
    drops: int
    updates: int
    rejected: int
    tries: int
    create_time_ms: int
    finish_time_ms: int | None
    message: str


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """A record that the partner refused. `kind` 0: no single identity is named."""

    connection_id: int
    mpid: int
    kind: int
    reason: str
    time_ms: int


@dataclass(frozen=True, slots=True)
class Work:
    """All that is needed to work for one connection: it, its configuration, its audience, and the delivery that is pending."""

    connection: Connection
    integration_key: str
    configuration_version: int
    values: Mapping[str, str]
    audience_name: str
    audience_live: bool
    # Of the variation that is connected; None: the whole audience is.
    ab_test: AbTest | None
    pending: Delivery | None


_Row = tuple[int, Action, int, int, tuple[tuple[int, str, str], ...]]
_decoder = msgspec.json.Decoder(list[_Row])


class Deliveries:
    """The deliveries of all accounts, inside one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def work(self, connection_id: int) -> Work | None:
        """What there is to know about a connection before working for it; None: there is none of this id."""
        query = (
            select(
                connections,
                configurations.c.integration_key,
                configurations.c.version.label("configuration_version"),
                configurations.c.settings.label("configuration_settings"),
                configurations.c.secrets,
                func.coalesce(func.nullif(audiences.c.external_name, ""), audiences.c.name, "").label("audience_name"),
                audiences.c.state.label("audience_state"),
            )
            .join_from(connections, configurations, connections.c.configuration_id == configurations.c.id)
            .outerjoin(
                audiences,
                and_(audiences.c.account_id == connections.c.account_id, audiences.c.audience_id == connections.c.audience_id),
            )
            .where(connections.c.id == connection_id)
        )
        row = (await self._connection.execute(query)).one_or_none()
        if row is None:
            return None
        return Work(
            connection=to_connection(row),
            integration_key=row.integration_key,
            configuration_version=row.configuration_version,
            values={**row.configuration_settings, **row.secrets},
            audience_name=name_downstream(row.audience_name, row.variation),
            audience_live=row.audience_state == "active",
            ab_test=await AbTests(self._connection).get(row.account_id, row.ab_test_id) if row.ab_test_id else None,
            pending=await self.pending(connection_id),
        )

    async def pending(self, connection_id: int) -> Delivery | None:
        """The delivery that was written and is not finished."""
        query = select(deliveries).where(deliveries.c.connection_id == connection_id, deliveries.c.outcome == Outcome.PENDING)
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else _delivery(row)

    async def waiting(self, connection: Connection, limit: int) -> list[Waiting]:
        """Those who have waited longest, in that order, with what is known of each."""
        first = (
            select(waiting.c.mpid, waiting.c.mark, waiting.c.since)
            .where(waiting.c.connection_id == connection.id)
            .order_by(waiting.c.since, waiting.c.mpid)
            .limit(limit)
            .subquery("first")
        )
        # Looked up one by one, whatever a planner believes of tables that grew a minute ago: a join was 250 ms for 1,000 of 30,000 people.
        inside = (
            select(members.c.mpid)
            .where(
                members.c.account_id == connection.account_id,
                members.c.audience_id == connection.audience_id,
                members.c.mpid == first.c.mpid,
            )
            .scalar_subquery()
        )
        told = select(ledger.c.identities).where(ledger.c.connection_id == connection.id, ledger.c.mpid == first.c.mpid).scalar_subquery()
        query = select(first.c.mpid, first.c.mark, first.c.since, inside.is_not(None), told).order_by(first.c.since, first.c.mpid)
        return [Waiting(*row) for row in await self._connection.execute(query)]

    async def settle(self, connection_id: int, settled: Collection[Waiting | Change]) -> None:
        """These need not be looked at any more, unless they were marked again since."""
        if settled:
            statement = delete(waiting).where(
                waiting.c.connection_id == bindparam("of"), waiting.c.mpid == bindparam("who"), waiting.c.mark == bindparam("marked")
            )
            await self._connection.execute(
                statement, [{"of": connection_id, "who": one.mpid, "marked": one.mark} for one in sorted(settled, key=lambda one: one.mpid)]
            )

    async def write(self, delivery: Delivery, *, account_id: int) -> Delivery:
        """Write a delivery down before it is sent; with its id."""
        actions = [change.action for change in delivery.changes]
        row = {
            "account_id": account_id,
            "connection_id": delivery.connection_id,
            "request_id": delivery.request_id,
            "purpose": delivery.purpose,
            "audience_name": delivery.audience_name,
            "subscription": dict(delivery.subscription),
            "changes": _encoded(delivery.changes),
            "outcome": delivery.outcome,
            "in_doubt": delivery.in_doubt,
            "adds": actions.count(Action.ADD),
            "drops": actions.count(Action.DELETE),
            "updates": actions.count(Action.UPDATE),
            "rejected": 0,
            "tries": delivery.tries,
            "message": "",
            "create_time": delivery.create_time_ms,
        }
        id = (await self._connection.execute(deliveries.insert().values(row).returning(deliveries.c.id))).scalar_one()
        return replace(delivery, id=id)

    async def tried(self, delivery: Delivery, *, tries: int, in_doubt: bool, message: str) -> None:
        """Enter a try that failed, of a delivery that is tried again."""
        await self._connection.execute(
            update(deliveries).where(deliveries.c.id == delivery.id).values(tries=tries, in_doubt=in_doubt, message=message)
        )

    async def finish(self, delivery: Delivery, outcome: Outcome, *, tries: int, message: str, now_ms: int, rejected: int = 0) -> bool:
        """End a pending delivery; its content is forgotten. False: it was ended already."""
        statement = (
            update(deliveries)
            .where(deliveries.c.id == delivery.id, deliveries.c.outcome == Outcome.PENDING)
            .values(outcome=outcome, changes=None, tries=tries, message=message, finish_time=now_ms, rejected=rejected)
        )
        return (await self._connection.execute(statement)).rowcount == 1

    async def accept(self, connection: Connection, changes: Sequence[Change], refusals: Sequence[Refusal], *, now_ms: int) -> None:
        """Enter in the ledger what the partner took, keep what it refused, and have all of them looked at no longer."""
        refused = {refusal.mpid for refusal in refusals}
        taken = sorted((change for change in changes if change.mpid not in refused), key=lambda change: change.mpid)
        told = [change for change in taken if change.action is not Action.DELETE]
        gone = [change for change in taken if change.action is Action.DELETE]
        added = sum(change.action is Action.ADD for change in taken) - len(gone)
        counted = update(connections).where(connections.c.id == connection.id, connections.c.state != State.DELETED)
        counted = counted.values(delivered_members=connections.c.delivered_members + added, last_delivery_time=now_ms)
        if (await self._connection.execute(counted)).rowcount != 1:
            # Deleted meanwhile: it has no ledger any more.
            return
        if told:
            rows = [
                {"connection_id": connection.id, "mpid": change.mpid, "identities": pack(change.identities), "accept_time": now_ms}
                for change in told
            ]
            await self._connection.execute(upsert(ledger, keys=["connection_id", "mpid"], update=["identities", "accept_time"]), rows)
        if gone:
            statement = delete(ledger).where(ledger.c.connection_id == bindparam("of"), ledger.c.mpid == bindparam("who"))
            await self._connection.execute(statement, [{"of": connection.id, "who": change.mpid} for change in gone])
        await self._reject(connection.id, taken, refusals, now_ms)
        await self.settle(connection.id, changes)

    async def _reject(self, connection_id: int, taken: Sequence[Change], refusals: Sequence[Refusal], now_ms: int) -> None:
        known = select(rejected_records.c.mpid).where(rejected_records.c.connection_id == connection_id).limit(1)
        if taken and await self._connection.scalar(known) is not None:
            statement = delete(rejected_records).where(
                rejected_records.c.connection_id == bindparam("of"), rejected_records.c.mpid == bindparam("who")
            )
            await self._connection.execute(statement, [{"of": connection_id, "who": change.mpid} for change in taken])
        if refusals:
            rows = [
                {"connection_id": connection_id, "mpid": refusal.mpid, "kind": refusal.kind, "reason": refusal.reason, "time": now_ms}
                for refusal in {refusal.mpid: refusal for refusal in refusals}.values()
            ]
            keeping = upsert(rejected_records, keys=["connection_id", "mpid"], update=["kind", "reason", "time"])
            await self._connection.execute(keeping, rows)

    async def subscribed(self, connection_id: int, subscription: Mapping[str, str]) -> None:
        """Enter that the partner knows of the connection, and what it answered."""
        await self._connection.execute(
            update(connections).where(connections.c.id == connection_id).values(subscribed=True, subscription=dict(subscription))
        )

    async def page(self, account_id: int, connection_id: int, *, before: int | None, limit: int) -> list[DeliveryRecord]:
        """The newest first, those with ids below `before`."""
        query = select(deliveries).where(deliveries.c.account_id == account_id, deliveries.c.connection_id == connection_id)
        if before is not None:
            query = query.where(deliveries.c.id < before)
        rows = await self._connection.execute(query.order_by(deliveries.c.id.desc()).limit(limit))
        return [
            DeliveryRecord(
                id=row.id,
                connection_id=row.connection_id,
                request_id=row.request_id,
                outcome=Outcome(row.outcome),
                adds=row.adds,
                drops=row.drops,
                updates=row.updates,
                rejected=row.rejected,
                tries=row.tries,
                create_time_ms=row.create_time,
                finish_time_ms=row.finish_time,
                message=row.message,
            )
            for row in rows
        ]

    async def list_rejected(self, connection_id: int, *, after: int | None, limit: int) -> list[RejectedRecord]:
        """The records that the partner refused, by MPID, those above `after`."""
        query = select(rejected_records).where(rejected_records.c.connection_id == connection_id)
        if after is not None:
            query = query.where(rejected_records.c.mpid > after)
        rows = await self._connection.execute(query.order_by(rejected_records.c.mpid).limit(limit))
        return [RejectedRecord(row.connection_id, row.mpid, row.kind, row.reason, row.time) for row in rows]

    async def take_rejected(self, connection_id: int, mpids: Sequence[int]) -> Sequence[int]:
        """Forget these refusals, or all where none are named; the people concerned."""
        taken: list[int] = []
        mine = rejected_records.c.connection_id == connection_id
        if not mpids:
            return list(await self._connection.scalars(delete(rejected_records).where(mine).returning(rejected_records.c.mpid)))
        for start in range(0, len(mpids), 500):
            some = delete(rejected_records).where(mine, rejected_records.c.mpid.in_(mpids[start : start + 500]))
            taken += await self._connection.scalars(some.returning(rejected_records.c.mpid))
        return taken

    async def forget(self, *, finished_before_ms: int) -> int:
        """Forget finished deliveries that are older; how many they were."""
        return (await self._connection.execute(delete(deliveries).where(deliveries.c.finish_time < finished_before_ms))).rowcount


def _encoded(changes: Sequence[Change]) -> str:
    rows = [(change.mpid, change.action, change.mark, change.since_ms, change.identities) for change in changes]
    return msgspec.json.encode(rows).decode()


def _decoded(text: str | None) -> list[Change]:
    rows = _decoder.decode(text or "[]")
    return [
        Change(mpid, action, tuple(Presented(*one) for one in identities), mark, since) for mpid, action, mark, since, identities in rows
    ]


def _delivery(row: Any) -> Delivery:
    return Delivery(
        id=row.id,
        connection_id=row.connection_id,
        request_id=row.request_id,
        purpose=Purpose(row.purpose),
        audience_name=row.audience_name,
        subscription=row.subscription,
        changes=_decoded(row.changes),
        outcome=Outcome(row.outcome),
        in_doubt=row.in_doubt,
        tries=row.tries,
        create_time_ms=row.create_time,
    )
