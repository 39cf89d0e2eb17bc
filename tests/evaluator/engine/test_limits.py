"""What is too large is refused with its place; what is large but allowed is exact."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from muster.definition.v1 import definition_pb2 as pb

from services.evaluator.engine import AttributeChange, Engine, Series, Value, compile_definition
from services.evaluator.engine.compile import CRITERIA_MAX, DEPTH_MAX, Compiled, Malformed
from services.evaluator.engine.criteria.columns import ValueColumn
from services.evaluator.engine.values import TextTest
from tests.evaluator.engine import definitions as d

DAY = 86_400_000
NOW = 1_800_000_000_000


def compiled(root: pb.Node) -> Compiled:
    return compile_definition(d.definition(root), workspaces={1: [11]}, workspace_ids=[1], look_back_ms=30 * DAY)


def nested(levels: int) -> pb.Node:
    """`all` in `all` in ..., with everyone on the last level."""
    node = d.everyone()
    for _ in range(levels - 1):
        node = d.all_of(node)
    return node


def test_a_definition_may_be_32_levels_deep_and_not_more() -> None:
    compiled(nested(DEPTH_MAX))
    with pytest.raises(Malformed, match="deeper than 32 levels") as refused:
        compiled(nested(DEPTH_MAX + 1))
    assert refused.value.path == "root" + ".all.nodes[0]" * DEPTH_MAX


def test_a_definition_may_have_500_criteria_and_not_more() -> None:
    compiled(d.all_of(*[d.event(f"event {number}") for number in range(CRITERIA_MAX)]))
    with pytest.raises(Malformed, match="more than 500 criteria") as refused:
        compiled(d.all_of(*[d.event(f"event {number}") for number in range(CRITERIA_MAX + 1)]))
    assert refused.value.path == f"root.all.nodes[{CRITERIA_MAX}]"


def test_500_criteria_are_exact() -> None:
    engine = Engine(look_back_ms=30 * DAY, now_ms=NOW)
    engine.add_activity(1, np.arange(3))
    for number in range(CRITERIA_MAX):
        people = np.array([0, 1] if number == 7 else [0])
        engine.load_events(Series(11, d.CUSTOM, f"event {number}"), people, np.full(len(people), NOW - 1))
    engine.activate(1, compiled(d.all_of(*[d.event(f"event {number}") for number in range(CRITERIA_MAX)])))
    engine.activate(2, compiled(d.any_of(*[d.event(f"event {number}") for number in range(CRITERIA_MAX)])))
    assert engine.members(1).tolist() == [0]
    assert engine.members(2).tolist() == [0, 1]


@pytest.mark.parametrize("operand", ["NaN", "Infinity", "-Infinity", "five", ""])
def test_a_number_test_without_a_number_is_refused(operand: str) -> None:
    with pytest.raises(Malformed, match="not a decimal number"):
        compiled(d.attribute("age", d.number("<", operand)))


def test_nan_and_infinity_as_values_are_no_numbers() -> None:
    engine = Engine(look_back_ms=30 * DAY, now_ms=NOW)
    engine.add_activity(1, np.arange(4))
    engine.load_attributes(1, "age", np.arange(4), [float("nan"), float("inf"), "NaN", 7], np.full(4, NOW))
    for audience, (comparison, operand) in enumerate([("<", "1e30"), (">", "-1e30"), ("!=", "3")], start=1):
        engine.activate(audience, compiled(d.attribute("age", d.number(comparison, operand))))
        assert engine.members(audience).tolist() == [3]


def test_a_person_with_a_million_events_is_counted_exactly_and_slows_nobody_for_long() -> None:
    engine = Engine(look_back_ms=30 * DAY, now_ms=NOW)
    engine.add_activity(1, np.arange(2))
    engine.load_events(Series(11, d.CUSTOM, "tick"), np.zeros(1_000_000, np.int64), NOW - 30 * DAY + np.arange(1_000_000) * 2_592)
    engine.activate(1, compiled(d.event("tick", ">= 1000000")))
    engine.activate(2, compiled(d.event("tick", "= 333334", when=d.last("10d"))))
    assert engine.members(1).tolist() == [0]
    inside = int((NOW - 30 * DAY + np.arange(1_000_000) * 2_592 >= NOW - 10 * DAY).sum())
    assert engine.size(2) == (inside == 333_334)
    changes = engine.round(NOW + 1, {Series(11, d.CUSTOM, "tick"): (np.array([1]), np.array([NOW + 1]))})
    assert changes[1].dropped.tolist() == [0]  # the first of the million left the look-back
    assert engine.members(1).tolist() == []


def test_an_attribute_with_a_million_values_is_exact() -> None:
    people = np.arange(1_000_000)
    engine = Engine(look_back_ms=30 * DAY, now_ms=NOW)
    engine.add_activity(1, people)
    engine.load_attributes(1, "code", people, [f"code {number}" for number in people.tolist()], np.full(len(people), NOW))
    engine.activate(1, compiled(d.attribute("code", d.text("ends_with", "99999"))))
    assert engine.members(1).tolist() == list(range(99_999, 1_000_000, 100_000))


def test_each_distinct_value_is_put_to_a_test_once(monkeypatch: pytest.MonkeyPatch) -> None:
    people = np.arange(5_000)
    engine = Engine(look_back_ms=30 * DAY, now_ms=NOW)
    engine.add_activity(1, people)
    engine.load_attributes(1, "code", people, [f"code {number}" for number in people.tolist()], np.full(len(people), NOW))
    asked: list[Value] = []
    holds = TextTest.holds

    def asking(test: TextTest, value: Value) -> bool:
        asked.append(value)
        return holds(test, value)

    monkeypatch.setattr(TextTest, "holds", asking)
    definition = compiled(d.attribute("code", d.text("ends_with", "99")))
    assert engine.estimate(definition).size == 50
    engine.activate(1, definition)
    engine.activate(2, compiled(d.all_of(d.attribute("code", d.text("ends_with", "99")), d.event("buy"))))
    assert len(asked) == 5_000
    changed = AttributeChange(1, "code", np.array([3, 4]), ["x99", "y"], np.array([NOW + 1, NOW + 1]))
    assert engine.round(NOW + 1, {}, [changed])[1].added.tolist() == [3]
    assert asked[5_000:] == ["x99", "y"]
    # Nearly everybody gets the same value, so the codes are made anew: those that stay are known.
    engine.round(NOW + 2, {}, [AttributeChange(1, "code", people[100:], ["same"] * 4_900, np.full(4_900, NOW + 2))])
    engine.forget(NOW + 2)
    engine.round(NOW + 3, {}, [AttributeChange(1, "code", np.array([5]), ["z99"], np.array([NOW + 3]))])
    assert asked[5_002:] == ["same", "z99"]
    assert engine.members(1).tolist() == [3, 5, 99]


def test_attributes_that_few_people_have_cost_what_these_have() -> None:
    people, attributes = 200_000, 1_000
    engine = Engine(look_back_ms=30 * DAY, now_ms=NOW)
    engine.add_activity(1, np.arange(people))
    before = engine.memory_bytes()
    for number in range(attributes):
        engine.load_attributes(1, f"a{number}", np.arange(20) * 10_000 + number, ["x"] * 20, np.full(20, NOW))
    assert engine.memory_bytes() - before <= 32 * 20 * attributes  # laid out by ordinal they would take 2.4 GB
    engine.activate(1, compiled(d.attribute("a999", d.text("equals", "X"))))
    assert engine.members(1).tolist() == [number * 10_000 + 999 for number in range(20)]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.lists(st.tuples(st.integers(0, 39), st.sampled_from(["a", "b", None]), st.integers(0, 5))), st.booleans()), max_size=6
    )
)
def test_a_column_is_the_same_while_few_have_a_value_and_when_many_do(told: list[tuple[list[tuple[int, str | None, int]], bool]]) -> None:
    column = ValueColumn()
    latest: dict[int, tuple[int, str | None]] = {}
    column.make_room(20)
    for rows, clears in told:
        column.make_room(40)
        before = {ordinal: value for ordinal, (_, value) in latest.items()}
        for ordinal, value, time in rows:
            if ordinal not in latest or time >= latest[ordinal][0]:
                latest[ordinal] = time, value
        ordinals, values, times = zip(*rows, strict=True) if rows else ((), (), ())
        changed = column.put(np.array(ordinals, np.int64), values, np.array(times, np.int64))
        assert changed.tolist() == [o for o, (_, value) in sorted(latest.items()) if before.get(o) != value]
        if clears:
            column.clear(np.array([3, 7, 30]))
            latest = {ordinal: one for ordinal, one in latest.items() if ordinal not in (3, 7, 30)}
        assert [column.value_of(ordinal) for ordinal in range(40)] == [latest.get(ordinal, (0, None))[1] for ordinal in range(40)]
        some = slice(5, 33)
        assert [column.values[code] for code in column.held.codes(some).tolist()] == [column.value_of(o) for o in range(5, 33)]


def test_ten_thousand_attributes_are_exact() -> None:
    engine = Engine(look_back_ms=30 * DAY, now_ms=NOW)
    engine.add_activity(1, np.arange(3))
    for number in range(10_000):
        engine.load_attributes(1, f"attribute {number}", np.array([number % 3]), ["x"], np.array([NOW]))
    engine.activate(1, compiled(d.attribute("attribute 9999", d.text("equals", "X"))))
    assert engine.members(1).tolist() == [0]


def test_what_is_looked_at_is_counted_for_each_audience() -> None:
    engine = Engine(look_back_ms=30 * DAY, now_ms=NOW)
    engine.add_activity(1, np.arange(10))
    buy, view = Series(11, d.CUSTOM, "buy"), Series(11, d.CUSTOM, "view")
    engine.load_events(buy, np.repeat(np.arange(10), 100), np.tile(NOW - np.arange(100), 10))
    engine.activate(1, compiled(d.event("buy", when=d.last("1d"))))
    engine.activate(2, compiled(d.all_of(d.event("buy", when=d.last("1d")), d.attribute("plan", d.text("equals", "x")))))
    engine.activate(3, compiled(d.all_of(d.event("view"), d.member_of(1))))
    engine.take_work()
    assert engine.take_work() == ({}, 0)
    engine.round(
        NOW + 1, {buy: (np.array([3, 4]), np.array([NOW, NOW]))}, [AttributeChange(1, "plan", np.array([5]), ["x"], np.array([NOW]))]
    )
    assert engine.take_work() == ({1: 204, 2: 205}, 205)  # two people with 101 events each, and one attribute of one
    engine.round(NOW + 2, {view: (np.array([1]), np.array([NOW]))})
    assert engine.take_work() == ({3: 2}, 2)
    engine.round(NOW + DAY, {})  # all cross an edge
    found, of_all = engine.take_work()
    assert set(found) == {1, 2}
    assert of_all == found[1] == found[2] >= 10
    engine.deactivate(1)
    engine.deactivate(2)
    engine.activate(4, compiled(d.attribute("new", d.text("equals", "x"))))
    engine.round(NOW + DAY + 1, {buy: (np.array([3]), np.array([NOW + DAY]))})
    found, _ = engine.take_work()
    assert 1 not in found
    assert 2 not in found
