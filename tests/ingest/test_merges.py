"""People who become one, and are parted again: the running service on both databases, and what it tells the others."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from muster.definition.v1 import account_pb2, facts_pb2
from muster.ingest.v1 import facts_pb2 as ingest_facts
from muster.ingest.v1 import identity_pb2
from muster.ingest.v1 import ingest_service_pb2 as pb
from muster.ingest.v1 import ingest_service_pb2_grpc as pb_grpc
from sqlalchemy.ext.asyncio import AsyncConnection

import services.ingest
from services.chassis.bus import Bus
from services.chassis.database import Database
from services.chassis.migrations import migrate
from services.chassis.streams import EVENTS, definitions_subject
from services.ingest.domain.identities import USUAL, key_of
from services.ingest.domain.model import Identity, IdentityType
from services.ingest.domain.resolution import Person
from services.ingest.resolver import Resolved, Resolver
from services.ingest.store import Store
from tests.ingest.conftest import ACCOUNT, INPUT, Serve, Service, Stream, batch, custom, read_stream, token_for

MIGRATIONS = Path(services.ingest.__path__[0]) / "migrations"
CUSTOMER, EMAIL, DEVICE = identity_pb2.IDENTITY_TYPE_CUSTOMER_ID, identity_pb2.IDENTITY_TYPE_EMAIL, identity_pb2.IDENTITY_TYPE_IOS_VENDOR_ID


def about(event: str, *, customer: str = "", email: str = "", device: str = "", **fields: Any) -> dict[str, Any]:
    """A batch with one event of somebody."""
    users = {key: value for key, value in (("customer_id", customer), ("email", email)) if value}
    return batch("", custom(event), **{"user_identities": users, "device_info": {"ios_idfv": device}, **fields})


@asynccontextmanager
async def identities(service: Service, account_id: int = ACCOUNT) -> AsyncIterator[Identities]:
    async with grpc.aio.insecure_channel(service.grpc_address) as channel:
        yield Identities(channel, account_id)


class Identities:
    """The IdentityService, asked for an account."""

    def __init__(self, channel: grpc.aio.Channel, account_id: int) -> None:
        self.stub = pb_grpc.IdentityServiceStub(channel)
        self._token = token_for(account_id)

    async def of(self, mpid: int) -> list[str]:
        answers = self.stub.LookUpIdentities(pb.LookUpIdentitiesRequest(mpids=[mpid]), metadata=self._token)
        return sorted([identity.value async for answer in answers for profile in answer.profiles for identity in profile.identities])

    async def whose(self, type_: identity_pb2.IdentityType.ValueType, value: str) -> int:
        request = pb.FindProfilesRequest(identities=[identity_pb2.Identity(type=type_, value=value)])
        found = (await self.stub.FindProfiles(request, metadata=self._token)).profiles
        return found[0].mpid if found else 0

    async def merges(self, mpid: int = 0, **page: Any) -> pb.ListMergesResponse:
        answer: pb.ListMergesResponse = await self.stub.ListMerges(pb.ListMergesRequest(mpid=mpid, **page), metadata=self._token)
        return answer

    async def undo(self, merge_id: int) -> pb.Merge:
        answer: pb.Merge = await self.stub.UndoMerge(pb.UndoMergeRequest(merge_id=merge_id), metadata=self._token)
        return answer


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> dict[str, str]:
    return {} if request.param == "sqlite" else {"database_url": request.getfixturevalue("postgres_url")}


def mpids_of(told: Stream) -> dict[str, int]:
    return {event.name: event.mpid for event in told.events}


async def test_who_used_the_app_unknown_becomes_the_customer_who_logs_in(serve: Serve, bus: Bus, database: dict[str, str]) -> None:
    async with serve(**database) as service, identities(service) as people:
        for sent in (
            about("bought", customer="c", email="c@x.y"),
            about("browsed", device="d"),
            about("logged in", customer="c", device="d"),
            about("browses", device="d"),
        ):
            assert (await service.events(sent)).status_code == 202
        told = await read_stream(bus)
        mpids = mpids_of(told)
        customer, unknown = mpids["bought"], mpids["browsed"]
        assert customer != unknown
        assert mpids["logged in"] == mpids["browses"] == customer
        assert await people.of(customer) == ["c", "c@x.y", "d"]
        assert await people.of(unknown) == []
        assert await people.whose(DEVICE, "d") == customer
        ends = [change for change in told.changes if change.merged_into]
        assert [(change.mpid, change.merged_into, change.workspace_id) for change in ends] == [(unknown, customer, 0)]
        # What a sender says later of the one who ended is said of the one who stays.
        assert (await service.events(about("later", mpid=unknown, customer="c"))).status_code == 202
        assert mpids_of(await read_stream(bus))["later"] == customer

        (record,) = (await people.merges()).merges
        assert (record.mpid, record.into_mpid, record.type, record.input_id) == (unknown, customer, DEVICE, INPUT)
        assert record.undo_time_ms == 0
        async with identities(service, account_id=2) as strangers:
            assert not (await strangers.merges()).merges
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await strangers.undo(record.merge_id)
            assert refusal.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_merge_is_told_after_what_was_said_of_who_ends_and_alone(serve: Serve, bus: Bus) -> None:
    async with serve() as service:
        sent = [
            about("one", customer="c"),
            about("two", device="d", user_attributes={"colour": "red"}),
            about("three", customer="c", device="d"),
        ]
        assert (await service.bulk(sent)).status_code == 202
    # One round: nobody else ever heard of the one who would have ended.
    told = await read_stream(bus)
    assert len({event.mpid for event in told.events} | {change.mpid for change in told.changes}) == 1
    assert not any(change.merged_into for change in told.changes)
    async with serve() as service:
        for one in (about("one", customer="k"), about("two", device="e")):
            assert (await service.events(one)).status_code == 202
        both = [about("four", device="e", user_attributes={"colour": "red"}), about("three", customer="k", device="e")]
        assert (await service.bulk(both)).status_code == 202
    messages = await _profile_messages(bus)
    (merging,) = [message for message in messages if any(change.merged_into for change in message.changes)]
    assert len(merging.changes) == 1
    # What the same round says of both is said of the one who stays.
    told = await read_stream(bus)
    assert mpids_of(told)["four"] == merging.changes[0].merged_into


async def test_two_are_parted_again(serve: Serve, bus: Bus, database: dict[str, str]) -> None:
    async with serve(**database) as service, identities(service) as people:
        for sent in (
            about("a", email="a@x.y"),
            about("b", device="b"),
            about("a b", email="a@x.y", device="b"),
            about("c", customer="c"),
            about("c a", customer="c", email="a@x.y", device="e"),
        ):
            assert (await service.events(sent)).status_code == 202
        mpids = mpids_of(await read_stream(bus))
        stays = mpids["c"]
        assert await people.of(stays) == ["a@x.y", "b", "c", "e"]
        (last, first), page = (await people.merges()).merges, await people.merges(page_size=1)
        assert (first.mpid, first.into_mpid) == (mpids["b"], mpids["a"])
        assert (last.mpid, last.into_mpid) == (mpids["a"], stays)
        assert list(page.merges) == [last]
        assert list((await people.merges(page_size=1, page_token=page.next_page_token)).merges) == [first]
        assert list((await people.merges(mpids["b"])).merges) == [first]

        # Who was one with the one who ended goes along.
        parted = await people.undo(last.merge_id)
        assert parted.undo_time_ms
        assert parted.new_mpid not in {0, *mpids.values()}
        assert await people.of(parted.new_mpid) == ["a@x.y", "b"]
        assert await people.of(stays) == ["c", "e"]
        told = await read_stream(bus)
        lost = [(change.mpid, identity.value) for change in told.changes for identity in change.removed_identities]
        assert sorted(lost) == [(stays, "a@x.y"), (stays, "b")]
        assert sorted(
            identity.value for change in told.changes if change.mpid == parted.new_mpid for identity in change.added_identities
        ) == [
            "a@x.y",
            "b",
        ]
        for sent in (about("with a", email="a@x.y"), about("with b", device="b"), about("with mpid", mpid=mpids["a"])):
            assert (await service.events(sent)).status_code == 202
        mpids = mpids_of(await read_stream(bus))
        assert {mpids["with a"], mpids["with b"], mpids["with mpid"]} == {parted.new_mpid}

        for merge_id, code in ((last.merge_id, grpc.StatusCode.FAILED_PRECONDITION), (99, grpc.StatusCode.NOT_FOUND)):
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await people.undo(merge_id)
            assert refusal.value.code() is code
        # The first of the two merges still can be.
        again = await people.undo(first.merge_id)
        assert await people.of(again.new_mpid) == ["b"]
        assert await people.of(parted.new_mpid) == ["a@x.y"]


async def test_all_devices_of_who_became_one_are_the_customers_at_once(serve: Serve, bus: Bus, database: dict[str, str]) -> None:
    async with serve(**database) as service:
        both = {"device_info": {"ios_idfv": "d"}, "mp_deviceid": "e"}
        for sent in (about("bought", customer="c"), batch("", custom("browsed"), user_identities={}, **both)):
            assert (await service.events(sent)).status_code == 202
        assert (await service.events(about("in", customer="c", device="d"))).status_code == 202
        assert (await service.events(batch("", custom("other"), user_identities={}, mp_deviceid="e"))).status_code == 202
        mpids = mpids_of(await read_stream(bus))
        assert mpids["other"] == mpids["in"] == mpids["bought"] != mpids["browsed"]


async def test_two_who_were_one_twice_are_parted_with_all_that_is_theirs(serve: Serve, bus: Bus) -> None:
    async with serve() as service, identities(service) as people:
        for sent in (about("b", email="e@x.y"), about("c", customer="c"), about("cb", customer="c", email="e@x.y")):
            assert (await service.events(sent)).status_code == 202
        first = await people.undo((await people.merges()).merges[0].merge_id)
        for sent in (about("n", email="e@x.y", device="f"), about("again", customer="c", email="e@x.y")):
            assert (await service.events(sent)).status_code == 202
        second = await people.undo((await people.merges()).merges[0].merge_id)
        assert (second.mpid, first.undo_time_ms > 0) == (first.new_mpid, True)
        assert await people.of(second.new_mpid) == ["e@x.y", "f"]
        assert await people.of(second.into_mpid) == ["c"]


async def test_of_two_processes_that_take_a_push_token_the_second_takes_it_from_the_first(postgres_url: str) -> None:
    database = Database(postgres_url)
    await database.start()
    await migrate(database, MIGRATIONS)
    store = Store(database)
    one, other = (Resolver(store, lambda _: USUAL, cache_size=100) for _ in range(2))
    token = Identity(IdentityType.PUSH_TOKEN, "token")

    async def taken(resolver: Resolver, customer: str, held: asyncio.Event | None = None, goes_on: asyncio.Event | None = None) -> Resolved:
        named = {key_of(ACCOUNT, one): one for one in (Identity(IdentityType.CUSTOMER_ID, customer), token)}
        person = Person(0, [one.type for one in named.values()], list(named))

        async def work(connection: AsyncConnection) -> Resolved:
            resolved = await resolver.resolve(connection, ACCOUNT, [person], named, [INPUT], now_ms=1)
            if held and goes_on:
                held.set()
                await goes_on.wait()
            return resolved

        resolved = await database.run_in_transaction(work)
        resolver.committed(resolved)
        return resolved

    ann = (await taken(one, "ann")).mpids[0]
    assert (await taken(other, "ann")).mpids == [ann]
    held, goes_on = asyncio.Event(), asyncio.Event()
    first = asyncio.create_task(taken(one, "bob", held, goes_on))
    await held.wait()
    second = asyncio.create_task(taken(other, "cat"))
    await asyncio.sleep(0.2)
    goes_on.set()
    bob, cat = await first, await second
    key = key_of(ACCOUNT, token)
    assert bob.decision.moved == {key: (ann, bob.mpids[0])}
    assert cat.decision.moved == {key: (bob.mpids[0], cat.mpids[0])}
    assert await store.find([key]) == {key: cat.mpids[0]}
    await database.stop()


async def test_an_account_has_rules_of_its_own(serve: Serve, bus: Bus) -> None:
    rule = account_pb2.IdentityRule
    account = account_pb2.Account(account_id=ACCOUNT, look_back_days=30)
    account.identity_rules.rules.extend([rule(type=EMAIL, max_values=1), rule(type=DEVICE, moves=True), rule(type=CUSTOMER)])
    fact = facts_pb2.DefinitionFact(account_id=ACCOUNT, version=2, account=account)
    await bus.publish(definitions_subject(ACCOUNT, "account", ACCOUNT), fact.SerializeToString(), message_id="account-2")
    async with serve() as service, identities(service) as people:
        for sent in (
            about("one", customer="1", email="a@x.y", device="d"),
            about("two", customer="2", email="b@x.y", device="d"),
            # The e-mail address is stronger here, and nobody has two.
            about("three", customer="1", email="b@x.y"),
            about("four", customer="1", email="c@x.y"),
        ):
            assert (await service.events(sent)).status_code == 202
        mpids = mpids_of(await read_stream(bus))
        assert mpids["three"] == mpids["two"] != mpids["one"]
        assert mpids["four"] not in (mpids["one"], mpids["two"])
        assert await people.of(mpids["two"]) == ["2", "b@x.y", "d"]
        assert await people.of(mpids["one"]) == ["1", "a@x.y"]


async def test_a_change_of_identities_takes_the_old_one_away(serve: Serve, bus: Bus, database: dict[str, str]) -> None:
    def change(old: str, new: str, message_id: str) -> dict[str, Any]:
        data = {name: {"identity_type": "email", "identity": value} for name, value in (("old", old), ("new", new))}
        return {"event_type": "user_identity_change", "data": {**data, "source_message_id": message_id}}

    async with serve(**database) as service, identities(service) as people:
        assert (await service.events(about("first", customer="c", email="old@x.y"))).status_code == 202
        mpid = mpids_of(await read_stream(bus))["first"]
        assert (await service.events(batch("c", change("old@x.y", "New@x.y", "1")))).status_code == 202
        assert await people.of(mpid) == ["c", "new@x.y"]
        assert (await service.events(batch("c", change("new@x.y", "newest@x.y", "2")))).status_code == 202
        # What is sent again takes nothing away again, nor does it bring anything back.
        assert (await service.events(batch("c", change("newest@x.y", "new@x.y", "1")))).status_code == 202
        assert await people.of(mpid) == ["c", "newest@x.y"]
        assert (await service.events(about("second", email="old@x.y"))).status_code == 202
        told = await read_stream(bus)
        assert mpids_of(told)["second"] != mpid
        assert [identity.value for one in told.changes for identity in one.removed_identities] == ["old@x.y", "new@x.y"]
        wrong = {"event_type": "user_identity_change", "data": {"new": {"identity_type": "email", "identity": {}}}}
        refused = await service.events(batch("c", wrong))
        assert [fault["place"] for fault in refused.json()["errors"]] == ["events[0].data.new.identity"]


@pytest.mark.parametrize("seed", [1, 2])
async def test_two_processes_agree_on_who_is_one(serve: Serve, bus: Bus, postgres_url: str, seed: int) -> None:
    drawn = random.Random(seed)
    people = 25
    parts = ["customer", "email", "device"]
    sent = []
    for number in range(people):
        for names in (["customer"], ["email"], ["device"], ["customer", "email"], ["customer", "device"]):
            sent.append(about("seen", **{name: f"{name}-{number}@x.y" for name in names}))
    drawn.shuffle(sent)
    async with serve(database_url=postgres_url) as one, serve(database_url=postgres_url) as other, identities(one) as known:
        for start in range(0, len(sent), 20):
            part = sent[start : start + 20]
            answers = await asyncio.gather(one.bulk(part[:10]), other.bulk(part[10:]), one.bulk(part[5:15]), other.bulk(part[:10]))
            assert {answer.status_code for answer in answers} == {202}
        whose = {
            (number, part): await known.whose(type_, f"{part}-{number}@x.y")
            for number in range(people)
            for part, type_ in zip(parts, (CUSTOMER, EMAIL, DEVICE), strict=True)
        }
        for number in range(people):
            assert len({whose[number, part] for part in parts}) == 1, number
        assert len(set(whose.values())) == people
        told = await read_stream(bus)
        ended = {change.mpid: change.merged_into for change in told.changes if change.merged_into}
        assert len(ended) == sum(bool(change.merged_into) for change in told.changes)
        records = (await known.merges(page_size=1000)).merges
        assert {record.mpid: record.into_mpid for record in records} == ended
        # Whoever was told of is, by what was told of merges, somebody who is there.
        for event in told.events:
            mpid = event.mpid
            for _ in range(len(ended) + 1):
                mpid = ended.get(mpid, mpid)
            assert mpid in set(whose.values())


async def _profile_messages(bus: Bus) -> list[Any]:
    state = (await bus.jetstream.stream_info(EVENTS)).state
    found = []
    for number in range(state.first_seq or 1, state.last_seq + 1):
        message = await bus.jetstream.get_msg(EVENTS, number)
        if str(message.subject).split(".")[1] == "profiles":
            found.append(ingest_facts.ProfileChanges.FromString(message.data or b""))
    return found
