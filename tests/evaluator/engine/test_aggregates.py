"""Aggregates: what a function makes of the values of events, exactly, as events come and as time passes."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from muster.definition.v1 import definition_pb2 as pb

from services.evaluator.engine import Compiled, Engine, Series, compile_definition
from services.evaluator.engine.compile import Malformed
from services.evaluator.engine.explaining.findings import Cause, Held
from services.evaluator.engine.explaining.person import Past
from services.evaluator.engine.facts import EventRows
from services.evaluator.engine.sieve import SieveEntry
from tests.evaluator.engine import definitions as d
from tests.evaluator.engine.past import fill, rows_of
from tests.model import reference
from tests.model.facts import Context, Event, People

SECOND, HOUR, DAY = 1_000, 3_600_000, 86_400_000
NOW = 1_709_600_000_000
TODAY = datetime.fromtimestamp(NOW // 1000, UTC).date()
WORKSPACES = {1: [11, 12]}
FIELDS = {"TOTAL_AMOUNT", "PRODUCT_PRICE", "PRODUCT_BRAND", "SESSION_DURATION", "PLATFORM"}


def compiled(root: pb.Node) -> Compiled:
    return compile_definition(d.definition(root), workspaces=WORKSPACES, workspace_ids=[1], look_back_ms=30 * DAY)


def aggregate(
    function: str, subject: str, test: pb.ValueTest, *, when: pb.Period | None = None, where: Any = (), name: str = "buy"
) -> pb.Node:
    """The subject is a field in capitals, or an attribute; empty: none."""
    match = pb.EventMatch(type=d.CUSTOM, where=where)  # type: ignore[arg-type]  # the number of an EventType
    if name:
        match.name = name
    criterion = pb.AggregateCriterion(
        match=match, function=pb.AggregateFunction.Value(f"AGGREGATE_FUNCTION_{function.upper()}"), test=test, when=when
    )
    if subject in FIELDS:
        criterion.field = pb.EventField.Value(f"EVENT_FIELD_{subject}")
    elif subject:
        criterion.attribute = subject
    return pb.Node(criterion=pb.Criterion(aggregate=criterion))


def told(value: Any, *, at: int = NOW) -> Event:
    return Event(11, d.CUSTOM, "buy", at, {} if value is None else {"attributes": {"x": value}})


def engine_with(past: list[tuple[int, Event]]) -> Engine:
    engine = Engine(look_back_ms=30 * DAY, now_ms=NOW)
    engine.add_activity(1, np.arange(10))
    for ordinal, event in past:
        engine.load_events(Series(event.input_id, event.type, event.name), *rows_of([(ordinal, event)]))
    return engine


ZEROS, NINES = "0" * 99, "9" * 100
TINY = f"0.{ZEROS}1"


@pytest.mark.parametrize(
    ("function", "values", "test", "passes"),
    [
        ("sum", [Decimal("0.1"), Decimal("0.2")], d.number("=", "0.3"), True),
        ("sum", ["5", 5, "five", True], d.number("=", "10"), True),
        ("sum", ["five"], d.number("=", "0"), True),
        ("sum", [2**62, 2**62, 2**62], d.number("=", str(3 * 2**62)), True),
        ("sum", [NINES, TINY], d.number(">", NINES[:60]), True),
        ("sum", ["1" + NINES], d.number("=", "0"), True),
        ("sum", [TINY + "1"], d.number("=", "0"), True),
        ("sum", [TINY], d.number(">", "0"), True),
        ("sum", ["1e300", 1], d.number("=", "1"), True),
        ("avg", [1, 1, 2], d.number(">", "1.3333333333"), True),
        ("avg", [1, 1, 2], d.number("<", "1.3333333334"), True),
        ("avg", [1, 2], d.number("=", "1.5"), True),
        ("avg", ["a"], d.number("!=", "1"), False),
        ("avg", ["a"], d.presence("not_exists"), True),
        ("avg", ["1"], d.presence("not_exists"), False),
        ("min", [Decimal("5.0"), "3", 7], d.number("=", "3"), True),
        ("max", [Decimal("-5"), "-3.50", "-7"], d.number("=", "-3.5"), True),
        ("max", ["x"], d.number("<", "3"), False),
        ("count", [1, "x", ["list"], None, True], d.number("=", "3"), True),
        ("distinct_count", ["5", 5, Decimal("5.0"), "a", "A", True, "TRUE"], d.number("=", "3"), True),
        ("first", ["a", "b"], d.text("equals", "a"), True),
        ("first", [None, "b"], d.text("equals", "b"), True),
        ("last", ["a", "b"], d.text("equals", "b"), True),
        ("last", ["a", ["b"]], d.text("equals", "a"), True),
        ("last", [], d.text("not_equals", "b"), False),
        ("last", [], d.presence("not_exists"), True),
        ("most_frequent", ["a", "b", "A", "b", "B", "a"], d.text("equals", "a"), True),
        ("most_frequent", ["5.0", "a", 5], d.text("equals", "5"), True),
        ("unique_list", ["a", "B"], d.listed("includes", "b"), True),
        ("unique_list", ["a", "B"], d.listed("not_includes", "b"), False),
        ("unique_list", ["abc"], d.listed("partial_match", "B"), True),
        ("unique_list", ["5", "5.0"], d.listed("includes", "5"), False),
        ("unique_list", [], d.presence("empty"), True),
        ("unique_list", ["a"], d.presence("empty"), False),
        ("unique_list", [], d.listed("not_includes", "b"), True),
        ("last", ["2024-03-05"], d.dated(pb.Period(on=d.day(date(2024, 3, 5)))), True),
        ("max", [NOW - HOUR, 5], d.dated(d.last("2h")), True),
    ],
)
def test_a_function_of_values_passes_or_not(function: str, values: list[Any], test: pb.ValueTest, passes: bool) -> None:
    past = [(3, told(value, at=NOW - 100 + i)) for i, value in enumerate(values)]
    root = aggregate(function, "x", test)
    engine, draft = engine_with(past), compiled(d.all_of(root, d.event("buy")) if values else root)
    fill(engine, past, draft)
    assert (3 in engine.activate(1, draft).added.tolist()) == passes


def test_of_two_events_at_one_instant_the_one_that_came_last_is_the_later() -> None:
    engine, audience = engine_with([]), compiled(aggregate("last", "x", d.text("equals", "b"), name=""))
    fill(engine, [], audience)
    engine.activate(1, audience)
    a, b = '{"attributes":{"x":"a"}}', '{"attributes":{"x":"b"}}'
    one = EventRows(np.array([1, 2]), np.array([NOW, NOW]), [a, b], (), [2, 3])
    other = EventRows(np.array([1, 2]), np.array([NOW, NOW]), [b, a], (), [1, 4])
    series = Series(11, d.CUSTOM, "one"), Series(11, d.CUSTOM, "other")
    assert not engine.round(NOW, {series[0]: one, series[1]: other})
    more = EventRows(np.array([1]), np.array([NOW]), [b], (), [5])
    assert engine.round(NOW, {series[0]: more})[1].added.tolist() == [1]


def test_an_aggregate_changes_as_values_leave_the_window() -> None:
    past = [(1, told(10, at=NOW - 23 * HOUR)), (1, told(1, at=NOW - HOUR)), (2, told(10))]
    engine, audience = engine_with(past), compiled(aggregate("sum", "x", d.number(">=", "10"), when=d.last("1d")))
    fill(engine, past, audience)
    assert engine.activate(1, audience).added.tolist() == [1, 2]
    assert engine.round(NOW + HOUR, {}) == {}, "the edge is inside"
    assert engine.round(NOW + HOUR + 1, {})[1].dropped.tolist() == [1]


def test_a_filter_with_a_date_relative_to_now_moves_with_time() -> None:
    past = [(1, told("2024-03-05T02:00:00Z")), (2, told("2024-03-05T00:00:00Z"))]  # now is 00:53:20
    where = [pb.Filter(attribute="x", test=d.dated(d.last("1h")))]
    engine, audience = engine_with(past), compiled(d.event("buy", where=where))
    fill(engine, past, audience)
    assert engine.activate(1, audience).added.tolist() == [2]
    at = NOW + HOUR
    assert engine.round(at, {})[1].dropped.tolist() == [2]
    assert engine.round(NOW + 66 * 60 * SECOND + 40 * SECOND, {})[1].added.tolist() == [1]


def test_values_far_in_the_future_and_of_months_ago_are_kept_and_let_go_of() -> None:
    engine, audience = engine_with([]), compiled(aggregate("max", "x", d.number(">", "5")))
    fill(engine, [], audience)
    engine.activate(1, audience)
    bare = engine.memory_bytes()
    rows = rows_of([(1, told(6, at=NOW + 300 * DAY)), (2, told(7, at=NOW))])
    assert engine.round(NOW, {Series(11, d.CUSTOM, "buy"): rows})[1].added.tolist() == [2]
    assert engine.round(NOW + 250 * DAY, {})[1].dropped.tolist() == [2]
    assert engine.round(NOW + 300 * DAY, {})[1].added.tolist() == [1]
    assert engine.round(NOW + 330 * DAY + 1, {})[1].dropped.tolist() == [1]
    engine.forget(NOW + 400 * DAY)
    assert engine.memory_bytes() == bare


def test_values_that_nobody_has_any_more_are_forgotten() -> None:
    engine, audience = engine_with([]), compiled(aggregate("most_frequent", "x", d.text("equals", "9999")))
    fill(engine, [], audience)
    engine.activate(1, audience)
    series = Series(11, d.CUSTOM, "buy")
    engine.round(NOW, {series: rows_of([(1, told(str(n), at=NOW - 29 * DAY)) for n in range(9_000)])})
    engine.round(NOW + 2 * DAY, {series: rows_of([(1, told("9999", at=NOW)), (2, told("8", at=NOW))])})
    engine.forget(NOW + 2 * DAY)
    assert engine.members(1).tolist() == [1]
    assert engine.round(NOW + 2 * DAY, {series: rows_of([(2, told("9999", at=NOW + DAY))])})[1].added.tolist() == [2]


@pytest.mark.parametrize(
    ("function", "subject", "test"),
    [("sum", "x", d.dated(None)), ("count", "", d.dated(None)), ("avg", "", d.number("=", "1")), ("unique_list", "x", d.dated(None))],
)
def test_what_has_no_meaning_is_refused(function: str, subject: str, test: pb.ValueTest) -> None:
    with pytest.raises(Malformed):
        compiled(aggregate(function, subject, test))


def test_an_aggregate_is_explained_with_what_was_found_and_when_time_changes_it() -> None:
    past = [(1, told(Decimal("19.90"), at=NOW - 23 * HOUR)), (1, told("0.10", at=NOW - HOUR)), (2, told("x"))]
    engine = engine_with(past)
    root = aggregate("avg", "x", d.number(">", "5"), when=d.last("1d"))
    root.id = "a"
    audience = compiled(root)
    fill(engine, past, audience)
    engine.activate(1, audience)
    explained = engine.explain(audience, 1)
    assert explained.member
    assert explained.next_change_ms == NOW + HOUR + 1
    assert explained.since_ms == NOW - 23 * HOUR
    assert explained.nodes["a"].finding == Held(Decimal(10))
    assert explained.turn is not None
    assert explained.turn.cause == Cause(NOW - 23 * HOUR, enters=False)
    other = engine.explain(audience, 2)
    assert (other.member, other.next_change_ms, other.nodes["a"].finding) == (False, None, Held(None))


def test_what_was_before_the_look_back_is_in_the_explanation() -> None:
    now_within = [(1, told("a", at=NOW - 20 * DAY))]
    engine, audience = engine_with(now_within), compiled(aggregate("most_frequent", "x", d.text("equals", "a")))
    fill(engine, now_within, audience)
    engine.activate(1, audience)
    older = {Series(11, d.CUSTOM, "buy"): rows_of([(0, told("a", at=NOW - 40 * DAY)), (0, told("b", at=NOW - 35 * DAY))])}
    assert engine.explain(audience, 1, Past(older, {}, {})).since_ms == NOW - 20 * DAY
    filtered = compiled(d.event("buy", "< 3", where=[pb.Filter(attribute="x", test=d.text("equals", "a"))]))
    fill(engine, now_within, filtered)
    engine.activate(2, filtered)
    assert engine.explain(filtered, 1, Past(older, {}, {})).member


# --- beside the reference

names = st.sampled_from(["x", "y"])
values = st.sampled_from(
    ["a", "A", "b", "5", "5.0", "", "2024-03-05", "2024-03-04T20:00:00Z", 5, Decimal("5.0"), Decimal("0.1"), -3, True, ["a"], NOW, 10**30]
)
products = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "brand": st.sampled_from(["b", "B", "c", ""]),
            "price": st.sampled_from([5, Decimal("19.90"), Decimal("0.01")]),
            "attributes": st.dictionaries(names, values),
        },
    ),
    max_size=3,
)
details = st.fixed_dictionaries(
    {},
    optional={
        "attributes": st.dictionaries(names, values, min_size=1, max_size=2),
        "products": products,
        "total_amount": st.sampled_from([5, Decimal("19.90")]),
    },
)
days = st.just(TODAY)
tests = d.value_tests(days)
subjects = st.sampled_from(["x", "x", "y", "PRODUCT_PRICE", "PRODUCT_BRAND", "TOTAL_AMOUNT"])
filters = st.one_of(
    st.builds(lambda name, test: pb.Filter(attribute=name, test=test), names, tests),
    st.builds(lambda name, test: pb.Filter(product_attribute=name, test=test), names, tests),
    st.builds(lambda test: pb.Filter(field=pb.EVENT_FIELD_PRODUCT_BRAND, test=test), tests),
    st.builds(
        lambda name, test: pb.Filter(attribute=name, test=test), names, st.sampled_from([d.dated(d.last("1d")), d.dated(d.ago("6h", "1h"))])
    ),
)
functions = st.sampled_from([name.removeprefix("AGGREGATE_FUNCTION_").lower() for name in pb.AggregateFunction.keys()[1:]])
happenings = st.tuples(
    st.integers(0, 2),
    st.builds(
        lambda known, hours, name: Event(11, d.CUSTOM, name, NOW - hours * HOUR, known, Context()),
        details,
        st.sampled_from([0, 0, 1, 1, 6, 23, 24, -2, 30, 700]),
        st.sampled_from(["buy", "buy", "other"]),
    ),
)
subjectless = st.builds(
    lambda test, when, where, name: aggregate("count", "", test, when=when, where=where, name=name),
    d.value_tests(days),
    st.none() | d.periods(days),
    st.lists(filters, max_size=2),
    st.sampled_from(["buy", ""]),
)
aggregates = st.builds(
    lambda function, subject, test, when, where, name: aggregate(function, subject, test, when=when, where=where, name=name),
    functions,
    subjects,
    tests,
    st.none() | d.periods(days),
    st.lists(filters, max_size=2),
    st.sampled_from(["buy", ""]),
)
counts = st.builds(
    lambda frequency, where: d.event("buy", frequency, d.last("1d"), where=where), d.frequencies(), st.lists(filters, max_size=2)
)


@settings(max_examples=400, deadline=None)
@given(
    root=aggregates | aggregates | aggregates | subjectless | counts,
    before=st.lists(happenings, max_size=7),
    after=st.lists(happenings, max_size=5),
    hours=st.sampled_from([0, 1, 6, 24]),
)
def test_any_aggregate_is_as_the_reference_has_it(
    root: pb.Node, before: list[tuple[int, Event]], after: list[tuple[int, Event]], hours: int
) -> None:
    try:
        audience = compiled(root)
    except Malformed:
        return
    engine = engine_with(before)
    fill(engine, before, audience)
    engine.activate(1, audience)
    people: People[int] = People(WORKSPACES)
    for ordinal in range(10):
        people.person(ordinal).active_in.add(1)

    def expected(now: int) -> list[int]:
        found = reference.members(d.definition(root), people.known, now, workspaces=WORKSPACES, workspace_ids=[1], look_back_ms=30 * DAY)
        return sorted(found)

    for ordinal, event in before:
        people.tell(ordinal, event)
    assert engine.members(1).tolist() == expected(NOW)
    by_series: dict[Series, list[tuple[int, int, Event]]] = {}
    for arrival, (ordinal, event) in enumerate(after):
        people.tell(ordinal, event)
        by_series.setdefault(Series(event.input_id, event.type, event.name), []).append((arrival, ordinal, event))
    rows = {
        series: rows_of([(ordinal, event) for _, ordinal, event in told])._replace(arrivals=[arrival for arrival, _, _ in told])
        for series, told in by_series.items()
    }
    engine.round(NOW, rows)
    assert engine.members(1).tolist() == expected(NOW)
    for ordinal in range(3):
        explained = engine.explain(audience, ordinal)
        assert explained.member == (ordinal in expected(NOW))
        change = explained.next_change_ms
        same = [NOW + 1, NOW + HOUR, NOW + 5 * DAY] if change is None or change > NOW + 5 * DAY else [NOW, change - 1]
        assert all((ordinal in expected(at)) == explained.member for at in same)
        assert change is None or (ordinal in expected(change)) != explained.member
    for now in (NOW + hours * HOUR, NOW + hours * HOUR + 1, NOW + 31 * DAY):
        engine.round(now, {})
        assert engine.members(1).tolist() == expected(now)
        assert engine.estimate(audience).size == len(expected(now))
        engine.forget(now)


@pytest.mark.parametrize("function", ["SUM", "MAX", "DISTINCT_COUNT", "LAST"])
def test_a_person_with_very_many_events_is_explained_beyond_what_is_near(function: str) -> None:
    count = 100_000
    engine = Engine(look_back_ms=30 * DAY, now_ms=NOW)
    engine.add_activity(1, np.arange(2))
    times = NOW - 10 * DAY + np.arange(count) * 1_000
    definition = compiled(aggregate(function, "x", d.number(">=", "30000"), when=d.last("20d")))
    engine.load_events(Series(11, d.CUSTOM, "buy"), np.zeros(count, np.int64), times)
    for sieve in engine.missing(definition):
        engine.fill(sieve, np.zeros(count, np.int64), times, np.arange(count), [(SieveEntry(str(number)),) for number in range(count)])
    engine.activate(1, definition)

    explained = engine.explain(definition, 0)
    assert explained.member
    if function == "DISTINCT_COUNT":  # the event by which there are 30,000 left is the 70,001st
        assert explained.next_change_ms == int(times[70_000]) + 20 * DAY + 1
        assert explained.since_ms == times[29_999]
    else:
        assert explained.next_change_ms == int(times[-1]) + 20 * DAY + 1
    assert engine.explain(definition, 1).member is False
