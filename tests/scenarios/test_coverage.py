"""Nothing of the contract is without a scenario: each kind, operator, comparison, function, field, period, type of event and type of
attribute is in one, and each of them where it means something else than elsewhere. Only scenarios that run in every way count."""

from collections.abc import Iterator
from itertools import product

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor
from google.protobuf.message import Message
from muster.definition.v1 import account_pb2
from muster.definition.v1 import definition_pb2 as pb

from services.definition.domain.validation import AGGREGATE_TESTS
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
    everywhere = [scenario for scenario in scenarios() if not scenario.not_by]
    return [message for scenario in everywhere for audience in scenario.audiences.values() for message in _messages(audience.definition)]


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
    """Each kind of test, and of strings, numbers, lists and presence each operator."""
    every = {(kind, "") for kind in SUBJECTS[subject]}
    every |= {("string", name) for name in pb.StringOperator.keys()[1:] if subject != "aggregate"}
    every |= {("number", name) for name in COMPARISONS if "number" in SUBJECTS[subject]}
    every |= {("list", name) for name in pb.ListOperator.keys()[1:] if "list" in SUBJECTS[subject]}
    every |= {("presence", name) for name in pb.PresenceOperator.keys()[1:]}
    done = set()
    for name, test in _tests():
        if name == subject:
            kind = str(test.WhichOneof("kind"))
            done |= {(kind, ""), (kind, _operator(test))}
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


COMPARISONS = pb.Comparison.keys()[1:]
FUNCTIONS: dict[int, str] = {number: name for name, number in pb.AggregateFunction.items() if number}
PERIODS = [field.name for field in pb.Period.DESCRIPTOR.fields]
FILTERED = ["event attribute", "event field", "product attribute", "product field"]
PERIODIC = [
    "event",
    "aggregate",
    "sequence",
    "first seen",
    "last seen",
    "user attribute",
    "filter",
    "filter of a sequence",
    "aggregate's date",
]
NEEDED: dict[str, set[tuple[str, ...]]] = {
    "a comparison of a frequency": {(name,) for name in COMPARISONS},
    "a comparison of a lifetime value": {(name,) for name in COMPARISONS},
    "a test of what a function gives": {(FUNCTIONS[number], kind) for number, kinds in AGGREGATE_TESTS.items() for kind in kinds},
    "a subject of a function": {
        *product(FUNCTIONS.values(), ["event attribute", "event field", "product field"]),
        ("AGGREGATE_FUNCTION_COUNT", "none"),
    },
    # Dates that move with now are refused in the filters of a sequence.
    "a period": {
        pair for pair in product(PERIODIC, PERIODS) if pair not in (("filter of a sequence", "last"), ("filter of a sequence", "ago"))
    },
    "an operator of a name": {(name,) for name in pb.StringOperator.keys()[1:]},
    "a consent": {("given",), ("refused",)},
    "a longest time": {("of a step",), ("until what must not follow",), ("none",)},
    "a filter": {*product(["event", "aggregate", "step", "not followed by"], FILTERED)},
}


@pytest.mark.parametrize("need", NEEDED)
def test_every_need_has_a_scenario(need: str) -> None:
    done = {tuple(said) for message in _written() for what, *said in _said(message) if what == need}
    assert NEEDED[need] - done == set()


def _said(message: Message) -> Iterator[tuple[str, ...]]:
    """Which needs it meets, and how."""
    match message:
        case pb.FrequencyTest():
            yield "a comparison of a frequency", pb.Comparison.Name(message.comparison)
        case pb.LifetimeValueCriterion():
            yield "a comparison of a lifetime value", pb.Comparison.Name(message.test.comparison)
        case pb.ConsentCriterion():
            yield "a consent", "given" if message.consented else "refused"
        case pb.EventMatch() if message.WhichOneof("name_match") == "name_test":
            yield "an operator of a name", pb.StringOperator.Name(message.name_test.operator)
        case pb.SeenCriterion():
            yield "a period", "first seen" if message.edge == pb.SEEN_EDGE_FIRST else "last seen", _period(message.when)
        case pb.UserAttributeCriterion():
            yield "a period", "user attribute", _period(message.test.date.when)
        case pb.EventCriterion():
            yield "a period", "event", _period(message.when)
            yield from _filters("event", message.match, dates="filter")
        case pb.AggregateCriterion():
            function, kind = pb.AggregateFunction.Name(message.function), message.test.WhichOneof("kind")
            yield "a test of what a function gives", function, str(kind)
            yield "a subject of a function", function, _subject(message) if message.WhichOneof("subject") else "none"
            yield "a period", "aggregate", _period(message.when)
            yield "a period", "aggregate's date", _period(message.test.date.when)
            yield from _filters("aggregate", message.match, dates="filter")
        case pb.SequenceCriterion():
            yield "a period", "sequence", _period(message.when)
            for place, step in enumerate(message.steps):
                yield "a longest time", "of a step" if place and step.HasField("within") else "none"
                yield from _filters("step", step.match, dates="filter of a sequence")
            if message.HasField("not_followed_by"):
                yield "a longest time", "until what must not follow" if message.not_followed_by.HasField("within") else "none"
                yield from _filters("not followed by", message.not_followed_by.match, dates="filter of a sequence")


def _filters(of: str, match: pb.EventMatch, *, dates: str) -> Iterator[tuple[str, ...]]:
    for one in match.where:
        yield "a filter", of, _subject(one)
        yield "a period", dates, _period(one.test.date.when)


def _period(when: pb.Period) -> str:
    return str(when.WhichOneof("kind"))


def _subject(of: pb.Filter | pb.AggregateCriterion) -> str:
    return f"{'product' if of_product(of) else 'event'} {'field' if of.WhichOneof('subject') == 'field' else 'attribute'}"


def _operator(test: pb.ValueTest) -> str:
    match test.WhichOneof("kind"):
        case "string":
            return pb.StringOperator.Name(test.string.operator)
        case "number":
            return pb.Comparison.Name(test.number.comparison)
        case "list":
            return pb.ListOperator.Name(test.list.operator)
        case "presence":
            return pb.PresenceOperator.Name(test.presence.operator)
        case _:
            return ""


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
                yield _subject(message), message.test
