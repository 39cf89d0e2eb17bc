"""Scenario files: read into plain values. README.md has the format."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from muster.definition.v1 import account_pb2
from muster.definition.v1 import definition_pb2 as pb
from muster.definition.v1.account_pb2 import AttributeType
from muster.ingest.v1.event_type_pb2 import EventType
from muster.ingest.v1.identity_pb2 import IdentityType

from tests.model import facts, reference

FOLDER = Path(__file__).parent
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
DURATION_UNITS = {"s": "SECOND", "m": "MINUTE", "h": "HOUR", "d": "DAY", "w": "WEEK"}
CONTEXT = {"version": "application_version", "build": "application_build", "platform": "platform", "os_version": "os_version"}
DETAILS = ("attributes", "products", "transaction_id", "total_amount", "currency_code")
DEVICE = ("platform", "manufacturer", "model", "os_version", "carrier", "language", "country")
DAY_MS = 86_400_000
MAIN = 1  # the id of the audience that the file is about


class _Loader(yaml.SafeLoader):
    """Dates stay text, only true and false are booleans (`on` is a name), and a number with a point keeps its digits."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(("timestamp", "bool"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("true|false"), ["t", "f"])
_Loader.add_constructor("tag:yaml.org,2002:float", lambda loader, node: Decimal(node.value))


@dataclass(frozen=True)
class Told:
    """A fact about a person and the instant at which it arrives."""

    person: str
    arrives: int
    fact: facts.Fact


@dataclass(frozen=True)
class Scenario:
    name: str
    rule: str
    now: int
    look_back_ms: int
    workspaces: dict[int, list[int]]
    audiences: dict[int, reference.Audience]  # in an order in which they can be activated; the last is MAIN
    people: list[str]
    told: list[Told]  # in the order in which it arrives
    expected: list[tuple[int, set[str]]]  # the members at each instant, ascending
    not_by: dict[str, str]  # ways that can't take this file, and why
    types: dict[int, dict[str, str]] = field(default_factory=dict)  # of user attributes, in each workspace
    event_types: dict[int, dict[str, str]] = field(default_factory=dict)

    @property
    def audience(self) -> reference.Audience:
        return self.audiences[MAIN]

    def overrides(self, workspace: int) -> list[account_pb2.AttributeOverride]:
        """Those of a workspace, as the contract has them."""
        kinds = {account_pb2.ATTRIBUTE_KIND_USER: self.types, account_pb2.ATTRIBUTE_KIND_EVENT: self.event_types}
        return [
            account_pb2.AttributeOverride(kind=kind, attribute=name, type=AttributeType.Value(_whole(type_, AttributeType.DESCRIPTOR)))
            for kind, types in kinds.items()
            for name, type_ in types.get(workspace, {}).items()
        ]


@cache
def scenarios() -> list[Scenario]:
    return [read(path.stem, path.read_text()) for path in sorted(FOLDER.glob("*.yaml"))]


def read(name: str, written: str) -> Scenario:
    raw = yaml.load(written, _Loader)
    now = instant(raw["now"], 0)
    workspaces = raw.get("workspaces", {1: [11]})
    scope = raw.get("audience", {})
    inner = {audience_id: _audience(tree, scope) for audience_id, tree in raw.get("inner", {}).items()}
    told = [Told(person, *one) for person, about in raw["people"].items() for one in _told(dict(about or {}), now, workspaces)]
    unknown = raw.keys() - {
        "rule", "now", "look_back", "workspaces", "audience", "definition", "inner", "people", "members", "later", "not_by",
        "types", "event_types",
    }  # fmt: skip
    assert not unknown, f"{name}: {unknown}"
    return Scenario(
        name=name,
        rule=raw["rule"],
        now=now,
        look_back_ms=_length(raw.get("look_back", "30d")),
        workspaces=workspaces,
        audiences={**inner, MAIN: _audience({"definition": raw["definition"]}, scope)},
        people=list(raw["people"]),
        told=sorted(told, key=lambda one: one.arrives),
        expected=[(now, set(raw["members"])), *((instant(then["at"], now), set(then["members"])) for then in raw.get("later", []))],
        not_by=raw.get("not_by", {}),
        types=raw.get("types", {}),
        event_types=raw.get("event_types", {}),
    )


def _audience(raw: dict[str, Any], default: dict[str, Any]) -> reference.Audience:
    """A definition as it stands, or with the workspaces and inputs of its own."""
    scope = {**default, **raw} if "definition" in raw else default
    tree = raw.get("definition", raw)
    return reference.Audience(definition(tree), tuple(scope.get("workspaces", [1])), tuple(scope.get("inputs", [])))


# --- what is told


def _told(about: dict[str, Any], now: int, workspaces: dict[int, list[int]]) -> list[tuple[int, facts.Fact]]:
    """When each arrives, and what it is; a person of whom nothing else shows it at the first instant gives a sign of life then."""
    active_in = about.pop("active_in", [next(iter(workspaces))])
    told = list(_facts(about, now, workspaces))
    seen_in = {workspace_of(fact, workspaces) for arrives, fact in told if arrives <= now}
    return [*((now, facts.Here(workspace, now)) for workspace in active_in if workspace not in seen_in), *told]


def workspace_of(fact: facts.Fact, workspaces: dict[int, list[int]]) -> int | None:
    """Where a fact shows its person active; a merge and a deletion show it nowhere."""
    match fact:
        case facts.MergedInto() | facts.Deleted():
            return None
        case facts.Event():
            return next(workspace for workspace, inputs in workspaces.items() if fact.input_id in inputs)
        case _:
            return fact.workspace_id


def _facts(about: dict[str, Any], now: int, workspaces: dict[int, list[int]]) -> Iterator[tuple[int, facts.Fact]]:
    """What a file tells of one person, kind after kind; nothing of it is left unread."""

    def all_of(kind: str) -> Iterator[tuple[dict[str, Any], int, int, int]]:
        for one in map(dict, about.pop(kind, [])):
            arrives, at = instant(one.pop("arrives", "0s"), now), instant(one.pop("at", "0s"), now)
            yield one, arrives, at, one.pop("workspace", next(iter(workspaces)))

    for one, arrives, at, workspace in all_of("seen"):
        yield arrives, facts.Here(workspace, at, **one)
    for one, arrives, at, workspace in all_of("identities"):
        kind = IdentityType.Value(_whole(one.pop("type"), IdentityType.DESCRIPTOR))
        yield arrives, facts.IdentityTold(workspace, kind, one.pop("value"), at, **one)
    for one, arrives, at, workspace in all_of("devices"):
        assert not one.keys() - set(DEVICE), one
        yield arrives, facts.DeviceTold(workspace, one, at)
    for one, arrives, at, workspace in all_of("consents"):
        yield arrives, facts.ConsentTold(workspace, one.pop("regulation"), one.pop("purpose", ""), one.pop("consented"), at, **one)
    for one, arrives, at, workspace in all_of("attributions"):
        yield arrives, facts.AttributionTold(workspace, one.pop("publisher", ""), one.pop("campaign", ""), at, **one)
    for one, arrives, at, workspace in all_of("attributes"):
        yield arrives, facts.AttributeChange(workspace, one.pop("name"), one.pop("value"), at, **one)
    for one, arrives, at, workspace in all_of("events"):
        event_type = EventType.Value(_whole(one.pop("type", "CUSTOM"), EventType.DESCRIPTOR))
        input_id, name = one.pop("input", workspaces[workspace][0]), one.pop("name", "")
        context = facts.Context(**{field: one.pop(short) for short, field in CONTEXT.items() if short in one})
        yield arrives, facts.Event(input_id, event_type, name, at, _details(one), context)
    for merged in _each(about.pop("merged_into", [])):
        yield instant(merged["at"], now), facts.MergedInto(merged["person"])
    for deleted in _each(about.pop("deleted", [])):
        yield instant(deleted["at"], now), facts.Deleted()
    assert not about, about


def _each(one_or_more: Any) -> list[dict[str, Any]]:
    return one_or_more if isinstance(one_or_more, list) else [one_or_more]


def _details(one: dict[str, Any]) -> dict[str, Any]:
    """As `muster.ingest.v1.EventBatch` has them."""
    details = {key: one.pop(key) for key in DETAILS if key in one}
    if "location" in one:
        details["location"] = dict(zip(("latitude", "longitude"), one.pop("location"), strict=True))
    if "session_duration" in one:
        details["session_duration_ms"] = _length(one.pop("session_duration"))
    assert not one, one
    return details


# --- definitions


def definition(tree: dict[str, Any]) -> pb.Definition:
    whole = tree if "root" in tree else {"root": tree}
    return json_format.ParseDict(_spelled_out(whole, pb.Definition.DESCRIPTOR), pb.Definition())


def _spelled_out(tree: Mapping[str, Any], message: Descriptor) -> dict[str, Any]:
    """Protobuf JSON from the short forms: `DAY` for DURATION_UNIT_DAY, `7d` for a duration, `2024-09-05` for a date."""
    return {
        key: [_value(one, message.fields_by_name[key]) for one in value]
        if isinstance(value, list)
        else _value(value, message.fields_by_name[key])
        for key, value in tree.items()
    }


def _value(value: Any, field: FieldDescriptor) -> Any:
    if field.enum_type is not None:
        return _whole(value, field.enum_type)
    if field.message_type is None:
        return str(value) if field.type == FieldDescriptor.TYPE_STRING else float(value) if isinstance(value, Decimal) else value
    if field.message_type.name == "Duration" and isinstance(value, str):
        return {"count": int(value[:-1]), "unit": f"DURATION_UNIT_{DURATION_UNITS[value[-1]]}"}
    if field.message_type.name == "Date" and isinstance(value, str):
        return dict(zip(("year", "month", "day"), map(int, value.split("-")), strict=True))
    return _spelled_out(value or {}, field.message_type)


def _whole(value: str, enum: EnumDescriptor) -> str:
    prefix = enum.values[0].name.removesuffix("UNSPECIFIED")
    return value if value.startswith(prefix) else prefix + value


# --- times


def instant(written: str, now: int) -> int:
    """A time with its zone, or a distance from now."""
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
