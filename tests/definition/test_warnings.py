"""What is warned of is so, by the naive reference: nobody meets it, or everybody does; and of what can be otherwise nobody is warned."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from muster.definition.v1 import definition_pb2 as pb
from muster.ingest.v1 import identity_pb2
from muster.ingest.v1.event_type_pb2 import EVENT_TYPE_CUSTOM as CUSTOM

from services.chassis.clock import to_ms
from services.definition.domain import validation
from services.definition.domain.faults import Fault
from services.definition.domain.warnings.advice import advice
from services.definition.domain.warnings.names import Known
from tests.definition.builders import (
    FEED,
    IOS,
    NOW,
    OTHER_WORKSPACE,
    WORKSPACE,
    ago,
    all_of,
    any_of,
    around,
    attribute,
    between,
    criterion,
    dated,
    day,
    definition,
    duration,
    equals,
    event,
    everyone,
    exclude,
    last,
    member_of,
    number,
    one_of,
    times,
)
from tests.definition.trees import right_definitions
from tests.model import facts, reference

DAY_MS = 24 * 3600 * 1000
LOOK_BACK = 30
NOW_MS = to_ms(NOW)
MEANING = {"NOBODY_MEETS", "EVERYONE_MEETS"}


def warned(root: pb.Node, now: datetime = NOW, **surroundings: Any) -> list[Fault]:
    found = around(**surroundings)
    assert not validation.judge(definition(root), found, now).faults
    return list(advice(definition(root), found, Known(), now))


def reasons(root: pb.Node, **surroundings: Any) -> dict[str, str]:
    """What is said of which places, of people alone."""
    found = [one for one in warned(root, **surroundings) if one.reason in MEANING]
    return {one.field.removeprefix("definition.root").lstrip("."): one.reason.value.split("_")[0].lower() for one in found}


# --- tests of a user attribute and others, in a word each


def text(operator: str, value: str) -> pb.ValueTest:
    return pb.ValueTest(string=pb.StringTest(operator=pb.StringOperator.Value(f"STRING_OPERATOR_{operator}"), value=value))


def truth(value: bool) -> pb.ValueTest:
    return pb.ValueTest(boolean=pb.BooleanTest(value=value))


def presence(operator: str) -> pb.ValueTest:
    return pb.ValueTest(presence=pb.PresenceTest(operator=pb.PresenceOperator.Value(f"PRESENCE_OPERATOR_{operator}")))


def listed(operator: str, value: str) -> pb.ValueTest:
    return pb.ValueTest(list=pb.ListTest(operator=pb.ListOperator.Value(f"LIST_OPERATOR_{operator}"), value=value))


def plan(test: pb.ValueTest) -> pb.Node:
    return attribute("plan", test)


def sessions(comparison: str, value: int, upper: int = 0, when: pb.Period | None = None, **match: Any) -> pb.Node:
    return event(frequency=times(comparison, value, upper), when=when, **match)


def total(function: str, test: pb.ValueTest, when: pb.Period | None = None, **subject: Any) -> pb.Node:
    match = pb.EventMatch(type=CUSTOM)
    of = pb.AggregateFunction.Value(f"AGGREGATE_FUNCTION_{function}")
    return criterion(aggregate=pb.AggregateCriterion(match=match, function=of, test=test, when=when, **subject))


def worth(comparison: str, value: str, upper: str = "") -> pb.Node:
    return criterion(lifetime_value=pb.LifetimeValueCriterion(test=number(value, comparison, upper).number))


def consent(yes: bool, purpose: str = "ads") -> pb.Node:
    return criterion(consent=pb.ConsentCriterion(regulation="gdpr", purpose=purpose, consented=yes))


def city(value: str) -> pb.Node:
    return criterion(location=pb.LocationCriterion(place=pb.PlaceTest(field=pb.PLACE_FIELD_CITY, value=value)))


def device(test: pb.ValueTest) -> pb.Node:
    return criterion(device=pb.DeviceCriterion(field=pb.DEVICE_FIELD_MODEL, test=test))


def identity(test: pb.ValueTest) -> pb.Node:
    return criterion(identity=pb.IdentityCriterion(type=identity_pb2.IDENTITY_TYPE_EMAIL, test=test))


def seen(when: pb.Period, edge: pb.SeenEdge.ValueType = pb.SEEN_EDGE_LAST) -> pb.Node:
    return criterion(seen=pb.SeenCriterion(edge=edge, when=when))


def buys(*tests: pb.ValueTest, frequency: pb.FrequencyTest | None = None) -> pb.Node:
    return event("CUSTOM", name="buy", frequency=frequency, where=[pb.Filter(attribute="plan", test=test) for test in tests])


def sequence(within: pb.Duration | None = None, when: pb.Period | None = None, steps: int = 1) -> pb.Node:
    step = pb.SequenceStep(match=pb.EventMatch(type=CUSTOM, name="buy"))
    after = pb.NotFollowedBy(match=pb.EventMatch(type=CUSTOM, name="look"), within=within) if within else None
    return criterion(sequence=pb.SequenceCriterion(steps=[step] * steps, not_followed_by=after, when=when))


A, B = plan(equals("a")), plan(equals("b"))
PAST = pb.Period(before=day("2025-12-16"))


@pytest.mark.parametrize(
    ("root", "found"),
    [
        (all_of(A, B), {"all": "nobody"}),
        (all_of(A, all_of(everyone(), B)), {"all": "nobody"}),
        (all_of(A, exclude(any_of(exclude(B), city("x")))), {"all": "nobody"}),
        (all_of(A, plan(equals("A"))), {}),
        (all_of(A, attribute("plan", equals("b"), workspace=WORKSPACE)), {"all": "nobody"}),
        (all_of(A, attribute("other", equals("b"))), {}),
        (all_of(plan(one_of("a", "b")), plan(one_of("c", "d"))), {"all": "nobody"}),
        (all_of(plan(one_of("a", "b")), plan(one_of("b", "c"))), {}),
        (all_of(A, plan(text("STARTS_WITH", "b"))), {"all": "nobody"}),
        (all_of(A, plan(text("NOT_CONTAINS", "b"))), {}),
        (all_of(A, plan(text("PATTERN", "b"))), {}),
        (all_of(A, plan(presence("NOT_EXISTS"))), {"all": "nobody"}),
        (all_of(plan(text("NOT_EQUALS", "a")), plan(presence("NOT_EXISTS"))), {}),
        (all_of(plan(presence("EXISTS")), plan(presence("NOT_EXISTS"))), {"all": "nobody"}),
        (any_of(plan(presence("EXISTS")), plan(presence("NOT_EXISTS"))), {"any": "everyone"}),
        (any_of(A, plan(text("NOT_EQUALS", "a"))), {}),  # neither for a list
        (all_of(plan(number("5", "LESS")), plan(number("5", "GREATER"))), {"all": "nobody"}),
        (all_of(plan(number("5", "LESS")), plan(number("4", "GREATER"))), {}),
        (all_of(plan(number("5", "EQUAL")), A), {}),
        (all_of(plan(truth(True)), plan(truth(False))), {"all": "nobody"}),
        (any_of(plan(truth(True)), plan(truth(False))), {}),
        (all_of(plan(listed("INCLUDES", "a")), plan(listed("INCLUDES", "b"))), {}),
        (all_of(identity(equals("a")), identity(equals("b"))), {}),  # somebody may have two
        (all_of(device(equals("a")), device(equals("b"))), {"all": "nobody"}),
        (all_of(city("Bonn"), city("Berlin")), {"all": "nobody"}),
        (all_of(consent(True), consent(False)), {"all": "nobody"}),
        (all_of(consent(True), consent(False, "mail")), {}),
        (any_of(consent(True), consent(False)), {}),
        (all_of(sessions("LESS", 1), sessions("GREATER", 3)), {"all": "nobody"}),
        (all_of(sessions("LESS", 1), sessions("GREATER", 3, when=last(7))), {}),
        (all_of(sessions("LESS", 3), sessions("GREATER", 1)), {}),
        (all_of(sessions("LESS", 2), sessions("GREATER", 1)), {"all": "nobody"}),
        (all_of(sessions("NOT_EQUAL", 1), sessions("BETWEEN", 1, 1)), {"all": "nobody"}),
        (any_of(sessions("LESS", 3), sessions("GREATER", 1)), {"any": "everyone"}),
        (any_of(sessions("LESS", 3), sessions("GREATER", 3)), {}),
        (any_of(event(), sessions("EQUAL", 0)), {"any": "everyone"}),
        (sessions("GREATER_OR_EQUAL", 0), {"criterion": "everyone"}),
        (sessions("LESS", 0), {"criterion": "nobody"}),
        (all_of(city("x"), sessions("LESS", 0)), {"": "nobody", "all.nodes[1].criterion": "nobody"}),
        (any_of(city("x"), sessions("LESS", 0)), {"any.nodes[1].criterion": "nobody"}),
        (any_of(city("x"), exclude(sessions("LESS", 0))), {"": "everyone", "any.nodes[1].exclude.node.criterion": "nobody"}),
        (total("COUNT", number("0", "GREATER_OR_EQUAL")), {"criterion": "everyone"}),
        (total("COUNT", number("-1", "EQUAL"), attribute="x"), {"criterion": "nobody"}),
        (total("COUNT", number("0.5", "EQUAL"), attribute="x"), {"criterion": "nobody"}),
        (total("SUM", number("-1", "LESS"), attribute="x"), {}),
        (
            any_of(total("SUM", number("1", "LESS"), attribute="x"), total("SUM", number("0", "GREATER"), attribute="x")),
            {"any": "everyone"},
        ),
        (any_of(total("AVG", number("1", "LESS"), attribute="x"), total("AVG", number("0", "GREATER"), attribute="x")), {}),
        (all_of(total("AVG", number("1", "LESS"), attribute="x"), total("AVG", number("1", "GREATER"), attribute="x")), {"all": "nobody"}),
        (all_of(worth("LESS", "1"), worth("GREATER", "1.0")), {"all": "nobody"}),
        (any_of(worth("LESS_OR_EQUAL", "1"), worth("GREATER", "1.0")), {"any": "everyone"}),
        (all_of(seen(last(7)), seen(ago(duration(9), duration(8)))), {"all": "nobody"}),
        (all_of(seen(last(8)), seen(ago(duration(9), duration(8)))), {}),
        (all_of(seen(last(7)), seen(ago(duration(9), duration(8)), pb.SEEN_EDGE_FIRST)), {}),
        (all_of(seen(pb.Period(on=day("2026-01-01"))), seen(pb.Period(after=day("2026-01-01")))), {"all": "nobody"}),
        (all_of(seen(pb.Period(on=day("2026-01-02"))), seen(pb.Period(after=day("2026-01-01")))), {}),
        (all_of(seen(pb.Period(on=day("2026-01-02"))), seen(last(1))), {}),
        (all_of(A, exclude(A)), {"all": "nobody"}),
        (any_of(A, exclude(A)), {"any": "everyone"}),
        (all_of(any_of(A, city("x")), exclude(any_of(city("x"), A))), {"all": "nobody"}),
        (any_of(all_of(A, city("x")), exclude(all_of(city("x"), A))), {"any": "everyone"}),
        (all_of(member_of(7), exclude(member_of(7))), {"all": "nobody"}),
        (all_of(member_of(7), exclude(member_of(8))), {}),
        (everyone(), {}),
        (all_of(everyone(), A), {}),
        (any_of(everyone(), A), {"any": "everyone"}),
        (exclude(everyone()), {"exclude": "nobody"}),
        (exclude(exclude(everyone())), {"": "everyone", "exclude.node.exclude": "nobody"}),
        (buys(equals("a"), equals("b")), {"criterion": "nobody"}),
        (buys(equals("a"), equals("b"), frequency=times("LESS", 3)), {"criterion": "everyone"}),
        (buys(equals("a"), text("NOT_EQUALS", "b")), {}),
        (event(when=PAST), {"criterion": "nobody"}),
        (sessions("LESS", 1, when=PAST), {"criterion": "everyone"}),
        (event(when=pb.Period(before=day("2025-12-17"))), {}),
        (total("SUM", number("0", "EQUAL"), when=PAST, attribute="x"), {"criterion": "everyone"}),
        (total("MAX", number("0", "EQUAL"), when=PAST, attribute="x"), {"criterion": "nobody"}),
        (total("UNIQUE_LIST", listed("NOT_INCLUDES", "a"), when=PAST, attribute="x"), {}),
        (sequence(when=PAST), {"criterion": "nobody"}),
        (sequence(duration(3), last(2)), {"criterion": "nobody"}),
        (sequence(duration(48, "HOUR"), last(2)), {}),
        (sequence(duration(5), ago(duration(4), duration(1))), {"criterion": "nobody"}),
        (sequence(duration(5), between("2026-01-10", "2026-01-11")), {}),
    ],
)
def test_contradictions_and_tautologies_are_told_where_they_arise(root: pb.Node, found: dict[str, str]) -> None:
    audiences = {7: validation.OtherAudience("x", True, frozenset()), 8: validation.OtherAudience("y", True, frozenset())}
    assert reasons(root, audiences=audiences) == found


def test_a_warning_names_the_two_that_clash() -> None:
    [warning] = warned(all_of(A, city("x"), all_of(everyone(), B)))
    assert "`nodes[0]` and `nodes[2].all.nodes[1]`" in warning.description


def test_user_criteria_of_two_workspaces_are_about_two_things() -> None:
    root = all_of(attribute("plan", equals("a"), workspace=WORKSPACE), attribute("plan", equals("b"), workspace=OTHER_WORKSPACE))
    assert reasons(root, workspace_ids=(WORKSPACE, OTHER_WORKSPACE)) == {}


@pytest.mark.parametrize("group", [all_of, any_of])
def test_many_criteria_with_long_lists_are_looked_at_at_once(group: Callable[..., pb.Node]) -> None:
    root = group(*(attribute("plan", one_of(*(f"{text}" for text in range(190)))) for _ in range(400)))
    begin = time.process_time()
    assert reasons(root) == {}
    # Folding each list at every value took 8 s.
    assert time.process_time() - begin < 5


# --- beside the reference

texts = st.sampled_from(["a", "b", "A", "ab", "5", "true", "ß", "SS"])
values = st.sampled_from(["a", "b", "A", "ab", "5", "", "ß", "true", 5, 4, 19.9, True, False, ("a",), ()])
tests = st.one_of(
    texts.map(equals),
    st.lists(texts, min_size=1, max_size=3).map(lambda some: one_of(*some)),
    st.builds(
        text,
        st.sampled_from(
            ["NOT_EQUALS", "CONTAINS", "NOT_CONTAINS", "STARTS_WITH", "NOT_STARTS_WITH", "ENDS_WITH", "PATTERN", "NOT_PATTERN"]
        ),
        st.sampled_from(["a", "b", "?", "*", "s", "5"]),
    ),
    st.builds(
        number,
        st.sampled_from(["5", "4", "19.9", "0"]),
        st.sampled_from(["EQUAL", "NOT_EQUAL", "LESS", "GREATER_OR_EQUAL", "LESS_OR_EQUAL"]),
    ),
    st.booleans().map(truth),
    st.sampled_from(["EXISTS", "NOT_EXISTS", "EMPTY"]).map(presence),
    st.builds(listed, st.sampled_from(["INCLUDES", "NOT_INCLUDES", "PARTIAL_MATCH"]), st.just("a")),
)
comparisons = st.sampled_from(["EQUAL", "NOT_EQUAL", "LESS", "LESS_OR_EQUAL", "GREATER", "GREATER_OR_EQUAL"])
days = st.integers(10, 18).map(lambda number: day(f"2026-01-{number}")) | st.just(day("2025-12-10"))
durations = st.builds(duration, st.sampled_from([1, 2, 3]))
periods = st.one_of(
    durations.map(lambda one: pb.Period(last=one)),
    st.builds(lambda newer, older: ago(duration(newer + older), duration(newer)), st.integers(1, 2), st.integers(0, 2)),
    st.builds(lambda kind, one: pb.Period(**{kind: one}), st.sampled_from(["on", "before", "after", "on_or_after"]), days),
)
whens = st.one_of(st.none(), st.none(), periods)
counts = st.builds(times, comparisons, st.integers(0, 2))
leaves = st.one_of(
    tests.map(plan),
    tests.map(plan),
    st.builds(lambda frequency, when: event("CUSTOM", name="buy", frequency=frequency, when=when), counts, whens),
    st.builds(lambda where, frequency: buys(*where, frequency=frequency), st.lists(tests, min_size=1, max_size=2), counts),
    st.builds(
        lambda function, comparison, value, when: total(function, number(str(value), comparison), when, attribute="plan"),
        st.sampled_from(["COUNT", "DISTINCT_COUNT", "SUM", "AVG", "MIN", "MAX"]),
        comparisons,
        st.sampled_from([-1, 0, 1, 5]),
        whens,
    ),
    st.builds(lambda function, test, when: total(function, test, when, attribute="plan"), st.sampled_from(["FIRST", "LAST"]), tests, whens),
    st.builds(worth, comparisons, st.sampled_from(["0", "5"])),
    st.builds(consent, st.booleans()),
    st.sampled_from(["a", "A", "b"]).map(city),
    tests.map(device),
    st.sampled_from(["a", "b"]).map(equals).map(identity),
    st.sampled_from(["EXISTS", "NOT_EXISTS"]).map(presence).map(identity),
    periods.map(seen),
    st.builds(sequence, st.none() | durations, whens, st.integers(1, 2)),
    st.just(everyone()),
)


def trees(leaf: st.SearchStrategy[pb.Node]) -> st.SearchStrategy[pb.Node]:
    def grown(inner: st.SearchStrategy[pb.Node]) -> st.SearchStrategy[pb.Node]:
        some = st.lists(inner, min_size=1, max_size=3)
        return st.one_of(some.map(lambda nodes: all_of(*nodes)), some.map(lambda nodes: any_of(*nodes)), inner.map(exclude))

    return st.recursive(leaf, grown, max_leaves=6)


# Of two or three leaves only, so that they meet again.
roots = st.lists(leaves, min_size=1, max_size=3).flatmap(lambda few: trees(st.sampled_from(few)))

offsets = st.sampled_from([0, 1, DAY_MS, DAY_MS + 1, 2 * DAY_MS, 3 * DAY_MS, 5 * DAY_MS, 29 * DAY_MS, 31 * DAY_MS, 37 * DAY_MS, -DAY_MS])
held = st.one_of(st.none(), values)


def person(
    plan_: Any, events: list[tuple[str, int, Any]], consents: list[bool], place: str | None, model: str | None, emails: set[str]
) -> facts.Person:
    one = facts.Person(active_in={WORKSPACE}, identities={(identity_pb2.IDENTITY_TYPE_EMAIL, email) for email in emails})
    changes: list[Any] = [] if plan_ is None else [facts.AttributeChange(WORKSPACE, "plan", plan_, NOW_MS)]
    changes += [facts.ConsentTold(WORKSPACE, "gdpr", "ads", yes, NOW_MS) for yes in consents]
    changes += [] if place is None else [facts.AttributeChange(WORKSPACE, "$City", place, NOW_MS)]
    changes += [] if model is None else [facts.DeviceTold(WORKSPACE, {"model": model}, NOW_MS)]
    one.changes.extend(changes)
    for place_, (name, offset, value) in enumerate(events):
        details = {} if value is None else {"attributes": {"plan": value}}
        type_ = 3 if name == "purchase" else 1
        amount = {"total_amount": 5} if name == "purchase" else {}
        one.events.append(facts.Event(IOS, type_, name, NOW_MS - offset, {**details, **amount}, received=place_))
    return one


people = st.builds(
    person,
    held,
    st.lists(st.tuples(st.sampled_from(["buy", "buy", "look", "purchase"]), offsets, held), max_size=4),
    st.lists(st.booleans(), max_size=2),
    st.sampled_from([None, "a", "b"]),
    st.sampled_from([None, "a", "5"]),
    st.sets(st.sampled_from(["a", "b"]), max_size=2),
)


def members(root: pb.Node, crowd: list[facts.Person], now_ms: int, types: dict[str, str]) -> set[int]:
    return reference.members(
        definition(root),
        dict(enumerate(crowd)),
        now_ms,
        workspaces={WORKSPACE: [IOS, FEED]},
        workspace_ids=[WORKSPACE],
        look_back_ms=LOOK_BACK * DAY_MS,
        types={WORKSPACE: types},
        event_types={WORKSPACE: types},
    )


def node_at(root: pb.Node, field: str) -> pb.Node:
    """The node that a warning's field lies in."""
    node = root
    for step, index in re.findall(r"\.(?:(?:all|any)\.nodes\[(\d+)\]|(exclude\.node))", field.removeprefix("definition.root")):
        node = node.exclude.node if index else (node.all if node.HasField("all") else node.any).nodes[int(step)]
    return node


types_ = st.sampled_from([None, None, None, "STRING", "NUMBER", "BOOLEAN", "DATE", "LIST"])


@given(roots, st.lists(people, min_size=1, max_size=6), types_, st.sampled_from([0, 1, DAY_MS, 40 * DAY_MS]))
@example(any_of(plan(presence("EXISTS")), plan(presence("NOT_EXISTS"))), [person("a", [], [], None, None, set())], None, 0)
@settings(max_examples=1_500, deadline=None)
def test_of_random_people_nobody_and_everybody_meets_what_is_warned_of(
    root: pb.Node, crowd: list[facts.Person], type_: str | None, later_ms: int
) -> None:
    found = around()
    assume(not validation.judge(definition(root), found, NOW).faults)
    for warning in advice(definition(root), found, Known(), NOW):
        if warning.reason in MEANING:
            meets = members(node_at(root, warning.field), crowd, NOW_MS + later_ms, {} if type_ is None else {"plan": type_})
            assert meets == (set() if warning.reason == "NOBODY_MEETS" else set(range(len(crowd)))), warning


# --- dates


@pytest.mark.parametrize(
    ("when", "first", "none_left"),
    [
        (pb.Period(on=day("2026-01-10")), "2026-02-09", "2026-02-10"),
        (between("2026-01-10", "2026-01-12"), "2026-02-09", "2026-02-12"),
        (pb.Period(on_or_after=day("2026-01-10")), "2026-02-09", ""),
        (pb.Period(after=day("2026-01-10")), "2026-02-10", ""),
        (pb.Period(before=day("2026-01-10")), "", "2026-02-09"),
    ],
)
def test_dates_are_told_the_day_on_which_they_begin_to_fade(when: pb.Period, first: str, none_left: str) -> None:
    root = event("CUSTOM", name="buy", when=when)
    [warning] = warned(root)
    assert (warning.reason, warning.field) == (
        "DATES_OUTLIVE_LOOK_BACK",
        f"definition.root.criterion.event.when.{when.WhichOneof('kind')}",
    )
    assert (first or none_left) in warning.description

    def at(text: str, ms: int) -> int:
        return to_ms(datetime.fromisoformat(text).replace(tzinfo=UTC)) + ms

    def left(now_ms: int, event_ms: int) -> bool:
        crowd = [facts.Person(active_in={WORKSPACE}, events=[facts.Event(IOS, 1, "buy", event_ms)])]
        return bool(members(root, crowd, now_ms, {}))

    kept_ms = LOOK_BACK * DAY_MS
    if first:
        assert left(at(first, 0), at(first, -kept_ms))
        assert not left(at(first, 1), at(first, -kept_ms))
    if none_left:
        assert left(at(none_left, -1), at(none_left, -kept_ms - 1))
        assert not left(at(none_left, 0), at(none_left, -kept_ms - 1))


def test_dates_that_fade_already_or_are_gone_are_told_so() -> None:
    [warning] = warned(event(when=pb.Period(on_or_after=day("2025-12-01"))))
    assert "since 2025-12-31" in warning.description
    assert [one.reason for one in warned(event(when=PAST))] == ["NOBODY_MEETS"]
    assert warned(event(when=last(30))) == []
    assert warned(plan(dated(pb.Period(on=day("2026-01-10"))))) == []


# --- whatever comes


@given(right_definitions())
@settings(max_examples=300, deadline=None)
def test_advice_never_raises_and_says_where_and_what(tree: pb.Definition) -> None:
    found = around(
        workspaces=frozenset({11}), inputs={11: 11}, workspace_ids=(11,), audiences={11: validation.OtherAudience("x", True, frozenset())}
    )
    assume(not validation.judge(tree, found, NOW).faults)
    for warning in advice(tree, found, Known(), NOW):
        assert warning.field.startswith("definition.root")
        assert warning.description.endswith(".")
    assert advice(tree, found, Known(), NOW + timedelta(0)) == advice(tree, found, Known(), NOW)
