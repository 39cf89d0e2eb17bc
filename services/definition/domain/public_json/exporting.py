"""A definition as a value of the public JSON form. What the form cannot say is refused by name; what it says in another way is noted.

There is no NOT in the form: what is excluded is said by the opposite of each criterion in it, `all` by `or` and `any` by `and`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from muster.definition.v1 import definition_pb2 as pb

from ..canonical import same
from ..validation import AGGREGATE_TESTS, DEPTH_MAX, LANGUAGE_VERSION, USER_CRITERIA
from .dates import UNITS, Since, Unsaid, said_of_period
from .importing import reads_as_one, same_again
from .models import (
    AGGREGATIONS,
    ATTRIBUTION,
    ATTRIBUTION_FIELDS,
    DEVICE,
    DEVICE_FIELDS,
    EVENT_TYPES,
    EVENTS,
    IDENTITY,
    IDENTITY_TYPES,
    INPUT,
    LIFETIME_VALUE,
    NAME,
    PLACE_FIELDS,
    PROFILE,
    SEEN_EDGES,
    TIMESTAMP,
    TYPE,
    USER,
    Path,
    consent_path,
    event_path,
)
from .report import Report, Why
from .sayings import PRESENCE_WORDS, Saying, opposite, saying_of, saying_of_number, saying_of_string
from .text import TEXT_MAX_BYTES, Json, Number, written

SCHEMA_VERSION = "1.6.0"

# How often something is counted always has an answer, so its opposite is exact.
_COUNTED_OPPOSITES: Mapping[int, int] = {
    pb.COMPARISON_EQUAL: pb.COMPARISON_NOT_EQUAL,
    pb.COMPARISON_NOT_EQUAL: pb.COMPARISON_EQUAL,
    pb.COMPARISON_LESS: pb.COMPARISON_GREATER_OR_EQUAL,
    pb.COMPARISON_GREATER_OR_EQUAL: pb.COMPARISON_LESS,
    pb.COMPARISON_GREATER: pb.COMPARISON_LESS_OR_EQUAL,
    pb.COMPARISON_LESS_OR_EQUAL: pb.COMPARISON_GREATER,
}


def exported(definition: pb.Definition, workspace_ids: Sequence[int] = ()) -> tuple[str, Report]:
    """The text and what became of each node; empty when something was refused. `workspace_ids` are the audience's. Never raises."""
    report = Report()
    value = _value(definition, workspace_ids, report)
    text = written(value) if report.complete else ""
    if len(text.encode()) > TEXT_MAX_BYTES:
        report.refused("definition", Why.TOO_LARGE, f"The text would be longer than {TEXT_MAX_BYTES:,} bytes; split the audience.")
        return "", report
    return text, report


def _value(definition: pb.Definition, workspace_ids: Sequence[int], report: Report) -> Json:
    """None where there is nothing to say."""
    if definition.language_version > LANGUAGE_VERSION:
        told = f"Version {definition.language_version} of the language is not known; the newest is {LANGUAGE_VERSION}."
        report.refused("definition.language_version", Why.NOT_EXPORTABLE, told)
    if not definition.HasField("root"):
        report.refused("definition.root", Why.MISSING, "The definition is empty; say whom you mean.")
        return None
    root = _Export(report, tuple(set(workspace_ids))).node(definition.root, "definition.root", 1, excluded=False)
    return {"schema_version": SCHEMA_VERSION, "audience": root}


@dataclass(slots=True)
class _Leaf:
    """A criterion as the form says it, and in words. `note`: what a person should know of it."""

    json: Json
    words: str
    note: str = ""


class _Export:
    """One walk over one tree."""

    def __init__(self, report: Report, workspace_ids: tuple[int, ...]) -> None:
        self._report = report
        self._workspace_ids = workspace_ids

    def node(self, node: pb.Node, place: str, depth: int, *, excluded: bool) -> Json:
        """What says the node, or with `excluded` its opposite; None when that was refused."""
        if depth > DEPTH_MAX:
            return self._refuse(node, place, f"The node lies deeper than {DEPTH_MAX} levels; flatten the groups.")
        match node.WhichOneof("kind"):
            case "everyone":
                self._report.taken(place, "everyone", node_id=node.id)
                return {"operator": "not_exists" if excluded else "exists", "operand": {"model": USER}}
            case "all" | "any" as kind:
                return self._group(node, kind, place, depth, excluded=excluded)
            case "exclude":
                return self._exclude(node, place, depth, excluded=excluded)
            case "criterion":
                return self._criterion(node, f"{place}.criterion", excluded=excluded)
            case _:
                return self._refuse(node, place, "The node is empty; choose what it says, or remove it.")

    def _group(self, node: pb.Node, kind: str, place: str, depth: int, *, excluded: bool) -> Json:
        nodes = node.all.nodes if kind == "all" else node.any.nodes
        if not nodes:
            return self._refuse(node, place, "The group is empty; add a criterion, or remove the group.")
        parts = [self.node(one, f"{place}.{kind}.nodes[{i}]", depth + 1, excluded=excluded) for i, one in enumerate(nodes)]
        said = {"operator": "and" if (kind == "all") != excluded else "or", "expressions": parts}
        if None in parts:
            return None
        if not excluded and reads_as_one(said):
            self._note(node, place, "The parts of the group compare one thing; they come back as one criterion that means the same.")
        return said

    def _exclude(self, node: pb.Node, place: str, depth: int, *, excluded: bool) -> Json:
        if not node.exclude.HasField("node"):
            return self._refuse(node, place, "Nothing is excluded; say whom to exclude, or remove the node.")
        said = self.node(node.exclude.node, f"{place}.exclude.node", depth + 1, excluded=not excluded)
        if said is not None and not excluded and not self._comes_back(node, said):
            self._note(node, place, "The form has no NOT: what is excluded is said by its opposite, and comes back so.")
        return said

    def _comes_back(self, node: pb.Node, said: Json) -> bool:
        again = same_again(said)
        return again is not None and same(pb.Definition(root=node), self._workspace_ids, pb.Definition(root=again), self._workspace_ids)

    def _criterion(self, node: pb.Node, place: str, *, excluded: bool) -> Json:
        criterion = node.criterion
        kind = criterion.WhichOneof("kind")
        if kind is None:
            return self._refuse(node, place, "The criterion is empty; choose what it looks at, or remove it.")
        if kind in USER_CRITERIA and criterion.workspace_id and (criterion.workspace_id,) != self._workspace_ids:
            told = f"The form has no place for the workspace {criterion.workspace_id}; make an audience of each workspace."
            return self._refuse(node, f"{place}.workspace_id", told)
        try:
            leaf = CRITERIA[kind](criterion, excluded)
        except Unsaid as told:
            return self._refuse(node, f"{place}.{kind}", str(told))
        if leaf.note:
            self._note(node, f"{place}.{kind}", f"{leaf.words}: {leaf.note}")
        else:
            self._report.taken(f"{place}.{kind}", leaf.words, node_id=node.id)
        return leaf.json

    def _refuse(self, node: pb.Node, place: str, description: str) -> Json:
        """Always None, which is what a refused node is."""
        self._report.refused(place, Why.NOT_EXPORTABLE, description, node_id=node.id)
        return None

    def _note(self, node: pb.Node, place: str, description: str) -> None:
        self._report.noted(place, description, node_id=node.id)


def _said(left: Json, saying: Saying) -> Json:
    """The expression of a saying about what stands on the left."""
    parts = [_comparison(left, operator, right) for operator, right in saying.parts]
    return {"operator": saying.joined, "expressions": parts} if saying.joined else parts[0]


def _comparison(left: Json, operator: str, right: object) -> Json:
    if operator in PRESENCE_WORDS:
        return {"operator": operator, "operand": left}
    return {"operator": operator, "left": left, "right": right.json() if hasattr(right, "json") else right}


def _tested(path: Path, test: pb.ValueTest, excluded: bool, *, always_text: bool = False, past: bool = False) -> _Leaf:
    """A test of what is known of a person. `always_text`: a value of it is never of another type."""
    saying = saying_of(test, past=past)
    kind = test.WhichOneof("kind")
    note = ""
    if excluded:
        turned = opposite(saying)
        if turned is None:
            raise Unsaid("The form has no NOT, and this test has no `not_` form; say whom you mean without excluding.")
        saying = turned
        if kind in ("string", "number", "list") and not (always_text and kind == "string"):
            note = f"`{saying.parts[0][0]}` leaves out those whose value is of another type than is asked for, who were not excluded."
    left = _list_of(path, USER) if kind == "list" else path.json()
    return _Leaf(_said(left, saying), str(path), note)


def _list_of(path: Path, group_by: str) -> Json:
    return {"operator": "list", "group_by_model": group_by, "operand": path.json()}


def _counted(left: Json, words: str, test: pb.NumberTest, excluded: bool) -> _Leaf:
    """A comparison with a number that there always is, so that what is excluded has an exact opposite."""
    if not excluded:
        return _Leaf(_said(left, saying_of_number(test)), words)
    if test.comparison == pb.COMPARISON_BETWEEN:
        low, high = saying_of_number(test).parts
        return _Leaf(_said(left, Saying("or", (("less_than", low[1]), ("greater_than", high[1])))), words)
    turned = pb.NumberTest(comparison=_COUNTED_OPPOSITES.get(test.comparison, 0), value=test.value)  # type: ignore[arg-type]
    return _Leaf(_said(left, saying_of_number(turned)), words)


def _event(criterion: pb.Criterion, excluded: bool) -> _Leaf:
    event = criterion.event
    condition = _condition(event.match, event.when if event.HasField("when") else None)
    left = {"operator": "count", "group_by_model": USER, "operand": {"model": EVENTS}, "condition": condition}
    frequency = event.frequency if event.HasField("frequency") else pb.FrequencyTest(comparison=pb.COMPARISON_GREATER)
    test = pb.NumberTest(comparison=frequency.comparison, value=str(frequency.value), upper=str(frequency.upper))
    return _counted(left, f"how many {_name_of(event.match)}", test, excluded)


def _aggregate(criterion: pb.Criterion, excluded: bool) -> _Leaf:
    aggregate = criterion.aggregate
    word = AGGREGATIONS.get(aggregate.function)
    if word is None:
        known = aggregate.function in pb.AggregateFunction.values()
        name = pb.AggregateFunction.Name(aggregate.function).removeprefix("AGGREGATE_FUNCTION_").lower() if known else "this function"
        raise Unsaid(f"The form has no word for {name}; use one of {', '.join(AGGREGATIONS.values())}.")
    kind = aggregate.test.WhichOneof("kind")
    if kind not in AGGREGATE_TESTS[aggregate.function]:
        raise Unsaid(f"The test has no meaning for {word}; choose one of {', '.join(sorted(AGGREGATE_TESTS[aggregate.function]))}.")
    if aggregate.function == pb.AGGREGATE_FUNCTION_COUNT and aggregate.WhichOneof("subject") is None:
        path: Path | None = Path(EVENTS, TIMESTAMP)
    else:
        path = event_path(aggregate)
    if path is None:
        raise Unsaid("What is aggregated is missing; name an attribute or a field of the event.")
    condition = _condition(aggregate.match, aggregate.when if aggregate.HasField("when") else None)
    left = {"operator": word, "group_by_model": USER, "operand": path.json(), "condition": condition}
    words = f"{word} of {path} over {_name_of(aggregate.match)}"
    if kind == "number" and aggregate.function in (pb.AGGREGATE_FUNCTION_SUM, pb.AGGREGATE_FUNCTION_COUNT):
        return _counted(left, words, aggregate.test.number, excluded)
    saying = saying_of(aggregate.test)
    if excluded:
        turned = opposite(saying) if kind == "presence" else None
        if turned is None:
            raise Unsaid("Those without such events have no value, and a `not_` form leaves them out; say whom you mean without excluding.")
        saying = turned
    return _Leaf(_said(left, saying), words)


def _sequence(criterion: pb.Criterion, excluded: bool) -> _Leaf:
    sequence = criterion.sequence
    if excluded:
        raise Unsaid("The form has no NOT, and a sequence has no opposite; say whom you mean without excluding.")
    if sequence.HasField("not_followed_by"):
        raise Unsaid("The form cannot say that something does not follow; end the sequence with its last step.")
    if not sequence.steps:
        raise Unsaid("The sequence has no steps; add one or more.")
    when = sequence.when if sequence.HasField("when") else None
    steps = []
    for number, step in enumerate(sequence.steps, 1):
        condition = _condition(step.match, when)
        if step.HasField("within"):
            if number == 1:
                raise Unsaid("The first step has no step before it; leave out its largest gap.")
            if step.within.unit not in UNITS:
                raise Unsaid("The largest gap between steps has no unit; choose one.")
            within = Since(f"step{number - 1}", step.within.count, step.within.unit)
            condition["expressions"].append(_comparison(Path(EVENTS, TIMESTAMP).json(), "less_than_equal", within))
        steps.append({"alias": f"step{number}", "operand": Path(EVENTS, TIMESTAMP).json(), "condition": condition})
    words = ", then ".join(_name_of(step.match) for step in sequence.steps[:10])
    return _Leaf({"operator": "then", "sequence": steps}, words)


def _condition(match: pb.EventMatch, when: pb.Period | None) -> dict[str, Json]:
    """Which events: an `and` of all that is asked of one event."""
    if match.type not in EVENT_TYPES:
        raise Unsaid("The type of the events is missing; choose one.")
    asked = [_event_said(TYPE, Saying.one("equals", EVENT_TYPES[match.type]))]
    if match.WhichOneof("name_match") == "name":
        asked.append(_event_said(NAME, Saying.one("equals", match.name)))
    elif match.WhichOneof("name_match") == "name_test":
        asked.append(_event_said(NAME, _name_saying(match.name_test)))
    for one in match.where:
        path = event_path(one)
        if path is None:
            raise Unsaid("What a filter compares is missing; name an attribute or a field of the event.")
        left = _list_of(path, EVENTS) if one.test.WhichOneof("kind") == "list" else path.json()
        asked.append(_said(left, saying_of(one.test)))
    if match.input_ids:
        asked.append(_event_said(INPUT, Saying("or", tuple(("equals", Number(str(one))) for one in match.input_ids))))
    if when is not None:
        joined, parts = said_of_period(when, past=True)
        asked.append(_event_said(TIMESTAMP, Saying(joined, parts)))
    return {"operator": "and", "expressions": asked}


def _event_said(path: str, saying: Saying) -> Json:
    return _said(Path(EVENTS, path).json(), saying)


def _name_saying(test: pb.StringTest) -> Saying:
    if test.operator in (pb.STRING_OPERATOR_EQUALS, pb.STRING_OPERATOR_IN, pb.STRING_OPERATOR_NOT_IN):
        raise Unsaid("An event's name equals another one only in the same case in the form; give the `name`, or a pattern.")
    return saying_of_string(test)


def _name_of(match: pb.EventMatch) -> str:
    kind = EVENT_TYPES.get(match.type, "?")
    name = match.name if match.WhichOneof("name_match") == "name" else ""
    return f"{kind} events {name[:60]!r}" if name else f"{kind} events"


def _user_attribute(criterion: pb.Criterion, excluded: bool) -> _Leaf:
    return _tested(Path(USER, criterion.user_attribute.attribute), criterion.user_attribute.test, excluded)


def _worded(model: str, words: Mapping[int, str], value: int) -> Path:
    if value not in words:
        raise Unsaid(f"What is looked at is missing; choose one of {', '.join(words.values())}.")
    return Path(model, words[value])


def _identity(criterion: pb.Criterion, excluded: bool) -> _Leaf:
    path = _worded(IDENTITY, IDENTITY_TYPES, criterion.identity.type)
    return _tested(path, criterion.identity.test, excluded, always_text=True)


def _device(criterion: pb.Criterion, excluded: bool) -> _Leaf:
    path = _worded(DEVICE, DEVICE_FIELDS, criterion.device.field)
    return _tested(path, criterion.device.test, excluded, always_text=True)


def _attribution(criterion: pb.Criterion, excluded: bool) -> _Leaf:
    path = _worded(ATTRIBUTION, ATTRIBUTION_FIELDS, criterion.attribution.field)
    return _tested(path, criterion.attribution.test, excluded, always_text=True)


def _seen(criterion: pb.Criterion, excluded: bool) -> _Leaf:
    path = _worded(PROFILE, SEEN_EDGES, criterion.seen.edge)
    return _tested(path, pb.ValueTest(date=pb.DateTest(when=criterion.seen.when)), excluded, past=True)


def _location(criterion: pb.Criterion, excluded: bool) -> _Leaf:
    if criterion.location.WhichOneof("kind") != "place":
        raise Unsaid("A distance from a point has no place in the form; name a city, state, zip or country.")
    path = _worded(PROFILE, PLACE_FIELDS, criterion.location.place.field)
    operator = "not_equals" if excluded else "equals"
    return _Leaf(_comparison(path.json(), operator, criterion.location.place.value), str(path))


def _consent(criterion: pb.Criterion, excluded: bool) -> _Leaf:
    path = consent_path(criterion.consent)
    operator = "not_equals" if excluded else "equals"
    return _Leaf(_comparison(path.json(), operator, criterion.consent.consented), str(path))


def _lifetime_value(criterion: pb.Criterion, excluded: bool) -> _Leaf:
    path = Path(PROFILE, LIFETIME_VALUE)
    return _counted(path.json(), str(path), criterion.lifetime_value.test, excluded)


def _member_of(criterion: pb.Criterion, excluded: bool) -> _Leaf:
    used = criterion.member_of.audience_id
    said = {"operator": "not_in" if excluded else "in", "left": {"model": USER}, "right": {"audience": str(used)}}
    return _Leaf(said, f"members of the audience {used}")


CRITERIA: Mapping[str, Callable[[pb.Criterion, bool], _Leaf]] = {
    "event": _event,
    "aggregate": _aggregate,
    "sequence": _sequence,
    "user_attribute": _user_attribute,
    "identity": _identity,
    "device": _device,
    "seen": _seen,
    "location": _location,
    "consent": _consent,
    "lifetime_value": _lifetime_value,
    "attribution": _attribution,
    "member_of": _member_of,
}
