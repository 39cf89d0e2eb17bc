"""Names in definitions: turned into numbers and back without a word of the rest being touched."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from muster.definition.v1 import definition_pb2 as pb

from cli.code.names import (
    Kind,
    inner_audiences,
    line_and_column,
    quoted,
    references,
    renumbered,
    replaced,
    tokens_of,
    with_names,
    with_numbers,
)
from services.definition.domain.completeness import incomplete
from services.definition.domain.language import lexer
from services.definition.domain.language.places import Slips
from services.definition.domain.language.printing import print_definition
from services.definition.domain.language.reading import read
from services.definition.domain.nesting import used_by
from tests.definition.trees import spoken_definitions

_PIECES = [
    '"',
    "'",
    "\\",
    "#",
    "\n",
    " ",
    "12",
    "-",
    ".5",
    "2026-01-31",
    "member of",
    "in workspace",
    "from inputs (",
    ",",
    ")",
    "é",
    "名",
    "\\u00e9",
    "$",
    "e5",
]
TEXTS = st.lists(st.sampled_from(_PIECES) | st.text(max_size=3), max_size=12).map("".join)


@given(TEXTS)
def test_words_numbers_and_texts_are_told_apart_as_the_language_does(text: str) -> None:
    slips = Slips()
    told = {
        (token.start, token.end, token.kind.name, token.text)
        for token in lexer.tokens_of(text, slips)
        if token.kind in (lexer.Kind.WORD, lexer.Kind.NUMBER)
        or (token.kind is lexer.Kind.STRING and not any(token.start <= start < token.end for start in slips.found))
    }
    faulty = set(slips.found)
    found = set()
    for token in tokens_of(text):
        if token.kind == "STRING" and not any(token.start <= start < token.end for start in faulty):
            found.add((token.start, token.end, token.kind, read_back(token.text)))
        elif token.kind in ("WORD", "NUMBER"):
            found.add((token.start, token.end, token.kind, token.text))
    assert found == told


def read_back(text: str) -> str:
    (one,), slips = references(f"member of {text}")
    assert not slips
    return one.name


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_any_name_is_read_back_from_its_quotes(name: str) -> None:
    assert quoted(name) == lexer.quoted(name)
    assert read_back(quoted(name)) == name


NAMES = {
    Kind.AUDIENCE: {1: "Loyal", 11: 'say "hi"', 2**63 - 1: "member of 1"},
    Kind.WORKSPACE: {1: "Shop", 2: "in workspace 1"},
    Kind.INPUT: {11: "Web, iOS)", 12: "# note", 2**63 - 1: "back\\slash"},
}
NUMBERS = {(kind, name): number for kind, names in NAMES.items() for number, name in names.items()}


@settings(max_examples=300, deadline=None)
@given(spoken_definitions(), st.booleans())
def test_every_definition_goes_to_names_and_back(definition: pb.Definition, multiline: bool) -> None:
    assume(not incomplete(definition).faults)
    text = print_definition(definition, multiline=multiline)
    named = with_names(text, lambda kind, number: NAMES[kind][number])
    found, slips = references(named)
    assert not slips
    back = with_numbers(named, found, lambda one: NUMBERS[one.kind, one.name])
    assert back.text == text
    assert {one.name for one in found if one.kind is Kind.AUDIENCE} == {NAMES[Kind.AUDIENCE][number] for number in used_by(definition)}
    # Nothing but names is left where numbers of this installation were.
    moved = with_numbers(named, found, lambda one: NUMBERS[one.kind, one.name] // 2 + 5)
    assert read(moved.text).definition is not None


@settings(max_examples=100, deadline=None)
@given(spoken_definitions())
def test_the_audiences_inside_are_those_that_the_service_knows(definition: pb.Definition) -> None:
    assert inner_audiences(definition) - {0} == set(used_by(definition)) - {0}
    assert inner_audiences(renumbered(definition, lambda number: number // 2)) == {number // 2 for number in inner_audiences(definition)}


@given(st.text("ab\n", max_size=20), st.data())
def test_places_lead_back_to_where_they_were(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6, unique=True)))
    pieces = [(start, end, data.draw(st.sampled_from(["", "x", "xyz12"]))) for start, end in zip(cuts[::2], cuts[1::2], strict=False)]
    pieces = [(start, end, new) for start, end, new in pieces if "\n" not in text[start:end]]
    made = replaced(text, pieces)
    for offset in range(len(text)):
        if any(start <= offset < end for start, end, _ in pieces):
            continue
        now = offset + sum(len(new) - (end - start) for start, end, new in pieces if end <= offset)
        assert made.place(*line_and_column(made.text, now)) == line_and_column(text, offset)


def test_every_number_of_an_installation_that_a_definition_holds_has_a_name() -> None:
    messages = pb.DESCRIPTOR.message_types_by_name.values()
    ids = {field.name for message in messages for field in message.fields if field.name.endswith(("_id", "_ids"))}
    assert ids == {f"{Kind.AUDIENCE}_id", f"{Kind.WORKSPACE}_id", f"{Kind.INPUT}_ids"}


def test_numbers_are_refused_where_names_are_wanted() -> None:
    found, slips = references('member of 12 and x = 3 in workspace "Shop" and crash from inputs ("Web", 7) # member of 5')
    assert [(one.kind, one.name) for one in found] == [(Kind.WORKSPACE, "Shop"), (Kind.INPUT, "Web")]
    assert [slip.start for slip in slips] == [10, 73]


@pytest.mark.parametrize("text", ['plan = "member of 3"', "# member of 3\neveryone", 'event "from input 3"', 'event "in" within 3 days'])
def test_what_only_looks_like_a_reference_is_none(text: str) -> None:
    assert references(text) == ([], [])
