"""The SQL by which what arrives gets into the catalogue: each window of messages in one transaction with the position that it ends at.

The position is moved from where its mover read it, and only by who holds the lease. So of two processes that read the same messages one
writes them down, whatever their clocks say and however long they stood still.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Table, delete, exists, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis.database import Database, insert_ignore, upsert

from . import tables
from .domain.catalogue import NAMES_MAX, AttributeKey, CatalogueKind, NameKey
from .domain.overrides import AttributeType
from .domain.sketches import ValueSketch
from .domain.texts import folded
from .sightings import AttributeSeen, Seen, Sightings, listable

_CHUNK = 300
_READING = 1
TYPE_COLUMNS: Mapping[AttributeType, str] = {
    AttributeType.STRING: "strings",
    AttributeType.NUMBER: "numbers",
    AttributeType.BOOLEAN: "booleans",
    AttributeType.DATE: "dates",
    AttributeType.LIST: "lists",
}

Row = dict[str, Any]
Workspace = tuple[int, int]  # the account's and its own number
T = TypeVar("T")


class LeaseLost(Exception):
    """Another process reads now, or has read further: what this one gathered is not written."""


@dataclass(frozen=True, slots=True)
class Window:
    """What is written at once: what was seen in the messages behind `after` up to `last` of the stream, and their batches."""

    sightings: Sightings
    batch_ids: Collection[str]
    stream: str
    after: int
    last: int


@dataclass(slots=True)
class _Known:
    """The rows that a window touches, as they are."""

    names: dict[NameKey, Row] = field(default_factory=dict)
    attributes: dict[AttributeKey, Row] = field(default_factory=dict)
    workspaces: dict[Workspace, Row] = field(default_factory=dict)


class CatalogueIntake:
    """`owner` names this process and no other."""

    def __init__(self, database: Database, owner: str) -> None:
        self._database = database
        self._owner = owner

    async def take_lease(self, *, stream: str, now_ms: int, until_ms: int) -> int | None:
        """The sequence up to which the stream is read, if it is this process's to read on until then; None: another one does. A stream
        that is not the one that was read before begins anew."""
        table = tables.catalogue_reading

        async def take(connection: AsyncConnection) -> int | None:
            first = {"reading_id": _READING, "stream": stream, "sequence": 0, "owner": "", "lease_until_ms": 0}
            await connection.execute(insert_ignore(table, keys=["reading_id"]), first)
            free = (table.c.owner == self._owner) | (table.c.lease_until_ms < now_ms)
            taken = await connection.execute(update(table).where(free).values(owner=self._owner, lease_until_ms=until_ms))
            if taken.rowcount == 0:
                return None
            await connection.execute(update(table).where(table.c.stream != stream).values(stream=stream, sequence=0))
            return int((await connection.execute(select(table.c.sequence))).scalar_one())

        return await self._database.run_in_transaction(take)

    async def give_up_lease(self) -> None:
        """Let another process read on at once."""
        table = tables.catalogue_reading

        async def give_up(connection: AsyncConnection) -> None:
            await connection.execute(update(table).where(table.c.owner == self._owner).values(owner="", lease_until_ms=0))

        await self._database.run_in_transaction(give_up)

    async def taken(self, batch_ids: Collection[str]) -> set[str]:
        """Those of these batches that are in the catalogue already."""
        table = tables.catalogue_batches
        async with self._database.read() as connection:
            found = set[str]()
            for chunk in _chunks(list(batch_ids)):
                found.update((await connection.execute(select(table.c.batch_id).where(table.c.batch_id.in_(chunk)))).scalars())
            return found

    async def forget_batches(self, *, before_ms: int) -> None:
        """Drop the ids of batches that were taken before that instant."""
        table = tables.catalogue_batches

        async def forget(connection: AsyncConnection) -> None:
            await connection.execute(delete(table).where(table.c.take_time_ms < before_ms))

        await self._database.run_in_transaction(forget)

    async def make_room(self, *, before_ms: int) -> None:
        """In workspaces that are full, drop what did not arrive since that instant and of which nobody said anything. Raises LeaseLost."""

        async def drop(connection: AsyncConnection) -> None:
            reading, full = tables.catalogue_reading, tables.catalogue_workspaces
            # The row stays locked: nobody else counts meanwhile.
            held = await connection.execute(update(reading).where(reading.c.owner == self._owner).values(owner=self._owner))
            if held.rowcount == 0:
                raise LeaseLost
            for counter, table, is_said in (
                (full.c.names, tables.catalogue_names, _is_said_of_names()),
                (full.c.attributes, tables.catalogue_attributes, _is_said_of_attributes()),
            ):
                found = await connection.execute(select(full.c.account_id, full.c.workspace_id).where(counter >= NAMES_MAX))
                for account_id, workspace_id in found.all():
                    of = (table.c.account_id == account_id) & (table.c.workspace_id == workspace_id)
                    gone = await connection.execute(delete(table).where(of, table.c.last_ms < before_ms, ~is_said))
                    here = (full.c.account_id == account_id) & (full.c.workspace_id == workspace_id)
                    await connection.execute(update(full).where(here).values({counter: counter - gone.rowcount}))

        await self._database.run_in_transaction(drop)

    async def add(self, window: Window, *, now_ms: int, until_ms: int) -> None:
        """Write a window, and go on holding the lease until then. Raises LeaseLost, and then has written nothing."""
        # Nobody else writes these rows as long as the position stands where it stood, which is looked at again below.
        known = await self._known(window.sightings)
        rows = await asyncio.to_thread(_rows_after, window.sightings, known)

        async def write(connection: AsyncConnection) -> None:
            reading = tables.catalogue_reading
            moved = await connection.execute(
                update(reading)
                .where(reading.c.owner == self._owner, reading.c.stream == window.stream, reading.c.sequence == window.after)
                .values(sequence=window.last, lease_until_ms=until_ms)
            )
            if moved.rowcount == 0:
                raise LeaseLost
            for table, written in rows.items():
                if written:
                    keys = [column.name for column in table.primary_key.columns]
                    values = [name for name in table.c.keys() if name not in keys]  # noqa: SIM118  # of columns, no mapping
                    await connection.execute(upsert(table, keys=keys, update=values), written)
            if window.batch_ids:
                taken = [{"batch_id": batch_id, "take_time_ms": now_ms} for batch_id in sorted(window.batch_ids)]
                await connection.execute(insert_ignore(tables.catalogue_batches, keys=["batch_id"]), taken)

        await self._database.run_in_transaction(write)

    async def _known(self, sightings: Sightings) -> _Known:
        known = _Known()
        workspaces = {key[:2] for key in sightings.names} | {key[:2] for key in sightings.attributes}
        async with self._database.read() as connection:
            for row in await _rows(connection, tables.catalogue_names, [key for key in sightings.names if listable(key)]):
                known.names[NameKey(*(row[name] for name in NameKey._fields))] = row
            for row in await _rows(connection, tables.catalogue_attributes, [key for key in sightings.attributes if listable(key)]):
                known.attributes[AttributeKey(*(row[name] for name in AttributeKey._fields))] = row
            for row in await _rows(connection, tables.catalogue_workspaces, list(workspaces)):
                known.workspaces[(row["account_id"], row["workspace_id"])] = row
        return known


def _is_said_of_names() -> ColumnElement[bool]:
    entries, names = tables.catalogue_entries, tables.catalogue_names
    kind = entries.c.kind == CatalogueKind.EVENT_NAME
    return exists().where(*_in_workspace(names), kind, entries.c.type == names.c.type, entries.c.name == names.c.name)


def _is_said_of_attributes() -> ColumnElement[bool]:
    entries, attributes = tables.catalogue_entries, tables.catalogue_attributes
    return exists().where(*_in_workspace(attributes), entries.c.kind == attributes.c.kind, entries.c.name == attributes.c.attribute)


def _in_workspace(table: Table) -> tuple[ColumnElement[bool], ...]:
    entries = tables.catalogue_entries
    return (entries.c.account_id == table.c.account_id, entries.c.workspace_id == table.c.workspace_id)


async def _rows(connection: AsyncConnection, table: Table, keys: Sequence[tuple[Any, ...]]) -> list[Row]:
    """The rows of these primary keys."""
    columns = tuple_(*table.primary_key.columns)
    found: list[Row] = []
    for chunk in _chunks(keys):
        query = select(table).where(columns.in_([tuple(key) for key in chunk]))
        found += [{**row} for row in (await connection.execute(query)).mappings()]
    return found


def _chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]


def _rows_after(sightings: Sightings, known: _Known) -> dict[Table, list[Row]]:
    """The rows that a window touches, as they are with it. Of new names the most frequent come first, as long as there is room."""
    workspaces: dict[Workspace, Row] = defaultdict(
        lambda: {"names": 0, "attributes": 0, "unlisted_events": 0, "unlisted_attributes": 0}, known.workspaces
    )
    names, attributes = [], []
    for name, seen in sorted(sightings.names.items(), key=lambda item: -item[1].count):
        row = known.names.get(name)
        if row is None and not _has_room(workspaces, name, seen, rows="names", unlisted="unlisted_events"):
            continue
        names.append({**name._asdict(), "name_folded": folded(name.name), **_times(row, seen)})
    for attribute, told in sorted(sightings.attributes.items(), key=lambda item: -item[1].count):
        row = known.attributes.get(attribute)
        if row is None and not _has_room(workspaces, attribute, told, rows="attributes", unlisted="unlisted_attributes"):
            continue
        folds = {"attribute_folded": folded(attribute.attribute)}
        attributes.append({**attribute._asdict(), **folds, **_times(row, told), **_values(row, told)})
    counted = [{**row, "account_id": account_id, "workspace_id": number} for (account_id, number), row in workspaces.items()]
    return {tables.catalogue_names: names, tables.catalogue_attributes: attributes, tables.catalogue_workspaces: counted}


def _has_room(workspaces: dict[Workspace, Row], key: NameKey | AttributeKey, seen: Seen, *, rows: str, unlisted: str) -> bool:
    """Whether a new name is kept; counts it either way."""
    workspace = workspaces[(key.account_id, key.workspace_id)]
    if workspace[rows] >= NAMES_MAX or not listable(key):
        workspace[unlisted] += seen.count
        return False
    workspace[rows] += 1
    return True


def _times(row: Row | None, seen: Seen) -> Row:
    if row is None:
        return {"count": seen.count, "first_ms": seen.first_ms, "last_ms": seen.last_ms}
    return {
        "count": row["count"] + seen.count,
        "first_ms": min(row["first_ms"], seen.first_ms),
        "last_ms": max(row["last_ms"], seen.last_ms),
    }


def _values(row: Row | None, seen: AttributeSeen) -> Row:
    sketch = ValueSketch.from_bytes(row["sketch"]) if row else ValueSketch()
    if seen.told is not None:
        sketch.tell(seen.told)
    counts = {column: (row[column] if row else 0) + seen.types.get(type_, 0) for type_, column in TYPE_COLUMNS.items()}
    return {**counts, "sketch": sketch.to_bytes()}
