"""The facts that the forwarder tells: faults raised, and cleared by a person; that somebody who was deleted is gone from all partners."""

from __future__ import annotations

from muster.forwarder.v1 import facts_pb2
from muster.ingest.v1 import facts_pb2 as ingest_facts_pb2

from services.chassis.bus import Outgoing, headers_of
from services.chassis.streams import ERASURES, FAULTS, account_subject
from services.forwarder import translate
from services.forwarder.domain.connections import Connection
from services.forwarder.stores.erasures import Erasure


def fault_raised(connection: Connection, *, waiting: int, now_ms: int) -> Outgoing:
    """The connection was faulted."""
    return _fact(connection, raised=True, waiting=waiting, now_ms=now_ms)


def fault_cleared(connection: Connection, *, waiting: int, now_ms: int) -> Outgoing:
    """A person resumed, or deleted, the faulted connection."""
    return _fact(connection, raised=False, waiting=waiting, now_ms=now_ms)


def erasure_done(erasure: Erasure, *, now_ms: int) -> Outgoing:
    """No partner has anything any more of somebody who was deleted, nor has the forwarder."""
    done = ingest_facts_pb2.ErasureDone(
        account_id=erasure.account_id,
        mpid=erasure.mpid,
        service="forwarder",
        removed=erasure.records,
        places=erasure.places,
        time_ms=now_ms,
    )
    return Outgoing(
        account_subject(ERASURES, erasure.account_id),
        done.SerializeToString(),
        f"forwarder.{erasure.account_id}.{erasure.mpid}.{erasure.since_ms}",
        headers_of(erasure.account_id),
    )


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
