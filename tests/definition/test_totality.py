"""Each visitor knows every kind, operator and message of the contract: adding one to definition.proto fails here until they do."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from google.protobuf.descriptor import Descriptor
from google.type import date_pb2
from muster.definition.v1 import account_pb2, audience_pb2, catalogue_service_pb2, error_reason_pb2
from muster.definition.v1 import definition_pb2 as pb
from muster.ingest.v1 import event_type_pb2, identity_pb2

from services.chassis.errors import MusterError
from services.definition import app, catalogue_intake, store
from services.definition.domain import accounts, canonical, catalogue, lifecycle, nesting, overrides, periods, validation, value_tests
from services.definition.domain.faults import Reason
from services.definition.domain.warnings import literals, meaning, names, points
from services.definition.domain.warnings import times as times_of
from tests.definition.builders import (
    NOW,
    around,
    attribute,
    between,
    criterion,
    day,
    definition,
    duration,
    equals,
    event,
    everyone,
    last,
    times,
)

FILE = pb.DESCRIPTOR


def kinds(message: Descriptor, oneof: str = "kind") -> set[str]:
    return {field.name for field in message.oneofs_by_name[oneof].fields}


def numbers(enum: object) -> set[int]:
    return {value.number for value in enum.DESCRIPTOR.values if value.number}  # type: ignore[attr-defined]


def test_every_alternative_of_the_contract_is_known_to_the_judge() -> None:
    tables = {
        "Node.kind": set(validation.NODES),
        "Criterion.kind": set(validation.CRITERIA),
        "LocationCriterion.kind": set(validation.LOCATIONS),
        "Filter.subject": set(validation.FILTER_SUBJECTS),
        "ValueTest.kind": set(value_tests.VALUE_TEST_KINDS),
        "Period.kind": set(periods.PERIOD_KINDS),
        # Two alternatives each, told apart where they are read.
        "EventMatch.name_match": {"name", "name_test"},
        "AggregateCriterion.subject": {"attribute", "field"},
    }
    contract = {
        f"{message.name}.{oneof.name}": {field.name for field in oneof.fields}
        for message in FILE.message_types_by_name.values()
        for oneof in message.oneofs
        if not oneof.name.startswith("_")
    }
    assert tables == contract


def test_every_criterion_reads_events_or_people_or_audiences() -> None:
    events, audiences = {"event", "aggregate", "sequence"}, {"member_of"}
    assert events | audiences | validation.USER_CRITERIA == kinds(pb.Criterion.DESCRIPTOR)


def test_every_operator_and_unit_has_its_operands() -> None:
    assert set(value_tests.STRING_OPERANDS) == numbers(pb.StringOperator)
    assert set(value_tests.COMPARISON_HAS_UPPER) == numbers(pb.Comparison)
    assert set(periods.SECONDS_OF_UNIT) == numbers(pb.DurationUnit)
    assert all("unit" not in periods.words_of(pb.Duration(count=1, unit=unit)) for unit in pb.DurationUnit.values() if unit)
    assert numbers(event_type_pb2.EventType) == validation.NAMED_EVENTS | validation.UNNAMED_EVENTS
    assert not validation.NAMED_EVENTS & validation.UNNAMED_EVENTS


def test_every_message_has_a_canonical_form() -> None:
    assert set(canonical.RULES) == set(FILE.message_types_by_name)


def test_every_kind_of_node_that_holds_nodes_is_walked() -> None:
    for field in pb.Node.DESCRIPTOR.oneofs_by_name["kind"].fields:
        node = pb.Node()
        part = getattr(node, field.name)
        part.SetInParent()
        assert field.message_type is not None
        holding = [inner for inner in field.message_type.fields if inner.message_type is pb.Node.DESCRIPTOR]
        for inner in holding:
            child = getattr(part, inner.name)
            (child.add() if hasattr(child, "add") else child).everyone.SetInParent()
        assert len(nesting.children_of(node)) == len(holding), field.name


_exists = pb.ValueTest(presence=pb.PresenceTest(operator=pb.PRESENCE_OPERATOR_EXISTS))
_MATCH = pb.EventMatch(type=event_type_pb2.EVENT_TYPE_CUSTOM)


def _string(operator: int) -> pb.Node:
    return attribute("a", pb.ValueTest(string=pb.StringTest(operator=operator, value="x", values=["x"])))  # type: ignore[arg-type]


def _filter(field: int) -> pb.Node:
    return event("CUSTOM", where=[pb.Filter(field=field, test=equals("x"))])  # type: ignore[arg-type]


# A criterion that is right with each value of each enum of definition.proto.
WITH_ENUM: dict[str, Callable[[int], pb.Node]] = {
    "EventField": _filter,
    "AggregateFunction": lambda value: criterion(
        aggregate=pb.AggregateCriterion(match=_MATCH, function=value, attribute="a", test=_exists)  # type: ignore[arg-type]
    ),
    "DeviceField": lambda value: criterion(device=pb.DeviceCriterion(field=value, test=equals("x"))),  # type: ignore[arg-type]
    "SeenEdge": lambda value: criterion(seen=pb.SeenCriterion(edge=value, when=last(1))),  # type: ignore[arg-type]
    "PlaceField": lambda value: criterion(
        location=pb.LocationCriterion(place=pb.PlaceTest(field=value, value="x"))  # type: ignore[arg-type]
    ),
    "AttributionField": lambda value: criterion(attribution=pb.AttributionCriterion(field=value, test=equals("x"))),  # type: ignore[arg-type]
    "StringOperator": _string,
    "Comparison": lambda value: event(frequency=pb.FrequencyTest(comparison=value, value=1, upper=2)),  # type: ignore[arg-type]
    "ListOperator": lambda value: attribute(
        "a",
        pb.ValueTest(list=pb.ListTest(operator=value, value="x")),  # type: ignore[arg-type]
    ),
    "PresenceOperator": lambda value: attribute(
        "a",
        pb.ValueTest(presence=pb.PresenceTest(operator=value)),  # type: ignore[arg-type]
    ),
    "DurationUnit": lambda value: event(when=pb.Period(last=pb.Duration(count=1, unit=value))),  # type: ignore[arg-type]
    "EventType": lambda value: criterion(
        event=pb.EventCriterion(match=pb.EventMatch(type=value))  # type: ignore[arg-type]
    ),
    "IdentityType": lambda value: criterion(
        identity=pb.IdentityCriterion(type=value, test=equals("x"))  # type: ignore[arg-type]
    ),
}
ENUMS = {**FILE.enum_types_by_name, "EventType": event_type_pb2.EventType.DESCRIPTOR, "IdentityType": identity_pb2.IdentityType.DESCRIPTOR}


@pytest.mark.parametrize("name", sorted(ENUMS))
def test_every_value_of_every_enum_is_right_and_none_and_unknown_ones_are_not(name: str) -> None:
    def reasons(value: int) -> set[str]:
        found = judge_of(WITH_ENUM[name](value))
        return found - {"NOT_EVALUATED_YET"}

    for value in ENUMS[name].values:
        assert reasons(value.number) == (set() if value.number else {"MISSING"}), value.name
    assert reasons(1_000) == {"UNKNOWN_VALUE"}


def judge_of(root: pb.Node) -> set[str]:
    return {fault.reason.value for fault in validation.judge(definition(root), around(), NOW).faults}


def test_numbers_of_states_and_kinds_are_those_of_the_contract() -> None:
    def named(enum: object, prefix: str) -> dict[str, int]:
        return {value.name.removeprefix(prefix): value.number for value in enum.DESCRIPTOR.values if value.number}  # type: ignore[attr-defined]

    assert {state.name: state.value for state in lifecycle.State} == named(audience_pb2.AudienceState, "AUDIENCE_STATE_")
    assert {kind.name: kind.value for kind in accounts.InputKind} == named(account_pb2.InputKind, "INPUT_KIND_")
    assert {state.name: state.value for state in accounts.InputState} == named(account_pb2.InputState, "INPUT_STATE_")
    assert {kind.name: kind.value for kind in overrides.AttributeKind} == named(account_pb2.AttributeKind, "ATTRIBUTE_KIND_")
    assert {type_.name: type_.value for type_ in overrides.AttributeType} == named(account_pb2.AttributeType, "ATTRIBUTE_TYPE_")


def test_the_catalogue_knows_every_kind_and_type_of_the_contract() -> None:
    contract = {value.name.removeprefix("CATALOGUE_KIND_"): value.number for value in catalogue_service_pb2.CatalogueKind.DESCRIPTOR.values}
    assert {kind.name: kind.value for kind in catalogue.CatalogueKind} == {name: number for name, number in contract.items() if number}
    assert {catalogue.CatalogueKind.EVENT_NAME, *catalogue.ATTRIBUTES} == set(catalogue.CatalogueKind)
    assert set(catalogue_intake.TYPE_COLUMNS) == set(overrides.AttributeType)


def test_warnings_know_every_kind_and_operator() -> None:
    assert set(literals.CRITERIA) == set(names.CRITERIA) == kinds(pb.Criterion.DESCRIPTOR)
    assert set(meaning.NODES) == kinds(pb.Node.DESCRIPTOR)
    assert set(points.VALUE_TESTS) == kinds(pb.ValueTest.DESCRIPTOR)
    assert set(points.COMPARES) == numbers(pb.Comparison)
    patterns = {pb.STRING_OPERATOR_PATTERN, pb.STRING_OPERATOR_NOT_PATTERN}
    assert set(points.SPEAKS_OF) | set(points.POSITIVE) | patterns == numbers(pb.StringOperator)
    for field in pb.Period.DESCRIPTOR.oneofs_by_name["kind"].fields:
        period = between("2026-01-01", "2026-01-02") if field.name == "between" else pb.Period()
        getattr(period, field.name).SetInParent()
        if field.message_type is date_pb2.Date.DESCRIPTOR:
            getattr(period, field.name).CopyFrom(day("2026-01-01"))
        assert bool(times_of.ages_of(period)) != bool(times_of.days_of(period)), field.name


def test_every_reason_is_in_the_contract() -> None:
    contract = {name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.keys()}  # noqa: SIM118
    assert {reason.value for reason in Reason} <= contract
    assert app is not None
    assert store is not None
    assert {error.reason for error in _errors(MusterError) if error.__module__.startswith("services.definition")} <= contract


def _errors(base: type[MusterError]) -> Iterator[type[MusterError]]:
    for error in base.__subclasses__():
        yield error
        yield from _errors(error)


def test_defaults_that_are_filled_are_right() -> None:
    assert judge_of(event(frequency=times("GREATER", 0), when=pb.Period(last=duration(1)))) == set()
    assert judge_of(everyone()) == set()
