"""Health as the standard gRPC health service tells it."""

from __future__ import annotations

from collections.abc import Sequence

from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer


class Health:
    """SERVING or NOT_SERVING, for the process (the empty name) and each of its services alike."""

    def __init__(self) -> None:
        self.servicer = HealthServicer()
        self.names: Sequence[str] = ("",)

    async def set_serving(self, serving: bool) -> None:
        """Tell whether calls are welcome."""
        state = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in self.names:
            await self.servicer.set(name, state)
