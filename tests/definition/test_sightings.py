"""What messages say of names, attributes and values, beside a naive count of the same."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from muster.ingest.v1 import facts_pb2, identity_pb2

from services.definition.domain.catalogue import AttributeKey, CatalogueKind, NameKey
from services.definition.domain.detection import type_of
from services.definition.domain.overrides import AttributeType
from services.definition.domain.sketches import ValueSketch
from services.definition.sightings import Malformed, fact_of, is_told_again, sightings_of

EVENT, PRODUCT, USER = CatalogueKind.EVENT_ATTRIBUTE, CatalogueKind.PRODUCT_ATTRIBUTE, CatalogueKind.USER_ATTRIBUTE

values = st.sampled_from(["gold", "5", 5, 19.9, True, "2026-01-31", ["a", "b"], [], ["a"], None, {"no": 1}, [1]])
attributes = st.dictionaries(st.sampled_from(["plan", "price"]), values, max_size=2)
details = st.fixed_dictionaries(
    {}, optional={"attributes": attributes, "products": st.lists(st.fixed_dictionaries({"attributes": attributes}))}
)
rows = st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(1, 4), details)
batches = st.lists(st.tuples(st.integers(1, 2), st.integers(100, 105), st.lists(rows, max_size=8)), min_size=1, max_size=4)

SOURCES = [(11, 1), (21, 2)]
KINDS = [(1, "buy"), (1, "look"), (4, "")]


def batch_of(account_id: int, arrived_ms: int, rows: list[tuple[int, int, int, Any]], batch_id: str = "b") -> facts_pb2.EventBatch:
    batch = facts_pb2.EventBatch(batch_id=batch_id, account_id=account_id, receive_time_ms=arrived_ms)
    batch.sources.extend(facts_pb2.EventSource(input_id=input_id, workspace_id=workspace_id) for input_id, workspace_id in SOURCES)
    batch.kinds.extend(facts_pb2.EventKind(type=type_, name=name) for type_, name in KINDS)  # type: ignore[arg-type]
    for source, kind, mpid, held in rows:
        batch.source_indexes.append(source)
        batch.kind_indexes.append(kind)
        batch.mpids.append(mpid)
        batch.details.append(json.dumps(held) if held else "")
    return batch


def text(value: Any) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


@given(batches)
@settings(max_examples=200, deadline=None)
def test_names_and_attributes_are_counted_as_if_one_by_one(told: list[tuple[int, int, list[Any]]]) -> None:
    names, counts, types, entries = Counter[Any](), Counter[Any](), Counter[Any](), Counter[Any]()
    arrived: dict[Any, list[int]] = {}
    for account_id, at, rows in told:
        for source, kind, _, held in rows:
            input_id, workspace_id = SOURCES[source]
            name = NameKey(account_id, workspace_id, input_id, *KINDS[kind])
            names[name] += 1
            arrived.setdefault(name, []).append(at)
            groups = [(EVENT, held.get("attributes", {})), *((PRODUCT, one.get("attributes", {})) for one in held.get("products", []))]
            for of, group in groups:
                for attribute, value in group.items():
                    if value is None or isinstance(value, dict) or value == [1]:
                        continue
                    key = AttributeKey(account_id, workspace_id, input_id, of, name.type, name.name, attribute)
                    counts[key] += 1
                    arrived.setdefault(key, []).append(at)
                    types[(key, AttributeType.LIST if isinstance(value, list) else type_of(text(value)))] += 1
                    entries.update((key, one) for one in (value if isinstance(value, list) else [text(value)]))
    found = sightings_of([batch_of(*one) for one in told])
    assert {key: seen.count for key, seen in found.names.items()} == names
    assert {key: seen.count for key, seen in found.attributes.items()} == counts
    assert {(key, type_): n for key, seen in found.attributes.items() for type_, n in seen.types.items()} == types
    kept = {
        (key, one): count
        for key, seen in found.attributes.items()
        if seen.told
        for one, count in zip(seen.told.texts, seen.told.counts.tolist(), strict=True)
    }
    assert kept == entries
    assert all((seen.first_ms, seen.last_ms) == (min(arrived[key]), max(arrived[key])) for key, seen in found.names.items())
    assert all((seen.first_ms, seen.last_ms) == (min(arrived[key]), max(arrived[key])) for key, seen in found.attributes.items())


def test_values_are_shared_by_those_who_sent_them() -> None:
    rows = [(0, 0, mpid, {"attributes": {"plan": "gold", "tags": ["a", "b"]}}) for mpid in (1, 2, 3, 4)]
    rows += [(0, 0, 9, {"attributes": {"plan": "lead", "tags": ["b", "c"]}})] * 4
    found = sightings_of([batch_of(1, 5, rows)])
    shared = {}
    for key, seen in found.attributes.items():
        sketch = ValueSketch()
        assert seen.told is not None
        sketch.tell(seen.told)
        shared[key.attribute] = [(one.text, one.count) for one in sketch.shared]
    assert shared == {"plan": [("gold", 4)], "tags": [("b", 8), ("a", 4)]}


def test_attributes_of_users_come_from_changes_of_profiles() -> None:
    told = facts_pb2.ProfileChanges(batch_id="p", account_id=1, receive_time_ms=7)
    for mpid in (1, 2, 3):
        change = told.changes.add(mpid=mpid, workspace_id=1, input_id=11)
        change.set_attributes["plan"].string_value = "gold"
        change.set_attributes["age"].number_value = "41"
        change.set_attributes["vip"].boolean_value = True
        change.set_attributes["tags"].CopyFrom(identity_pb2.AttributeValue(list_value=identity_pb2.StringList(values=["a"])))
    told.changes.add(mpid=4, merged_into=1)
    found = sightings_of([told])
    assert {(key.kind, key.input_id, key.attribute): (seen.count, seen.types) for key, seen in found.attributes.items()} == {
        (USER, 11, "plan"): (3, {AttributeType.STRING: 3}),
        (USER, 11, "age"): (3, {AttributeType.NUMBER: 3}),
        (USER, 11, "vip"): (3, {AttributeType.BOOLEAN: 3}),
        (USER, 11, "tags"): (3, {AttributeType.LIST: 3}),
    }


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        ("gold", AttributeType.STRING),
        ("", AttributeType.STRING),
        ("5", AttributeType.NUMBER),
        ("-19.90", AttributeType.NUMBER),
        ("1e6", AttributeType.NUMBER),
        ("1e", AttributeType.STRING),
        ("NaN", AttributeType.STRING),
        ("٣", AttributeType.STRING),
        ("TRUE", AttributeType.BOOLEAN),
        ("2026-01-31", AttributeType.DATE),
        ("2026-01-31T12:00:00Z", AttributeType.DATE),
        ("2026-02-31", AttributeType.STRING),
    ],
)
def test_a_text_reads_as_the_narrowest_type(value: str, type_: AttributeType) -> None:
    assert type_of(value) is type_


def test_details_that_are_no_object_say_nothing() -> None:
    batch = batch_of(1, 5, [(0, 0, 1, {})] * 3)
    batch.details[:] = ["[1]", "{", '{"attributes": [1], "products": [2, {"attributes": 3}]}']
    found = sightings_of([batch])
    assert [seen.count for seen in found.names.values()] == [3]
    assert not found.attributes


def test_messages_that_make_no_sense_are_told_from_others() -> None:
    batch = batch_of(1, 5, [(0, 0, 1, {})])
    assert fact_of("muster.events.3", batch.SerializeToString()) == batch
    for subject, body in (("muster.events.3", b"\xff"), ("muster.profiles.3", b"\xff")):
        with pytest.raises(Malformed):
            fact_of(subject, body)
    batch.kind_indexes[0] = 3
    with pytest.raises(Malformed, match="outside"):
        fact_of("muster.events.3", batch.SerializeToString())
    del batch.kind_indexes[:]
    with pytest.raises(Malformed, match="lengths"):
        fact_of("muster.events.3", batch.SerializeToString())


def test_what_an_evaluator_tells_again_is_not_new() -> None:
    assert is_told_again(batch_of(1, 5, [], batch_id="again-1-7-7-0"))
    assert not is_told_again(batch_of(1, 5, [], batch_id="0f0e"))
