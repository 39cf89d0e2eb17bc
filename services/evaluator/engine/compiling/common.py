"""What the compilers of all kinds of criteria share: their surroundings, tests of values, periods, and the way to refuse."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TypeVar

from google.type import date_pb2
from muster.definition.v1 import definition_pb2 as pb

from .. import tree
from ..periods import Window
from ..strings import StringTest, Way
from ..values import (
    AttributeType,
    BooleanTest,
    Comparison,
    DateTest,
    EmptyTest,
    ExistsTest,
    ListTest,
    NumberTest,
    TextTest,
    ValueTest,
    decimal_of,
)
from .overrides import NO_TYPES, Types

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


ALWAYS = tree.Group(True, ())
NEVER = tree.Group(False, ())


@dataclass(frozen=True)
class Scope:
    """Of the audience: its workspaces, the inputs that its event criteria read, and how far back they see (milliseconds). Of the account:
    the workspace of each input, and the types of attributes by workspace."""

    workspaces: frozenset[int]
    inputs: frozenset[int]
    look_back: int
    workspace_of_input: Mapping[int, int]
    types: Mapping[int, Types]

    def workspace_of(self, criterion: pb.Criterion) -> int:
        """Whose data a user criterion reads."""
        if not criterion.workspace_id and len(self.workspaces) != 1:
            raise Refusal("a user criterion of an audience of several workspaces names its workspace")
        return criterion.workspace_id or next(iter(self.workspaces))

    def types_of(self, workspace: int) -> Types:
        return self.types.get(workspace, NO_TYPES)

    def type_of_event(self, input_id: int, attribute: str) -> AttributeType | None:
        """What an attribute of the events of an input is read as; None: as what it was sent as."""
        return self.types_of(self.workspace_of_input.get(input_id, 0)).of_events.get(attribute)


class Refusal(Exception):
    """What is wrong inside a node, where its place isn't known."""

    def __init__(self, words: str, *, unsupported: bool = False) -> None:
        super().__init__(words)
        self.words = words
        self.unsupported = unsupported


def value_test(test: pb.ValueTest) -> ValueTest:
    match test.WhichOneof("kind"):
        case "string":
            return TextTest(string_test(test.string))
        case "number":
            comparison = known(COMPARISONS, test.number.comparison, "comparison")
            upper = decimal(test.number.upper) if comparison is Comparison.BETWEEN else None
            return NumberTest(comparison, decimal(test.number.value), upper)
        case "boolean":
            return BooleanTest(test.boolean.value)
        case "date":
            return DateTest(window_of(test.date.when) if test.date.HasField("when") else Window())
        case "list":
            return list_test(test.list)
        case "presence":
            return presence_test(test.presence)
        case _:
            raise Refusal("a test of no or an unknown kind", unsupported=True)


def list_test(test: pb.ListTest) -> ListTest:
    operand = test.value.casefold()
    match test.operator:
        case pb.LIST_OPERATOR_INCLUDES:
            return ListTest(operand, whole_entry=True)
        case pb.LIST_OPERATOR_NOT_INCLUDES:
            return ListTest(operand, whole_entry=True, negative=True)
        case pb.LIST_OPERATOR_PARTIAL_MATCH:
            return ListTest(operand, whole_entry=False)
        case other:
            raise Refusal(f"list operator {other}", unsupported=True)


def presence_test(test: pb.PresenceTest) -> ExistsTest | EmptyTest:
    match test.operator:
        case pb.PRESENCE_OPERATOR_EXISTS:
            return ExistsTest()
        case pb.PRESENCE_OPERATOR_NOT_EXISTS:
            return ExistsTest(exists=False)
        case pb.PRESENCE_OPERATOR_EMPTY:
            return EmptyTest()
        case other:
            raise Refusal(f"presence operator {other}", unsupported=True)


def string_test(test: pb.StringTest) -> StringTest:
    way, negative = known(WAYS, test.operator, "string operator")
    return StringTest.of(way, test.values if way is Way.IN else [test.value], negative=negative)


def decimal(text: str) -> Decimal:
    number = decimal_of(text)
    if number is None:
        raise Refusal("a number test's operand that is not a decimal number")
    return number


def window_of(period: pb.Period) -> Window:
    match period.WhichOneof("kind"):
        case "last":
            return Window(oldest_ago=duration(period.last), newest_ago=0)
        case "ago":
            oldest = getattr(period.ago, "from")  # a keyword of Python
            return Window(oldest_ago=duration(oldest), newest_ago=duration(period.ago.to))
        case "on":
            return Window(first=midnight(period.on), last=midnight(period.on) + DAY - 1)
        case "before":
            return Window(last=midnight(period.before) - 1)
        case "after":
            return Window(first=midnight(period.after) + DAY)
        case "on_or_after":
            return Window(first=midnight(period.on_or_after))
        case "between":
            return Window(first=midnight(period.between.first), last=midnight(period.between.last) + DAY - 1)
        case None:
            raise Refusal("a period of no or an unknown kind", unsupported=True)


def duration(duration: pb.Duration) -> int:
    return duration.count * known(UNITS, duration.unit, "unit of time")


def midnight(day: date_pb2.Date) -> int:
    """Unix milliseconds of the beginning of the UTC day."""
    try:
        return (date(day.year, day.month, day.day) - date(1970, 1, 1)).days * DAY
    except ValueError:
        raise Refusal("a date that the calendar doesn't have") from None


def known(table: Mapping[K, T], key: K, what: str) -> T:
    if key not in table:
        raise Refusal(f"{what} {key}", unsupported=True)
    return table[key]
