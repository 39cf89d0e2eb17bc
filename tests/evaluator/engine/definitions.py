"""Short ways to write definitions in tests, and Hypothesis strategies that write all that the engine evaluates."""

from collections.abc import Sequence
from datetime import date
from functools import cache
from typing import Any

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


# What events hold, as the facts of the machine tell it: few names and values, of every type.
subjects = st.sampled_from(
    [
        {"attribute": "colour"},
        {"attribute": "colour"},
        {"field": pb.EVENT_FIELD_PRODUCT_NAME},
        {"field": pb.EVENT_FIELD_PRODUCT_PRICE},
        {"field": pb.EVENT_FIELD_TOTAL_AMOUNT},
        {"field": pb.EVENT_FIELD_PLATFORM},
        {"field": pb.EVENT_FIELD_APPLICATION_VERSION},
    ]
)


def filters(days: st.SearchStrategy[date]) -> st.SearchStrategy[pb.Filter]:
    of_products = st.just({"product_attribute": "colour"})
    return st.builds(
        lambda subject, test: pb.Filter(test=test, **subject),
        subjects | of_products,
        value_tests(days).filter(lambda t: t.WhichOneof("kind") != "date"),
    )


def matches(days: st.SearchStrategy[date], types: st.SearchStrategy[int] | None = None) -> st.SearchStrategy[pb.EventMatch]:
    """Which events: by type, name, inputs and up to two filters."""

    def match(type: int, name: str | pb.StringTest | None, inputs: Sequence[int], where: list[pb.Filter]) -> pb.EventMatch:
        written = pb.EventMatch(type=type, input_ids=inputs, where=where)  # type: ignore[arg-type]  # the number of an EventType
        if isinstance(name, str):
            written.name = name
        elif name is not None:
            written.name_test.CopyFrom(name)
        return written

    return st.builds(
        match,
        types or st.sampled_from([CUSTOM] * 6 + [SESSION_START]),
        names | names | names | names | strings() | st.none(),
        st.sampled_from([()] * 6 + [(11,), (12, 21)]),
        st.just([]) | st.lists(filters(days), min_size=1, max_size=2),
    )


def filtered_events(days: st.SearchStrategy[date]) -> st.SearchStrategy[pb.Node]:
    def written(match: pb.EventMatch, frequency: str, when: pb.Period | None) -> pb.Node:
        node = event(frequency=frequency, when=when)
        node.criterion.event.match.CopyFrom(match)
        return node

    return st.builds(written, matches(days), frequencies(), st.none() | periods(days))


def aggregates(days: st.SearchStrategy[date]) -> st.SearchStrategy[pb.Node]:
    """Each function with the tests that it answers to."""
    operands = st.sampled_from(["0", "1", "2", "5", "19.9", "10.5"])
    numbers = st.builds(number, st.sampled_from(list(COMPARISONS)[:-1]), operands)
    numbers |= st.builds(lambda low, high: number("between", low, high), operands, operands)
    present = st.sampled_from(["exists", "not_exists", "empty"]).map(presence)
    listed_values = st.builds(listed, st.sampled_from(["includes", "not_includes"]), st.sampled_from(["blue", "red", "straße", "x"]))
    tests = {
        "SUM": numbers | present,
        "MIN": numbers | present,
        "MAX": numbers | present,
        "AVG": numbers | present,
        "COUNT": numbers | present,
        "COUNT OF EVENTS": numbers | present,
        "DISTINCT_COUNT": numbers | present,
        "FIRST": value_tests(days),
        "LAST": value_tests(days),
        "MOST_FREQUENT": value_tests(days),
        "UNIQUE_LIST": listed_values | present,
    }

    def written(function: str, match: pb.EventMatch, subject: dict[str, Any], when: pb.Period | None) -> st.SearchStrategy[pb.Node]:
        of = pb.AggregateFunction.Value(f"AGGREGATE_FUNCTION_{function.removesuffix(' OF EVENTS')}")
        subject = {} if function == "COUNT OF EVENTS" else subject
        return tests[function].map(
            lambda test: pb.Node(
                criterion=pb.Criterion(aggregate=pb.AggregateCriterion(match=match, function=of, test=test, when=when, **subject))
            )
        )

    return st.builds(written, st.sampled_from(list(tests)), matches(days), subjects, st.none() | periods(days)).flatmap(lambda node: node)


def sequences(days: st.SearchStrategy[date]) -> st.SearchStrategy[pb.Node]:
    gaps = st.none() | durations
    steps = st.builds(lambda match, within: pb.SequenceStep(match=match, within=within), matches(days), gaps)
    ends = st.none() | st.builds(lambda match, within: pb.NotFollowedBy(match=match, within=within), matches(days), gaps)
    return st.builds(
        lambda steps, end, when: pb.Node(
            criterion=pb.Criterion(sequence=pb.SequenceCriterion(steps=steps, not_followed_by=end, when=when))
        ),
        st.lists(steps, min_size=1, max_size=3),
        ends,
        st.none() | periods(days),
    )


def of_people(days: st.SearchStrategy[date], workspaces: Sequence[int]) -> st.SearchStrategy[pb.Node]:
    """What is known of the person beside attributes."""
    values = value_tests(days)
    texts_or_presence = strings().map(lambda test: pb.ValueTest(string=test)) | st.sampled_from(["exists", "not_exists", "empty"]).map(
        presence
    )
    kinds: list[st.SearchStrategy[dict[str, Any]]] = [
        st.builds(lambda type, test: {"identity": pb.IdentityCriterion(type=type, test=test)}, identity_types, texts_or_presence),
        st.builds(lambda field, test: {"device": pb.DeviceCriterion(field=field, test=test)}, st.sampled_from([1, 3, 4, 6]), values),
        st.builds(lambda edge, when: {"seen": pb.SeenCriterion(edge=edge, when=when)}, st.sampled_from([1, 2]), periods(days)),
        st.builds(
            lambda field, value: {"location": pb.LocationCriterion(place=pb.PlaceTest(field=field, value=value))},
            st.sampled_from([1, 4]),
            st.sampled_from(["Berlin", "berlin", "DE", "5"]),
        ),
        st.builds(
            lambda degrees, metres: {"location": pb.LocationCriterion(near=pb.Near(latitude=degrees, distance_metres=metres))},
            st.sampled_from([0.0, 1.0]),
            st.sampled_from([1_000.0, 60_000.0, 120_000.0]),
        ),
        st.builds(
            lambda regulation, purpose, yes: {"consent": pb.ConsentCriterion(regulation=regulation, purpose=purpose, consented=yes)},
            st.sampled_from(["gdpr", "GDPR"]),
            st.sampled_from(["marketing", "Marketing", ""]),
            st.booleans(),
        ),
        st.builds(
            lambda comparison, value: {"lifetime_value": pb.LifetimeValueCriterion(test=number(comparison, value).number)},
            st.sampled_from(list(COMPARISONS)[:-1]),
            st.sampled_from(["0", "10", "19.9", "-5"]),
        ),
        st.builds(
            lambda field, test: {"attribution": pb.AttributionCriterion(field=field, test=test)}, st.sampled_from([1, 2]), texts_or_presence
        ),
    ]
    return st.builds(
        lambda kind, workspace: pb.Node(criterion=pb.Criterion(workspace_id=workspace, **kind)),
        st.one_of(kinds),
        st.sampled_from(workspaces),
    )


identity_types = st.sampled_from([2, 8])


def nodes(days: st.SearchStrategy[date], *, workspaces: Sequence[int], audiences: Sequence[int] = ()) -> st.SearchStrategy[pb.Node]:
    """Trees of all kinds. `workspaces`: those that user criteria may name; `audiences`: those that may be named as inner ones."""
    return _nodes(days, tuple(workspaces), tuple(audiences))


@cache  # making a strategy takes longer than drawing from it
def _nodes(days: st.SearchStrategy[date], workspaces: tuple[int, ...], audiences: tuple[int, ...]) -> st.SearchStrategy[pb.Node]:
    leaves = (
        events(days)
        | events(days)
        | events(days)
        | filtered_events(days)
        | sequences(days)
        | sequences(days)
        | user_attributes(days, workspaces)
        | of_people(days, workspaces)
        | of_people(days, workspaces)
    )
    if audiences:
        leaves |= st.sampled_from(audiences).map(member_of)

    def larger(inner: st.SearchStrategy[pb.Node]) -> st.SearchStrategy[pb.Node]:
        groups = st.lists(inner, min_size=1, max_size=3)
        return groups.map(lambda parts: all_of(*parts)) | groups.map(lambda parts: any_of(*parts)) | inner.map(exclude)

    return leaves | leaves | st.recursive(leaves | st.builds(everyone), larger, max_leaves=5)
