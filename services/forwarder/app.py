"""Builds the forwarder from its parts, in the order in which they start."""

from __future__ import annotations

from pathlib import Path

from muster.forwarder.v1.forwarder_service_pb2_grpc import (
    add_ConfigurationServiceServicer_to_server,
    add_ConnectionServiceServicer_to_server,
)

from services.chassis.app import App, run
from services.chassis.audit_api import add_audit
from services.chassis.bus import Bus
from services.chassis.client import Tokens, channel
from services.chassis.clock import Clock, SystemClock
from services.chassis.consumer import Consumer
from services.chassis.database import Database
from services.chassis.migrations import Migrations
from services.chassis.operations import add_operations
from services.chassis.outbox import Relay
from services.chassis.server import GrpcServer
from services.chassis.streams import DEFINITIONS, EVENTS, MEMBERSHIPS
from services.forwarder import tables
from services.forwarder.api.configurations import ConfigurationApi
from services.forwarder.api.connections import ConnectionApi
from services.forwarder.connectors.directory import CONNECTORS, Connectors
from services.forwarder.connectors.lines import PartnerLines
from services.forwarder.delivery import Means
from services.forwarder.dispatch import Dispatcher
from services.forwarder.erasing import Erasing
from services.forwarder.lookups import IdentityLookUp, MemberLists
from services.forwarder.messages import DefinitionMessages, MembershipMessages, ProfileMessages
from services.forwarder.settings import ForwarderSettings
from services.forwarder.snapshots import Snapshots
from services.forwarder.stores.store import AUDIT, Store

MIGRATIONS = Path(__file__).parent / "migrations"


class Channels:
    """The lines to other services; a part of the app."""

    def __init__(self, settings: ForwarderSettings) -> None:
        self.ingest = channel(settings.ingest_address)
        self.evaluator = channel(settings.evaluator_address)

    async def start(self) -> None:
        """Nothing to prepare: they connect when they are used."""

    async def stop(self) -> None:
        """Close them."""
        await self.ingest.close(None)
        await self.evaluator.close(None)


async def build(app: App, settings: ForwarderSettings) -> None:
    """All of the forwarder."""
    await assemble(app, settings, connectors=CONNECTORS, clock=SystemClock())


async def assemble(app: App, settings: ForwarderSettings, *, connectors: Connectors, clock: Clock) -> GrpcServer:
    """The forwarder with these partners and this clock; its server."""
    database = app.add(Database(settings.sql_url))
    app.add(Migrations(database, MIGRATIONS))
    bus = app.add(Bus.from_settings(settings))
    relay = app.add(Relay(database, tables.outbox, bus))
    store = Store(database)
    channels = app.add(Channels(settings))
    tokens = Tokens.from_settings(settings, clock)
    lines = app.add(
        PartnerLines(allow_private=settings.allow_private_targets, timeout_seconds=settings.partner_timeout_seconds, clock=clock)
    )
    means = Means(store, connectors, IdentityLookUp(channels.ingest, tokens), lines, clock, settings.retry_policy, relay.wake)
    dispatcher = app.add(
        Dispatcher(
            means,
            owner=settings.owner,
            sweep_seconds=settings.sweep_seconds,
            lease_seconds=settings.lease_seconds,
            keep_deliveries_days=settings.keep_deliveries_days,
            grace_seconds=settings.shutdown_grace_seconds,
        )
    )
    lists = MemberLists(channels.evaluator, tokens)
    snapshots = app.add(
        Snapshots(store, lists, dispatcher, clock, parallel=settings.parallel_snapshots, sweep_seconds=settings.sweep_seconds)
    )
    definitions = DefinitionMessages(store, clock, dispatcher.wake, snapshots.wake)
    memberships = MembershipMessages(store, clock, dispatcher.wake, snapshots.wake)
    erasing = app.add(Erasing(store, clock, relay.wake, sweep_seconds=settings.sweep_seconds))
    profiles = ProfileMessages(store, clock, dispatcher.wake, erasing.wake)
    app.add(Consumer(bus, DEFINITIONS, "forwarder-definitions", definitions.handle, service=settings.service))
    app.add(Consumer(bus, MEMBERSHIPS, "forwarder-memberships", memberships.handle, service=settings.service))
    app.add(Consumer(bus, EVENTS, "forwarder-profiles", profiles.handle, service=settings.service, filter_subjects=["muster.profiles.*"]))
    server = app.add(GrpcServer(settings, clock))
    configuration_api = ConfigurationApi(store, connectors, lines, dispatcher, relay, clock, allow_private=settings.allow_private_targets)
    server.add(add_ConfigurationServiceServicer_to_server, configuration_api, "muster.forwarder.v1.ConfigurationService")
    connection_api = ConnectionApi(store, connectors, dispatcher, snapshots, relay, clock)
    server.add(add_ConnectionServiceServicer_to_server, connection_api, "muster.forwarder.v1.ConnectionService")
    add_audit(server, database, AUDIT)
    add_operations(server, bus, settings, clock)
    return server


def main() -> None:
    """The process."""
    run(ForwarderSettings, build)
