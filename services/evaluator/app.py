"""The evaluator's process: its parts, in the order in which they start."""

from __future__ import annotations

from pathlib import Path

from muster.evaluator.v1 import evaluator_service_pb2 as pb
from muster.evaluator.v1 import evaluator_service_pb2_grpc as rpc

from services.chassis.app import App, run
from services.chassis.bus import Bus
from services.chassis.client import Tokens
from services.chassis.clock import Clock, SystemClock
from services.chassis.consumer import Consumer
from services.chassis.database import Database
from services.chassis.migrations import Migrations
from services.chassis.operations import add_operations
from services.chassis.outbox import Outbox, Relay
from services.chassis.server import GrpcServer
from services.chassis.streams import DEFINITIONS
from services.evaluator import tables
from services.evaluator.api import Evaluator
from services.evaluator.messages import Definitions
from services.evaluator.ownership import Ownership
from services.evaluator.peers import Peers
from services.evaluator.rounds import Rounds
from services.evaluator.settings import EvaluatorSettings
from services.evaluator.store import Store


async def build(app: App, settings: EvaluatorSettings) -> None:
    """The parts of the evaluator."""
    add_parts(app, settings, SystemClock())


def add_parts(app: App, settings: EvaluatorSettings, clock: Clock) -> tuple[GrpcServer, Rounds]:
    """Add every part to the app, with a clock of the caller's; the server and the rounds are told."""
    database = app.add(Database(settings.sql_url))
    app.add(Migrations(database, Path(__file__).parent / "migrations"))
    bus = app.add(Bus.from_settings(settings))
    relay = app.add(Relay(database, tables.outbox, bus))
    store = Store(database, Outbox(tables.outbox))
    server = GrpcServer(settings, clock)
    name = settings.replica_name
    ownership = app.add(Ownership(bus, name, lambda: settings.address_of(server.port), settings.partitions, settings.lease_seconds))
    rounds = app.add(Rounds(settings, store, bus, relay, clock, ownership))
    app.add(Consumer(bus, DEFINITIONS, f"evaluator-definitions-{name}", Definitions(store, rounds).handle, service=settings.service))
    peers = app.add(Peers(rounds, ownership, Tokens.from_settings(settings, clock)))
    app.add(server)
    service = pb.DESCRIPTOR.services_by_name["EvaluatorService"].full_name
    server.add(rpc.add_EvaluatorServiceServicer_to_server, Evaluator(rounds, peers, clock), service)
    add_operations(server, bus, settings, clock)
    return server, rounds


def main() -> None:
    """Run the evaluator until it is told to stop."""
    run(EvaluatorSettings, build)
