"""Definitions in words."""

from __future__ import annotations

import pytest
from muster.definition.v1 import definition_pb2 as pb
from muster.ingest.v1.event_type_pb2 import EVENT_TYPE_COMMERCE, EVENT_TYPE_CUSTOM

from cli import words


def test_a_tree_is_told_line_by_line() -> None:
    over_50 = pb.ValueTest(number=pb.NumberTest(comparison=pb.COMPARISON_GREATER, value="50"))
    purchase = pb.EventCriterion(
        match=pb.EventMatch(
            type=EVENT_TYPE_COMMERCE,
            name="purchase",
            where=[pb.Filter(field=pb.EVENT_FIELD_TOTAL_AMOUNT, test=over_50)],
        ),
        frequency=pb.FrequencyTest(comparison=pb.COMPARISON_BETWEEN, value=2, upper=4),
        when=pb.Period(last=pb.Duration(count=1, unit=pb.DURATION_UNIT_WEEK)),
    )
    plan = pb.UserAttributeCriterion(
        attribute="plan", test=pb.ValueTest(string=pb.StringTest(operator=pb.STRING_OPERATOR_IN, values=["free", "trial"]))
    )
    tree = pb.Definition(
        root=pb.Node(
            all=pb.Group(
                nodes=[
                    pb.Node(criterion=pb.Criterion(event=purchase)),
                    pb.Node(exclude=pb.Exclude(node=pb.Node(criterion=pb.Criterion(user_attribute=plan)))),
                ]
            )
        )
    )
    assert words.lines(tree) == [
        "all of",
        "  2 to 4 x commerce 'purchase' where total amount > 50 in the last 1 week",
        "  not",
        "    attribute plan in 'free', 'trial'",
    ]


@pytest.mark.parametrize("kind", [field.name for field in pb.Criterion.DESCRIPTOR.oneofs_by_name["kind"].fields])
def test_every_kind_of_criterion_has_a_line(kind: str) -> None:
    criterion = pb.Criterion()
    getattr(criterion, kind).SetInParent()
    [line] = words.lines(pb.Definition(root=pb.Node(criterion=criterion)))
    assert line


@pytest.mark.parametrize("kind", [field.name for field in pb.Node.DESCRIPTOR.oneofs_by_name["kind"].fields])
def test_every_kind_of_node_has_a_line(kind: str) -> None:
    node = pb.Node()
    getattr(node, kind).SetInParent()
    assert words.lines(pb.Definition(root=node))


@pytest.mark.parametrize("kind", [field.name for field in pb.Period.DESCRIPTOR.oneofs_by_name["kind"].fields])
def test_every_kind_of_period_has_words(kind: str) -> None:
    event = pb.EventCriterion(match=pb.EventMatch(type=EVENT_TYPE_CUSTOM, name="x"))
    getattr(event.when, kind).SetInParent()
    [line] = words.lines(pb.Definition(root=pb.Node(criterion=pb.Criterion(event=event))))
    assert line != "any custom 'x'"
