"""The JetStream streams of an installation: their names, subjects and how long each keeps its messages."""

from __future__ import annotations

from dataclasses import dataclass

EVENTS = "EVENTS"
DEFINITIONS = "DEFINITIONS"
MEMBERSHIPS = "MEMBERSHIPS"
CONNECTIONS = "CONNECTIONS"
FAULTS = "FAULTS"
SHARES = "SHARES"
EXPORTS = "EXPORTS"
ERASURES = "ERASURES"
DEADLETTERS = "DEADLETTERS"

_DAY = 24 * 3600
DUPLICATE_WINDOW_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream; `max_age_seconds` 0 keeps for good, `per_subject` -1 keeps every message of a subject."""

    name: str
    subjects: tuple[str, ...]
    description: str
    max_age_seconds: int = 0
    per_subject: int = -1


STREAMS = (
    Stream(
        EVENTS,
        ("muster.events.*", "muster.profiles.*"),
        "Resolved events and changes of profiles, by partition: one order for a person.",
        max_age_seconds=31 * _DAY,
    ),
    Stream(
        DEFINITIONS,
        ("muster.definitions.>",),
        "The newest state of every account, workspace, input and audience.",
        per_subject=1,
    ),
    Stream(MEMBERSHIPS, ("muster.memberships.*.*",), "Who entered and who left each audience.", max_age_seconds=7 * _DAY),
    Stream(CONNECTIONS, ("muster.connections.*.*",), "The newest state of every connection of an audience to a partner.", per_subject=1),
    Stream(FAULTS, ("muster.faults.*",), "Faults of connections, raised and cleared.", max_age_seconds=31 * _DAY),
    Stream(SHARES, ("muster.shares.*",), "Shares between accounts, started and ended.", max_age_seconds=31 * _DAY),
    Stream(EXPORTS, ("muster.exports.*",), "Finished exports.", max_age_seconds=31 * _DAY),
    Stream(ERASURES, ("muster.erasures.*",), "What services removed of people who were deleted.", max_age_seconds=31 * _DAY),
    Stream(DEADLETTERS, ("muster.deadletters.*",), "Messages that a service could not handle, with the reason.", max_age_seconds=90 * _DAY),
)


def events_subject(partition: int) -> str:
    """Where the batches of events of a partition go."""
    return f"muster.events.{partition}"


def profiles_subject(partition: int) -> str:
    """Where the changes of the profiles of a partition go."""
    return f"muster.profiles.{partition}"


def definitions_subject(account_id: int, kind: str, id: int) -> str:
    """Where the states of one definition go; `kind` is account, workspace, input or audience."""
    return f"muster.definitions.{account_id}.{kind}.{id}"


def memberships_subject(account_id: int, audience_id: int) -> str:
    """Where the changes of the members of an audience go."""
    return f"muster.memberships.{account_id}.{audience_id}"


def connections_subject(account_id: int, connection_id: int) -> str:
    """Where the states of a connection go."""
    return f"muster.connections.{account_id}.{connection_id}"


def account_subject(stream: str, account_id: int) -> str:
    """Where an account's messages of FAULTS, SHARES, EXPORTS or ERASURES go."""
    return f"muster.{stream.lower()}.{account_id}"


def deadletters_subject(service: str) -> str:
    """Where the dead letters of a service go."""
    return f"muster.deadletters.{service}"
