"""The text language: what is read, what is printed, that both agree, and faults at their places."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from muster.definition.v1 import definition_pb2 as pb
from muster.ingest.v1 import event_type_pb2, identity_pb2

from services.definition.domain import validation
from services.definition.domain.canonical import canonical
from services.definition.domain.completeness import incomplete
from services.definition.domain.language import criteria, printing, words
from services.definition.domain.language.lexer import TOKENS_MAX
from services.definition.domain.language.places import TextFault
from services.definition.domain.language.printing import print_definition
from services.definition.domain.language.reading import TEXT_MAX, read
from services.definition.domain.sentences.sentence import sentence_of
from services.definition.domain.sentences.telling import Telling
from tests.definition.builders import (
    NOW,
    ago,
    all_of,
    any_of,
    around,
    attribute,
    criterion,
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
    other,
    seed,
    times,
)
from tests.definition.trees import right_definitions, spoken_definitions


def said(text: str) -> pb.Node:
    reading = read(text)
    assert reading.definition is not None, reading.faults
    return reading.definition.root


def faults(text: str) -> list[TextFault]:
    return list(read(text).faults)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("installed within 72 hours and sessions < 3", seed().root),
        ("everyone", everyone()),
        ("not (member of 12)", exclude(member_of(12))),
        ('plan = "gold" or email exists', any_of(attribute("plan", equals("gold")), said("identity email exists"))),
        ("user attribute score between 1 and 5", attribute("score", number("1", "BETWEEN", "5"))),
        ('"first name" is not "Ann"', said('user attribute "first name" != "Ann"')),
        ("plan in (\"gold\", 'silver')", attribute("plan", one_of("gold", "silver"))),
        (
            'event "Sign up" = 0 between 6 and 4 days ago',
            event("CUSTOM", name="Sign up", frequency=times("EQUAL", 0), when=ago(duration(6), duration(4))),
        ),
        ("sessions between 6 and 4", event(frequency=times("BETWEEN", 6, 4))),
        ("sessions in the last 2 weeks >= 2 times", event(frequency=times("GREATER_OR_EQUAL", 2), when=last(2, "WEEK"))),
        ("SESSIONS Within 2 Days AND Everyone", all_of(event(when=last(2)), everyone())),
        ("everyone and everyone or everyone", any_of(all_of(everyone(), everyone()), everyone())),
        ("everyone and (everyone or everyone)", all_of(everyone(), any_of(everyone(), everyone()))),
        ("not everyone and everyone", all_of(exclude(everyone()), everyone())),
        ("((everyone))", everyone()),
        ("all (everyone)", all_of(everyone())),
        ("any of (everyone, everyone and everyone)", any_of(everyone(), all_of(everyone(), everyone()))),
        ("added to cart", event("COMMERCE", name="add_to_cart")),
        ("sessions # of the app\n  < 3", event(frequency=times("LESS", 3))),
        ("count(purchase) > 1", said('count(commerce "purchase") > 1')),
        ('count("Sign up") > 1', said('count(event "Sign up") > 1')),
        ('"add" exists', attribute("add", pb.ValueTest(presence=pb.PresenceTest(operator=pb.PRESENCE_OPERATOR_EXISTS)))),
        ('event "add" then "pay"', said('event "add" then event "pay"')),
        ('plan = "a\\"b\\\\c\\n\\u00e9"', attribute("plan", equals('a"b\\c\né'))),
        ("location within 5 km of 52.5, -13.4", said("location within 5000 metres of 52.5, -13.4")),
    ],
)
def test_a_text_means(text: str, meant: pb.Node) -> None:
    assert canonical(definition(said(text))) == canonical(definition(meant))


@pytest.mark.parametrize(
    "text",
    [
        "installed within 72 hours and sessions < 3",
        'purchase[total amount > 100, product category = "Shoes"] >= 2 within 30 days',
        'not (plan contains "gold" or email exists)',
        'event "add" then event "pay" within 2 hours, not followed by purchase within 3 days',
        "sequence(add to cart then purchase within 1 hour) within 30 days",
        'sum("price" of purchase from inputs (11, 12)) > 100 within 7 days',
        "most frequent(product name of purchase) exists",
        'event named not like "a*" from input 11 between 1 week and 2 days ago',
        'user attribute "sesions" is true in workspace 2',
        'birthday between 2026-01-01 and 2026-01-31 or tags partly includes "x"',
        "first seen on or after 2026-01-01 and lifetime value between -1 and 1e6",
        'refused consent to "mail" under "gdpr" and attribution campaign does not exist',
        'location zip = "10115" and location within 500.5 metres of 52, 13.4',
    ],
)
def test_these_are_printed_as_they_are_written(text: str) -> None:
    assert print_definition(definition(said(text))) == text


def test_several_lines_have_a_criterion_each() -> None:
    long = " or ".join(f'event "{name} a page of the shop"' for name in ("Saw", "Liked", "Shared", "Bought"))
    tree = definition(said(f"sessions < 3 and ({long}) and not (member of 1 or member of 2)"))
    text = print_definition(tree, multiline=True)
    assert text.split("\n") == [
        "sessions < 3",
        "and (",
        '  event "Saw a page of the shop"',
        '  or event "Liked a page of the shop"',
        '  or event "Shared a page of the shop"',
        '  or event "Bought a page of the shop"',
        ")",
        "and not (member of 1 or member of 2)",
    ]
    assert canonical(definition(said(text))) == canonical(tree)


@given(spoken_definitions())
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
def test_what_is_printed_is_read_back(tree: pb.Definition) -> None:
    assume(not incomplete(tree).faults)
    line = print_definition(tree)
    assert len(line.splitlines()) == 1
    for text in (line, print_definition(tree, multiline=True)):
        reading = read(text)
        assert reading.definition is not None, reading.faults
        assert canonical(reading.definition) == canonical(tree)
        assert print_definition(reading.definition) == line
        assert reading.judged(incomplete(reading.definition)) is reading


_PIECES = st.sampled_from(
    [*words.RESERVED, *"()[],=<>\"'#\\-", "!=", "3", "2026-01-31", "2026-02-31", '"x"', "plan", "sesions", "\n", "é", "“"]
)


@given(st.text(max_size=60) | st.lists(_PIECES, max_size=25).map(" ".join) | st.lists(_PIECES, max_size=12).map("".join))
@settings(max_examples=600, deadline=None)
def test_any_text_gives_a_definition_or_faults_inside_of_it(text: str) -> None:
    reading = read(text)
    if reading.definition is not None:
        reading = reading.judged(incomplete(reading.definition))
    assert (reading.definition is None) == bool(reading.faults)
    check_places(text, reading.faults)
    if reading.definition is not None:
        again = read(print_definition(reading.definition))
        assert again.definition is not None
        assert canonical(again.definition) == canonical(reading.definition)


@given(spoken_definitions(), st.integers(0, 2**32).map(random.Random))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
def test_a_text_with_slips_gives_a_definition_or_faults_inside_of_it(tree: pb.Definition, chance: random.Random) -> None:
    assume(not incomplete(tree).faults)
    letters = list(print_definition(tree, multiline=True))
    for _ in range(3):
        at = chance.randrange(len(letters))
        letters[at : at + chance.randrange(3)] = chance.choice(["", "x", '"', ")", "(", " and "])
        if not letters:
            return
    text = "".join(letters)
    check_places(text, read(text).faults)


def check_places(text: str, found: tuple[TextFault, ...]) -> None:
    lines = text.split("\n")
    places = [(fault.line, fault.column) for fault in found]
    assert places == sorted(places)
    for fault in found:
        assert 1 <= fault.line <= len(lines)
        assert fault.column >= 1
        assert fault.column - 1 + fault.length <= len(lines[fault.line - 1])
        assert re.search(r"[.?]$", fault.description), fault.description


@pytest.mark.parametrize(
    ("text", "marked", "suggestion"),
    [
        ("sesions < 3", "sesions", "sessions"),
        ('plan contain "x"', "contain", "contains"),
        ("purchase[totl amount > 3]", "totl amount", "total amount"),
        ("purchase[price > 3]", "price", "product price"),
        ("sessions withn 3 days", "withn", "within"),
        ("sessions within 3 dayss", "dayss", "days"),
        ("sessions between 6 and 4 dayss ago", "dayss", "days"),
        ('status = "x" and stat', "", ""),
        ('country = "DE"', "country", "location country"),
        ('devise model = "x"', "devise model", "device model"),
        ("sum(pric of purchse) > 3", "purchse", "purchase"),
        ("session duration > 3", "session duration", ""),
        ('platform = "iOS"', "platform", "device platform"),
        ("sessions sinc 3", "sinc", ""),
        ("sessions < x", "x", ""),
        ("sessions < 2.5", "2.5", ""),
        ('plan > "x"', '"x"', ""),
        ("birthday > 2026-01-01", "> 2026-01-01", ""),
        ("birthday on 2026-02-30", "2026-02-30", ""),
        ("birthday on 2026-1-3", "2026", ""),
        ('plan = "x', '"x', ""),
        ("plan = “x”", "“", '"'),
        ("sessions < 3 @", "@", ""),
        ("(sessions < 3", "(", ")"),
        ("sessions < 3)", ")", ""),
        ("sessions, everyone", ",", "and"),
        ("sessions < 3 purchase", "purchase", ""),
        ("sessions in workspace 3", "in workspace", ""),
        ("sessions within 3 days then purchase", "then", ""),
        ("sessions < 99999999999999999999999", "99999999999999999999999", ""),
        ("sessions between 5 and 3", "sessions between 5 and 3", ""),
        ('sum("a" of purchase) = "x"', 'sum("a" of purchase) = "x"', ""),
    ],
)
def test_a_fault_marks_its_place(text: str, marked: str, suggestion: str) -> None:
    reading = read(text)
    if reading.definition is not None:
        reading = reading.judged(incomplete(reading.definition))
    fault = reading.faults[0]
    assert (text[fault.column - 1 : fault.column - 1 + fault.length], fault.suggestion) == (marked, suggestion)
    assert fault.line == 1


@pytest.mark.parametrize("text", ["", "  # nothing", "sessions <", "sessions and", "(", "not", "purchase[", "purchase within 3"])
def test_what_is_missing_is_told_at_the_end(text: str) -> None:
    (*_, fault) = faults(text)
    assert fault.length in (0, 1)
    assert fault.description.endswith(".")


def test_all_faults_are_told_at_once() -> None:
    text = 'sesions < 3\nand (plan contain "x" or purchase[price > 3, size @ 4])\nand sessions between a and 3 days ago\nand everyon'
    assert [(fault.line, fault.column) for fault in faults(text)] == [(1, 1), (2, 11), (2, 35), (2, 51), (3, 22), (4, 5)]


def test_faults_of_the_definition_mark_the_criterion_in_which_they_lie() -> None:
    text = "sessions < 3 and\n  sessions between 5 and 3"
    reading = read(text)
    assert reading.definition is not None
    (fault,) = reading.judged(incomplete(reading.definition)).faults
    assert (fault.line, fault.column, fault.length) == (2, 3, len("sessions between 5 and 3"))


@pytest.mark.parametrize(
    "text",
    [
        "(" * TEXT_MAX,
        "not " * (TEXT_MAX // 4),
        "sesions < 3 and " * (TEXT_MAX // 16),
        "purchase[" + "a = 3," * (TEXT_MAX // 7),
        '"' + "\\q" * (TEXT_MAX // 2 - 1),
        "]" * TEXT_MAX,
        "a" * TEXT_MAX,
        "a = " + "1" * (TEXT_MAX - 4),
        "@\n" * (TEXT_MAX // 2),
        "x" * (TEXT_MAX + 1),
    ],
    ids=lambda text: text[:12],
)
def test_a_text_of_a_million_characters_is_answered_at_once(text: str) -> None:
    begin = time.process_time()
    reading = read(text)
    # A second is promised; the machine may be a slow one.
    assert time.process_time() - begin < 3
    check_places(text, reading.faults)
    assert len(reading.faults) <= 100


def numbers(enum: object) -> set[int]:
    return {value.number for value in enum.DESCRIPTOR.values if value.number}  # type: ignore[attr-defined]


def test_every_kind_and_operator_of_the_contract_has_words() -> None:
    assert set(printing.NODES) == set(validation.NODES)
    assert set(printing.CRITERIA) == set(validation.CRITERIA)
    assert set(printing.LOCATIONS) == set(validation.LOCATIONS)
    assert set(printing.FILTER_SUBJECTS) == set(validation.FILTER_SUBJECTS)
    assert set(printing.TESTS) == {field.name for field in pb.ValueTest.DESCRIPTOR.oneofs_by_name["kind"].fields}
    assert set(printing.PERIODS) == set(words.PERIODS) == {field.name for field in pb.Period.DESCRIPTOR.oneofs_by_name["kind"].fields}
    kinds = (set(criteria.READERS) - {"place", "near"}) | {"location"}
    assert kinds == set(validation.CRITERIA)
    for table, enum in (
        (words.EVENT_TYPES, event_type_pb2.EventType),
        (words.EVENT_FIELDS, pb.EventField),
        (words.FUNCTIONS, pb.AggregateFunction),
        (words.IDENTITIES, identity_pb2.IdentityType),
        (words.DEVICE_FIELDS, pb.DeviceField),
        (words.PLACE_FIELDS, pb.PlaceField),
        (words.ATTRIBUTION_FIELDS, pb.AttributionField),
        (words.SEEN_EDGES, pb.SeenEdge),
        (words.UNITS, pb.DurationUnit),
        (words.STRING_TESTS, pb.StringOperator),
        (words.COMPARISONS, pb.Comparison),
        (words.LIST_TESTS, pb.ListOperator),
        (words.PRESENCE_TESTS, pb.PresenceOperator),
    ):
        assert set(table) == numbers(enum)


def test_no_phrase_means_two_things() -> None:
    for tables in ((words.EVENT_TYPES, words.COMMERCE), (words.STRING_TESTS, words.LIST_TESTS, words.PRESENCE_TESTS, words.BOOLEANS)):
        phrases = [phrase for table in tables for choices in table.values() for phrase in choices]
        assert len(phrases) == len(set(phrases))
    known = [*words.MATCHES.all, *words.FUNCTIONS.values(), *words.IDENTITIES.values(), *words.DEVICE_FIELDS.values()]
    assert len(known) == len(set(known))


def test_a_definition_that_is_incomplete_has_no_text() -> None:
    found = incomplete(definition(criterion(user_attribute=pb.UserAttributeCriterion(attribute="plan"))))
    assert [fault.field for fault in found.faults] == ["definition.root.criterion.user_attribute.test"]


PAGE = (Path(__file__).parent.parent.parent / "docs" / "concepts" / "language.md").read_text()
_CELLS = [line.rstrip("|").rpartition("|")[2] for line in PAGE.splitlines() if line.startswith("|") and "---" not in line]
# What stands in the block at the top, and in the last column of every table.
EXAMPLES = [
    *re.findall(r"```\n(.*?)```", PAGE, re.DOTALL)[0].splitlines(),
    *(found for cell in _CELLS for found in re.findall("`([^`]+)`", cell)),
]


@pytest.mark.parametrize("text", EXAMPLES)
def test_an_example_of_the_page_is_understood(text: str) -> None:
    tree = definition(said(text))
    assert not incomplete(tree).faults
    assert canonical(definition(said(print_definition(tree)))) == canonical(tree)
    assert sentence_of(tree, Telling()).startswith("People who ")


def test_the_page_says_everything() -> None:
    by_value: list[Mapping[Any, tuple[str, ...]]] = [words.EVENT_TYPES, words.COMMERCE, words.PERIODS, words.BOOLEANS]
    by_value += [words.STRING_TESTS, words.COMPARISONS, words.LIST_TESTS, words.PRESENCE_TESTS]
    phrases = {phrases[0] for table in by_value for phrases in table.values()}
    phrases |= {*words.EVENT_FIELDS.values(), *words.FUNCTIONS.values(), *words.SEEN_EDGES.values(), *words.ATTRIBUTION_FIELDS.values()}
    phrases |= {phrase.partition(" ")[2] for table in (words.DEVICE_FIELDS, words.PLACE_FIELDS) for phrase in table.values()}
    phrases |= {several for _, several in words.UNITS.values()}
    assert {phrase for phrase in phrases if not re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", PAGE)} == set()
    assert f"{TEXT_MAX:,} characters" in PAGE
    assert f"{TOKENS_MAX:,} words" in PAGE


@given(right_definitions())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
def test_what_an_account_takes_can_be_said(tree: pb.Definition) -> None:
    account = around(workspaces=frozenset({11}), inputs={11: 11}, workspace_ids=(11,), audiences={11: other()})
    assume(not validation.judge(tree, account, NOW).faults)
    assert not incomplete(tree).faults
    reading = read(print_definition(tree))
    assert reading.definition is not None
    assert not validation.judge(reading.definition, account, NOW).faults
