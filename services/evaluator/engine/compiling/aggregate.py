"""Criteria on what a function makes of the values of events."""

from collections.abc import Mapping

from muster.definition.v1 import definition_pb2 as pb

from .. import tree
from ..details import Place, Subject
from ..periods import Window
from ..tree import Function
from ..values import DateTest, EmptyTest, ExistsTest, NumberTest, ValueTest
from .common import ALWAYS, NEVER, Refusal, Scope, known, value_test
from .event import bounds_of, counted, match_of, window_of_events
from .filters import FIELDS

FUNCTIONS: Mapping[int, Function] = {
    pb.AGGREGATE_FUNCTION_SUM: Function.SUM,
    pb.AGGREGATE_FUNCTION_MIN: Function.MIN,
    pb.AGGREGATE_FUNCTION_MAX: Function.MAX,
    pb.AGGREGATE_FUNCTION_AVG: Function.AVERAGE,
    pb.AGGREGATE_FUNCTION_COUNT: Function.COUNT,
    pb.AGGREGATE_FUNCTION_DISTINCT_COUNT: Function.DISTINCT_COUNT,
    pb.AGGREGATE_FUNCTION_FIRST: Function.FIRST,
    pb.AGGREGATE_FUNCTION_LAST: Function.LAST,
    pb.AGGREGATE_FUNCTION_MOST_FREQUENT: Function.MOST_FREQUENT,
    pb.AGGREGATE_FUNCTION_UNIQUE_LIST: Function.UNIQUE_LIST,
}
MADE = frozenset({Function.SUM, Function.AVERAGE, Function.COUNT, Function.DISTINCT_COUNT, Function.UNIQUE_LIST})
"""What these give is no value of an event, so it is no date either."""


def compile_aggregate(aggregate: pb.AggregateCriterion, scope: Scope) -> tree.Leaf | tree.Group:
    function = known(FUNCTIONS, aggregate.function, "function")
    match, window = match_of(aggregate.match, scope), window_of_events(aggregate, scope)
    subject, test = _subject(aggregate), value_test(aggregate.test)
    if isinstance(test, DateTest) and function in MADE:
        raise Refusal(f"a date test of a {function.value}")
    if subject is None:
        return _count_of_events(function, match, window, test)
    criterion = tree.AggregateTest(match, function, subject, window, test)
    return tree.Leaf(criterion, negated=criterion.passes_empty)


def _count_of_events(function: Function, match: tree.Match, window: Window, test: ValueTest) -> tree.Leaf | tree.Group:
    if function is not Function.COUNT:
        raise Refusal(f"a {function.value} of nothing")
    match test:
        case NumberTest():
            return counted(match, window, *bounds_of(test))
        case ExistsTest(exists):
            return ALWAYS if exists else NEVER
        case EmptyTest():
            return NEVER
        case _:
            raise Refusal("a test of how many events there are that is not of a number")


def _subject(aggregate: pb.AggregateCriterion) -> Subject | None:
    match aggregate.WhichOneof("subject"):
        case "attribute":
            return Subject(Place.ATTRIBUTE, aggregate.attribute)
        case "field":
            return known(FIELDS, aggregate.field, "field of an event")
        case _:
            return None
