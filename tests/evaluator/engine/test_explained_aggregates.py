"""Aggregates of one person explained: since when, and until when, as the reference has it at those instants."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from time import process_time
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from muster.definition.v1 import definition_pb2 as pb

from services.evaluator.engine import Compiled, Engine, Series, compile_definition
from services.evaluator.engine.compile import Malformed
from services.evaluator.engine.explain import Explanation
from services.evaluator.engine.explaining import aggregate as aggregates
from services.evaluator.engine.explaining import winners
from services.evaluator.engine.explaining.person import Past
from services.evaluator.engine.sieve import SieveEntry
from tests.evaluator.engine import definitions as d
from tests.evaluator.engine.past import fill, rows_of
from tests.model import reference
from tests.model.facts import Event, Person

HOUR, DAY = 3_600_000, 86_400_000
NOW = 1_709_600_000_000
TODAY = datetime.fromtimestamp(NOW // 1000, UTC).date()
WORKSPACES, LOOK_BACK, ANNA = {1: [11]}, 4 * DAY, 3
BUY = Series(11, d.CUSTOM, "buy")


def compiled(root: pb.Node) -> Compiled:
    return compile_definition(d.definition(root), workspaces=WORKSPACES, workspace_ids=[1], look_back_ms=LOOK_BACK)


def aggregate(function: str, test: pb.ValueTest, *, when: pb.Period | None = None, where: Any = (), subject: str = "x") -> pb.Node:
    match = pb.EventMatch(type=d.CUSTOM, name="buy", where=where)  # type: ignore[arg-type]  # the number of an EventType
    of = pb.AggregateFunction.Value(f"AGGREGATE_FUNCTION_{function.upper()}")
    criterion = pb.AggregateCriterion(match=match, function=of, test=test, when=when)
    if subject == "price":
        criterion.field = pb.EVENT_FIELD_PRODUCT_PRICE
    elif subject:
        criterion.attribute = subject
    return pb.Node(id="it", criterion=pb.Criterion(aggregate=criterion))


# --- against the reference

days = st.integers(-2, 2).map(lambda n: TODAY + timedelta(days=n))
tests = st.one_of(
    st.builds(d.number, st.sampled_from(list(d.COMPARISONS)[:-1]), st.sampled_from(["0", "1", "2", "3.5", "5", "0.1"])),
    st.builds(lambda low, high: d.number("between", low, high), st.sampled_from(["0", "2"]), st.sampled_from(["2", "5"])),
    st.sampled_from([d.text("equals", "5"), d.text("not_equals", "a"), d.listed("includes", "a"), d.listed("not_includes", "a")]),
    st.sampled_from(["exists", "not_exists", "empty"]).map(d.presence),
    d.periods(days).map(d.dated),
    d.value_tests(days),
)
values = st.sampled_from(
    [5, "5", "5.0", 1, 2, Decimal("3.50"), "a", "A", "b", "", True, ["a"], NOW - HOUR, str(NOW - DAY), "2024-03-04", -1, "1" * 101]
)
moving = st.sampled_from([d.dated(d.last("1d")), d.dated(d.ago("2d", "1h")), d.dated(d.last("6h"))])
filters = st.builds(lambda test: pb.Filter(attribute="due", test=test), moving) | st.builds(
    lambda test: pb.Filter(product_attribute="due", test=test), moving
)
dues = st.builds(lambda hours: NOW - hours * HOUR, st.integers(-30, 60))
products = st.lists(
    st.fixed_dictionaries(
        {}, optional={"price": st.sampled_from([5, 1, Decimal("0.10")]), "attributes": st.fixed_dictionaries({"due": dues})}
    ),
    max_size=2,
)
offsets = st.sampled_from([0, 0, 1, 1, 2, 5, 24, 25, 48, 71, 72, 96, 97, 100, 150, 190, -1, -24, -60])
happenings = st.builds(
    lambda hours, ms, x, due, of: Event(11, d.CUSTOM, "buy", NOW - hours * HOUR + ms, {"attributes": {"x": x, "due": due}, "products": of}),
    offsets,
    st.sampled_from([0, 0, 1]),
    values,
    dues,
    products,
)
functions = st.sampled_from([name.removeprefix("AGGREGATE_FUNCTION_") for name in pb.AggregateFunction.keys()[1:]])
roots = st.builds(
    lambda function, test, when, where, subject: aggregate(
        function, test, when=when, where=where, subject="" if function == "COUNT" and subject == "x" else subject
    ),
    functions,
    tests,
    st.none() | d.periods(days),
    st.just([]) | st.lists(filters, max_size=2),
    st.sampled_from(["x", "x", "price"]),
)


def explained(events: list[Event], root: pb.Node, now: int) -> Explanation:
    engine = Engine(look_back_ms=LOOK_BACK, now_ms=now)
    engine.add_activity(1, np.array([ANNA]))
    told = [(ANNA, event) for event in events]
    engine.load_events(BUY, *rows_of(told))
    fill(engine, told, compiled(root))
    return engine.explain(compiled(root), ANNA, Past({BUY: rows_of(told)}, {}, {}))


@pytest.mark.parametrize("most", [10_000, 3])
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(events=st.lists(happenings, max_size=10), root=roots)
def test_an_aggregate_was_and_will_be_what_the_reference_says(
    monkeypatch: pytest.MonkeyPatch, most: int, events: list[Event], root: pb.Node
) -> None:
    monkeypatch.setattr(winners, "SWEPT_MAX", most)
    monkeypatch.setattr(aggregates, "TESTED_MAX", most)

    def holds(at: int) -> bool:
        person = Person({1}, events=[event._replace(received=number) for number, event in enumerate(events)])
        found = reference.members(
            d.definition(root), {ANNA: person}, at, workspaces=WORKSPACES, workspace_ids=[1], look_back_ms=LOOK_BACK, active={}
        )
        return ANNA in found

    edges = [edge for event in events for at in (event.time_ms, *dates_of(event)) for edge in edges_at(at)]
    now = NOW
    try:
        compiled(root)
    except Malformed:
        return
    for _ in range(6):
        told = explained(events, root, now)
        verdict, first, last = told.nodes["it"], now - LOOK_BACK + 1, now + 9 * DAY
        assert verdict.holds == holds(now)
        if verdict.since_ms is not None:
            assert holds(verdict.since_ms) == verdict.holds != holds(verdict.since_ms - 1)
            first = verdict.since_ms
        elif told.known_from_ms is not None:
            first = max(first, told.known_from_ms)
        if verdict.next_change_ms is not None:
            assert holds(verdict.next_change_ms) != verdict.holds
            last = verdict.next_change_ms - 1
        elif told.known_until_ms is not None:
            last = told.known_until_ms
        assert first <= now <= last
        assert all(holds(at) == verdict.holds for at in edges if first <= at <= last)
        if verdict.next_change_ms is None:
            return
        now = verdict.next_change_ms


def dates_of(event: Event) -> list[int]:
    of_products = [product["attributes"]["due"] for product in event.details["products"] if "attributes" in product]
    return [event.details["attributes"]["due"], *of_products, NOW - HOUR, NOW - DAY, 1_709_510_400_000]


def edges_at(at: int) -> list[int]:
    hours = (0, 1, 6, 24, 48, 96, 168, 336)
    return [at + hour * HOUR + near for hour in hours for near in (0, 1)]


# --- of somebody with very many events

MONTH = 30 * DAY


def engine_of(times: np.ndarray[Any, np.dtype[np.int64]], amounts: list[str], which: np.ndarray[Any, np.dtype[np.int64]]) -> Engine:
    """Of Anna, who bought at these times, each time for one of the amounts."""
    engine = Engine(look_back_ms=MONTH, now_ms=NOW)
    engine.add_activity(1, np.array([ANNA]))
    engine.load_events(BUY, np.full(len(times), ANNA), times)
    for sieve in engine.missing(monthly(aggregate("SUM", d.number(">", "0")))):
        entries = [[SieveEntry(Decimal(amount))] for amount in amounts]
        engine.fill(sieve, np.full(len(times), ANNA), times, which, entries)
    return engine


def monthly(root: pb.Node) -> Compiled:
    return compile_definition(d.definition(root), workspaces=WORKSPACES, workspace_ids=[1], look_back_ms=MONTH)


def test_a_sum_leaves_when_enough_of_many_events_have_left() -> None:
    many = 5_000
    times = NOW - MONTH + np.arange(many) * (MONTH // many)
    engine = engine_of(times, ["1"], np.zeros(many, np.int64))
    explained = engine.explain(monthly(aggregate("SUM", d.number(">=", "4250"))), ANNA)
    assert explained.nodes["it"].next_change_ms == times[750] + MONTH + 1
    assert explained.nodes["it"].since_ms == times[4249]
    assert explained.known_until_ms is None
    largest = engine_of(times, ["1", "2"], (np.arange(many) == 200).astype(np.int64))
    explained = largest.explain(monthly(aggregate("MAX", d.number("=", "2"))), ANNA)
    assert (explained.nodes["it"].since_ms, explained.nodes["it"].next_change_ms) == (times[200], times[200] + MONTH + 1)


@pytest.mark.parametrize("function", [name.removeprefix("AGGREGATE_FUNCTION_") for name in pb.AggregateFunction.keys()[1:]])
def test_very_many_events_are_explained_at_once(function: str) -> None:
    many, rng = 300_000, np.random.default_rng(5)
    engine = engine_of(NOW - rng.integers(0, MONTH, many), [str(i) for i in range(100)], rng.integers(0, 100, many))
    root = aggregate(function, d.listed("includes", "5") if function == "UNIQUE_LIST" else d.number(">", "1"))
    began = process_time()
    explained = engine.explain(monthly(root), ANNA)
    assert process_time() - began < 1.5, "a tenth of it on a machine that does nothing else"
    horizon = explained.known_until_ms
    assert (horizon is not None and horizon > NOW) == (function == "MOST_FREQUENT"), "only so much is looked at of what has no sum"
