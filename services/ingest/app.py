"""The process: what it is made of and in which order it starts."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

from muster.ingest.v1 import ingest_service_pb2_grpc as pb_grpc

from services.chassis.app import App, run
from services.chassis.bus import Bus
from services.chassis.client import Tokens, channel
from services.chassis.clock import Clock, SystemClock
from services.chassis.consumer import Consumer
from services.chassis.database import Database
from services.chassis.migrations import Migrations
from services.chassis.operations import add_operations
from services.chassis.outbox import Outbox, Relay
from services.chassis.server import GrpcServer
from services.chassis.streams import ERASURES
from services.ingest import tables
from services.ingest.api import IdentityApi, IngestApi, PrivacyApi
from services.ingest.erasures import Erasures
from services.ingest.exports import Exports
from services.ingest.housekeeping import Housekeeping
from services.ingest.http import EventsApi, HttpServer
from services.ingest.inputs import Inputs
from services.ingest.intake import Intake
from services.ingest.live import Views
from services.ingest.people import People
from services.ingest.rates import Rates
from services.ingest.resolver import Resolver
from services.ingest.seen import Seen
from services.ingest.settings import IngestSettings
from services.ingest.store import Store

# Batches make many short-lived objects and no cycles: looking for cycles less often takes the peaks off the answers' times.
_GC_THRESHOLD = 100_000
# What is read in a thread gives way to the rounds so often.
_SWITCH_SECONDS = 0.001


class Lines:
    """The lines to other services; a part of the app."""

    def __init__(self, settings: IngestSettings) -> None:
        self.evaluator = channel(settings.evaluator_address)
        self.forwarder = channel(settings.forwarder_address)

    async def start(self) -> None:
        """Nothing to prepare: they connect when they are used."""

    async def stop(self) -> None:
        """Close them."""
        await self.evaluator.close(None)
        await self.forwarder.close(None)


async def build(app: App, settings: IngestSettings) -> None:
    """Make the parts: what is added first starts first and stops last."""
    gc.set_threshold(_GC_THRESHOLD, 20, 50)
    sys.setswitchinterval(_SWITCH_SECONDS)
    add_parts(app, settings, SystemClock())


def add_parts(app: App, settings: IngestSettings, clock: Clock) -> GrpcServer:
    """Add every part to the app, with a clock of the caller's; the server of gRPC is told."""
    database = app.add(Database(settings.sql_url))
    app.add(Migrations(database, Path(__file__).parent / "migrations"))
    bus = app.add(Bus.from_settings(settings))
    relay = app.add(Relay(database, tables.outbox, bus))
    store = Store(database)
    inputs = app.add(Inputs(bus, service=settings.service))
    seen = Seen(store, clock, window_hours=settings.dedupe_hours)
    views = Views(clock)
    resolver = Resolver(store, inputs.rules_of, cache_size=settings.identity_cache)
    outbox = Outbox(tables.outbox)
    intake = app.add(Intake(settings, store, seen, resolver, inputs.rules_of, outbox, relay, bus, Rates(clock), views, clock))
    erasures = app.add(Erasures(settings, store, resolver, outbox, relay, bus, clock))
    app.add(Consumer(bus, ERASURES, "ingest-erasures", erasures.handle, service=settings.service))
    lines = app.add(Lines(settings))
    exports = Exports(store, lines.evaluator, lines.forwarder, Tokens.from_settings(settings, clock), clock)
    people = People(settings, store, resolver, outbox, relay, clock)
    app.add(Housekeeping(seen))
    app.add(HttpServer(settings, EventsApi(inputs, intake, store, bus, clock)))
    server = app.add(GrpcServer(settings, clock))
    server.add(pb_grpc.add_IngestServiceServicer_to_server, IngestApi(inputs, intake, views, clock), "muster.ingest.v1.IngestService")
    server.add(pb_grpc.add_IdentityServiceServicer_to_server, IdentityApi(store, people), "muster.ingest.v1.IdentityService")
    server.add(pb_grpc.add_PrivacyServiceServicer_to_server, PrivacyApi(erasures, exports), "muster.ingest.v1.PrivacyService")
    add_operations(server, bus, settings, clock)
    return server


def main() -> None:
    """Run the service until it is told to stop."""
    run(IngestSettings, build)
