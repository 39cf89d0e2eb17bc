"""From the contract's tree to what the engine evaluates: the one file here that knows protobuf."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import TypeVar

from google.type import date_pb2
from muster.definition.v1 import definition_pb2 as pb

from . import tree
from .periods import Window
from .strings import StringTest, Way
from .values import BooleanTest, Comparison, EmptyTest, ExistsTest, ListTest, NumberTest, TextTest, ValueTest, decimal_of

K = TypeVar("K", bound=int)
T = TypeVar("T")

DAY = 86_400_000
UNITS = {
    pb.DURATION_UNIT_SECOND: 1_000,
    pb.DURATION_UNIT_MINUTE: 60_000,
    pb.DURATION_UNIT_HOUR: 3_600_000,
    pb.DURATION_UNIT_DAY: DAY,
    pb.DURATION_UNIT_WEEK: 7 * DAY,
}
WAYS = {
    pb.STRING_OPERATOR_CONTAINS: (Way.CONTAINS, False),
    pb.STRING_OPERATOR_NOT_CONTAINS: (Way.CONTAINS, True),
    pb.STRING_OPERATOR_EQUALS: (Way.EQUALS, False),
    pb.STRING_OPERATOR_NOT_EQUALS: (Way.EQUALS, True),
    pb.STRING_OPERATOR_PATTERN: (Way.PATTERN, False),
    pb.STRING_OPERATOR_NOT_PATTERN: (Way.PATTERN, True),
    pb.STRING_OPERATOR_STARTS_WITH: (Way.STARTS_WITH, False),
    pb.STRING_OPERATOR_NOT_STARTS_WITH: (Way.STARTS_WITH, True),
    pb.STRING_OPERATOR_ENDS_WITH: (Way.ENDS_WITH, False),
    pb.STRING_OPERATOR_NOT_ENDS_WITH: (Way.ENDS_WITH, True),
    pb.STRING_OPERATOR_IN: (Way.IN, False),
    pb.STRING_OPERATOR_NOT_IN: (Way.IN, True),
}
COMPARISONS = {
    pb.COMPARISON_EQUAL: Comparison.EQUAL,
    pb.COMPARISON_NOT_EQUAL: Comparison.NOT_EQUAL,
    pb.COMPARISON_LESS: Comparison.LESS,
    pb.COMPARISON_LESS_OR_EQUAL: Comparison.LESS_OR_EQUAL,
    pb.COMPARISON_GREATER: Comparison.GREATER,
    pb.COMPARISON_GREATER_OR_EQUAL: Comparison.GREATER_OR_EQUAL,
    pb.COMPARISON_BETWEEN: Comparison.BETWEEN,
}


class Unsupported(Exception):
    """A node that this version doesn't evaluate.

    `path` is its place in the tree, such as `root.all.nodes[1].exclude.node`; `node_id` its id, or empty.
    """

    def __init__(self, path: str, kind: str, node_id: str = "") -> None:
        super().__init__(f"{path}: {kind} is not evaluated by this version")
        self.path = path
        self.kind = kind
        self.node_id = node_id


class Malformed(ValueError):
    """A definition without a meaning, which its service lets nobody activate."""

    def __init__(self, path: str, problem: str, node_id: str = "") -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem
        self.node_id = node_id


@dataclass(frozen=True)
class Compiled:
    """A definition ready for the engine. Immutable; equal ones mean the same."""

    root: tree.Node
    candidates: tree.Activity

    @property
    def members(self) -> tree.Node:
        """The tree of those who are in: candidates for whom the root is true."""
        return tree.Group(True, (tree.Leaf(self.candidates), self.root))

    @property
    def member_of(self) -> frozenset[int]:
        """The audiences whose members it reads: activate them first."""
        return frozenset(criterion.audience for criterion in tree.criteria_of(self.root) if isinstance(criterion, tree.MemberOf))


def compile_definition(
    definition: pb.Definition,
    *,
    workspaces: Mapping[int, Sequence[int]],
    workspace_ids: Collection[int],
    input_ids: Collection[int] = (),
    look_back_ms: int,
) -> Compiled:
    """`workspaces`: the inputs of each workspace of the account. `workspace_ids`: the audience's. `input_ids`: those that its event
    criteria read; empty: all inputs of the audience's workspaces (compile again when one of them gets a new input). A window longer than
    the look-back is cut to it. Raises Unsupported or Malformed with the place of the node."""
    inputs = frozenset(input_ids) or frozenset(input_id for workspace in workspace_ids for input_id in workspaces.get(workspace, ()))
    root = _Compiler(frozenset(workspace_ids), inputs, look_back_ms).node(definition.root, "root")
    return Compiled(root, tree.Activity(frozenset(workspace_ids)))


ALWAYS = tree.Group(True, ())
NEVER = tree.Group(False, ())


class _Refusal(Exception):
    """What is wrong inside a node, where its place isn't known."""

    def __init__(self, words: str, *, unsupported: bool = False) -> None:
        super().__init__(words)
        self.words = words
        self.unsupported = unsupported


@dataclass(frozen=True)
class _Compiler:
    workspaces: frozenset[int]
    inputs: frozenset[int]
    look_back: int

    def node(self, node: pb.Node, path: str) -> tree.Node:
        kind = node.WhichOneof("kind")
        match kind:
            case "everyone":
                return replace(ALWAYS, id=node.id)
            case "all" | "any":
                nodes = node.all.nodes if kind == "all" else node.any.nodes
                if not nodes:
                    raise Malformed(path, "an empty group", node.id)
                parts = tuple(self.node(inner, f"{path}.{kind}.nodes[{i}]") for i, inner in enumerate(nodes))
                return tree.Group(kind == "all", parts, node.id)
            case "exclude":
                return tree.Not(self.node(node.exclude.node, f"{path}.exclude.node"), node.id)
            case "criterion":
                try:
                    return replace(self._criterion(node.criterion), id=node.id)
                except _Refusal as refusal:
                    raise (Unsupported if refusal.unsupported else Malformed)(path, refusal.words, node.id) from None
            case None:
                raise Unsupported(path, "an empty node, or one of an unknown kind,", node.id)

    def _criterion(self, criterion: pb.Criterion) -> tree.Leaf | tree.Group:
        match criterion.WhichOneof("kind"):
            case "event":
                return self._event(criterion.event)
            case "user_attribute":
                return self._user_attribute(criterion)
            case "member_of":
                return tree.Leaf(tree.MemberOf(criterion.member_of.audience_id))
            case (
                "aggregate"
                | "sequence"
                | "identity"
                | "device"
                | "seen"
                | "location"
                | "consent"
                | "lifetime_value"
                | "attribution" as kind
            ):
                raise _Refusal(kind, unsupported=True)
            case None:
                raise _Refusal("a criterion of no or an unknown kind", unsupported=True)

    def _event(self, event: pb.EventCriterion) -> tree.Leaf | tree.Group:
        match = event.match
        if match.where:
            raise _Refusal("event.where", unsupported=True)
        if match.type == 0:
            raise _Refusal("an event without a type")
        name: str | StringTest | None = None
        if match.WhichOneof("name_match") == "name":
            name = match.name
        elif match.WhichOneof("name_match") == "name_test":
            name = _string_test(match.name_test)
        window = (_window(event.when) if event.HasField("when") else Window()).within(self.look_back)
        reads = tree.Match(match.type, name, frozenset(match.input_ids) or self.inputs)
        least, most, negated = _frequency(event.frequency) if event.HasField("frequency") else (1, tree.UNBOUNDED, False)
        if least == 0:  # what 0 satisfies is the opposite of something that it doesn't
            least, most, negated = most + 1, tree.UNBOUNDED, not negated
        if least > most or least > tree.UNBOUNDED:
            return ALWAYS if negated else NEVER
        return tree.Leaf(tree.EventCount(reads, window, least, most), negated)

    def _user_attribute(self, criterion: pb.Criterion) -> tree.Leaf:
        if not criterion.workspace_id and len(self.workspaces) != 1:
            raise _Refusal("a user criterion of an audience of several workspaces names its workspace")
        workspace = criterion.workspace_id or next(iter(self.workspaces))
        attribute, test = criterion.user_attribute.attribute, criterion.user_attribute.test
        if test.WhichOneof("kind") == "date":
            window = _window(test.date.when) if test.date.HasField("when") else Window()
            return tree.Leaf(tree.AttributeDate(workspace, attribute, window))
        compiled = _value_test(test)
        return tree.Leaf(tree.AttributeTest(workspace, attribute, compiled), negated=compiled.missing)


def _frequency(test: pb.FrequencyTest) -> tuple[int, int, bool]:
    """The least and the most count that it allows, and whether it means the counts outside of these."""
    value = min(test.value, tree.UNBOUNDED - 1)
    match _known(COMPARISONS, test.comparison, "comparison"):
        case Comparison.EQUAL:
            return value, value, False
        case Comparison.NOT_EQUAL:
            return value, value, True
        case Comparison.LESS:
            return (0, value - 1, False) if value else (1, 0, False)
        case Comparison.LESS_OR_EQUAL:
            return 0, value, False
        case Comparison.GREATER:
            return value + 1, tree.UNBOUNDED, False
        case Comparison.GREATER_OR_EQUAL:
            return value, tree.UNBOUNDED, False
        case Comparison.BETWEEN:
            return (value, min(test.upper, tree.UNBOUNDED - 1), False) if value <= test.upper else (1, 0, False)


def _value_test(test: pb.ValueTest) -> ValueTest:
    match test.WhichOneof("kind"):
        case "string":
            return TextTest(_string_test(test.string))
        case "number":
            comparison = _known(COMPARISONS, test.number.comparison, "comparison")
            upper = _decimal(test.number.upper) if comparison is Comparison.BETWEEN else None
            return NumberTest(comparison, _decimal(test.number.value), upper)
        case "boolean":
            return BooleanTest(test.boolean.value)
        case "list":
            return _list_test(test.list)
        case "presence":
            return _presence_test(test.presence)
        case _:
            raise _Refusal("a test of no or an unknown kind", unsupported=True)


def _list_test(test: pb.ListTest) -> ListTest:
    operand = test.value.casefold()
    match test.operator:
        case pb.LIST_OPERATOR_INCLUDES:
            return ListTest(operand, whole_entry=True)
        case pb.LIST_OPERATOR_NOT_INCLUDES:
            return ListTest(operand, whole_entry=True, negative=True)
        case pb.LIST_OPERATOR_PARTIAL_MATCH:
            return ListTest(operand, whole_entry=False)
        case other:
            raise _Refusal(f"list operator {other}", unsupported=True)


def _presence_test(test: pb.PresenceTest) -> ExistsTest | EmptyTest:
    match test.operator:
        case pb.PRESENCE_OPERATOR_EXISTS:
            return ExistsTest()
        case pb.PRESENCE_OPERATOR_NOT_EXISTS:
            return ExistsTest(exists=False)
        case pb.PRESENCE_OPERATOR_EMPTY:
            return EmptyTest()
        case other:
            raise _Refusal(f"presence operator {other}", unsupported=True)


def _string_test(test: pb.StringTest) -> StringTest:
    way, negative = _known(WAYS, test.operator, "string operator")
    return StringTest.of(way, test.values if way is Way.IN else [test.value], negative=negative)


def _decimal(text: str) -> Decimal:
    number = decimal_of(text)
    if number is None:
        raise _Refusal("a number test's operand that is not a decimal number")
    return number


def _window(period: pb.Period) -> Window:
    match period.WhichOneof("kind"):
        case "last":
            return Window(oldest_ago=_duration(period.last), newest_ago=0)
        case "ago":
            oldest = getattr(period.ago, "from")  # a keyword of Python
            return Window(oldest_ago=_duration(oldest), newest_ago=_duration(period.ago.to))
        case "on":
            return Window(first=_midnight(period.on), last=_midnight(period.on) + DAY - 1)
        case "before":
            return Window(last=_midnight(period.before) - 1)
        case "after":
            return Window(first=_midnight(period.after) + DAY)
        case "on_or_after":
            return Window(first=_midnight(period.on_or_after))
        case "between":
            return Window(first=_midnight(period.between.first), last=_midnight(period.between.last) + DAY - 1)
        case None:
            raise _Refusal("a period of no or an unknown kind", unsupported=True)


def _duration(duration: pb.Duration) -> int:
    return duration.count * _known(UNITS, duration.unit, "unit of time")


def _midnight(day: date_pb2.Date) -> int:
    """Unix milliseconds of the beginning of the UTC day."""
    try:
        return (date(day.year, day.month, day.day) - date(1970, 1, 1)).days * DAY
    except ValueError:
        raise _Refusal("a date that the calendar doesn't have") from None


def _known(table: Mapping[K, T], key: K, what: str) -> T:
    if key not in table:
        raise _Refusal(f"{what} {key}", unsupported=True)
    return table[key]
