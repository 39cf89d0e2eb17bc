"""The gRPC ways in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from muster.ingest.v1 import event_pb2, event_type_pb2, identity_pb2
from muster.ingest.v1 import ingest_service_pb2 as pb
from muster.ingest.v1.ingest_service_pb2_grpc import IdentityServiceStub, IngestServiceStub, PrivacyServiceStub

from services.chassis.bus import Bus
from services.chassis.errors import from_rpc_error
from tests.ingest.conftest import ACCOUNT, INPUT, Serve, Service, batch, custom, now_ms, read_stream, token_for

CUSTOMER, EMAIL, IDFV = identity_pb2.IDENTITY_TYPE_CUSTOMER_ID, identity_pb2.IDENTITY_TYPE_EMAIL, identity_pb2.IDENTITY_TYPE_IOS_VENDOR_ID


@pytest.fixture
async def channel(service: Service) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(service.grpc_address) as channel:
        yield channel


def identity(type_: Any, value: str) -> identity_pb2.Identity:
    return identity_pb2.Identity(type=type_, value=value)


def proto_batch(customer: str, *names: str, **fields: Any) -> event_pb2.Batch:
    events = [event_pb2.Event(type=event_type_pb2.EVENT_TYPE_CUSTOM, name=name) for name in names]
    named = [identity(CUSTOMER, customer)] if customer else []
    return event_pb2.Batch(environment=event_pb2.ENVIRONMENT_PRODUCTION, identities=named, events=events, **fields)


async def ingest(channel: grpc.aio.Channel, *batches: event_pb2.Batch, input_id: int = INPUT, account_id: int = ACCOUNT) -> Any:
    request = pb.IngestBatchesRequest(input_id=input_id, batches=batches)
    return await IngestServiceStub(channel).IngestBatches(request, metadata=token_for(account_id))


async def test_batches_of_both_ways_in_are_of_the_same_people_and_count_once(service: Service, channel: grpc.aio.Channel, bus: Bus) -> None:
    assert (await service.events(batch("c-1", custom("http"), source_request_id="r-1"))).status_code == 202
    answer = await ingest(channel, proto_batch("c-1", "grpc"), proto_batch("c-1", "again", source_request_id="r-1"))
    assert (answer.accepted_batches, answer.accepted_events, list(answer.faults)) == (2, 2, [])
    told = await read_stream(bus)
    assert told.names == ["grpc", "http"]
    assert len({event.mpid for event in told.events}) == 1


async def test_all_that_a_batch_can_say_arrives(channel: grpc.aio.Channel, bus: Bus) -> None:
    at = now_ms() - 1000
    sent = event_pb2.Batch(
        environment=event_pb2.ENVIRONMENT_DEVELOPMENT,
        mpid=-5,
        identities=[identity(EMAIL, " A@b.C"), identity(IDFV, "00000000-0000-0000-0000-000000000000")],
        deleted_user_attributes=["old"],
        device=event_pb2.Device(platform="Android", os_version="14", model="phone"),
        application=event_pb2.Application(version="1.2", build="3"),
        time_ms=at,
        consents=[event_pb2.Consent(regulation="gdpr", purpose="news", consented=True)],
        attribution=event_pb2.Attribution(publisher="P"),
    )
    sent.user_attributes["credit"].number_value = "19.90"
    sent.user_attributes["tags"].list_value.values.extend(["a", "b"])
    product = event_pb2.Product(id="sku", price="19.90")
    product.attributes["size"].number_value = "43"
    purchase = event_pb2.Event(
        type=event_type_pb2.EVENT_TYPE_COMMERCE,
        name="purchase",
        source_message_id="m-1",
        products=[product],
        total_amount="39.80",
        currency_code="EUR",
        transaction_id="t",
        location=event_pb2.Location(latitude=1, longitude=2),
    )
    purchase.attributes["gift"].boolean_value = True
    sent.events.append(purchase)
    assert (await ingest(channel, sent)).accepted_events == 1
    told = await read_stream(bus)
    (event,) = told.events
    assert (event.mpid, event.name, event.time_ms, event.platform) == (-5, "purchase", at, "Android")
    assert event.details == {
        "attributes": {"gift": True},
        "products": [{"id": "sku", "price": "19.90", "attributes": {"size": 43}}],
        "total_amount": "39.80",
        "currency_code": "EUR",
        "transaction_id": "t",
        "location": {"latitude": "1.0", "longitude": "2.0"},
    }
    (change,) = told.changes
    assert [one.value for one in change.added_identities] == ["a@b.c"]
    assert change.set_attributes["credit"].number_value == "19.90"
    assert list(change.set_attributes["tags"].list_value.values) == ["a", "b"]
    assert (change.time_ms, list(change.removed_attributes), change.attribution.publisher) == (at, ["old"], "P")
    assert (change.consents[0].regulation, change.consents[0].time_ms) == ("gdpr", at)


async def test_bad_batches_are_named_and_the_good_ones_of_the_call_are_kept(channel: grpc.aio.Channel, bus: Bus) -> None:
    wrong = proto_batch("c-1", "", "a\0b", time_ms=-1)
    wrong.user_attributes["n"].number_value = "twelve"
    wrong.user_attributes["none"].SetInParent()
    wrong.events[1].total_amount = "1e999999999"
    large = proto_batch("c-1", *["x" * 1000] * 150)
    no_type = proto_batch("")
    no_type.identities.append(identity(IDFV, "0-0"))
    unknown = proto_batch("c-1")
    unknown.environment = event_pb2.ENVIRONMENT_UNSPECIFIED
    answer = await ingest(channel, proto_batch("c-1", "before"), wrong, large, no_type, unknown, proto_batch("c-2", "after"))
    assert (answer.accepted_batches, answer.accepted_events) == (2, 2)
    assert sorted((fault.field, fault.reason) for fault in answer.faults) == [
        ("batches[1].events[0].name", "MISSING"),
        ("batches[1].events[1].name", "BAD_CHARACTER"),
        ("batches[1].events[1].total_amount", "NOT_A_NUMBER"),
        ("batches[1].time_ms", "TIME_OUT_OF_RANGE"),
        ("batches[1].user_attributes.n", "NOT_A_NUMBER"),
        ("batches[1].user_attributes.none", "MISSING"),
        ("batches[2]", "TOO_LARGE"),
        ("batches[3].identities", "NO_IDENTITY"),
        ("batches[4].environment", "MISSING"),
    ]
    assert (await read_stream(bus)).names == ["after", "before"]


async def test_what_breaks_the_contract_is_an_invalid_argument_with_its_place(channel: grpc.aio.Channel) -> None:
    unknown = proto_batch("c-1")
    unknown.events.add(type=999)  # what a newer client might send
    for batches, field in (([unknown], "batches[0].events[0].type"), ([proto_batch("c")] * 101, "batches"), ([], "batches")):
        with pytest.raises(grpc.aio.AioRpcError) as told:
            await ingest(channel, *batches)
        failure = from_rpc_error(told.value)
        assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
        assert failure.violations[0].field == field


async def test_an_input_of_another_account_is_not_there(channel: grpc.aio.Channel) -> None:
    for input_id, account_id in ((INPUT, 2), (999, ACCOUNT)):
        with pytest.raises(grpc.aio.AioRpcError) as told:
            await ingest(channel, proto_batch("c-1", "x"), input_id=input_id, account_id=account_id)
        assert (told.value.code(), from_rpc_error(told.value).reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_INPUT")


async def test_without_a_token_nothing_is_answered(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as told:
        await IngestServiceStub(channel).IngestBatches(pb.IngestBatchesRequest(input_id=INPUT, batches=[proto_batch("c")]))
    assert told.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_stream_is_acknowledged_request_by_request_in_order(channel: grpc.aio.Channel, bus: Bus) -> None:
    async def requests() -> AsyncIterator[pb.StreamBatchesRequest]:
        for number in range(100):
            sent = [proto_batch(f"c-{number}", f"{number:03}")]
            if number == 50:
                sent.append(proto_batch("", "nobody"))
            yield pb.StreamBatchesRequest(input_id=INPUT, batches=sent)

    answers = [answer async for answer in IngestServiceStub(channel).StreamBatches(requests(), metadata=token_for())]
    assert [answer.acknowledged_requests for answer in answers] == list(range(1, 101))
    assert [answer.accepted_events for answer in answers] == list(range(1, 101))
    faults = {answer.acknowledged_requests: [fault.field for fault in answer.faults] for answer in answers if answer.faults}
    assert faults == {51: ["batches[1].identities"]}
    assert (await read_stream(bus)).names == [f"{number:03}" for number in range(100)]


async def test_a_stream_waits_where_a_call_would_be_refused_for_a_full_queue(serve: Serve, bus: Bus) -> None:
    async def requests() -> AsyncIterator[pb.StreamBatchesRequest]:
        for number in range(60):
            yield pb.StreamBatchesRequest(input_id=INPUT, batches=[proto_batch(f"c-{number}", f"{number:02}", "x", "y")])

    async with serve(queue_events=8, round_events=4) as service, grpc.aio.insecure_channel(service.grpc_address) as channel:
        answers = [answer async for answer in IngestServiceStub(channel).StreamBatches(requests(), metadata=token_for())]
    assert answers[-1].accepted_events == 180
    assert len((await read_stream(bus)).events) == 180


async def test_a_stream_that_fails_has_acknowledged_what_came_before(channel: grpc.aio.Channel, bus: Bus) -> None:
    async def requests() -> AsyncIterator[pb.StreamBatchesRequest]:
        for number in range(5):
            yield pb.StreamBatchesRequest(input_id=INPUT, batches=[proto_batch("c-1", str(number))])
        yield pb.StreamBatchesRequest(input_id=999, batches=[proto_batch("c-1", "never")])

    acknowledged = 0
    with pytest.raises(grpc.aio.AioRpcError) as told:
        async for answer in IngestServiceStub(channel).StreamBatches(requests(), metadata=token_for()):
            acknowledged = answer.acknowledged_requests
    assert told.value.code() is grpc.StatusCode.NOT_FOUND
    assert acknowledged == 5
    assert (await read_stream(bus)).names == ["0", "1", "2", "3", "4"]


async def test_who_is_who_can_be_looked_up_within_the_account(channel: grpc.aio.Channel, bus: Bus) -> None:
    many = 2_500
    for start in range(0, many, 100):
        await ingest(channel, *[proto_batch(f"c-{number}") for number in range(start, start + 100)])
    named = proto_batch("c-0")
    named.identities.extend([identity(EMAIL, "A@b.c"), identity(IDFV, "v")])
    await ingest(channel, named)
    found = await IdentityServiceStub(channel).FindProfiles(
        pb.FindProfilesRequest(identities=[identity(EMAIL, "a@B.c "), identity(CUSTOMER, "c-0"), identity(CUSTOMER, "nobody")]),
        metadata=token_for(),
    )
    assert [profile.identity.value for profile in found.profiles] == ["a@B.c ", "c-0"]
    (mpid,) = {profile.mpid for profile in found.profiles}
    mpids = sorted({change.mpid for change in (await read_stream(bus)).changes})
    assert len(mpids) == many

    async def look_up(account_id: int = ACCOUNT, **fields: Any) -> dict[int, list[tuple[int, str]]]:
        request = pb.LookUpIdentitiesRequest(**fields)
        answers = IdentityServiceStub(channel).LookUpIdentities(request, metadata=token_for(account_id))
        return {
            profile.mpid: sorted((one.type, one.value) for one in profile.identities)
            async for answer in answers
            for profile in answer.profiles
        }

    everyone = await look_up(mpids=[*mpids, 12345])
    assert sorted(everyone) == mpids
    assert everyone[mpid] == [(CUSTOMER, "c-0"), (EMAIL, "a@b.c"), (IDFV, "v")]
    assert await look_up(mpids=mpids, types=[EMAIL]) == {mpid: [(EMAIL, "a@b.c")]}
    assert await look_up(account_id=2, mpids=mpids) == {}


async def test_an_export_is_refused_while_a_service_that_holds_a_part_of_it_is_away(channel: grpc.aio.Channel) -> None:
    stub = PrivacyServiceStub(channel)
    for mpid, code in ((1, grpc.StatusCode.UNAVAILABLE), (0, grpc.StatusCode.INVALID_ARGUMENT)):
        with pytest.raises(grpc.aio.AioRpcError) as told:
            async for _ in stub.ExportProfile(pb.ExportProfileRequest(mpid=mpid), metadata=token_for()):
                pass
        assert told.value.code() is code
