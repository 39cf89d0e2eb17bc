"""What an input sent lately, for whoever of its account looks on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from muster.ingest.v1 import ingest_service_pb2 as pb
from muster.ingest.v1 import live_pb2
from muster.ingest.v1.event_type_pb2 import EVENT_TYPE_CUSTOM, EVENT_TYPE_SCREEN_VIEW, EVENT_TYPE_UNSPECIFIED
from muster.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub
from structlog.testing import capture_logs

from services.chassis.bus import Bus
from services.chassis.errors import from_rpc_error
from services.ingest.domain.live import Live
from services.ingest.domain.model import Batch, Context, Event, EventType, Fault, Identity, IdentityType, Reason
from tests.ingest.conftest import ACCOUNT, INPUT, KEY, SECRET, Service, batch, custom, now_ms, token_for
from tests.ingest.test_grpc import ingest, proto_batch
from tests.ingest.test_table import request

NOW = 1_760_000_000_000
HOUR_MS = 3600 * 1000
ANN = Identity(IdentityType.CUSTOMER_ID, "ann")


def a_batch(*events: Event, identities: list[Identity] | None = None) -> Batch:
    return Batch("", 0, [ANN] if identities is None else identities, Context(), list(events), [], NOW)


def event(name: str = "E", at: int = NOW, details: str = "", type_: EventType = EventType.CUSTOM) -> Event:
    return Event(type_, name, at, "", details)


def test_all_is_counted_and_the_newest_are_kept() -> None:
    live = Live(NOW)
    live.accept([a_batch(event("A"), event("B", NOW + HOUR_MS + 1)), a_batch(event("Home", type_=EventType.SCREEN_VIEW)), a_batch()], NOW)
    live.refuse([Fault("x", "is missing", Reason.MISSING)], NOW + 1)
    live.turn_away("QUEUE_FULL", NOW + 2)
    assert (live.batches, live.events, live.ahead, live.last_ms) == (3, 3, 1, NOW + 2)
    assert live.types == {EventType.CUSTOM: 2, EventType.SCREEN_VIEW: 1}
    assert live.refusals == {"MISSING": 1, "QUEUE_FULL": 1}
    told = [getattr(getattr(one.what, "event", None), "name", None) for one in live.after(0)]
    assert told == ["A", "B", "Home", None, None]
    assert [one.number for one in live.after(0)] == [1, 2, 3, 4, 5]
    assert [one.number for one in live.after(4)] == [5]


def test_of_a_request_a_sample_is_kept_and_numbers_tell_how_much_is_missing() -> None:
    live = Live(NOW)
    live.accept([a_batch(*[event(f"E{n}") for n in range(15)]), a_batch(*[event(f"F{n}") for n in range(15)])], NOW)
    names = [one.what.event.name for one in live.after(0)]  # type: ignore[union-attr]  # they are events
    assert names == [f"E{n}" for n in range(10, 15)] + [f"F{n}" for n in range(15)]
    assert (next(one.number for one in live.after(0)), live.number) == (11, 30)
    for _ in range(10):
        live.refuse([Fault("", "x", Reason.MISSING)] * 30, NOW)
    assert (len(live.after(0)), live.number) == (100, 330)


def test_a_name_is_new_once_and_of_very_many_names_none_is() -> None:
    live = Live(NOW)
    live.accept([a_batch(event("A"))], NOW)
    live.accept([a_batch(event("A"), event("B"))], NOW + 1)
    assert [(one.what.event.name, one.what.new_name) for one in live.after(0)] == [("A", True), ("A", False), ("B", True)]  # type: ignore[union-attr]
    assert list(live.new_names) == [(EventType.CUSTOM, "A", NOW), (EventType.CUSTOM, "B", NOW + 1)]
    for start in range(0, 5000, 100):
        live.accept([a_batch(*[event(f"n{number}") for number in range(start, start + 100)])], NOW)
    assert len(live.new_names) == 50
    assert len(live._names) <= 1_000
    assert live.events == 5003


def test_what_is_kept_is_short() -> None:
    live = Live(NOW)
    identities = [Identity(IdentityType.OTHER, "x" * 4000 + str(number)) for number in range(50)]
    live.accept([a_batch(event(details="y" * 100_000), identities=identities)], NOW)
    (one,) = live.after(0)
    assert len(one.what.event.details) == 1000  # type: ignore[union-attr]
    assert [len(identity.value) for identity in one.what.identities] == [200] * 10  # type: ignore[union-attr]


@pytest.fixture
async def stub(service: Service) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(service.grpc_address) as channel:
        yield IngestServiceStub(channel)


async def until_shown(watching: Any, many: int) -> tuple[list[live_pb2.Received], int, live_pb2.InputStatistics]:
    """What is told until so many things were received, how many of them were missed, and the last statistics."""
    seen: list[live_pb2.Received] = []
    missed = 0
    async with asyncio.timeout(15):
        while True:
            answer = await watching.read()
            seen += answer.received
            missed += answer.missed
            if len(seen) + missed >= many:
                return seen, missed, answer.statistics


async def test_whoever_watches_sees_what_came_before_and_what_comes_by_every_way_in(service: Service, stub: Any, bus: Bus) -> None:
    assert (await service.events(batch("ann", custom("Before", custom_attributes={"n": 1})))).status_code == 202
    watching = stub.WatchInput(pb.WatchInputRequest(input_id=INPUT), metadata=token_for())
    seen, _, statistics = await until_shown(watching, 1)
    assert (seen[0].event.type, seen[0].event.name, seen[0].event.new_name) == (EVENT_TYPE_CUSTOM, "Before", True)
    assert json.loads(seen[0].event.details) == {"attributes": {"n": 1}}
    assert [(one.type, one.value) for one in seen[0].event.identities] == [(2, "ann")]
    assert abs(seen[0].receive_time_ms - now_ms()) < 60_000
    assert (statistics.input_id, statistics.accepted_events) == (INPUT, 1)
    identify = {"userId": "ann", "traits": {"plan": "gold"}}
    for path, body in (("page", {"userId": "ann", "name": "Home"}), ("identify", identify), ("track", {"event": "Nobody's"})):
        await service.http.post(f"/v1/{path}", content=json.dumps(body), auth=(KEY, SECRET))
    await service.bulk([batch("ann", custom("Bulk", timestamp_unixtime_ms=now_ms() + 2 * HOUR_MS)), {"events": 5}])
    async with grpc.aio.insecure_channel(service.grpc_address) as channel:
        await ingest(channel, proto_batch("ann", "By gRPC"), proto_batch("", "Nobody's"))
    seen, _, statistics = await until_shown(watching, 9)
    told = [one.event.name if one.HasField("event") else f"{one.fault.field} {one.fault.reason}" for one in seen]
    assert sorted(told) == sorted(
        [
            "Home",
            "",
            "userId NO_IDENTITY",
            "Bulk",
            "[1].environment MISSING",
            "[1].events WRONG_TYPE",
            "[1].user_identities NO_IDENTITY",
            "By gRPC",
            "batches[1].identities NO_IDENTITY",
        ]
    )
    assert {one.event.type for one in seen if one.HasField("event") and not one.event.name} == {EVENT_TYPE_UNSPECIFIED}
    statistics = await stub.GetInputStatistics(pb.GetInputStatisticsRequest(input_id=INPUT), metadata=token_for())
    assert (statistics.accepted_batches, statistics.accepted_events, statistics.ahead_events) == (5, 4, 1)
    assert {one.type: one.events for one in statistics.types} == {EVENT_TYPE_CUSTOM: 3, EVENT_TYPE_SCREEN_VIEW: 1}
    assert {one.reason: one.count for one in statistics.refusals} == {"NO_IDENTITY": 3, "MISSING": 1, "WRONG_TYPE": 1}
    assert [one.name for one in statistics.new_names] == ["By gRPC", "Bulk", "Home", "Before"]
    watching.cancel()


async def test_of_very_much_a_sample_is_shown_and_the_rest_is_counted(service: Service, stub: Any) -> None:
    watching = stub.WatchInput(pb.WatchInputRequest(input_id=INPUT), metadata=token_for())
    assert not (await watching.read()).received
    for answer in await asyncio.gather(*[service.events(batch("c", *[custom()] * 50)) for _ in range(20)]):
        assert answer.status_code == 202
    seen, missed, statistics = await until_shown(watching, 1000)
    assert len(seen) + missed == statistics.accepted_events == 1000
    assert 20 <= len(seen) <= 400
    watching.cancel()


async def test_another_account_sees_nothing(service: Service, stub: Any) -> None:
    assert (await service.events(batch("ann"))).status_code == 202
    for call in (
        stub.GetInputStatistics(pb.GetInputStatisticsRequest(input_id=INPUT), metadata=token_for(ACCOUNT + 1)),
        stub.WatchInput(pb.WatchInputRequest(input_id=INPUT), metadata=token_for(ACCOUNT + 1)).read(),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call
        told = from_rpc_error(error.value)
        assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_INPUT")


async def test_what_was_turned_away_is_counted_and_nothing_of_a_person_is_logged(service: Service, stub: Any, bus: Bus) -> None:
    with capture_logs() as lines:
        assert (await service.events(batch("ann-at-home", custom("Secret")))).status_code == 202
        await service.events({"user_identities": {"customer_id": "ann-at-home"}})
        await bus.jetstream.stream_info("EVENTS")
        await stub.GetInputStatistics(pb.GetInputStatisticsRequest(input_id=INPUT), metadata=token_for())
        watching = stub.WatchInput(pb.WatchInputRequest(input_id=INPUT), metadata=token_for())
        await until_shown(watching, 2)
        watching.cancel()
    assert lines
    assert "ann-at-home" not in str(lines)
    assert "Secret" not in str(lines)


async def test_a_table_is_seen_as_well(service: Service, stub: Any) -> None:
    columns = {
        "customer_id": ["ann", "ann", "", "bob"],
        "event_name": ["Bought", "Bought", "Bought", None],
        "attributes.price": [19, None, None, None],
        "user_attributes.plan": [None, None, None, "gold"],
    }
    (answer,) = [one async for one in stub.IngestTable(iter([request(columns)]), metadata=token_for())]
    assert (answer.accepted_rows, len(answer.faults)) == (3, 1)
    counted = await stub.GetInputStatistics(pb.GetInputStatisticsRequest(input_id=INPUT), metadata=token_for())
    assert (counted.accepted_batches, counted.accepted_events) == (1, 2)
    assert [(one.type, one.events) for one in counted.types] == [(EVENT_TYPE_CUSTOM, 2)]
    assert [(one.reason, one.count) for one in counted.refusals] == [("NO_IDENTITY", 1)]
    watching = stub.WatchInput(pb.WatchInputRequest(input_id=INPUT), metadata=token_for())
    first = await anext(aiter(watching))
    watching.cancel()
    told = [(one.event.name, one.event.details, [identity.value for identity in one.event.identities]) for one in first.received]
    assert sorted(told) == sorted(
        [("", "", []), ("Bought", '{"attributes":{"price":19}}', ["ann"]), ("Bought", "", ["ann"]), ("", "", ["bob"])]
    )
