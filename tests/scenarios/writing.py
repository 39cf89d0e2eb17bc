"""A scenario as the text of its file, and the smallest one that fails a way."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import yaml
from google.protobuf import json_format
from muster.ingest.v1.event_type_pb2 import EventType
from muster.ingest.v1.identity_pb2 import IdentityType

from tests.model import facts, reference
from tests.scenarios.scenario import CONTEXT, MAIN, Scenario, Told

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Way = Callable[[Scenario], list[set[str]]]


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
    """What is left of a scenario that a way gets wrong when all is taken away that can be; None: the way gets it right."""

    def fails(candidate: Scenario) -> Scenario | None:
        expected = right(candidate)
        judged = replace(candidate, expected=[(now, members) for (now, _), members in zip(candidate.expected, expected, strict=True)])
        return judged if way(judged) != expected else None

    found = fails(scenario)
    again = found is not None
    while found is not None and again:
        again = False
        for smaller in _smaller(found):
            if (failing := fails(smaller)) is not None:
                found, again = failing, True
                break
    return found


def _smaller(scenario: Scenario) -> Sequence[Scenario]:
    """The scenario with one thing less."""
    told, expected = scenario.told, scenario.expected
    without = [replace(scenario, told=told[:place] + told[place + 1 :]) for place in range(len(told))]
    without += [replace(scenario, expected=expected[:place] + expected[place + 1 :]) for place in range(1, len(expected))]
    unknown = [person for person in scenario.people if all(person not in (one.person, _other(one.fact)) for one in told)]
    return [*(replace(scenario, people=[one for one in scenario.people if one != person]) for person in unknown), *without]


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
