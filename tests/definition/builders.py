"""Definitions for tests, in a word each: `definition(all_of(event("session_start"), attribute("plan", equals("gold"))))`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from google.type import date_pb2
from muster.definition.v1 import definition_pb2 as pb
from muster.ingest.v1 import event_type_pb2

from services.definition.domain.validation import OtherAudience, Surroundings

NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
WORKSPACE, OTHER_WORKSPACE = 1, 2
IOS, FEED, OTHER_INPUT = 11, 12, 21


def around(**changes: Any) -> Surroundings:
    """An account of two workspaces, with a look-back of 30 days and no audiences, and an audience of the first workspace."""
    values: dict[str, Any] = {
        "look_back_days": 30,
        "workspaces": frozenset({WORKSPACE, OTHER_WORKSPACE}),
        "inputs": {IOS: WORKSPACE, FEED: WORKSPACE, OTHER_INPUT: OTHER_WORKSPACE},
        "workspace_ids": (WORKSPACE,),
    }
    return Surroundings(**{**values, **changes})


def other(*uses: int, name: str = "other", active: bool = True) -> OtherAudience:
    return OtherAudience(name, active, frozenset(uses))


def definition(root: pb.Node) -> pb.Definition:
    return pb.Definition(root=root)


def everyone(node_id: str = "") -> pb.Node:
    return pb.Node(id=node_id, everyone=pb.Everyone())


def all_of(*nodes: pb.Node, node_id: str = "") -> pb.Node:
    return pb.Node(id=node_id, all=pb.Group(nodes=nodes))


def any_of(*nodes: pb.Node, node_id: str = "") -> pb.Node:
    return pb.Node(id=node_id, any=pb.Group(nodes=nodes))


def exclude(node: pb.Node, node_id: str = "") -> pb.Node:
    return pb.Node(id=node_id, exclude=pb.Exclude(node=node))


def criterion(node_id: str = "", workspace: int = 0, **kind: Any) -> pb.Node:
    return pb.Node(id=node_id, criterion=pb.Criterion(workspace_id=workspace, **kind))


def event(
    event_type: str = "SESSION_START",
    *,
    name: str | None = None,
    frequency: pb.FrequencyTest | None = None,
    when: pb.Period | None = None,
    node_id: str = "",
    **match: Any,
) -> pb.Node:
    if name is not None:
        match["name"] = name
    events = pb.EventMatch(type=event_type_pb2.EventType.Value(f"EVENT_TYPE_{event_type}"), **match)
    return criterion(node_id, event=pb.EventCriterion(match=events, frequency=frequency, when=when))


def attribute(name: str, test: pb.ValueTest, *, workspace: int = 0, node_id: str = "") -> pb.Node:
    return criterion(node_id, workspace, user_attribute=pb.UserAttributeCriterion(attribute=name, test=test))


def member_of(audience_id: int, node_id: str = "") -> pb.Node:
    return criterion(node_id, member_of=pb.MemberOfCriterion(audience_id=audience_id))


def equals(text: str) -> pb.ValueTest:
    return pb.ValueTest(string=pb.StringTest(operator=pb.STRING_OPERATOR_EQUALS, value=text))


def one_of(*texts: str) -> pb.ValueTest:
    return pb.ValueTest(string=pb.StringTest(operator=pb.STRING_OPERATOR_IN, values=texts))


def number(value: str, comparison: str = "GREATER", upper: str = "") -> pb.ValueTest:
    return pb.ValueTest(number=pb.NumberTest(comparison=pb.Comparison.Value(f"COMPARISON_{comparison}"), value=value, upper=upper))


def dated(when: pb.Period) -> pb.ValueTest:
    return pb.ValueTest(date=pb.DateTest(when=when))


def times(comparison: str, value: int, upper: int = 0) -> pb.FrequencyTest:
    return pb.FrequencyTest(comparison=pb.Comparison.Value(f"COMPARISON_{comparison}"), value=value, upper=upper)


def duration(count: int, unit: str = "DAY") -> pb.Duration:
    return pb.Duration(count=count, unit=pb.DurationUnit.Value(f"DURATION_UNIT_{unit}"))


def last(count: int, unit: str = "DAY") -> pb.Period:
    return pb.Period(last=duration(count, unit))


def ago(older: pb.Duration, newer: pb.Duration) -> pb.Period:
    # `from` is a word of Python.
    return pb.Period(ago=pb.Ago(**{"from": older, "to": newer}))


def day(text: str) -> date_pb2.Date:
    """`2026-01-31`; parts that no calendar has are kept."""
    year, month, number_of_day = (int(part) for part in text.split("-"))
    return date_pb2.Date(year=year, month=month, day=number_of_day)


def between(first: str, last_day: str) -> pb.Period:
    return pb.Period(between=pb.DateRange(first=day(first), last=day(last_day)))


def seed() -> pb.Definition:
    """Installed in the last 72 hours, and fewer than 3 sessions."""
    return definition(all_of(event("INSTALL", when=last(72, "HOUR")), event("SESSION_START", frequency=times("LESS", 3))))
