"""A connection: an audience, or one variation of it, at a configuration; its states and what moves it from one to another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from services.forwarder.domain.faults import Cause
from services.forwarder.errors import StaleEtag


class State(StrEnum):
    """What becomes of the changes of a connection."""

    SENDING = "sending"
    # By a person, or because the partner asked for it.
    PAUSED = "paused"
    # The partner did not take them: nothing is sent until a person resumes.
    FAULTED = "faulted"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a connection is FAULTED. `message` has the partner's status and words; `waiting_changes` is how many people waited then."""

    cause: Cause
    message: str
    time_ms: int
    waiting_changes: int


@dataclass(frozen=True, slots=True)
class Connection:
    """One connection. `delivered_members` counts the people in its ledger; `subscription` is what the partner answered at its start."""

    id: int
    account_id: int
    audience_id: int
    configuration_id: int
    create_time_ms: int
    update_time_ms: int
    variation: str = ""
    # Of the variation; 0: the whole audience.
    ab_test_id: int = 0
    variation_id: int = 0
    settings: Mapping[str, str] = field(default_factory=dict)
    state: State = State.SENDING
    version: int = 1
    fault: Fault | None = None
    pause_reason: str = ""
    subscribed: bool = False
    subscription: Mapping[str, str] = field(default_factory=dict)
    delivered_members: int = 0
    last_delivery_time_ms: int | None = None

    @property
    def etag(self) -> str:
        """Names this state; deliveries do not change it."""
        return str(self.version)


def paused(connection: Connection, *, reason: str, now_ms: int, etag: str = "") -> Connection:
    """The connection paused for this reason; one that does not send stays as it is."""
    _fresh(connection, etag)
    if connection.state is not State.SENDING:
        return connection
    return replace(connection, state=State.PAUSED, pause_reason=reason, version=connection.version + 1, update_time_ms=now_ms)


def resumed(connection: Connection, *, now_ms: int, etag: str = "") -> Connection:
    """The connection sending again; its fault or reason is gone."""
    _fresh(connection, etag)
    if connection.state is State.SENDING:
        return connection
    return replace(connection, state=State.SENDING, fault=None, pause_reason="", version=connection.version + 1, update_time_ms=now_ms)


def faulted(connection: Connection, fault: Fault) -> Connection:
    """The connection after the partner would not take more; only one that sends can be faulted."""
    if connection.state is not State.SENDING:
        return connection
    return replace(connection, state=State.FAULTED, fault=fault, version=connection.version + 1, update_time_ms=fault.time_ms)


def deleted(connection: Connection, *, now_ms: int, etag: str = "") -> Connection:
    """The connection at its end."""
    _fresh(connection, etag)
    return replace(connection, state=State.DELETED, version=connection.version + 1, update_time_ms=now_ms)


def _fresh(connection: Connection, etag: str) -> None:
    if etag and etag != connection.etag:
        raise StaleEtag("The connection was changed meanwhile: read it again.", connection_id=connection.id)
