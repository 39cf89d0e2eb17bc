"""What stands on the left of a comparison about people: a path of what is known of them, or an aggregation over their events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from muster.definition.v1 import definition_pb2 as pb

from ..validation import AGGREGATE_TESTS
from .conditions import Events, event_subject, events_of, unknown_path
from .models import (
    AGGREGATIONS,
    ATTRIBUTION,
    ATTRIBUTION_FIELDS,
    CONSENT,
    DEVICE,
    DEVICE_FIELDS,
    EVENT_TYPES,
    EVENTS,
    IDENTITY,
    IDENTITY_TYPES,
    LIFETIME_VALUE,
    MODELS,
    PLACE_FIELDS,
    PROFILE,
    SEEN_EDGES,
    TIMESTAMP,
    USER,
    consent_of,
    number_of_word,
)
from .operands import AGGREGATION_WORDS, has_keys, kind_of, operator_of, whole_number
from .report import Report, Why, nearest, shown
from .text import Json, pointer

_FREQUENCY_MAX = 2**64 - 1
_FUNCTIONS = {word: function for function, word in AGGREGATIONS.items()}


@dataclass(frozen=True, slots=True)
class Subject:
    """`node` gives the node that puts the subject to a test, None for a test that has no meaning for it. `past`: its times are never later
    than now. `of_list`: it is a list."""

    words: str
    node: Callable[[pb.ValueTest], pb.Node | None]
    past: bool = False
    of_list: bool = False


def subject_of(left: Json, place: str, report: Report) -> Subject | None:
    """None where it was refused."""
    if not isinstance(left, dict):
        told = f"On the left stands a path of a model, or an aggregation, not {kind_of(left)}; exchange the sides."
        report.refused(place, Why.WRONG_TYPE, told)
        return None
    if "operator" in left:
        return _aggregation(left, place, report)
    for key, told in _NO_LEFT.items():
        if key in left:
            report.refused(place, Why.NOT_SUPPORTED, told)
            return None
    if not has_keys(left, place, report, ("model", "path")):
        return None
    return _path(left, place, report)


def _path(left: Json, place: str, report: Report) -> Subject | None:
    model, path = left["model"], left["path"]
    if not isinstance(model, str) or not isinstance(path, str):
        report.refused(place, Why.WRONG_TYPE, "A model and a path are texts.")
    elif model == EVENTS:
        told = "What is asked of events stands in the `condition` of an aggregation such as `count`, which is compared with a number."
        report.refused(pointer(place, "model"), Why.NOT_SUPPORTED, told)
    elif model not in MODELS:
        report.refused(pointer(place, "model"), Why.UNKNOWN_MODEL, f"There is no model {shown(model)}.{nearest(model, MODELS)}")
    else:
        subject = _OF_MODEL[model](path)
        if subject is None:
            told = f"The model `{model}` has no {shown(path)}.{nearest(path, _PATHS[model])}"
            report.refused(pointer(place, "path"), Why.UNKNOWN_PATH, told)
        return subject
    return None


def criterion(**kind: Any) -> pb.Node:
    return pb.Node(criterion=pb.Criterion(**kind))


def _user(path: str) -> Subject:
    return Subject(
        f"user attribute {shown(path)}",
        lambda test: criterion(user_attribute=pb.UserAttributeCriterion(attribute=path, test=test)),
    )


def _identity(path: str) -> Subject | None:
    number = number_of_word(IDENTITY_TYPES, path)
    if number is None:
        return None
    return Subject(
        f"identity {path}",
        lambda test: criterion(identity=pb.IdentityCriterion(type=number, test=test)),  # type: ignore[arg-type]
    )


def _device(path: str) -> Subject | None:
    number = number_of_word(DEVICE_FIELDS, path)
    if number is None:
        return None
    return Subject(
        f"{path} of the device",
        lambda test: criterion(device=pb.DeviceCriterion(field=number, test=test)),  # type: ignore[arg-type]
    )


def _attribution(path: str) -> Subject | None:
    number = number_of_word(ATTRIBUTION_FIELDS, path)
    if number is None:
        return None
    return Subject(
        f"{path} of the attribution",
        lambda test: criterion(attribution=pb.AttributionCriterion(field=number, test=test)),  # type: ignore[arg-type]
    )


def _consent(path: str) -> Subject | None:
    named = consent_of(path)
    if named is None:
        return None
    regulation, purpose = named

    def node(test: pb.ValueTest) -> pb.Node | None:
        if test.WhichOneof("kind") != "boolean":
            return None
        return criterion(consent=pb.ConsentCriterion(regulation=regulation, purpose=purpose, consented=test.boolean.value))

    return Subject(f"consent {shown(path)}", node)


def _profile(path: str) -> Subject | None:
    if path == LIFETIME_VALUE:
        return Subject("lifetime value", _lifetime_value)
    if (edge := number_of_word(SEEN_EDGES, path)) is not None:
        return Subject(path, lambda test: _seen(edge, test), past=True)
    if (place := number_of_word(PLACE_FIELDS, path)) is not None:
        return Subject(path, lambda test: _place(place, test))
    return None


def _lifetime_value(test: pb.ValueTest) -> pb.Node | None:
    if test.WhichOneof("kind") != "number":
        return None
    return criterion(lifetime_value=pb.LifetimeValueCriterion(test=test.number))


def _seen(edge: int, test: pb.ValueTest) -> pb.Node | None:
    if test.WhichOneof("kind") != "date":
        return None
    return criterion(seen=pb.SeenCriterion(edge=edge, when=test.date.when))  # type: ignore[arg-type]


def _place(place: int, test: pb.ValueTest) -> pb.Node | None:
    if test.string.operator not in (pb.STRING_OPERATOR_EQUALS, pb.STRING_OPERATOR_NOT_EQUALS):
        return None
    found = criterion(location=pb.LocationCriterion(place=pb.PlaceTest(field=place, value=test.string.value)))  # type: ignore[arg-type]
    return found if test.string.operator == pb.STRING_OPERATOR_EQUALS else pb.Node(exclude=pb.Exclude(node=found))


def _aggregation(left: Json, place: str, report: Report) -> Subject | None:
    word = operator_of(left, place, report, AGGREGATION_WORDS)
    if word is None or not has_keys(left, place, report, ("operator", "group_by_model", "operand"), ("condition",)):
        return None
    if left["group_by_model"] != USER:
        told = f"People are asked about, one by one: group by `{USER}`."
        report.refused(pointer(place, "group_by_model"), Why.UNKNOWN_MODEL, told)
        return None
    operand, at = left["operand"], pointer(place, "operand")
    if isinstance(operand, dict) and operand.get("model") == EVENTS:
        return _over_events(word, operand, left, place, report)
    if word != "list" or "condition" in left:
        told = f"Events are aggregated: the operand is of the model `{EVENTS}`. Of what is known of people, only a `list` is read."
        report.refused(at, Why.NOT_SUPPORTED, told)
        return None
    known = subject_of(operand, at, report)
    if known is None:
        return None

    def node(test: pb.ValueTest) -> pb.Node | None:
        return known.node(test) if test.WhichOneof("kind") == "list" else None

    return Subject(f"list of the {known.words}", node, of_list=True)


def _over_events(word: str, operand: Json, left: Json, place: str, report: Report) -> Subject | None:
    at = pointer(place, "operand")
    if "condition" not in left:
        report.refused(place, Why.MISSING, "The key `condition` is missing; say the type of the events.")
        return None
    events = events_of(left["condition"], pointer(place, "condition"), report)
    if word == "count" and set(operand) == {"model"}:
        return None if events is None else Subject(f"how many {_name_of(events)}", lambda test: _frequency(events, test))
    if not has_keys(operand, at, report, ("model", "path")):
        return None
    path = operand["path"]
    if not isinstance(path, str):
        report.refused(pointer(at, "path"), Why.WRONG_TYPE, f"A path is a text, not {kind_of(path)}.")
        return None
    subject = {} if word == "count" and path == TIMESTAMP else event_subject(path)
    if subject is None or "product_attribute" in subject:
        unknown_path(path, pointer(at, "path"), report)
        return None
    if events is None:
        return None
    function = _FUNCTIONS[word]
    return Subject(
        f"{word} of {shown(path)} over {_name_of(events)}",
        lambda test: _aggregate(events, function, subject, test),
        of_list=word == "list",
    )


def _aggregate(events: Events, function: int, subject: dict[str, Any], test: pb.ValueTest) -> pb.Node | None:
    if test.WhichOneof("kind") not in AGGREGATE_TESTS[function]:
        return None
    return criterion(
        aggregate=pb.AggregateCriterion(match=events.match, function=function, test=test, when=events.when, **subject)  # type: ignore[arg-type]
    )


def _frequency(events: Events, test: pb.ValueTest) -> pb.Node | None:
    if test.WhichOneof("kind") != "number":
        return None
    value, upper = (whole_number(text or "0", _FREQUENCY_MAX) for text in (test.number.value, test.number.upper))
    if value is None or upper is None:
        return None
    frequency = pb.FrequencyTest(comparison=test.number.comparison, value=value, upper=upper)
    return criterion(event=pb.EventCriterion(match=events.match, frequency=frequency, when=events.when))


def _name_of(events: Events) -> str:
    return f"{EVENT_TYPES.get(events.match.type, '?')} events" + (f" {shown(events.match.name)}" if events.match.name else "")


_OF_MODEL: dict[str, Callable[[str], Subject | None]] = {
    USER: _user,
    IDENTITY: _identity,
    DEVICE: _device,
    PROFILE: _profile,
    CONSENT: _consent,
    ATTRIBUTION: _attribution,
}
_PATHS: dict[str, tuple[str, ...]] = {
    USER: (),
    IDENTITY: tuple(IDENTITY_TYPES.values()),
    DEVICE: tuple(DEVICE_FIELDS.values()),
    PROFILE: (LIFETIME_VALUE, *SEEN_EDGES.values(), *PLACE_FIELDS.values()),
    CONSENT: ("<regulation>", "<regulation>/<purpose>"),
    ATTRIBUTION: tuple(ATTRIBUTION_FIELDS.values()),
}
_NO_LEFT = {
    "alias": "A value of a step of a sequence can't be compared; put what is asked of it into the step's condition.",
    "audience": "An audience stands on the right of `in` and `not_in`, with the model `user` on the left.",
    "date": "A date stands on the right; exchange the sides.",
    "location": "The form has no operator for a location; name a city, state, zip or country of `profile`.",
}
