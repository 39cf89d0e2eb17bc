"""Criteria that count events."""

from decimal import Decimal

from muster.definition.v1 import definition_pb2 as pb

from .. import tree
from ..periods import Window
from ..strings import StringTest
from ..values import Comparison, NumberTest
from .common import ALWAYS, COMPARISONS, NEVER, Refusal, Scope, known, string_test, window_of
from .filters import filters_of

HasPeriod = pb.EventCriterion | pb.AggregateCriterion | pb.SequenceCriterion


def match_of(match: pb.EventMatch, scope: Scope) -> tree.Match:
    """Which events a criterion reads."""
    if match.type == 0:
        raise Refusal("an event without a type")
    name: str | StringTest | None = None
    if match.WhichOneof("name_match") == "name":
        name = match.name
    elif match.WhichOneof("name_match") == "name_test":
        name = string_test(match.name_test)
    where, inputs = filters_of(match.where, frozenset(match.input_ids) or scope.inputs, scope)
    return tree.Match(match.type, name, inputs, where)


def window_of_events(criterion: HasPeriod, scope: Scope) -> Window:
    """The period of a criterion that reads events, within the look-back."""
    return (window_of(criterion.when) if criterion.HasField("when") else Window()).within(scope.look_back)


def compile_event(event: pb.EventCriterion, scope: Scope) -> tree.Leaf | tree.Group:
    match, window = match_of(event.match, scope), window_of_events(event, scope)
    return counted(match, window, *(_frequency(event.frequency) if event.HasField("frequency") else (1, tree.UNBOUNDED, False)))


def counted(match: tree.Match, window: Window, least: int, most: int, negated: bool) -> tree.Leaf | tree.Group:
    """At least and at most so many events, or, negated, any other number of them."""
    least = max(least, 0)
    if least == 0 <= most:  # what 0 satisfies is the opposite of something that it doesn't
        least, most, negated = most + 1, tree.UNBOUNDED, not negated
    if least > most or least > tree.UNBOUNDED:
        return ALWAYS if negated else NEVER
    if not match.moves:
        return tree.Leaf(tree.EventCount(match, window, least, most), negated)
    number = NumberTest(Comparison.BETWEEN, Decimal(least), Decimal(most))
    return tree.Leaf(tree.AggregateTest(match, tree.Function.COUNT, None, window, number), negated)


def bounds_of(test: NumberTest) -> tuple[int, int, bool]:
    """As of a frequency, of any numbers."""
    lower, upper = (_ends(number) for number in (test.operand, test.operand if test.upper is None else test.upper))
    match test.comparison:
        case Comparison.EQUAL | Comparison.NOT_EQUAL:
            return lower[1], lower[0], test.comparison is Comparison.NOT_EQUAL  # none where it is between two whole numbers
        case Comparison.LESS:
            return 0, lower[1] - 1, False
        case Comparison.LESS_OR_EQUAL:
            return 0, lower[0], False
        case Comparison.GREATER:
            return max(lower[0] + 1, 0), tree.UNBOUNDED, False
        case Comparison.GREATER_OR_EQUAL:
            return max(lower[1], 0), tree.UNBOUNDED, False
        case Comparison.BETWEEN:
            return lower[1], upper[0], False


def _ends(number: Decimal) -> tuple[int, int]:
    """The whole numbers that it is not less, and not more, than; those further away than any count are as good as one."""
    numerator, denominator = number.as_integer_ratio()
    down = numerator // denominator
    exact = down * denominator == numerator
    return tuple(max(-1, min(end, tree.UNBOUNDED - 1)) for end in (down, down if exact else down + 1))  # type: ignore[return-value]


def _frequency(test: pb.FrequencyTest) -> tuple[int, int, bool]:
    """The least and the most count that it allows, and whether it means the counts outside of these."""
    value = min(test.value, tree.UNBOUNDED - 1)
    match known(COMPARISONS, test.comparison, "comparison"):
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
