"""Nothing of the contract is without a scenario: each kind, operator, comparison, function, field, period, type of event and type of
attribute is in one."""

from collections.abc import Iterator

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor
from google.protobuf.message import Message
from muster.definition.v1 import account_pb2
from muster.definition.v1 import definition_pb2 as pb

from tests.model.events import of_product
from tests.scenarios.scenario import Scenario, scenarios

# Which tests each subject takes; the others say nothing of an identity or an attribution and are refused.
EVERY_TEST = frozenset(field.name for field in pb.ValueTest.DESCRIPTOR.fields)
SUBJECTS = {
    "user attribute": EVERY_TEST,
    "event attribute": EVERY_TEST,
    "event field": EVERY_TEST,
    "product field": EVERY_TEST,
    "product attribute": EVERY_TEST,
    "aggregate": EVERY_TEST,
    "device": EVERY_TEST,
    "identity": frozenset({"string", "presence"}),
    "attribution": frozenset({"string", "presence"}),
}
# Types of events and of the definition language; an identity is matched alike whatever its type.
COVERED_FILES = ("muster/definition/v1/definition.proto", "muster/ingest/v1/event_type.proto")


def _messages(message: Message) -> Iterator[Message]:
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if isinstance(value, Message) else value:
                yield from _messages(part)


def _types(message: Descriptor, known: dict[str, Descriptor]) -> dict[str, Descriptor]:
    """The message types that a definition is made of."""
    if message.full_name not in known:
        known[message.full_name] = message
        for field in message.fields:
            if field.message_type is not None:
                _types(field.message_type, known)
    return known


def _written() -> list[Message]:
    return [message for scenario in scenarios() for audience in scenario.audiences.values() for message in _messages(audience.definition)]


def _enums() -> dict[str, EnumDescriptor]:
    fields = [field for message in _types(pb.Definition.DESCRIPTOR, {}).values() for field in message.fields]
    return {
        field.enum_type.full_name: field.enum_type
        for field in fields
        if field.enum_type is not None and field.enum_type.file.name in COVERED_FILES
    }


def test_every_choice_of_the_contract_is_in_a_scenario() -> None:
    """The kinds: of nodes, criteria, subjects, tests, periods, places and names."""
    every = {
        f"{message.full_name}.{field.name}"
        for message in _types(pb.Definition.DESCRIPTOR, {}).values()
        for oneof in message.oneofs
        for field in oneof.fields
    }
    chosen = {
        f"{message.DESCRIPTOR.full_name}.{message.WhichOneof(oneof.name)}"
        for message in _written()
        for oneof in message.DESCRIPTOR.oneofs
        if message.WhichOneof(oneof.name)
    }
    assert every - chosen == set()


@pytest.mark.parametrize("enum", _enums().values(), ids=lambda enum: enum.name)
def test_every_value_of_an_enum_is_in_a_scenario(enum: EnumDescriptor) -> None:
    used = {
        field.enum_type.values_by_number[value].name
        for message in _written()
        for field, value in message.ListFields()
        if field.enum_type is not None and field.enum_type.full_name == enum.full_name
    }
    assert {value.name for value in enum.values if value.number} - used == set()


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_subject_is_tested_in_every_way(subject: str) -> None:
    """Each kind of test, and of strings and numbers each operator."""
    every = {(kind, "") for kind in SUBJECTS[subject]}
    every |= {("string", name) for name in pb.StringOperator.keys()[1:] if subject != "aggregate"}
    every |= {("number", name) for name in pb.Comparison.keys()[1:] if "number" in SUBJECTS[subject]}
    done = set()
    for name, test in _tests():
        if name == subject:
            kind = test.WhichOneof("kind")
            done.add((kind, ""))
            if kind == "string":
                done.add((kind, pb.StringOperator.Name(test.string.operator)))
            if kind == "number":
                done.add((kind, pb.Comparison.Name(test.number.comparison)))
    assert every - done == set()


@pytest.mark.parametrize("kind", account_pb2.AttributeKind.keys()[1:])
def test_every_type_of_an_attribute_is_tested_in_every_way(kind: str) -> None:
    """Of users and of events: each type with each kind of test."""
    done = set()
    for scenario in scenarios():
        overrides = [one for workspace in scenario.workspaces for one in scenario.overrides(workspace)]
        types = {one.attribute: one.type for one in overrides if account_pb2.AttributeKind.Name(one.kind) == kind}
        done |= {(types.get(name), test) for name, test in _attribute_tests(scenario, kind)}
    assert {(type_, test) for type_ in account_pb2.AttributeType.values()[1:] for test in EVERY_TEST} - done == set()


def _attribute_tests(scenario: Scenario, kind: str) -> Iterator[tuple[str, str | None]]:
    """The attributes that are tested, and the kind of test."""
    read = pb.UserAttributeCriterion if kind == "ATTRIBUTE_KIND_USER" else pb.Filter
    for audience in scenario.audiences.values():
        for message in _messages(audience.definition):
            if isinstance(message, read):
                yield message.attribute, message.test.WhichOneof("kind")


def _tests() -> Iterator[tuple[str, pb.ValueTest]]:
    """What is tested, and how."""
    for message in _written():
        match message:
            case pb.UserAttributeCriterion():
                yield "user attribute", message.test
            case pb.AggregateCriterion():
                yield "aggregate", message.test
            case pb.IdentityCriterion():
                yield "identity", message.test
            case pb.DeviceCriterion():
                yield "device", message.test
            case pb.AttributionCriterion():
                yield "attribution", message.test
            case pb.Filter():
                of = "product" if of_product(message) else "event"
                yield f"{of} {'field' if message.WhichOneof('subject') == 'field' else 'attribute'}", message.test
