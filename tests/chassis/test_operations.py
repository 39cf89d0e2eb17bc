from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, ClassVar

import grpc
import pytest
from muster.operations.v1 import operations_service_pb2 as pb
from muster.operations.v1 import operations_service_pb2_grpc as pb_grpc

from services.chassis.app import running
from services.chassis.bus import Bus
from services.chassis.client import Tokens, channel
from services.chassis.consumer import Consumer, Hopeless, Message
from services.chassis.errors import from_rpc_error
from services.chassis.operations import add_operations
from services.chassis.server import GrpcServer
from services.chassis.settings import ServiceSettings
from services.chassis.streams import SHARES
from tests.fakes.clock import ManualClock
from tests.fakes.waiting import eventually


class WeatherSettings(ServiceSettings):
    service: ClassVar[str] = "weather"


@pytest.fixture
def settings(settings_of: Callable[..., WeatherSettings]) -> WeatherSettings:
    return settings_of(WeatherSettings)


@pytest.fixture
async def operations(settings: WeatherSettings, bus: Bus) -> AsyncIterator[Any]:
    """The stub of a service with three dead letters, `a`, `b` and `c`."""

    async def refuse(messages: list[Message]) -> None:
        raise Hopeless("a kind from the future")

    consumer = Consumer(bus, SHARES, "weather", refuse, service="weather")
    server = GrpcServer(settings)
    add_operations(server, bus, settings, ManualClock())
    async with running(server, consumer), channel(server.address) as connection:
        for name in ("a", "bb", "ccc"):
            await bus.publish("muster.shares.1", name.encode(), message_id=name)

        async def handled() -> bool:
            return await consumer.pull.pending() == 0

        await eventually(handled)
        yield pb_grpc.OperationsServiceStub(connection)


def as_account(settings: WeatherSettings, account_id: int) -> Any:
    return Tokens.from_settings(settings).metadata_for(account_id)


async def test_a_service_says_what_it_is(operations: Any, settings: WeatherSettings) -> None:
    info = await operations.GetInfo(pb.GetInfoRequest(), metadata=as_account(settings, 0))
    assert (info.service, info.start_time_ms) == ("weather", ManualClock().now_ms())
    assert info.version


async def test_dead_letters_are_paged_without_their_bodies_and_replayed(operations: Any, settings: WeatherSettings, bus: Bus) -> None:
    operator = as_account(settings, 0)
    first = await operations.ListDeadLetters(pb.ListDeadLettersRequest(page_size=2), metadata=operator)
    assert [(letter.subject, letter.reason, letter.tries, letter.size_bytes) for letter in first.dead_letters] == [
        ("muster.shares.1", "a kind from the future", 1, 1),
        ("muster.shares.1", "a kind from the future", 1, 2),
    ]
    rest = await operations.ListDeadLetters(pb.ListDeadLettersRequest(page_size=2, page_token=first.next_page_token), metadata=operator)
    assert [letter.size_bytes for letter in rest.dead_letters] == [3]
    assert rest.next_page_token == ""
    replay = pb.ReplayDeadLettersRequest(sequences=[first.dead_letters[0].sequence])
    assert (await operations.ReplayDeadLetters(replay, metadata=operator)).replayed == 1
    assert (await bus.jetstream.get_last_msg(SHARES, "muster.shares.1")).data == b"a"


async def test_dead_letters_are_for_the_operator_only(operations: Any, settings: WeatherSettings) -> None:
    for call, request in (
        (operations.GetInfo, pb.GetInfoRequest()),
        (operations.ListDeadLetters, pb.ListDeadLettersRequest()),
        (operations.ReplayDeadLetters, pb.ReplayDeadLettersRequest()),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await call(request, metadata=as_account(settings, 5))
        assert from_rpc_error(refusal.value).reason == "MISSING_ROLE"


async def test_a_foreign_page_token_is_refused(operations: Any, settings: WeatherSettings) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await operations.ListDeadLetters(pb.ListDeadLettersRequest(page_token="x"), metadata=as_account(settings, 0))
    assert [violation.field for violation in from_rpc_error(refusal.value).violations] == ["page_token"]
