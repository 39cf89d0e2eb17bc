"""What goes out in the public JSON form and comes back means the same people, also where it is said in another way."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from muster.definition.v1 import definition_pb2 as pb

from services.definition.domain.public_json.exporting import exported
from services.definition.domain.public_json.importing import imported
from tests.evaluator.engine import definitions as trees
from tests.evaluator.engine.telling import Told
from tests.evaluator.engine.test_exactness import DAY, START, WORKSPACES, days, new_events, new_facts
from tests.evaluator.engine.test_exactness import _at as told_at
from tests.model import facts, reference

_WORKSPACE = 1
_INNER = reference.Audience(pb.Definition(root=pb.Node(everyone=pb.Everyone())), (2,))


def members(tree: pb.Definition, people: facts.People[int]) -> set[int]:
    return reference.members(
        tree,
        people.known,
        START,
        workspaces=WORKSPACES,
        workspace_ids=(_WORKSPACE,),
        look_back_ms=30 * DAY,
        active={101: _INNER},
    )


@given(
    root=trees.nodes(days, workspaces=(_WORKSPACE,), audiences=(101,)),
    excluded=st.booleans(),
    told=st.lists(st.one_of(new_events, new_events, new_facts), min_size=4, max_size=16),
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_the_members_are_the_same(root: pb.Node, excluded: bool, told: list[Told]) -> None:
    tree = pb.Definition(root=pb.Node(exclude=pb.Exclude(node=root)) if excluded else root)
    text, report = exported(tree, (_WORKSPACE,))
    if not text:
        return
    again, _ = imported(text)
    assert again is not None
    people = facts.People[int](WORKSPACES)
    for person, fact in told_at(START, told):
        people.tell(person, fact)  # type: ignore[arg-type]
    before, after = members(tree, people), members(again, people)
    if any("of another type" in entry.description for entry in report.entries):
        # The report says that a `not_` form leaves some out who were not excluded.
        return
    assert before == after, text
