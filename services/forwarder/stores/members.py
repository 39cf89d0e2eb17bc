"""Audiences, who is in them, and who is to be looked at: copies of what other services tell, in the database."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import BigInteger, and_, delete, literal, or_, select, true, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis.database import insert_ignore, upsert
from services.forwarder.domain.connections import State
from services.forwarder.domain.rounds import Position
from services.forwarder.stores.listed import listed
from services.forwarder.tables import audiences, connections, held_facts, ledger, member_rounds, members, rejected_records, waiting

Key = tuple[int, int]


class Following(StrEnum):
    """Whether the members of an audience are known here."""

    NONE = "none"
    # A snapshot is needed; facts that come meanwhile are held.
    WANTED = "wanted"
    LIVE = "live"


@dataclass(frozen=True, slots=True)
class Audience:
    """What is known of an audience. `state` is that of the definition service, in small letters."""

    account_id: int
    audience_id: int
    name: str
    external_name: str
    state: str
    version: int
    following: Following = Following.NONE
    # Another number with each time that it began or ceased to be followed.
    follow_mark: int = 0

    @property
    def key(self) -> Key:
        """Account and id."""
        return self.account_id, self.audience_id

    @property
    def is_live(self) -> bool:
        """Whether it has members: one that is inactive or deleted has none, whatever the copy holds."""
        return self.state == ACTIVE

    @property
    def needs_snapshot(self) -> bool:
        """Whether its members are to be asked for, and can be."""
        return self.following is Following.WANTED and self.is_live


ACTIVE = "active"
DELETED = "deleted"


def new_mark() -> int:
    """A number that no other marking has."""
    return random.getrandbits(62)


class Audiences:
    """The audiences of all accounts, inside one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, key: Key, *, lock: bool = False) -> Audience | None:
        """The audience. `lock` keeps it, and so who is in it, as it is for the rest of the transaction."""
        return (await self.get_many([key], lock=lock)).get(key)

    async def get_many(self, keys: Sequence[Key], *, lock: bool = False) -> dict[Key, Audience]:
        """Those of these that are known."""
        found: dict[Key, Audience] = {}
        wanted = sorted(set(keys))
        for start in range(0, len(wanted), 200):
            chosen = [and_(audiences.c.account_id == account, audiences.c.audience_id == id) for account, id in wanted[start : start + 200]]
            # One order for all, so that two transactions never wait for each other.
            query = select(audiences).where(or_(*chosen)).order_by(audiences.c.account_id, audiences.c.audience_id)
            for row in await self._connection.execute(query.with_for_update() if lock else query):
                audience = _audience(row)
                found[audience.key] = audience
        return found

    async def save(self, audience: Audience) -> None:
        """Keep what the definition service told, unless something newer is known; whether its members are followed stays as it is."""
        row = {
            "account_id": audience.account_id,
            "audience_id": audience.audience_id,
            "name": audience.name,
            "external_name": audience.external_name,
            "state": audience.state,
            "version": audience.version,
            "following": Following.NONE,
            "follow_mark": 0,
        }
        told = ["name", "external_name", "state", "version"]
        statement = upsert(audiences, keys=["account_id", "audience_id"], update=told, by="version")
        await self._connection.execute(statement, [row])

    async def follow(self, key: Key, following: Following) -> None:
        """Set whether its members are known."""
        mine = and_(audiences.c.account_id == key[0], audiences.c.audience_id == key[1])
        await self._connection.execute(update(audiences).where(mine).values(following=following, follow_mark=new_mark()))

    async def wanted(self) -> list[Audience]:
        """Those that a snapshot is needed of and can be had: the active ones."""
        query = select(audiences).where(audiences.c.following == Following.WANTED, audiences.c.state == ACTIVE)
        return [_audience(row) for row in await self._connection.execute(query)]


class Members:
    """Who is in the followed audiences, and who is to be looked at, inside one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def positions(self, keys: Sequence[Key]) -> dict[tuple[int, int, int], Position]:
        """Where the copy stands, by account, audience and partition."""
        found: dict[tuple[int, int, int], Position] = {}
        wanted = sorted(set(keys))
        for start in range(0, len(wanted), 200):
            chosen = [
                and_(member_rounds.c.account_id == account, member_rounds.c.audience_id == id)
                for account, id in wanted[start : start + 200]
            ]
            for row in await self._connection.execute(select(member_rounds).where(or_(*chosen))):
                found[row.account_id, row.audience_id, row.partition] = Position(row.round, row.piece, row.pieces, row.as_of)
        return found

    async def stand(self, positions: dict[tuple[int, int, int], Position]) -> None:
        """Enter where the copy stands now."""
        rows = [
            {
                "account_id": account,
                "audience_id": audience,
                "partition": partition,
                "round": at.round,
                "piece": at.piece,
                "pieces": at.pieces,
                "as_of": at.as_of_ms,
            }
            for (account, audience, partition), at in sorted(positions.items())
        ]
        if rows:
            statement = upsert(member_rounds, keys=["account_id", "audience_id", "partition"], update=["round", "piece", "pieces", "as_of"])
            await self._connection.execute(statement, rows)

    async def forget_positions(self, key: Key) -> None:
        """The copy stands nowhere any more."""
        await self._connection.execute(
            delete(member_rounds).where(member_rounds.c.account_id == key[0], member_rounds.c.audience_id == key[1])
        )

    async def add(self, key: Key, mpids: Sequence[int]) -> None:
        """These are in; those that were already stay."""
        if mpids:
            source = listed(self._connection, mpids)
            rows = select(_number(key[0]), _number(key[1]), source.c.value).where(source.c.value.is_not(None))
            statement = insert_ignore(members, keys=["account_id", "audience_id", "mpid"])
            await self._connection.execute(statement.from_select(["account_id", "audience_id", "mpid"], rows))

    async def drop(self, key: Key, mpids: Sequence[int]) -> None:
        """These are out."""
        if mpids:
            source = listed(self._connection, mpids)
            await self._connection.execute(delete(members).where(_of(key), members.c.mpid.in_(select(source.c.value))))

    async def drop_all(self, key: Key) -> None:
        """Nobody is in."""
        await self._connection.execute(delete(members).where(_of(key)))

    async def all(self, key: Key) -> npt.NDArray[np.int64]:
        """Everybody who is in."""
        found = await self._connection.scalars(select(members.c.mpid).where(_of(key)))
        return np.fromiter(found, dtype=np.int64)

    async def mark(self, key: Key, mpids: Sequence[int], *, since_ms: int) -> None:
        """Let these be looked at by every connection of the audience."""
        if mpids:
            source = listed(self._connection, sorted(set(mpids)))
            # Each connection with each person.
            pairs = select(connections.c.id, source.c.value, _number(new_mark()), _number(since_ms)).join_from(connections, source, true())
            mine = (connections.c.account_id == key[0], connections.c.audience_id == key[1], connections.c.state != State.DELETED)
            await self._mark(pairs.where(*mine))

    async def mark_everybody(self, key: Key, *, since_ms: int) -> None:
        """Let all who are in be looked at by every connection of the audience."""
        rows = select(connections.c.id, members.c.mpid, _number(new_mark()), _number(since_ms)).join_from(
            connections,
            members,
            and_(members.c.account_id == connections.c.account_id, members.c.audience_id == connections.c.audience_id),
        )
        await self._mark(rows.where(_of(key), connections.c.state != State.DELETED))

    async def mark_all(self, connection_id: int, key: Key, *, since_ms: int) -> None:
        """Let one connection look at everybody who is in, and everybody whom its partner has."""
        mark = new_mark()
        inside = select(_number(connection_id), members.c.mpid, _number(mark), _number(since_ms)).where(_of(key))
        told = select(_number(connection_id), ledger.c.mpid, _number(mark), _number(since_ms)).where(
            ledger.c.connection_id == connection_id
        )
        await self._mark(inside)
        await self._mark(told)

    async def mark_one(self, connection_id: int, mpids: Sequence[int], *, since_ms: int) -> None:
        """Let one connection look at these."""
        if mpids:
            source = listed(self._connection, sorted(set(mpids)))
            rows = select(_number(connection_id), source.c.value, _number(new_mark()), _number(since_ms))
            await self._mark(rows.where(source.c.value.is_not(None)))

    async def mark_members(self, account_id: int, mpids: Sequence[int], *, since_ms: int) -> set[int]:
        """Let these be looked at wherever they are in; the connections concerned."""
        if not mpids:
            return set()
        source = listed(self._connection, mpids)
        rows = (
            select(connections.c.id, members.c.mpid, _number(new_mark()), _number(since_ms))
            .join_from(
                members,
                connections,
                and_(connections.c.account_id == members.c.account_id, connections.c.audience_id == members.c.audience_id),
            )
            .where(members.c.account_id == account_id, members.c.mpid.in_(select(source.c.value)), connections.c.state != State.DELETED)
        )
        statement = _marking(rows).returning(waiting.c.connection_id)
        return set(await self._connection.scalars(statement))

    async def forget_connection(self, connection_id: int) -> None:
        """Forget whom a connection was to look at, what its partner has, and what it refused."""
        for table in (waiting, ledger, rejected_records):
            await self._connection.execute(delete(table).where(table.c.connection_id == connection_id))

    async def hold(self, key: Key, bodies: Iterable[bytes]) -> None:
        """Keep membership facts until the snapshot is there."""
        rows = [{"account_id": key[0], "audience_id": key[1], "body": body} for body in bodies]
        if rows:
            await self._connection.execute(held_facts.insert(), rows)

    async def take_held(self, key: Key) -> list[bytes]:
        """The held facts in their order, held no longer."""
        mine = and_(held_facts.c.account_id == key[0], held_facts.c.audience_id == key[1])
        rows = await self._connection.execute(select(held_facts.c.id, held_facts.c.body).where(mine).order_by(held_facts.c.id))
        bodies = [row.body for row in rows]
        if bodies:
            await self._connection.execute(delete(held_facts).where(mine))
        return bodies

    async def _mark(self, rows: Any) -> None:
        await self._connection.execute(_marking(rows))


def _marking(rows: Any) -> postgresql.Insert:
    # `since` stays that of the first marking: whoever is marked again and again still gets a turn.
    statement = postgresql.insert(waiting).from_select(["connection_id", "mpid", "mark", "since"], rows)
    return statement.on_conflict_do_update(index_elements=["connection_id", "mpid"], set_={"mark": statement.excluded.mark})


def _number(value: int) -> Any:
    return literal(value, BigInteger)


def _of(key: Key) -> Any:
    return and_(members.c.account_id == key[0], members.c.audience_id == key[1])


def _audience(row: Any) -> Audience:
    return Audience(
        account_id=row.account_id,
        audience_id=row.audience_id,
        name=row.name,
        external_name=row.external_name,
        state=row.state,
        version=row.version,
        following=Following(row.following),
        follow_mark=row.follow_mark,
    )
