"""The facts that the forwarder tells: faults raised, and cleared by a person."""

from __future__ import annotations

from muster.forwarder.v1 import facts_pb2

from services.chassis.bus import Outgoing, headers_of
from services.chassis.streams import FAULTS, account_subject
from services.forwarder import translate
from services.forwarder.domain.connections import Connection


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
