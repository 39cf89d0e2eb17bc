"""What the audit log keeps of configurations and connections: their states as answers have them, without secrets."""

from __future__ import annotations

from services.chassis.audit import Change, json_of
from services.forwarder import translate
from services.forwarder.domain.connections import Connection
from services.forwarder.stores.configurations import Configuration


def connection_change(before: Connection | None, after: Connection) -> Change:
    """What became of a connection; None: it was made."""
    was = None if before is None else json_of(translate.connection(before, waiting=0, rejected=0))
    return Change("connection", after.id, was, json_of(translate.connection(after, waiting=0, rejected=0)))


def configuration_change(before: Configuration | None, after: Configuration | None, id: int) -> Change:
    """What became of a configuration; None: it was made, or deleted. That its secrets are others, only the etag tells."""
    was, now = (None if one is None else json_of(translate.configuration(one, faulted=0)) for one in (before, after))
    return Change("configuration", id, was, now)
