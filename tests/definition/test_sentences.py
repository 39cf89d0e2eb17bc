"""Definitions as sentences: what each kind says, and that no two meanings are said alike."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from muster.definition.v1 import definition_pb2 as pb
from muster.ingest.v1 import event_type_pb2

from services.definition.domain import validation
from services.definition.domain.canonical import canonical
from services.definition.domain.completeness import incomplete
from services.definition.domain.language import words
from services.definition.domain.language.reading import read
from services.definition.domain.nesting import children_of, nodes_of
from services.definition.domain.sentences import events, people, sentence, values, when
from services.definition.domain.sentences.sentence import phrases_of, sentence_of
from services.definition.domain.sentences.telling import Telling
from tests.definition.builders import all_of, any_of, definition, event, everyone, exclude, last, member_of, seed
from tests.definition.trees import spoken_definitions

TELLING = Telling(look_back_days=30, audiences={12: "Buyers"}, workspace_ids=(1,))
# A text of the language, and below it, with two blanks before, what it means. A person reads it and agrees.
_LINES = (Path(__file__).parent / "expected" / "sentences.txt").read_text().splitlines()
EXPECTED = {text: told.strip() for text, told in zip(_LINES[::2], _LINES[1::2], strict=True)}


def meant(text: str) -> pb.Definition:
    tree = read(text).definition
    assert tree is not None, text
    return tree


@pytest.mark.parametrize("text", EXPECTED)
def test_the_sentence_of(text: str) -> None:
    assert sentence_of(meant(text), TELLING) == EXPECTED[text]


def test_every_kind_and_operator_of_the_contract_is_among_the_expected() -> None:
    said: set[str] = set()
    for text in EXPECTED:
        said |= set(_said(meant(text)))
    contract = {f"{message.name}.{field.name}" for message in pb.DESCRIPTOR.message_types_by_name.values() for field in message.fields}
    contract |= {value.name for enum in pb.DESCRIPTOR.enum_types_by_name.values() for value in enum.values if value.number}
    contract |= {value.name for value in event_type_pb2.EventType.DESCRIPTOR.values if value.number}
    # Ids and versions are not told.
    assert contract - said == {"Node.id", "Definition.language_version"}


def _said(message: Message) -> Iterator[str]:
    """Every field below a message and every value of an enum in it."""
    for field, value in message.ListFields():
        yield f"{message.DESCRIPTOR.name}.{field.name}"
        entries = value if field.is_repeated else [value]
        for entry in entries:
            if isinstance(entry, Message):
                yield from _said(entry)
            elif field.enum_type is not None:
                yield field.enum_type.values_by_number[entry].name
    if message.DESCRIPTOR in (pb.BooleanTest.DESCRIPTOR, pb.FrequencyTest.DESCRIPTOR, pb.ConsentCriterion.DESCRIPTOR):
        yield from (f"{message.DESCRIPTOR.name}.{field.name}" for field in message.DESCRIPTOR.fields)


def test_every_kind_and_operator_of_the_contract_has_words() -> None:
    assert set(sentence.NODES) == set(validation.NODES)
    assert set(sentence.CRITERIA) == set(validation.CRITERIA)
    assert set(people.LOCATIONS) == set(validation.LOCATIONS)
    assert set(values.TESTS) == {field.name for field in pb.ValueTest.DESCRIPTOR.oneofs_by_name["kind"].fields}
    assert set(when.PERIODS) == set(words.PERIODS)
    assert set(events.COMMERCE) == set(words.COMMERCE)
    for table, enum in (
        (events.TYPES, event_type_pb2.EventType),
        (events.FREQUENCIES, pb.Comparison),
        (events.FUNCTIONS, pb.AggregateFunction),
        (values.STRINGS, pb.StringOperator),
        (values.COMPARISONS, pb.Comparison),
        (values.ZERO_PASSES, pb.Comparison),
        (values.LISTS, pb.ListOperator),
        (values.PRESENCES, pb.PresenceOperator),
    ):
        assert set(table) == {value.number for value in enum.DESCRIPTOR.values if value.number}


def test_each_node_has_a_phrase_with_its_place() -> None:
    tree = definition(all_of(event("INSTALL", when=last(3), node_id="i"), exclude(any_of(member_of(12), everyone())), node_id="r"))
    assert [(phrase.node_id, phrase.path, phrase.text, phrase.depth) for phrase in phrases_of(tree, TELLING)] == [
        ("r", "definition.root", "all of these:", 0),
        ("i", "definition.root.all.nodes[0]", "installed in the last 3 days", 1),
        ("", "definition.root.all.nodes[1]", "are not among those who:", 1),
        ("", "definition.root.all.nodes[1].exclude.node", "any of these:", 2),
        ("", "definition.root.all.nodes[1].exclude.node.any.nodes[0]", 'are members of audience 12 ("Buyers")', 3),
        ("", "definition.root.all.nodes[1].exclude.node.any.nodes[1]", "have any activity", 3),
    ]


def test_the_look_back_of_the_account_is_told_where_there_is_no_window() -> None:
    assert "had fewer than 3 sessions in the last 90 days that are kept (or none)" in sentence_of(seed(), Telling(look_back_days=90))


def test_the_workspace_is_told_where_the_audience_has_others() -> None:
    tree = meant("plan exists in workspace 1")
    assert sentence_of(tree, TELLING) == 'People who have an attribute "plan".'
    assert sentence_of(tree, Telling(workspace_ids=(1, 2))) == 'People who have an attribute "plan", in workspace 1.'


@given(spoken_definitions(), spoken_definitions(), st.integers(0, 2**32).map(random.Random))
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
def test_what_differs_in_meaning_differs_in_words(one: pb.Definition, other: pb.Definition, chance: random.Random) -> None:
    assume(not incomplete(one).faults)
    for changed in (other, *(altered(one, chance) for _ in range(5))):
        if not incomplete(changed).faults and canonical(changed) != canonical(one):
            assert sentence_of(changed, Telling()) != sentence_of(one, Telling())


def altered(tree: pb.Definition, chance: random.Random) -> pb.Definition:
    """The same tree with one thing changed: a value, or a node."""
    changed = pb.Definition()
    changed.CopyFrom(tree)
    leaves = list(_leaves(changed))
    if chance.random() < 0.3 or not leaves:
        node = chance.choice(list(nodes_of(changed)))
        inner = [_copy(child) for child in children_of(node)] or [_copy(node)]
        chance.choice([node.all.nodes, node.any.nodes]).extend(inner) if chance.random() < 0.7 else node.exclude.node.CopyFrom(inner[0])
        return changed
    message, field = chance.choice(leaves)
    value = getattr(message, field.name)
    if field.is_repeated:
        if len(value) > 1:
            del value[chance.randrange(len(value))]
        return changed
    setattr(message, field.name, _another(field, value, chance))
    return changed


def _copy(node: pb.Node) -> pb.Node:
    copy = pb.Node()
    copy.CopyFrom(node)
    return copy


def _leaves(message: Message) -> Iterator[tuple[Message, Any]]:
    """Every field below a message that is no message itself, and lists of messages, which may lose one."""
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        set_one = field.containing_oneof is None or message.WhichOneof(field.containing_oneof.name) == field.name
        if field.message_type is None and set_one and field.name not in ("id", "language_version"):
            yield message, field
        elif field.is_repeated:
            yield message, field
            for entry in value:
                yield from _leaves(entry)
        elif field.message_type is not None and message.HasField(field.name):
            yield from _leaves(value)


def _another(field: Any, value: object, chance: random.Random) -> object:
    if field.enum_type is not None:
        return chance.choice([known.number for known in field.enum_type.values if known.number])
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return f"{value}1"
    assert isinstance(value, int | float)
    return value - 1 if value > 1 and chance.random() < 0.8 else 3
