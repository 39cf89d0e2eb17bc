"""All the SQL of ingest. What takes a connection is a part of the transaction in hand; what does not has its own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import TypeVar

from sqlalchemy import bindparam, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis.database import Database, insert_ignore
from services.ingest.domain.model import Identity
from services.ingest.tables import identities, seen

# PostgreSQL takes 32,767 parameters a statement, SQLite 32,766.
_PARAMETERS = 10_000

T = TypeVar("T")


class Store:
    """Identities and what was sent before."""

    def __init__(self, database: Database) -> None:
        self.database = database

    # --- what was sent before

    async def remember(self, connection: AsyncConnection, keys: Iterable[bytes], *, now_ms: int) -> set[bytes]:
        """Which of these keys were not known; from now on they are. Waits for another transaction that brings the same."""
        # In one order everywhere, so that no two transactions wait for each other.
        rows = [{"key": key, "seen_time": now_ms} for key in sorted(set(keys))]
        if not rows:
            return set()
        statement = insert_ignore(seen, keys=["key"]).returning(seen.c.key)
        return set((await connection.execute(statement, rows)).scalars())

    async def forget(self, *, before_ms: int, limit: int) -> int:
        """Forget up to `limit` keys that came before an instant; returns how many."""
        oldest = select(seen.c.key).where(seen.c.seen_time < before_ms).order_by(seen.c.seen_time).limit(limit)
        async with self.database.transaction() as connection:
            return (await connection.execute(delete(seen).where(seen.c.key.in_(oldest)))).rowcount

    # --- who is who

    async def owners(self, connection: AsyncConnection, keys: Collection[bytes]) -> dict[bytes, int]:
        """The MPIDs of the identities that are known."""
        found: dict[bytes, int] = {}
        for part in _parts(keys, _PARAMETERS):
            rows = await connection.execute(select(identities.c.key, identities.c.mpid).where(identities.c.key.in_(part)))
            found.update((bytes(key), mpid) for key, mpid in rows)
        return found

    async def add(
        self, connection: AsyncConnection, account_of: Mapping[bytes, tuple[int, Identity]], added: Mapping[bytes, int]
    ) -> dict[bytes, int]:
        """Enter identities with their MPIDs. Returns those that another transaction entered first, with the MPIDs that they have."""
        rows = []
        # In one order everywhere, as in `remember`.
        for key, mpid in sorted(added.items()):
            account_id, identity = account_of[key]
            rows.append({"key": key, "account_id": account_id, "mpid": mpid, "type": int(identity.type), "value": identity.value})
        entered = await connection.execute(insert_ignore(identities, keys=["key"]).returning(identities.c.key), rows)
        return await self.owners(connection, added.keys() - set(entered.scalars()))

    async def move(self, connection: AsyncConnection, moved: Mapping[bytes, int]) -> None:
        """Give identities that this transaction entered to other MPIDs."""
        statement = identities.update().where(identities.c.key == bindparam("of")).values(mpid=bindparam("to"))
        await connection.execute(statement, [{"of": key, "to": mpid} for key, mpid in sorted(moved.items())])

    async def profiles(self, account_id: int, mpids: Sequence[int], types: Sequence[int]) -> dict[int, list[Identity]]:
        """The identities of these people, all or of these types only; people without any are left out."""
        found: dict[int, list[Identity]] = {}
        query = select(identities.c.mpid, identities.c.type, identities.c.value).where(identities.c.account_id == account_id)
        if types:
            query = query.where(identities.c.type.in_(types))
        async with self.database.read() as connection:
            for part in _parts(mpids, _PARAMETERS):
                for mpid, type_, value in await connection.execute(query.where(identities.c.mpid.in_(part))):
                    found.setdefault(mpid, []).append(Identity(type_, value))
        return found

    async def find(self, keys: Collection[bytes]) -> dict[bytes, int]:
        """The MPIDs of the identities that are known, by themselves."""
        async with self.database.read() as connection:
            return await self.owners(connection, keys)


def _parts(items: Iterable[T], size: int) -> Iterable[list[T]]:
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part
