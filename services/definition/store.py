"""The SQL of all that is defined. A `Scope` reads, and a `Transaction` writes too, inside one account; whatever is saved is announced."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, astuple, fields
from typing import Any, TypeVar

from muster.definition.v1 import definition_pb2
from sqlalchemy import ColumnElement, Select, Table, and_, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis.audit import Audit
from services.chassis.database import Database, insert_ignore
from services.chassis.errors import Conflict
from services.chassis.outbox import Outbox

from . import tables
from .catalogue_store import CatalogueScope
from .domain.ab_tests import AbTest, AbTestNotFound, Variation
from .domain.accounts import (
    Account,
    AccountNotFound,
    Input,
    InputKind,
    InputState,
    UnknownInput,
    UnknownWorkspace,
    Workspace,
)
from .domain.audiences import Audience, AudienceNotFound, Revision, RevisionNotFound
from .domain.catalogue import Entry
from .domain.etags import StaleEtag
from .domain.idempotency import Create
from .domain.identity_rules import IdentityRule, IdentityRules
from .domain.lifecycle import State
from .domain.listing import AudienceQuery, AudienceRow, Page, Position, SortKey
from .domain.nesting import used_by
from .domain.overrides import AttributeKind, AttributeOverride, AttributeType
from .domain.schedules import NO_SCHEDULE, Schedule
from .domain.texts import folded
from .domain.uses import CONNECTION_DELETED, CONNECTION_FAULTED, SHARES_LIVE, ConnectionUse, ShareUse, User, Uses, outermost_first
from .domain.validation import OtherAudience, Surroundings, is_too_large
from .facts import Thing, change_of, change_of_entry, fact_of

_ID_MAX = 2**63 - 1
_CHUNK = 500

Row = dict[str, Any]
T = TypeVar("T", bound=Thing)


class CreateInProgress(Conflict):
    """Another call with this idempotency key is being handled; repeated, this one gets its answer."""


class Scope:
    """What one account holds; of another account's things it knows nothing."""

    def __init__(self, connection: AsyncConnection, account_id: int) -> None:
        self._connection = connection
        self.account_id = account_id

    @property
    def catalogue(self) -> CatalogueScope:
        """What names there are in the account's data."""
        return CatalogueScope(self._connection, self.account_id)

    async def account(self) -> Account:
        """The account itself. Raises AccountNotFound."""
        return await self._account(select(tables.accounts))

    async def _account(self, query: Select[Any]) -> Account:
        row = await self._one(query.where(tables.accounts.c.account_id == self.account_id))
        if row is None:
            raise AccountNotFound(f"There is no account {self.account_id}; use the token of an account.", account_id=self.account_id)
        return _account(row)

    async def workspace(self, workspace_id: int) -> Workspace:
        """Raises UnknownWorkspace."""
        row = await self._by_id(tables.workspaces, workspace_id)
        if row is None:
            raise UnknownWorkspace(f"There is no workspace {workspace_id} in this account.", workspace_id=workspace_id)
        return _workspace(row)

    async def workspaces(self, *, after: int, limit: int) -> Page[Workspace]:
        """A page in the order of ids, from the one behind `after`."""
        rows = await self._page(tables.workspaces, tables.workspaces.c.workspace_id, after, limit)
        return Page.of([_workspace(row) for row in rows], limit)

    async def input(self, input_id: int) -> Input:
        """Raises UnknownInput."""
        row = await self._by_id(tables.inputs, input_id)
        if row is None:
            raise UnknownInput(f"There is no input {input_id} in this account.", input_id=input_id)
        return _input(row)

    async def inputs(self, *, workspace_id: int, after: int, limit: int) -> Page[Input]:
        """A page in the order of ids, from the one behind `after`; of all workspaces if `workspace_id` is 0."""
        of = [tables.inputs.c.workspace_id == workspace_id] if workspace_id else []
        rows = await self._page(tables.inputs, tables.inputs.c.input_id, after, limit, *of)
        return Page.of([_input(row) for row in rows], limit)

    async def audience(self, audience_id: int) -> Audience:
        """A deleted one too. Raises AudienceNotFound."""
        row = await self._by_id(tables.audiences, audience_id)
        if row is None:
            raise AudienceNotFound(f"There is no audience {audience_id} in this account.", audience_id=audience_id)
        return _audience(row)

    async def audiences(self, query: AudienceQuery, *, after: Position | None, limit: int) -> tuple[Page[Audience], int]:
        """A page of what the query finds, from behind `after`, and how many it finds in all."""
        page, total = self._found(query, after, limit, tables.audiences)
        return Page.of([_audience(row) for row in await self._all(page)], limit), await self._count(total)

    async def _count(self, query: Select[Any]) -> int:
        return int(await self._connection.scalar(query) or 0)

    def _found(self, query: AudienceQuery, after: Position | None, limit: int, *columns: Any) -> tuple[Select[Any], Select[Any]]:
        """The statements of a page, and of how many there are in all."""
        table = tables.audiences
        found = and_(table.c.account_id == self.account_id, *_conditions(query, self.account_id))
        key: ColumnElement[Any] = {
            SortKey.NAME: table.c.name_folded,
            SortKey.CREATE_TIME: table.c.create_time_ms,
            SortKey.UPDATE_TIME: table.c.update_time_ms,
        }[query.sort]
        page = select(*columns).where(found).limit(limit + 1)
        if query.descending:
            page = page.order_by(key.desc(), table.c.audience_id.desc())
            if after is not None:
                page = page.where(or_(key < after.key, and_(key == after.key, table.c.audience_id < after.id)))
        else:
            page = page.order_by(key, table.c.audience_id)
            if after is not None:
                page = page.where(or_(key > after.key, and_(key == after.key, table.c.audience_id > after.id)))
        return page, select(func.count()).select_from(table).where(found)

    async def audience_rows(self, query: AudienceQuery, *, after: Position | None, limit: int) -> tuple[Page[AudienceRow], int]:
        """A page of what the query finds, in an order that is not by figures, and how many it finds in all."""
        page, total = self._found(query, after, limit, *_LISTED)
        return Page.of([_listed(row) for row in await self._all(page)], limit), await self._count(total)

    async def audience_ids(self, query: AudienceQuery) -> list[int]:
        """All that the query finds, in any order."""
        table = tables.audiences
        found = and_(table.c.account_id == self.account_id, *_conditions(query, self.account_id))
        return list(await self._connection.scalars(select(table.c.audience_id).where(found)))

    async def rows_of(self, audience_ids: Sequence[int]) -> list[AudienceRow]:
        """These audiences, in this order."""
        table = tables.audiences
        found: dict[int, AudienceRow] = {}
        for some in _chunks(audience_ids):
            query = select(*_LISTED).where(table.c.account_id == self.account_id, table.c.audience_id.in_(some))
            found |= {row["audience_id"]: _listed(row) for row in await self._all(query)}
        return [found[audience_id] for audience_id in audience_ids]

    async def active_audiences(self) -> list[Audience]:
        """All that are active now."""
        table = tables.audiences
        rows = await self._all(select(table).where(table.c.account_id == self.account_id, table.c.state == State.ACTIVE))
        return [_audience(row) for row in rows]

    async def named(self, name: str, *, but: int = 0) -> list[tuple[int, str]]:
        """The ids and names of audiences of this name, upper and lower case apart, but for one; deleted ones have none any more."""
        table = tables.audiences
        same = (table.c.account_id == self.account_id, table.c.name_folded == folded(name), table.c.audience_id != but)
        query = select(table.c.audience_id, table.c.name).where(*same, table.c.state != State.DELETED)
        return [(row.audience_id, row.name) for row in await self._connection.execute(query.order_by(table.c.audience_id).limit(1))]

    async def names_like(self, beginning: str) -> frozenset[str]:
        """The folded names of audiences that begin so."""
        table = tables.audiences
        like = (table.c.account_id == self.account_id, table.c.name_folded.startswith(folded(beginning), autoescape=True))
        query = select(table.c.name_folded).where(*like, table.c.state != State.DELETED)
        return frozenset(await self._connection.scalars(query))

    async def uses_of(self, audience_id: int, *, cascade: bool) -> Uses:
        """What uses an audience; with `cascade` also what uses that, and so on, the outermost audiences first."""
        reads = {user: other.uses for user, other in (await self._other_audiences()).items()}
        direct = [user for user, read in reads.items() if audience_id in read]
        users = outermost_first(audience_id, reads) if cascade else sorted(direct)
        concerned = [*users, audience_id] if cascade else [audience_id]
        tests, connections = await self._tests_of(concerned), await self.connections_of(concerned)
        return Uses(await self._users(users), tests, connections, await self._shares_of(concerned))

    async def connections_of(self, audience_ids: Sequence[int]) -> list[ConnectionUse]:
        """The connections of these audiences, in the order of their ids."""
        table = tables.connections
        found: list[ConnectionUse] = []
        for some in _chunks(audience_ids):
            mine = (table.c.account_id == self.account_id, table.c.audience_id.in_(some), table.c.state != CONNECTION_DELETED)
            rows = await self._all(select(table).where(*mine))
            found += [ConnectionUse(**_without(_without(row, "account_id"), "version")) for row in rows]
        return sorted(found, key=lambda one: one.connection_id)

    async def _shares_of(self, audience_ids: Sequence[int]) -> list[ShareUse]:
        table = tables.shares
        found: list[ShareUse] = []
        for some in _chunks(audience_ids):
            live = (table.c.account_id == self.account_id, table.c.audience_id.in_(some), table.c.state.in_(SHARES_LIVE))
            rows = await self._all(select(table).where(*live))
            found += [ShareUse(**_without(_without(row, "account_id"), "version")) for row in rows]
        return sorted(found, key=lambda one: one.share_id)

    async def _users(self, audience_ids: Sequence[int]) -> list[User]:
        table = tables.audiences
        found: dict[int, User] = {}
        for some in _chunks(audience_ids):
            query = select(table.c.audience_id, table.c.name, table.c.state)
            for row in await self._connection.execute(query.where(table.c.account_id == self.account_id, table.c.audience_id.in_(some))):
                found[row.audience_id] = User(row.audience_id, row.name, State(row.state))
        return [found[audience_id] for audience_id in audience_ids]

    async def _tests_of(self, audience_ids: Sequence[int]) -> list[AbTest]:
        table = tables.ab_tests
        found: list[AbTest] = []
        for some in _chunks(audience_ids):
            live = (table.c.account_id == self.account_id, table.c.audience_id.in_(some), table.c.delete_time_ms == 0)
            found += [_ab_test(row) for row in await self._all(select(table).where(*live))]
        return sorted(found, key=lambda one: one.ab_test_id)

    async def ab_test(self, ab_test_id: int) -> AbTest:
        """A deleted one too. Raises AbTestNotFound."""
        row = await self._by_id(tables.ab_tests, ab_test_id)
        if row is None:
            raise AbTestNotFound(f"There is no test {ab_test_id} in this account.", ab_test_id=ab_test_id)
        return _ab_test(row)

    async def revision(self, audience_id: int, revision: int) -> Revision:
        """Raises RevisionNotFound."""
        table = tables.audience_revisions
        row = await self._one(
            select(table).where(
                table.c.account_id == self.account_id, table.c.audience_id == audience_id, table.c.revision == min(revision, _ID_MAX)
            )
        )
        if row is None:
            message = f"The audience {audience_id} has no revision {revision}."
            raise RevisionNotFound(message, audience_id=audience_id, revision=revision)
        return _revision(row)

    async def revisions(self, audience_id: int, *, before: int, limit: int) -> Page[Revision]:
        """A page of them, the newest first, from the one ahead of `before`."""
        table = tables.audience_revisions
        rows = await self._all(
            select(table)
            .where(table.c.account_id == self.account_id, table.c.audience_id == audience_id, table.c.revision < before)
            .order_by(table.c.revision.desc())
            .limit(limit + 1)
        )
        return Page.of([_revision(row) for row in rows], limit)

    async def surroundings(self, account: Account, audience: Audience) -> Surroundings:
        """What the definition of this audience is judged against."""
        rows = await self._all(select(tables.workspaces).where(tables.workspaces.c.account_id == self.account_id))
        workspaces = [_workspace(row) for row in rows]
        inputs = await self._connection.execute(
            select(tables.inputs.c.input_id, tables.inputs.c.workspace_id).where(tables.inputs.c.account_id == self.account_id)
        )
        return Surroundings(
            look_back_days=account.look_back_days,
            workspaces=frozenset(workspace.workspace_id for workspace in workspaces),
            inputs={row.input_id: row.workspace_id for row in inputs},
            types={(one.workspace_id, it.kind, it.attribute): it.type for one in workspaces for it in one.attribute_overrides},
            # Only who reads others can make a cycle; what is too large is refused before anything else is looked at.
            audiences=await self._other_audiences() if not is_too_large(audience.definition) and used_by(audience.definition) else {},
            audience_id=audience.audience_id,
            workspace_ids=audience.workspace_ids,
            input_ids=audience.input_ids,
        )

    async def _other_audiences(self) -> dict[int, OtherAudience]:
        users, uses = tables.audiences, tables.audience_uses
        used: dict[int, set[int]] = {}
        for row in await self._connection.execute(
            select(uses.c.audience_id, uses.c.used_audience_id).where(uses.c.account_id == self.account_id)
        ):
            used.setdefault(row.audience_id, set()).add(row.used_audience_id)
        found = await self._connection.execute(
            select(users.c.audience_id, users.c.name, users.c.state).where(
                users.c.account_id == self.account_id, users.c.state != State.DELETED
            )
        )
        return {
            row.audience_id: OtherAudience(row.name, row.state == State.ACTIVE, frozenset(used.get(row.audience_id, ()))) for row in found
        }

    async def audience_names(self, numbers: Collection[int]) -> dict[int, str]:
        """The names of those of these audiences that are the account's, deleted ones too."""
        table = tables.audiences
        found = await self._connection.execute(
            select(table.c.audience_id, table.c.name).where(table.c.account_id == self.account_id, table.c.audience_id.in_(numbers))
        )
        return {row.audience_id: row.name for row in found}

    async def earlier(self, create: Create) -> int | None:
        """The id of what an earlier create with this key made; None when there was none. Raises IdempotencyKeyReused when that one asked
        for something else."""
        if not create.key:
            return None
        table = tables.idempotency_keys
        row = await self._one(
            select(table).where(table.c.account_id == self.account_id, table.c.method == create.method, table.c.key == create.key)
        )
        if row is None:
            return None
        create.check_same(row["request_sha256"])
        return int(row["thing_id"])

    async def _by_id(self, table: Table, thing_id: int) -> Row | None:
        primary = next(iter(table.primary_key.columns))
        return await self._one(select(table).where(primary == thing_id, table.c.account_id == self.account_id))

    async def _page(self, table: Table, by: ColumnElement[Any], after: int, limit: int, *conditions: ColumnElement[bool]) -> list[Row]:
        query = select(table).where(table.c.account_id == self.account_id, by > after, *conditions)
        return await self._all(query.order_by(by).limit(limit + 1))

    async def _one(self, query: Select[Any]) -> Row | None:
        found = (await self._connection.execute(query)).mappings().one_or_none()
        return None if found is None else {**found}

    async def _all(self, query: Select[Any]) -> list[Row]:
        return [{**found} for found in (await self._connection.execute(query)).mappings()]


class Transaction(Scope):
    """One change of one account, whole or not at all, with the facts that announce it. `now_ms` is the instant of the change."""

    def __init__(self, connection: AsyncConnection, account_id: int, outbox: Outbox, audit: Audit, now_ms: int) -> None:
        super().__init__(connection, account_id)
        self._outbox = outbox
        self._audit = audit
        self._now_ms = now_ms
        # Who does it, for the audit log; empty: the caller of the request in hand.
        self.actor = ""

    async def locked_account(self) -> Account:
        """The account, which no other transaction changes, nor any thing in it, until this one ends. So what was judged, such as that
        there is no cycle, stays true. Raises AccountNotFound."""
        return await self._account(select(tables.accounts).with_for_update())

    async def add_account(self, account: Account) -> Account:
        """The account with its new id; this transaction is inside it from now on."""
        self.account_id = await self._insert(tables.accounts, _without(_account_row(account), "account_id"))
        return await self._announce(await self.account())

    async def save_account(self, account: Account) -> Account:
        return await self._save(tables.accounts, account, _account_row(account))

    async def add_workspace(self, workspace: Workspace) -> Workspace:
        """The workspace with its new id."""
        workspace_id = await self._insert(tables.workspaces, _without(_workspace_row(workspace), "workspace_id"))
        return await self._announce(await self.workspace(workspace_id))

    async def save_workspace(self, workspace: Workspace) -> Workspace:
        return await self._save(tables.workspaces, workspace, _workspace_row(workspace))

    async def add_input(self, data_input: Input) -> Input:
        """The input with its new id."""
        input_id = await self._insert(tables.inputs, _without(_row(data_input), "input_id"))
        return await self._announce(await self.input(input_id))

    async def save_input(self, data_input: Input) -> Input:
        return await self._save(tables.inputs, data_input, _row(data_input))

    async def add_audience(self, audience: Audience) -> Audience:
        """The audience with its new id."""
        audience_id = await self._insert(tables.audiences, _without(_audience_row(audience), "audience_id"))
        audience = await self.audience(audience_id)
        await self._index(audience)
        return await self._announce(audience)

    async def save_audience(self, audience: Audience) -> Audience:
        await self._save(tables.audiences, audience, _audience_row(audience))
        await self._index(audience)
        return audience

    async def add_ab_test(self, test: AbTest) -> AbTest:
        """The test with its new id."""
        ab_test_id = await self._insert(tables.ab_tests, _without(_ab_test_row(test), "ab_test_id"))
        return await self._announce(await self.ab_test(ab_test_id))

    async def save_ab_test(self, test: AbTest) -> AbTest:
        return await self._save(tables.ab_tests, test, _ab_test_row(test))

    async def take_connection(self, told: ConnectionUse, version: int) -> None:
        """Keep what was told of a connection, a deleted one too, unless something newer is known."""
        await self._take(tables.connections, asdict(told), version)

    async def take_share(self, told: ShareUse, version: int) -> None:
        """Keep what was told of a share, an ended one too, unless something newer is known."""
        await self._take(tables.shares, asdict(told), version)

    async def _take(self, table: Table, told: Mapping[str, Any], version: int) -> None:
        row = {"account_id": self.account_id, "version": version, **told}
        keys = [column.name for column in table.primary_key.columns]
        # Another process may be told of it first at this moment: the insert waits for that one, and the update sees what it wrote.
        made = await self._connection.execute(insert_ignore(table, keys=keys), row)
        if made.rowcount == 0:
            older = and_(*(table.c[key] == row[key] for key in keys), table.c.version < version)
            await self._connection.execute(update(table).where(older).values(row))

    async def keep_revision(self, revision: Revision) -> None:
        """Keep a revision; keeping it again changes nothing."""
        row = {
            "account_id": self.account_id,
            **_row(revision),
            "definition": revision.definition.SerializeToString(),
            "workspace_ids": list(revision.workspace_ids),
            "input_ids": list(revision.input_ids),
        }
        await self._connection.execute(insert_ignore(tables.audience_revisions, keys=["audience_id", "revision"]), [row])

    async def save_entry(self, before: Entry, after: Entry) -> None:
        """Keep what somebody says of a name in the catalogue. No fact tells it: nobody else needs it."""
        await self.catalogue.save_entry(after)
        change = change_of_entry(before, after)
        await self._audit.write(self._connection, self.account_id, [change], now_ms=self._now_ms, actor=self.actor)

    async def remember(self, create: Create, thing_id: int, *, account_id: int | None = None) -> None:
        """Note what a create with an idempotency key made; nothing without a key. `account_id` is the caller's, where the thing is in
        another one. Raises CreateInProgress when another transaction noted something meanwhile."""
        if not create.key:
            return
        row = {
            "account_id": self.account_id if account_id is None else account_id,
            "method": create.method,
            "key": create.key,
            "request_sha256": create.request_sha256,
            "thing_id": thing_id,
            "create_time_ms": self._now_ms,
        }
        done = await self._connection.execute(insert_ignore(tables.idempotency_keys, keys=["account_id", "method", "key"]), row)
        if done.rowcount == 0:
            raise CreateInProgress("Another call with this idempotency key has just been handled; repeat this one for its answer.")

    async def _insert(self, table: Table, row: Mapping[str, Any]) -> int:
        done = await self._connection.execute(table.insert().returning(next(iter(table.primary_key.columns))), row)
        return int(done.scalar_one())

    async def _save(self, table: Table, thing: T, row: Mapping[str, Any]) -> T:
        primary = next(iter(table.primary_key.columns))
        before = await self._one(select(table).where(primary == row[primary.name]))
        # Only over the version before it: whoever read an older one has lost, even without the lock on the account.
        done = await self._connection.execute(
            update(table).where(primary == row[primary.name], table.c.version == thing.version - 1).values(_without(row, primary.name))
        )
        if done.rowcount != 1:
            raise StaleEtag("It was changed meanwhile; read it again and repeat the change.")
        return await self._announce(thing, before=None if before is None else _THINGS[table](before))

    async def _announce(self, thing: T, before: Thing | None = None) -> T:
        await self._outbox.add(self._connection, [fact_of(thing, now_ms=self._now_ms)], now_ms=self._now_ms)
        change = change_of(before, thing)
        await self._audit.write(self._connection, self.account_id, [change], now_ms=self._now_ms, actor=self.actor)
        return thing

    async def _index(self, audience: Audience) -> None:
        """Write its tags and whom it uses, a row each."""
        tags, uses = tables.audience_tags, tables.audience_uses
        for table in (tags, uses):
            await self._connection.execute(table.delete().where(table.c.audience_id == audience.audience_id))
        own = {"account_id": self.account_id, "audience_id": audience.audience_id}
        if audience.tags:
            await self._connection.execute(tags.insert(), [{**own, "tag": tag} for tag in audience.tags])
        used = used_by(audience.definition) if audience.state is not State.DELETED else frozenset()
        if used:
            await self._connection.execute(uses.insert(), [{**own, "used_audience_id": number} for number in sorted(used)])


class Store:
    """Opens scopes and transactions on the database of the service."""

    def __init__(self, database: Database, outbox: Outbox, audit: Audit) -> None:
        self._database = database
        self._outbox = outbox
        self._audit = audit

    @asynccontextmanager
    async def read(self, account_id: int) -> AsyncIterator[Scope]:
        """What an account holds, for reading."""
        async with self._database.read() as connection:
            yield Scope(connection, account_id)

    async def due(self, now_ms: int, *, limit: int) -> list[tuple[int, int]]:
        """(account, id) of audiences of all accounts of whose schedule something is due, what waits longest first."""
        table = tables.audiences
        query = select(table.c.account_id, table.c.audience_id).where(table.c.schedule_time_ms <= now_ms)
        async with self._database.read() as connection:
            rows = await connection.execute(query.order_by(table.c.schedule_time_ms, table.c.audience_id).limit(limit))
            return [(row.account_id, row.audience_id) for row in rows]

    async def next_due_ms(self) -> int | None:
        """The next instant of any schedule."""
        async with self._database.read() as connection:
            first: int | None = await connection.scalar(select(func.min(tables.audiences.c.schedule_time_ms)))
            return first

    @asynccontextmanager
    async def transaction(self, account_id: int, *, now_ms: int) -> AsyncIterator[Transaction]:
        """A change of an account: kept, with its facts and its entries of the audit log, when the block ends without an exception."""
        async with self._database.transaction() as connection:
            yield Transaction(connection, account_id, self._outbox, self._audit, now_ms)


def _chunks(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    """A statement takes only so many parameters."""
    return (ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK))


def _conditions(query: AudienceQuery, account_id: int) -> list[ColumnElement[bool]]:
    table, tags = tables.audiences, tables.audience_tags
    conditions: list[ColumnElement[bool]] = [table.c.state.in_(sorted(query.states))]
    conditions.append(table.c.archive_time_ms > 0 if query.archived else table.c.archive_time_ms == 0)
    if query.search:
        conditions.append(table.c.name_folded.contains(query.search, autoescape=True))
    for tag in sorted(query.tags):
        conditions.append(table.c.audience_id.in_(select(tags.c.audience_id).where(tags.c.account_id == account_id, tags.c.tag == tag)))
    conditions += [table.c.created_by == query.created_by] if query.created_by else []
    for wanted, holds in ((query.tested, table.c.ab_test_id > 0), (query.connected, _connected(account_id))):
        conditions += [] if wanted is None else [holds if wanted else ~holds]
    if query.faulted is not None:
        faulted = _connected(account_id, tables.connections.c.state == CONNECTION_FAULTED)
        conditions.append(faulted if query.faulted else ~faulted)
    if query.integrations:
        conditions.append(_connected(account_id, tables.connections.c.integration_key.in_(sorted(query.integrations))))
    return conditions


def _connected(account_id: int, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether an audience has a connection of which this holds."""
    table = tables.connections
    live = (table.c.account_id == account_id, table.c.state != CONNECTION_DELETED)
    return tables.audiences.c.audience_id.in_(select(table.c.audience_id).where(*live, *conditions))


def _account(row: Row) -> Account:
    told = row["identity_rules"]
    rules = None if told is None else IdentityRules(tuple(IdentityRule(*rule) for rule in told["rules"]), told["keep_apart"])
    return Account(**row | {"identity_rules": rules})


def _account_row(account: Account) -> dict[str, Any]:
    own = account.identity_rules
    told = None if own is None else {"rules": [list(astuple(rule)) for rule in own.rules], "keep_apart": own.keep_apart}
    return _row(account) | {"identity_rules": told}


def _workspace(row: Row) -> Workspace:
    told = [
        AttributeOverride(AttributeKind(kind), attribute, AttributeType(type_)) for kind, attribute, type_ in row["attribute_overrides"]
    ]
    return Workspace(**row | {"attribute_overrides": tuple(told)})


def _workspace_row(workspace: Workspace) -> dict[str, Any]:
    overrides = [[one.kind, one.attribute, one.type] for one in workspace.attribute_overrides]
    return _row(workspace) | {"attribute_overrides": overrides}


def _row(thing: Account | Workspace | Input | Audience | Revision | AbTest) -> dict[str, Any]:
    return {name.name: getattr(thing, name.name) for name in fields(thing)}


def _without(row: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {column: value for column, value in row.items() if column != name}


def _input(row: Row) -> Input:
    return Input(**row | {"kind": InputKind(row["kind"]), "state": InputState(row["state"])})


def _audience(row: Row) -> Audience:
    return Audience(
        **_without(_without(row, "name_folded"), "schedule_time_ms")
        | {
            "schedule": Schedule(**row["schedule"] or {}),
            "workspace_ids": tuple(row["workspace_ids"]),
            "input_ids": tuple(row["input_ids"]),
            "definition": definition_pb2.Definition.FromString(row["definition"]),
            "tags": tuple(row["tags"]),
            "state": State(row["state"]),
        }
    )


_LISTED = [tables.audiences.c[name.name] for name in fields(AudienceRow)]


def _listed(row: Row) -> AudienceRow:
    return AudienceRow(
        **row
        | {
            "tags": tuple(row["tags"]),
            "workspace_ids": tuple(row["workspace_ids"]),
            "state": State(row["state"]),
            "schedule": Schedule(**row["schedule"] or {}),
        }
    )


def _audience_row(audience: Audience) -> dict[str, Any]:
    return _row(audience) | {
        "name_folded": folded(audience.name),
        "workspace_ids": list(audience.workspace_ids),
        "input_ids": list(audience.input_ids),
        "definition": audience.definition.SerializeToString(),
        "tags": list(audience.tags),
        "schedule": asdict(audience.schedule) if audience.schedule != NO_SCHEDULE else None,
        "schedule_time_ms": audience.schedule.next_time_ms or None,
    }


def _ab_test(row: Row) -> AbTest:
    return AbTest(**row | {"variations": tuple(Variation(name, percentage) for name, percentage in row["variations"])})


def _ab_test_row(test: AbTest) -> dict[str, Any]:
    return _row(test) | {"variations": [[one.name, one.percentage] for one in test.variations]}


def _revision(row: Row) -> Revision:
    return Revision(
        **_without(row, "account_id")
        | {
            "definition": definition_pb2.Definition.FromString(row["definition"]),
            "workspace_ids": tuple(row["workspace_ids"]),
            "input_ids": tuple(row["input_ids"]),
        }
    )


# What a row of a table is, for the state before a change.
_THINGS: Mapping[Table, Callable[[Row], Thing]] = {
    tables.accounts: _account,
    tables.workspaces: _workspace,
    tables.inputs: _input,
    tables.audiences: _audience,
    tables.ab_tests: _ab_test,
}
