"""The stores, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select

from services.chassis.database import Database
from services.chassis.migrations import difference
from services.forwarder.connectors.base import Purpose, Refusal
from services.forwarder.delivery import new_delivery
from services.forwarder.domain.connections import Connection, Fault, State, faulted
from services.forwarder.domain.faults import Cause
from services.forwarder.domain.identities import Presented
from services.forwarder.domain.reconcile import Action, Change
from services.forwarder.stores.members import ACTIVE, Audience, Following
from services.forwarder.stores.store import Store
from services.forwarder.tables import ledger, metadata

# A statement that joins what it should not is only a warning to the library.
pytestmark = pytest.mark.filterwarnings("error::sqlalchemy.exc.SAWarning")

ACCOUNT, AUDIENCE = 7, 456
KEY = (ACCOUNT, AUDIENCE)
EMAIL = (Presented(8, "raw", "a@example.com"),)
FAR = 2**63 - 1


async def configure(store: Store, account: int = ACCOUNT, key: str | None = None) -> int:
    made = await store.write(
        lambda tx: tx.configurations.insert(
            account,
            integration_key="webhook",
            name="hook",
            settings={"url": "https://example.com"},
            secrets={"secret": "sixteen letters."},
            now_ms=1,
            idempotency_key=key,
        )
    )
    assert made is not None
    return made.id


async def connect(store: Store, audience: int = AUDIENCE, account: int = ACCOUNT, configuration: int | None = None) -> Connection:
    configuration = configuration or await configure(store, account)
    await store.write(lambda tx: tx.audiences.save(Audience(account, audience, "Fans", "", ACTIVE, 1)))
    made = await store.write(lambda tx: insert(tx, account, audience, configuration))
    assert made is not None
    return made


async def insert(tx: Any, account: int, audience: int, configuration: int, key: str | None = None) -> Connection | None:
    made: Connection | None = await tx.connections.insert(
        account, audience_id=audience, variation="", configuration_id=configuration, settings={}, now_ms=1, idempotency_key=key
    )
    return made


async def waiting(store: Store, connection: Connection, limit: int = 100) -> list[int]:
    async with store.read() as tx:
        return [one.mpid for one in await tx.deliveries.waiting(connection, limit)]


async def test_the_migrations_make_the_tables_that_the_code_means(store: Store, database: Database) -> None:
    assert await difference(database, metadata) == []


async def test_members_are_numbers_of_64_bits_and_adding_or_dropping_twice_changes_nothing(store: Store) -> None:
    people = [1, -1, FAR, -FAR - 1]

    async def twice(tx: Any) -> list[int]:
        for _ in range(2):
            await tx.members.add(KEY, people)
        for _ in range(2):
            await tx.members.drop(KEY, [1, 5])
        found: list[int] = (await tx.members.all(KEY)).tolist()
        return sorted(found)

    assert await store.write(twice) == [-FAR - 1, -1, FAR]


async def test_a_long_list_of_people_is_one_statement(store: Store) -> None:
    people = list(range(1, 70_001))

    async def work(tx: Any) -> int:
        await tx.members.add(KEY, people)
        await tx.members.drop(KEY, people[1:])
        return len(await tx.members.all(KEY))

    assert await store.write(work) == 1


async def test_people_are_marked_for_every_connection_of_their_audience_and_no_other(store: Store) -> None:
    first, second = await connect(store), await connect(store)
    other, foreign = await connect(store, audience=9), await connect(store, account=8)
    gone = await connect(store)
    await store.write(lambda tx: tx.connections.save(_with_state(gone, State.DELETED)))
    await store.write(lambda tx: tx.members.mark(KEY, [1, 2, 2], since_ms=5))
    assert await waiting(store, first) == await waiting(store, second) == [1, 2]
    assert await waiting(store, other) == await waiting(store, foreign) == await waiting(store, gone) == []


async def test_marking_everybody_all_and_members_reaches_whom_it_says(store: Store) -> None:
    connection, other = await connect(store), await connect(store, audience=9)

    async def begin(tx: Any) -> None:
        await tx.members.add(KEY, [1, 2])
        await tx.members.add((8, AUDIENCE), [3])
        await tx.members.add((ACCOUNT, 9), [2, 4])
        await tx.deliveries.accept(connection, [Change(5, Action.ADD, EMAIL)], [], now_ms=1)

    await store.write(begin)
    assert await store.write(lambda tx: tx.members.mark_members(ACCOUNT, [2, 3, 99], since_ms=1)) == {connection.id, other.id}
    assert await waiting(store, connection) == await waiting(store, other) == [2]
    await store.write(lambda tx: tx.members.mark_everybody(KEY, since_ms=1))
    assert await waiting(store, connection) == [1, 2]
    # Somebody whom the partner has, and who is no member, is looked at as well.
    await store.write(lambda tx: tx.members.mark_all(connection.id, KEY, since_ms=1))
    assert await waiting(store, connection) == [1, 2, 5]
    await store.write(lambda tx: tx.members.mark_one(other.id, [7, 7], since_ms=1))
    assert await waiting(store, other) == [2, 7]


async def test_who_waited_longest_comes_first_also_when_marked_again(store: Store) -> None:
    connection = await connect(store)
    for mpid, since in ((3, 10), (1, 30), (2, 20), (3, 40)):
        await store.write(lambda tx, mpid=mpid, since=since: tx.members.mark(KEY, [mpid], since_ms=since))  # type: ignore[misc]  # of this turn
    assert await waiting(store, connection, limit=2) == [3, 2]


async def test_a_person_who_was_marked_again_meanwhile_goes_on_waiting(store: Store) -> None:
    connection = await connect(store)
    await store.write(lambda tx: tx.members.mark(KEY, [1, 2], since_ms=1))
    async with store.read() as tx:
        read = await tx.deliveries.waiting(connection, 10)
    await store.write(lambda tx: tx.members.mark(KEY, [2], since_ms=2))
    await store.write(lambda tx: tx.deliveries.settle(connection.id, read))
    assert await waiting(store, connection) == [2]


async def test_entering_what_the_partner_accepted_again_changes_nothing(store: Store, database: Database) -> None:
    connection = await connect(store)
    changes = [Change(1, Action.ADD, EMAIL), Change(2, Action.ADD, EMAIL)]
    delivery = await store.write(lambda tx: tx.deliveries.write(_delivery(connection, changes), account_id=ACCOUNT))

    async def finish(tx: Any) -> bool:
        done: bool = await tx.deliveries.finish(delivery, "accepted", tries=1, message="", now_ms=2)
        if done:
            await tx.deliveries.accept(connection, delivery.changes, [], now_ms=2)
        return done

    assert await store.write(finish)
    assert not await store.write(finish)
    async with database.read() as sql:
        assert await sql.scalar(select(func.count()).select_from(ledger)) == 2
    assert (await _again(store, connection)).delivered_members == 2


async def test_the_ledger_holds_what_was_taken_and_a_refusal_stays_until_its_person_is_taken(store: Store) -> None:
    connection = await connect(store)
    changes = [Change(1, Action.ADD, EMAIL), Change(2, Action.ADD, EMAIL)]
    await store.write(lambda tx: tx.members.mark(KEY, [1, 2], since_ms=1))
    await store.write(lambda tx: tx.deliveries.accept(connection, changes, [Refusal(2, "no"), Refusal(2, "really")], now_ms=3))
    assert (await _again(store, connection)).delivered_members == 1
    async with store.read() as tx:
        assert [(one.mpid, one.reason) for one in await tx.deliveries.list_rejected(connection.id, after=None, limit=9)] == [(2, "really")]
        assert await tx.connections.rejected_counts([connection.id]) == {connection.id: 1}
    await store.write(lambda tx: tx.deliveries.accept(connection, changes[1:], [], now_ms=4))
    await store.write(lambda tx: tx.deliveries.accept(connection, [Change(1, Action.DELETE, EMAIL)], [], now_ms=5))
    after = await _again(store, connection)
    assert (after.delivered_members, after.last_delivery_time_ms) == (1, 5)
    async with store.read() as tx:
        assert await tx.deliveries.list_rejected(connection.id, after=None, limit=9) == []


async def test_refusals_are_taken_by_name_or_all_together(store: Store) -> None:
    connection = await connect(store)
    refusals = [Refusal(mpid, "no") for mpid in range(1, 5)]
    await store.write(
        lambda tx: tx.deliveries.accept(connection, [Change(one.mpid, Action.ADD, EMAIL) for one in refusals], refusals, now_ms=1)
    )
    assert sorted(await store.write(lambda tx: tx.deliveries.take_rejected(connection.id, [1, 99]))) == [1]
    assert sorted(await store.write(lambda tx: tx.deliveries.take_rejected(connection.id, []))) == [2, 3, 4]


async def test_a_delivery_comes_back_as_it_was_written_and_is_forgotten_with_its_content_when_finished(store: Store) -> None:
    connection = await connect(store)
    changes = [Change(FAR, Action.ADD, (Presented(8, "raw", 'a"\\é\u2028'),), mark=2**62, since_ms=9), Change(-1, Action.DELETE, EMAIL)]
    written = await store.write(lambda tx: tx.deliveries.write(_delivery(connection, changes), account_id=ACCOUNT))
    async with store.read() as tx:
        assert await tx.deliveries.pending(connection.id) == written
    await store.write(lambda tx: tx.deliveries.finish(written, "failed", tries=2, message="no", now_ms=100))  # type: ignore[arg-type]  # its text
    async with store.read() as tx:
        assert await tx.deliveries.pending(connection.id) is None
        record = (await tx.deliveries.page(ACCOUNT, connection.id, before=None, limit=9))[0]
        assert await tx.deliveries.page(8, connection.id, before=None, limit=9) == []
    assert (record.adds, record.drops, record.tries, record.message, record.finish_time_ms) == (1, 1, 2, "no", 100)
    assert await store.write(lambda tx: tx.deliveries.forget(finished_before_ms=100)) == 0
    assert await store.write(lambda tx: tx.deliveries.forget(finished_before_ms=101)) == 1


async def test_an_audience_is_connected_to_a_configuration_once(store: Store) -> None:
    configuration = await configure(store)
    first = await connect(store, configuration=configuration)
    assert await store.write(lambda tx: insert(tx, ACCOUNT, AUDIENCE, configuration)) is None
    await store.write(lambda tx: tx.connections.save(_with_state(first, State.DELETED)))
    assert await store.write(lambda tx: insert(tx, ACCOUNT, AUDIENCE, configuration)) is not None


async def test_a_lease_is_one_processs_until_it_ends_or_is_given_up(store: Store) -> None:
    connection = await connect(store)

    async def claim(owner: str, now_ms: int) -> bool:
        return await store.write(lambda tx: tx.connections.claim(connection.id, owner, now_ms=now_ms, lease_ms=100))

    assert await claim("one", 0)
    assert not await claim("two", 50)
    assert await claim("one", 60)
    assert not await claim("two", 160)
    assert await claim("two", 161)
    await store.write(lambda tx: tx.connections.release("two"))
    assert await claim("one", 162)


async def test_of_many_claims_at_once_one_wins(store: Store) -> None:
    connection = await connect(store)
    claims = [
        store.write(lambda tx, n=n: tx.connections.claim(connection.id, f"process {n}", now_ms=0, lease_ms=100))  # type: ignore[misc]  # of this turn
        for n in range(5)
    ]
    assert sum(await asyncio.gather(*claims)) == 1


async def test_connections_with_work_are_those_that_send_and_have_something_to_send(store: Store) -> None:
    new, idle, busy, paused, ended = [await connect(store, audience=number) for number in range(1, 6)]

    async def begin(tx: Any) -> list[int]:
        for one in (idle, busy, paused):
            await tx.deliveries.subscribed(one.id, {"list": "42"})
        for number in (3, 4):
            await tx.members.mark((ACCOUNT, number), [1], since_ms=1)
        await tx.connections.save(faulted(await tx.connections.get(ACCOUNT, paused.id), Fault(Cause.LIST_GONE, "404", 1, 1)))
        await tx.connections.save(_with_state(ended, State.DELETED))
        closing = new_delivery(ended, Purpose.UNSUBSCRIBE, (), audience_name="Fans", now_ms=1)
        await tx.deliveries.write(closing, account_id=ACCOUNT)
        found: list[int] = await tx.connections.with_work()
        return found

    assert sorted(await store.write(begin)) == [new.id, busy.id, ended.id]


async def test_secrets_of_a_deleted_configuration_are_forgotten_once_nothing_is_sent_for_it(store: Store) -> None:
    id = await configure(store, key="k")
    connection = await connect(store, configuration=id)
    closing = await store.write(
        lambda tx: tx.deliveries.write(new_delivery(connection, Purpose.UNSUBSCRIBE, (), audience_name="", now_ms=1), account_id=ACCOUNT)
    )

    async def delete(tx: Any) -> None:
        await tx.configurations.delete(await tx.configurations.get(ACCOUNT, id), now_ms=5)
        await tx.configurations.forget_secrets()

    async def secrets() -> dict[str, str]:
        async with store.read() as tx:
            found = await tx.configurations.of_key(ACCOUNT, "k")
        assert found is not None
        return found.secrets

    await store.write(delete)
    assert await secrets()
    await store.write(lambda tx: tx.deliveries.finish(closing, "accepted", tries=1, message="", now_ms=6))  # type: ignore[arg-type]  # its text
    await store.write(lambda tx: tx.configurations.forget_secrets())
    assert await secrets() == {}


async def test_an_audience_keeps_being_followed_when_its_definition_changes(store: Store) -> None:
    await store.write(lambda tx: tx.audiences.save(Audience(ACCOUNT, AUDIENCE, "Fans", "", ACTIVE, 1)))
    await store.write(lambda tx: tx.audiences.follow(KEY, Following.LIVE))
    await store.write(lambda tx: tx.audiences.save(Audience(ACCOUNT, AUDIENCE, "Fans", "Outside", "inactive", 2)))
    async with store.read() as tx:
        found = await tx.audiences.get(KEY)
        assert await tx.audiences.get((8, AUDIENCE)) is None
    assert found is not None
    assert (found.following, found.external_name, found.version) == (Following.LIVE, "Outside", 2)


def _delivery(connection: Connection, changes: list[Change]) -> Any:
    return new_delivery(connection, Purpose.CHANGES, changes, audience_name="Fans", now_ms=1)


def _with_state(connection: Connection, state: State) -> Connection:
    return replace(connection, state=state)


async def _again(store: Store, connection: Connection) -> Connection:
    async with store.read() as tx:
        found = await tx.connections.get(connection.account_id, connection.id)
    assert found is not None
    return found
