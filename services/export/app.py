"""Builds the parts of the export service and runs them."""

from __future__ import annotations

from muster.export.v1.export_service_pb2_grpc import add_ExportServiceServicer_to_server

from services.chassis.app import App, run
from services.chassis.bus import Bus
from services.chassis.clock import SystemClock
from services.chassis.operations import add_operations
from services.chassis.server import GrpcServer
from services.export.api import ExportApi
from services.export.settings import ExportSettings


async def build(app: App, settings: ExportSettings) -> None:
    """The parts, in the order in which they start."""
    clock = SystemClock()
    bus = app.add(Bus.from_settings(settings))
    server = app.add(GrpcServer(settings, clock))
    server.add(add_ExportServiceServicer_to_server, ExportApi(), "muster.export.v1.ExportService")
    add_operations(server, bus, settings, clock)


def main() -> None:
    """Run the service until it is told to stop."""
    run(ExportSettings, build)
