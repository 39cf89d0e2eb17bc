"""Rows of the event store: what arrives as Arrow tables, and what is read back."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from muster.ingest.v1 import facts_pb2, identity_pb2
from numpy.typing import NDArray

from services.evaluator.engine.facts import EventContext, Value
from services.evaluator.engine.values import decimal_of
from services.evaluator.intake import EventColumns

# Kinds of rows that are not values: an identity that somebody has no longer, a sign of life, and the place of an event that is forgotten.
GONE, HERE, PLACE = "identity gone", "here", "place"


@dataclass(frozen=True, slots=True)
class AttributeRow:
    """One change of something known of a person; the value None removes it. `kind` is that of the property, empty for a user attribute."""

    workspace_id: int
    attribute: str
    mpid: int
    time_ms: int
    value: Value | None
    partition: int
    sequence: int
    kind: str = ""


def value_of(attribute: identity_pb2.AttributeValue) -> Value:
    """The value of an attribute as the engine takes it: numbers as the decimals that were written; one that isn't a decimal is text."""
    match attribute.WhichOneof("kind"):
        case "string_value":
            return attribute.string_value
        case "number_value":
            number = decimal_of(attribute.number_value)
            return attribute.number_value if number is None else number
        case "boolean_value":
            return attribute.boolean_value
        case "list_value":
            return tuple(attribute.list_value.values)
        case _:
            return ""


def attribute_of(value: Value) -> identity_pb2.AttributeValue:
    """The reverse of `value_of`."""
    match value:
        case bool():
            return identity_pb2.AttributeValue(boolean_value=value)
        case str():
            return identity_pb2.AttributeValue(string_value=value)
        case list() | tuple():
            return identity_pb2.AttributeValue(list_value=identity_pb2.StringList(values=map(str, value)))
        case _:
            return identity_pb2.AttributeValue(number_value=str(value))


def events_table(account_id: int, events: EventColumns) -> pa.Table:
    codes = events.series_codes
    contexts = list(zip(*events.contexts, strict=True)) or [(), (), (), ()]

    def by_series(values: Sequence[int], type_: pa.DataType) -> pa.Array:
        return pa.array(np.array(values, np.int64)[codes]).cast(type_)

    def by_context(place: int) -> pa.Array:
        return pa.array(contexts[place], pa.string()).take(pa.array(events.context_codes))

    return pa.table(
        {
            "account_id": pa.array(np.full(len(events), account_id, np.int64)),
            "workspace_id": by_series(events.workspaces, pa.int64()),
            "input_id": by_series([series.input_id for series in events.series], pa.int64()),
            "type": by_series([series.type for series in events.series], pa.int16()),
            "name": pa.array([series.name for series in events.series], pa.string()).take(pa.array(codes)),
            "mpid": pa.array(events.mpids),
            "time_ms": pa.array(events.times_ms),
            "event_id": pa.array(events.event_ids),
            "partition": pa.array(events.partitions.astype(np.uint16)),
            "sequence": pa.array(events.sequences.astype(np.uint64)),
            "position": pa.array(_positions(events), pa.uint32()),
            "application_version": by_context(0),
            "application_build": by_context(1),
            "platform": by_context(2),
            "os_version": by_context(3),
            "details": pa.array(events.details, pa.string()),
        }
    )


def attributes_table(account_id: int, rows: Sequence[AttributeRow]) -> pa.Table:
    return pa.table(
        {
            "account_id": pa.array([account_id] * len(rows), pa.int64()),
            "workspace_id": pa.array([row.workspace_id for row in rows], pa.int64()),
            "kind": pa.array([row.kind for row in rows], pa.string()),
            "attribute": pa.array([row.attribute for row in rows], pa.string()),
            "mpid": pa.array([row.mpid for row in rows], pa.int64()),
            "time_ms": pa.array([row.time_ms for row in rows], pa.int64()),
            "value": pa.array([_text_of(row) for row in rows], pa.string()),
            "partition": pa.array([row.partition for row in rows], pa.uint16()),
            "sequence": pa.array([row.sequence for row in rows], pa.uint64()),
            "position": pa.array(range(len(rows)), pa.uint32()),
        }
    )


def batch_of(rows: Sequence[Sequence[Any]]) -> facts_pb2.EventBatch:
    """Events as the stream brings them."""
    sources, kinds, contexts = dict[Any, int](), dict[Any, int](), dict[Any, int]()
    batch = facts_pb2.EventBatch()
    for mpid, time_ms, event_id, details, source, kind, context in rows:
        batch.mpids.append(mpid)
        batch.times_ms.append(time_ms)
        batch.event_ids.append(event_id)
        batch.details.append(details)
        batch.source_indexes.append(sources.setdefault(source, len(sources)))
        batch.kind_indexes.append(kinds.setdefault(kind, len(kinds)))
        batch.context_indexes.append(contexts.setdefault(context, len(contexts)))
    batch.sources.extend(facts_pb2.EventSource(input_id=input_id, workspace_id=workspace_id) for input_id, workspace_id in sources)
    batch.kinds.extend(facts_pb2.EventKind(type=type_, name=name) for type_, name in kinds)
    batch.contexts.extend(facts_pb2.EventContext(**dict(zip(EventContext._fields, context, strict=True))) for context in contexts)
    return batch


def _text_of(row: AttributeRow) -> str | None:
    """A value as JSON; a number keeps its digits. A place is JSON already."""
    if row.value is None or row.kind == PLACE:
        return row.value  # type: ignore[return-value]  # a place is a text
    return str(row.value) if isinstance(row.value, Decimal) else msgspec.json.encode(row.value).decode()


def value_in(kind: str, text: str | None) -> Value | None:
    """The reverse."""
    return text if text is None or kind == PLACE else value_from(text)


def value_from(text: str) -> Value:
    with contextlib.suppress(ArithmeticError):
        if text[0] not in '"[tf':
            return Decimal(text)
    value: Value = msgspec.json.decode(text)
    return value


def _positions(events: EventColumns) -> NDArray[np.int64]:
    """The number of each row in its message; the messages come one after the other."""
    rows = np.arange(len(events))
    same = (events.sequences[1:] == events.sequences[:-1]) & (events.partitions[1:] == events.partitions[:-1])
    begins = np.append(True, ~same)[: len(rows)]
    return rows - np.maximum.accumulate(np.where(begins, rows, 0))
