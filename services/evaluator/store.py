"""All SQL of the evaluator's own database. What happens is decided in rounds.py; here it is kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from muster.definition.v1 import facts_pb2
from pyroaring import BitMap
from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis.database import Database, add_up, insert_ignore, upsert
from services.chassis.outbox import Outbox
from services.chassis.publisher import Outgoing
from services.chassis.receipts import erasure_done
from services.evaluator import journal, tables
from services.evaluator.ab_tests import Dealt, PartRow, rows_by_test
from services.evaluator.journal import Locals, Standing
from services.evaluator.people import RETIRED, Page
from services.evaluator.statistics import Minute

_CHUNK = 500


# Whoever was replaced so many owners ago writes no more.
_TAKEOVERS_KEPT = 100


class Replaced(Exception):
    """Another process took a partition over or moved its position on: this one must not write there any more."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far a partition is taken: the last sequence of the stream, and the last round; and the number of its owner."""

    sequence: int = 0
    round: int = 0
    epoch: int = 0

    def moved(self, sequence: int) -> Position:
        """The next round's position."""
        return Position(max(self.sequence, sequence), self.round + 1, self.epoch)


@dataclass(frozen=True, slots=True)
class Taken:
    """A partition that was just taken over: where it stands, up to where the owner's event store has it, and who wrote before.

    `before` has (epoch, sequence): what owners up to this epoch wrote to the event store after that sequence was never committed.
    """

    position: Position
    stored: int
    before: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """What one minute made of one audience, in the partitions of one owner; in a commit, what the round adds to that."""

    account_id: int
    audience_id: int
    minute_ms: int
    part: int
    growth: int
    adds: int
    drops: int


@dataclass(frozen=True, slots=True)
class DealtRow:
    """What a round adds to one minute of a variation, in the partitions of one owner."""

    account_id: int
    minute_ms: int
    part: int
    dealt: Dealt


@dataclass(frozen=True, slots=True)
class ActivityRow:
    """People with their first activity in a workspace."""

    workspace_id: int
    partition: int
    locals: Locals


@dataclass(frozen=True, slots=True)
class EndedRow:
    """Somebody who was deleted, or is one with another (`into`, else 0): nothing counts that was told of them up to the sequence."""

    partition: int
    mpid: int
    into: int
    sequence: int
    local: int | None = None  # their number, where they had one: it is nobody's any more


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
    store_id: str = ""  # the event store that holds the rows of this round
    moves: dict[int, tuple[Position, Position]] = field(default_factory=dict)  # partition -> (from, to)
    batches: dict[str, int] = field(default_factory=dict)  # batch id -> the sequence of the message that counts
    pages: list[tuple[int, Page]] = field(default_factory=list)  # (account, page)
    activity: list[tuple[int, ActivityRow]] = field(default_factory=list)  # (account, row)
    ended: list[tuple[int, EndedRow]] = field(default_factory=list)  # (account, row)
    changes: list[tuple[int, int, int, bytes]] = field(default_factory=list)  # (account, partition, round, payload)
    folded: list[MembersRow] = field(default_factory=list)
    forget_changes: dict[tuple[int, int], int] = field(default_factory=dict)  # (account, partition) -> up to this round
    history: list[HistoryRow] = field(default_factory=list)
    participants: list[tuple[int, PartRow]] = field(default_factory=list)  # (account, row)
    dealt: list[DealtRow] = field(default_factory=list)
    tests_over: list[tuple[int, int]] = field(default_factory=list)  # (account, test)
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

    async def take_over(self, partitions: Collection[int], store_id: str) -> dict[int, Taken]:
        """Become the owner of these partitions; whoever was before can't commit any more."""
        table, own = tables.positions, sorted(partitions)
        if not own:
            return {}
        async with self._database.transaction() as connection:
            rows = [{"partition": partition, "sequence": 0, "round": 0} for partition in own]
            await connection.execute(insert_ignore(table, keys=["partition"]), rows)
            mine = table.c.partition.in_(own)
            await connection.execute(update(table).where(mine).values(epoch=table.c.epoch + 1))
            result = await connection.execute(select(table).where(mine))
            positions = {row.partition: Position(row.sequence, row.round, row.epoch) for row in result}
            before = await self._enter(connection, positions)
            stored = await self._stored(connection, positions, store_id)
        return {partition: Taken(positions[partition], stored[partition], before[partition]) for partition in own}

    async def stored(self, partitions: int, store_id: str) -> dict[int, tuple[int, int]]:
        """Up to where each partition is taken, and up to where this event store holds it."""
        async with self._database.transaction() as connection:
            rows = await connection.execute(select(tables.positions))
            known = {row.partition: Position(row.sequence, row.round, row.epoch) for row in rows}
            positions = {partition: known.get(partition, Position()) for partition in range(partitions)}
            held = await self._stored(connection, positions, store_id)
        return {partition: (at.sequence, held[partition]) for partition, at in positions.items()}

    async def hold(self, store_id: str, sequences: dict[int, int]) -> None:
        """The event store holds each partition whole up to this sequence."""
        async with self._database.transaction() as connection:
            await self._hold(connection, store_id, sequences)

    async def accounts(self) -> list[int]:
        """The accounts that have people or definitions."""
        async with self._database.read() as connection:
            people = await connection.scalars(select(tables.people.c.account_id).distinct())
            defined = await connection.scalars(select(tables.definitions.c.account_id).distinct())
            return sorted({*people, *defined})

    async def people(self, account_id: int, partitions: Collection[int]) -> list[Page]:
        """The pages of an account's people."""
        async with self._database.read() as connection:
            return await self._people(connection, account_id, partitions)

    async def activity(self, account_id: int, partitions: Collection[int]) -> list[ActivityRow]:
        """Who has activity where, in an account."""
        async with self._database.read() as connection:
            return await self._activity(connection, account_id, partitions)

    async def participants(self, account_id: int, partitions: Collection[int]) -> list[PartRow]:
        """Who takes part in the tests of an account."""
        async with self._database.read() as connection:
            return await self._participants(connection, account_id, partitions)

    async def ended(self, account_id: int, partitions: Collection[int]) -> list[EndedRow]:
        """The people of an account who ended, as long as that is kept."""
        table = tables.ended
        own = (table.c.account_id == account_id) & table.c.partition.in_(list(partitions))
        async with self._database.read() as connection:
            rows = await connection.execute(select(table).where(own))
            return [EndedRow(row.partition, row.mpid, row.into_mpid, row.sequence) for row in rows]

    async def not_erased(self, partitions: Collection[int], store_id: str) -> dict[int, dict[int, int]]:
        """Of whom this event store may still hold something that counts no longer: by account, the sequence of each MPID's end."""
        table, stored = tables.ended, tables.stored
        own = table.c.partition.in_(list(partitions))
        of_store = (stored.c.partition == table.c.partition) & (stored.c.store_id == store_id)
        query = select(table).outerjoin(stored, of_store).where(own & (table.c.sequence > func.coalesce(stored.c.erased, 0)))
        hidden: dict[int, dict[int, int]] = defaultdict(dict)
        async with self._database.read() as connection:
            for row in await connection.execute(query):
                hidden[row.account_id][row.mpid] = row.sequence
        return hidden

    async def erased(self, store_id: str, sequences: Mapping[int, int], rows: Mapping[tuple[int, int], int], *, now_ms: int) -> None:
        """The event store holds nothing any more of who ended up to this sequence of each partition. `rows`: how many rows there were, by
        account and MPID; of who was deleted, a receipt goes to the outbox."""
        table, people = tables.stored, tables.ended
        async with self._database.transaction() as connection:
            for partition, sequence in sequences.items():
                own = (table.c.store_id == store_id) & (table.c.partition == partition)
                before = await connection.scalar(select(table.c.erased).where(own)) or 0
                ended = (people.c.partition == partition) & (people.c.sequence > before) & (people.c.sequence <= sequence)
                deleted = select(people.c.account_id, people.c.mpid, people.c.sequence).where(ended, people.c.into_mpid == 0)
                receipts = [
                    erasure_done(
                        account_id,
                        mpid,
                        service="evaluator",
                        removed=rows.get((account_id, mpid), 0),
                        places=["events", "attributes", "audiences"],
                        cause=at,
                        now_ms=now_ms,
                    )
                    for account_id, mpid, at in await connection.execute(deleted)
                ]
                await self._outbox.add(connection, receipts, now_ms=now_ms)
                await connection.execute(update(table).where(own).values(erased=sequence))

    async def forget_ended(self, *, before_ms: int) -> None:
        """Drop what is known of who ended before that instant."""
        async with self._database.transaction() as connection:
            await connection.execute(delete(tables.ended).where(tables.ended.c.end_time_ms < before_ms))

    async def compact(self, account_id: int, positions: dict[int, Position]) -> None:
        """Put an account's pages of people, its activity and its participants together where rounds left many small ones; what they say
        stays the same.

        Raises Replaced, and changes nothing, where a partition is not at its position.
        """
        own = list(positions)
        async with self._database.transaction() as connection:
            await self._move(connection, {partition: (at, at) for partition, at in positions.items()})
            by_partition: dict[int, list[Page]] = defaultdict(list)
            for page in await self._people(connection, account_id, own):
                by_partition[page.partition].append(page)
            by_place: dict[tuple[int, int], list[ActivityRow]] = defaultdict(list)
            for row in await self._activity(connection, account_id, own):
                by_place[row.workspace_id, row.partition].append(row)
            pages = [Page(part, 0, np.concatenate([page.mpids for page in some])) for part, some in by_partition.items()]
            rows = [ActivityRow(*place, np.sort(np.concatenate([row.locals for row in some]))) for place, some in by_place.items()]
            parts = [
                (PartRow(*place, np.concatenate([row.locals for row in some]), np.concatenate([row.times_ms for row in some])))
                for place, some in rows_by_test(await self._participants(connection, account_id, own)).items()
            ]
            for table in (tables.people, tables.activity, tables.participants):
                await connection.execute(delete(table).where((table.c.account_id == account_id) & table.c.partition.in_(own)))
            if pages:
                await connection.execute(tables.people.insert(), [_page_row(account_id, page) for page in pages])
            if rows:
                await connection.execute(tables.activity.insert(), [_activity_row(account_id, row, 0) for row in rows])
            if parts:
                await connection.execute(tables.participants.insert(), [_part_row(account_id, row, 0) for row in parts])

    async def standings(self, account_id: int, partitions: Collection[int]) -> tuple[dict[tuple[int, int], Standing], set[tuple[int, int]]]:
        """What was last told of each (audience, partition) of an account; and those of them with changes that are not folded yet."""
        async with self._database.read() as connection:
            members, changes = tables.members, tables.changes
            standings: dict[tuple[int, int], Standing] = {}
            unfolded: set[tuple[int, int]] = set()
            for partition in sorted(partitions):  # one after the other: all rows together may be hundreds of megabytes
                own = (members.c.account_id == account_id) & (members.c.partition == partition)
                for row in await connection.execute(select(members).where(own)):
                    standings[row.audience_id, partition] = Standing(row.round, BitMap.deserialize(row.locals))
                own = (changes.c.account_id == account_id) & (changes.c.partition == partition)
                rounds = await connection.execute(select(changes.c.round, changes.c.payload).where(own).order_by(changes.c.round))
                unfolded |= journal.replay(standings, partition, [(row.round, row.payload) for row in rounds])
        return standings, unfolded

    async def history(self, account_id: int, partitions: Collection[int], *, since_ms: int) -> list[HistoryRow]:
        """The minutes of an account's audiences from `since_ms` on, in their order, of the rows that fall to these partitions."""
        table = tables.history
        own = (table.c.account_id == account_id) & (table.c.minute_ms >= since_ms) & table.c.part.in_(list(partitions))
        async with self._database.read() as connection:
            rows = await connection.execute(select(table).where(own).order_by(table.c.minute_ms))
            return [HistoryRow(**row._mapping) for row in rows]

    async def minutes(self, account_id: int, audience_id: int, from_ms: int, to_ms: int) -> tuple[list[Minute], int]:
        """The minutes of an audience with `from_ms <= minute < to_ms`, in their order, and its size before them; of all owners together."""
        table = tables.history
        own = (table.c.account_id == account_id) & (table.c.audience_id == audience_id) & (table.c.minute_ms < to_ms)
        sums = [func.sum(column).label(column.name) for column in (table.c.growth, table.c.adds, table.c.drops)]
        within = select(table.c.minute_ms, *sums).where(own & (table.c.minute_ms >= from_ms))
        async with self._database.read() as connection:
            rows = await connection.execute(within.group_by(table.c.minute_ms).order_by(table.c.minute_ms))
            minutes = [Minute(row.minute_ms, int(row.growth), int(row.adds), int(row.drops)) for row in rows]
            size = await connection.scalar(select(func.sum(table.c.growth)).where(own & (table.c.minute_ms < from_ms)))
            return minutes, int(size or 0)

    async def dealt(self, account_id: int, ab_test_id: int, partitions: Collection[int], *, since_ms: int) -> dict[int, tuple[int, int]]:
        """Adds and drops of a test's variations in the minutes from `since_ms` on, by id, of the rows that fall to these partitions."""
        table = tables.variation_history
        own = (table.c.account_id == account_id) & (table.c.ab_test_id == ab_test_id) & table.c.part.in_(list(partitions))
        query = select(table.c.variation_id, func.sum(table.c.adds), func.sum(table.c.drops)).where(own & (table.c.minute_ms >= since_ms))
        async with self._database.read() as connection:
            rows = await connection.execute(query.group_by(table.c.variation_id))
            return {variation_id: (int(adds), int(drops)) for variation_id, adds, drops in rows}

    # --- rounds

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

    async def journal_bytes(self, partitions: Collection[int]) -> int:
        """How long the changes are that wait to be folded."""
        own = tables.changes.c.partition.in_(list(partitions))
        async with self._database.read() as connection:
            return int(await connection.scalar(select(func.sum(func.length(tables.changes.c.payload))).where(own)) or 0)

    async def counted(self, batch_ids: Collection[str]) -> dict[str, int]:
        """The sequence of the message that counts, of those of these batches that are known."""
        table, ids = tables.batches, list(batch_ids)
        known: dict[str, int] = {}
        async with self._database.read() as connection:
            for start in range(0, len(ids), _CHUNK):
                query = select(table.c.batch_id, table.c.sequence).where(table.c.batch_id.in_(ids[start : start + _CHUNK]))
                known.update({row.batch_id: row.sequence for row in await connection.execute(query)})
        return known

    async def _move(self, connection: AsyncConnection, moves: dict[int, tuple[Position, Position]]) -> None:
        table = tables.positions
        for partition, (start, end) in moves.items():
            same = (table.c.sequence == start.sequence) & (table.c.round == start.round) & (table.c.epoch == start.epoch)
            moved = update(table).where((table.c.partition == partition) & same).values(sequence=end.sequence, round=end.round)
            result = await connection.execute(moved)
            if result.rowcount != 1:
                raise Replaced(
                    f"partition {partition} is not at round {start.round}, sequence {start.sequence} of its owner {start.epoch} any more"
                )

    async def _enter(self, connection: AsyncConnection, positions: dict[int, Position]) -> dict[int, tuple[tuple[int, int], ...]]:
        """Write down where these owners begin; returns, by partition, up to where what earlier ones wrote was committed."""
        table = tables.takeovers
        before: dict[int, list[tuple[int, int]]] = {partition: [] for partition in positions}
        for partition, at in positions.items():
            # One that began where this one begins, and committed nothing, is said by this one.
            over = (table.c.sequence == at.sequence) | (table.c.epoch <= at.epoch - _TAKEOVERS_KEPT)
            await connection.execute(delete(table).where((table.c.partition == partition) & over))
            await connection.execute(table.insert(), {"partition": partition, "epoch": at.epoch, "sequence": at.sequence})
        for row in await connection.execute(select(table).where(table.c.partition.in_(list(positions))).order_by(table.c.epoch)):
            before[row.partition].append((row.epoch - 1, row.sequence))
        return {partition: tuple(owners) for partition, owners in before.items()}

    async def _stored(self, connection: AsyncConnection, positions: dict[int, Position], store_id: str) -> dict[int, int]:
        """Up to where the store holds each partition."""
        if not await connection.scalar(select(func.count()).select_from(tables.stored)):
            # The first time that anybody asks there is one store, and what was taken so far is in it.
            result = await connection.execute(select(tables.positions))
            await self._hold(connection, store_id, {row.partition: row.sequence for row in result})
        return await self._held(connection, positions, store_id)

    async def _held(self, connection: AsyncConnection, positions: dict[int, Position], store_id: str) -> dict[int, int]:
        rows = await connection.execute(select(tables.stored).where(tables.stored.c.store_id == store_id))
        held = {row.partition: row.sequence for row in rows}
        return {partition: min(held.get(partition, 0), at.sequence) for partition, at in positions.items()}

    async def _hold(self, connection: AsyncConnection, store_id: str, sequences: dict[int, int]) -> None:
        rows = [{"store_id": store_id, "partition": partition, "sequence": sequence} for partition, sequence in sequences.items()]
        if rows:
            await connection.execute(upsert(tables.stored, keys=["store_id", "partition"], update=["sequence"]), rows)

    async def _end(self, connection: AsyncConnection, commit: Commit) -> None:
        """After the pages of the round: somebody may come and go in one."""
        if not commit.ended:
            return
        rows = {
            (account_id, row.mpid): {
                "account_id": account_id,
                "partition": row.partition,
                "mpid": row.mpid,
                "into_mpid": row.into,
                "sequence": row.sequence,
                "end_time_ms": commit.take_time_ms,
            }
            for account_id, row in commit.ended
        }
        keys = ["account_id", "partition", "mpid"]
        await connection.execute(upsert(tables.ended, keys=keys, update=["into_mpid", "sequence", "end_time_ms"]), list(rows.values()))
        table = tables.people
        for account_id, row in commit.ended:
            if row.local is None:
                continue
            own = (table.c.account_id == account_id) & (table.c.partition == row.partition)
            page = own & (table.c.first_local <= row.local)
            found = await connection.execute(select(table).where(page).order_by(table.c.first_local.desc()).limit(1))
            kept = found.one()
            mpids = np.frombuffer(kept.mpids, "<i8").copy()
            mpids[row.local - kept.first_local] = RETIRED
            of_page = own & (table.c.first_local == kept.first_local)
            await connection.execute(update(table).where(of_page).values(mpids=mpids.tobytes()))

    async def _people(self, connection: AsyncConnection, account_id: int, partitions: Collection[int]) -> list[Page]:
        table = tables.people
        own = (table.c.account_id == account_id) & table.c.partition.in_(list(partitions))
        rows = await connection.execute(select(table).where(own).order_by(table.c.partition, table.c.first_local))
        return [Page(row.partition, row.first_local, np.frombuffer(row.mpids, "<i8").astype(np.int64)) for row in rows]

    async def _activity(self, connection: AsyncConnection, account_id: int, partitions: Collection[int]) -> list[ActivityRow]:
        table = tables.activity
        own = (table.c.account_id == account_id) & table.c.partition.in_(list(partitions))
        rows = await connection.execute(select(table).where(own))
        return [ActivityRow(row.workspace_id, row.partition, np.frombuffer(row.locals, "<u4").astype(np.uint32)) for row in rows]

    async def _participants(self, connection: AsyncConnection, account_id: int, partitions: Collection[int]) -> list[PartRow]:
        table = tables.participants
        own = (table.c.account_id == account_id) & table.c.partition.in_(list(partitions))
        rows = await connection.execute(select(table).where(own).order_by(table.c.round))
        return [
            PartRow(row.ab_test_id, row.partition, np.frombuffer(row.locals, "<u4").astype(np.uint32), np.frombuffer(row.times, "<i8"))
            for row in rows
        ]

    async def _keep_tests(self, connection: AsyncConnection, commit: Commit) -> None:
        if commit.participants:
            rows = [_part_row(account_id, row, commit.moves[row.partition][1].round) for account_id, row in commit.participants]
            await connection.execute(tables.participants.insert(), rows)
        if commit.dealt:
            keys = ["account_id", "ab_test_id", "variation_id", "minute_ms", "part"]
            statement = add_up(tables.variation_history, keys=keys, update=["adds", "drops"])
            own = [{"account_id": row.account_id, "minute_ms": row.minute_ms, "part": row.part} for row in commit.dealt]
            await connection.execute(statement, [{**one, **row.dealt._asdict()} for one, row in zip(own, commit.dealt, strict=True)])
        for account_id, ab_test_id in commit.tests_over:
            for table in (tables.participants, tables.variation_history):
                await connection.execute(delete(table).where(table.c.account_id == account_id, table.c.ab_test_id == ab_test_id))

    async def _keep(self, connection: AsyncConnection, commit: Commit) -> None:
        await self._hold(connection, commit.store_id, {partition: end.sequence for partition, (_, end) in commit.moves.items()})
        if commit.batches:
            taken = [{"batch_id": id_, "take_time_ms": commit.take_time_ms, "sequence": at} for id_, at in sorted(commit.batches.items())]
            await connection.execute(insert_ignore(tables.batches, keys=["batch_id"]), taken)
        if commit.pages:
            await connection.execute(tables.people.insert(), [_page_row(account_id, page) for account_id, page in commit.pages])
        await self._end(connection, commit)
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
            statement = add_up(tables.history, keys=["account_id", "audience_id", "minute_ms", "part"], update=["growth", "adds", "drops"])
            await connection.execute(statement, [_history_row(row) for row in commit.history])
        await self._keep_tests(connection, commit)


def _page_row(account_id: int, page: Page) -> dict[str, object]:
    mpids = page.mpids.astype("<i8").tobytes()
    return {"account_id": account_id, "partition": page.partition, "first_local": page.first_local, "mpids": mpids}


def _activity_row(account_id: int, row: ActivityRow, round_: int) -> dict[str, object]:
    locals_ = row.locals.astype("<u4").tobytes()
    return {"account_id": account_id, "workspace_id": row.workspace_id, "partition": row.partition, "round": round_, "locals": locals_}


def _part_row(account_id: int, row: PartRow, round_: int) -> dict[str, object]:
    return {
        "account_id": account_id,
        "ab_test_id": row.ab_test_id,
        "partition": row.partition,
        "round": round_,
        "locals": row.locals.astype("<u4").tobytes(),
        "times": row.times_ms.astype("<i8").tobytes(),
    }


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
