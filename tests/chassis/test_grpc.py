"""Everything that a call passes through, over a real server and a real connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from structlog.testing import capture_logs

from services.chassis import auth
from services.chassis.app import running
from services.chassis.client import Tokens, channel
from services.chassis.errors import (
    AlreadyExists,
    Conflict,
    FailedPrecondition,
    FieldViolation,
    Invalid,
    MusterError,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    RpcFailure,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    from_rpc_error,
)
from services.chassis.server import GrpcServer
from services.chassis.settings import ServiceSettings
from tests.fakes.clock import ManualClock
from tests.fakes.echo_service import NAME, Echo, EchoClient, add_echo

SettingsOf = Callable[..., ServiceSettings]
Behavior = Callable[[str], Awaitable[str]]


class StaleEtag(Conflict):
    """Someone changed it."""


class Renamed(NotFound):
    reason = "GONE_ELSEWHERE"


@asynccontextmanager
async def served(settings: ServiceSettings, behavior: Behavior, *, account_id: int = 5) -> AsyncIterator[EchoClient]:
    server = GrpcServer(settings)
    server.add(add_echo, Echo(behavior), NAME)
    async with running(server), channel(server.address) as connection:
        yield EchoClient(connection, Tokens.from_settings(settings).metadata_for(account_id))


async def failure_of(call: Awaitable[Any]) -> RpcFailure:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return from_rpc_error(error.value)


async def upper(text: str) -> str:
    return text.upper()


async def test_calls_of_all_four_shapes_pass(settings_of: SettingsOf) -> None:
    async with served(settings_of(ServiceSettings), upper) as client:
        assert await client.unary("a") == "A"
        assert await client.collect("a", "b") == "A,B"
        assert await client.spread("ab") == ["A", "B"]
        assert await client.converse("a", "b") == ["A", "B"]


async def test_an_error_keeps_code_reason_and_data_in_all_four_shapes(settings_of: SettingsOf) -> None:
    async def fail(text: str) -> str:
        raise StaleEtag("It was changed meanwhile.", audience_id=7)

    told = RpcFailure(grpc.StatusCode.ABORTED, "It was changed meanwhile.", "STALE_ETAG", {"audience_id": "7"})
    async with served(settings_of(ServiceSettings), fail) as client:
        assert await failure_of(client.unary("a")) == told
        assert await failure_of(client.collect("a")) == told
        assert await failure_of(client.spread("a")) == told
        assert await failure_of(client.converse("a")) == told


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (NotFound("x"), grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
        (Renamed("x"), grpc.StatusCode.NOT_FOUND, "GONE_ELSEWHERE"),
        (AlreadyExists("x"), grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS"),
        (FailedPrecondition("x"), grpc.StatusCode.FAILED_PRECONDITION, "FAILED_PRECONDITION"),
        (Unauthenticated("x"), grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"),
        (PermissionDenied("x"), grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED"),
        (Unimplemented("x"), grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED"),
        (ResourceExhausted("x"), grpc.StatusCode.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED"),
        (Conflict("x"), grpc.StatusCode.ABORTED, "CONFLICT"),
    ],
)
async def test_each_kind_of_error_has_its_code_and_reason(
    settings_of: SettingsOf, error: MusterError, code: grpc.StatusCode, reason: str
) -> None:
    async def fail(text: str) -> str:
        raise error

    async with served(settings_of(ServiceSettings), fail) as client:
        assert await failure_of(client.unary()) == RpcFailure(code, "x", reason)


async def test_an_invalid_request_is_told_fault_by_fault(settings_of: SettingsOf) -> None:
    faults = [FieldViolation("root.all.nodes[1]", "is an empty group", "EMPTY_GROUP"), FieldViolation("name", "is missing", "MISSING")]

    async def fail(text: str) -> str:
        raise Invalid("Two faults.", violations=faults)

    async with served(settings_of(ServiceSettings), fail) as client:
        told = await failure_of(client.unary())
    assert told.code is grpc.StatusCode.INVALID_ARGUMENT
    assert told.violations == faults


async def test_what_may_be_repeated_later_says_when(settings_of: SettingsOf) -> None:
    async def fail(text: str) -> str:
        raise ResourceExhausted("Slowly.", retry_seconds=2.5)

    async with served(settings_of(ServiceSettings), fail) as client:
        told = await failure_of(client.unary())
    assert told == RpcFailure(grpc.StatusCode.RESOURCE_EXHAUSTED, "Slowly.", "RESOURCE_EXHAUSTED", retry_seconds=2.5)


async def test_an_unknown_error_is_logged_in_full_and_told_without_internals(settings_of: SettingsOf) -> None:
    async def fail(text: str) -> str:
        raise ValueError("the secret recipe")

    with capture_logs() as lines:
        async with served(settings_of(ServiceSettings), fail) as client:
            told = await failure_of(client.spread("a"))
    assert told.code is grpc.StatusCode.INTERNAL
    assert "recipe" not in told.message
    (line,) = [line for line in lines if line["event"] == "grpc_call_failed"]
    assert str(line["exc_info"]) == "the secret recipe"


async def test_the_rules_of_the_contract_are_checked_in_all_four_shapes(settings_of: SettingsOf) -> None:
    async with served(settings_of(ServiceSettings), upper) as client:
        refused: list[Awaitable[Any]] = [client.unary("a", page_size=1001), client.collect("a", page_size=-1)]
        for call in refused:
            told = await failure_of(call)
            assert (told.code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
            assert [violation.field for violation in told.violations] == ["page_size"]
            assert told.violations[0].description
            assert told.violations[0].reason == "INT32_GTE_LTE"
        for call in (client.spread("a", page_size=1001), client.converse("a", page_size=1001)):
            assert (await failure_of(call)).code is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_request_that_is_no_message_is_the_clients_fault(settings_of: SettingsOf) -> None:
    settings = settings_of(ServiceSettings)
    server = GrpcServer(settings)
    server.add(add_echo, Echo(upper), NAME)
    async with running(server), channel(server.address) as connection:
        call = connection.unary_unary(f"/{NAME}/Unary", request_serializer=bytes, response_deserializer=bytes)
        failure = await failure_of(call(b"\xff\xff not protobuf", metadata=Tokens.from_settings(settings).metadata_for(5)))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")


async def test_a_call_needs_a_token(settings_of: SettingsOf) -> None:
    async with served(settings_of(ServiceSettings), upper) as client:
        for metadata in ((), (("authorization", "Basic abc"),), (("authorization", "Bearer"),)):
            client.metadata = metadata
            told = await failure_of(client.unary())
            assert (told.code, told.reason) == (grpc.StatusCode.UNAUTHENTICATED, "MISSING_TOKEN")
        client.metadata = (("authorization", "Bearer nonsense"),)
        assert (await failure_of(client.converse("a"))).reason == "INVALID_TOKEN"


async def test_a_token_is_judged_by_the_services_clock(settings_of: SettingsOf, token_secret: str) -> None:
    clock = ManualClock()
    settings = settings_of(ServiceSettings)
    server = GrpcServer(settings, clock)
    server.add(add_echo, Echo(upper), NAME)
    token = auth.mint(token_secret, account_id=5, subject="x", ttl=timedelta(minutes=1), now=clock.now())
    async with running(server), channel(server.address) as connection:
        client = EchoClient(connection, (("authorization", f"Bearer {token}"),))
        assert await client.unary("a") == "A"
        clock.set(clock.now() + timedelta(hours=1))
        assert (await failure_of(client.unary("a"))).reason == "EXPIRED_TOKEN"


async def test_the_account_of_a_call_is_that_of_its_token(settings_of: SettingsOf) -> None:
    async def account(text: str) -> str:
        return str(auth.account_of())

    async with served(settings_of(ServiceSettings), account, account_id=41) as client:
        assert await client.unary() == "41"
        assert await client.spread("a") == ["41"]
        assert await client.converse("a") == ["41"]


async def test_a_call_without_a_deadline_gets_the_services(settings_of: SettingsOf) -> None:
    async def hang(text: str) -> str:
        await asyncio.sleep(60)
        return text

    settings = settings_of(ServiceSettings, grpc_deadline_seconds=0.2, grpc_stream_deadline_seconds=0.3)
    server = GrpcServer(settings)
    server.add(add_echo, Echo(hang), NAME)
    # A plain channel: ours would set a deadline of its own.
    async with running(server), grpc.aio.insecure_channel(server.address) as connection:
        client = EchoClient(connection, Tokens.from_settings(settings).metadata_for(5))
        for call in (client.unary(), client.spread("a")):
            told = await failure_of(call)
            assert (told.code, told.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")


async def test_a_deadline_of_the_client_cancels_the_handler(settings_of: SettingsOf) -> None:
    cancelled = asyncio.Event()

    async def hang(text: str) -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return text

    async with served(settings_of(ServiceSettings), hang) as client:
        assert (await failure_of(client.unary(timeout=0.2))).code is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(cancelled.wait(), 5)


async def test_a_timeout_inside_a_handler_is_not_taken_for_the_deadline(settings_of: SettingsOf) -> None:
    async def fail(text: str) -> str:
        raise TimeoutError

    async with served(settings_of(ServiceSettings), fail) as client:
        assert (await failure_of(client.unary())).code is grpc.StatusCode.INTERNAL


async def test_a_dependency_that_is_away_makes_the_call_unavailable(settings_of: SettingsOf) -> None:
    async def depend(text: str) -> str:
        async with grpc.aio.insecure_channel("127.0.0.1:1") as connection:
            return await EchoClient(connection).unary(timeout=1)

    async with served(settings_of(ServiceSettings), depend) as client:
        told = await failure_of(client.unary(timeout=5))
    assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")


async def test_each_call_is_logged_with_method_code_and_time(settings_of: SettingsOf) -> None:
    with capture_logs() as lines:
        async with served(settings_of(ServiceSettings), upper) as client:
            await client.unary()
            await failure_of(client.unary(page_size=-1))
    calls = [line for line in lines if line["event"] == "grpc_call"]
    assert [(line["method"], line["code"]) for line in calls] == [(f"/{NAME}/Unary", "OK"), (f"/{NAME}/Unary", "INVALID_ARGUMENT")]
    assert all(line["ms"] >= 0 for line in calls)


async def test_a_message_of_ten_megabytes_passes(settings_of: SettingsOf) -> None:
    async with served(settings_of(ServiceSettings), upper) as client:
        assert len(await client.unary("a" * 10_000_000)) == 10_000_000


async def test_health_and_reflection_need_no_token_and_health_follows_the_process(settings_of: SettingsOf) -> None:
    server = GrpcServer(settings_of(ServiceSettings))
    server.add(add_echo, Echo(upper), NAME)
    await server.start()
    async with channel(server.address) as connection:
        health: Any = health_pb2_grpc.HealthStub(connection)

        async def state(name: str) -> int:
            return int((await health.Check(health_pb2.HealthCheckRequest(service=name))).status)

        assert [await state(""), await state(NAME)] == [health_pb2.HealthCheckResponse.NOT_SERVING] * 2
        await server.ready()
        assert [await state(""), await state(NAME)] == [health_pb2.HealthCheckResponse.SERVING] * 2
        reflected: Any = reflection_pb2_grpc.ServerReflectionStub(connection)
        call = reflected.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        names = [service.name async for answer in call for service in answer.list_services_response.service]
        assert NAME in names
        await server.drain()
        assert await state("") == health_pb2.HealthCheckResponse.NOT_SERVING
    await server.stop()


async def test_stopping_lets_a_call_in_progress_end(settings_of: SettingsOf) -> None:
    begun = asyncio.Event()

    async def slow(text: str) -> str:
        begun.set()
        await asyncio.sleep(0.3)
        return text

    settings = settings_of(ServiceSettings, shutdown_grace_seconds=5)
    server = GrpcServer(settings)
    server.add(add_echo, Echo(slow), NAME)
    await server.start()
    async with channel(server.address) as connection:
        client = EchoClient(connection, Tokens.from_settings(settings).metadata_for(5))
        call = asyncio.create_task(client.unary("a"))
        await begun.wait()
        await server.stop()
        assert await call == "a"


async def test_an_unavailable_service_is_asked_again(settings_of: SettingsOf) -> None:
    calls = 0

    async def recover(text: str) -> str:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise Unavailable("Not now.")
        return text

    async with served(settings_of(ServiceSettings), recover) as client:
        assert await client.unary("a") == "a"
    assert calls == 3


async def test_a_client_may_wait_for_a_service_that_is_not_up_yet(settings_of: SettingsOf) -> None:
    from tests.fakes.nats_server import free_port

    settings = settings_of(ServiceSettings, grpc_port=free_port())
    server = GrpcServer(settings)
    server.add(add_echo, Echo(upper), NAME)
    async with channel(server.address, wait_for_ready=True, deadline_seconds=10) as connection:
        call = asyncio.create_task(EchoClient(connection, Tokens.from_settings(settings).metadata_for(5)).unary("a"))
        await asyncio.sleep(0.3)
        async with running(server):
            assert await call == "A"


async def test_a_minted_token_is_used_again_until_shortly_before_its_end(token_secret: str) -> None:
    clock = ManualClock()
    tokens = Tokens(token_secret, "service:test", clock)
    first = tokens.metadata_for(5)
    clock.set(clock.now() + timedelta(minutes=50))
    assert tokens.metadata_for(5) == first
    assert tokens.metadata_for(6) != first
    clock.set(clock.now() + timedelta(minutes=6))
    assert tokens.metadata_for(5) != first
