"""Filters of events: what passes, when it is counted, and what the engine keeps of it."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from muster.definition.v1 import definition_pb2 as pb

from services.evaluator.engine import Compiled, Engine, Series, compile_definition, sieves
from services.evaluator.engine.facts import EventContext, EventRows
from services.evaluator.engine.sieves import SPARE
from tests.evaluator.engine import definitions as d
from tests.evaluator.engine.past import fill, rows_of
from tests.model import reference
from tests.model.facts import Context, Event, People

HOUR, DAY = 3_600_000, 86_400_000
NOW = 1_709_600_000_000
WORKSPACES = {1: [11, 12]}
NO_CONTEXT = Context()


def compiled(root: pb.Node) -> Compiled:
    return compile_definition(d.definition(root), workspaces=WORKSPACES, workspace_ids=[1], look_back_ms=30 * DAY)


def engine_with(past: list[tuple[int, Event]]) -> Engine:
    engine = Engine(look_back_ms=30 * DAY, now_ms=NOW)
    engine.add_activity(1, np.arange(10))
    for ordinal, event in past:
        engine.load_events(Series(event.input_id, event.type, event.name), *rows_of([(ordinal, event)]))
    return engine


def told(details: Mapping[str, Any], *, at: int = NOW, context: Context = NO_CONTEXT) -> Event:
    return Event(11, d.CUSTOM, "buy", at, details, context)


def attribute(name: str, test: pb.ValueTest) -> pb.Filter:
    return pb.Filter(attribute=name, test=test)


def field(name: str, test: pb.ValueTest) -> pb.Filter:
    return pb.Filter(field=pb.EventField.Value(f"EVENT_FIELD_{name}"), test=test)


def of_product(name: str, test: pb.ValueTest) -> pb.Filter:
    return pb.Filter(product_attribute=name, test=test)


GOLD = attribute("level", d.text("equals", "gold"))


@pytest.mark.parametrize(
    ("where", "details", "passes"),
    [
        ([GOLD], {"attributes": {"level": "GOLD"}}, True),
        ([GOLD], {"attributes": {"Level": "gold"}}, False),
        ([GOLD], {}, False),
        ([attribute("level", d.text("not_equals", "gold"))], {}, False),
        ([attribute("level", d.text("not_equals", "gold"))], {"attributes": {"level": "tin"}}, True),
        ([attribute("level", d.number("!=", "3"))], {"attributes": {"level": "tin"}}, False),
        ([attribute("level", d.number("=", "5"))], {"attributes": {"level": "5.0"}}, True),
        ([attribute("level", d.text("equals", "19.90"))], {"attributes": {"level": Decimal("19.90")}}, True),
        ([attribute("level", d.text("equals", "19.9"))], {"attributes": {"level": Decimal("19.90")}}, False),
        ([attribute("level", d.presence("not_exists"))], {}, True),
        ([attribute("level", d.presence("not_exists"))], {"attributes": {"level": ""}}, False),
        ([attribute("level", d.presence("empty"))], {"attributes": {"level": ""}}, True),
        ([attribute("tags", d.listed("includes", "New"))], {"attributes": {"tags": ["new", "old"]}}, True),
        ([attribute("tags", d.text("contains", "new"))], {"attributes": {"tags": ["new", "old"]}}, False),
        ([attribute("vip", d.boolean(True))], {"attributes": {"vip": True}}, True),
        ([attribute("at", d.dated(None))], {"attributes": {"at": "2024-03-05"}}, True),
        ([attribute("at", d.dated(None))], {"attributes": {"at": "soon"}}, False),
        ([field("TOTAL_AMOUNT", d.number(">", "19.89"))], {"total_amount": Decimal("19.90")}, True),
        ([field("TRANSACTION_ID", d.presence("not_exists"))], {"transaction_id": ""}, True),
        ([field("SESSION_DURATION", d.number(">=", "1000"))], {"session_duration_ms": 1000}, True),
        ([GOLD, field("CURRENCY_CODE", d.text("equals", "eur"))], {"attributes": {"level": "gold"}, "currency_code": "USD"}, False),
        ([field("PRODUCT_BRAND", d.presence("not_exists"))], {}, True),
        ([field("PRODUCT_BRAND", d.presence("not_exists"))], {"products": [{"brand": ""}]}, True),
        ([field("PRODUCT_BRAND", d.presence("not_exists"))], {"products": [{"brand": "b"}]}, False),
        ([of_product("size", d.text("equals", "xl"))], {"products": [{"attributes": {"size": "XL"}}]}, True),
    ],
)
def test_an_event_passes_or_not(where: list[pb.Filter], details: dict[str, Any], passes: bool) -> None:
    past = [(3, told(details))]
    engine, draft = engine_with(past), compiled(d.event("buy", where=where))
    fill(engine, past, draft)
    assert engine.estimate(draft).size == int(passes)


def test_one_product_has_to_pass_all_product_filters() -> None:
    where = [field("PRODUCT_BRAND", d.text("equals", "b")), field("PRODUCT_PRICE", d.number(">", "10"))]
    past = [
        (1, told({"products": [{"brand": "b", "price": 5}, {"brand": "c", "price": 50}]})),
        (2, told({"products": [{"brand": "c", "price": 5}, {"brand": "B", "price": Decimal("10.01")}]})),
    ]
    engine, draft = engine_with(past), compiled(d.event("buy", where=where))
    fill(engine, past, draft)
    engine.activate(1, draft)
    assert engine.members(1).tolist() == [2]


def test_the_context_is_looked_at() -> None:
    where = [field("PLATFORM", d.text("equals", "ios")), field("APPLICATION_VERSION", d.text("starts_with", "2."))]
    past = [(1, told({}, context=Context("2.1", "7", "iOS", "17"))), (2, told({}, context=Context("3.1", "7", "iOS", "17"))), (3, told({}))]
    engine, draft = engine_with(past), compiled(d.event("buy", where=where))
    fill(engine, past, draft)
    assert engine.activate(1, draft).added.tolist() == [1]


def test_filtered_events_are_counted_as_they_come_and_as_time_passes() -> None:
    past = [(1, told({"attributes": {"level": "gold"}}, at=NOW - 23 * HOUR)), (2, told({"attributes": {"level": "tin"}}))]
    engine, audience = engine_with(past), compiled(d.event("buy", when=d.last("1d"), where=[GOLD]))
    fill(engine, past, audience)
    assert engine.activate(1, audience).added.tolist() == [1]
    rows = EventRows(
        np.array([2, 3, 4]),
        np.array([NOW, NOW, NOW + 2 * HOUR]),
        ['{"attributes":{"level":"gold"}}', "", '{"attributes":{"level":"gold"}}'],
        [EventContext()] * 3,
    )
    assert engine.round(NOW, {Series(11, d.CUSTOM, "buy"): rows})[1].added.tolist() == [2]
    changes = engine.round(NOW + 2 * HOUR, {})[1]
    assert (changes.added.tolist(), changes.dropped.tolist()) == ([4], [1])


def test_a_name_that_is_seen_for_the_first_time_is_read_too() -> None:
    engine, audience = engine_with([]), compiled(d.event(d.string("starts_with", "b"), where=[GOLD]))
    fill(engine, [], audience)
    engine.activate(1, audience)
    new = {Series(12, d.CUSTOM, "Bought"): EventRows(np.array([5]), np.array([NOW]), ['{"attributes":{"level":"gold"}}'], ())}
    assert engine.round(NOW, new)[1].added.tolist() == [5]


def test_what_is_not_filled_is_refused_rather_than_guessed() -> None:
    engine, audience = engine_with([]), compiled(d.event("buy", where=[GOLD]))
    with pytest.raises(KeyError, match="not filled"):
        engine.activate(1, audience)
    with pytest.raises(KeyError, match="not filled"):
        engine.estimate(audience)
    fill(engine, [], audience)
    assert engine.missing(audience) == []
    (sieve,) = engine_with([]).missing(audience)
    with pytest.raises(ValueError, match="filled once"):
        engine.fill(sieve, np.array([1]), np.array([NOW]), np.array([0]), [[]])


def test_equal_filters_in_any_order_are_one() -> None:
    other = attribute("vip", d.boolean(True))
    one, same = (compiled(d.event("buy", where=where)) for where in ([GOLD, other], [other, GOLD, other]))
    assert one == same


@pytest.mark.parametrize(
    "details", ["[1]", "5", '"text"', "{", '{"attributes":[1],"products":5}', "[" * 100_000, '{"attributes":{"level":{}}}']
)
def test_details_that_are_no_object_say_nothing(details: str) -> None:
    engine, audience = engine_with([]), compiled(d.event("buy", where=[attribute("level", d.presence("not_exists"))]))
    fill(engine, [], audience)
    engine.activate(1, audience)
    rows = EventRows(np.array([5]), np.array([NOW]), [details], [EventContext()])
    assert engine.round(NOW, {Series(11, d.CUSTOM, "buy"): rows})[1].added.tolist() == [5]


def test_what_drafts_left_is_let_go_of() -> None:
    past = [(1, told({"attributes": {"level": "gold"}}))]
    engine, audience = engine_with(past), compiled(d.event("buy", where=[GOLD]))
    fill(engine, past, audience)
    engine.activate(1, audience)
    bare = engine.memory_bytes()
    draft = compiled(d.event("buy", where=[attribute("level", d.text("contains", "gold"))]))
    fill(engine, past, draft)
    assert engine.estimate(draft).size == 1
    assert engine.memory_bytes() > bare
    engine.forget(NOW)
    assert engine.missing(draft) == [], "it was asked for since the last time"
    engine.forget(NOW)
    assert engine.missing(draft) == []
    engine.forget(NOW)
    engine.forget(NOW)
    assert engine.missing(audience) == [], "an active audience needs it"
    assert len(engine.missing(draft)) == 1
    assert engine.memory_bytes() == bare
    fill(engine, past, draft)
    rows = EventRows(np.array([2]), np.array([NOW]), ['{"attributes":{"level":"gold"}}'], ())
    assert engine.round(NOW, {Series(11, d.CUSTOM, "buy"): rows})[1].added.tolist() == [2]
    assert engine.estimate(draft).size == 2


def test_another_filter_of_the_same_values_is_filled_with_what_came_since() -> None:
    past = [(1, told({"attributes": {"level": "gold"}})), (2, told({"attributes": {"level": "tin"}}))]
    engine, gold = engine_with(past), compiled(d.event("buy", where=[GOLD]))
    tin = compiled(d.event("buy", where=[attribute("level", d.text("equals", "tin"))]))
    fill(engine, past, gold, keep=True)
    rows = EventRows(np.array([3, 4]), np.array([NOW, NOW]), ['{"attributes":{"level":"tin"}}', '{"attributes":{"level":"gold"}}'], ())
    engine.round(NOW, {Series(11, d.CUSTOM, "buy"): rows})
    assert engine.missing(tin) == []
    assert (engine.estimate(tin).size, engine.estimate(gold).size) == (2, 2)
    assert engine.activate(1, tin).added.tolist() == [2, 3]
    more = EventRows(np.array([5]), np.array([NOW]), ['{"attributes":{"level":"tin"}}'], ())
    assert engine.round(NOW, {Series(11, d.CUSTOM, "buy"): more})[1].added.tolist() == [5]
    engine.forget(NOW)
    assert len(engine.missing(compiled(d.event("buy", where=[attribute("level", d.text("contains", "t"))])))) == 1


def test_what_is_kept_for_other_filters_is_let_go_of_before_it_is_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sieves, "READ_HAPPENINGS", 3)
    past = [(1, told({"attributes": {"level": "gold"}})), (2, told({"attributes": {"level": "tin"}}))]
    engine, gold = engine_with(past), compiled(d.event("buy", where=[GOLD]))
    fill(engine, past, gold, keep=True)
    rows = EventRows(np.array([3, 4]), np.array([NOW, NOW]), ['{"attributes":{"level":"a"}}', '{"attributes":{"level":"b"}}'], ())
    engine.round(NOW, {Series(11, d.CUSTOM, "buy"): rows})
    assert len(engine.missing(compiled(d.event("buy", where=[attribute("level", d.text("equals", "a"))])))) == 1
    assert engine.estimate(gold).size == 1


def test_there_are_never_many_spare_filters() -> None:
    engine = engine_with([])
    drafts = [compiled(d.event("buy", where=[attribute("level", d.text("equals", str(n)))])) for n in range(SPARE + 20)]
    for draft in drafts:
        fill(engine, [], draft)
        assert engine.estimate(draft).size == 0
    assert len(engine.missing(drafts[0])) == 1
    assert engine.missing(drafts[-1]) == []


names = st.sampled_from(["level", "price", "tags"])
values = st.sampled_from(["gold", "GOLD", "5", "", "2024-03-05", 5, Decimal("5.0"), Decimal("19.90"), -3, True, ["gold", "x"], []])
products = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "brand": st.sampled_from(["b", "B", ""]),
            "price": st.sampled_from([5, Decimal("19.90")]),
            "attributes": st.dictionaries(names, values),
        },
    ),
    max_size=3,
)
details = st.fixed_dictionaries(
    {},
    optional={
        "attributes": st.dictionaries(names, values, max_size=3),
        "products": products,
        "total_amount": st.sampled_from([5, Decimal("19.90")]),
        "transaction_id": st.sampled_from(["t", ""]),
    },
)
days = st.just(date(2024, 3, 5))
fixed_tests = d.value_tests(days).filter(lambda test: test.date.when.WhichOneof("kind") not in ("last", "ago"))
filters = st.one_of(
    st.builds(attribute, names, fixed_tests),
    st.builds(attribute, names, fixed_tests),
    st.builds(of_product, names, fixed_tests),
    st.builds(field, st.sampled_from(["PRODUCT_BRAND", "PRODUCT_PRICE", "TOTAL_AMOUNT", "TRANSACTION_ID", "PLATFORM"]), fixed_tests),
)
happenings = st.tuples(
    st.integers(0, 3),
    st.builds(
        lambda known, hours, platform: told(known, at=NOW - hours * HOUR, context=Context(platform=platform)),
        details,
        st.integers(-3, 30),
        st.sampled_from(["", "iOS"]),
    ),
)


@settings(max_examples=150, deadline=None)
@given(
    where=st.lists(filters, max_size=3),
    before=st.lists(happenings, max_size=6),
    after=st.lists(happenings, max_size=6),
    frequency=d.frequencies(),
)
def test_any_filters_are_as_the_reference_has_them(
    where: list[pb.Filter], before: list[tuple[int, Event]], after: list[tuple[int, Event]], frequency: str
) -> None:
    root = d.event("buy", frequency, d.last("1d"), where=where)
    engine, audience = engine_with(before), compiled(root)
    fill(engine, before, audience)
    engine.activate(1, audience)
    people: People[int] = People(WORKSPACES)
    for ordinal in range(10):
        people.person(ordinal).active_in.add(1)

    def expected(now: int) -> list[int]:
        return sorted(
            reference.members(d.definition(root), people.known, now, workspaces=WORKSPACES, workspace_ids=[1], look_back_ms=30 * DAY)
        )

    for ordinal, event in before:
        people.tell(ordinal, event)
    assert engine.members(1).tolist() == expected(NOW)
    for ordinal, event in after:
        people.tell(ordinal, event)
    engine.round(NOW, {Series(11, d.CUSTOM, "buy"): rows_of(after)} if after else {})
    assert engine.members(1).tolist() == expected(NOW)
    engine.round(NOW + 2 * HOUR, {})
    assert engine.members(1).tolist() == expected(NOW + 2 * HOUR)
