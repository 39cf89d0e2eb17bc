"""Erasures: somebody is gone from ingest at once, also from dead letters, and the receipts of the others end it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from muster.ingest.v1 import facts_pb2, identity_pb2
from muster.ingest.v1 import ingest_service_pb2 as pb
from muster.ingest.v1 import ingest_service_pb2_grpc as pb_grpc

from services.chassis.bus import Bus
from services.chassis.dead_letters import DeadLetters, bury
from services.chassis.pull import Message
from services.chassis.streams import DEADLETTERS, ERASURES, EVENTS, account_subject
from tests.fakes.waiting import eventually
from tests.ingest.conftest import ACCOUNT, Serve, Service, read_stream, token_for
from tests.ingest.test_merges import CUSTOMER, about, database, identities, mpids_of

RUNNING, FINISHED = pb.ERASURE_STATE_RUNNING, pb.ERASURE_STATE_FINISHED

__all__ = ["database"]


class Privacy:
    """The PrivacyService, asked for an account."""

    def __init__(self, channel: grpc.aio.Channel, account_id: int) -> None:
        self._stub = pb_grpc.PrivacyServiceStub(channel)
        self._token = token_for(account_id)

    async def erase(self, **subject: Any) -> pb.Erasure:
        answer: pb.Erasure = await self._stub.CreateErasure(pb.CreateErasureRequest(**subject), metadata=self._token)
        return answer

    async def get(self, erasure_id: int) -> pb.Erasure:
        answer: pb.Erasure = await self._stub.GetErasure(pb.GetErasureRequest(erasure_id=erasure_id), metadata=self._token)
        return answer

    async def latest(self, **page: Any) -> pb.ListErasuresResponse:
        answer: pb.ListErasuresResponse = await self._stub.ListErasures(pb.ListErasuresRequest(**page), metadata=self._token)
        return answer

    async def receipt_of(self, service: str, erasure_id: int) -> pb.Erasure:
        found = pb.Erasure()

        async def there() -> bool:
            nonlocal found
            found = await self.get(erasure_id)
            return service in [receipt.service for receipt in found.receipts]

        await eventually(there)
        return found


@asynccontextmanager
async def privacy(service: Service, account_id: int = ACCOUNT) -> AsyncIterator[Privacy]:
    async with grpc.aio.insecure_channel(service.grpc_address) as channel:
        yield Privacy(channel, account_id)


async def say_done(bus: Bus, mpid: int, service: str, account_id: int = ACCOUNT) -> None:
    done = facts_pb2.ErasureDone(account_id=account_id, mpid=mpid, service=service, removed=3, time_ms=1, places=["events"])
    await bus.publish(account_subject(ERASURES, account_id), done.SerializeToString(), message_id=f"{service}.{account_id}.{mpid}")


async def test_somebody_is_erased_with_who_was_one_with_them(serve: Serve, bus: Bus, database: dict[str, str]) -> None:
    async with serve(**database) as service, privacy(service) as rights, identities(service) as people:
        for sent in (about("a", customer="c", email="c@x.y"), about("b", device="d"), about("c", customer="c", device="d")):
            assert (await service.events(sent)).status_code == 202
        mpids = mpids_of(await read_stream(bus))
        erasure = await rights.erase(identity=identity_pb2.Identity(type=CUSTOMER, value="c"))
        assert (erasure.mpid, erasure.state) == (mpids["a"], RUNNING)
        assert await people.whose(CUSTOMER, "c") == 0
        assert await people.of(mpids["a"]) == []
        assert not (await people.merges()).merges
        erasure = await rights.receipt_of("ingest", erasure.erasure_id)
        assert [(one.service, one.removed, list(one.places)) for one in erasure.receipts] == [("ingest", 3, ["identities"])]
        assert list(erasure.waiting_for) == ["evaluator", "forwarder"]

        # The same person again is a new one.
        assert (await service.events(about("again", customer="c", device="d"))).status_code == 202
        told = await read_stream(bus)
        assert mpids_of(told)["again"] not in mpids.values()
        assert {change.mpid for change in told.changes if change.deleted} == set(mpids.values())

        for who in ("evaluator", "forwarder"):
            await say_done(bus, mpids["b"], who)
            await say_done(bus, mpids["a"], who, account_id=2)
        await say_done(bus, mpids["a"], "evaluator")
        assert list((await rights.receipt_of("evaluator", erasure.erasure_id)).waiting_for) == ["forwarder"]
        await say_done(bus, mpids["a"], "forwarder")
        finished = await rights.receipt_of("forwarder", erasure.erasure_id)
        assert (finished.state, list(finished.waiting_for)) == (FINISHED, [])
        assert finished.finish_time_ms >= finished.create_time_ms > 0
        assert list((await rights.latest()).erasures) == [finished]
        async with privacy(service, account_id=2) as strangers:
            assert not (await strangers.latest()).erasures
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await strangers.get(finished.erasure_id)
            assert refusal.value.code() is grpc.StatusCode.NOT_FOUND


async def test_who_is_not_there_can_be_erased_by_mpid_and_not_by_an_identity(serve: Serve, bus: Bus) -> None:
    async with serve() as service, privacy(service) as rights:
        first, second = [await rights.erase(mpid=mpid) for mpid in (-5, 6)]
        assert (first.mpid, second.mpid) == (-5, 6)
        page = await rights.latest(page_size=1)
        assert [one.mpid for one in page.erasures] == [6]
        assert [one.mpid for one in (await rights.latest(page_size=1, page_token=page.next_page_token)).erasures] == [-5]
        assert {change.mpid for change in (await read_stream(bus)).changes if change.deleted} == {-5, 6}
        for subject, code in (
            ({"identity": identity_pb2.Identity(type=CUSTOMER, value="nobody")}, grpc.StatusCode.NOT_FOUND),
            ({"identity": identity_pb2.Identity(type=CUSTOMER, value=" ")}, grpc.StatusCode.INVALID_ARGUMENT),
            ({"identity": identity_pb2.Identity(value="c")}, grpc.StatusCode.INVALID_ARGUMENT),
            ({"mpid": 0}, grpc.StatusCode.INVALID_ARGUMENT),
            ({}, grpc.StatusCode.INVALID_ARGUMENT),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await rights.erase(**subject)
            assert refusal.value.code() is code


async def test_nothing_is_left_in_dead_letters(serve: Serve, bus: Bus) -> None:
    async with serve() as service, privacy(service) as rights:
        sent = [about("secret", customer="c-1"), about("kept", customer="c-2")]
        assert (await service.bulk(sent)).status_code == 202
        told = await read_stream(bus)
        mpids = mpids_of(told)
        events = facts_pb2.EventBatch(account_id=ACCOUNT, mpids=[mpids["secret"], mpids["kept"]], times_ms=[1, 2], details=["{}", ""])
        changes = facts_pb2.ProfileChanges(account_id=ACCOUNT, changes=told.changes)
        other = facts_pb2.ProfileChanges(account_id=2, changes=told.changes)
        alone = facts_pb2.ProfileChanges(account_id=ACCOUNT, changes=[told.changes[0]])
        garbage = b"\xff" + mpids["secret"].to_bytes(8, "little", signed=True)
        for number, (kind, data) in enumerate(
            [
                ("events", events.SerializeToString()),
                ("profiles", changes.SerializeToString()),
                ("profiles", other.SerializeToString()),
                ("profiles", alone.SerializeToString()),
                ("events", garbage),
                ("events", b"\xff"),
            ]
        ):
            await bury(
                bus, "evaluator" if number % 2 else "forwarder", "test", _message(bus, f"muster.{kind}.0", number + 1, data), "broken"
            )
        erasure = await rights.erase(mpid=mpids["secret"])
        receipt = (await rights.receipt_of("ingest", erasure.erasure_id)).receipts[0]
        assert (receipt.removed, list(receipt.places)) == (1 + 4, ["identities", "dead letters"])
    letters = [letter for name in ("evaluator", "forwarder") for letter in await DeadLetters(bus, name).list()]
    assert all(letter.reason == "broken" for letter in letters)
    by_place = {letter.stream_sequence: letter for letter in letters}
    assert sorted(by_place) == [1, 2, 3, 6]
    left = facts_pb2.EventBatch.FromString(by_place[1].data)
    assert (list(left.mpids), list(left.times_ms), list(left.details)) == ([mpids["kept"]], [2], [""])
    assert {change.mpid for change in facts_pb2.ProfileChanges.FromString(by_place[2].data).changes} == {mpids["kept"]}
    assert by_place[3].data == other.SerializeToString()
    state = (await bus.jetstream.stream_info(DEADLETTERS)).state
    assert state.messages == 4


def _message(bus: Bus, subject: str, sequence: int, data: bytes) -> Message:
    return Message(subject, data, {}, EVENTS, sequence, 1, 0, 1, "", bus)


async def test_of_two_last_receipts_at_once_one_ends_the_erasure(serve: Serve, bus: Bus, postgres_url: str) -> None:
    async with serve(database_url=postgres_url) as one, serve(database_url=postgres_url) as other, privacy(one) as rights:
        for mpid in range(1, 13):
            erasure = await rights.erase(mpid=mpid)
            await rights.receipt_of("ingest", erasure.erasure_id)
            await asyncio.gather(say_done(bus, mpid, "evaluator"), say_done(bus, mpid, "forwarder"))
        assert other.url != one.url

        async def all_finished() -> bool:
            return {erasure.state for erasure in (await rights.latest()).erasures} == {FINISHED}

        await eventually(all_finished)
