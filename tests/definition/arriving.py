"""Messages as ingest publishes them, for tests of the catalogue."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from muster.ingest.v1 import facts_pb2
from muster.ingest.v1.event_type_pb2 import EVENT_TYPE_CUSTOM, EVENT_TYPE_SESSION_START

from services.chassis.bus import Bus
from services.chassis.streams import events_subject, profiles_subject

CUSTOM, SESSION_START = EVENT_TYPE_CUSTOM, EVENT_TYPE_SESSION_START
ARRIVED_MS = 1_768_478_400_000

_people = itertools.count(1)


def event(name: str = "buy", *, type: int = CUSTOM, mpid: int = 0, products: Sequence[Any] = (), **attributes: Any) -> Any:
    """An event of somebody, by default of somebody else each time."""
    details = {**({"attributes": attributes} if attributes else {}), **({"products": list(products)} if products else {})}
    return type, name, mpid or next(_people), json.dumps(details) if details else ""


def batch(account_id: int, workspace_id: int, input_id: int, *events: Any, arrived_ms: int = ARRIVED_MS) -> facts_pb2.EventBatch:
    """Of one input."""
    kinds: dict[tuple[int, str], int] = {}
    made = facts_pb2.EventBatch(batch_id=uuid4().hex, account_id=account_id, receive_time_ms=arrived_ms)
    made.sources.add(input_id=input_id, workspace_id=workspace_id)
    for type_, name, mpid, details in events:
        made.mpids.append(mpid)
        made.source_indexes.append(0)
        made.kind_indexes.append(kinds.setdefault((type_, name), len(kinds)))
        made.details.append(details)
    made.kinds.extend(facts_pb2.EventKind(type=type_, name=name) for type_, name in kinds)  # type: ignore[arg-type]
    return made


def profiles(account_id: int, workspace_id: int, input_id: int, *people: dict[str, str]) -> facts_pb2.ProfileChanges:
    """New attributes, of somebody else each."""
    made = facts_pb2.ProfileChanges(batch_id=uuid4().hex, account_id=account_id, receive_time_ms=ARRIVED_MS)
    for attributes in people:
        change = made.changes.add(mpid=next(_people), workspace_id=workspace_id, input_id=input_id)
        for name, value in attributes.items():
            change.set_attributes[name].string_value = value
    return made


async def publish(bus: Bus, *facts: facts_pb2.EventBatch | facts_pb2.ProfileChanges) -> None:
    """To the stream EVENTS, under a message id of its own each."""
    for fact in facts:
        subject = events_subject(0) if isinstance(fact, facts_pb2.EventBatch) else profiles_subject(0)
        await bus.publish(subject, fact.SerializeToString(), message_id=uuid4().hex)
