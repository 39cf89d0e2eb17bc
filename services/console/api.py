"""The way in by gRPC: where people find the console."""

from __future__ import annotations

from typing import Any

from muster.console.v1 import console_service_pb2 as pb
from muster.console.v1 import console_service_pb2_grpc as pb_grpc

from services.console.web import Web

Context = Any


class ConsoleApi(pb_grpc.ConsoleServiceServicer):
    """Says where the console is."""

    def __init__(self, web: Web, public_url: str | None) -> None:
        self._web = web
        self._public_url = public_url

    async def GetAddress(self, request: pb.GetAddressRequest, context: Context) -> pb.GetAddressResponse:
        """The address to type into a browser."""
        return pb.GetAddressResponse(url=self._public_url or self._web.url)
