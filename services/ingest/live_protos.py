"""What an input sent lately, as the contract has it."""

from __future__ import annotations

from muster.ingest.v1 import identity_pb2, live_pb2
from muster.ingest.v1.event_type_pb2 import EventType

from services.ingest.domain.live import Live, Received
from services.ingest.domain.model import Fault


def statistics_to_proto(input_id: int, live: Live, now_ms: int) -> live_pb2.InputStatistics:
    """The counts."""
    return live_pb2.InputStatistics(
        input_id=input_id,
        since_ms=live.since_ms,
        as_of_ms=now_ms,
        accepted_batches=live.batches,
        accepted_events=live.events,
        types=[live_pb2.TypeCount(type=EventType.ValueType(type_), events=events) for type_, events in live.types.most_common()],
        refusals=[live_pb2.RefusalCount(reason=reason, count=count) for reason, count in live.refusals.most_common()],
        ahead_events=live.ahead,
        last_receive_time_ms=live.last_ms,
        new_names=[
            live_pb2.NewName(type=EventType.ValueType(type_), name=name, receive_time_ms=at) for type_, name, at in reversed(live.new_names)
        ],
    )


def received_to_proto(received: Received) -> live_pb2.Received:
    """One thing that was received."""
    told = live_pb2.Received(receive_time_ms=received.receive_time_ms)
    what = received.what
    if isinstance(what, Fault):
        told.fault.CopyFrom(live_pb2.ReceivedFault(field=what.place, description=what.description, reason=what.reason.value))
        return told
    told.event.identities.extend(identity_pb2.Identity(type=one.type, value=one.value) for one in what.identities)  # type: ignore[arg-type]
    told.event.new_name = what.new_name
    if (event := what.event) is not None:
        told.event.type = EventType.ValueType(event.type)
        told.event.name = event.name
        told.event.time_ms = event.time_ms
        told.event.source_message_id = event.message_id
        told.event.details = event.details
    return told
