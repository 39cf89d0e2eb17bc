"""What is tested alike of each service whose contract answers UNIMPLEMENTED."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from muster.operations.v1 import operations_service_pb2
from muster.operations.v1.operations_service_pb2_grpc import OperationsServiceStub

from services.chassis.app import App
from services.chassis.client import Tokens, channel
from services.chassis.errors import RpcFailure, from_rpc_error
from services.chassis.settings import ServiceSettings


@asynccontextmanager
async def serving(build: Callable[[App, Any], Awaitable[None]], settings: ServiceSettings) -> AsyncIterator[grpc.aio.Channel]:
    """A line to the service, which runs for the length of the block."""
    app = App(grace_seconds=1)
    await build(app, settings)
    try:
        await app.start()
        async with channel(f"127.0.0.1:{settings.grpc_port}") as line:
            yield line
    finally:
        await app.stop()


async def refusal(line: grpc.aio.Channel, settings: ServiceSettings, method: descriptor.MethodDescriptor, **fields: Any) -> RpcFailure:
    """What a call of this method with a valid request is refused with."""
    request = message_factory.GetMessageClass(method.input_type)(**fields)
    codec = (type(request).SerializeToString, message_factory.GetMessageClass(method.output_type).FromString)
    path = f"/{method.containing_service.full_name}/{method.name}"
    metadata = Tokens.from_settings(settings).metadata_for(1)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        if method.server_streaming:
            async for _ in line.unary_stream(path, *codec)(request, metadata=metadata):
                pytest.fail("it answered")
        else:
            await line.unary_unary(path, *codec)(request, metadata=metadata)
    return from_rpc_error(refused.value)


async def check_common_services(line: grpc.aio.Channel, settings: ServiceSettings, contract: str) -> None:
    """Health says SERVING, reflection names the contract, and the OperationsService says which service it is."""
    health = health_pb2_grpc.HealthStub(line)
    for name in ("", contract):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    reflection = reflection_pb2_grpc.ServerReflectionStub(line)
    async for said in reflection.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")])):
        assert {contract, "muster.operations.v1.OperationsService"} <= {found.name for found in said.list_services_response.service}
    operations = OperationsServiceStub(line)
    metadata = Tokens.from_settings(settings).metadata_for(0)
    info = await operations.GetInfo(operations_service_pb2.GetInfoRequest(), metadata=metadata)
    assert info.service == type(settings).service
