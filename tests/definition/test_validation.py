"""Every fault of a definition is told at once, each with its place, its node and the mend."""

from __future__ import annotations

import time
from typing import Any

import pytest
from muster.definition.v1 import definition_pb2 as pb
from muster.ingest.v1 import event_type_pb2, identity_pb2

from services.definition.domain.completeness import incomplete
from services.definition.domain.faults import Fault
from services.definition.domain.validation import judge
from tests.definition.builders import (
    FEED,
    IOS,
    NOW,
    OTHER_INPUT,
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
    other,
    seed,
    times,
)


def faults(root: pb.Node | pb.Definition, **surroundings: Any) -> list[tuple[str, str]]:
    """The places and reasons of all faults."""
    whole = root if isinstance(root, pb.Definition) else definition(root)
    return [(fault.field, fault.reason.value) for fault in judge(whole, around(**surroundings), NOW).faults]


def warnings(root: pb.Node, **surroundings: Any) -> list[tuple[str, str]]:
    return [(fault.field, fault.reason.value) for fault in judge(definition(root), around(**surroundings), NOW).warnings]


def only(root: pb.Node, **surroundings: Any) -> Fault:
    (fault,) = judge(definition(root), around(**surroundings), NOW).faults
    return fault


def test_the_seed_audience_is_right() -> None:
    assert faults(seed()) == []


def test_everyone_is_right_and_an_empty_definition_is_not() -> None:
    assert faults(everyone()) == []
    assert faults(pb.Definition()) == [("definition.root", "MISSING")]
    assert faults(pb.Node()) == [("definition.root", "MISSING")]


def test_all_faults_are_told_at_once_in_the_order_of_the_tree() -> None:
    tree = all_of(
        any_of(node_id="empty"),
        event("CUSTOM", name="", when=last(31), node_id="old"),
        attribute("age", number("many"), node_id="age"),
        exclude(pb.Node(id="nothing")),
    )
    verdict = judge(definition(tree), around(), NOW)
    assert [(fault.field, fault.node_id, fault.reason.value) for fault in verdict.faults] == [
        ("definition.root.all.nodes[0].any", "empty", "EMPTY_GROUP"),
        ("definition.root.all.nodes[1].criterion.event.match.name", "old", "MISSING"),
        ("definition.root.all.nodes[1].criterion.event.when.last", "old", "WINDOW_PAST_LOOK_BACK"),
        ("definition.root.all.nodes[2].criterion.user_attribute.test.number.value", "age", "NOT_A_NUMBER"),
        ("definition.root.all.nodes[3].exclude.node", "nothing", "MISSING"),
    ]


def test_a_description_says_what_is_wrong_and_the_mend() -> None:
    fault = only(all_of(everyone(), event(when=last(45), node_id="n1")))
    assert fault.field == "definition.root.all.nodes[1].criterion.event.when.last"
    assert fault.node_id == "n1"
    assert fault.description == (
        "The window of 45 days reaches past the account's look-back of 30 days, and older events are not kept; "
        "shorten it to 30 days or less."
    )


def test_an_empty_group_is_refused() -> None:
    assert faults(all_of()) == [("definition.root.all", "EMPTY_GROUP")]
    assert faults(any_of()) == [("definition.root.any", "EMPTY_GROUP")]


def test_an_exclude_of_nothing_is_refused() -> None:
    assert faults(pb.Node(exclude=pb.Exclude())) == [("definition.root.exclude.node", "MISSING")]


@pytest.mark.parametrize(
    ("when", "place", "reason"),
    [
        (last(30), "", ""),
        (last(720, "HOUR"), "", ""),
        (last(721, "HOUR"), "last", "WINDOW_PAST_LOOK_BACK"),
        (last(2**32 - 1, "WEEK"), "last", "WINDOW_PAST_LOOK_BACK"),
        (last(0), "last", "OUT_OF_RANGE"),
        (pb.Period(last=pb.Duration(count=3)), "last.unit", "MISSING"),
        (pb.Period(last=pb.Duration(count=3, unit=99)), "last.unit", "UNKNOWN_VALUE"),  # type: ignore[arg-type]
        (ago(duration(6), duration(4)), "", ""),
        (ago(duration(4), duration(4)), "", ""),
        (ago(duration(4), duration(6)), "ago", "BOUNDS_REVERSED"),
        (ago(duration(23, "HOUR"), duration(1)), "ago", "BOUNDS_REVERSED"),
        (ago(duration(31), duration(4)), "ago.from", "WINDOW_PAST_LOOK_BACK"),
        (ago(duration(4), duration(0)), "ago.to", "OUT_OF_RANGE"),
        (pb.Period(ago=pb.Ago(to=duration(1))), "ago.from", "MISSING"),
        (between("2026-01-01", "2026-01-10"), "", ""),
        (between("2026-01-10", "2026-01-10"), "", ""),
        (between("2026-01-10", "2026-01-01"), "between", "BOUNDS_REVERSED"),
        (between("2025-12-20", "2026-01-18"), "", ""),
        (between("2025-12-20", "2026-01-19"), "between", "WINDOW_PAST_LOOK_BACK"),
        (between("2026-13-01", "2026-01-19"), "between.first", "NOT_A_DATE"),
        (pb.Period(between=pb.DateRange(first=day("2026-01-01"))), "between.last", "MISSING"),
        (pb.Period(on=day("2026-02-29")), "on", "NOT_A_DATE"),
        (pb.Period(before=day("0-01-01")), "before", "NOT_A_DATE"),
        (pb.Period(after=day("2026-00-01")), "after", "NOT_A_DATE"),
        (pb.Period(on_or_after=day("2026-01-00")), "on_or_after", "NOT_A_DATE"),
        (pb.Period(after=day("9999-12-31")), "after", "NOT_A_DATE"),
        (pb.Period(), "", "MISSING"),
    ],
)
def test_periods_of_events(when: pb.Period, place: str, reason: str) -> None:
    where = "definition.root.criterion.event.when" + (f".{place}" if place else "")
    assert faults(event(when=when)) == ([(where, reason)] if reason else [])


def test_the_look_back_is_that_of_the_account() -> None:
    assert faults(event(when=last(90)), look_back_days=90) == []
    assert faults(event(when=last(8)), look_back_days=7) == [("definition.root.criterion.event.when.last", "WINDOW_PAST_LOOK_BACK")]


def test_dates_of_people_reach_past_the_look_back() -> None:
    assert faults(attribute("birthday", dated(last(36_000)))) == []
    assert faults(attribute("birthday", dated(between("1950-01-01", "2000-12-31")))) == []


def test_a_duration_of_more_than_a_hundred_years_is_refused() -> None:
    place = "definition.root.criterion.user_attribute.test.date.when.last"
    assert faults(attribute("birthday", dated(last(2**32 - 1, "WEEK")))) == [(place, "OUT_OF_RANGE")]


def test_dates_that_no_event_is_kept_of_are_a_warning() -> None:
    where = "definition.root.criterion.event.when"
    assert warnings(event(when=pb.Period(on=day("2025-12-15")))) == [(f"{where}.on", "WINDOW_PAST_LOOK_BACK")]
    assert warnings(event(when=pb.Period(on=day("2025-12-16")))) == []
    assert warnings(event(when=pb.Period(before=day("2025-12-16")))) == [(f"{where}.before", "WINDOW_PAST_LOOK_BACK")]
    assert warnings(event(when=between("2025-11-01", "2025-11-05"))) == [(f"{where}.between", "WINDOW_PAST_LOOK_BACK")]
    assert warnings(attribute("birthday", dated(pb.Period(on=day("1990-01-01"))))) == []


@pytest.mark.parametrize("text", ["3", "19.90", "-0.5", "+7", "1e6", "1E-6", ".5", "5.", "0", "007", "1e300"])
def test_decimals_are_numbers(text: str) -> None:
    assert faults(attribute("age", number(text))) == []


@pytest.mark.parametrize(
    "text",
    ["NaN", "Infinity", "-inf", "nan", "1,5", "1 000", "0x10", "1e", ".", "+", "٣", "1_000", "1e301", "1e-999999", "3\n", "9" * 61],
)
def test_what_is_no_decimal_is_refused(text: str) -> None:
    assert faults(attribute("age", number(text))) == [("definition.root.criterion.user_attribute.test.number.value", "NOT_A_NUMBER")]


def test_bounds_of_numbers() -> None:
    place = "definition.root.criterion.user_attribute.test.number"
    assert faults(attribute("age", number("18", "BETWEEN", "18"))) == []
    assert faults(attribute("age", number("10", "BETWEEN", "9.5"))) == [(place, "BOUNDS_REVERSED")]
    assert faults(attribute("age", number("10", "BETWEEN"))) == [(f"{place}.upper", "MISSING")]
    assert faults(attribute("age", number(""))) == [(f"{place}.value", "MISSING")]
    assert faults(attribute("age", number("10", "GREATER", "not read"))) == []


def test_frequencies() -> None:
    place = "definition.root.criterion.event.frequency"
    assert faults(event(frequency=times("EQUAL", 0))) == []
    assert faults(event(frequency=times("BETWEEN", 2, 5))) == []
    assert faults(event(frequency=times("BETWEEN", 5, 2))) == [(place, "BOUNDS_REVERSED")]
    assert faults(event(frequency=pb.FrequencyTest(value=3))) == [(f"{place}.comparison", "MISSING")]
    assert faults(event(frequency=times("LESS", 2**63))) == [(f"{place}.value", "OUT_OF_RANGE")]


def test_operands_of_strings() -> None:
    place = "definition.root.criterion.user_attribute.test.string"
    assert faults(attribute("plan", equals("gold"))) == []
    assert faults(attribute("plan", equals(""))) == [(f"{place}.value", "MISSING")]
    assert faults(attribute("plan", equals("x" * 1_001))) == [(f"{place}.value", "TOO_LARGE")]
    assert faults(attribute("plan", one_of("gold", "silver"))) == []
    assert faults(attribute("plan", one_of())) == [(f"{place}.values", "MISSING")]
    assert faults(attribute("plan", one_of("gold", ""))) == [(f"{place}.values[1]", "MISSING")]
    assert faults(attribute("plan", one_of(*(str(n) for n in range(5_001))))) == [(f"{place}.values", "TOO_LARGE")]


def test_a_user_attribute_needs_a_name_and_a_test() -> None:
    place = "definition.root.criterion.user_attribute"
    assert faults(attribute("", pb.ValueTest())) == [(f"{place}.attribute", "MISSING"), (f"{place}.test", "MISSING")]
    assert faults(attribute("vip", pb.ValueTest(boolean=pb.BooleanTest()))) == []
    assert faults(attribute("birthday", pb.ValueTest(date=pb.DateTest()))) == [(f"{place}.test.date.when", "MISSING")]


def test_an_event_needs_a_type() -> None:
    place = "definition.root.criterion.event.match"
    assert faults(criterion(event=pb.EventCriterion())) == [(place, "MISSING")]
    assert faults(criterion(event=pb.EventCriterion(match=pb.EventMatch()))) == [(f"{place}.type", "MISSING")]
    unknown = pb.EventMatch(type=99)  # type: ignore[arg-type]
    assert faults(criterion(event=pb.EventCriterion(match=unknown))) == [(f"{place}.type", "UNKNOWN_VALUE")]


def test_events_have_a_name_where_their_type_has_one() -> None:
    assert faults(event("CUSTOM", name="level_up")) == []
    assert faults(event("CUSTOM")) == []
    assert faults(event("SESSION_START", name="level_up")) == [("definition.root.criterion.event.match.name", "NOT_APPLICABLE")]
    pattern = pb.StringTest(operator=pb.STRING_OPERATOR_PATTERN, value="level_*")
    assert faults(event("CUSTOM", name_test=pattern)) == []
    assert faults(event("CUSTOM", name_test=pb.StringTest())) == [("definition.root.criterion.event.match.name_test.operator", "MISSING")]


def test_filters_of_events_compare_something_with_something() -> None:
    place = "definition.root.criterion.event.match.where"
    assert faults(event("CUSTOM", where=[pb.Filter(attribute="level", test=number("3"))])) == []
    assert faults(event("CUSTOM", where=[pb.Filter()])) == [(f"{place}[0]", "MISSING"), (f"{place}[0].test", "MISSING")]
    moving = pb.Filter(attribute="until", test=pb.ValueTest(date=pb.DateTest(when=last(7))))
    assert faults(event("CUSTOM", where=[moving])) == []
    step = pb.SequenceStep(match=pb.EventMatch(type=event_type_pb2.EVENT_TYPE_CUSTOM, where=[moving]))
    place = "definition.root.criterion.sequence.steps[0].match.where[0].test.date"
    assert faults(criterion(sequence=pb.SequenceCriterion(steps=[step]))) == [(place, "NOT_EVALUATED_YET")]


@pytest.mark.parametrize(
    ("function", "kinds"),
    [
        ("SUM", "number presence"),
        ("AVG", "number presence"),
        ("COUNT", "number presence"),
        ("DISTINCT_COUNT", "number presence"),
        ("MIN", "date number presence"),
        ("MAX", "date number presence"),
        ("FIRST", "boolean date number presence string"),
        ("LAST", "boolean date number presence string"),
        ("MOST_FREQUENT", "boolean date number presence string"),
        ("UNIQUE_LIST", "list presence"),
    ],
)
def test_an_aggregate_is_put_to_tests_that_fit_its_function(function: str, kinds: str) -> None:
    tests = {
        "string": equals("a"),
        "number": number("3"),
        "boolean": pb.ValueTest(boolean=pb.BooleanTest(value=True)),
        "date": pb.ValueTest(date=pb.DateTest(when=last(7))),
        "list": pb.ValueTest(list=pb.ListTest(operator=pb.LIST_OPERATOR_INCLUDES, value="a")),
        "presence": pb.ValueTest(presence=pb.PresenceTest(operator=pb.PRESENCE_OPERATOR_EXISTS)),
    }
    number_of = pb.AggregateFunction.Value(f"AGGREGATE_FUNCTION_{function}")
    found = {
        kind: faults(criterion(aggregate=pb.AggregateCriterion(match=_MATCH, function=number_of, attribute="x", test=test)))
        for kind, test in tests.items()
    }
    place = "definition.root.criterion.aggregate.test"
    assert found == {kind: [] if kind in kinds.split() else [(f"{place}.{kind}", "NOT_APPLICABLE")] for kind in tests}


_MATCH = pb.EventMatch(type=event_type_pb2.EVENT_TYPE_COMMERCE, name="purchase")
_ORDINARY: dict[str, Any] = {
    "identity": pb.IdentityCriterion(type=identity_pb2.IDENTITY_TYPE_EMAIL, test=equals("a@b.example")),
    "device": pb.DeviceCriterion(field=pb.DEVICE_FIELD_OS, test=equals("ios")),
    "seen": pb.SeenCriterion(edge=pb.SEEN_EDGE_FIRST, when=last(400)),
    "location": pb.LocationCriterion(near=pb.Near(latitude=52.5, longitude=13.4, distance_metres=5_000)),
    "consent": pb.ConsentCriterion(regulation="gdpr", purpose="marketing", consented=True),
    "lifetime_value": pb.LifetimeValueCriterion(test=number("100").number),
    "attribution": pb.AttributionCriterion(field=pb.ATTRIBUTION_FIELD_CAMPAIGN, test=equals("spring")),
}


def test_a_sequence_is_right_with_steps_and_times_inside_the_look_back() -> None:
    whole = pb.SequenceCriterion(
        steps=[pb.SequenceStep(match=_MATCH), pb.SequenceStep(match=_MATCH, within=duration(30))],
        not_followed_by=pb.NotFollowedBy(match=_MATCH, within=duration(30)),
        when=last(7),
    )
    assert faults(criterion(sequence=whole)) == []
    whole.steps[1].within.count = 31
    whole.not_followed_by.within.count = 31
    place = "definition.root.criterion.sequence"
    assert faults(criterion(sequence=whole)) == [
        (f"{place}.steps[1].within", "WINDOW_PAST_LOOK_BACK"),
        (f"{place}.not_followed_by.within", "WINDOW_PAST_LOOK_BACK"),
    ]


@pytest.mark.parametrize("kind", sorted(_ORDINARY))
def test_an_ordinary_criterion_may_be_saved(kind: str) -> None:
    assert faults(criterion(**{kind: _ORDINARY[kind]})) == []


@pytest.mark.parametrize(
    ("root", "expected"),
    [
        (criterion(sequence=pb.SequenceCriterion()), [("sequence.steps", "MISSING")]),
        (
            criterion(sequence=pb.SequenceCriterion(steps=[pb.SequenceStep(match=_MATCH, within=duration(31))])),
            [("sequence.steps[0].within", "WINDOW_PAST_LOOK_BACK")],
        ),
        (
            criterion(aggregate=pb.AggregateCriterion(match=_MATCH, function=pb.AGGREGATE_FUNCTION_AVG, test=number("1"))),
            [("aggregate.attribute", "MISSING")],
        ),
        (criterion(aggregate=pb.AggregateCriterion(match=_MATCH, function=pb.AGGREGATE_FUNCTION_COUNT, test=number("1"))), []),
        (
            criterion(identity=pb.IdentityCriterion(type=identity_pb2.IDENTITY_TYPE_EMAIL, test=number("1"))),
            [("identity.test.number", "NOT_APPLICABLE")],
        ),
        (criterion(seen=pb.SeenCriterion()), [("seen.edge", "MISSING"), ("seen.when", "MISSING")]),
        (criterion(location=pb.LocationCriterion()), [("location", "MISSING")]),
        (
            criterion(location=pb.LocationCriterion(near=pb.Near(latitude=float("nan"), longitude=181, distance_metres=5))),
            [("location.near.latitude", "OUT_OF_RANGE"), ("location.near.longitude", "OUT_OF_RANGE")],
        ),
        (
            criterion(location=pb.LocationCriterion(place=pb.PlaceTest(field=pb.PLACE_FIELD_CITY))),
            [("location.place.value", "MISSING")],
        ),
        (criterion(consent=pb.ConsentCriterion()), [("consent.regulation", "MISSING")]),
    ],
)
def test_what_is_not_evaluated_yet_is_judged_all_the_same(root: pb.Node, expected: list[tuple[str, str]]) -> None:
    found = [(field.removeprefix("definition.root.criterion."), reason) for field, reason in faults(root)]
    assert [fault for fault in found if fault[1] != "NOT_EVALUATED_YET"] == expected


def test_workspaces_must_be_of_the_account() -> None:
    assert faults(everyone(), workspace_ids=()) == [("workspace_ids", "MISSING")]
    assert faults(everyone(), workspace_ids=(WORKSPACE, 99)) == [("workspace_ids[1]", "UNKNOWN_WORKSPACE")]


def test_inputs_must_be_of_the_workspaces_of_the_audience() -> None:
    assert faults(everyone(), input_ids=(IOS, FEED)) == []
    assert faults(everyone(), input_ids=(IOS, OTHER_INPUT)) == [("input_ids[1]", "UNKNOWN_INPUT")]
    assert faults(everyone(), input_ids=(99,)) == [("input_ids[0]", "UNKNOWN_INPUT")]


def test_inputs_of_a_criterion_must_be_those_of_the_audience() -> None:
    place = "definition.root.criterion.event.match.input_ids"
    assert faults(event(input_ids=[FEED])) == []
    assert faults(event(input_ids=[IOS, 99])) == [(f"{place}[1]", "UNKNOWN_INPUT")]
    assert faults(event(input_ids=[OTHER_INPUT])) == [(f"{place}[0]", "UNKNOWN_INPUT")]
    assert faults(event(input_ids=[FEED]), input_ids=(IOS,)) == [(f"{place}[0]", "UNKNOWN_INPUT")]


def test_a_user_criterion_of_a_multi_workspace_audience_names_its_workspace() -> None:
    both = {"workspace_ids": (WORKSPACE, OTHER_WORKSPACE)}
    place = "definition.root.criterion.workspace_id"
    assert faults(attribute("plan", equals("gold")), **both) == [(place, "WORKSPACE_NEEDED")]
    assert faults(attribute("plan", equals("gold"), workspace=OTHER_WORKSPACE), **both) == []
    assert faults(event(), **both) == []
    assert faults(attribute("plan", equals("gold"), workspace=OTHER_WORKSPACE)) == [(place, "UNKNOWN_WORKSPACE")]
    assert faults(attribute("plan", equals("gold"), workspace=99), **both) == [(place, "UNKNOWN_WORKSPACE")]


def test_other_audiences_must_be_of_the_account() -> None:
    place = "definition.root.criterion.member_of.audience_id"
    assert faults(member_of(7), audiences={7: other()}) == []
    assert faults(member_of(0)) == [(place, "MISSING")]
    assert faults(member_of(8), audiences={7: other()}) == [(place, "UNKNOWN_AUDIENCE")]


def test_an_audience_cannot_use_itself() -> None:
    fault = only(member_of(7), audiences={7: other()}, audience_id=7)
    assert (fault.field, fault.reason) == ("definition.root.criterion.member_of.audience_id", "CYCLE")
    assert "here 7 uses 7;" in fault.description


def test_a_cycle_over_other_audiences_is_refused_and_its_way_told() -> None:
    audiences = {7: other(), 8: other(9, 10), 9: other(7), 10: other()}
    fault = only(all_of(member_of(10), exclude(member_of(8, node_id="x"))), audiences=audiences, audience_id=7)
    assert (fault.field, fault.node_id) == ("definition.root.all.nodes[1].exclude.node.criterion.member_of.audience_id", "x")
    assert fault.reason == "CYCLE"
    assert "here 7 uses 8, 8 uses 9, 9 uses 7;" in fault.description


def test_using_an_audience_twice_is_no_cycle() -> None:
    audiences = {7: other(), 8: other(10), 9: other(10), 10: other()}
    assert faults(all_of(member_of(8), member_of(9), member_of(10)), audiences=audiences, audience_id=7) == []


def test_a_new_audience_is_in_no_cycle() -> None:
    assert faults(member_of(8), audiences={8: other(9), 9: other(8)}) == []


def test_using_an_inactive_audience_is_a_warning() -> None:
    place = "definition.root.criterion.member_of.audience_id"
    assert warnings(member_of(7), audiences={7: other(active=False)}) == [(place, "AUDIENCE_NOT_ACTIVE")]
    assert warnings(member_of(7), audiences={7: other()}) == []


def _nested(levels: int) -> pb.Node:
    node = everyone()
    for _ in range(levels - 1):
        node = all_of(node)
    return node


def test_depth_ends_at_32_levels() -> None:
    assert faults(_nested(32)) == []
    ((field, reason),) = faults(_nested(33))
    assert (field.count("nodes[0]"), reason) == (32, "TOO_DEEP")
    assert [fault[1] for fault in faults(_nested(45))] == ["TOO_DEEP"]


def test_a_definition_has_at_most_500_criteria_and_2000_nodes() -> None:
    assert faults(all_of(*(event() for _ in range(500)))) == []
    assert faults(all_of(*(event() for _ in range(501)))) == [("definition.root.all.nodes[500].criterion", "TOO_LARGE")]
    assert faults(all_of(*(everyone() for _ in range(2_500)))) == [("definition.root.all.nodes[1999]", "TOO_LARGE")]


def test_a_definition_that_no_message_can_hold_is_refused() -> None:
    texts = [f"{number_of_text:04d}" + "x" * 990 for number_of_text in range(600)]
    assert faults(attribute("plan", one_of(*texts))) == [("definition", "TOO_LARGE")]


def test_of_a_definition_of_millions_of_nodes_nothing_is_looked_at() -> None:
    huge = definition(all_of(*(everyone() for _ in range(500_000))))
    begin = time.process_time()
    assert [fault.reason.value for fault in incomplete(huge).faults] == ["TOO_LARGE"]
    assert time.process_time() - begin < 1


def test_of_very_many_faults_the_last_says_that_there_are_more() -> None:
    found = faults(all_of(*(all_of() for _ in range(1_999))))
    assert len(found) == 1_001
    assert found[0] == ("definition.root.all.nodes[0].all", "EMPTY_GROUP")
    assert found[-1] == ("definition", "TOO_LARGE")


def test_ids_of_nodes_are_given_once() -> None:
    tree = all_of(everyone("a"), everyone("b"), everyone("a"), everyone(), everyone())
    fault = only(tree)
    assert (fault.field, fault.node_id, fault.reason) == ("definition.root.all.nodes[2].id", "a", "DUPLICATE_NODE_ID")
    assert "is already that of definition.root.all.nodes[0]" in fault.description


def test_ids_of_nodes_are_short_and_printable() -> None:
    assert faults(everyone("x" * 65)) == [("definition.root.id", "TOO_LARGE")]
    assert faults(everyone("a\0")) == [("definition.root.id", "CONTROL_CHARACTER")]


def test_a_language_of_the_future_is_refused() -> None:
    assert faults(pb.Definition(root=everyone(), language_version=1)) == []
    assert faults(pb.Definition(root=everyone(), language_version=2)) == [("definition.language_version", "UNKNOWN_VALUE")]


def test_a_field_of_the_future_is_refused_rather_than_ignored() -> None:
    # Field 99, a text: as a newer client would send it inside of the match.
    match = pb.EventMatch.FromString(_MATCH.SerializeToString() + b"\x9a\x06\x01x")
    tree = all_of(everyone(), criterion("n2", event=pb.EventCriterion(match=match)))
    fault = only(tree)
    assert (fault.field, fault.node_id) == ("definition.root.all.nodes[1].criterion.event.match", "n2")
    assert fault.reason == "UNKNOWN_FIELD"
    assert "number 99" in fault.description
