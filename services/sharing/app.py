"""Builds the parts of the sharing service and runs them."""

from __future__ import annotations

from muster.sharing.v1.sharing_service_pb2_grpc import add_SharingServiceServicer_to_server

from services.chassis.app import App, run
from services.chassis.bus import Bus
from services.chassis.clock import SystemClock
from services.chassis.operations import add_operations
from services.chassis.server import GrpcServer
from services.sharing.api import SharingApi
from services.sharing.settings import SharingSettings


async def build(app: App, settings: SharingSettings) -> None:
    """The parts, in the order in which they start."""
    clock = SystemClock()
    bus = app.add(Bus.from_settings(settings))
    server = app.add(GrpcServer(settings, clock))
    server.add(add_SharingServiceServicer_to_server, SharingApi(), "muster.sharing.v1.SharingService")
    add_operations(server, bus, settings, clock)


def main() -> None:
    """Run the service until it is told to stop."""
    run(SharingSettings, build)
