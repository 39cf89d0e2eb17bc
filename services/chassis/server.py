"""The gRPC server of a service, with health and reflection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from . import log as logs
from .clock import Clock, SystemClock
from .health import Health
from .interceptor import OPEN_SERVICES, Interceptor
from .settings import ServiceSettings

log = logs.get(__name__)

MESSAGE_MAX_BYTES = 16 * 1024 * 1024


class GrpcServer:
    """Serves the added servicers from `start`; says SERVING from `ready`, NOT_SERVING from `drain`. A part of the app."""

    def __init__(self, settings: ServiceSettings, clock: Clock | None = None) -> None:
        self._settings = settings
        self._names: list[str] = []
        self.health = Health()
        self.port = settings.grpc_port
        interceptor = Interceptor(
            secret=settings.token_secret.get_secret_value(),
            clock=clock or SystemClock(),
            deadline_seconds=settings.grpc_deadline_seconds,
            stream_deadline_seconds=settings.grpc_stream_deadline_seconds,
        )
        self._server = grpc.aio.server(
            interceptors=[interceptor],
            options=[
                ("grpc.max_receive_message_length", MESSAGE_MAX_BYTES),
                ("grpc.max_send_message_length", MESSAGE_MAX_BYTES),
                ("grpc.so_reuseport", 0),
                ("grpc.keepalive_time_ms", 30_000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
                ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
            ],
        )

    @property
    def address(self) -> str:
        """Where it listens, `host:port`, once started."""
        return f"{self._settings.grpc_host}:{self.port}"

    def add(self, adder: Callable[[Any, Any], None], servicer: object, service_full_name: str) -> None:
        """Serve a servicer: `add(add_AudienceServiceServicer_to_server, servicer, "muster.definition.v1.AudienceService")`."""
        adder(servicer, self._server)
        self._names.append(service_full_name)

    async def start(self) -> None:
        """Listen. Health says NOT_SERVING until `ready`."""
        self.health.names = ("", *self._names)
        await self.health.set_serving(False)
        health_pb2_grpc.add_HealthServicer_to_server(self.health.servicer, self._server)
        reflection.enable_server_reflection([*self._names, *OPEN_SERVICES], self._server)
        self.port = self._server.add_insecure_port(f"{self._settings.grpc_host}:{self._settings.grpc_port}")
        await self._server.start()
        log.info("grpc_listening", address=self.address, services=self._names)

    async def ready(self) -> None:
        """Every part is started: say SERVING."""
        await self.health.set_serving(True)

    async def drain(self) -> None:
        """The process is about to stop: say NOT_SERVING, so that clients go elsewhere."""
        await self.health.set_serving(False)

    async def stop(self) -> None:
        """Take no new calls, let those in progress end within the grace, cut the rest."""
        await self._server.stop(self._settings.shutdown_grace_seconds)


__all__ = ["MESSAGE_MAX_BYTES", "GrpcServer"]
