"""A scenario as the text of its file, and the smallest one that fails a way."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

import yaml
from google.protobuf import json_format
from google.protobuf.message import Message
from muster.definition.v1 import definition_pb2 as pb
from muster.ingest.v1.event_type_pb2 import EventType
from muster.ingest.v1.identity_pb2 import IdentityType

from tests.model import facts, reference
from tests.scenarios.scenario import CONTEXT, MAIN, Scenario, Told

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Way = Callable[[Scenario], list[set[str]]]
M = TypeVar("M", bound=Message)


class _Dumper(yaml.SafeDumper):
    """Decimals with their digits."""


_Dumper.add_representer(Decimal, lambda dumper, number: dumper.represent_scalar("tag:yaml.org,2002:float", _decimal(number)))


def _decimal(number: Decimal) -> str:
    written = format(number, "f")
    return written if "." in written else f"{written}.0"


def written(scenario: Scenario) -> str:
    """The file; reading it gives the scenario again."""
    main = scenario.audience
    scope = {"workspaces": list(main.workspace_ids), "inputs": list(main.input_ids)}
    people: dict[str, Any] = {person: {"active_in": []} for person in scenario.people}
    for told in scenario.told:
        kind, about = _fact(told, scenario)
        people[told.person].setdefault(kind, []).append(about)
    inner = {id_: _audience(audience) for id_, audience in scenario.audiences.items() if id_ != MAIN}
    (now, members), *later = scenario.expected
    parts = {
        "rule": scenario.rule,
        "now": _instant(now),
        "look_back": f"{scenario.look_back_ms}ms",
        "workspaces": scenario.workspaces,
        **({"types": scenario.types} if scenario.types else {}),
        **({"event_types": scenario.event_types} if scenario.event_types else {}),
        "audience": scope,
        **({"inner": inner} if inner else {}),
        "definition": _definition(main),
        "people": people,
        "members": sorted(members),
        **({"later": [{"at": f"{at - now:+}ms", "members": sorted(who)} for at, who in later]} if later else {}),
    }
    return yaml.dump(parts, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=140, default_flow_style=None)


def smallest(scenario: Scenario, way: Way, right: Way) -> Scenario | None:
    """What is left of a scenario that a way gets wrong, or doesn't survive, when all is taken away that can be: of what is told, of the
    instants, of the people and of the definitions. None: the way gets it right."""

    def fails(candidate: Scenario) -> Scenario | None:
        expected = right(candidate)
        judged = replace(candidate, expected=[(now, members) for (now, _), members in zip(candidate.expected, expected, strict=True)])
        try:
            return judged if way(judged) != expected else None
        except Exception:  # whatever it is, it is no answer
            return judged

    found = fails(scenario)
    while found is not None:
        smaller = next((failing for one in _smaller(found) if (failing := fails(one)) is not None), None)
        if smaller is None:
            return found
        found = smaller
    return None


def _smaller(scenario: Scenario) -> Iterator[Scenario]:
    """The scenario with less of something, with much less first."""
    told, expected = scenario.told, scenario.expected
    many = len(told)
    while many := many // 2:
        for place in range(0, len(told), many):
            yield replace(scenario, told=told[:place] + told[place + many :])
    for person in scenario.people:
        if all(person not in (one.person, _other(one.fact)) for one in told):
            yield replace(scenario, people=[one for one in scenario.people if one != person])
    if len(told) == 1:
        yield replace(scenario, told=[])
    for place in range(1, len(expected)):
        yield replace(scenario, expected=expected[:place] + expected[place + 1 :])
    for audience_id, audience in scenario.audiences.items():
        others = {id_: other for id_, other in scenario.audiences.items() if id_ != audience_id}
        if audience_id != MAIN:
            yield replace(scenario, audiences=others)
        for root in _smaller_trees(audience.definition.root):
            smaller = replace(audience, definition=pb.Definition(root=root))
            yield replace(scenario, audiences={id_: smaller if id_ == audience_id else other for id_, other in scenario.audiences.items()})


def _smaller_trees(node: pb.Node) -> Iterator[pb.Node]:
    """A part instead of the whole; then the whole with less."""
    yield from node.all.nodes
    yield from node.any.nodes
    if node.HasField("exclude"):
        yield node.exclude.node
    yield from _with_less(node)


OPTIONAL = {"frequency", "within", "not_followed_by", "when"}  # what a message means something without


def _with_less(message: M) -> Iterator[M]:
    """The message without one of the things that it can do without, at any depth; it stays one that can be activated."""

    def copy() -> M:
        made = type(message)()
        made.CopyFrom(message)
        return made

    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if isinstance(value, Message):
            if field.name in OPTIONAL and not isinstance(message, pb.SeenCriterion):
                less = copy()
                less.ClearField(field.name)
                yield less
            for smaller in _smaller_trees(value) if isinstance(value, pb.Node) else _with_less(value):
                less = copy()
                getattr(less, field.name).CopyFrom(smaller)
                yield less
            continue
        if len(value) > (0 if field.name == "where" else 1):
            for place in range(len(value)):
                less = copy()
                del getattr(less, field.name)[place]
                yield less
        for place, part in enumerate(value):
            for smaller in _smaller_trees(part) if isinstance(part, pb.Node) else _with_less(part):
                less = copy()
                getattr(less, field.name)[place].CopyFrom(smaller)
                yield less


def _other(fact: facts.Fact) -> object:
    return fact.other if isinstance(fact, facts.MergedInto) else None


# --- parts of a file


def _instant(ms: int) -> str:
    return (EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds")


def _audience(audience: reference.Audience) -> dict[str, Any]:
    scope = {"workspaces": list(audience.workspace_ids), "inputs": list(audience.input_ids)}
    return {**scope, "definition": _definition(audience)}


def _definition(audience: reference.Audience) -> dict[str, Any]:
    tree: dict[str, Any] = _plain(json_format.MessageToDict(audience.definition, preserving_proto_field_name=True))
    return tree


def _plain(tree: Any) -> Any:
    """Whole numbers of 64 bits are text in protobuf JSON; ids read better as numbers."""
    if isinstance(tree, dict):
        return {
            key: _number(value) if key in ("workspace_id", "audience_id", "input_ids") else _plain(value) for key, value in tree.items()
        }
    return [_plain(one) for one in tree] if isinstance(tree, list) else tree


def _number(written: Any) -> Any:
    return [int(one) for one in written] if isinstance(written, list) else int(written)


def _fact(told: Told, scenario: Scenario) -> tuple[str, dict[str, Any]]:
    fact = told.fact
    when = {"at": f"{told.arrives - scenario.now:+}ms"}
    if isinstance(fact, facts.MergedInto):
        return "merged_into", {"person": fact.other, **when}
    if isinstance(fact, facts.Deleted):
        return "deleted", when
    times = {"at": f"{fact.time_ms - scenario.now:+}ms", "arrives": when["at"]}
    if isinstance(fact, facts.Event):
        context = {short: getattr(fact.context, long) for short, long in CONTEXT.items() if getattr(fact.context, long)}
        kind = {"type": EventType.Name(fact.type), "name": fact.name, "input": fact.input_id}  # type: ignore[arg-type]
        return "events", {**kind, **times, **context, **_details(fact)}
    times["workspace"] = fact.workspace_id  # type: ignore[assignment]  # a number among texts
    match fact:
        case facts.AttributeChange():
            value = list(fact.value) if isinstance(fact.value, tuple) else fact.value
            return "attributes", {"name": fact.attribute, "value": value, **times}
        case facts.DeviceTold():
            return "devices", {**fact.fields, **times}
        case facts.AttributionTold():
            return "attributions", {"publisher": fact.publisher, "campaign": fact.campaign, **times}
        case facts.ConsentTold():
            return "consents", {"regulation": fact.regulation, "purpose": fact.purpose, "consented": fact.consented, **times}
        case facts.IdentityTold():
            type_ = IdentityType.Name(fact.type)  # type: ignore[arg-type]  # the number of one
            return "identities", {"type": type_, "value": fact.value, "removed": fact.removed, **times}
        case facts.Here():
            return "seen", times


def _details(event: facts.Event) -> dict[str, Any]:
    details = dict(event.details)
    if "location" in details:
        details["location"] = list(details["location"].values())
    if "session_duration_ms" in details:
        details["session_duration"] = f"{details.pop('session_duration_ms')}ms"
    return details
