"""What is too large is refused with its place; what is large but allowed is exact."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from muster.definition.v1 import definition_pb2 as pb

from services.definition.domain import validation
from services.evaluator.engine import AttributeChange, Engine, Series, Value, compile_definition, measure
from services.evaluator.engine.audiences import Cycle
from services.evaluator.engine.compile import BYTES_MAX, CRITERIA_MAX, DEPTH_MAX, NODES_MAX, Compiled, Malformed
from services.evaluator.engine.compiling.filters import FILTERS_MAX
from services.evaluator.engine.compiling.sequence import STEPS_MAX
from services.evaluator.engine.criteria import attribute
from services.evaluator.engine.criteria.columns import ValueColumn
from services.evaluator.engine.details import Happening
from services.evaluator.engine.facts import EventContext
from services.evaluator.engine.sieve import SieveEntry, sieves_of
from services.evaluator.engine.strings import StringTest, Way
from services.evaluator.engine.tree import criteria_of
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


def test_a_definition_is_of_so_many_nodes_and_bytes_and_not_more() -> None:
    compiled(d.all_of(*[d.everyone() for _ in range(NODES_MAX - 1)]))
    with pytest.raises(Malformed, match="more than 2000 nodes") as refused:
        compiled(d.all_of(*[d.everyone() for _ in range(NODES_MAX)]))
    assert refused.value.path == f"root.all.nodes[{NODES_MAX - 1}]"
    with pytest.raises(Malformed, match="bytes: shorten it"):
        compiled(d.attribute("plan", d.text("in", *(f"{number:0200}" for number in range(3_000)))))


def test_a_criterion_is_of_so_many_filters_and_steps_and_not_more() -> None:
    filters = [pb.Filter(attribute=f"a{number}", test=d.presence("exists")) for number in range(FILTERS_MAX + 1)]
    compiled(d.event("buy", where=filters[:-1]))
    with pytest.raises(Malformed, match="101 filters: keep 100"):
        compiled(d.event("buy", where=filters))
    steps = [pb.SequenceStep(match=pb.EventMatch(type=d.CUSTOM, name="buy"))] * (STEPS_MAX + 1)  # type: ignore[arg-type]
    compiled(pb.Node(criterion=pb.Criterion(sequence=pb.SequenceCriterion(steps=steps[:-1]))))
    with pytest.raises(Malformed, match="51 steps: keep 50"):
        compiled(pb.Node(criterion=pb.Criterion(sequence=pb.SequenceCriterion(steps=steps))))


def test_what_the_evaluator_takes_is_what_the_definition_service_lets_in() -> None:
    ours = (DEPTH_MAX, CRITERIA_MAX, NODES_MAX, BYTES_MAX, FILTERS_MAX, STEPS_MAX)
    v = validation
    assert ours == (v.DEPTH_MAX, v.CRITERIA_MAX, v.NODES_MAX, v.BYTES_MAX, v.FILTERS_MAX, v.STEPS_MAX)


def test_an_audience_that_reads_itself_through_others_is_refused_with_the_way() -> None:
    engine = Engine(look_back_ms=30 * DAY, now_ms=NOW)
    with pytest.raises(Cycle) as refused:
        engine.activate(1, compiled(d.member_of(1)))
    assert refused.value.audiences == [1, 1]
    engine.activate(1, compiled(d.member_of(2)))
    engine.activate(2, compiled(d.any_of(d.member_of(3), d.member_of(4))))
    with pytest.raises(Cycle) as refused:
        engine.activate(4, compiled(d.member_of(1)))
    assert refused.value.audiences == [4, 1, 2, 4]


def test_audiences_that_are_read_by_very_many_ways_are_looked_at_once() -> None:
    """Each level reads both of the one before: there are 2**40 ways through them."""
    engine = Engine(look_back_ms=30 * DAY, now_ms=NOW)
    engine.add_activity(1, np.arange(2))
    engine.load_events(Series(11, d.CUSTOM, "buy"), np.array([1]), np.array([NOW - 1]))
    engine.activate(0, compiled(d.event("buy")))
    engine.activate(1, compiled(d.event("buy")))
    for level in range(1, 40):
        for audience in (2 * level, 2 * level + 1):
            engine.activate(audience, compiled(d.any_of(d.member_of(2 * level - 2), d.member_of(2 * level - 1))))
    top = compiled(d.all_of(d.member_of(78), d.member_of(79)))
    engine.activate(80, top)
    assert engine.round(NOW + 1, {Series(11, d.CUSTOM, "buy"): (np.array([0]), np.array([NOW]))})[80].added.tolist() == [0]
    explained = engine.explain(top, 0)
    assert explained.member
    assert explained.since_ms == NOW
    assert engine.explain(top, 1).next_change_ms == NOW - 1 + 30 * DAY + 1
    with pytest.raises(Cycle):
        engine.activate(0, compiled(d.member_of(80)))


def test_a_chain_of_a_thousand_audiences_is_followed_in_one_round() -> None:
    engine = Engine(look_back_ms=30 * DAY, now_ms=NOW)
    engine.add_activity(1, np.arange(2))
    engine.activate(0, compiled(d.event("buy")))
    for audience in range(1, 1_200):
        engine.activate(audience, compiled(d.member_of(audience - 1)))
    changes = engine.round(NOW + 1, {Series(11, d.CUSTOM, "buy"): (np.array([1]), np.array([NOW]))})
    assert len(changes) == 1_200
    assert engine.members(1_199).tolist() == [1]
    explained = engine.explain(compiled(d.member_of(1_199)), 1)
    assert explained.member
    assert explained.since_ms == NOW
    assert not engine.explain(compiled(d.member_of(1_199)), 0).member


def test_hundreds_of_filters_by_date_are_exact_and_looked_at_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "CELLS", 1_000)
    filters = [pb.Filter(attribute=f"a{n}", test=d.dated(d.last(f"{n + 1}d"))) for n in range(FILTERS_MAX)]
    engine = Engine(look_back_ms=30 * DAY, now_ms=NOW)
    engine.add_activity(1, np.arange(40))
    definition = compiled(d.event("buy", where=filters))
    dates = [tuple(NOW - DAY if n or person % 4 else NOW - DAY - 1 for n in range(FILTERS_MAX)) for person in range(40)]
    for sieve in engine.missing(definition):
        order = [int(window.oldest_ago or 0) // DAY - 1 for window in sieve.windows] or [*range(FILTERS_MAX)]
        entries = [(SieveEntry(None, (tuple(own[n] for n in order),)),) for own in dates]
        engine.fill(sieve, np.arange(40), np.full(40, NOW), np.arange(40), entries)
    engine.activate(1, definition)
    assert engine.members(1).tolist() == [person for person in range(40) if person % 4]
    assert engine.round(NOW + 1, {})[1].dropped.tolist() == [person for person in range(40) if person % 4]


def test_a_sum_over_texts_takes_those_that_are_numbers() -> None:
    engine = Engine(look_back_ms=30 * DAY, now_ms=NOW)
    engine.add_activity(1, np.arange(3))
    match = pb.EventMatch(type=d.CUSTOM, name="buy")  # type: ignore[arg-type]
    values = {0: ["x", "NaN", "Infinity", "-inf", "1_000", ""], 1: ["x", "2.5", "-2.5", "0"], 2: []}
    for audience, function in enumerate(("SUM", "AVG", "MIN", "MAX")):
        criterion = pb.AggregateCriterion(
            match=match,
            function=pb.AggregateFunction.Value(f"AGGREGATE_FUNCTION_{function}"),
            test=d.number("between", "-3", "3"),
            attribute="x",
        )
        definition = compiled(pb.Node(criterion=pb.Criterion(aggregate=criterion)))
        rows = [(person, value) for person, own in values.items() for value in own]
        for sieve in engine.missing(definition):
            people = np.array([person for person, _ in rows])
            engine.fill(sieve, people, np.full(len(rows), NOW), np.arange(len(rows)), [(SieveEntry(value),) for _, value in rows])
        engine.activate(audience, definition)
        assert engine.members(audience).tolist() == ([0, 1, 2] if function == "SUM" else [1]), function  # nothing adds up to 0


@pytest.mark.parametrize("written", ["NaN", "Infinity", "-Infinity", '"NaN"', '"Infinity"', "null", "[1]", "{}"])
def test_what_is_no_number_in_an_event_passes_no_test_of_numbers(written: str) -> None:
    event = Happening(f'{{"attributes":{{"x":{written}}}}}', EventContext())
    for comparison in ("<", ">", "!=", "=", "<=", ">="):
        match = compiled(d.event("buy", where=[pb.Filter(attribute="x", test=d.number(comparison, "1"))])).root
        (criterion,) = criteria_of(match)
        assert [list(sieve.entries(event)) for sieve in sieves_of(criterion)] == [[]]


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("[a-z]+", "abc", False),
        ("[a-z]+", "[A-Z]+", True),
        ("(a+)+$", "aaaa", False),
        ("(a+)+$", "(a+)+$", True),
        (".*", "x", False),
        (".*", ".x", True),
        ("\\d", "5", False),
        ("a|b", "a", False),
    ],
)
def test_a_regex_is_no_pattern_its_signs_stand_for_themselves(pattern: str, text: str, matches: bool) -> None:
    assert StringTest.of(Way.PATTERN, [pattern]).holds(text) is matches


def test_a_pattern_of_many_stars_never_goes_back() -> None:
    pattern = StringTest.of(Way.PATTERN, ["*a" * 300 + "*b"])
    assert not pattern.holds("a" * 5_000)
    assert pattern.holds("a" * 5_000 + "b")
    assert not pattern.holds("ß" + "a" * 400)
    assert StringTest.of(Way.PATTERN, ["*" * 1_000 + "ß" + "*" * 1_000]).holds("a" * 2_000 + "ss")


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


def test_values_are_put_to_a_test_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attribute, "LEARNT", 1_000)
    people = np.arange(5_000)
    engine = Engine(look_back_ms=30 * DAY, now_ms=NOW)
    engine.add_activity(1, people)
    engine.load_attributes(1, "born", people, [f"2026-01-{1 + n % 28:02} {n}" for n in people.tolist()], np.full(len(people), NOW))
    for test in (d.text("ends_with", " 99"), d.dated(d.last("9d"))):
        definition = compiled(d.attribute("born", test))
        (criterion,) = criteria_of(definition.root)
        learnt = [engine.learn(criterion) for _ in range(6)]
        assert learnt == [False, False, False, False, False, True]  # 5,000 values, and that there is none
        engine.round(NOW + 1, {}, [AttributeChange(1, "born", np.array([7]), ["x 99"], np.array([NOW + 1]))])
        engine.hold(criterion)
        assert engine.learn(criterion)
        engine.round(NOW + 2, {}, [AttributeChange(1, "born", np.array([8]), ["y 99"], np.array([NOW + 2]))])
        assert engine.estimate(definition).size == (3 if test.HasField("string") else 0)
        engine.let_go(criterion)


def test_what_a_held_criterion_reads_stays_until_something_changes() -> None:
    """The engine may tidy up twice before that, as it does every hour."""
    engine = Engine(look_back_ms=30 * DAY, now_ms=NOW)
    engine.add_activity(1, np.arange(3))
    criterion = pb.AggregateCriterion(
        match=pb.EventMatch(type=d.CUSTOM, name="buy"),  # type: ignore[arg-type]
        function=pb.AGGREGATE_FUNCTION_SUM,
        test=d.number(">", "1"),
        attribute="x",
    )
    definition = compiled(pb.Node(criterion=pb.Criterion(aggregate=criterion)))
    (sieve,) = engine.missing(definition)
    engine.fill(sieve, np.arange(3), np.full(3, NOW), np.arange(3), [(SieveEntry(value),) for value in ("1", "2", "3")])
    (held,) = criteria_of(definition.root)
    engine.hold(held)
    for _ in range(3):
        engine.forget(NOW)
    engine.round(NOW + 1, {}, [])
    assert engine.estimate(definition).size == 2
    engine.let_go(held)
    for _ in range(3):
        engine.forget(NOW + 1)
    assert engine.missing(definition) == [sieve], "what nobody holds any more is let go of"


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
