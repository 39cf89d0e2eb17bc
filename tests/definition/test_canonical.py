"""The canonical form: what counts as the same definition, and the ids that nodes keep."""

from __future__ import annotations

import itertools

import pytest
from muster.definition.v1 import definition_pb2 as pb

from services.definition.domain.canonical import canonical, keys_of, same
from services.definition.domain.nesting import nodes_of, used_by
from services.definition.domain.node_ids import with_ids
from services.definition.domain.periods import longest_window
from tests.definition.builders import (
    OTHER_WORKSPACE,
    WORKSPACE,
    ago,
    all_of,
    any_of,
    attribute,
    between,
    dated,
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

_BOTH = pb.StringTest(operator=pb.STRING_OPERATOR_EQUALS, value="gold", values=["not read"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (event(), event(frequency=times("GREATER", 0))),
        (event(frequency=times("LESS", 3)), event(frequency=times("LESS", 3, upper=9))),
        (event(when=last(72, "HOUR")), event(when=last(3))),
        (event(when=last(1, "WEEK")), event(when=last(7 * 24 * 60, "MINUTE"))),
        (event(input_ids=[2, 1, 2]), event(input_ids=[1, 2])),
        (all_of(event(), everyone()), all_of(everyone("x"), event(node_id="y"), node_id="z")),
        (attribute("age", number("19.90")), attribute("age", number("+19.9"))),
        (attribute("age", number("1e2")), attribute("age", number("100", upper="7"))),
        (attribute("age", number("-0")), attribute("age", number("0.00"))),
        (attribute("plan", one_of("b", "a", "b")), attribute("plan", one_of("a", "b"))),
        (attribute("plan", pb.ValueTest(string=_BOTH)), attribute("plan", equals("gold"))),
        (attribute("plan", equals("gold")), attribute("plan", equals("gold"), workspace=WORKSPACE)),
        (
            event("CUSTOM", where=[pb.Filter(attribute="a"), pb.Filter(attribute="b")]),
            event("CUSTOM", where=[pb.Filter(attribute="b"), pb.Filter(attribute="a")]),
        ),
    ],
)
def test_these_mean_the_same(one: pb.Node, other: pb.Node) -> None:
    assert same(definition(one), (WORKSPACE,), definition(other), (WORKSPACE,))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (all_of(event(), everyone()), any_of(event(), everyone())),
        (all_of(event()), event()),
        (event(), exclude(event())),
        (event("CUSTOM", name="A"), event("CUSTOM", name="a")),
        (event(when=last(3)), event(when=ago(duration(3), duration(1)))),
        (attribute("age", number("1")), attribute("age", number("1.01"))),
        (attribute("age", number("1")), attribute("age", equals("1"))),
        (member_of(1), member_of(2)),
    ],
)
def test_these_do_not_mean_the_same(one: pb.Node, other: pb.Node) -> None:
    assert not same(definition(one), (WORKSPACE,), definition(other), (WORKSPACE,))


def test_the_workspace_of_a_criterion_that_names_none_is_the_audience_s_only_one() -> None:
    tree = definition(attribute("plan", equals("gold")))
    assert not same(tree, (WORKSPACE,), tree, (OTHER_WORKSPACE,))
    assert canonical(tree, (WORKSPACE,)).root.criterion.workspace_id == WORKSPACE


def test_the_canonical_form_leaves_its_definition_as_it_was() -> None:
    tree, before = seed(), seed()
    canonical(tree, (WORKSPACE,))
    keys_of(tree.root)
    assert tree == before


def test_nodes_that_mean_the_same_have_one_key() -> None:
    whole, first, again, _ = keys_of(all_of(event("INSTALL"), event("INSTALL", node_id="x"), everyone()))
    assert first == again
    assert whole != first


def _counter() -> itertools.count[int]:
    return itertools.count(1)


def test_nodes_without_an_id_get_one_and_the_others_keep_theirs() -> None:
    fresh = _counter()
    filled = with_ids(definition(all_of(everyone("n2"), everyone(), event(), node_id="root")), fresh=lambda: f"n{next(fresh)}")
    assert [node.id for node in nodes_of(filled)] == ["root", "n2", "n1", "n3"]


def test_a_definition_saved_again_without_ids_keeps_those_of_nodes_that_mean_the_same() -> None:
    before = definition(all_of(event("INSTALL", node_id="i"), event(when=last(1), node_id="s"), everyone("e"), node_id="r"))
    fresh = _counter()
    after = definition(all_of(everyone(), event(when=last(24, "HOUR")), event("CRASH"), everyone()))
    filled = with_ids(after, before, fresh=lambda: f"new{next(fresh)}")
    assert [node.id for node in nodes_of(filled)] == ["new1", "e", "s", "new2", "new3"]


def test_an_id_that_another_node_has_now_is_not_given_again() -> None:
    before = definition(all_of(everyone("e"), event(node_id="s"), node_id="r"))
    filled = with_ids(definition(all_of(event(node_id="e"), everyone())), before)
    ids = [node.id for node in nodes_of(filled)]
    assert len(set(ids)) == 3
    assert ids[1] == "e"


def test_the_audiences_that_are_used_are_found_in_every_corner() -> None:
    assert used_by(definition(all_of(member_of(1), exclude(any_of(member_of(2), everyone())), member_of(1)))) == {1, 2}


def test_the_longest_window_is_that_of_events() -> None:
    assert longest_window(seed()) == 72 * 3_600
    birthday = attribute("birthday", dated(last(900)))
    tree = definition(all_of(event(when=ago(duration(6), duration(4))), event(when=between("2026-01-01", "2026-01-09")), birthday))
    assert longest_window(tree) == 9 * 86_400
    assert longest_window(definition(everyone())) == 0
