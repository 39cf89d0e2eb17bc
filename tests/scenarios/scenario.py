"""Scenario files: read into plain values. README.md has the format."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format
from muster.definition.v1 import definition_pb2 as pb
from muster.ingest.v1.event_type_pb2 import EventType

from tests.model import reference

FOLDER = Path(__file__).parent
UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Loader(yaml.SafeLoader):
    """Dates stay text, and only true and false are booleans: `on` is a name."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(("timestamp", "bool"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("true|false"), ["t", "f"])


@dataclass(frozen=True)
class Told:
    """A fact about a person and the instant at which it arrives."""

    person: str
    arrives: int
    fact: reference.Event | reference.AttributeChange


@dataclass(frozen=True)
class Scenario:
    name: str
    rule: str
    now: int
    look_back_ms: int
    workspaces: dict[int, list[int]]
    audience: reference.Audience
    inner: dict[int, reference.Audience]
    active_in: dict[str, set[int]]
    told: list[Told]
    expected: list[tuple[int, set[str]]]  # the members at each instant, ascending


def scenarios() -> list[Scenario]:
    return [_read(path.stem, yaml.load(path.read_text(), _Loader)) for path in sorted(FOLDER.glob("*.yaml"))]


def _read(name: str, raw: dict[str, Any]) -> Scenario:
    now = _instant(raw["now"], 0)
    workspaces = raw.get("workspaces", {1: [11]})
    audience = raw.get("audience", {})
    scope = tuple(audience.get("workspaces", [1])), tuple(audience.get("inputs", []))
    first_input = next(iter(workspaces.values()))[0]
    told = []
    for person, about in raw["people"].items():
        for event in about.get("events", []):
            kind = EventType.Value(event.get("type", "EVENT_TYPE_CUSTOM"))
            fact = reference.Event(event.get("input", first_input), kind, event.get("name", ""), _instant(event["at"], now))
            told.append(Told(person, _instant(event.get("arrives", "0s"), now), fact))
        for change in about.get("attributes", []):
            value = reference.AttributeChange(
                change.get("workspace", 1), change["name"], change["value"], _instant(change.get("at", "0s"), now)
            )
            told.append(Told(person, now, value))
    later = [(_instant(then["at"], now), set(then["members"])) for then in raw.get("later", [])]
    return Scenario(
        name=name,
        rule=raw["rule"],
        now=now,
        look_back_ms=_length(raw.get("look_back", "30d")),
        workspaces=workspaces,
        audience=reference.Audience(_definition(raw["definition"]), *scope),
        inner={audience_id: reference.Audience(_definition(tree), *scope) for audience_id, tree in raw.get("inner", {}).items()},
        active_in={person: set(about.get("active_in", [1])) for person, about in raw["people"].items()},
        told=told,
        expected=[(now, set(raw["members"])), *later],
    )


def _definition(tree: dict[str, Any]) -> pb.Definition:
    return json_format.ParseDict(tree if "root" in tree else {"root": tree}, pb.Definition())


def _instant(written: str, now: int) -> int:
    if "T" in written:
        return (datetime.fromisoformat(written) - EPOCH) // timedelta(milliseconds=1)
    return now + _length(written)


def _length(written: str) -> int:
    assert re.fullmatch(r"([+-]?\d+(ms|s|m|h|d))+", written), written
    total, sign = 0, 1
    for signed, count, unit in re.findall(r"([+-]?)(\d+)(ms|s|m|h|d)", written):
        sign = {"+": 1, "-": -1, "": sign}[signed]
        total += sign * int(count) * UNITS[unit]
    return total
