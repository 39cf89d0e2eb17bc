"""Whatever tree is sent, judging it never raises, and what is filled in on save changes no meaning."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from muster.definition.v1 import definition_pb2 as pb

from services.definition.domain.canonical import canonical, keys_of, same
from services.definition.domain.nesting import children_of, nodes_of, used_by
from services.definition.domain.node_ids import with_ids
from services.definition.domain.periods import longest_window
from services.definition.domain.validation import judge
from tests.definition.builders import IOS, NOW, OTHER_WORKSPACE, WORKSPACE, around, other
from tests.definition.trees import definitions

AROUND = st.sampled_from(
    [
        around(),
        around(workspace_ids=(), look_back_days=1),
        around(
            workspace_ids=(WORKSPACE, OTHER_WORKSPACE), input_ids=(IOS,), audience_id=7, audiences={7: other(), 1: other(2), 2: other(7)}
        ),
    ]
)


@given(definitions(), AROUND)
@settings(max_examples=300, deadline=None)
def test_judging_never_raises_and_says_where_and_what(tree: pb.Definition, surroundings: object) -> None:
    verdict = judge(tree, surroundings, NOW)  # type: ignore[arg-type]
    for fault in (*verdict.faults, *verdict.warnings):
        assert fault.field.startswith(("definition", "workspace_ids", "input_ids"))
        assert fault.description.endswith(".")
        assert fault.description[0].isupper() or not fault.description[0].isalpha()
    assert judge(tree, surroundings, NOW) == verdict  # type: ignore[arg-type]


@given(definitions())
@settings(max_examples=200, deadline=None)
def test_the_canonical_form_of_a_canonical_form_is_itself(tree: pb.Definition) -> None:
    normal = canonical(tree, (WORKSPACE,))
    assert canonical(normal, (WORKSPACE,)) == normal


@given(definitions(), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_neither_order_nor_ids_change_the_meaning(tree: pb.Definition, random: object) -> None:
    shuffled = pb.Definition()
    shuffled.CopyFrom(tree)
    for node in nodes_of(shuffled):
        node.id = ""
        if node.WhichOneof("kind") in ("all", "any"):
            children = [_copy(child) for child in children_of(node)]
            random.shuffle(children)  # type: ignore[attr-defined]
            group = node.all if node.WhichOneof("kind") == "all" else node.any
            del group.nodes[:]
            group.nodes.extend(children)
    assert same(tree, (WORKSPACE,), shuffled, (WORKSPACE,))
    if tree.HasField("root"):
        assert keys_of(tree.root)[0] == keys_of(shuffled.root)[0]


@given(definitions())
@settings(max_examples=150, deadline=None)
def test_every_node_gets_an_id_and_the_meaning_stays(tree: pb.Definition) -> None:
    filled = with_ids(tree)
    assert all(node.id for node in nodes_of(filled))
    assert with_ids(filled) == filled
    assert same(tree, (), filled, ())
    assert used_by(filled) == used_by(tree)
    assert longest_window(filled) == longest_window(tree)


def _copy(node: pb.Node) -> pb.Node:
    copy = pb.Node()
    copy.CopyFrom(node)
    return copy
