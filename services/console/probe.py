"""Asks the services whether they serve."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Mapping
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.chassis.client import channel


class Answer(enum.Enum):
    """What a service says of itself."""

    SERVING = "serving"
    # It answers, and takes no calls now: it starts or stops.
    NOT_SERVING = "not serving"
    AWAY = "does not answer"


@dataclass(frozen=True, slots=True)
class State:
    """One service as it was found. `round_trip_ms` is None where it did not answer."""

    service: str
    address: str
    answer: Answer
    round_trip_ms: float | None


class Probe:
    """Knows where the services are. A part of the app."""

    def __init__(self, addresses: Mapping[str, str], *, wait_seconds: float) -> None:
        self._addresses = dict(addresses)
        self._wait_seconds = wait_seconds
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def start(self) -> None:
        """Open the channels; they connect when they are used."""
        self._channels = {service: channel(address) for service, address in self._addresses.items()}

    async def stop(self) -> None:
        """Close the channels."""
        await asyncio.gather(*(opened.close(None) for opened in self._channels.values()))

    async def ask_all(self) -> list[State]:
        """Every service, in their order, all asked at once."""
        return list(await asyncio.gather(*(self._ask(service) for service in self._addresses)))

    async def _ask(self, service: str) -> State:
        loop = asyncio.get_running_loop()
        began = loop.time()
        address = self._addresses[service]
        try:
            stub = health_pb2_grpc.HealthStub(self._channels[service])
            said = await stub.Check(health_pb2.HealthCheckRequest(), timeout=self._wait_seconds)
        except grpc.aio.AioRpcError:
            return State(service, address, Answer.AWAY, None)
        serves = said.status == health_pb2.HealthCheckResponse.SERVING
        return State(service, address, Answer.SERVING if serves else Answer.NOT_SERVING, (loop.time() - began) * 1000)
