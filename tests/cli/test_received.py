"""Lines for what an input sends."""

from __future__ import annotations

from muster.ingest.v1 import event_type_pb2, identity_pb2, live_pb2
from rich.text import Text

from cli.received import line


def plain(received: live_pb2.Received) -> str:
    return Text.from_markup(line(received)).plain


def test_an_event_is_a_line_with_its_people_and_details() -> None:
    event = live_pb2.ReceivedEvent(type=event_type_pb2.EVENT_TYPE_CUSTOM, name="Viewed", details='{"attributes":{"n":1}}', new_name=True)
    event.identities.add(type=identity_pb2.IDENTITY_TYPE_CUSTOMER_ID, value="c-1")
    told = plain(live_pb2.Received(receive_time_ms=1_760_000_000_000, event=event))
    assert told == '2025-10-09 08:53:20 UTC  custom  Viewed  new  customer id c-1  {"attributes":{"n":1}}'


def test_a_fault_is_a_line_with_its_place() -> None:
    fault = live_pb2.ReceivedFault(field="[1].events", description="must be a list", reason="WRONG_TYPE")
    assert plain(live_pb2.Received(fault=fault)).endswith("refused  WRONG_TYPE  [1].events: must be a list")


def test_what_a_stranger_sends_neither_moves_the_cursor_nor_is_markup() -> None:
    event = live_pb2.ReceivedEvent(type=event_type_pb2.EVENT_TYPE_CUSTOM, name="\x1b[2J[red]x\n\u202e", details='{"a":"[/]\x9b"}')
    told = line(live_pb2.Received(event=event))
    assert told.isprintable()
    assert "\\x1b[2J[red]x\\n\\u202e" in Text.from_markup(told).plain
    assert '{"a":"[/]\\x9b"}' in Text.from_markup(told).plain
