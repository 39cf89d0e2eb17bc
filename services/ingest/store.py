"""All the SQL of ingest. What takes a connection is a part of the transaction in hand; what does not has its own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import islice
from typing import Any, TypeVar

from msgspec import Struct
from sqlalchemy import ARRAY, BigInteger, Select, and_, bindparam, delete, func, or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis.database import Database, add_up, insert_ignore, upsert
from services.ingest.domain.model import Identity
from services.ingest.domain.resolution import Held, Merge
from services.ingest.tables import erasures, identities, merged, merges, receipts, revisions, sent

# A statement that looks for more at once takes longer for each, and PostgreSQL has bounds.
_PARAMETERS = 1_000
_FORGOTTEN = 5_000
# How many locks the people of an account share, on PostgreSQL.
_PEOPLE_LOCKS = 64

# Of SQLite: all keys as one parameter, which it takes apart itself. A third of the time of a parameter for each.
_SQLITE_OWNERS = text(
    "WITH RECURSIVE place(at) AS (SELECT 1 UNION ALL SELECT at + 16 FROM place WHERE at + 16 < length(:keys)) "
    'SELECT key, coalesce(merged."into", identities.mpid) FROM identities '
    "LEFT JOIN merged ON merged.account_id = identities.account_id AND merged.mpid = identities.mpid "
    "WHERE key IN (SELECT substr(:keys, at, 16) FROM place)"
)
_SQLITE_ENTER = text(
    "WITH RECURSIVE place(at) AS (SELECT 1 UNION ALL SELECT at + 16 FROM place WHERE at + 16 < length(:keys)) "
    "INSERT INTO sent (span, key) SELECT :span, substr(:keys, at, 16) FROM place WHERE true ON CONFLICT DO NOTHING RETURNING key"
)

T = TypeVar("T")


class MergeRecord(Struct, frozen=True):
    """Who became one with whom, by an identity of which type, from which input; `undo_time_ms` 0: is so still."""

    merge_id: int
    mpid: int
    into: int
    type: int
    input_id: int
    create_time_ms: int
    undo_time_ms: int
    new_mpid: int


class Receipt(Struct, frozen=True):
    """What a service removed of somebody who was erased: how many records, and where."""

    service: str
    removed: int
    places: tuple[str, ...]
    time_ms: int


class ErasureRecord(Struct, frozen=True):
    """An erasure; `finish_time_ms` 0: it runs."""

    erasure_id: int
    mpid: int
    create_time_ms: int
    finish_time_ms: int
    receipts: list[Receipt]


class Store:
    """Identities, people who are one, and what was sent before."""

    def __init__(self, database: Database) -> None:
        self.database = database

    # --- what was sent before

    async def enter(self, connection: AsyncConnection, span: int, keys: Sequence[bytes]) -> set[bytes]:
        """Which of these keys, in their order, were not entered in a span; now they are. Waits for who enters the same."""
        if not keys:
            return set()
        if self.database.is_sqlite:
            return set((await connection.execute(_SQLITE_ENTER, {"keys": b"".join(keys), "span": span})).scalars())
        statement = insert_ignore(sent, keys=["span", "key"]).returning(sent.c.key)
        return set((await connection.execute(statement, [{"span": span, "key": key} for key in keys])).scalars())

    async def entered(self, connection: AsyncConnection, spans: Sequence[int], keys: Sequence[bytes]) -> set[bytes]:
        """Which of these keys were entered in one of the spans."""
        found: set[bytes] = set()
        for part in _parts(keys, _PARAMETERS):
            query = select(sent.c.key).where(sent.c.span.in_(spans), sent.c.key.in_(part))
            found.update(bytes(key) for key in await connection.scalars(query))
        return found

    async def entered_in(self, span: int, *, after: bytes, limit: int) -> list[bytes]:
        """Up to so many keys of a span, in their order, after that one."""
        query = select(sent.c.key).where(sent.c.span == span, sent.c.key > after).order_by(sent.c.key).limit(limit)
        async with self.database.read() as connection:
            return [bytes(key) for key in await connection.scalars(query)]

    async def forget(self, *, before: int) -> int:
        """Forget the keys of all spans before that one, in parts, so that others go on meanwhile; returns how many."""
        forgotten = 0
        while True:
            async with self.database.transaction() as connection:
                span = await connection.scalar(select(func.min(sent.c.span)))
                if span is None or span >= before:
                    return forgotten
                of_span = sent.c.span == span
                end = await connection.scalar(select(sent.c.key).where(of_span).order_by(sent.c.key).offset(_FORGOTTEN).limit(1))
                gone = delete(sent).where(of_span) if end is None else delete(sent).where(of_span, sent.c.key < end)
                forgotten += (await connection.execute(gone)).rowcount

    # --- who is who

    async def owners(self, connection: AsyncConnection, keys: Collection[bytes]) -> dict[bytes, int]:
        """Whose the identities are that are known."""
        if self.database.is_sqlite and keys:
            rows = await connection.execute(_SQLITE_OWNERS, {"keys": b"".join(keys)})
            return {bytes(key): mpid for key, mpid in rows}
        found: dict[bytes, int] = {}
        for part in _parts(keys, _PARAMETERS):
            rows = await connection.execute(_OWNED.where(identities.c.key.in_(part)))
            found.update((bytes(key), mpid) for key, mpid in rows)
        return found

    async def add(
        self, connection: AsyncConnection, account_id: int, named: Mapping[bytes, Identity], added: Mapping[bytes, int], *, now_ms: int
    ) -> dict[bytes, int]:
        """Enter identities with their MPIDs. Returns those that another transaction entered first, with the MPIDs that they have."""
        rows = []
        # In one order everywhere, so that no two transactions wait for each other.
        for key, mpid in sorted(added.items()):
            identity = named[key]
            rows.append((key, account_id, mpid, int(identity.type), identity.value, now_ms))
        if self.database.is_sqlite:
            # Nobody can be faster: there is one writer, and it has looked within this transaction. So nothing has to come back.
            await connection.exec_driver_sql(str(identities.insert().compile(dialect=connection.dialect)), rows)
            return {}
        entered = await connection.execute(
            insert_ignore(identities, keys=["key"]).returning(identities.c.key),
            [dict(zip(identities.c.keys(), row, strict=True)) for row in rows],
        )
        return await self.owners(connection, added.keys() - set(entered.scalars()))

    async def move(self, connection: AsyncConnection, moved: Mapping[bytes, int], *, now_ms: int) -> None:
        """Give identities to other MPIDs."""
        if moved:
            statement = identities.update().where(identities.c.key == bindparam("of")).values(mpid=bindparam("to"), enter_time=now_ms)
            await connection.execute(statement, [{"of": key, "to": mpid} for key, mpid in sorted(moved.items())])

    async def remove(self, connection: AsyncConnection, keys: Collection[bytes]) -> dict[bytes, Identity]:
        """Forget identities; returns them."""
        removed: dict[bytes, Identity] = {}
        for part in _parts(sorted(keys), _PARAMETERS):
            statement = delete(identities).where(identities.c.key.in_(part))
            rows = await connection.execute(statement.returning(identities.c.key, identities.c.type, identities.c.value))
            removed.update((bytes(key), Identity(type_, value)) for key, type_, value in rows)
        return removed

    async def names(self, connection: AsyncConnection, account_id: int, mpids: Collection[int]) -> dict[int, dict[bytes, Held]]:
        """All identities of these people, who are one with nobody, by their keys. Each of the people is there."""
        found: dict[int, dict[bytes, Held]] = {mpid: {} for mpid in mpids}
        query = select(identities.c.mpid, identities.c.key, identities.c.type, identities.c.enter_time)
        for owner, (_, key, type_, enter_ms) in await self._held(connection, account_id, mpids, query):
            found[owner][bytes(key)] = type_, enter_ms
        return found

    async def profiles(self, account_id: int, mpids: Sequence[int], types: Sequence[int]) -> dict[int, list[Identity]]:
        """The identities of these people, all or of these types only; people without any, and who are one with others, are left out."""
        found: dict[int, list[Identity]] = {}
        query = select(identities.c.mpid, identities.c.type, identities.c.value).order_by(identities.c.enter_time, identities.c.key)
        if types:
            query = query.where(identities.c.type.in_(types))
        async with self.database.read() as connection:
            gone = await self.finals(connection, account_id, mpids)
            for owner, (_, type_, value) in await self._held(connection, account_id, set(mpids) - gone.keys(), query):
                found.setdefault(owner, []).append(Identity(type_, value))
        return found

    async def find(self, keys: Collection[bytes]) -> dict[bytes, int]:
        """Whose the identities are that are known, by themselves."""
        async with self.database.read() as connection:
            return await self.owners(connection, keys)

    async def _held(
        self, connection: AsyncConnection, account_id: int, mpids: Collection[int], query: Select[Any]
    ) -> list[tuple[int, Any]]:
        """The rows of a query of identities, the MPID first, of people and those who are one with them, each with who it is now."""
        owner_of = {mpid: mpid for mpid in mpids}
        for part in _parts(mpids, _PARAMETERS):
            ended = select(merged.c.mpid, merged.c.into).where(merged.c.account_id == account_id, merged.c.into.in_(part))
            owner_of.update((mpid, into) for mpid, into in await connection.execute(ended))
        found = []
        for part in _parts(owner_of, _PARAMETERS):
            rows = await connection.execute(query.where(identities.c.account_id == account_id, identities.c.mpid.in_(part)))
            found += [(owner_of[row[0]], row) for row in rows]
        return found

    # --- who is one with whom

    async def finals(self, connection: AsyncConnection, account_id: int, mpids: Collection[int]) -> dict[int, int]:
        """Whom those of these people are one with who are one with others."""
        found: dict[int, int] = {}
        for part in _parts(mpids, _PARAMETERS):
            query = select(merged.c.mpid, merged.c.into).where(merged.c.account_id == account_id, merged.c.mpid.in_(part))
            found.update((mpid, into) for mpid, into in await connection.execute(query))
        return found

    async def merge(self, connection: AsyncConnection, account_id: int, people: Sequence[tuple[Merge, int]], *, now_ms: int) -> None:
        """Let people be one with others, each with the input that told; the record says so too."""
        for merge, _ in people:
            earlier = merged.update().where(merged.c.account_id == account_id, merged.c.into == merge.mpid)
            await connection.execute(earlier.values(into=merge.into))
        rows = [{"account_id": account_id, "mpid": merge.mpid, "into": merge.into} for merge, _ in people]
        await connection.execute(upsert(merged, keys=["account_id", "mpid"], update=["into"]), rows)
        told = [
            {**row, "type": int(merge.type), "input_id": input_id, "create_time": now_ms}
            for row, (merge, input_id) in zip(rows, people, strict=True)
        ]
        await connection.execute(merges.insert(), told)

    async def merges(self, account_id: int, *, mpid: int, before: int, limit: int) -> list[MergeRecord]:
        """The record of an account, or of one person, the latest first, from before the one of this number on."""
        query = select(merges).where(merges.c.account_id == account_id, merges.c.id < before).order_by(merges.c.id.desc()).limit(limit)
        if mpid:
            query = query.where(or_(merges.c.mpid == mpid, merges.c.into == mpid, merges.c.new_mpid == mpid))
        async with self.database.read() as connection:
            return [_record(row) for row in await connection.execute(query)]

    async def merge_record(self, connection: AsyncConnection, account_id: int, merge_id: int) -> MergeRecord | None:
        """One entry of the record."""
        query = select(merges).where(merges.c.account_id == account_id, merges.c.id == merge_id)
        row = (await connection.execute(query)).one_or_none()
        return None if row is None else _record(row)

    async def part(
        self, connection: AsyncConnection, account_id: int, record: MergeRecord, new_mpid: int, *, now_ms: int
    ) -> list[Identity]:
        """Let whoever ended by this entry of the record be one with a new person instead, and so those who were one with them before.

        Returns the identities that go to the new person.
        """
        into = (await self.finals(connection, account_id, [record.mpid])).get(record.mpid, 0)
        by_now = select(merged.c.mpid).where(merged.c.account_id == account_id, merged.c.into == into)
        others = set((await connection.execute(by_now)).scalars())
        # Who was parted before is one with whom they became then.
        whom = func.coalesce(merges.c.new_mpid, merges.c.into)
        standing = select(merges.c.mpid, whom).where(merges.c.account_id == account_id)
        next_of: dict[int, int] = {}
        for part in _parts(others - {record.mpid}, _PARAMETERS):
            next_of.update(
                (mpid, to) for mpid, to in await connection.execute(standing.where(merges.c.mpid.in_(part)).order_by(merges.c.id))
            )
        going = {record.mpid}
        while more := {mpid for mpid, to in next_of.items() if to in going and mpid not in going}:
            going |= more
        for part in _parts(going, _PARAMETERS):
            of = merged.update().where(merged.c.account_id == account_id, merged.c.mpid.in_(part))
            await connection.execute(of.values(into=new_mpid))
        undone = merges.update().where(merges.c.id == record.merge_id).values(undo_time=now_ms, new_mpid=new_mpid)
        await connection.execute(undone)
        held = select(identities.c.mpid, identities.c.type, identities.c.value)
        return [Identity(type_, value) for _, (_, type_, value) in await self._held(connection, account_id, [new_mpid], held)]

    # --- erasures

    async def erase(self, connection: AsyncConnection, account_id: int, mpid: int) -> tuple[list[int], int]:
        """Forget somebody who is one with nobody, and who was one with them. Returns all those MPIDs, and how many identities they had."""
        mpids = [mpid]
        ended = select(merged.c.mpid).where(merged.c.account_id == account_id, merged.c.into == mpid)
        mpids += (await connection.execute(ended)).scalars()
        removed = 0
        for part in _parts(mpids, _PARAMETERS):
            gone = delete(identities).where(identities.c.account_id == account_id, identities.c.mpid.in_(part))
            removed += (await connection.execute(gone)).rowcount
            await connection.execute(delete(merged).where(merged.c.account_id == account_id, merged.c.mpid.in_(part)))
            of_them = or_(merges.c.mpid.in_(part), merges.c.into.in_(part), merges.c.new_mpid.in_(part))
            await connection.execute(delete(merges).where(merges.c.account_id == account_id, of_them))
        return mpids, removed

    async def lock_erasure(self, connection: AsyncConnection, erasure_id: int) -> None:
        """Let nobody else change it in this transaction."""
        await connection.execute(select(erasures.c.id).where(erasures.c.id == erasure_id).with_for_update())

    async def running_erasures(self, account_id: int, mpid: int) -> list[tuple[int, list[int]]]:
        """The erasures of this person that run, with the MPIDs of those who were one with them."""
        mine = erasures.c.account_id == account_id, erasures.c.mpid == mpid, erasures.c.finish_time.is_(None)
        async with self.database.read() as connection:
            rows = await connection.execute(select(erasures.c.id, erasures.c.mpids).where(*mine))
            return [(id_, [int(one) for one in mpids]) for id_, mpids in rows]

    async def add_erasure(self, connection: AsyncConnection, account_id: int, mpids: Sequence[int], removed: int, *, now_ms: int) -> int:
        """A new erasure of somebody, the first, and who was one with them, of whom so many identities went; its number."""
        row = {"account_id": account_id, "mpid": mpids[0], "mpids": [str(mpid) for mpid in mpids], "removed": removed}
        entering = erasures.insert().values(**row, create_time=now_ms).returning(erasures.c.id)
        return int((await connection.execute(entering)).scalar_one())

    async def erasures_without(self, service: str) -> list[tuple[int, int, list[int], int]]:
        """The erasures that run without a receipt of a service: number, account, MPIDs, and how many identities went."""
        done = select(receipts.c.erasure_id).where(receipts.c.service == service)
        query = select(erasures).where(erasures.c.finish_time.is_(None), erasures.c.id.not_in(done)).order_by(erasures.c.id)
        async with self.database.read() as connection:
            rows = await connection.execute(query)
            return [(row.id, row.account_id, [int(mpid) for mpid in row.mpids], row.removed) for row in rows]

    async def add_receipt(self, connection: AsyncConnection, erasure_id: int, receipt: Receipt) -> None:
        """What a service removed. Of a service the first receipt counts."""
        row = {"erasure_id": erasure_id, "service": receipt.service, "removed": receipt.removed}
        row |= {"places": list(receipt.places), "create_time": receipt.time_ms}
        await connection.execute(insert_ignore(receipts, keys=["erasure_id", "service"]), [row])

    async def finish_erasure(self, connection: AsyncConnection, erasure_id: int, services: Collection[str], *, now_ms: int) -> bool:
        """End an erasure that runs, if there are receipts of all these services; whether it did."""
        told = select(func.count()).where(receipts.c.erasure_id == erasure_id, receipts.c.service.in_(services)).scalar_subquery()
        ending = erasures.update().where(erasures.c.id == erasure_id, erasures.c.finish_time.is_(None), told == len(services))
        return (await connection.execute(ending.values(finish_time=now_ms))).rowcount == 1

    async def erasures(self, account_id: int, *, before: int, limit: int, erasure_id: int = 0) -> list[ErasureRecord]:
        """Erasures of an account with their receipts, the latest first, from before the one of this number on; or just one."""
        query = select(erasures).where(erasures.c.account_id == account_id, erasures.c.id < before).order_by(erasures.c.id.desc())
        if erasure_id:
            query = query.where(erasures.c.id == erasure_id)
        async with self.database.read() as connection:
            rows = list(await connection.execute(query.limit(limit)))
            told = select(receipts).where(receipts.c.erasure_id.in_([row.id for row in rows])).order_by(receipts.c.create_time)
            of: dict[int, list[Receipt]] = {row.id: [] for row in rows}
            for receipt in await connection.execute(told):
                of[receipt.erasure_id].append(Receipt(receipt.service, receipt.removed, tuple(receipt.places), receipt.create_time))
        return [ErasureRecord(row.id, row.mpid, row.create_time, row.finish_time or 0, of[row.id]) for row in rows]

    # --- several processes of one database

    async def revision(self, connection: AsyncConnection, account_id: int) -> int:
        """How often identities that were known became another person's or nobody's."""
        query = select(revisions.c.revision).where(revisions.c.account_id == account_id)
        return (await connection.execute(query)).scalar_one_or_none() or 0

    async def revise(self, connection: AsyncConnection, account_id: int) -> int:
        """Count one more such change; returns the count."""
        statement = add_up(revisions, keys=["account_id"], update=["revision"]).returning(revisions.c.revision)
        return int((await connection.execute(statement, {"account_id": account_id, "revision": 1})).scalar_one())

    async def lock_account(self, connection: AsyncConnection, account_id: int, *, alone: bool = False) -> None:
        """Until the end of the transaction: let nobody be alone with the account; or, alone, wait until nobody else works in it."""
        if not self.database.is_sqlite:
            lock = func.pg_advisory_xact_lock if alone else func.pg_advisory_xact_lock_shared
            await connection.execute(select(lock(_lock_key(account_id))))

    async def lock_people(self, connection: AsyncConnection, account_id: int, mpids: Collection[int]) -> None:
        """Until the end of the transaction let nobody else decide what depends on all that these people have."""
        if not self.database.is_sqlite:
            # In one order everywhere. So few locks that a large round doesn't need more than the server has.
            locks = sorted({_lock_key(account_id, mpid % _PEOPLE_LOCKS) for mpid in mpids})
            each = func.unnest(bindparam("locks", locks, ARRAY(BigInteger))).column_valued("lock")
            await connection.execute(select(func.pg_advisory_xact_lock(each)))


_OWNED = select(identities.c.key, func.coalesce(merged.c.into, identities.c.mpid)).outerjoin(
    merged, and_(merged.c.account_id == identities.c.account_id, merged.c.mpid == identities.c.mpid)
)


def _record(row: Any) -> MergeRecord:
    return MergeRecord(row.id, row.mpid, row.into, row.type, row.input_id, row.create_time, row.undo_time or 0, row.new_mpid or 0)


def _lock_key(account_id: int, place: int = -1) -> int:
    """The number of an advisory lock of PostgreSQL."""
    return int.from_bytes(blake2b(f"muster ingest {account_id} {place}".encode(), digest_size=8).digest(), "little", signed=True)


def _parts(items: Iterable[T], size: int) -> Iterable[list[T]]:
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part
