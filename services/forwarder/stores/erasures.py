"""What partners have of one person, in the database; of people who were deleted, whether anything is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import and_, delete, exists, not_, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis.database import insert_ignore
from services.forwarder.domain.connections import State
from services.forwarder.domain.identities import Presented, unpack
from services.forwarder.stores.deliveries import Outcome
from services.forwarder.stores.members import Members
from services.forwarder.tables import configurations, connections, deliveries, erasures, ledger, members, rejected_records, waiting


@dataclass(frozen=True, slots=True)
class Erasure:
    """Somebody who was deleted: how many records there were of them, and where, in words."""

    account_id: int
    mpid: int
    records: int
    places: tuple[str, ...]
    since_ms: int


@dataclass(frozen=True, slots=True)
class PartnerRecord:
    """What a partner has of a person, as of when, and why it refused the person, if it did."""

    connection_id: int
    integration_key: str
    audience_id: int
    identities: tuple[Presented, ...]
    accept_time_ms: int
    refusal: str


class Erasures:
    """The erasures of all accounts, inside one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def begin(self, account_id: int, mpids: Sequence[int], *, now_ms: int) -> set[int]:
        """Let every connection look at these whose partner has them, and forget what partners refused of them. Returns the connections."""
        woken: set[int] = set()
        mine = select(connections.c.id).where(connections.c.account_id == account_id)
        for mpid in mpids:
            told = (
                select(connections.c.id, configurations.c.integration_key)
                .join(ledger, ledger.c.connection_id == connections.c.id)
                .join(configurations, configurations.c.id == connections.c.configuration_id)
                .where(connections.c.account_id == account_id, ledger.c.mpid == mpid)
                .order_by(connections.c.id)
            )
            where = list(await self._connection.execute(told))
            refused = delete(rejected_records).where(rejected_records.c.mpid == mpid, rejected_records.c.connection_id.in_(mine))
            records = len(where) + (await self._connection.execute(refused)).rowcount
            places = [f"{integration}, connection {id_}" for id_, integration in where]
            row = {"account_id": account_id, "mpid": mpid, "records": records, "places": places, "since": now_ms}
            await self._connection.execute(insert_ignore(erasures, keys=["account_id", "mpid"]), [row])
            for id_, _ in where:
                await Members(self._connection).mark_one(id_, [mpid], since_ms=now_ms)
                woken.add(id_)
        return woken

    async def records(self, account_id: int, mpid: int) -> list[PartnerRecord]:
        """What partners have of a person, and what they refused."""
        of = (connections.c.id, configurations.c.integration_key, connections.c.audience_id)
        query = (
            select(*of, ledger.c.identities, ledger.c.accept_time, rejected_records.c.reason)
            .join(configurations, configurations.c.id == connections.c.configuration_id)
            .outerjoin(ledger, and_(ledger.c.connection_id == connections.c.id, ledger.c.mpid == mpid))
            .outerjoin(rejected_records, and_(rejected_records.c.connection_id == connections.c.id, rejected_records.c.mpid == mpid))
            .where(connections.c.account_id == account_id, or_(ledger.c.mpid.is_not(None), rejected_records.c.mpid.is_not(None)))
            .order_by(connections.c.id)
        )
        return [
            PartnerRecord(id_, integration, audience_id, unpack(told) if told else (), accept_ms or 0, reason or "")
            for id_, integration, audience_id, told, accept_ms, reason in await self._connection.execute(query)
        ]

    async def done(self) -> list[Erasure]:
        """Those of whom nothing is left: not in the copy of the members, not with a partner, and on the way to none."""
        pending = exists().where(deliveries.c.connection_id == connections.c.id, deliveries.c.outcome == Outcome.PENDING)
        own = connections.c.account_id == erasures.c.account_id
        member = exists().where(members.c.account_id == erasures.c.account_id, members.c.mpid == erasures.c.mpid)
        kept = exists().where(own, ledger.c.connection_id == connections.c.id, ledger.c.mpid == erasures.c.mpid)
        # Of a connection that sends nothing and has nothing on the way, a mark is all that there is: it is no data of anybody.
        works = and_(connections.c.state != State.DELETED, or_(connections.c.state == State.SENDING, pending))
        marked = exists().where(own, waiting.c.connection_id == connections.c.id, waiting.c.mpid == erasures.c.mpid, works)
        rows = await self._connection.execute(select(erasures).where(not_(member), not_(kept), not_(marked)))
        return [Erasure(row.account_id, row.mpid, row.records, tuple(row.places), row.since) for row in rows]

    async def finish(self, erasure: Erasure) -> bool:
        """Forget an erasure that is still done, with the marks that are left and what partners said of the person; whether this did."""
        if erasure not in await self.done():
            return False
        mine = and_(erasures.c.account_id == erasure.account_id, erasures.c.mpid == erasure.mpid, erasures.c.since == erasure.since_ms)
        if (await self._connection.execute(delete(erasures).where(mine))).rowcount != 1:
            return False
        of_account = select(connections.c.id).where(connections.c.account_id == erasure.account_id)
        for table in (waiting, rejected_records):
            await self._connection.execute(delete(table).where(table.c.mpid == erasure.mpid, table.c.connection_id.in_(of_account)))
        return True
