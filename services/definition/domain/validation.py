"""Is a definition right? One visitor over the whole tree tells every fault at once, each with its place.

semantics: The definition tree, Kinds of criteria.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from muster.definition.v1 import definition_pb2 as pb
from muster.ingest.v1 import event_type_pb2, identity_pb2

from .faults import Findings, Place, Reason, Verdict
from .nesting import path_back
from .overrides import AttributeKind, Types, warn_of_type
from .periods import Reach, check_duration, check_period
from .texts import unprintable
from .value_tests import check_enum, check_frequency, check_number, check_string, check_text, check_value_test

LANGUAGE_VERSION = 1
DEPTH_MAX = 32
CRITERIA_MAX = 500
NODES_MAX = 2_000
NODE_ID_MAX = 64
FILTERS_MAX = 100
STEPS_MAX = 50
# A fact holds the audience whole, and a message of the bus holds 1 MB at most.
BYTES_MAX = 512 * 1024

# The types of events that have a name; the others have none (muster.ingest.v1.EventType).
NAMED_EVENTS = frozenset(
    {
        event_type_pb2.EVENT_TYPE_CUSTOM,
        event_type_pb2.EVENT_TYPE_SCREEN_VIEW,
        event_type_pb2.EVENT_TYPE_COMMERCE,
        event_type_pb2.EVENT_TYPE_ATTRIBUTION,
        event_type_pb2.EVENT_TYPE_PUSH,
        event_type_pb2.EVENT_TYPE_APPLICATION_STATE,
        event_type_pb2.EVENT_TYPE_BREADCRUMB,
        event_type_pb2.EVENT_TYPE_PROFILE,
        event_type_pb2.EVENT_TYPE_USER_ATTRIBUTE_CHANGE,
        event_type_pb2.EVENT_TYPE_USER_IDENTITY_CHANGE,
    }
)
UNNAMED_EVENTS = frozenset(
    {
        event_type_pb2.EVENT_TYPE_SESSION_START,
        event_type_pb2.EVENT_TYPE_SESSION_END,
        event_type_pb2.EVENT_TYPE_CRASH,
        event_type_pb2.EVENT_TYPE_INSTALL,
        event_type_pb2.EVENT_TYPE_UNINSTALL,
        event_type_pb2.EVENT_TYPE_UPGRADE,
        event_type_pb2.EVENT_TYPE_OPT_OUT,
        event_type_pb2.EVENT_TYPE_PUSH_REGISTRATION,
        event_type_pb2.EVENT_TYPE_NETWORK_PERFORMANCE,
    }
)

# The tests that what a function gives can be put to.
_NUMBERS = frozenset({"number", "presence"})
_VALUES = frozenset({"string", "number", "boolean", "date", "presence"})
AGGREGATE_TESTS: Mapping[int, frozenset[str]] = {
    pb.AGGREGATE_FUNCTION_SUM: _NUMBERS,
    pb.AGGREGATE_FUNCTION_AVG: _NUMBERS,
    pb.AGGREGATE_FUNCTION_COUNT: _NUMBERS,
    pb.AGGREGATE_FUNCTION_DISTINCT_COUNT: _NUMBERS,
    pb.AGGREGATE_FUNCTION_MIN: _NUMBERS | {"date"},
    pb.AGGREGATE_FUNCTION_MAX: _NUMBERS | {"date"},
    pb.AGGREGATE_FUNCTION_FIRST: _VALUES,
    pb.AGGREGATE_FUNCTION_LAST: _VALUES,
    pb.AGGREGATE_FUNCTION_MOST_FREQUENT: _VALUES,
    pb.AGGREGATE_FUNCTION_UNIQUE_LIST: frozenset({"list", "presence"}),
}
# The criteria that read the data of one workspace, which a multi-workspace audience must name (semantics: The definition tree).
USER_CRITERIA = frozenset(
    {"user_attribute", "identity", "device", "seen", "location", "consent", "lifetime_value", "attribution"},
)


@dataclass(frozen=True, slots=True)
class OtherAudience:
    """What a definition must know of an audience that it may use; a deleted one is none."""

    name: str
    active: bool
    uses: frozenset[int]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a definition is judged against: the account's look-back, workspaces, inputs (and the workspace of each), types of attributes and
    audiences, and the workspaces and inputs that the audience itself has chosen. `audience_id` is 0 for one that is not saved yet."""

    look_back_days: int
    workspaces: frozenset[int]
    inputs: Mapping[int, int]
    types: Types = field(default_factory=dict)
    audiences: Mapping[int, OtherAudience] = field(default_factory=dict)
    audience_id: int = 0
    workspace_ids: tuple[int, ...] = ()
    input_ids: tuple[int, ...] = ()


def is_too_large(definition: pb.Definition) -> bool:
    """Whether it is refused for its size alone, so that nobody walks millions of nodes for nothing."""
    return definition.ByteSize() > BYTES_MAX


def judge(definition: pb.Definition, surroundings: Surroundings, now: datetime) -> Verdict:
    """Every fault and warning of a definition and of the chosen workspaces and inputs. Never raises, whatever the tree is."""
    findings = Findings()
    _check_choices(surroundings, Place(findings))
    place = Place(findings, "definition")
    if is_too_large(definition):
        size = definition.ByteSize()
        place.fault(Reason.TOO_LARGE, f"The definition takes {size:,} bytes; shorten it to {BYTES_MAX:,} or fewer.")
        return findings.verdict()
    if definition.language_version > LANGUAGE_VERSION:
        place.at("language_version").fault(
            Reason.UNKNOWN_VALUE, f"Version {definition.language_version} of the language is not known; the newest is {LANGUAGE_VERSION}."
        )
    if not definition.HasField("root"):
        place.at("root").fault(Reason.MISSING, "The definition is empty; give it a root, `everyone` if all people shall belong.")
        return findings.verdict()
    _Visit(surroundings, Reach(surroundings.look_back_days, now)).node(definition.root, place.at("root"), 1)
    if not {Reason.TOO_LARGE, Reason.TOO_DEEP} & {fault.reason for fault in findings.faults}:
        _check_unknown_fields(definition, place)
    return findings.verdict()


def _check_choices(surroundings: Surroundings, place: Place) -> None:
    """The audience's own workspaces and inputs exist, and belong together."""
    if not surroundings.workspace_ids:
        place.at("workspace_ids").fault(Reason.MISSING, "No workspace is chosen; choose one or several.")
    for index, workspace in enumerate(surroundings.workspace_ids):
        if workspace not in surroundings.workspaces:
            place.at("workspace_ids", index).fault(Reason.UNKNOWN_WORKSPACE, f"There is no workspace {workspace} in this account.")
    for index, data_input in enumerate(surroundings.input_ids):
        _check_input(data_input, surroundings, place.at("input_ids", index))


def _check_input(data_input: int, surroundings: Surroundings, place: Place) -> bool:
    workspace = surroundings.inputs.get(data_input)
    if workspace is None:
        place.fault(Reason.UNKNOWN_INPUT, f"There is no input {data_input} in this account.")
    elif workspace not in surroundings.workspace_ids:
        place.fault(
            Reason.UNKNOWN_INPUT,
            f"The input {data_input} belongs to workspace {workspace}, which the audience has not chosen; add it or choose another.",
        )
    else:
        return True
    return False


def _check_unknown_fields(definition: pb.Definition, place: Place) -> None:
    """Fields of a newer contract would be ignored, and the audience would not be what was asked for: so they are faults."""
    waiting: list[tuple[Message, Place]] = [(definition, place)]
    while waiting:
        message, at = waiting.pop()
        if isinstance(message, pb.Node):
            at = at.of_node(message.id)
        unknown = UnknownFieldSet(message)
        for number in sorted({int(unknown[index].field_number) for index in range(len(unknown))}):
            at.fault(
                Reason.UNKNOWN_FIELD,
                f"{message.DESCRIPTOR.name} holds a field (number {number}) that this version does not know; "
                "leave it out, or upgrade the installation.",
            )
        waiting += reversed(list(_submessages(message, at)))


def _submessages(message: Message, place: Place) -> Iterator[tuple[Message, Place]]:
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None:
            continue
        if isinstance(value, Message):
            yield value, place.at(descriptor.name)
        else:
            for index, entry in enumerate(value):
                yield entry, place.at(descriptor.name, index)


class _Visit:
    """One walk over one tree. The tables CRITERIA and NODES name every kind of the contract; a test compares them with it."""

    def __init__(self, surroundings: Surroundings, reach: Reach) -> None:
        self._around = surroundings
        self._reach = reach
        self._uses = {number: audience.uses for number, audience in surroundings.audiences.items()}
        self._ids: dict[str, str] = {}
        self._nodes = 0
        self._criteria = 0

    def node(self, node: pb.Node, place: Place, depth: int) -> None:
        self._nodes += 1
        if self._nodes > NODES_MAX:
            if self._nodes == NODES_MAX + 1:
                place.fault(Reason.TOO_LARGE, f"The definition has more than {NODES_MAX} nodes; what follows was not looked at. Split it.")
            return
        place = place.of_node(node.id)
        self._node_id(node.id, place.at("id"))
        if depth > DEPTH_MAX:
            place.fault(
                Reason.TOO_DEEP, f"The node lies deeper than {DEPTH_MAX} levels; what is below it was not looked at. Flatten the groups."
            )
            return
        kind = node.WhichOneof("kind")
        if kind is None:
            place.fault(Reason.MISSING, "The node is empty; choose one of everyone, all, any, exclude and criterion, or remove it.")
            return
        NODES[kind](self, node, place.at(kind), depth)

    def _node_id(self, node_id: str, place: Place) -> None:
        if not node_id:
            return
        if len(node_id) > NODE_ID_MAX:
            place.fault(Reason.TOO_LARGE, f"The id has {len(node_id)} characters; shorten it to {NODE_ID_MAX} or leave it empty.")
        if found := unprintable(node_id):
            place.fault(Reason.CONTROL_CHARACTER, f"The id holds the control character {found}; remove it, or leave the id empty.")
        first = self._ids.setdefault(node_id, place.path)
        if first != place.path:
            place.fault(
                Reason.DUPLICATE_NODE_ID,
                f"The id {node_id!r} is already that of {first.removesuffix('.id')}; leave it empty for a new one.",
            )

    def everyone(self, node: pb.Node, place: Place, depth: int) -> None:
        """Nothing can be wrong with everyone."""

    def all(self, node: pb.Node, place: Place, depth: int) -> None:
        self._group(node.all, place, depth)

    def any(self, node: pb.Node, place: Place, depth: int) -> None:
        self._group(node.any, place, depth)

    def _group(self, group: pb.Group, place: Place, depth: int) -> None:
        if not group.nodes:
            place.fault(Reason.EMPTY_GROUP, "The group is empty; add a criterion, remove the group, or say `everyone`.")
        for index, node in enumerate(group.nodes):
            self.node(node, place.at("nodes", index), depth + 1)

    def exclude(self, node: pb.Node, place: Place, depth: int) -> None:
        if not node.exclude.HasField("node"):
            place.at("node").fault(Reason.MISSING, "Nothing is excluded; say whom to exclude, or remove the node.")
            return
        self.node(node.exclude.node, place.at("node"), depth + 1)

    def criterion(self, node: pb.Node, place: Place, depth: int) -> None:
        self._criteria += 1
        if self._criteria == CRITERIA_MAX + 1:
            place.fault(Reason.TOO_LARGE, f"The definition has more than {CRITERIA_MAX} criteria; split it into several audiences.")
        criterion = node.criterion
        kind = criterion.WhichOneof("kind")
        self._workspace(criterion.workspace_id, kind, place.at("workspace_id"))
        if kind is None:
            place.fault(Reason.MISSING, "The criterion is empty; choose what it looks at, or remove it.")
            return
        CRITERIA[kind](self, criterion, place.at(kind))

    def _workspace(self, workspace: int, kind: str | None, place: Place) -> None:
        chosen = self._around.workspace_ids
        if workspace == 0:
            if kind in USER_CRITERIA and len(set(chosen)) > 1:
                place.fault(Reason.WORKSPACE_NEEDED, "The audience has several workspaces; say which one's data this criterion reads.")
        elif workspace not in chosen:
            known = workspace in self._around.workspaces
            place.fault(
                Reason.UNKNOWN_WORKSPACE,
                f"Workspace {workspace} is not one of the audience's; choose one of them, or add it to them."
                if known
                else f"There is no workspace {workspace} in this account.",
            )

    def event(self, criterion: pb.Criterion, place: Place) -> None:
        event = criterion.event
        self._match(event, place)
        if event.HasField("frequency"):
            check_frequency(event.frequency, place.at("frequency"))
        self._when(event, place)

    def aggregate(self, criterion: pb.Criterion, place: Place) -> None:
        aggregate = criterion.aggregate
        self._match(aggregate, place)
        known = check_enum(aggregate.function, pb.AggregateFunction.DESCRIPTOR, place.at("function"))
        subject = aggregate.WhichOneof("subject")
        if subject == "attribute":
            check_text(aggregate.attribute, place.at("attribute"), "The attribute's name")
        elif subject == "field":
            check_enum(aggregate.field, pb.EventField.DESCRIPTOR, place.at("field"))
        elif known and aggregate.function != pb.AGGREGATE_FUNCTION_COUNT:
            place.at("attribute").fault(Reason.MISSING, "What is aggregated is missing; name an attribute or a field of the event.")
        check_value_test(aggregate.test, place.at("test"), AGGREGATE_TESTS.get(aggregate.function))
        self._when(aggregate, place)

    def sequence(self, criterion: pb.Criterion, place: Place) -> None:
        sequence = criterion.sequence
        if not sequence.steps:
            place.at("steps").fault(Reason.MISSING, "The sequence has no steps; add one or more.")
        if len(sequence.steps) > STEPS_MAX:
            place.at("steps").fault(Reason.TOO_LARGE, f"The sequence has {len(sequence.steps)} steps; keep {STEPS_MAX} or fewer.")
        for index, step in enumerate(sequence.steps[:STEPS_MAX]):
            self._step(step, place.at("steps", index))
        if sequence.HasField("not_followed_by"):
            self._step(sequence.not_followed_by, place.at("not_followed_by"))
        self._when(sequence, place)

    def user_attribute(self, criterion: pb.Criterion, place: Place) -> None:
        attribute, test = criterion.user_attribute.attribute, criterion.user_attribute.test
        check_text(attribute, place.at("attribute"), "The attribute's name")
        check_value_test(test, place.at("test"))
        read = [criterion.workspace_id] if criterion.workspace_id else self._around.workspace_ids
        warn_of_type([self._around.types.get((one, AttributeKind.USER, attribute)) for one in read], test, place.at("test"))

    def identity(self, criterion: pb.Criterion, place: Place) -> None:
        check_enum(criterion.identity.type, identity_pb2.IdentityType.DESCRIPTOR, place.at("type"))
        check_value_test(criterion.identity.test, place.at("test"), frozenset({"string", "presence"}))

    def device(self, criterion: pb.Criterion, place: Place) -> None:
        check_enum(criterion.device.field, pb.DeviceField.DESCRIPTOR, place.at("field"))
        check_value_test(criterion.device.test, place.at("test"))

    def seen(self, criterion: pb.Criterion, place: Place) -> None:
        check_enum(criterion.seen.edge, pb.SeenEdge.DESCRIPTOR, place.at("edge"))
        if criterion.seen.HasField("when"):
            check_period(criterion.seen.when, place.at("when"), None)
        else:
            place.at("when").fault(Reason.MISSING, "The period is missing; say when the person was seen.")

    def location(self, criterion: pb.Criterion, place: Place) -> None:
        kind = criterion.location.WhichOneof("kind")
        if kind is None:
            place.fault(Reason.MISSING, "The place is missing; give a city, state, zip or country, or a point and a distance.")
            return
        LOCATIONS[kind](self, criterion.location, place.at(kind))

    def consent(self, criterion: pb.Criterion, place: Place) -> None:
        check_text(criterion.consent.regulation, place.at("regulation"), "The regulation")

    def lifetime_value(self, criterion: pb.Criterion, place: Place) -> None:
        check_number(criterion.lifetime_value.test, place.at("test"))

    def attribution(self, criterion: pb.Criterion, place: Place) -> None:
        check_enum(criterion.attribution.field, pb.AttributionField.DESCRIPTOR, place.at("field"))
        check_value_test(criterion.attribution.test, place.at("test"), frozenset({"string", "presence"}))

    def member_of(self, criterion: pb.Criterion, place: Place) -> None:
        used, place = criterion.member_of.audience_id, place.at("audience_id")
        if used == 0:
            place.fault(Reason.MISSING, "The audience is missing; say whose members are meant.")
            return
        other = self._around.audiences.get(used)
        if other is None:
            place.fault(Reason.UNKNOWN_AUDIENCE, f"There is no audience {used} in this account.")
            return
        if self._around.audience_id and (back := path_back(self._around.audience_id, used, self._uses)):
            way = ", ".join(f"{outer} uses {inner}" for outer, inner in pairwise(back))
            place.fault(Reason.CYCLE, f"An audience cannot depend on itself, and here {way}; remove one of these uses.")
        elif not other.active:
            place.warn(
                Reason.AUDIENCE_NOT_ACTIVE,
                f"The audience {used} ({other.name}) is not active and so has no members; activate it to make this count.",
            )

    def place(self, location: pb.LocationCriterion, place: Place) -> None:
        check_enum(location.place.field, pb.PlaceField.DESCRIPTOR, place.at("field"))
        check_text(location.place.value, place.at("value"), "The name of the place")

    def near(self, location: pb.LocationCriterion, place: Place) -> None:
        near = location.near
        # Written so that NaN, which compares with nothing, is outside of every range.
        for name, value, least, most in (
            ("latitude", near.latitude, -90.0, 90.0),
            ("longitude", near.longitude, -180.0, 180.0),
            ("distance_metres", near.distance_metres, 1.0, 20_100_000.0),
        ):
            if not least <= value <= most:
                place.at(name).fault(Reason.OUT_OF_RANGE, f"{value} is not a {name.replace('_', ' in ')}; give {least:.0f} to {most:.0f}.")

    def _step(self, step: pb.SequenceStep | pb.NotFollowedBy, place: Place) -> None:
        self._match(step, place)
        for index, one in enumerate(step.match.where[:FILTERS_MAX]):
            if one.test.date.when.WhichOneof("kind") in ("last", "ago"):
                place.at("match").at("where", index).at("test").at("date").fault(
                    Reason.NOT_EVALUATED_YET, "Dates relative to now are not evaluated in the filters of sequences; choose days."
                )
        if step.HasField("within"):
            check_duration(step.within, place.at("within"), self._reach)

    def _match(self, of: _HasMatch, place: Place) -> None:
        place = place.at("match")
        if not of.HasField("match"):
            place.fault(Reason.MISSING, "The events are missing; choose a type of event.")
            return
        match = of.match
        known = check_enum(match.type, event_type_pb2.EventType.DESCRIPTOR, place.at("type"))
        named = match.WhichOneof("name_match")
        if named is not None and known and match.type in UNNAMED_EVENTS:
            word = event_type_pb2.EventType.Name(match.type).removeprefix("EVENT_TYPE_")
            place.at(named).fault(Reason.NOT_APPLICABLE, f"Events of the type {word} have no name; leave it out.")
        elif named == "name":
            check_text(match.name, place.at("name"), "The event's name")
        elif named == "name_test":
            check_string(match.name_test, place.at("name_test"))
        self._filters(match, place)
        for index, data_input in enumerate(match.input_ids):
            at = place.at("input_ids", index)
            if _check_input(data_input, self._around, at) and self._around.input_ids and data_input not in self._around.input_ids:
                at.fault(Reason.UNKNOWN_INPUT, f"The input {data_input} is not one of the audience's; add it to them or choose another.")

    def _filters(self, match: pb.EventMatch, place: Place) -> None:
        filters = match.where
        inputs = match.input_ids or self._around.input_ids
        workspaces = {self._around.inputs.get(data_input, 0) for data_input in inputs} or self._around.workspace_ids
        if len(filters) > FILTERS_MAX:
            place.at("where").fault(Reason.TOO_LARGE, f"There are {len(filters)} filters; keep {FILTERS_MAX} or fewer.")
        for index, one in enumerate(filters[:FILTERS_MAX]):
            at = place.at("where", index)
            subject = one.WhichOneof("subject")
            if subject is None:
                at.fault(Reason.MISSING, "What is compared is missing; name an attribute or a field of the event.")
            else:
                FILTER_SUBJECTS[subject](one, at)
            check_value_test(one.test, at.at("test"))
            if subject == "attribute":
                types = [self._around.types.get((read, AttributeKind.EVENT, one.attribute)) for read in workspaces]
                warn_of_type(types, one.test, at.at("test"))

    def _when(self, of: _HasWhen, place: Place) -> None:
        if of.HasField("when"):
            check_period(of.when, place.at("when"), self._reach)


_HasMatch = pb.EventCriterion | pb.AggregateCriterion | pb.SequenceStep | pb.NotFollowedBy
_HasWhen = pb.EventCriterion | pb.AggregateCriterion | pb.SequenceCriterion

NODES: Mapping[str, Callable[[_Visit, pb.Node, Place, int], None]] = {
    "everyone": _Visit.everyone,
    "all": _Visit.all,
    "any": _Visit.any,
    "exclude": _Visit.exclude,
    "criterion": _Visit.criterion,
}
CRITERIA: Mapping[str, Callable[[_Visit, pb.Criterion, Place], None]] = {
    "event": _Visit.event,
    "aggregate": _Visit.aggregate,
    "sequence": _Visit.sequence,
    "user_attribute": _Visit.user_attribute,
    "identity": _Visit.identity,
    "device": _Visit.device,
    "seen": _Visit.seen,
    "location": _Visit.location,
    "consent": _Visit.consent,
    "lifetime_value": _Visit.lifetime_value,
    "attribution": _Visit.attribution,
    "member_of": _Visit.member_of,
}
LOCATIONS: Mapping[str, Callable[[_Visit, pb.LocationCriterion, Place], None]] = {"place": _Visit.place, "near": _Visit.near}
FILTER_SUBJECTS: Mapping[str, Callable[[pb.Filter, Place], object]] = {
    "attribute": lambda one, at: check_text(one.attribute, at.at("attribute"), "The attribute's name"),
    "field": lambda one, at: check_enum(one.field, pb.EventField.DESCRIPTOR, at.at("field")),
    "product_attribute": lambda one, at: check_text(one.product_attribute, at.at("product_attribute"), "The attribute's name"),
}
