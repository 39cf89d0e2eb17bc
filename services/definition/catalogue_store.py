"""The SQL of those who ask the catalogue, and of what people say in it. It knows one account."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import asdict
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, Table, case, cast, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis.database import upsert

from . import tables
from .catalogue_intake import TYPE_COLUMNS
from .domain.catalogue import (
    ATTRIBUTES,
    OVERRIDDEN_AS,
    AttributeScope,
    CatalogueEntryNotFound,
    CatalogueKind,
    Coverage,
    Entry,
    EntryKey,
    ListedAttribute,
    ListedName,
)
from .domain.overrides import AttributeKind, AttributeType
from .domain.texts import folded
from .domain.warnings.names import CANDIDATES_MAX, SUGGESTIONS_MAX, Known, Used

_CHUNK = 300
SKETCHES_MAX = 200
"""Values of so many rows of one attribute are put together."""

Row = dict[str, Any]
Overridden = dict[tuple[AttributeKind, str], AttributeType]


class CatalogueScope:
    """The catalogue of one account."""

    def __init__(self, connection: AsyncConnection, account_id: int) -> None:
        self._connection = connection
        self._account_id = account_id

    async def names(
        self, workspace_id: int, *, input_id: int = 0, type_: int = 0, search: str = "", offset: int = 0, limit: int
    ) -> list[ListedName]:
        """Names of events, the best first; of all inputs and types where they are 0."""
        table = tables.catalogue_names
        conditions = self._in(table, workspace_id, input_id)
        if type_:
            conditions.append(table.c.type == type_)
        query = select(table.c.type, table.c.name, *_sightings(table)).where(*conditions).group_by(table.c.type, table.c.name)
        rows = await self._all(_best(query, table, table.c.name, table.c.name_folded, search, offset, limit))
        keys = [EntryKey(workspace_id, CatalogueKind.EVENT_NAME, row["type"], row["name"]) for row in rows]
        entries = await self._entries(keys)
        return [ListedName(**row, entry=entries[key]) for row, key in zip(rows, keys, strict=True)]

    async def attributes(
        self, scope: AttributeScope, overridden: Overridden, *, search: str = "", offset: int = 0, limit: int
    ) -> list[ListedAttribute]:
        """Attributes, the best first. `overridden`: the types that the workspace sets itself."""
        table = tables.catalogue_attributes
        types = [func.sum(table.c[column]).label(column) for column in TYPE_COLUMNS.values()]
        query = (
            select(table.c.kind, table.c.attribute, *_sightings(table), *types)
            .where(*self._of(scope))
            .group_by(table.c.kind, table.c.attribute)
        )
        rows = await self._all(_best(query, table, table.c.attribute, table.c.attribute_folded, search, offset, limit))
        keys = [EntryKey(scope.workspace_id, CatalogueKind(row["kind"]), 0, row["attribute"]) for row in rows]
        entries = await self._entries(keys)
        return [
            ListedAttribute(
                kind=key.kind,
                name=key.name,
                count=int(row["count"]),
                first_ms=row["first_ms"],
                last_ms=row["last_ms"],
                types={type_: int(row[column]) for type_, column in TYPE_COLUMNS.items() if row[column]},
                override=overridden.get((OVERRIDDEN_AS[key.kind], key.name)) if key.kind in OVERRIDDEN_AS else None,
                entry=entries[key],
            )
            for row, key in zip(rows, keys, strict=True)
        ]

    async def sketches(self, scope: AttributeScope, attribute: str) -> list[bytes]:
        """Of the values of an attribute, with each kind of event and from each input that is asked for: the most frequent of those."""
        table = tables.catalogue_attributes
        query = select(table.c.sketch).where(*self._of(scope), table.c.attribute == attribute)
        found = await self._connection.execute(query.order_by(table.c.count.desc()).limit(SKETCHES_MAX))
        return list(found.scalars())

    async def coverage(self, workspace_ids: Collection[int]) -> Coverage | None:
        """How much of these workspaces' data came under names that are not kept; None where nothing has arrived at all."""
        table = tables.catalogue_workspaces
        rows = await self._all(
            select(table.c.unlisted_events, table.c.unlisted_attributes).where(
                table.c.account_id == self._account_id, table.c.workspace_id.in_(sorted(workspace_ids))
            )
        )
        if not rows:
            return None
        return Coverage(sum(row["unlisted_events"] for row in rows), sum(row["unlisted_attributes"] for row in rows))

    async def known(self, used: Collection[Used]) -> Known:
        """What is to be said of names that a definition uses."""
        workspaces = frozenset[int]().union(*(one.workspace_ids for one in used))
        coverage = await self.coverage(workspaces)
        arrived = await self._arrived(used, workspaces)
        complete = frozenset[CatalogueKind]()
        if coverage is not None:
            complete = frozenset(
                kind
                for kind in CatalogueKind
                if not (coverage.unlisted_events if kind is CatalogueKind.EVENT_NAME else coverage.unlisted_attributes)
            )
        unknown = [one for one in used if one.kind in complete and one not in arrived][:SUGGESTIONS_MAX]
        return Known(arrived, await self._deprecated(used), {one: await self._candidates(one) for one in unknown}, complete)

    async def _arrived(self, used: Collection[Used], workspaces: Collection[int]) -> frozenset[Used]:
        """Those that have arrived in one of their workspaces, by one of their inputs."""
        asked: dict[tuple[int, str], list[Used]] = defaultdict(list)
        for one in used:
            asked[(one.kind, one.name)].append(one)
        found = set[Used]()
        for table, name, kinds in (
            (tables.catalogue_names, tables.catalogue_names.c.name, (CatalogueKind.EVENT_NAME,)),
            (tables.catalogue_attributes, tables.catalogue_attributes.c.attribute, ATTRIBUTES),
        ):
            wanted = sorted({one.name for one in used if one.kind in kinds and "\0" not in one.name})
            for start in range(0, len(wanted), _CHUNK):
                chunk = wanted[start : start + _CHUNK]
                query = select(*(column for column in table.primary_key.columns if column.name != "account_id")).where(
                    table.c.account_id == self._account_id, table.c.workspace_id.in_(sorted(workspaces)), name.in_(chunk)
                )
                for row in await self._all(query):
                    kind = row.get("kind", CatalogueKind.EVENT_NAME)
                    found.update(one for one in asked[(kind, row[name.name])] if _is_of(one, row))
        return frozenset(found)

    async def _deprecated(self, used: Collection[Used]) -> dict[Used, str]:
        """The note of each that is deprecated in one of its workspaces."""
        keys = {
            one: [
                EntryKey(workspace_id, one.kind, one.type if one.kind is CatalogueKind.EVENT_NAME else 0, one.name)
                for workspace_id in sorted(one.workspace_ids)
            ]
            for one in used
            if "\0" not in one.name
        }
        entries = await self._entries({key for of in keys.values() for key in of})
        return {one: entries[key].deprecation_note for one, of in keys.items() for key in of if entries[key].deprecated}

    async def _candidates(self, used: Used) -> list[str]:
        """What could have been meant by a name that has not arrived: the most frequent ones of its kind."""
        is_name = used.kind is CatalogueKind.EVENT_NAME
        table = tables.catalogue_names if is_name else tables.catalogue_attributes
        name = table.c.name if is_name else table.c.attribute
        conditions = [table.c.account_id == self._account_id, table.c.workspace_id.in_(sorted(used.workspace_ids))]
        if used.input_ids:
            conditions.append(table.c.input_id.in_(sorted(used.input_ids)))
        if used.type:
            conditions.append(table.c.type == used.type)
        if not is_name:
            conditions.append(table.c.kind == used.kind)
        if used.event_name is not None:
            conditions.append(table.c.event_name == used.event_name)
        best = func.sum(table.c.count).desc()
        found = await self._connection.execute(select(name).where(*conditions).group_by(name).order_by(best, name).limit(CANDIDATES_MAX))
        return list(found.scalars())

    async def entry(self, key: EntryKey) -> Entry:
        """What people say of a name. Raises CatalogueEntryNotFound unless such a name has arrived."""
        if "\0" in key.name or not await self._has_arrived(key):
            raise CatalogueEntryNotFound(f"No such name has arrived in workspace {key.workspace_id}.", name=key.name[:100])
        return (await self._entries([key]))[key]

    async def save_entry(self, entry: Entry) -> None:
        """Keep what somebody says; keeping it again changes nothing."""
        said = {name: value for name, value in asdict(entry).items() if name != "key"}
        row = {"account_id": self._account_id, **entry.key._asdict(), **said}
        keys = ["account_id", *EntryKey._fields]
        await self._connection.execute(upsert(tables.catalogue_entries, keys=keys, update=list(said)), [row])

    async def _has_arrived(self, key: EntryKey) -> bool:
        if key.kind is CatalogueKind.EVENT_NAME:
            table = tables.catalogue_names
            conditions = [table.c.type == key.type, table.c.name == key.name]
        else:
            table = tables.catalogue_attributes
            conditions = [table.c.kind == key.kind, table.c.attribute == key.name]
        query = select(table.c.count).where(*self._in(table, key.workspace_id), *conditions).limit(1)
        return await self._connection.scalar(query) is not None

    async def _entries(self, keys: Collection[EntryKey]) -> dict[EntryKey, Entry]:
        """Of each of these; an empty one of those of which nobody said anything."""
        table = tables.catalogue_entries
        entries = {key: Entry(key) for key in keys}
        wanted = sorted(entries)
        columns = tuple_(table.c.workspace_id, table.c.kind, table.c.type, table.c.name)
        for start in range(0, len(wanted), _CHUNK):
            chunk = [tuple(key) for key in wanted[start : start + _CHUNK]]
            query = select(table).where(table.c.account_id == self._account_id, columns.in_(chunk))
            for row in await self._all(query):
                entry = _entry(row)
                entries[entry.key] = entry
        return entries

    def _in(self, table: Table, workspace_id: int, input_id: int = 0) -> list[ColumnElement[bool]]:
        conditions: list[ColumnElement[bool]] = [table.c.account_id == self._account_id, table.c.workspace_id == workspace_id]
        return [*conditions, table.c.input_id == input_id] if input_id else conditions

    def _of(self, scope: AttributeScope) -> list[ColumnElement[bool]]:
        table = tables.catalogue_attributes
        conditions = [*self._in(table, scope.workspace_id, scope.input_id), table.c.kind.in_(sorted(scope.kinds))]
        if scope.type:
            conditions.append(table.c.type == scope.type)
        if scope.event_name:
            conditions.append(table.c.event_name == scope.event_name)
        return conditions

    async def _all(self, query: Select[Any]) -> list[Row]:
        return [{**found} for found in (await self._connection.execute(query)).mappings()]


def _is_of(used: Used, row: Row) -> bool:
    """Whether a row of the catalogue is in the workspaces and inputs, and of the events, of a name that is used."""
    return (
        row["workspace_id"] in used.workspace_ids
        and (not used.input_ids or row["input_id"] in used.input_ids)
        and row["type"] == used.type
        and (used.event_name is None or row["event_name"] == used.event_name)
    )


def _sightings(table: Table) -> Iterable[ColumnElement[Any]]:
    return (
        cast(func.sum(table.c.count), BigInteger).label("count"),
        func.min(table.c.first_ms).label("first_ms"),
        func.max(table.c.last_ms).label("last_ms"),
    )


def _best(
    query: Select[Any], table: Table, name: ColumnElement[str], name_folded: ColumnElement[str], search: str, offset: int, limit: int
) -> Select[Any]:
    """Those that begin with it, then those that hold it; of each the most frequent first, then the one seen last."""
    order: list[ColumnElement[Any]] = []
    if search:
        asked = folded(search)
        query = query.where(name_folded.contains(asked, autoescape=True))
        order.append(func.min(case((name_folded.startswith(asked, autoescape=True), 0), else_=1)))
    others = [column for column in (table.c.get("kind"), table.c.type if "name" in table.c else None) if column is not None]
    order += [func.sum(table.c.count).desc(), func.max(table.c.last_ms).desc(), func.min(name_folded), name, *others]
    return query.order_by(*order).offset(offset).limit(limit)


def _entry(row: Row) -> Entry:
    key = EntryKey(row["workspace_id"], CatalogueKind(row["kind"]), row["type"], row["name"])
    said = {name: value for name, value in row.items() if name not in ("account_id", *EntryKey._fields)}
    return Entry(key, **said)
