"""Criteria in short words."""

import pytest
from google.protobuf.json_format import ParseDict
from muster.definition.v1 import definition_pb2 as pb

from services.evaluator.words import bound_of, period_words, subject_of, value_words


@pytest.mark.parametrize(
    ("test", "words"),
    [
        ({"string": {"operator": "STRING_OPERATOR_NOT_CONTAINS", "value": "gold"}}, "not contains gold"),
        ({"string": {"operator": "STRING_OPERATOR_IN", "values": ["a", "b"]}}, "in a, b"),
        ({"number": {"comparison": "COMPARISON_BETWEEN", "value": "3", "upper": "5.50"}}, "between 3 and 5.50"),
        ({"boolean": {"value": True}}, "true"),
        ({"boolean": {"value": False}}, "false"),
        ({"list": {"operator": "LIST_OPERATOR_PARTIAL_MATCH", "value": "te"}}, "partial match te"),
        ({"presence": {"operator": "PRESENCE_OPERATOR_NOT_EXISTS"}}, "not exists"),
        ({"date": {"when": {"on": {"year": 2026, "month": 9, "day": 9}}}}, "on 2026-09-09"),
    ],
)
def test_a_test_of_an_attribute_in_words(test: dict[str, object], words: str) -> None:
    criterion = ParseDict({"userAttribute": {"attribute": "plan", "test": test}}, pb.Criterion())
    assert subject_of(criterion) == "the attribute plan"
    assert bound_of(criterion, "") == words


@pytest.mark.parametrize(
    ("period", "words"),
    [
        ({}, ""),
        ({"last": {"count": 1, "unit": "DURATION_UNIT_WEEK"}}, "within the last 1 week"),
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
    assert subject_of(criterion) == "custom events 'buy'"
    assert bound_of(criterion, "2 or more") == "2 or more"


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
    assert subject_of(criterion) == "install events, then custom events 'buy' within 2 days, not followed by uninstall events within 1 week"
    assert bound_of(criterion, "") == "within the last 7 days"


def test_long_values_are_cut_and_lists_are_listed() -> None:
    assert value_words(["tea", "milk"]) == "tea, milk"
    assert value_words(None) == ""
    assert len(value_words("x" * 5000)) == 101
