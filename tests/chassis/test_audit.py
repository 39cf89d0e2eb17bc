"""The audit log: a chain that shows every alteration, and tables that refuse it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from services.chassis.audit import (
    APPEND_ONLY,
    GENESIS,
    PAGE_CHARACTERS,
    Audit,
    Change,
    Kept,
    Search,
    Verifier,
    audit_tables,
    canonical,
    hash_of,
)
from services.chassis.database import Database, new_metadata

_states = st.dictionaries(st.text(max_size=3), st.none() | st.integers() | st.text(max_size=3), max_size=3)


def chain(states: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """A right chain, as it is kept: text and hash of each entry."""
    found, last = list[tuple[str, str]](), GENESIS
    for number, state in enumerate(states, 1):
        entry = canonical({"number": number, "previous": last, "after": state})
        last = hash_of(entry)
        found.append((entry, last))
    return found


def verified(entries: list[tuple[str, str]]) -> Verifier:
    verifier = Verifier()
    for entry, said in entries:
        verifier.take(entry, said)
    return verifier


@given(st.lists(_states, max_size=6))
def test_a_chain_that_nobody_touched_holds(states: list[dict[str, Any]]) -> None:
    entries = chain(states)
    end = verified(entries)
    assert (end.number, end.fault, end.hash) == (len(entries), "", entries[-1][1] if entries else GENESIS)


@given(st.lists(_states, min_size=2, max_size=6), st.data())
def test_every_alteration_shows(states: list[dict[str, Any]], data: st.DataObject) -> None:
    entries = chain(states)
    at = data.draw(st.integers(0, len(entries) - 1))
    match data.draw(st.sampled_from(["left out", "moved", "altered", "altered with its hash", "text"])):
        case "left out":
            if at == len(entries) - 1:
                return  # that the end is missing, only its hash kept elsewhere tells
            del entries[at]
        case "moved":
            other = data.draw(st.integers(0, len(entries) - 1).filter(lambda one: one != at))
            entries[at], entries[other] = entries[other], entries[at]
        case "altered":
            entry = json.loads(entries[at][0]) | {"actor": "mallory"}
            entries[at] = canonical(entry), entries[at][1]
        case "altered with its hash":
            if at == len(entries) - 1:
                return
            forged = canonical(json.loads(entries[at][0]) | {"actor": "mallory"})
            entries[at] = forged, hash_of(forged)
        case _:
            entries[at] = f" {entries[at][0]}", hash_of(f" {entries[at][0]}")
    end = verified(entries)
    assert end.fault
    assert end.number <= at + 1


@pytest.fixture
async def audit(database: Database) -> Audit:
    """The log in tables of its own, on each kind of database."""
    metadata = new_metadata()
    heads, entries = audit_tables(metadata)
    async with database.transaction() as connection:
        await connection.run_sync(metadata.create_all)
        for statement in APPEND_ONLY[connection.dialect.name]:
            await connection.execute(text(statement))
    return Audit("test", heads, entries)


async def kept(database: Database, audit: Audit, account_id: int) -> list[Kept]:
    return [one async for page in audit.chain(database, account_id, after=0) for one in page]


async def test_entries_are_chained_by_account_and_searched(database: Database, audit: Audit) -> None:
    async with database.transaction() as connection:
        for number in range(1, 4):
            change = Change("audience", number % 2, None, {"name": f"a{number}"})
            await audit.write(connection, 1, [change, Change("input", 9, {"x": 1}, None)], now_ms=1_000 * number, actor="ann")
        await audit.write(connection, 2, [Change("audience", 1, None, {})], now_ms=5, actor="bob")
    for account_id, count in ((1, 6), (2, 1), (3, 0)):
        found = await kept(database, audit, account_id)
        end = verified([(one.entry, one.hash) for one in found])
        assert (end.number, end.fault) == (count, "")
        async with database.read() as connection:
            assert await audit.head(connection, account_id) == (count, end.hash)
    entry = json.loads((await kept(database, audit, 1))[0].entry)
    assert (entry["actor"], entry["service"], entry["kind"], entry["id"], entry["after"]) == ("ann", "test", "audience", 1, {"name": "a1"})
    assert entry["time"] == "1970-01-01T00:00:01.000+00:00"
    async with database.read() as connection:
        for search, numbers in (
            (Search(kind="audience"), [5, 3, 1]),
            (Search(kind="audience", thing_id=1), [5, 1]),
            (Search(actor="bob"), []),
            (Search(from_ms=2_000, to_ms=3_000), [4, 3]),
        ):
            found, more = await audit.page(connection, 1, search, before=99, limit=10)
            assert ([one.number for one in found], more) == (numbers, False)
        found, more = await audit.page(connection, 1, Search(), before=4, limit=2)
        assert ([one.number for one in found], more) == ([3, 2], True)


async def test_long_entries_come_in_pages_that_fit_and_no_reader_holds_a_connection(database: Database, audit: Audit) -> None:
    large = {"name": "x" * (PAGE_CHARACTERS // 3)}
    async with database.transaction() as connection:
        await audit.write(connection, 1, [Change("audience", number, None, large) for number in range(7)], now_ms=1)
    pages = audit.chain(database, 1, after=0)
    assert [one.number for one in await anext(pages)] == [1, 2]
    assert database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]  # of a pool that keeps connections
    assert [one.number async for page in pages for one in page] == [3, 4, 5, 6, 7]
    async with database.read() as connection:
        found, more = await audit.page(connection, 1, Search(), before=99, limit=50)
    assert ([one.number for one in found], more) == ([7, 6], True)


async def test_a_change_that_is_taken_back_leaves_no_entry(database: Database, audit: Audit) -> None:
    with pytest.raises(RuntimeError):
        async with database.transaction() as connection:
            await audit.write(connection, 1, [Change("audience", 1, None, {})], now_ms=1)
            raise RuntimeError
    assert await kept(database, audit, 1) == []
    async with database.transaction() as connection:
        await audit.write(connection, 1, [Change("audience", 1, None, {})], now_ms=1)
    assert [one.number for one in await kept(database, audit, 1)] == [1]


@pytest.mark.parametrize("statement", ["UPDATE audit_entries SET actor = 'x'", "DELETE FROM audit_entries"])
async def test_the_database_refuses_to_alter_entries(database: Database, audit: Audit, statement: str) -> None:
    async with database.transaction() as connection:
        await audit.write(connection, 1, [Change("audience", 1, None, {})], now_ms=1)
    with pytest.raises(DBAPIError, match="audit entries stay"):
        async with database.transaction() as connection:
            await connection.execute(text(statement))
