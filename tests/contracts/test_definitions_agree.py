"""What the definition service lets somebody activate, the evaluator evaluates: no audience reads ACTIVE and stays empty for ever."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from muster.definition.v1 import definition_pb2 as pb
from muster.ingest.v1 import identity_pb2

from services.definition.domain.validation import OtherAudience, Surroundings, judge
from services.evaluator.engine.compile import Malformed, Unsupported, compile_definition
from tests.definition.trees import definitions, right_definitions
from tests.evaluator.engine import definitions as d

NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
LOOK_BACK_DAYS, HERE = 30, 11
AROUND = Surroundings(
    look_back_days=LOOK_BACK_DAYS,
    workspaces=frozenset({HERE}),
    inputs={HERE: HERE},
    audiences={HERE: OtherAudience("inner", active=True, uses=frozenset())},
    workspace_ids=(HERE,),
)
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
days = st.sampled_from([NOW.date(), NOW.date().replace(day=1), NOW.date().replace(year=1, month=1)])
written = st.one_of(d.nodes(days, workspaces=[0, HERE], audiences=[HERE]), d.aggregates(days)).map(d.definition)


def accepted(definition: pb.Definition) -> bool:
    return not judge(definition, AROUND, NOW).faults


def evaluated(definition: pb.Definition) -> bool:
    try:
        compile_definition(
            definition, workspaces={HERE: [HERE]}, workspace_ids=[HERE], input_ids=[], look_back_ms=LOOK_BACK_DAYS * 86_400_000
        )
    except (Malformed, Unsupported):
        return False
    return True


@settings(max_examples=600, deadline=None, suppress_health_check=SLOW)
@given(st.one_of(right_definitions(), right_definitions(), definitions(), written))
def test_what_the_definition_service_accepts_the_evaluator_compiles(definition: pb.Definition) -> None:
    assert evaluated(definition) or not accepted(definition)


OPERANDS = ["0", "-0", "5.", ".5", "+1", "1e300", "1E-300", "0e300", "0" * 60, "1e301", "1e999999", "", "NaN", "Infinity", "1_000", "0x1"]
TESTS = [
    *(pb.ValueTest(string=d.string(name.removeprefix("STRING_OPERATOR_").lower(), "a")) for name in pb.StringOperator.keys()[1:]),
    *(d.number(comparison, operand, operand) for comparison, operand in product(d.COMPARISONS, OPERANDS)),
    d.boolean(True),
    d.boolean(False),
    *(d.listed(name.removeprefix("LIST_OPERATOR_").lower(), "a") for name in pb.ListOperator.keys()[1:]),
    *(d.presence(name.removeprefix("PRESENCE_OPERATOR_").lower()) for name in pb.PresenceOperator.keys()[1:]),
    *(d.dated(when) for when in (None, d.last("2d"), d.ago("2d", "1d"), pb.Period(on=d.day(NOW.date())), pb.Period())),
]


def aggregate(function: int, test: pb.ValueTest, field: int | None, *where: pb.Filter) -> pb.Node:
    criterion = pb.AggregateCriterion(match=pb.EventMatch(type=d.CUSTOM, where=where), function=function, test=test, field=field)  # type: ignore[arg-type]
    return pb.Node(criterion=pb.Criterion(aggregate=criterion))


@pytest.mark.parametrize("function", pb.AggregateFunction.values()[1:], ids=pb.AggregateFunction.keys()[1:])
def test_every_test_of_every_function_has_one_reading(function: int) -> None:
    moving = pb.Filter(attribute="due", test=d.dated(d.last("3d")))
    fields = [None, *pb.EventField.values()[1:]]
    for test, field, where in product(TESTS, fields, [(), (moving,)]):
        definition = d.definition(aggregate(function, test, field, *where))
        assert evaluated(definition) or not accepted(definition), definition


@pytest.mark.parametrize("test", TESTS, ids=lambda test: " ".join(str(test).split()))
def test_every_test_of_a_person_and_of_an_event_has_one_reading(test: pb.ValueTest) -> None:
    criteria = [
        pb.Criterion(user_attribute=pb.UserAttributeCriterion(attribute="a", test=test)),
        *(pb.Criterion(identity=pb.IdentityCriterion(type=number, test=test)) for number in identity_pb2.IdentityType.values()[1:]),
        *(pb.Criterion(device=pb.DeviceCriterion(field=field, test=test)) for field in pb.DeviceField.values()[1:]),
        *(pb.Criterion(attribution=pb.AttributionCriterion(field=field, test=test)) for field in pb.AttributionField.values()[1:]),
        pb.Criterion(lifetime_value=pb.LifetimeValueCriterion(test=test.number)),
        d.event(where=[pb.Filter(attribute="a", test=test)]).criterion,
    ]
    step = pb.SequenceStep(match=pb.EventMatch(type=d.CUSTOM, where=[pb.Filter(product_attribute="a", test=test)]))  # type: ignore[arg-type]
    criteria.append(pb.Criterion(sequence=pb.SequenceCriterion(steps=[step])))
    for criterion in criteria:
        definition = d.definition(pb.Node(criterion=criterion))
        assert evaluated(definition) or not accepted(definition), definition
