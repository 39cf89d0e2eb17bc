"""Each form of the public JSON is a criterion, or refused by name with its place; and each criterion is a form, or refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from muster.definition.v1 import definition_pb2 as pb
from muster.definition.v1 import public_json_service_pb2 as public_pb
from muster.ingest.v1 import event_type_pb2, identity_pb2

from services.definition.domain.canonical import same
from services.definition.domain.public_json import dates, exporting, models, operands, sayings
from services.definition.domain.public_json.exporting import exported
from services.definition.domain.public_json.importing import imported
from services.definition.domain.public_json.report import ENTRIES_MAX, Outcome, Report, Why
from tests.definition.builders import (
    OTHER_WORKSPACE,
    WORKSPACE,
    ago,
    all_of,
    any_of,
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
    seed,
    times,
)

PLAN = {"model": "user", "path": "plan"}
USER = {"model": "user"}
TIMESTAMP = {"model": "events", "path": "timestamp"}
PURCHASES = {
    "operator": "and",
    "expressions": [
        {"operator": "equals", "left": {"model": "events", "path": "type"}, "right": "commerce"},
        {"operator": "equals", "left": {"model": "events", "path": "name"}, "right": "purchase"},
    ],
}


def says(operator: str, right: object, left: object = PLAN) -> dict[str, Any]:
    return {"operator": operator, "left": left, "right": right}


def relative(offset: int, unit: str = "day", **more: object) -> dict[str, Any]:
    return {"date": {"relative": {"offset": offset, "unit": unit, **more}}}


def absolute(text: str) -> dict[str, Any]:
    return {"date": {"absolute": text}}


def count(condition: object = PURCHASES, **more: object) -> dict[str, Any]:
    return {"operator": "count", "group_by_model": "user", "operand": {"model": "events"}, "condition": condition, **more}


def both(*parts: object, operator: str = "and") -> dict[str, Any]:
    return {"operator": operator, "expressions": list(parts)}


def text_of(audience: object) -> str:
    return json.dumps({"schema_version": "1.6.0", "audience": audience})


def read(audience: object) -> tuple[pb.Definition | None, Report]:
    return imported(text_of(audience))


def refusals(report: Report) -> list[tuple[str, Why | None]]:
    return [(entry.place, entry.why) for entry in report.entries if entry.outcome is Outcome.REFUSED]


def purchases(**more: Any) -> pb.Node:
    return event("COMMERCE", name="purchase", **more)


def birthday(period: pb.Period) -> pb.Node:
    return attribute("plan", dated(period))


def string(operator: str, value: str) -> pb.ValueTest:
    return pb.ValueTest(string=pb.StringTest(operator=pb.StringOperator.Value(f"STRING_OPERATOR_{operator}"), value=value))


def presence(operator: str) -> pb.ValueTest:
    return pb.ValueTest(presence=pb.PresenceTest(operator=pb.PresenceOperator.Value(f"PRESENCE_OPERATOR_{operator}")))


def aggregate(function: str, subject: str, test: pb.ValueTest) -> pb.Node:
    match = pb.EventMatch(type=event_type_pb2.EVENT_TYPE_COMMERCE, name="purchase")
    chosen = pb.AggregateFunction.Value(f"AGGREGATE_FUNCTION_{function}")
    return criterion(aggregate=pb.AggregateCriterion(match=match, function=chosen, attribute=subject, test=test))


TAKEN: dict[str, tuple[object, pb.Node]] = {
    "everyone": ({"operator": "exists", "operand": USER}, everyone()),
    "nobody": ({"operator": "not_exists", "operand": USER}, exclude(everyone())),
    "exists": ({"operator": "exists", "operand": PLAN}, attribute("plan", presence("EXISTS"))),
    "not exists": ({"operator": "not_exists", "operand": PLAN}, attribute("plan", presence("NOT_EXISTS"))),
    **{
        word: (says(word, "Gold"), attribute("plan", string(operator, "Gold")))
        for word, operator in {
            "equals": "EQUALS",
            "not_equals": "NOT_EQUALS",
            "contains": "CONTAINS",
            "not_contains": "NOT_CONTAINS",
            "starts_with": "STARTS_WITH",
            "not_starts_with": "NOT_STARTS_WITH",
            "ends_with": "ENDS_WITH",
            "not_ends_with": "NOT_ENDS_WITH",
        }.items()
    },
    "matches": (says("matches", "g*l?"), attribute("plan", string("PATTERN", "g*l?"))),
    "not matches": (says("not_matches", "g*"), attribute("plan", string("NOT_PATTERN", "g*"))),
    "equals a number": (says("equals", 3), attribute("plan", number("3", "EQUAL"))),
    "not equals a number": (says("not_equals", 19.5), attribute("plan", number("19.5", "NOT_EQUAL"))),
    "less": (says("less_than", 3), attribute("plan", number("3", "LESS"))),
    "less or equal": (says("less_than_equal", 3), attribute("plan", number("3", "LESS_OR_EQUAL"))),
    "greater": (says("greater_than", 3), attribute("plan", number("3", "GREATER"))),
    "greater or equal": (says("greater_than_equal", 3), attribute("plan", number("3", "GREATER_OR_EQUAL"))),
    "true": (says("equals", True), attribute("plan", pb.ValueTest(boolean=pb.BooleanTest(value=True)))),
    "not true": (says("not_equals", True), exclude(attribute("plan", pb.ValueTest(boolean=pb.BooleanTest(value=True))))),
    "in a list": (both(says("equals", "a"), says("equals", "b"), operator="or"), attribute("plan", one_of("a", "b"))),
    "between": (
        both(says("greater_than_equal", 1), says("less_than_equal", 2)),
        attribute("plan", number("1", "BETWEEN", upper="2")),
    ),
    "a list includes": (
        says("contains", "red", {"operator": "list", "group_by_model": "user", "operand": PLAN}),
        attribute("plan", pb.ValueTest(list=pb.ListTest(operator=pb.LIST_OPERATOR_INCLUDES, value="red"))),
    ),
    "on a day": (says("equals", absolute("2026-01-31")), birthday(pb.Period(on=day("2026-01-31")))),
    "before a day": (says("less_than", absolute("2026-01-31")), birthday(pb.Period(before=day("2026-01-31")))),
    "before an instant": (says("less_than", absolute("2026-01-31T00:00:00Z")), birthday(pb.Period(before=day("2026-01-31")))),
    "to the end of a day": (says("less_than_equal", absolute("2026-01-31")), birthday(pb.Period(before=day("2026-02-01")))),
    "after a day": (says("greater_than", absolute("2026-01-31")), birthday(pb.Period(after=day("2026-01-31")))),
    "from a day on": (says("greater_than_equal", absolute("2026-01-31")), birthday(pb.Period(on_or_after=day("2026-01-31")))),
    "between days": (
        both(says("greater_than_equal", absolute("2026-01-01")), says("less_than_equal", absolute("2026-01-31"))),
        birthday(between("2026-01-01", "2026-01-31")),
    ),
    "in the last days": (both(says("greater_than_equal", relative(-7)), says("less_than_equal", relative(0))), birthday(last(7))),
    "some days ago": (
        both(says("greater_than_equal", relative(-6)), says("less_than_equal", relative(-4))),
        birthday(ago(duration(6), duration(4))),
    ),
    "an identity": (
        says("ends_with", "@example.com", {"model": "identity", "path": "email"}),
        criterion(identity=pb.IdentityCriterion(type=identity_pb2.IDENTITY_TYPE_EMAIL, test=string("ENDS_WITH", "@example.com"))),
    ),
    "a device": (
        says("equals", "iOS", {"model": "device", "path": "os"}),
        criterion(device=pb.DeviceCriterion(field=pb.DEVICE_FIELD_OS, test=equals("iOS"))),
    ),
    "last seen": (
        says("greater_than_equal", relative(-30), {"model": "profile", "path": "last_seen"}),
        criterion(seen=pb.SeenCriterion(edge=pb.SEEN_EDGE_LAST, when=last(30))),
    ),
    "lifetime value": (
        says("greater_than", 100, {"model": "profile", "path": "lifetime_value"}),
        criterion(lifetime_value=pb.LifetimeValueCriterion(test=pb.NumberTest(comparison=pb.COMPARISON_GREATER, value="100"))),
    ),
    "a place": (
        says("not_equals", "Bonn", {"model": "profile", "path": "city"}),
        exclude(criterion(location=pb.LocationCriterion(place=pb.PlaceTest(field=pb.PLACE_FIELD_CITY, value="Bonn")))),
    ),
    "consent": (
        says("equals", True, {"model": "consent", "path": "gdpr/e~1mail"}),
        criterion(consent=pb.ConsentCriterion(regulation="gdpr", purpose="e/mail", consented=True)),
    ),
    "attribution": (
        says("equals", "spring", {"model": "attribution", "path": "campaign"}),
        criterion(attribution=pb.AttributionCriterion(field=pb.ATTRIBUTION_FIELD_CAMPAIGN, test=equals("spring"))),
    ),
    "members": (says("in", {"audience": "7"}, USER), member_of(7)),
    "no members": (says("not_in", {"audience": "7"}, USER), exclude(member_of(7))),
    "and": (both(says("equals", "a"), says("equals", 1)), all_of(attribute("plan", equals("a")), attribute("plan", number("1", "EQUAL")))),
    "or": (
        both({"operator": "exists", "operand": USER}, says("equals", 1), operator="or"),
        any_of(everyone(), attribute("plan", number("1", "EQUAL"))),
    ),
    "how many events": (says("greater_than_equal", 2, count()), purchases(frequency=times("GREATER_OR_EQUAL", 2))),
    "events in the last days": (
        says("equals", 0, count(both(PURCHASES, says("greater_than_equal", relative(-7), TIMESTAMP)))),
        purchases(frequency=times("EQUAL", 0), when=last(7)),
    ),
    "events between times that stand apart": (
        says(
            "greater_than",
            0,
            count(both(says("less_than_equal", relative(-4), TIMESTAMP), PURCHASES, says("greater_than_equal", relative(-6), TIMESTAMP))),
        ),
        purchases(frequency=times("GREATER", 0), when=ago(duration(6), duration(4))),
    ),
    "events of inputs, with filters": (
        says(
            "greater_than",
            0,
            count(
                both(
                    PURCHASES,
                    both(says("equals", "a", {"model": "events", "path": "attributes.x"}), operator="or"),
                    says("less_than", 5, {"model": "events", "path": "product_price"}),
                    {"operator": "not_exists", "operand": {"model": "events", "path": "product_attributes.size"}},
                    both(says("equals", 11, {"model": "events", "path": "input_id"}), operator="or"),
                )
            ),
        ),
        purchases(
            frequency=times("GREATER", 0),
            where=[
                pb.Filter(attribute="x", test=one_of("a")),
                pb.Filter(field=pb.EVENT_FIELD_PRODUCT_PRICE, test=number("5", "LESS")),
                pb.Filter(product_attribute="size", test=presence("NOT_EXISTS")),
            ],
            input_ids=[11],
        ),
    ),
    **{
        f"{word} of an attribute": (
            says("greater_than", 9, count(operator=word, operand={"model": "events", "path": "attributes.price"})),
            aggregate(word.upper(), "price", number("9")),
        )
        for word in ("min", "max", "sum", "avg", "count")
    },
    "a unique list": (
        says("contains", "red", count(operator="list", operand={"model": "events", "path": "attributes.colour"})),
        aggregate("UNIQUE_LIST", "colour", pb.ValueTest(list=pb.ListTest(operator=pb.LIST_OPERATOR_INCLUDES, value="red"))),
    ),
    "a sequence": (
        {
            "operator": "then",
            "sequence": [
                {"alias": "a", "operand": TIMESTAMP, "condition": PURCHASES},
                {
                    "alias": "b",
                    "operand": TIMESTAMP,
                    "condition": both(
                        PURCHASES,
                        says("less_than_equal", relative(7, relative_to={"alias": "a", "path": "timestamp"}), TIMESTAMP),
                    ),
                },
            ],
        },
        criterion(
            sequence=pb.SequenceCriterion(
                steps=[
                    pb.SequenceStep(match=purchases().criterion.event.match),
                    pb.SequenceStep(match=purchases().criterion.event.match, within=duration(7)),
                ]
            )
        ),
    ),
}


@pytest.mark.parametrize("name", TAKEN)
def test_each_form_is_read_as_what_it_means(name: str) -> None:
    audience, meant = TAKEN[name]
    tree, report = read(audience)
    assert tree is not None, report.entries
    assert same(tree, (WORKSPACE,), definition(meant), (WORKSPACE,)), tree
    assert report.exact
    assert all(entry.outcome is Outcome.TAKEN and entry.place.startswith("/audience") for entry in report.entries)


@pytest.mark.parametrize("name", TAKEN)
def test_what_was_read_is_written_and_read_again(name: str) -> None:
    tree = definition(TAKEN[name][1])
    text, report = exported(tree, (WORKSPACE,))
    assert report.exact, report.entries
    again, _ = imported(text)
    assert again is not None
    assert same(tree, (WORKSPACE,), again, (WORKSPACE,))


REFUSED: dict[str, tuple[object, str, Why]] = {
    "not an object": ("all", "/audience", Why.WRONG_TYPE),
    "no operator": ({"left": PLAN, "right": 1}, "/audience", Why.MISSING),
    "an unknown operator": (says("equalz", 1), "/audience/operator", Why.UNKNOWN_OPERATOR),
    "between": (says("between", [1, 2]), "/audience/operator", Why.UNKNOWN_OPERATOR),
    "match_any": (says("match_any", ["a"]), "/audience/operator", Why.UNKNOWN_OPERATOR),
    "match_all": (says("match_all", ["a"]), "/audience/operator", Why.UNKNOWN_OPERATOR),
    "within": (says("within", 1), "/audience/operator", Why.UNKNOWN_OPERATOR),
    "not": (says("not", 1), "/audience/operator", Why.UNKNOWN_OPERATOR),
    "a sum that is compared with nothing": (count(operator="sum"), "/audience/operator", Why.UNKNOWN_OPERATOR),
    **{
        word: (says("equals", 1, {"operator": word, "left": PLAN, "right": 1}), "/audience/left/operator", Why.UNKNOWN_OPERATOR)
        for word in ("plus", "minus", "multiply", "divide", "mod")
    },
    "an unknown key": ({**says("equals", 1), "weight": 2}, "/audience/weight", Why.UNKNOWN_KEY),
    "a missing side": ({"operator": "equals", "left": PLAN}, "/audience", Why.MISSING),
    "exchanged sides": ({"operator": "equals", "left": 1, "right": PLAN}, "/audience/left", Why.WRONG_TYPE),
    "two paths": (says("equals", PLAN), "/audience/right", Why.NOT_SUPPORTED),
    "a list": (says("equals", ["a"]), "/audience/right", Why.WRONG_TYPE),
    "in a list": (says("in", ["a"]), "/audience/right", Why.WRONG_TYPE),
    "null": (says("equals", None), "/audience/right", Why.WRONG_TYPE),
    "a location": (says("equals", {"location": {"latitude": 1, "longitude": 2}}), "/audience/right", Why.NOT_SUPPORTED),
    "another step's value": (says("equals", {"alias": "a", "path": "b"}), "/audience/right", Why.NOT_SUPPORTED),
    "an aggregation on the right": (says("equals", count()), "/audience/right", Why.NOT_SUPPORTED),
    "a regular expression": (says("matches", ".*@example"), "/audience/right", Why.NOT_SUPPORTED),
    "a text that is less": (says("less_than", "a"), "/audience", Why.NOT_SUPPORTED),
    "a number that is contained": (says("contains", 1), "/audience", Why.NOT_SUPPORTED),
    "a number past all bounds": (says("equals", 10**400), "/audience/right", Why.UNKNOWN_VALUE),
    "a time of a day": (says("equals", absolute("2026-01-31T12:00:00Z")), "/audience/right/date/absolute", Why.UNKNOWN_VALUE),
    "no day": (says("equals", absolute("2026-02-31")), "/audience/right/date/absolute", Why.UNKNOWN_VALUE),
    "a time to come": (says("less_than", relative(7)), "/audience/right/date/relative/offset", Why.NOT_SUPPORTED),
    "half an hour": (says("less_than", relative(-0.5)), "/audience/right/date/relative/offset", Why.UNKNOWN_VALUE),  # type: ignore[arg-type]
    "a boundary": (says("less_than", relative(-1, boundary="start")), "/audience/right/date/relative/boundary", Why.NOT_SUPPORTED),
    "a quarter": (says("less_than", relative(-1, "quarter")), "/audience/right/date/relative/unit", Why.NOT_SUPPORTED),
    "a year": (says("less_than", relative(-1, "year")), "/audience/right/date/relative/unit", Why.NOT_SUPPORTED),
    "an unknown unit": (says("less_than", relative(-1, "dya")), "/audience/right/date/relative/unit", Why.UNKNOWN_VALUE),
    "a period without an end": (says("greater_than_equal", relative(-7)), "/audience", Why.NOT_SUPPORTED),
    "a period without its edge": (
        says("greater_than", relative(-7), {"model": "profile", "path": "last_seen"}),
        "/audience",
        Why.NOT_SUPPORTED,
    ),
    "relative to a step": (
        says("less_than", relative(-7, relative_to={"alias": "a", "path": "timestamp"})),
        "/audience/right/date/relative/relative_to",
        Why.NOT_SUPPORTED,
    ),
    "an unknown model": (says("equals", 1, {"model": "usr", "path": "a"}), "/audience/left/model", Why.UNKNOWN_MODEL),
    "an unknown path": (says("equals", "a", {"model": "device", "path": "oss"}), "/audience/left/path", Why.UNKNOWN_PATH),
    "a path of events": (says("equals", "a", TIMESTAMP), "/audience/left/model", Why.NOT_SUPPORTED),
    "a model alone": (says("equals", "a", USER), "/audience/left", Why.MISSING),
    "an audience without a number": (says("in", {"audience": "vip"}, USER), "/audience/right/audience", Why.UNKNOWN_VALUE),
    "members of events": (says("in", {"audience": "7"}, PLAN), "/audience/left", Why.NOT_SUPPORTED),
    "an empty group": (both(), "/audience/expressions", Why.MISSING),
    "a group of no list": ({"operator": "and", "expressions": {}}, "/audience/expressions", Why.WRONG_TYPE),
    "consent to a text": (says("equals", "yes", {"model": "consent", "path": "gdpr"}), "/audience", Why.NOT_SUPPORTED),
    "a count below zero": (says("equals", -1, count()), "/audience", Why.NOT_SUPPORTED),
    "groups of something else": (says("equals", 1, count(group_by_model="order")), "/audience/left/group_by_model", Why.UNKNOWN_MODEL),
    "a sum over people": (says("equals", 1, count(operator="sum", operand=PLAN)), "/audience/left/operand", Why.NOT_SUPPORTED),
    "events of no type": (
        says("equals", 1, count(says("equals", "x", {"model": "events", "path": "name"}))),
        "/audience/left/condition",
        Why.MISSING,
    ),
    "events without a condition": (
        says("equals", 1, {"operator": "count", "group_by_model": "user", "operand": {"model": "events"}}),
        "/audience/left",
        Why.MISSING,
    ),
    "events of either kind": (
        says("equals", 1, count(both(PURCHASES, both(PURCHASES, PURCHASES, operator="or")))),
        "/audience/left/condition/expressions/1",
        Why.NOT_SUPPORTED,
    ),
    "people among events": (
        says("equals", 1, count(both(PURCHASES, says("equals", 1)))),
        "/audience/left/condition/expressions/1/left/model",
        Why.UNKNOWN_MODEL,
    ),
    "steps in different periods": (
        {
            "operator": "then",
            "sequence": [
                {"alias": "a", "operand": TIMESTAMP, "condition": PURCHASES},
                {
                    "alias": "b",
                    "operand": TIMESTAMP,
                    "condition": both(PURCHASES, says("greater_than_equal", relative(-1), TIMESTAMP)),
                },
            ],
        },
        "/audience/sequence/1/condition",
        Why.NOT_SUPPORTED,
    ),
    "a step of nothing": ({"operator": "then", "sequence": [{"alias": "a", "operand": TIMESTAMP}]}, "/audience/sequence/0", Why.MISSING),
    "a step ordered by something else": (
        {"operator": "then", "sequence": [{"alias": "a", "operand": PLAN, "condition": PURCHASES}]},
        "/audience/sequence/0/operand",
        Why.NOT_SUPPORTED,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_definition_can_say_is_refused_by_name_with_its_place(name: str) -> None:
    audience, place, why = REFUSED[name]
    tree, report = read(audience)
    assert tree is None
    assert (place, why) in refusals(report), report.entries
    for entry in report.entries:
        assert entry.description.endswith((".", "?")) or entry.outcome is Outcome.TAKEN, entry


def test_the_nearest_known_word_is_told() -> None:
    assert "Did you mean `equals`?" in read(says("equalz", 1))[1].entries[0].description
    assert "Did you mean `user`?" in read(says("equals", 1, {"model": "usr", "path": "a"}))[1].entries[0].description
    assert "Did you mean `os`?" in read(says("equals", "a", {"model": "device", "path": "oss"}))[1].entries[0].description


def test_all_faults_are_told_at_once() -> None:
    _, report = read(both(says("equalz", 1), says("equals", 1), says("matches", "a+")))
    assert refusals(report) == [
        ("/audience/expressions/0/operator", Why.UNKNOWN_OPERATOR),
        ("/audience/expressions/2/right", Why.NOT_SUPPORTED),
    ]
    assert [entry.place for entry in report.entries if entry.outcome is Outcome.TAKEN] == ["/audience/expressions/1"]


def test_a_month_is_thirty_days_and_null_is_missing_and_the_report_says_so() -> None:
    tree, report = read(both(says("greater_than_equal", relative(-1, "month")), says("less_than_equal", relative(0))))
    assert tree is not None
    assert same(tree, (), definition(birthday(last(30))), ())
    assert [(entry.outcome, entry.place) for entry in report.entries] == [
        (Outcome.NOTED, "/audience/expressions/0/right/date/relative/unit"),
        (Outcome.TAKEN, "/audience"),
    ]
    due = {"model": "events", "path": "attributes.due"}
    lately = both(says("greater_than_equal", relative(-2, "month"), due), says("less_than_equal", relative(0), due))
    tree, report = read(says("equals", 0, count(both(PURCHASES, lately))))
    assert tree is not None
    assert tree.root.criterion.event.match.where[0].test.date.when == last(60)
    assert [entry.place for entry in report.entries if entry.outcome is Outcome.NOTED] == [
        "/audience/left/condition/expressions/1/expressions/0/right/date/relative/unit"
    ]
    tree, report = read({"operator": "null", "operand": PLAN})
    assert tree is not None
    assert same(tree, (), definition(attribute("plan", presence("NOT_EXISTS"))), ())
    assert report.entries[0].outcome is Outcome.NOTED


@pytest.mark.parametrize(
    ("text", "place", "why"),
    [
        ("", "", Why.NOT_JSON),
        ("{", "", Why.NOT_JSON),
        ("[]", "", Why.WRONG_TYPE),
        ("null", "", Why.WRONG_TYPE),
        ("\ufeff{}", "", Why.NOT_JSON),
        ('{"schema_version": NaN}', "", Why.NOT_JSON),
        ('{"schema_version": "1.6.0"}', "", Why.MISSING),
        ('{"schema_version": "1.6.0", "schema_version": "1.6.0"}', "/schema_version", Why.DUPLICATE_KEY),
        ('{"a~/b": {"x": 1, "x": 2}}', "/a~0~1b/x", Why.DUPLICATE_KEY),
        ('{"schema_version": "\\ud800"}', "/schema_version", Why.NOT_JSON),
        ('{"\\ud800": 1}', "", Why.NOT_JSON),
        ('{"schema_version": 1, "audience": {}}', "/schema_version", Why.WRONG_TYPE),
        ('{"schema_version": "1.6", "audience": {}}', "/schema_version", Why.WRONG_TYPE),
        ('{"schema_version": "2.0.0", "audience": {}}', "/schema_version", Why.UNKNOWN_VALUE),
        ("[" * 300 + "]" * 300, "/0" * 201, Why.TOO_DEEP),
        ("[" * 1_000_000, "", Why.TOO_DEEP),
        ('{"a":' * 200_000, "", Why.TOO_DEEP),
        (" " * (4 * 1024 * 1024 + 1), "", Why.TOO_LARGE),
    ],
)
def test_what_is_no_such_text_is_refused(text: str, place: str, why: Why) -> None:
    tree, report = imported(text)
    assert tree is None
    assert (place, why) in refusals(report), report.entries


def test_expressions_that_lie_too_deep_are_refused() -> None:
    nested: object = says("equals", "a")
    for _ in range(32):
        nested = both(nested, says("equals", 1))
    _, report = read(nested)
    assert [why for _, why in refusals(report)] == [Why.TOO_DEEP] * 2


def test_a_text_of_a_megabyte_is_read() -> None:
    parts = [says("equals", f"value {number}") for number in range(12_000)]
    assert len(text_of(both(*parts, operator="or"))) > 1_000_000
    tree, report = read(both(*parts, operator="or"))
    assert tree is not None
    assert len(tree.root.criterion.user_attribute.test.string.values) == 12_000
    assert len(report.entries) == 1


def test_of_very_many_faults_the_first_are_told() -> None:
    _, report = read(both(*[says("equalz", 1)] * 1_500))
    assert (len(report.entries), report.omitted) == (ENTRIES_MAX, 500)


def test_numbers_keep_their_digits() -> None:
    tree, _ = imported(
        '{"schema_version": "1.6.0", "audience": {"operator": "equals", "left": {"model": "user", "path": "n"}, "right": 0.10}}'
    )
    assert tree is not None
    assert tree.root.criterion.user_attribute.test.number.value == "0.10"
    text, _ = exported(definition(attribute("n", number("12345678901234567890.123456789", "EQUAL"))))
    assert "12345678901234567890.123456789" in text


EXCLUDED: dict[str, tuple[pb.Node, pb.Node]] = {
    "an event": (event(), event(frequency=times("LESS_OR_EQUAL", 0))),
    "a frequency": (event(frequency=times("LESS", 3)), event(frequency=times("GREATER_OR_EQUAL", 3))),
    "a frequency between": (
        event(frequency=times("BETWEEN", 2, 5)),
        any_of(event(frequency=times("LESS", 2)), event(frequency=times("GREATER", 5))),
    ),
    "an equal text": (attribute("plan", equals("a")), attribute("plan", string("NOT_EQUALS", "a"))),
    "a text of a list": (
        attribute("plan", one_of("a", "b")),
        attribute("plan", pb.ValueTest(string=pb.StringTest(operator=pb.STRING_OPERATOR_NOT_IN, values=["a", "b"]))),
    ),
    "presence": (attribute("plan", presence("EXISTS")), attribute("plan", presence("NOT_EXISTS"))),
    "any": (any_of(event(), member_of(7)), all_of(event(frequency=times("LESS_OR_EQUAL", 0)), exclude(member_of(7)))),
    "all": (all_of(event(), everyone()), any_of(event(frequency=times("LESS_OR_EQUAL", 0)), exclude(everyone()))),
    "what is excluded": (exclude(event()), event()),
    "a sum": (aggregate("SUM", "price", number("9", "LESS")), aggregate("SUM", "price", number("9", "GREATER_OR_EQUAL"))),
}


@pytest.mark.parametrize("name", EXCLUDED)
def test_what_is_excluded_is_said_by_its_opposite_and_the_report_says_so(name: str) -> None:
    out, opposite = EXCLUDED[name]
    tree = definition(exclude(out, node_id="x"))
    text, report = exported(tree, (WORKSPACE,))
    again, _ = imported(text)
    assert again is not None
    assert same(again, (WORKSPACE,), definition(opposite), (WORKSPACE,)), again
    noted = [entry for entry in report.entries if entry.outcome is Outcome.NOTED]
    assert ("definition.root", "x") in [(entry.place, entry.node_id) for entry in noted]


UNSAID: dict[str, pb.Node] = {
    "a distance": criterion(location=pb.LocationCriterion(near=pb.Near(distance_metres=5))),
    "a partial match in a list": attribute("a", pb.ValueTest(list=pb.ListTest(operator=pb.LIST_OPERATOR_PARTIAL_MATCH, value="x"))),
    "being empty": attribute("a", presence("EMPTY")),
    "a pattern with a letter of regular expressions": attribute("a", string("PATTERN", "*.com")),
    "a name in any case": event("CUSTOM", name_test=pb.StringTest(operator=pb.STRING_OPERATOR_EQUALS, value="x")),
    "a name of a list": event("CUSTOM", name_test=pb.StringTest(operator=pb.STRING_OPERATOR_IN, values=["x"])),
    **{
        function.lower(): aggregate(function, "price", equals("x") if function != "DISTINCT_COUNT" else number("1"))
        for function in ("DISTINCT_COUNT", "FIRST", "LAST", "MOST_FREQUENT")
    },
    "what does not follow": criterion(
        sequence=pb.SequenceCriterion(
            steps=[pb.SequenceStep(match=purchases().criterion.event.match)],
            not_followed_by=pb.NotFollowedBy(match=purchases().criterion.event.match),
        )
    ),
    "an excluded sequence": exclude(
        criterion(sequence=pb.SequenceCriterion(steps=[pb.SequenceStep(match=purchases().criterion.event.match)]))
    ),
    "an excluded greater number": exclude(attribute("a", number("3"))),
    "an excluded least value": exclude(aggregate("MIN", "price", number("3", "EQUAL"))),
    "an excluded period": exclude(attribute("a", dated(last(3)))),
    "another workspace": attribute("a", equals("x"), workspace=OTHER_WORKSPACE),
}


@pytest.mark.parametrize("name", UNSAID)
def test_what_the_form_cannot_say_is_refused_by_name_and_never_approximated(name: str) -> None:
    text, report = exported(definition(all_of(everyone("e"), UNSAID[name])), (WORKSPACE,))
    assert text == ""
    (refused,) = [entry for entry in report.entries if entry.outcome is Outcome.REFUSED]
    assert refused.place.startswith("definition.root.all.nodes[1]")
    assert refused.why is Why.NOT_EXPORTABLE


def test_groups_that_come_back_as_one_criterion_are_noted() -> None:
    for tree in (
        any_of(attribute("a", equals("x")), attribute("a", equals("y"))),
        all_of(attribute("a", string("NOT_EQUALS", "x"))),
        all_of(attribute("a", number("1", "GREATER_OR_EQUAL")), attribute("a", number("2", "LESS_OR_EQUAL"))),
    ):
        _, report = exported(definition(tree))
        assert [entry.place for entry in report.entries if entry.outcome is Outcome.NOTED] == ["definition.root"]


def test_the_seed_is_carried_whole() -> None:
    text, report = exported(seed(), (WORKSPACE,))
    assert [(entry.outcome, entry.place) for entry in report.entries] == [
        (Outcome.TAKEN, "definition.root.all.nodes[0].criterion.event"),
        (Outcome.TAKEN, "definition.root.all.nodes[1].criterion.event"),
    ]
    again, _ = imported(text)
    assert again is not None
    assert same(again, (WORKSPACE,), seed(), (WORKSPACE,))


def _numbers(enum: object) -> set[int]:
    return {value.number for value in enum.DESCRIPTOR.values if value.number}  # type: ignore[attr-defined]


def test_every_alternative_of_the_contract_is_known_to_the_form() -> None:
    assert set(exporting.CRITERIA) == {field.name for field in pb.Criterion.DESCRIPTOR.oneofs_by_name["kind"].fields}
    assert set(sayings.STRINGS) | set(sayings.STRING_LISTS) == _numbers(pb.StringOperator)
    assert set(sayings.NUMBERS) | {pb.COMPARISON_BETWEEN} == _numbers(pb.Comparison)
    assert set(sayings.LISTS) | {pb.LIST_OPERATOR_PARTIAL_MATCH} == _numbers(pb.ListOperator)
    assert set(sayings.PRESENCES) | {pb.PRESENCE_OPERATOR_EMPTY} == _numbers(pb.PresenceOperator)
    assert set(models.AGGREGATIONS) | models.UNSAID_FUNCTIONS == _numbers(pb.AggregateFunction)
    assert set(dates.UNITS) == _numbers(pb.DurationUnit)
    assert set(models.SEEN_EDGES) == _numbers(pb.SeenEdge)
    assert set(sayings.STRINGS.values()) | set(sayings.NUMBERS.values()) == set(operands.COMPARISONS)


def test_outcomes_and_reasons_are_those_of_the_contract() -> None:
    outcomes = {name.removeprefix("PUBLIC_JSON_OUTCOME_") for name in public_pb.PublicJsonOutcome.DESCRIPTOR.values_by_name}
    reasons = {name.removeprefix("PUBLIC_JSON_REASON_") for name in public_pb.PublicJsonReason.DESCRIPTOR.values_by_name}
    assert {outcome.value for outcome in Outcome} == outcomes - {"UNSPECIFIED"}
    assert {why.value for why in Why} == reasons - {"UNSPECIFIED"}
