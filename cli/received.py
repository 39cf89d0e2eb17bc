"""What an input sends, for people: its counts, and a line for each thing."""

from __future__ import annotations

from muster.ingest.v1 import live_pb2
from muster.ingest.v1.event_type_pb2 import EventType
from muster.ingest.v1.identity_pb2 import IdentityType
from rich.markup import escape

from cli.output import count, when, word

_NAMES_SHOWN = 10


def figures(told: live_pb2.InputStatistics) -> list[tuple[str, object]]:
    """The counts of an input, by what they are called."""
    types = ", ".join(f"{_type(one.type)} {count(one.events)}" for one in told.types)
    refusals = ", ".join(f"{one.reason} {count(one.count)}" for one in told.refusals)
    names = ", ".join(f"{one.name!r} ({_type(one.type)})" for one in told.new_names[:_NAMES_SHOWN])
    return [
        ("since", when(told.since_ms)),
        ("accepted", f"{count(told.accepted_events)} events in {count(told.accepted_batches)} batches"),
        ("by type", types),
        ("refused", refusals),
        ("ahead of now", f"{count(told.ahead_events)} events by more than an hour" if told.ahead_events else ""),
        ("newest names", names),
        ("last received", when(told.last_receive_time_ms)),
    ]


def line(one: live_pb2.Received) -> str:
    """A line for one thing that was received, as markup."""
    at = f"[dim]{when(one.receive_time_ms)}[/]"
    if one.HasField("fault"):
        place = f"{one.fault.field}: " if one.fault.field else ""
        return f"{at}  [red]refused[/]  {one.fault.reason}  {_plain(place + one.fault.description)}"
    event = one.event
    kind = _type(event.type) if event.type else "no event"
    name = f"  [bold]{_plain(event.name)}[/]" if event.name else ""
    new = "  [green]new[/]" if event.new_name and event.name else ""
    people = ", ".join(f"{word(IdentityType.Name(identity.type), 'IDENTITY_TYPE_')} {identity.value}" for identity in event.identities)
    return f"{at}  {kind}{name}{new}  {_plain(people)}  [dim]{_plain(event.details)}[/]"


def _type(number: EventType.ValueType) -> str:
    return word(EventType.Name(number), "EVENT_TYPE_")


def _plain(text: str) -> str:
    """Text of a stranger: nothing in it moves the cursor or changes colours, and no markup is read."""
    return escape("".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text))
