"""What the audit log keeps of configurations and connections: their states as answers have them, without secrets."""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from services.chassis.audit import Change
from services.forwarder import translate
from services.forwarder.domain.connections import Connection
from services.forwarder.stores.configurations import Configuration


def connection_change(before: Connection | None, after: Connection) -> Change:
    """What became of a connection; None: it was made."""
    was = None if before is None else _as_json(translate.connection(before, waiting=0, rejected=0))
    return Change("connection", after.id, was, _as_json(translate.connection(after, waiting=0, rejected=0)))


def configuration_change(before: Configuration | None, after: Configuration | None, id: int) -> Change:
    """What became of a configuration; None: it was made, or deleted. That its secrets are others, only the etag tells."""
    was, now = (None if one is None else _as_json(translate.configuration(one, faulted=0)) for one in (before, after))
    return Change("configuration", id, was, now)


def _as_json(state: Message) -> dict[str, Any]:
    told: dict[str, Any] = MessageToDict(state, preserving_proto_field_name=True)
    return told
