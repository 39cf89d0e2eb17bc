"""Short ways to write definitions in tests, and Hypothesis strategies that write all that the engine evaluates."""

from collections.abc import Sequence
from datetime import date

from google.type import date_pb2
from hypothesis import strategies as st
from muster.definition.v1 import definition_pb2 as pb

CUSTOM, SESSION_START = 1, 4
UNITS = {
    "s": pb.DURATION_UNIT_SECOND,
    "m": pb.DURATION_UNIT_MINUTE,
    "h": pb.DURATION_UNIT_HOUR,
    "d": pb.DURATION_UNIT_DAY,
    "w": pb.DURATION_UNIT_WEEK,
}
COMPARISONS = {
    "=": pb.COMPARISON_EQUAL,
    "!=": pb.COMPARISON_NOT_EQUAL,
    "<": pb.COMPARISON_LESS,
    "<=": pb.COMPARISON_LESS_OR_EQUAL,
    ">": pb.COMPARISON_GREATER,
    ">=": pb.COMPARISON_GREATER_OR_EQUAL,
    "between": pb.COMPARISON_BETWEEN,
}


# --- trees


def definition(root: pb.Node) -> pb.Definition:
    return pb.Definition(root=root)


def everyone() -> pb.Node:
    return pb.Node(everyone=pb.Everyone())


def all_of(*nodes: pb.Node) -> pb.Node:
    return pb.Node(all=pb.Group(nodes=nodes))


def any_of(*nodes: pb.Node) -> pb.Node:
    return pb.Node(any=pb.Group(nodes=nodes))


def exclude(node: pb.Node) -> pb.Node:
    return pb.Node(exclude=pb.Exclude(node=node))


def event(
    name: str | pb.StringTest | None = None,
    frequency: str = "",
    when: pb.Period | None = None,
    *,
    type: int = CUSTOM,
    inputs: Sequence[int] = (),
    where: Sequence[pb.Filter] = (),
) -> pb.Node:
    """`frequency` as `< 3` or `between 2 4`."""
    match = pb.EventMatch(type=type, input_ids=inputs, where=where)  # type: ignore[arg-type]  # the number of an EventType
    if isinstance(name, str):
        match.name = name
    elif name is not None:
        match.name_test.CopyFrom(name)
    criterion = pb.EventCriterion(match=match, when=when)
    if frequency:
        comparison, value, *upper = frequency.split()
        criterion.frequency.CopyFrom(pb.FrequencyTest(comparison=COMPARISONS[comparison], value=int(value), upper=int(*upper)))
    return pb.Node(criterion=pb.Criterion(event=criterion))


def attribute(name: str, test: pb.ValueTest, *, workspace: int = 0) -> pb.Node:
    return pb.Node(criterion=pb.Criterion(workspace_id=workspace, user_attribute=pb.UserAttributeCriterion(attribute=name, test=test)))


def member_of(audience_id: int) -> pb.Node:
    return pb.Node(criterion=pb.Criterion(member_of=pb.MemberOfCriterion(audience_id=audience_id)))


# --- tests


def string(operator: str, *values: str) -> pb.StringTest:
    """`operator` as in the contract, without the prefix, in small letters: `not_contains`."""
    number = pb.StringOperator.Value(f"STRING_OPERATOR_{operator.upper()}")
    return (
        pb.StringTest(operator=number, values=values) if operator in ("in", "not_in") else pb.StringTest(operator=number, value=values[0])
    )


def text(operator: str, *values: str) -> pb.ValueTest:
    return pb.ValueTest(string=string(operator, *values))


def number(comparison: str, value: str, upper: str = "") -> pb.ValueTest:
    return pb.ValueTest(number=pb.NumberTest(comparison=COMPARISONS[comparison], value=value, upper=upper))


def boolean(value: bool) -> pb.ValueTest:
    return pb.ValueTest(boolean=pb.BooleanTest(value=value))


def listed(operator: str, value: str) -> pb.ValueTest:
    return pb.ValueTest(list=pb.ListTest(operator=pb.ListOperator.Value(f"LIST_OPERATOR_{operator.upper()}"), value=value))


def presence(operator: str) -> pb.ValueTest:
    return pb.ValueTest(presence=pb.PresenceTest(operator=pb.PresenceOperator.Value(f"PRESENCE_OPERATOR_{operator.upper()}")))


def dated(when: pb.Period | None) -> pb.ValueTest:
    return pb.ValueTest(date=pb.DateTest(when=when))


# --- periods


def duration(written: str) -> pb.Duration:
    """`3d`, `90m`"""
    return pb.Duration(count=int(written[:-1]), unit=UNITS[written[-1]])


def last(written: str) -> pb.Period:
    return pb.Period(last=duration(written))


def ago(oldest: str, newest: str) -> pb.Period:
    return pb.Period(ago=pb.Ago(**{"from": duration(oldest), "to": duration(newest)}))


def day(written: date) -> date_pb2.Date:
    return date_pb2.Date(year=written.year, month=written.month, day=written.day)


# --- strategies

# Few of each, so that what happens and what is asked for meet often; the rare ones for what is rare.

names = st.sampled_from(["buy"] * 6 + ["Buy", "Straße", "view cart", ""])
patterns = st.sampled_from(["b*", "b*", "?uy", "*", "stra?e", "STRASSE", "*e*", "b?y", "", "view*cart", "s", "[b]uy"])
texts = st.sampled_from(
    ["blue", "blue", "Blue", "BLUE SHIRT", "straße", "5", "5.0", "19.90", "-3", "true", "", "2024-03-05", "1709600000000", "1e3", "٣"]
)
durations = st.sampled_from(["1h"] * 4 + ["1d"] * 4 + ["60m", "24h", "2d", "0d", "1s", "6h", "1w", "2w"]).map(duration)
attributes = st.sampled_from(["colour", "colour", "born"])


def strings() -> st.SearchStrategy[pb.StringTest]:
    operators = st.sampled_from([name.removeprefix("STRING_OPERATOR_").lower() for name in pb.StringOperator.keys()[1:]])
    return st.builds(lambda operator, values: string(operator, *values), operators, st.lists(patterns | texts, min_size=1, max_size=3))


def periods(days: st.SearchStrategy[date]) -> st.SearchStrategy[pb.Period]:
    dates = days.map(day)
    return st.one_of(
        *[durations.map(lambda length: pb.Period(last=length))] * 4,
        st.builds(lambda oldest, newest: pb.Period(ago=pb.Ago(**{"from": oldest, "to": newest})), durations, durations),
        dates.map(lambda d: pb.Period(on=d)),
        dates.map(lambda d: pb.Period(before=d)),
        dates.map(lambda d: pb.Period(after=d)),
        dates.map(lambda d: pb.Period(on_or_after=d)),
        st.builds(lambda first, length: pb.Period(between=pb.DateRange(first=first, last=length)), dates, dates),
    )


def frequencies() -> st.SearchStrategy[str]:
    values = st.sampled_from([1, 1, 1, 2, 2, 0, 3])
    plain = st.builds(lambda comparison, value: f"{comparison} {value}", st.sampled_from(list(COMPARISONS)[:-1]), values)
    return st.just("") | plain | plain | st.builds(lambda low, high: f"between {low} {high}", values, values)


def events(days: st.SearchStrategy[date]) -> st.SearchStrategy[pb.Node]:
    return st.builds(
        lambda name, frequency, when, type, inputs: event(name, frequency, when, type=type, inputs=inputs),
        names | names | names | strings() | st.none(),
        frequencies(),
        st.none() | periods(days),
        st.sampled_from([CUSTOM] * 6 + [SESSION_START]),
        st.sampled_from([()] * 6 + [(11,), (12, 21)]),
    )


def value_tests(days: st.SearchStrategy[date]) -> st.SearchStrategy[pb.ValueTest]:
    operands = st.sampled_from(["5", "19.9", "-3", "1000", "0", "1709600000000"])
    return st.one_of(
        strings().map(lambda test: pb.ValueTest(string=test)),
        st.builds(number, st.sampled_from(list(COMPARISONS)[:-1]), operands),
        st.builds(lambda low, high: number("between", low, high), operands, operands),
        st.booleans().map(boolean),
        (st.none() | periods(days)).map(dated),
        periods(days).map(dated),
        st.builds(listed, st.sampled_from(["includes", "not_includes", "partial_match"]), texts),
        st.sampled_from(["exists", "not_exists", "empty"]).map(presence),
    )


def user_attributes(days: st.SearchStrategy[date], workspaces: Sequence[int]) -> st.SearchStrategy[pb.Node]:
    return st.builds(
        lambda name, test, workspace: attribute(name, test, workspace=workspace), attributes, value_tests(days), st.sampled_from(workspaces)
    )


def nodes(days: st.SearchStrategy[date], *, workspaces: Sequence[int], audiences: Sequence[int] = ()) -> st.SearchStrategy[pb.Node]:
    """Trees of all kinds. `workspaces`: those that user criteria may name; `audiences`: those that may be named as inner ones."""
    leaves = events(days) | events(days) | events(days) | user_attributes(days, workspaces) | user_attributes(days, workspaces)
    if audiences:
        leaves |= st.sampled_from(audiences).map(member_of)

    def larger(inner: st.SearchStrategy[pb.Node]) -> st.SearchStrategy[pb.Node]:
        groups = st.lists(inner, min_size=1, max_size=3)
        return groups.map(lambda parts: all_of(*parts)) | groups.map(lambda parts: any_of(*parts)) | inner.map(exclude)

    return leaves | leaves | st.recursive(leaves | st.builds(everyone), larger, max_leaves=5)
