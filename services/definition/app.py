"""The process of the definition service: every part, in the order in which it starts."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from muster.definition.v1 import catalogue_service_pb2_grpc, public_json_service_pb2_grpc
from muster.definition.v1 import definition_service_pb2_grpc as pb_grpc
from muster.definition.v1 import language_service_pb2_grpc as language_grpc

from services.chassis.app import App, run
from services.chassis.audit import Audit
from services.chassis.audit_api import add_audit
from services.chassis.bus import Bus
from services.chassis.client import Tokens
from services.chassis.clock import Clock, SystemClock
from services.chassis.consumer import Consumer
from services.chassis.database import Database
from services.chassis.migrations import Migrations
from services.chassis.operations import add_operations
from services.chassis.outbox import Outbox, Relay
from services.chassis.server import GrpcServer
from services.chassis.streams import CONNECTIONS, SHARES

from . import tables
from .api.ab_tests import AbTestApi
from .api.accounts import AccountApi
from .api.audiences import AudienceApi
from .api.catalogue import CatalogueApi
from .api.language import LanguageApi
from .api.public_json import PublicJsonApi
from .catalogue_reader import CatalogueReader
from .figures import FiguresOf
from .messages import ConnectionMessages, ShareMessages
from .schedules import Schedules
from .settings import DefinitionSettings
from .store import Store

MIGRATIONS = Path(__file__).parent / "migrations"
_PACKAGE = "muster.definition.v1"


async def build(app: App, settings: DefinitionSettings) -> None:
    """Add every part to the app."""
    add_parts(app, settings, SystemClock())


def add_parts(app: App, settings: DefinitionSettings, clock: Clock) -> GrpcServer:
    """Add every part to the app, with a clock of the caller's; the server is told, as its address is known once it started."""
    database = app.add(Database(settings.sql_url))
    app.add(Migrations(database, MIGRATIONS))
    bus = app.add(Bus.from_settings(settings))
    relay = app.add(Relay(database, tables.outbox, bus))
    audit = Audit(settings.service, tables.audit_heads, tables.audit_entries)
    store = Store(database, Outbox(tables.outbox), audit)
    connections = ConnectionMessages(store, clock)
    app.add(Consumer(bus, CONNECTIONS, "definition-connections", connections.handle, service=settings.service))
    shares = ShareMessages(store, clock)
    app.add(Consumer(bus, SHARES, "definition-shares", shares.handle, service=settings.service))
    figures = app.add(FiguresOf(settings.evaluator_address, Tokens.from_settings(settings, clock)))
    schedules = app.add(Schedules(store, relay, clock))
    app.add(CatalogueReader(database, bus, clock, service=settings.service, lease_seconds=settings.catalogue_lease_seconds))
    server = app.add(GrpcServer(settings, clock))
    server.add(pb_grpc.add_AccountServiceServicer_to_server, AccountApi(store, relay, clock), f"{_PACKAGE}.AccountService")
    server.add(
        pb_grpc.add_AudienceServiceServicer_to_server,
        AudienceApi(store, relay, clock, figures, schedules.wake),
        f"{_PACKAGE}.AudienceService",
    )
    server.add(pb_grpc.add_AbTestServiceServicer_to_server, AbTestApi(store, relay, clock), f"{_PACKAGE}.AbTestService")
    server.add(language_grpc.add_LanguageServiceServicer_to_server, LanguageApi(store, clock), f"{_PACKAGE}.LanguageService")
    server.add(
        catalogue_service_pb2_grpc.add_CatalogueServiceServicer_to_server, CatalogueApi(store, clock), f"{_PACKAGE}.CatalogueService"
    )
    add_audit(server, database, audit)
    server.add(
        public_json_service_pb2_grpc.add_PublicJsonServiceServicer_to_server, PublicJsonApi(store, clock), f"{_PACKAGE}.PublicJsonService"
    )
    add_operations(server, bus, settings, clock)
    return server


def main() -> NoReturn:
    """Run the service until it is told to stop."""
    run(DefinitionSettings, build)
