"""Criteria in short words."""

import pytest
from google.protobuf.json_format import ParseDict
from muster.definition.v1 import definition_pb2 as pb

from services.evaluator.words import bound_of, period_words, subject_of, value_words


@pytest.mark.parametrize(
    ("test", "words"),
    [
        ({"string": {"operator": "STRING_OPERATOR_NOT_CONTAINS", "value": "gold"}}, "must not contain 'gold'"),
        ({"string": {"operator": "STRING_OPERATOR_IN", "values": ["a", "b"]}}, "must be one of 'a', 'b'"),
        ({"number": {"comparison": "COMPARISON_BETWEEN", "value": "3", "upper": "5.50"}}, "must be 3 to 5.50"),
        ({"boolean": {"value": True}}, "must be true"),
        ({"boolean": {"value": False}}, "must be false"),
        ({"list": {"operator": "LIST_OPERATOR_PARTIAL_MATCH", "value": "te"}}, "must have an entry with 'te' in it"),
        ({"presence": {"operator": "PRESENCE_OPERATOR_NOT_EXISTS"}}, "must not exist"),
        ({"date": {"when": {"on": {"year": 2026, "month": 9, "day": 9}}}}, "must be on 2026-09-09"),
    ],
)
def test_a_test_of_an_attribute_in_words(test: dict[str, object], words: str) -> None:
    criterion = ParseDict({"userAttribute": {"attribute": "plan", "test": test}}, pb.Criterion())
    assert subject_of(criterion) == "the attribute plan"
    assert bound_of(criterion, 30) == words


@pytest.mark.parametrize(
    ("period", "words"),
    [
        ({}, ""),
        ({"last": {"count": 1, "unit": "DURATION_UNIT_WEEK"}}, "in the last 1 week"),
        (
            {"ago": {"from": {"count": 6, "unit": "DURATION_UNIT_DAY"}, "to": {"count": 4, "unit": "DURATION_UNIT_DAY"}}},
            "between 6 days and 4 days ago",
        ),
        ({"onOrAfter": {"year": 2026, "month": 1, "day": 2}}, "on or after 2026-01-02"),
        (
            {"between": {"first": {"year": 2026, "month": 1, "day": 2}, "last": {"year": 2026, "month": 2, "day": 3}}},
            "between 2026-01-02 and 2026-02-03",
        ),
    ],
)
def test_a_period_in_words(period: dict[str, object], words: str) -> None:
    assert period_words(ParseDict(period, pb.Period())) == words


def test_events_are_named_by_type_and_name() -> None:
    criterion = ParseDict({"event": {"match": {"type": "EVENT_TYPE_CUSTOM", "name": "buy"}}}, pb.Criterion())
    assert subject_of(criterion) == "'buy' events"
    assert bound_of(criterion, 30) == "1 or more in the last 30 days"


@pytest.mark.parametrize(
    ("frequency", "words"),
    [
        ({"comparison": "COMPARISON_LESS", "value": 3}, "fewer than 3"),
        ({"comparison": "COMPARISON_LESS_OR_EQUAL", "value": 3}, "3 or fewer"),
        ({"comparison": "COMPARISON_EQUAL", "value": 0}, "exactly 0"),
        ({"comparison": "COMPARISON_NOT_EQUAL", "value": 2}, "any number but 2"),
        ({"comparison": "COMPARISON_GREATER", "value": 1}, "more than 1"),
        ({"comparison": "COMPARISON_GREATER_OR_EQUAL", "value": 2}, "2 or more"),
        ({"comparison": "COMPARISON_BETWEEN", "value": 2, "upper": 4}, "2 to 4"),
    ],
)
def test_a_frequency_in_words(frequency: dict[str, object], words: str) -> None:
    criterion = ParseDict({"event": {"match": {"type": "EVENT_TYPE_SESSION_START"}, "frequency": frequency}}, pb.Criterion())
    assert bound_of(criterion, 14) == f"{words} in the last 14 days"


def test_filters_are_told_with_their_events() -> None:
    where = [
        {"attribute": "colour", "test": {"string": {"operator": "STRING_OPERATOR_NOT_EQUALS", "value": "blue"}}},
        {"field": "EVENT_FIELD_PRODUCT_BRAND", "test": {"string": {"operator": "STRING_OPERATOR_STARTS_WITH", "value": "A"}}},
    ]
    criterion = ParseDict({"event": {"match": {"type": "EVENT_TYPE_COMMERCE", "name": "purchase", "where": where}}}, pb.Criterion())
    assert subject_of(criterion) == "purchases where colour must not be 'blue' and the product brand must start with 'A'"


@pytest.mark.parametrize(
    ("criterion", "subject", "bound"),
    [
        (
            {"identity": {"type": "IDENTITY_TYPE_EMAIL", "test": {"presence": {"operator": "PRESENCE_OPERATOR_EXISTS"}}}},
            "the email identity",
            "must exist",
        ),
        (
            {"device": {"field": "DEVICE_FIELD_OS", "test": {"string": {"operator": "STRING_OPERATOR_EQUALS", "value": "ios"}}}},
            "the device's os",
            "must be 'ios'",
        ),
        (
            {"seen": {"edge": "SEEN_EDGE_LAST", "when": {"last": {"count": 7, "unit": "DURATION_UNIT_DAY"}}}},
            "the time of being seen last",
            "must be in the last 7 days",
        ),
        ({"location": {"place": {"field": "PLACE_FIELD_CITY", "value": "Berlin"}}}, "the city", "must be 'Berlin'"),
        (
            {"location": {"near": {"latitude": 52.5, "longitude": 13.4, "distanceMetres": 500}}},
            "the place where they last were",
            "must be within 500 m of 52.5, 13.4",
        ),
        (
            {"consent": {"regulation": "gdpr", "purpose": "marketing", "consented": False}},
            "the consent to marketing under gdpr",
            "must not be given",
        ),
        (
            {"lifetimeValue": {"test": {"comparison": "COMPARISON_GREATER", "value": "100"}}},
            "the lifetime value",
            "must be more than 100",
        ),
        (
            {"attribution": {"field": "ATTRIBUTION_FIELD_CAMPAIGN", "test": {"presence": {"operator": "PRESENCE_OPERATOR_NOT_EXISTS"}}}},
            "the campaign",
            "must not exist",
        ),
        (
            {
                "aggregate": {
                    "match": {"type": "EVENT_TYPE_COMMERCE", "name": "purchase"},
                    "function": "AGGREGATE_FUNCTION_SUM",
                    "field": "EVENT_FIELD_TOTAL_AMOUNT",
                    "test": {"number": {"comparison": "COMPARISON_GREATER_OR_EQUAL", "value": "100"}},
                }
            },
            "the sum of total amount of purchases",
            "must be 100 or more in the last 30 days",
        ),
        ({"memberOf": {"audienceId": "12"}}, "membership of audience 12", "must be a member"),
    ],
)
def test_each_kind_of_criterion_has_words(criterion: dict[str, object], subject: str, bound: str) -> None:
    parsed = ParseDict(criterion, pb.Criterion())
    assert (subject_of(parsed), bound_of(parsed, 30)) == (subject, bound)


def test_a_sequence_is_told_step_by_step() -> None:
    criterion = ParseDict(
        {
            "sequence": {
                "steps": [
                    {"match": {"type": "EVENT_TYPE_INSTALL"}},
                    {"match": {"type": "EVENT_TYPE_CUSTOM", "name": "buy"}, "within": {"count": 2, "unit": "DURATION_UNIT_DAY"}},
                ],
                "notFollowedBy": {"match": {"type": "EVENT_TYPE_UNINSTALL"}, "within": {"count": 1, "unit": "DURATION_UNIT_WEEK"}},
                "when": {"last": {"count": 7, "unit": "DURATION_UNIT_DAY"}},
            }
        },
        pb.Criterion(),
    )
    assert subject_of(criterion) == "installs, then 'buy' events within 2 days, not followed by uninstalls within 1 week"
    assert bound_of(criterion, 30) == "in the last 7 days"


def test_long_values_are_cut_and_lists_are_listed() -> None:
    assert value_words(["tea", "milk"]) == "tea, milk"
    assert value_words(None) == ""
    assert len(value_words("x" * 5000)) == 101
