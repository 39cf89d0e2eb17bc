"""A definition as a text of the language, which reading.py reads back to the same meaning."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from google.type import date_pb2
from muster.definition.v1 import definition_pb2 as pb
from muster.ingest.v1 import event_type_pb2 as events

from .. import validation
from . import words
from .lexer import quoted

_INDENT = "  "
_WIDTH = 100  # what fits into so many characters stands on one line


def print_definition(definition: pb.Definition, *, multiline: bool = False) -> str:
    """The text of a complete definition: one line, or with each criterion of a group on a line of its own."""
    return "\n".join(_lines(definition.root, outermost=True)) if multiline else _node(definition.root, outermost=True)


def _node(node: pb.Node, *, outermost: bool = False) -> str:
    return NODES[node.WhichOneof("kind") or ""](node, outermost)


def _group(group: pb.Group, kind: str, joined: str, outermost: bool) -> str:
    if len(group.nodes) == 1:
        return f"{kind} ({_node(group.nodes[0], outermost=True)})"
    text = f" {joined} ".join(_node(node) for node in group.nodes)
    return text if outermost else f"({text})"


def _criterion(node: pb.Node, outermost: bool) -> str:
    criterion = node.criterion
    kind = criterion.WhichOneof("kind") or ""
    of_workspace = f" in workspace {criterion.workspace_id}" if criterion.workspace_id and kind in validation.USER_CRITERIA else ""
    return CRITERIA[kind](criterion) + of_workspace


def _lines(node: pb.Node, *, outermost: bool = False) -> list[str]:
    kind = node.WhichOneof("kind") or ""
    line = _node(node, outermost=outermost)
    if kind == "exclude" and len(line) > _WIDTH:
        first, *others = _lines(node.exclude.node)
        return [f"not {first}", *others]
    if kind not in JOINS or (len(line) <= _WIDTH and not outermost):
        return [line]
    nodes = node.all.nodes if kind == "all" else node.any.nodes
    if len(nodes) == 1:
        return [f"{kind} (", *(_INDENT + inner for inner in _lines(nodes[0], outermost=True)), ")"]
    lines = list[str]()
    for index, inner in enumerate(nodes):
        first, *others = _lines(inner)
        lines += [f"{JOINS[kind]} {first}" if index else first, *others]
    return lines if outermost else ["(", *(_INDENT + inner for inner in lines), ")"]


def _event(criterion: pb.Criterion) -> str:
    event = criterion.event
    return match_text(event.match) + _frequency(event) + _when(event)


def _aggregate(criterion: pb.Criterion) -> str:
    aggregate = criterion.aggregate
    subject = aggregate.WhichOneof("subject")
    of = ""
    if subject == "attribute":
        of = f"{quoted(aggregate.attribute)} of "
    elif subject == "field":
        of = f"{words.EVENT_FIELDS[aggregate.field]} of "
    return f"{words.FUNCTIONS[aggregate.function]}({of}{match_text(aggregate.match)}){_test(aggregate.test)}{_when(aggregate)}"


def _sequence(criterion: pb.Criterion) -> str:
    sequence = criterion.sequence
    text = " then ".join(_step(step) for step in sequence.steps)
    if sequence.HasField("not_followed_by"):
        text += f", not followed by {_step(sequence.not_followed_by)}"
    several = len(sequence.steps) > 1 or sequence.HasField("not_followed_by")
    if several and not sequence.HasField("when") and not sequence.steps[0].HasField("within"):
        return text
    return f"sequence({text}){_when(sequence)}"


def _step(step: pb.SequenceStep | pb.NotFollowedBy) -> str:
    return match_text(step.match) + (f" within {duration_text(step.within)}" if step.HasField("within") else "")


def _user_attribute(criterion: pb.Criterion) -> str:
    name = criterion.user_attribute.attribute
    said = name if words.is_name(name) else f"user attribute {quoted(name)}"
    return said + _test(criterion.user_attribute.test)


def _location(criterion: pb.Criterion) -> str:
    return LOCATIONS[criterion.location.WhichOneof("kind") or ""](criterion.location)


def _place(location: pb.LocationCriterion) -> str:
    return f"{words.PLACE_FIELDS[location.place.field]} = {quoted(location.place.value)}"


def _near(location: pb.LocationCriterion) -> str:
    near = location.near
    return f"location within {decimal_text(near.distance_metres)} metres of {decimal_text(near.latitude)}, {decimal_text(near.longitude)}"


def decimal_text(number: float) -> str:
    """The shortest decimal that is exactly this number."""
    return repr(number).removesuffix(".0")


def _consent(criterion: pb.Criterion) -> str:
    consent = criterion.consent
    to = f" to {quoted(consent.purpose)}" if consent.purpose else ""
    return f"{words.CONSENTS[consent.consented]}{to} under {quoted(consent.regulation)}"


def match_text(match: pb.EventMatch) -> str:
    """Events: `purchase[total amount > 100] from input 5`."""
    named = match.WhichOneof("name_match")
    if match.type == events.EVENT_TYPE_COMMERCE and named == "name" and match.name in words.COMMERCE:
        text = words.COMMERCE[match.name][0]
    else:
        text = words.EVENT_TYPES[match.type][0]
        if named == "name":
            text += f" {quoted(match.name)}"
        elif named == "name_test":
            text += f" named{_string(match.name_test)}"
    if match.where:
        text += f"[{', '.join(FILTER_SUBJECTS[one.WhichOneof('subject') or ''](one) + _test(one.test) for one in match.where)}]"
    if len(match.input_ids) == 1:
        text += f" from input {match.input_ids[0]}"
    elif match.input_ids:
        text += f" from inputs ({', '.join(map(str, match.input_ids))})"
    return text


def _attribute(one: pb.Filter) -> str:
    return one.attribute if words.is_name(one.attribute) else quoted(one.attribute)


def _frequency(event: pb.EventCriterion) -> str:
    test = event.frequency
    if not event.HasField("frequency") or (test.comparison == pb.COMPARISON_GREATER and not test.value):
        return ""
    upper = f" and {test.upper}" if test.comparison == pb.COMPARISON_BETWEEN else ""
    return f" {words.COMPARISONS[test.comparison][0]} {test.value}{upper}"


def _when(of: pb.EventCriterion | pb.AggregateCriterion | pb.SequenceCriterion) -> str:
    return f" {period_text(of.when)}" if of.HasField("when") else ""


def period_text(period: pb.Period) -> str:
    """When: `within 30 days`."""
    kind = period.WhichOneof("kind") or ""
    return f"{words.PERIODS[kind][0]} {PERIODS[kind](period)}"


def _ago(period: pb.Period) -> str:
    older, newer = getattr(period.ago, "from"), period.ago.to  # `from` is a word of Python
    return f"{older.count if older.unit == newer.unit else duration_text(older)} and {duration_text(newer)} ago"


def duration_text(duration: pb.Duration) -> str:
    """A length of time: `30 days`."""
    one, several = words.UNITS[duration.unit]
    return f"{duration.count} {one if duration.count == 1 else several}"


def date_text(day: date_pb2.Date) -> str:
    """A day: `2026-01-31`."""
    return f"{day.year:04d}-{day.month:02d}-{day.day:02d}"


def _test(test: pb.ValueTest) -> str:
    return TESTS[test.WhichOneof("kind") or ""](test)


def _string(test: pb.StringTest) -> str:
    phrase = words.STRING_TESTS[test.operator][0]
    if test.operator in (pb.STRING_OPERATOR_IN, pb.STRING_OPERATOR_NOT_IN):
        return f" {phrase} ({', '.join(map(quoted, test.values))})"
    return f" {phrase} {quoted(test.value)}"


def _number(test: pb.NumberTest) -> str:
    upper = f" and {test.upper}" if test.comparison == pb.COMPARISON_BETWEEN else ""
    return f" {words.COMPARISONS[test.comparison][0]} {test.value}{upper}"


# Every kind of the contract; a test compares them with it.
JOINS: Mapping[str, str] = {"all": "and", "any": "or"}
NODES: Mapping[str, Callable[[pb.Node, bool], str]] = {
    "everyone": lambda node, outermost: "everyone",
    "all": lambda node, outermost: _group(node.all, "all", JOINS["all"], outermost),
    "any": lambda node, outermost: _group(node.any, "any", JOINS["any"], outermost),
    "exclude": lambda node, outermost: f"not {_node(node.exclude.node)}",
    "criterion": _criterion,
}
CRITERIA: Mapping[str, Callable[[pb.Criterion], str]] = {
    "event": _event,
    "aggregate": _aggregate,
    "sequence": _sequence,
    "user_attribute": _user_attribute,
    "identity": lambda of: words.IDENTITIES[of.identity.type] + _test(of.identity.test),
    "device": lambda of: words.DEVICE_FIELDS[of.device.field] + _test(of.device.test),
    "seen": lambda of: f"{words.SEEN_EDGES[of.seen.edge]} {period_text(of.seen.when)}",
    "location": _location,
    "consent": _consent,
    "lifetime_value": lambda of: f"lifetime value{_number(of.lifetime_value.test)}",
    "attribution": lambda of: words.ATTRIBUTION_FIELDS[of.attribution.field] + _test(of.attribution.test),
    "member_of": lambda of: f"member of {of.member_of.audience_id}",
}
LOCATIONS: Mapping[str, Callable[[pb.LocationCriterion], str]] = {"place": _place, "near": _near}
FILTER_SUBJECTS: Mapping[str, Callable[[pb.Filter], str]] = {
    "attribute": _attribute,
    "field": lambda one: words.EVENT_FIELDS[one.field],
    "product_attribute": lambda one: f"product attribute {quoted(one.product_attribute)}",
}
TESTS: Mapping[str, Callable[[pb.ValueTest], str]] = {
    "string": lambda test: _string(test.string),
    "number": lambda test: _number(test.number),
    "boolean": lambda test: f" {words.BOOLEANS[test.boolean.value][0]}",
    "date": lambda test: f" {period_text(test.date.when)}",
    "list": lambda test: f" {words.LIST_TESTS[test.list.operator][0]} {quoted(test.list.value)}",
    "presence": lambda test: f" {words.PRESENCE_TESTS[test.presence.operator][0]}",
}
PERIODS: Mapping[str, Callable[[pb.Period], str]] = {
    "last": lambda period: duration_text(period.last),
    "ago": _ago,
    "on": lambda period: date_text(period.on),
    "before": lambda period: date_text(period.before),
    "after": lambda period: date_text(period.after),
    "on_or_after": lambda period: date_text(period.on_or_after),
    "between": lambda period: f"{date_text(period.between.first)} and {date_text(period.between.last)}",
}
