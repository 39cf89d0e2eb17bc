"""Short ways to write definitions in tests, and Hypothesis strategies that write all that the engine evaluates."""

from collections.abc import Mapping, Sequence
from datetime import date
from functools import cache
from typing import Any

from google.type import date_pb2
from hypothesis import strategies as st
from muster.definition.v1 import definition_pb2 as pb
from muster.ingest.v1.event_type_pb2 import EventType

CUSTOM, SCREEN_VIEW, COMMERCE, SESSION_START, SESSION_END = 1, 2, 3, 4, 5
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


def mixed(*weighted: tuple[int, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """Each as often as its weight says. (`one_of` takes its choices apart and each part once, however often it is given.)"""
    choices = [strategy for weight, strategy in weighted for _ in range(weight)]

    def chosen(place: int) -> st.SearchStrategy[Any]:  # by a name of its own: Hypothesis writes all choices out for any other callable
        return choices[place]

    return st.integers(0, len(choices) - 1).flatmap(chosen)


patterns = st.sampled_from(["b*", "b*", "?uy", "*", "stra?e", "STRASSE", "*e*", "b?y", "", "view*cart", "s", "[b]uy"])
RARE_TEXTS = ["Blue", "BLUE SHIRT", "straße", "5.0", "19.90", "-3", "true", "", "2024-03-05", "1709600000000", "1e3", "٣"]
texts = st.sampled_from(["blue"] * 7 + ["5"] * 4 + ["red"] * 2 + RARE_TEXTS)
durations = st.sampled_from(["1h"] * 4 + ["1d"] * 4 + ["60m", "24h", "2d", "0d", "1s", "6h", "1w", "2w"]).map(duration)
attributes = st.sampled_from(["colour", "colour", "born"])
# Types of events, each with the names that it comes with: the usual ones, and each of the others now and then.
CUSTOMS = [(CUSTOM, name) for name in ["buy"] * 10 + ["Buy", "Straße", "view cart", ""]]
COMMERCIAL = [(COMMERCE, "purchase"), (COMMERCE, "purchase"), (COMMERCE, "refund"), (COMMERCE, "add_to_cart")]
SESSIONS = [(SESSION_START, ""), (SESSION_START, ""), (SESSION_END, "")]
OTHERS = [(SCREEN_VIEW, "buy"), *((number, "") for number in sorted(EventType.values()) if number > SESSION_END)]
kinds = st.sampled_from(CUSTOMS * 6 + COMMERCIAL * 3 + SESSIONS * 2 + OTHERS)


def strings() -> st.SearchStrategy[pb.StringTest]:
    operators = st.sampled_from([name.removeprefix("STRING_OPERATOR_").lower() for name in pb.StringOperator.keys()[1:]])
    some = mixed((3, texts), (1, patterns))
    return st.builds(lambda operator, values: string(operator, *values), operators, st.lists(some, min_size=1, max_size=3))


def periods(days: st.SearchStrategy[date], *, relative: bool = True) -> st.SearchStrategy[pb.Period]:
    """`relative`: also those that move with now."""
    dates = days.map(day)
    fixed = [
        dates.map(lambda d: pb.Period(on=d)),
        dates.map(lambda d: pb.Period(before=d)),
        dates.map(lambda d: pb.Period(after=d)),
        dates.map(lambda d: pb.Period(on_or_after=d)),
        st.builds(lambda first, length: pb.Period(between=pb.DateRange(first=first, last=length)), dates, dates),
    ]
    if not relative:
        return st.one_of(fixed)
    ago = st.builds(lambda oldest, newest: pb.Period(ago=pb.Ago(**{"from": oldest, "to": newest})), durations, durations)
    return mixed((4, durations.map(lambda length: pb.Period(last=length))), (1, ago), (3, st.one_of(fixed)))


def whens(days: st.SearchStrategy[date]) -> st.SearchStrategy[pb.Period | None]:
    """The whole look-back often."""
    return mixed((2, st.none()), (1, periods(days)))


def frequencies() -> st.SearchStrategy[str]:
    values = st.sampled_from([1, 1, 1, 2, 2, 0, 3])
    plain = st.builds(lambda comparison, value: f"{comparison} {value}", st.sampled_from(list(COMPARISONS)[:-1]), values)
    return mixed((1, st.just("")), (3, plain), (1, st.builds(lambda low, high: f"between {low} {high}", values, values)))


def numbers(*operands: str) -> st.SearchStrategy[pb.ValueTest]:
    some = st.sampled_from(operands)
    one = st.builds(number, st.sampled_from(list(COMPARISONS)[:-1]), some)
    return mixed((4, one), (1, st.builds(lambda low, high: number("between", low, high), some, some)))


presences = st.sampled_from(["exists", "not_exists", "empty"]).map(presence)


def dates(days: st.SearchStrategy[date], *, relative: bool = True) -> st.SearchStrategy[pb.ValueTest]:
    some = periods(days, relative=relative).map(dated)
    return mixed((6, some), (1, st.just(dated(None))))


def value_tests(days: st.SearchStrategy[date], *, relative: bool = True) -> st.SearchStrategy[pb.ValueTest]:
    of_text = strings().map(lambda test: pb.ValueTest(string=test))
    return mixed(
        (4, of_text),
        (2, numbers("5", "5", "5", "19.9", "19.9", "-3", "1", "2", "1000", "0", "1709600000000")),
        (1, st.booleans().map(boolean)),
        (1, dates(days, relative=relative)),
        (1, st.builds(listed, st.sampled_from(["includes", "not_includes", "partial_match"]), texts)),
        (1, presences),
    )


def user_attributes(days: st.SearchStrategy[date], workspaces: Sequence[int]) -> st.SearchStrategy[pb.Node]:
    return st.builds(
        lambda name, test, workspace: attribute(name, test, workspace=workspace), attributes, value_tests(days), st.sampled_from(workspaces)
    )


# What events hold, as the facts of the machine tell it: few names and values, of every type. `due` holds dates.
DUE = {"attribute": "due"}
FIELDS: list[dict[str, Any]] = [{"field": number} for number in pb.EventField.values()[1:]]
OFTEN: list[dict[str, Any]] = [
    {"field": field}
    for field in (
        pb.EVENT_FIELD_TOTAL_AMOUNT,
        pb.EVENT_FIELD_PRODUCT_NAME,
        pb.EVENT_FIELD_PRODUCT_PRICE,
        pb.EVENT_FIELD_PRODUCT_PRICE,
        pb.EVENT_FIELD_PLATFORM,
    )
]
subjects = st.sampled_from([*[{"attribute": "colour"}] * 20, *OFTEN * 2, *FIELDS])


def filters(days: st.SearchStrategy[date], *, relative: bool = True) -> st.SearchStrategy[pb.Filter]:
    def written(subject: Mapping[str, Any], test: pb.ValueTest) -> pb.Filter:
        return pb.Filter(test=test, **subject)

    some = st.builds(written, subjects | st.just({"product_attribute": "colour"}), value_tests(days, relative=relative))
    return mixed((5, some), (1, st.builds(written, st.just(DUE), dates(days, relative=relative))))


def wheres(days: st.SearchStrategy[date], *, plain: int, relative: bool = True) -> st.SearchStrategy[list[pb.Filter]]:
    """Up to two filters; none in `plain` of `plain + 1`. `relative`: also with dates that move with now."""
    one = filters(days, relative=relative)
    single = one.map(lambda only: [only])
    return mixed((3 * plain, st.just(list[pb.Filter]())), (2, single), (1, st.lists(one, min_size=2, max_size=2)))


def matches(where: st.SearchStrategy[list[pb.Filter]], *, usual: int = 0) -> st.SearchStrategy[pb.EventMatch]:
    """Which events: by type, name, inputs and filters. `usual`: how often the most usual ones, beside all others once."""

    def match(kind: tuple[int, str | pb.StringTest | None], inputs: Sequence[int], where: list[pb.Filter]) -> pb.EventMatch:
        type_, name = kind
        written = pb.EventMatch(type=type_, input_ids=inputs, where=where)  # type: ignore[arg-type]  # the number of an EventType
        if isinstance(name, str):
            if name or type_ == CUSTOM:
                written.name = name
        elif name is not None:
            written.name_test.CopyFrom(name)
        return written

    wide = st.sampled_from([(CUSTOM, None), (CUSTOM, None), (COMMERCE, None)])
    tested = st.tuples(st.sampled_from([CUSTOM, CUSTOM, COMMERCE]), strings())
    most = st.sampled_from([(CUSTOM, "buy"), (CUSTOM, "buy"), (CUSTOM, None), (COMMERCE, "purchase"), (SESSION_START, None)])
    named = mixed((3 * usual, most), (3, kinds), (1, wide), (1, tested))
    return st.builds(match, named, st.sampled_from([()] * 10 + [(11,), (12, 21)]), where)


def events(days: st.SearchStrategy[date]) -> st.SearchStrategy[pb.Node]:
    return _counted(days, st.just([]))


def filtered_events(days: st.SearchStrategy[date]) -> st.SearchStrategy[pb.Node]:
    return _counted(days, wheres(days, plain=0))


def _counted(days: st.SearchStrategy[date], where: st.SearchStrategy[list[pb.Filter]]) -> st.SearchStrategy[pb.Node]:
    def written(match: pb.EventMatch, frequency: str, when: pb.Period | None) -> pb.Node:
        node = event(frequency=frequency, when=when)
        node.criterion.event.match.CopyFrom(match)
        return node

    return st.builds(written, matches(where, usual=1), frequencies(), whens(days))


def aggregates(days: st.SearchStrategy[date]) -> st.SearchStrategy[pb.Node]:
    """Each function with the tests that it answers to."""
    of_numbers = numbers("0", "1", "2", "5", "10", "19.9", "10.5", "-3")
    of_counts = numbers("0", "1", "1", "2", "2", "3", "1.5")
    of_lists = st.builds(listed, st.sampled_from(["includes", "not_includes", "partial_match"]), st.sampled_from(["blue", "red", "5", "x"]))
    tests = {
        "SUM": mixed((4, of_numbers), (1, presences)),
        "MIN": mixed((4, of_numbers), (1, presences)),
        "MAX": mixed((4, of_numbers), (1, presences)),
        "AVG": mixed((4, of_numbers), (1, presences)),
        "COUNT": mixed((4, of_counts), (1, presences)),
        "DISTINCT_COUNT": mixed((4, of_counts), (1, presences)),
        "FIRST": value_tests(days),
        "LAST": value_tests(days),
        "MOST_FREQUENT": value_tests(days),
        "UNIQUE_LIST": mixed((4, of_lists), (1, presences)),
    }
    numeric = st.sampled_from([{"attribute": "colour"}, {"attribute": "colour"}, *OFTEN[:4], *FIELDS[-4:]])

    def kind(function: str) -> st.SearchStrategy[tuple[str, Mapping[str, Any], pb.ValueTest]]:
        of = numeric if function in ("SUM", "MIN", "MAX", "AVG") else subjects
        return st.tuples(st.just(function), of, tests[function])

    every = [kind(function) for function in tests]
    every += [st.tuples(st.sampled_from(["FIRST", "LAST", "MOST_FREQUENT", "MIN", "MAX"]), st.just(DUE), dates(days))]
    every += [st.tuples(st.just("COUNT"), st.just({}), mixed((4, of_counts), (1, presences)))]

    def written(about: tuple[str, Mapping[str, Any], pb.ValueTest], match: pb.EventMatch, when: pb.Period | None) -> pb.Node:
        function, subject, test = about
        of = pb.AggregateFunction.Value(f"AGGREGATE_FUNCTION_{function}")
        return pb.Node(criterion=pb.Criterion(aggregate=pb.AggregateCriterion(match=match, function=of, test=test, when=when, **subject)))

    return st.builds(written, st.one_of(every), matches(wheres(days, plain=3), usual=2), whens(days))


def sequences(days: st.SearchStrategy[date]) -> st.SearchStrategy[pb.Node]:
    """Without filters whose dates move with now: those are refused."""
    gaps = mixed((2, st.none()), (1, durations))
    of = matches(wheres(days, plain=4, relative=False), usual=3)
    steps = st.builds(lambda match, within: pb.SequenceStep(match=match, within=within), of, gaps)
    end = st.builds(lambda match, within: pb.NotFollowedBy(match=match, within=within), of, gaps)
    ends = mixed((1, st.none()), (1, end))
    return st.builds(
        lambda steps, end, when: pb.Node(
            criterion=pb.Criterion(sequence=pb.SequenceCriterion(steps=steps, not_followed_by=end, when=when))
        ),
        mixed(
            (3, steps.map(lambda only: [only])), (3, st.lists(steps, min_size=2, max_size=2)), (1, st.lists(steps, min_size=3, max_size=3))
        ),
        ends,
        whens(days),
    )


def of_people(days: st.SearchStrategy[date], workspaces: Sequence[int]) -> st.SearchStrategy[pb.Node]:
    """What is known of the person beside attributes."""
    values = value_tests(days)
    texts_or_presence = strings().map(lambda test: pb.ValueTest(string=test)) | presences
    kinds: list[st.SearchStrategy[dict[str, Any]]] = [
        st.builds(lambda type, test: {"identity": pb.IdentityCriterion(type=type, test=test)}, identity_types, texts_or_presence),
        st.builds(
            lambda field, test: {"device": pb.DeviceCriterion(field=field, test=test)}, st.sampled_from(pb.DeviceField.values()[1:]), values
        ),
        st.builds(lambda edge, when: {"seen": pb.SeenCriterion(edge=edge, when=when)}, st.sampled_from([1, 2]), periods(days)),
        st.builds(
            lambda field, value: {"location": pb.LocationCriterion(place=pb.PlaceTest(field=field, value=value))},
            st.sampled_from([1, 2, 3, 4, 4]),
            st.sampled_from(["Berlin", "berlin", "DE"]),
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
        numbers("0", "10", "19.9", "-5").map(lambda test: {"lifetime_value": pb.LifetimeValueCriterion(test=test.number)}),
        st.builds(
            lambda field, test: {"attribution": pb.AttributionCriterion(field=field, test=test)}, st.sampled_from([1, 2]), texts_or_presence
        ),
    ]
    return st.builds(
        lambda kind, workspace: pb.Node(criterion=pb.Criterion(workspace_id=workspace, **kind)),
        st.one_of(kinds),
        st.sampled_from(workspaces),
    )


# A customer's id and an address often; any other, a device's, a phone's and a partner's now and then.
identity_types = st.sampled_from([2, 2, 2, 8, 8, 8, 1, 20, 43, 60])


@st.composite
def nodes(draw: st.DrawFn, days: st.SearchStrategy[date], *, workspaces: Sequence[int], audiences: Sequence[int] = ()) -> pb.Node:
    """Trees of all kinds. `workspaces`: those that user criteria may name; `audiences`: those that may be named as inner ones."""
    return draw(_nodes(days, tuple(workspaces), tuple(audiences)))


@cache  # making a strategy takes longer than drawing from it
def _nodes(days: st.SearchStrategy[date], workspaces: tuple[int, ...], audiences: tuple[int, ...]) -> st.SearchStrategy[pb.Node]:
    def larger(inner: st.SearchStrategy[pb.Node]) -> st.SearchStrategy[pb.Node]:
        groups = st.lists(inner, min_size=1, max_size=3)
        return groups.map(lambda parts: all_of(*parts)) | groups.map(lambda parts: any_of(*parts)) | inner.map(exclude)

    leaves = _leaf(days, workspaces, audiences)
    return mixed((3, leaves), (2, st.recursive(leaves | st.builds(everyone), larger, max_leaves=5)))


@st.composite
def _leaf(draw: st.DrawFn, days: st.SearchStrategy[date], workspaces: tuple[int, ...], audiences: tuple[int, ...]) -> pb.Node:
    return draw(_leaves(days, workspaces, audiences))  # what is composed has a short name in Hypothesis' reports


@cache
def _leaves(days: st.SearchStrategy[date], workspaces: tuple[int, ...], audiences: tuple[int, ...]) -> st.SearchStrategy[pb.Node]:
    return mixed(
        (4, events(days)),
        (4, filtered_events(days)),
        (8, aggregates(days)),
        (5, sequences(days)),
        (3, user_attributes(days, workspaces)),
        (6, of_people(days, workspaces)),
        *[(2, st.sampled_from(audiences).map(member_of))] * bool(audiences),
    )
