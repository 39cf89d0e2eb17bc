"""Builds the parts of the console and runs them."""

from __future__ import annotations

from muster.console.v1.console_service_pb2_grpc import add_ConsoleServiceServicer_to_server

from services.chassis.app import App, run
from services.chassis.bus import Bus
from services.chassis.clock import SystemClock
from services.chassis.operations import add_operations
from services.chassis.server import GrpcServer
from services.console.api import ConsoleApi
from services.console.probe import Probe
from services.console.rest.routes import routes
from services.console.rest.transcoder import Transcoder
from services.console.settings import ConsoleSettings
from services.console.web import Web


async def build(app: App, settings: ConsoleSettings) -> None:
    """The parts, in the order in which they start."""
    clock = SystemClock()
    bus = app.add(Bus.from_settings(settings))
    addresses = {
        "definition": settings.definition_address,
        "ingest": settings.ingest_address,
        "evaluator": settings.evaluator_address,
        "forwarder": settings.forwarder_address,
        "sharing": settings.sharing_address,
        "export": settings.export_address,
    }
    probe = app.add(Probe(addresses, wait_seconds=settings.probe_seconds))
    platform = app.add(Transcoder(addresses))
    web = app.add(Web(settings.http_host, settings.http_port, probe, clock, routes(platform)))
    server = app.add(GrpcServer(settings, clock))
    server.add(add_ConsoleServiceServicer_to_server, ConsoleApi(web, settings.public_url), "muster.console.v1.ConsoleService")
    add_operations(server, bus, settings, clock)


def main() -> None:
    """Run the console until it is told to stop."""
    run(ConsoleSettings, build)
