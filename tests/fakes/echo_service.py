"""A gRPC service with a method of each of the four shapes, made by hand so that it needs no contract of its own.

Its requests are ListDeadLettersRequest, for the rule that the contract has on `page_size`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from muster.operations.v1 import operations_service_pb2 as pb

NAME = "muster.test.v1.EchoService"

Request = pb.ListDeadLettersRequest
Response = pb.ListDeadLettersResponse
Behavior = Callable[[str], Awaitable[str]]


class Echo:
    """Each method answers with what `behavior` makes of the request's `page_token`."""

    def __init__(self, behavior: Behavior) -> None:
        self.behavior = behavior

    async def unary(self, request: Request, context: Any) -> Response:
        return Response(next_page_token=await self.behavior(request.page_token))

    async def collect(self, requests: AsyncIterator[Request], context: Any) -> Response:
        return Response(next_page_token=",".join([await self.behavior(request.page_token) async for request in requests]))

    async def spread(self, request: Request, context: Any) -> AsyncIterator[Response]:
        for letter in request.page_token:
            yield Response(next_page_token=await self.behavior(letter))

    async def converse(self, requests: AsyncIterator[Request], context: Any) -> AsyncIterator[Response]:
        async for request in requests:
            yield Response(next_page_token=await self.behavior(request.page_token))


def add_echo(servicer: Echo, server: Any) -> None:
    """What a generated `add_..._to_server` is."""
    codec: dict[str, Any] = {"request_deserializer": Request.FromString, "response_serializer": Response.SerializeToString}
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(servicer.unary, **codec),
        "Collect": grpc.stream_unary_rpc_method_handler(servicer.collect, **codec),
        "Spread": grpc.unary_stream_rpc_method_handler(servicer.spread, **codec),
        "Converse": grpc.stream_stream_rpc_method_handler(servicer.converse, **codec),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, handlers),))


class EchoClient:
    """The calls, each given one or several texts and returning the answers' texts."""

    def __init__(self, channel: grpc.aio.Channel, metadata: Any = ()) -> None:
        self.metadata = metadata
        codec: dict[str, Any] = {"request_serializer": Request.SerializeToString, "response_deserializer": Response.FromString}
        self._unary: Any = channel.unary_unary(f"/{NAME}/Unary", **codec)
        self._collect: Any = channel.stream_unary(f"/{NAME}/Collect", **codec)
        self._spread: Any = channel.unary_stream(f"/{NAME}/Spread", **codec)
        self._converse: Any = channel.stream_stream(f"/{NAME}/Converse", **codec)

    async def unary(self, text: str = "", *, page_size: int = 0, timeout: float | None = None) -> str:  # noqa: ASYNC109 - gRPC's own word
        return str((await self._unary(self._request(text, page_size), metadata=self.metadata, timeout=timeout)).next_page_token)

    async def collect(self, *texts: str, page_size: int = 0) -> str:
        requests = (self._request(text, page_size) for text in texts)
        return str((await self._collect(_each(requests), metadata=self.metadata)).next_page_token)

    async def spread(self, text: str, *, page_size: int = 0) -> list[str]:
        return [answer.next_page_token async for answer in self._spread(self._request(text, page_size), metadata=self.metadata)]

    async def converse(self, *texts: str, page_size: int = 0) -> list[str]:
        requests = (self._request(text, page_size) for text in texts)
        return [answer.next_page_token async for answer in self._converse(_each(requests), metadata=self.metadata)]

    @staticmethod
    def _request(text: str, page_size: int) -> Request:
        return Request(page_token=text, page_size=page_size)


async def _each(requests: Any) -> AsyncIterator[Request]:
    for request in requests:
        yield request
