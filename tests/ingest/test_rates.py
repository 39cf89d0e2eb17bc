"""What an input may send: in a second, in a day, and of what waits."""

from __future__ import annotations

import asyncio
import json
from copy import deepcopy
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from muster.ingest.v1 import ingest_service_pb2 as pb
from muster.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub

from services.chassis.bus import Bus
from services.chassis.errors import from_rpc_error
from services.ingest.domain.rates import Bucket, Day
from services.ingest.inputs import Input, Inputs
from services.ingest.rates import RateExceeded, Rates
from tests.fakes.clock import ManualClock
from tests.fakes.waiting import eventually
from tests.ingest.conftest import ACCOUNT, INPUT, KEY, SECRET, Serve, Service, batch, custom, read_stream, tell_input, token_for
from tests.ingest.test_grpc import proto_batch

DAY_MS = 24 * 3600 * 1000
NOW = 1_760_000_000_000


def test_a_bucket_lets_in_a_seconds_worth_at_once_and_then_the_rate() -> None:
    bucket = Bucket(10, NOW)
    for _ in range(10):
        assert bucket.wait_seconds(NOW) == 0
        bucket.take(1)
    assert bucket.wait_seconds(NOW) == pytest.approx(0.1)
    assert bucket.wait_seconds(NOW + 100) == 0
    bucket.take(1)
    # Quiet hours are not saved up.
    assert bucket.wait_seconds(NOW + 3_600_000) == 0
    bucket.take(10)
    assert bucket.wait_seconds(NOW + 3_600_000) == pytest.approx(0.1)


def test_a_request_larger_than_a_seconds_worth_passes_and_is_made_up_for() -> None:
    bucket = Bucket(10, NOW)
    bucket.take(60)
    assert bucket.wait_seconds(NOW) == pytest.approx(5.1)
    assert bucket.wait_seconds(NOW + 5_100) == 0


def test_a_clock_that_is_set_back_gives_nothing_and_takes_nothing() -> None:
    bucket = Bucket(10, NOW)
    bucket.take(10)
    assert bucket.wait_seconds(NOW - 60_000) == pytest.approx(0.1)
    assert bucket.wait_seconds(NOW - 60_000 + 100) == 0


def test_the_time_to_wait_is_true() -> None:
    bucket, now_ms = Bucket(3, NOW), NOW
    for size in (1, 7, 2, 30, 1, 1):
        wait = bucket.wait_seconds(now_ms)
        if wait:
            assert bucket.wait_seconds(now_ms + int(wait * 900)) > 0
            now_ms += int(wait * 1000) + 1
        assert bucket.wait_seconds(now_ms) == 0
        bucket.take(size)


def test_a_day_lets_in_so_many_and_then_none_until_the_first_are_24_hours_ago() -> None:
    day = Day(100)
    day.take(60, NOW)
    day.take(40, NOW + 3_600_000)
    wait = day.wait_seconds(1, NOW + 7_200_000)
    assert wait is not None
    assert NOW + DAY_MS < NOW + 7_200_000 + wait * 1000 <= NOW + DAY_MS + 60_000
    assert day.wait_seconds(61, NOW + 7_200_000) > wait  # type: ignore[operator]  # it is no None
    assert day.wait_seconds(60, NOW + 7_200_000 + round(wait * 1000)) == 0
    assert day.wait_seconds(101, NOW) is None


@given(st.lists(st.tuples(st.integers(0, DAY_MS // 3), st.integers(1, 60)), max_size=40))
def test_in_no_24_hours_more_are_let_in_than_may_be_and_the_time_to_wait_is_true(sent: list[tuple[int, int]]) -> None:
    day, now_ms, taken = Day(100), NOW, list[tuple[int, int]]()
    for later_ms, events in sent:
        now_ms += later_ms
        wait = day.wait_seconds(events, now_ms)
        assert wait is not None
        if wait:
            # Asked of a copy: whoever asks for a time is past the one before.
            assert deepcopy(day).wait_seconds(events, now_ms + round(wait * 1000)) == 0
        else:
            day.take(events, now_ms)
            taken.append((now_ms, events))
        assert sum(count for at, count in taken if at > now_ms - DAY_MS) <= 100


def limited(**limits: int) -> Input:
    return Input(1, 2, 3, "k", b"", "", True, 1, **limits)  # type: ignore[arg-type]  # of limits, both are ints


async def test_an_input_begins_anew_when_its_limits_change_and_others_are_not_its_concern() -> None:
    rates = Rates(ManualClock())
    rates.take(limited(events_per_second=5), 500)
    with pytest.raises(RateExceeded) as refused:
        rates.check(limited(events_per_second=5))
    assert refused.value.retry_seconds == pytest.approx(99.2)
    rates.take(limited(events_per_second=6), 1)
    rates.take(limited(), 10**9)
    with pytest.raises(RateExceeded, match="alone holds more"):
        rates.take(limited(events_per_day=10), 11)
    rates.take(limited(events_per_day=10), 10)
    with pytest.raises(RateExceeded, match="10 events in 24 hours"):
        rates.check(limited(events_per_day=10))


async def limit(service: Service, bus: Bus, **limits: Any) -> None:
    """Give the usual input limits, and return once the service knows."""
    await tell_input(bus, version=2, **limits)

    assert service.app is not None
    (inputs,) = [part for part in service.app._parts if isinstance(part, Inputs)]
    await eventually(lambda: inputs.of_account(ACCOUNT, INPUT).version == 2)


async def test_a_rate_is_answered_429_with_the_time_to_wait_whoever_sends(service: Service, bus: Bus) -> None:
    await limit(service, bus, events_per_second=10)
    assert (await service.bulk([batch("c-1", *[custom()] * 40)] * 2)).status_code == 202
    segment = {"userId": "c-1", "event": "E"}
    for answer in (
        await service.events(batch("c-1")),
        await service.bulk([]),
        await service.http.post("/v1/track", content=json.dumps(segment), auth=(KEY, SECRET)),
    ):
        assert answer.status_code == 429
        assert 6 <= int(answer.headers["retry-after"]) <= 8
        assert "10 events a second" in answer.text
    assert len((await read_stream(bus)).events) == 80


async def test_what_is_refused_counts_too(service: Service, bus: Bus) -> None:
    await limit(service, bus, events_per_second=3)
    answers = [await service.events({"events": 5}) for _ in range(5)]
    assert [answer.status_code for answer in answers][:3] == [400] * 3
    assert answers[-1].status_code == 429


async def test_a_day_is_answered_429_and_its_other_requests_are_kept(service: Service, bus: Bus) -> None:
    await limit(service, bus, events_per_day=10)
    assert (await service.events(batch("c-1", *[custom()] * 11))).headers["retry-after"] == "86400"
    assert (await service.events(batch("c-1", *[custom()] * 8))).status_code == 202
    refused = await service.events(batch("c-1", *[custom()] * 3))
    assert refused.status_code == 429
    assert 86_000 < int(refused.headers["retry-after"]) <= 86_460
    assert (await service.events(batch("c-1", *[custom()] * 2))).status_code == 202
    assert len((await read_stream(bus)).events) == 10


async def test_grpc_tells_when_to_come_again_and_a_stream_is_slowed_down(service: Service, bus: Bus) -> None:
    await limit(service, bus, events_per_second=20)
    async with grpc.aio.insecure_channel(service.grpc_address) as channel:
        stub = IngestServiceStub(channel)

        async def requests() -> Any:
            for number in range(3):
                yield pb.StreamBatchesRequest(input_id=INPUT, batches=[proto_batch("c-1", *[f"e{number}"] * 25)])

        begun = asyncio.get_running_loop().time()
        answers = [answer async for answer in stub.StreamBatches(requests(), metadata=token_for())]
        assert [answer.accepted_events for answer in answers] == [25, 50, 75]
        # 20 at once, and of the others 30 before the last request may begin.
        assert asyncio.get_running_loop().time() - begun > 1.2
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.IngestBatches(pb.IngestBatchesRequest(input_id=INPUT, batches=[proto_batch("c-1", "e")]), metadata=token_for())
        told = from_rpc_error(error.value)
        assert (told.code, told.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_EXCEEDED")
        assert told.retry_seconds is not None
        assert 0 < told.retry_seconds < 3


async def test_bytes_that_wait_are_bounded_too(serve: Serve) -> None:
    large = batch("c-1", *[custom(custom_attributes={"text": "x" * 4000})] * 20)
    async with serve(queue_bytes=100_000, round_events=1) as service:
        answers = await asyncio.gather(*[service.events(large) for _ in range(40)])
    assert {answer.status_code for answer in answers} == {202, 429}
    assert all(answer.headers["retry-after"] == "1" for answer in answers if answer.status_code == 429)
