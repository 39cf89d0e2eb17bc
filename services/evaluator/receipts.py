"""The facts that tell that nothing is held any more of somebody who was deleted (ERASURES, ErasureDone)."""

from __future__ import annotations

from muster.ingest.v1 import facts_pb2

from services.chassis.bus import headers_of
from services.chassis.publisher import Outgoing
from services.chassis.streams import ERASURES, account_subject


def erasure_done(account_id: int, mpid: int, sequence: int, removed: int, *, now_ms: int) -> Outgoing:
    """The receipt for somebody who was deleted by the message of this sequence, and of whom there were so many rows."""
    places = ["events", "attributes", "audiences"]
    done = facts_pb2.ErasureDone(account_id=account_id, mpid=mpid, service="evaluator", removed=removed, places=places, time_ms=now_ms)
    message_id = f"evaluator.{account_id}.{mpid}.{sequence}"
    return Outgoing(account_subject(ERASURES, account_id), done.SerializeToString(), message_id, headers_of(account_id))
