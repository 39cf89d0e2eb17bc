"""The facts that tell that a service holds nothing any more of somebody who was deleted (ERASURES, ErasureDone)."""

from __future__ import annotations

from collections.abc import Sequence

from muster.ingest.v1 import facts_pb2

from services.chassis.bus import headers_of
from services.chassis.publisher import Outgoing
from services.chassis.streams import ERASURES, account_subject


def erasure_done(account_id: int, mpid: int, *, service: str, removed: int, places: Sequence[str], cause: int, now_ms: int) -> Outgoing:
    """The receipt: the service had so many records of the person; `cause` is the same however often the deletion is told."""
    done = facts_pb2.ErasureDone(account_id=account_id, mpid=mpid, service=service, removed=removed, places=places, time_ms=now_ms)
    message_id = f"{service}.{account_id}.{mpid}.{cause}"
    return Outgoing(account_subject(ERASURES, account_id), done.SerializeToString(), message_id, headers_of(account_id))
