"""All SQL of the evaluator's own database. What happens is decided in rounds.py; here it is kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
from muster.definition.v1 import facts_pb2
from pyroaring import BitMap
from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis.database import Database, insert_ignore, upsert
from services.chassis.outbox import Outbox
from services.chassis.publisher import Outgoing
from services.evaluator import journal, tables
from services.evaluator.journal import Locals, Standing
from services.evaluator.people import Page

_CHUNK = 500


class Replaced(Exception):
    """Another process moved a position on: it owns the partition now, and this one must not write any more."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far a partition is taken: the last sequence of the stream, and the last round."""

    sequence: int = 0
    round: int = 0


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One minute of one audience."""

    account_id: int
    audience_id: int
    minute_ms: int
    size: int
    adds: int
    drops: int


@dataclass(frozen=True, slots=True)
class ActivityRow:
    """People with their first activity in a workspace."""

    workspace_id: int
    partition: int
    locals: Locals


@dataclass(frozen=True, slots=True)
class MembersRow:
    """The members of an audience in a partition, to replace all earlier ones."""

    account_id: int
    audience_id: int
    partition: int
    standing: Standing


@dataclass(slots=True)
class Commit:
    """All that one round writes, in one transaction."""

    take_time_ms: int
    moves: dict[int, tuple[Position, Position]] = field(default_factory=dict)  # partition -> (from, to)
    batch_ids: list[str] = field(default_factory=list)
    pages: list[tuple[int, Page]] = field(default_factory=list)  # (account, page)
    activity: list[tuple[int, ActivityRow]] = field(default_factory=list)  # (account, row)
    changes: list[tuple[int, int, int, bytes]] = field(default_factory=list)  # (account, partition, round, payload)
    folded: list[MembersRow] = field(default_factory=list)
    forget_changes: dict[tuple[int, int], int] = field(default_factory=dict)  # (account, partition) -> up to this round
    history: list[HistoryRow] = field(default_factory=list)
    messages: list[Outgoing] = field(default_factory=list)


class Store:
    """Methods may be repeated; none reads a clock."""

    def __init__(self, database: Database, outbox: Outbox) -> None:
        self._database = database
        self._outbox = outbox

    # --- definitions

    async def save_definition(self, account_id: int, kind: str, id_: int, version: int, fact: bytes) -> bool:
        """Keep a fact; False where a newer one is known. One that comes again is True again: it may not have been learned."""
        table = tables.definitions
        key = (table.c.account_id == account_id) & (table.c.kind == kind) & (table.c.id == id_)
        async with self._database.transaction() as connection:
            known = await connection.scalar(select(table.c.version).where(key))
            if known is not None and known >= version:
                return bool(known == version)
            row = {"account_id": account_id, "kind": kind, "id": id_, "version": version, "fact": fact}
            await connection.execute(upsert(table, keys=["account_id", "kind", "id"], update=["version", "fact"]), row)
            return True

    async def definitions(self, account_id: int) -> list[facts_pb2.DefinitionFact]:
        """All facts known of an account."""
        async with self._database.read() as connection:
            rows = await connection.scalars(select(tables.definitions.c.fact).where(tables.definitions.c.account_id == account_id))
            return [facts_pb2.DefinitionFact.FromString(row) for row in rows]

    # --- start

    async def positions(self, partitions: int) -> dict[int, Position]:
        """Where each partition stands; those never taken stand at 0."""
        rows = [{"partition": partition, "sequence": 0, "round": 0} for partition in range(partitions)]
        async with self._database.transaction() as connection:
            await connection.execute(insert_ignore(tables.positions, keys=["partition"]), rows)
            result = await connection.execute(select(tables.positions))
            return {row.partition: Position(row.sequence, row.round) for row in result}

    async def accounts(self) -> list[int]:
        """The accounts that have people or definitions."""
        async with self._database.read() as connection:
            people = await connection.scalars(select(tables.people.c.account_id).distinct())
            defined = await connection.scalars(select(tables.definitions.c.account_id).distinct())
            return sorted({*people, *defined})

    async def people(self, account_id: int) -> list[Page]:
        """The pages of an account's people."""
        table = tables.people
        query = select(table).where(table.c.account_id == account_id).order_by(table.c.partition, table.c.first_local)
        async with self._database.read() as connection:
            rows = await connection.execute(query)
            return [Page(row.partition, row.first_local, np.frombuffer(row.mpids, "<i8").astype(np.int64)) for row in rows]

    async def activity(self, account_id: int) -> list[ActivityRow]:
        """Who has activity where, in an account."""
        table = tables.activity
        async with self._database.read() as connection:
            rows = await connection.execute(select(table).where(table.c.account_id == account_id))
            return [ActivityRow(row.workspace_id, row.partition, np.frombuffer(row.locals, "<u4").astype(np.uint32)) for row in rows]

    async def compact(self, account_id: int) -> None:
        """Put an account's pages of people, and its activity, together where rounds left many small ones; what they say stays the same."""
        pages, rows = await self.people(account_id), await self.activity(account_id)
        by_partition: dict[int, list[Page]] = defaultdict(list)
        for page in pages:
            by_partition[page.partition].append(page)
        by_place: dict[tuple[int, int], list[ActivityRow]] = defaultdict(list)
        for row in rows:
            by_place[row.workspace_id, row.partition].append(row)
        whole_pages = [Page(part, 0, np.concatenate([page.mpids for page in some])) for part, some in by_partition.items()]
        whole_rows = [ActivityRow(*place, np.sort(np.concatenate([row.locals for row in some]))) for place, some in by_place.items()]
        async with self._database.transaction() as connection:
            await connection.execute(delete(tables.people).where(tables.people.c.account_id == account_id))
            await connection.execute(delete(tables.activity).where(tables.activity.c.account_id == account_id))
            if whole_pages:
                await connection.execute(tables.people.insert(), [_page_row(account_id, page) for page in whole_pages])
            if whole_rows:
                await connection.execute(tables.activity.insert(), [_activity_row(account_id, row, 0) for row in whole_rows])

    async def standings(self, account_id: int) -> tuple[dict[tuple[int, int], Standing], set[tuple[int, int]]]:
        """What was last told of each (audience, partition) of an account; and those of them with changes that are not folded yet."""
        async with self._database.read() as connection:
            rows = await connection.execute(select(tables.members).where(tables.members.c.account_id == account_id))
            standings = {(row.audience_id, row.partition): Standing(row.round, BitMap.deserialize(row.locals)) for row in rows}
            table = tables.changes
            query = select(table).where(table.c.account_id == account_id).order_by(table.c.partition, table.c.round)
            rounds: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
            for row in await connection.execute(query):
                rounds[row.partition].append((row.round, row.payload))
        unfolded: set[tuple[int, int]] = set()
        for partition, payloads in rounds.items():
            unfolded |= journal.replay(standings, partition, payloads)
        return standings, unfolded

    async def history(self, account_id: int, *, since_ms: int) -> list[HistoryRow]:
        """The minutes of an account's audiences from `since_ms` on, in their order."""
        table = tables.history
        query = select(table).where((table.c.account_id == account_id) & (table.c.minute_ms >= since_ms)).order_by(table.c.minute_ms)
        async with self._database.read() as connection:
            return [HistoryRow(**row._mapping) for row in await connection.execute(query)]

    async def minutes(self, account_id: int, audience_id: int, from_ms: int, to_ms: int) -> tuple[list[HistoryRow], int]:
        """The minutes of an audience with `from_ms <= minute < to_ms`, in their order, and its size before them."""
        table = tables.history
        own = (table.c.account_id == account_id) & (table.c.audience_id == audience_id)
        within = own & (table.c.minute_ms >= from_ms) & (table.c.minute_ms < to_ms)
        before = select(table.c.size).where(own & (table.c.minute_ms < from_ms)).order_by(table.c.minute_ms.desc()).limit(1)
        async with self._database.read() as connection:
            size = await connection.scalar(before)
            rows = await connection.execute(select(table).where(within).order_by(table.c.minute_ms))
            return [HistoryRow(**row._mapping) for row in rows], int(size or 0)

    # --- rounds

    async def known_batches(self, batch_ids: Collection[str]) -> set[str]:
        """Which of these batches were taken before."""
        ids = list(batch_ids)
        known: set[str] = set()
        async with self._database.read() as connection:
            for start in range(0, len(ids), _CHUNK):
                query = select(tables.batches.c.batch_id).where(tables.batches.c.batch_id.in_(ids[start : start + _CHUNK]))
                known.update(await connection.scalars(query))
        return known

    async def commit(self, commit: Commit) -> None:
        """Write a round. Raises Replaced, and writes nothing, where a position is not the one that the round started from."""

        async def write(connection: AsyncConnection) -> None:
            await self._move(connection, commit.moves)
            await self._keep(connection, commit)
            await self._outbox.add(connection, commit.messages, now_ms=commit.take_time_ms)

        await self._database.run_in_transaction(write)

    async def forget_batches(self, *, before_ms: int) -> None:
        """Drop the ids of batches taken before that instant."""
        async with self._database.transaction() as connection:
            await connection.execute(delete(tables.batches).where(tables.batches.c.take_time_ms < before_ms))

    async def count_changes(self) -> int:
        """How many rounds wait to be folded."""
        async with self._database.read() as connection:
            return int(await connection.scalar(select(func.count()).select_from(tables.changes)) or 0)

    async def _move(self, connection: AsyncConnection, moves: dict[int, tuple[Position, Position]]) -> None:
        table = tables.positions
        for partition, (start, end) in moves.items():
            at = (table.c.partition == partition) & (table.c.sequence == start.sequence) & (table.c.round == start.round)
            result = await connection.execute(update(table).where(at).values(sequence=end.sequence, round=end.round))
            if result.rowcount != 1:
                raise Replaced(f"partition {partition} is not at round {start.round}, sequence {start.sequence} any more")

    async def _keep(self, connection: AsyncConnection, commit: Commit) -> None:
        if commit.batch_ids:
            taken = [{"batch_id": batch_id, "take_time_ms": commit.take_time_ms} for batch_id in commit.batch_ids]
            await connection.execute(insert_ignore(tables.batches, keys=["batch_id"]), taken)
        if commit.pages:
            await connection.execute(tables.people.insert(), [_page_row(account_id, page) for account_id, page in commit.pages])
        if commit.activity:
            rows = [_activity_row(account_id, row, commit.moves[row.partition][1].round) for account_id, row in commit.activity]
            await connection.execute(tables.activity.insert(), rows)
        if commit.changes:
            keys = ("account_id", "partition", "round", "payload")
            await connection.execute(tables.changes.insert(), [dict(zip(keys, row, strict=True)) for row in commit.changes])
        if commit.folded:
            statement = upsert(tables.members, keys=["account_id", "audience_id", "partition"], update=["round", "locals"])
            await connection.execute(statement, [_members_row(row) for row in commit.folded])
        if commit.forget_changes:
            table = tables.changes
            folded = (
                (table.c.account_id == bindparam("account"))
                & (table.c.partition == bindparam("part"))
                & (table.c.round <= bindparam("up_to"))
            )
            bounds = [{"account": account, "part": part, "up_to": round_} for (account, part), round_ in commit.forget_changes.items()]
            await connection.execute(delete(table).where(folded), bounds)
        if commit.history:
            statement = upsert(tables.history, keys=["account_id", "audience_id", "minute_ms"], update=["size", "adds", "drops"])
            await connection.execute(statement, [_history_row(row) for row in commit.history])


def _page_row(account_id: int, page: Page) -> dict[str, object]:
    mpids = page.mpids.astype("<i8").tobytes()
    return {"account_id": account_id, "partition": page.partition, "first_local": page.first_local, "mpids": mpids}


def _activity_row(account_id: int, row: ActivityRow, round_: int) -> dict[str, object]:
    locals_ = row.locals.astype("<u4").tobytes()
    return {"account_id": account_id, "workspace_id": row.workspace_id, "partition": row.partition, "round": round_, "locals": locals_}


def _members_row(row: MembersRow) -> dict[str, object]:
    return {
        "account_id": row.account_id,
        "audience_id": row.audience_id,
        "partition": row.partition,
        "round": row.standing.round,
        "locals": row.standing.members.serialize(),
    }


def _history_row(row: HistoryRow) -> dict[str, object]:
    return {name: getattr(row, name) for name in HistoryRow.__slots__}
