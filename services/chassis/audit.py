"""The audit log of a service: who changed what, when, from where, with the states before and after.

Entries are only ever added, in the transaction of the change, one chain of an account: each holds the hash of the one before it, so that
nothing can be altered, left out or put in between without breaking the chain from there on. The database refuses changes of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from sqlalchemy import BigInteger, Column, Index, MetaData, Select, Table, Text, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from .auth import current_caller
from .clock import from_ms
from .database import Database, insert_ignore, ms_column
from .origin import origin

GENESIS = "0" * 64
_PAGE = 500
# What one page holds at most, unless its first entry alone is longer: an entry may have a definition of half a megabyte twice.
PAGE_CHARACTERS = 4_000_000


def audit_tables(metadata: MetaData) -> tuple[Table, Table]:
    """The end of each account's chain, and the entries. What is searched by stands beside the text of an entry."""
    heads = Table(
        "audit_heads",
        metadata,
        Column("account_id", BigInteger, primary_key=True, autoincrement=False),
        Column("number", BigInteger, nullable=False),
        Column("hash", Text, nullable=False),
    )
    entries = Table(
        "audit_entries",
        metadata,
        Column("account_id", BigInteger, primary_key=True, autoincrement=False),
        Column("number", BigInteger, primary_key=True, autoincrement=False),
        ms_column("time_ms"),
        Column("actor", Text, nullable=False),
        Column("kind", Text, nullable=False),
        Column("thing_id", BigInteger, nullable=False),
        Column("entry", Text, nullable=False),
        Column("hash", Text, nullable=False),
        Index("ix_audit_entries_thing", "account_id", "kind", "thing_id"),
    )
    return heads, entries


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one thing: `before` is None where it was made. States are as JSON has them, without secrets."""

    kind: str
    thing_id: int
    before: dict[str, Any] | None = field(repr=False)
    after: dict[str, Any] | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Kept:
    """An entry as it is kept: its number in the account, its text (one JSON object, canonical) and the hash of that."""

    number: int
    entry: str = field(repr=False)
    hash: str


@dataclass(frozen=True, slots=True)
class Search:
    """Which entries; empty texts and 0 stand for all. `from_ms` is inside, `to_ms` is not."""

    kind: str = ""
    thing_id: int = 0
    actor: str = ""
    from_ms: int = 0
    to_ms: int = 0


def json_of(message: Message) -> dict[str, Any]:
    """A thing as a `Change` has it: the message of its contract as JSON, fields named as there."""
    told: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    return told


class Audit:
    """Writes and reads the log of a service."""

    def __init__(self, service: str, heads: Table, entries: Table) -> None:
        self._service = service
        self._heads = heads
        self._entries = entries

    async def write(self, connection: AsyncConnection, account_id: int, changes: Sequence[Change], *, now_ms: int, actor: str = "") -> None:
        """Add entries as a part of this connection's transaction. Without an `actor` the caller of the request in hand did it."""
        if not changes:
            return
        heads, came = self._heads, origin()
        mine = heads.c.account_id == account_id
        await connection.execute(insert_ignore(heads, keys=["account_id"]), {"account_id": account_id, "number": 0, "hash": GENESIS})
        # Locked, so that the chain has one end.
        head = (await connection.execute(select(heads).where(mine).with_for_update())).one()
        number, last = int(head.number), str(head.hash)
        caller = current_caller()
        who = actor or (caller.subject.replace("\0", "") if caller else f"service:{self._service}")
        rows = []
        for change in changes:
            number += 1
            entry = {
                "number": number,
                "time": from_ms(now_ms).isoformat(timespec="milliseconds"),
                "account": account_id,
                "service": self._service,
                "actor": who,
                "method": came.method if came else "",
                "address": came.address if came else "",
                "forwarded_for": came.forwarded_for if came else "",
                "agent": came.agent if came else "",
                "trace": came.trace_id if came else "",
                "kind": change.kind,
                "id": change.thing_id,
                "before": change.before,
                "after": change.after,
                "previous": last,
            }
            text = canonical(entry)
            last = hash_of(text)
            rows.append(
                {
                    "account_id": account_id,
                    "number": number,
                    "time_ms": now_ms,
                    "actor": who,
                    "kind": change.kind,
                    "thing_id": change.thing_id,
                    "entry": text,
                    "hash": last,
                }
            )
        await connection.execute(self._entries.insert(), rows)
        await connection.execute(update(heads).where(mine).values(number=number, hash=last))

    async def page(
        self, connection: AsyncConnection, account_id: int, search: Search, *, before: int, limit: int
    ) -> tuple[list[Kept], bool]:
        """Those that the search finds with numbers below `before`, the newest first, as many as fit; and whether there are more."""
        table = self._entries
        query = select(table.c.number).where(table.c.account_id == account_id, table.c.number < before)
        if search.kind:
            query = query.where(table.c.kind == search.kind)
        if search.thing_id:
            query = query.where(table.c.thing_id == search.thing_id)
        if search.actor:
            query = query.where(table.c.actor == search.actor)
        if search.from_ms:
            query = query.where(table.c.time_ms >= search.from_ms)
        if search.to_ms:
            query = query.where(table.c.time_ms < search.to_ms)
        found, more = await self._fitting(connection, account_id, query.order_by(table.c.number.desc()), limit)
        return found[::-1], more

    async def chain(self, database: Database, account_id: int, *, after: int) -> AsyncIterator[list[Kept]]:
        """All entries with numbers above `after`, the oldest first, in pages. Between two of them it holds no connection: whoever reads
        may take their time."""
        table = self._entries
        while True:
            query = select(table.c.number).where(table.c.account_id == account_id, table.c.number > after).order_by(table.c.number)
            async with database.read() as connection:
                found, _ = await self._fitting(connection, account_id, query, _PAGE)
            if not found:
                return
            yield found
            after = found[-1].number

    async def _fitting(self, connection: AsyncConnection, account_id: int, query: Select[Any], limit: int) -> tuple[list[Kept], bool]:
        """The first of the entries whose numbers a query finds, in the order of their numbers, and whether there are more."""
        table = self._entries
        sized = (await connection.execute(query.add_columns(func.length(table.c.entry)).limit(limit + 1))).all()
        numbers, characters = list[int](), 0
        for number, length in sized[:limit]:
            characters += length
            if numbers and characters > PAGE_CHARACTERS:
                break
            numbers.append(number)
        mine = select(table.c.number, table.c.entry, table.c.hash).where(table.c.account_id == account_id, table.c.number.in_(numbers))
        rows = await connection.execute(mine.order_by(table.c.number))
        return [Kept(row.number, row.entry, row.hash) for row in rows], len(numbers) < len(sized)

    async def head(self, connection: AsyncConnection, account_id: int) -> tuple[int, str]:
        """The number and the hash of the last entry."""
        heads = self._heads
        row = (await connection.execute(select(heads).where(heads.c.account_id == account_id))).one_or_none()
        return (0, GENESIS) if row is None else (int(row.number), str(row.hash))


def canonical(entry: dict[str, Any]) -> str:
    """The one text of an entry: keys in order, no blanks, ASCII."""
    return json.dumps(entry, sort_keys=True, separators=(",", ":"))


def hash_of(text: str) -> str:
    """SHA-256 of an entry's text, in hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(slots=True)
class Verifier:
    """Looks at a chain entry by entry, from the first one on. `fault` tells the first thing that is wrong."""

    number: int = 0
    hash: str = GENESIS
    fault: str = ""

    def take(self, text: str, said: str) -> bool:
        """Whether the chain holds up to this entry, `said` being its hash."""
        if self.fault:
            return False
        self.fault = self._fault_of(text, said)
        if not self.fault:
            self.number, self.hash = self.number + 1, said
        return not self.fault

    def _fault_of(self, text: str, said: str) -> str:
        expected = self.number + 1
        try:
            entry = json.loads(text)
        except ValueError:
            return f"The entry after number {self.number} is no JSON."
        if not isinstance(entry, dict) or entry.get("number") != expected:
            found = entry.get("number") if isinstance(entry, dict) else None
            return f"After entry {self.number} comes {found}: {expected} is missing, or was moved."
        if canonical(entry) != text or hash_of(text) != said:
            return f"Entry {expected} is not what its hash says: it was altered."
        if entry.get("previous") != self.hash:
            return f"Entry {expected} does not follow entry {self.number} as that one is: one of them was replaced."
        return ""


# What the database itself refuses, by dialect.
APPEND_ONLY = {
    "sqlite": [
        "CREATE TRIGGER audit_entries_stay BEFORE UPDATE ON audit_entries BEGIN SELECT RAISE(ABORT, 'audit entries stay'); END",
        "CREATE TRIGGER audit_entries_last BEFORE DELETE ON audit_entries BEGIN SELECT RAISE(ABORT, 'audit entries stay'); END",
    ],
    "postgresql": [
        "CREATE FUNCTION audit_entries_stay() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'audit entries stay'; END $$",
        "CREATE TRIGGER audit_entries_stay BEFORE UPDATE OR DELETE ON audit_entries FOR EACH ROW EXECUTE FUNCTION audit_entries_stay()",
        "CREATE TRIGGER audit_entries_last BEFORE TRUNCATE ON audit_entries FOR EACH STATEMENT EXECUTE FUNCTION audit_entries_stay()",
    ],
}
