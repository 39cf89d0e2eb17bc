"""Every method of every contract is served by a real process, needs a token, and says in our words where it is not built yet."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cli.supervisor import Supervisor
from services.chassis.errors import from_rpc_error

PROTOS = Path(__file__).resolve().parents[2] / "protos"
SERVICES = ("definition", "ingest", "evaluator", "forwarder", "sharing", "export", "console")

# Those that keep an audit log.
AUDITED = {"definition", "forwarder"}


def contracts(service: str) -> Iterator[FileDescriptor]:
    """The files of a service's contract, and the one that all services serve."""
    for name in (service, "operations"):
        for path in sorted((PROTOS / "muster" / name / "v1").glob("*.proto")):
            if path.name == "audit_service.proto" and service not in AUDITED:
                continue
            module = ".".join(path.relative_to(PROTOS).with_suffix("").parts)
            yield importlib.import_module(f"{module}_pb2").DESCRIPTOR


def methods(service: str) -> list[MethodDescriptor]:
    """All methods that the process of this name serves."""
    files = contracts(service)
    return [method for file in files for offered in file.services_by_name.values() for method in offered.methods]


async def call(channel: grpc.aio.Channel, method: MethodDescriptor, metadata: tuple[tuple[str, str], ...]) -> grpc.aio.AioRpcError | None:
    """Call a method with an empty request, and hear of a stream no more than its first answer; the error, or None."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    coding: dict[str, Any] = {
        "request_serializer": lambda message: message.SerializeToString(),
        "response_deserializer": GetMessageClass(method.output_type).FromString,
    }
    request = GetMessageClass(method.input_type)()
    options: dict[str, Any] = {"metadata": metadata, "timeout": 10}

    async def requests() -> AsyncIterator[Message]:
        if metadata:  # a stream that is refused at once may end while its first message is on the way, which is another failure
            yield request

    try:
        if method.client_streaming and method.server_streaming:
            await channel.stream_stream(path, **coding)(requests(), **options).read()
        elif method.client_streaming:
            await channel.stream_unary(path, **coding)(requests(), **options)
        elif method.server_streaming:
            await channel.unary_stream(path, **coding)(request, **options).read()
        else:
            await channel.unary_unary(path, **coding)(request, **options)
    except grpc.aio.AioRpcError as error:
        return error
    return None


@pytest.mark.xdist_group("e2e")
async def test_every_method_is_served_and_needs_a_token(tmp_path: Path) -> None:
    async with Supervisor(tmp_path) as stack:
        bearer = (("authorization", f"Bearer {stack.token(4711)}"),)
        for service in SERVICES:
            async with grpc.aio.insecure_channel(stack.ports.grpc_address(service)) as channel:
                health = health_pb2_grpc.HealthStub(channel)
                assert (await health.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING
                for method in methods(service):
                    without = await call(channel, method, ())
                    assert without is not None, method.full_name
                    assert without.code() == grpc.StatusCode.UNAUTHENTICATED, method.full_name
                    answered = await call(channel, method, bearer)
                    if answered is None:
                        continue
                    fault = from_rpc_error(answered)
                    assert fault.code not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN), (method.full_name, fault)
                    assert fault.reason, f"{method.full_name} fails without a reason: {fault}"
        # Nothing of this brought a process down.
        assert all(stack.part(service).starts == 1 for service in SERVICES)


def test_every_service_has_a_contract() -> None:
    for service in SERVICES:
        assert [method for method in methods(service) if f".{service}." in method.full_name], service
