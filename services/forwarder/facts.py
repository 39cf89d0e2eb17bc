"""The facts that the forwarder tells: the states of connections; faults raised, and cleared by a person."""

from __future__ import annotations

from muster.forwarder.v1 import facts_pb2

from services.chassis.bus import Outgoing, headers_of
from services.chassis.streams import FAULTS, account_subject, connections_subject
from services.forwarder import translate
from services.forwarder.domain.connections import Connection
from services.forwarder.stores.configurations import Configuration


def connection_changed(connection: Connection, configuration: Configuration | None) -> Outgoing:
    """The connection was made, changed or deleted."""
    fact = facts_pb2.ConnectionFact(
        account_id=connection.account_id,
        version=connection.version,
        change_time_ms=connection.update_time_ms,
        connection=translate.connection(connection, waiting=0, rejected=0),
        integration_key=configuration.integration_key if configuration else "",
        configuration_name=configuration.name if configuration else "",
    )
    return Outgoing(
        connections_subject(connection.account_id, connection.id),
        fact.SerializeToString(),
        f"connection-{connection.id}-{connection.version}",
        headers_of(connection.account_id),
    )


def fault_raised(connection: Connection, *, waiting: int, now_ms: int) -> Outgoing:
    """The connection was faulted."""
    return _fact(connection, raised=True, waiting=waiting, now_ms=now_ms)


def fault_cleared(connection: Connection, *, waiting: int, now_ms: int) -> Outgoing:
    """A person resumed, or deleted, the faulted connection."""
    return _fact(connection, raised=False, waiting=waiting, now_ms=now_ms)


def _fact(connection: Connection, *, raised: bool, waiting: int, now_ms: int) -> Outgoing:
    fact = facts_pb2.FaultFact(
        account_id=connection.account_id,
        version=connection.version,
        change_time_ms=now_ms,
        raised=raised,
        connection=translate.connection(connection, waiting=waiting, rejected=0),
    )
    return Outgoing(
        account_subject(FAULTS, connection.account_id),
        fact.SerializeToString(),
        f"fault-{connection.id}-{connection.version}",
        headers_of(connection.account_id),
    )
