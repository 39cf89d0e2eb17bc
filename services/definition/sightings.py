"""What messages of the stream EVENTS say of names, attributes and their values.

Events come by column with dictionaries, and so they are counted: each kind of event once a message, each different text of details decoded
once, and columns of values counted by numpy. A window of many messages costs little more than one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from google.protobuf.message import DecodeError
from muster.ingest.v1 import facts_pb2, identity_pb2
from numpy.typing import NDArray

from .domain.catalogue import NAME_MAX, AttributeKey, CatalogueKind, NameKey
from .domain.detection import VALUE_MAX, text_of, type_of
from .domain.overrides import AttributeType
from .domain.sketches import Told, different

Fact = facts_pb2.EventBatch | facts_pb2.ProfileChanges
Ints = NDArray[np.int64]
Held = tuple[int, str, str | list[str]]
"""An attribute of an event: its kind, its name, and its value as text or the entries of a list."""

# The batch id of what an evaluator tells again, of the person with whom another is one: nothing new has arrived.
_AGAIN = "again-"
# Numbers stay the text that was sent: `19.90`.
_DECODER = msgspec.json.Decoder(float_hook=str)


class Malformed(Exception):
    """A message that makes no sense; it goes to the dead letters."""


def fact_of(subject: str, body: bytes) -> Fact:
    """The message of a subject `muster.events.<partition>` or `muster.profiles.<partition>`. Raises Malformed."""
    kind = subject.split(".", 2)[1]
    try:
        fact: Fact = facts_pb2.EventBatch.FromString(body) if kind == "events" else facts_pb2.ProfileChanges.FromString(body)
    except DecodeError as error:
        raise Malformed(f"not a message of {subject}: {error}") from error
    if isinstance(fact, facts_pb2.EventBatch):
        rows = len(fact.mpids)
        if any(len(column) != rows for column in (fact.source_indexes, fact.kind_indexes, fact.details)):
            raise Malformed(f"the columns of batch {fact.batch_id} have different lengths")
        tables = ((fact.source_indexes, fact.sources), (fact.kind_indexes, fact.kinds))
        if rows and any(max(indexes) >= len(table) for indexes, table in tables):
            raise Malformed(f"an index of batch {fact.batch_id} lies outside its table")
    return fact


def is_told_again(fact: Fact) -> bool:
    """Whether all of it was told before, of somebody who is another one now."""
    return fact.batch_id.startswith(_AGAIN)


@dataclass(slots=True)
class Seen:
    """How often, and when it arrived."""

    count: int
    first_ms: int
    last_ms: int


@dataclass(slots=True)
class AttributeSeen(Seen):
    """`types`: how many values read as each; `told`: the values, None where there are only lists without entries."""

    types: dict[AttributeType, int]
    told: Told | None


@dataclass(slots=True)
class Sightings:
    """What a window of messages brought."""

    names: dict[NameKey, Seen] = field(default_factory=dict)
    attributes: dict[AttributeKey, AttributeSeen] = field(default_factory=dict)


@dataclass(slots=True)
class _Column:
    """Values of one attribute: each with the number of its row, or of a group of rows that have the same."""

    values: list[str] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    lists: list[list[str]] = field(default_factory=list)
    rows_of_lists: list[int] = field(default_factory=list)


class _Rows:
    """Whose each row is and when it arrived; `expand` turns numbers of groups into numbers of rows."""

    def __init__(self, mpids: Ints, arrived_ms: Ints) -> None:
        self.mpids, self.arrived_ms = mpids, arrived_ms

    def expand(self, groups: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The rows of these groups one after the other, and for each the place of its group among these."""
        return groups, np.arange(len(groups))


class _GroupedRows(_Rows):
    """Rows of which many are alike."""

    def __init__(self, mpids: Ints, arrived_ms: Ints, groups: NDArray[np.intp], sizes: NDArray[np.intp]) -> None:
        super().__init__(mpids, arrived_ms)
        self._order = np.argsort(groups, kind="stable")
        self._sizes = sizes
        self._starts = np.cumsum(sizes) - sizes

    def expand(self, groups: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        sizes = self._sizes[groups]
        places = np.repeat(np.arange(len(groups)), sizes)
        within = np.arange(len(places)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return self._order[self._starts[groups][places] + within], places


def sightings_of(facts: Iterable[Fact]) -> Sightings:
    """Of these messages together."""
    batches: dict[int, list[facts_pb2.EventBatch]] = defaultdict(list)
    changes: dict[int, list[facts_pb2.ProfileChanges]] = defaultdict(list)
    for fact in facts:
        if isinstance(fact, facts_pb2.EventBatch):
            batches[fact.account_id].append(fact)
        else:
            changes[fact.account_id].append(fact)
    found = Sightings()
    for account_id, of_account in batches.items():
        _see_events(account_id, of_account, found)
    for account_id, told in changes.items():
        _see_people(account_id, told, found)
    return found


def _see_events(account_id: int, batches: Sequence[facts_pb2.EventBatch], found: Sightings) -> None:
    table: dict[NameKey, int] = {}
    series_parts: list[NDArray[np.intp]] = []
    details: list[str] = []
    for batch in batches:
        if not batch.mpids:
            continue
        kinds = len(batch.kinds)
        codes = np.array(batch.source_indexes, np.int64) * kinds + np.array(batch.kind_indexes, np.int64)
        pairs, places, counts = np.unique(codes, return_inverse=True, return_counts=True)
        numbers = []
        for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
            source, kind = batch.sources[pair // kinds], batch.kinds[pair % kinds]
            key = NameKey(account_id, source.workspace_id, source.input_id, int(kind.type), kind.name)
            numbers.append(table.setdefault(key, len(table)))
            _count(found.names, key, count, batch.receive_time_ms)
        series_parts.append(np.array(numbers, np.intp)[places])
        details.extend(batch.details)
    if not details:
        return
    texts, details_codes = different(details)
    series = np.concatenate(series_parts)
    pairs, groups, sizes = np.unique(series * len(texts) + details_codes, return_inverse=True, return_counts=True)
    rows = _GroupedRows(
        np.concatenate([np.array(batch.mpids, np.int64) for batch in batches]),
        np.concatenate([np.full(len(batch.mpids), batch.receive_time_ms) for batch in batches]),
        groups.astype(np.intp),
        sizes.astype(np.intp),
    )
    columns: dict[tuple[int, int, str], _Column] = defaultdict(_Column)
    # Text by text, so that what is decoded of one is forgotten before the next.
    by_text = np.argsort(pairs % len(texts), kind="stable")
    decoded, held = -1, list[Held]()
    for group, place, text in zip(
        by_text.tolist(), (pairs // len(texts))[by_text].tolist(), (pairs % len(texts))[by_text].tolist(), strict=True
    ):
        if text != decoded:
            decoded, held = text, _attributes_of(texts[text])
        for kind, name, value in held:
            column = columns[(place, kind, name)]
            if value.__class__ is str:
                column.values.append(value)
                column.rows.append(group)
            else:
                _put(column, value, group)
    keys = list(table)
    for (place, kind, attribute), column in columns.items():
        _, workspace_id, input_id, type_, name = keys[place]
        found.attributes[AttributeKey(account_id, workspace_id, input_id, kind, type_, name, attribute)] = _seen(column, rows)


def _see_people(account_id: int, messages: Sequence[facts_pb2.ProfileChanges], found: Sightings) -> None:
    mpids, arrived = list[int](), list[int]()
    columns: dict[tuple[int, int, str], _Column] = defaultdict(_Column)
    for message in messages:
        for change in message.changes:
            if not change.set_attributes:
                continue
            for name, value in change.set_attributes.items():
                _put(columns[(change.workspace_id, change.input_id, name)], _sent(value), len(mpids))
            mpids.append(change.mpid)
            arrived.append(message.receive_time_ms)
    rows = _Rows(np.array(mpids, np.int64), np.array(arrived, np.int64))
    for (workspace_id, input_id, name), column in columns.items():
        key = AttributeKey(account_id, workspace_id, input_id, CatalogueKind.USER_ATTRIBUTE, 0, "", name)
        found.attributes[key] = _seen(column, rows)


def _sent(value: identity_pb2.AttributeValue) -> str | list[str]:
    match value.WhichOneof("kind"):
        case "string_value":
            return value.string_value
        case "number_value":
            return value.number_value
        case "boolean_value":
            return "true" if value.boolean_value else "false"
        case "list_value":
            return list(value.list_value.values)
        case _:
            return ""


def _put(column: _Column, value: str | list[str], row: int) -> None:
    if isinstance(value, str):
        column.values.append(value)
        column.rows.append(row)
    else:
        column.lists.append(value)
        column.rows_of_lists.append(row)


def _attributes_of(details: str) -> list[Held]:
    """Kind, name and value of each attribute that an event's details hold. Details that are no JSON object hold none."""
    if not details:
        return []
    try:
        known = _DECODER.decode(details)
    except (msgspec.DecodeError, RecursionError):
        return []
    if not isinstance(known, dict):
        return []
    found: list[Held] = []
    _add(found, int(CatalogueKind.EVENT_ATTRIBUTE), known.get("attributes"))
    products = known.get("products")
    for product in products if isinstance(products, list) else ():
        if isinstance(product, dict):
            _add(found, int(CatalogueKind.PRODUCT_ATTRIBUTE), product.get("attributes"))
    return found


def _add(found: list[Held], kind: int, attributes: Any) -> None:
    if not isinstance(attributes, dict):
        return
    for name, value in attributes.items():
        shown = value if value.__class__ is str else _shown(value)
        if shown is not None:
            found.append((kind, name, shown))


def _shown(value: Any) -> str | list[str] | None:
    """A text, or the entries of a list; None for what no attribute can be."""
    if isinstance(value, list):
        return value if all(isinstance(entry, str) for entry in value) else None
    return text_of(value)


def _seen(column: _Column, rows: _Rows) -> AttributeSeen:
    texts, codes = different([value[:VALUE_MAX] for value in column.values])
    at, places = rows.expand(np.array(column.rows, np.intp))
    lists_at, list_places = rows.expand(np.array(column.rows_of_lists, np.intp))
    arrived = rows.arrived_ms[np.concatenate([at, lists_at])]
    types: dict[AttributeType, int] = defaultdict(int)
    for text, count in zip(texts, np.bincount(codes[places], minlength=len(texts)).tolist(), strict=True):
        types[type_of(text)] += count
    if len(lists_at):
        types[AttributeType.LIST] += len(lists_at)
    value_places, mpids = codes[places], rows.mpids[at]
    if column.lists:
        # Entries are values: each of them counts for every row of its list.
        entries = [[entry[:VALUE_MAX] for entry in entries] for entries in column.lists]
        lengths = np.array([len(one) for one in entries], np.intp)
        texts, codes = different([*texts, *(entry for one in entries for entry in one)])
        of_entries = codes[len(codes) - int(lengths.sum()) :]
        starts = np.cumsum(lengths) - lengths
        repeats = lengths[list_places]
        within = np.arange(int(repeats.sum())) - np.repeat(np.cumsum(repeats) - repeats, repeats)
        value_places = np.concatenate([value_places, of_entries[np.repeat(starts[list_places], repeats) + within]])
        mpids = np.concatenate([mpids, np.repeat(rows.mpids[lists_at], repeats)])
    told = Told.of(texts, value_places, mpids) if texts else None
    return AttributeSeen(len(arrived), int(arrived.min()), int(arrived.max()), dict(types), told)


def _count(names: dict[NameKey, Seen], key: NameKey, count: int, arrived_ms: int) -> None:
    seen = names.get(key)
    if seen is None:
        names[key] = Seen(count, arrived_ms, arrived_ms)
        return
    seen.count += count
    seen.first_ms = min(seen.first_ms, arrived_ms)
    seen.last_ms = max(seen.last_ms, arrived_ms)


def listable(key: Sequence[Any] | Mapping[str, Any]) -> bool:
    """Whether a database can keep all texts of a key."""
    return all(len(text) <= NAME_MAX and "\0" not in text for text in key if isinstance(text, str))
