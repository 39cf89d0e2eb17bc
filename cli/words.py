"""A definition in words, an indented line for each node: `fewer than 3 x session start`."""

from __future__ import annotations

import json
from collections.abc import Iterator

from muster.definition.v1 import definition_pb2 as pb
from muster.ingest.v1.event_type_pb2 import EventType
from muster.ingest.v1.identity_pb2 import IdentityType

from cli.output import as_dict, word

_INDENT = "  "
_COMPARISONS = {
    pb.COMPARISON_EQUAL: "exactly",
    pb.COMPARISON_NOT_EQUAL: "not exactly",
    pb.COMPARISON_LESS: "fewer than",
    pb.COMPARISON_LESS_OR_EQUAL: "at most",
    pb.COMPARISON_GREATER: "more than",
    pb.COMPARISON_GREATER_OR_EQUAL: "at least",
}
_SYMBOLS = {
    pb.COMPARISON_EQUAL: "=",
    pb.COMPARISON_NOT_EQUAL: "!=",
    pb.COMPARISON_LESS: "<",
    pb.COMPARISON_LESS_OR_EQUAL: "<=",
    pb.COMPARISON_GREATER: ">",
    pb.COMPARISON_GREATER_OR_EQUAL: ">=",
}


def lines(definition: pb.Definition) -> list[str]:
    """The definition, a line for each node. A criterion that has no words yet stands as JSON."""
    return list(_node(definition.root, 0)) if definition.HasField("root") else ["(empty)"]


def nodes(definition: pb.Definition) -> list[pb.Node]:
    """The node of each line."""
    return list(_nodes(definition.root)) if definition.HasField("root") else [definition.root]


def _nodes(node: pb.Node) -> Iterator[pb.Node]:
    yield node
    exclude = [node.exclude.node] if node.HasField("exclude") else []
    for inner in [*node.all.nodes, *node.any.nodes, *exclude]:
        yield from _nodes(inner)


def _node(node: pb.Node, depth: int) -> Iterator[str]:
    pad = _INDENT * depth
    match node.WhichOneof("kind"):
        case "everyone":
            yield f"{pad}everyone"
        case "all":
            yield f"{pad}all of"
            for inner in node.all.nodes:
                yield from _node(inner, depth + 1)
        case "any":
            yield f"{pad}any of"
            for inner in node.any.nodes:
                yield from _node(inner, depth + 1)
        case "exclude":
            yield f"{pad}not"
            yield from _node(node.exclude.node, depth + 1)
        case "criterion":
            yield pad + _criterion(node.criterion)
        case _:
            yield f"{pad}(empty)"


def _criterion(criterion: pb.Criterion) -> str:
    match criterion.WhichOneof("kind"):
        case "event":
            return _event(criterion.event)
        case "user_attribute":
            return f"attribute {criterion.user_attribute.attribute} {_test(criterion.user_attribute.test)}"
        case "identity":
            kind = word(IdentityType.Name(criterion.identity.type), "IDENTITY_TYPE_")
            return f"identity {kind} {_test(criterion.identity.test)}"
        case "member_of":
            return f"member of audience {criterion.member_of.audience_id}"
        case None:
            return "(empty)"
        case kind:
            return f"{kind} {json.dumps(as_dict(getattr(criterion, kind)), ensure_ascii=False)}"


def _event(event: pb.EventCriterion) -> str:
    said = word(EventType.Name(event.match.type), "EVENT_TYPE_")
    if event.match.WhichOneof("name_match") == "name":
        said += f" {event.match.name!r}"
    elif event.match.HasField("name_test"):
        said += f" whose name {_string(event.match.name_test)}"
    for place in event.match.where:
        said += f" where {_subject(place)} {_test(place.test)}"
    return f"{_frequency(event)} {said}{_period(event.when) if event.HasField('when') else ''}"


def _frequency(event: pb.EventCriterion) -> str:
    if not event.HasField("frequency"):
        return "any"
    test = event.frequency
    if test.comparison == pb.COMPARISON_BETWEEN:
        return f"{test.value} to {test.upper} x"
    return f"{_COMPARISONS.get(test.comparison, '?')} {test.value} x"


def _subject(place: pb.Filter) -> str:
    match place.WhichOneof("subject"):
        case "field":
            return word(pb.EventField.Name(place.field), "EVENT_FIELD_")
        case "product_attribute":
            return f"product's {place.product_attribute}"
        case _:
            return place.attribute


def _test(test: pb.ValueTest) -> str:
    match test.WhichOneof("kind"):
        case "string":
            return _string(test.string)
        case "number" if test.number.comparison == pb.COMPARISON_BETWEEN:
            return f"between {test.number.value} and {test.number.upper}"
        case "number":
            return f"{_SYMBOLS.get(test.number.comparison, '?')} {test.number.value}"
        case "boolean":
            return f"is {str(test.boolean.value).lower()}"
        case "date":
            return "is a date" + _period(test.date.when)
        case "list":
            return f"{word(pb.ListOperator.Name(test.list.operator), 'LIST_OPERATOR_')} {test.list.value!r}"
        case "presence":
            return word(pb.PresenceOperator.Name(test.presence.operator), "PRESENCE_OPERATOR_")
        case _:
            return "(no test)"


def _string(test: pb.StringTest) -> str:
    operand = ", ".join(map(repr, test.values)) if test.values else repr(test.value)
    return f"{word(pb.StringOperator.Name(test.operator), 'STRING_OPERATOR_')} {operand}"


def _period(period: pb.Period) -> str:
    match period.WhichOneof("kind"):
        case "last":
            return f" in the last {_duration(period.last)}"
        case "ago":
            return f" between {_duration(getattr(period.ago, 'from'))} and {_duration(period.ago.to)} ago"
        case "on":
            return f" on {_date(period.on)}"
        case "before":
            return f" before {_date(period.before)}"
        case "after":
            return f" after {_date(period.after)}"
        case "on_or_after":
            return f" on or after {_date(period.on_or_after)}"
        case "between":
            return f" from {_date(period.between.first)} to {_date(period.between.last)}"
        case _:
            return ""


def _duration(duration: pb.Duration) -> str:
    unit = word(pb.DurationUnit.Name(duration.unit), "DURATION_UNIT_")
    return f"{duration.count} {unit}{'s' if duration.count != 1 else ''}"


def _date(date: object) -> str:
    year, month, day = (getattr(date, name) for name in ("year", "month", "day"))
    return f"{year:04d}-{month:02d}-{day:02d}"
