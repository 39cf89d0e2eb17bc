"""The facts of a table: the same messages as those of `facts`, made by column.

A message of Protocol Buffers that is written behind another one of its type adds to it. So the many rows of a message are pieces of bytes
that stand one after the other, and each piece is joined from the pieces of its columns, for all rows at once. What comes before a text
depends on nothing but the text's length: the library writes it once for each length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from itertools import pairwise
from uuid import uuid4

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.message import Message
from muster.ingest.v1 import facts_pb2, identity_pb2

from services.chassis.bus import Outgoing, headers_of
from services.chassis.partition import partitions_of
from services.chassis.streams import events_subject, profiles_subject
from services.ingest.domain.model import Identity, Value
from services.ingest.domain.table import Array, Cells, Flags, Ints, Kind, Table
from services.ingest.facts import PIECE_BYTES, set_value
from services.ingest.inputs import Input

_EVENT_BYTES = 40
_decode = msgspec.json.Decoder(float_hook=Decimal).decode
# Wire types 2 of the fields `ProfileChanges.changes` and `EventBatch.details`: their length comes next, then their bytes.
_CHANGE_TAG = facts_pb2.ProfileChanges.DESCRIPTOR.fields_by_name["changes"].number << 3 | 2
_DETAILS_TAG = facts_pb2.EventBatch.DESCRIPTOR.fields_by_name["details"].number << 3 | 2


@dataclass(frozen=True, slots=True)
class ResolvedTable:
    """A table of which it is known who its rows are about and which of them count."""

    input: Input
    table: Table
    # Of each row.
    mpids: Ints
    event_ids: Ints
    # The rows that were not sent before.
    stay: Flags
    # Of rows: identities that are new.
    added: dict[int, list[Identity]]


def messages_of(resolved: ResolvedTable, *, partitions: int, receive_time_ms: int) -> list[Outgoing]:
    """The messages, in the order in which they must be published: of each partition the people first and then the events."""
    rows = np.flatnonzero(resolved.stay)
    partition_of = partitions_of(resolved.input.account_id, resolved.mpids[rows], partitions)
    order = np.argsort(partition_of, kind="stable")
    rows, partition_of = rows[order], partition_of[order]
    tells, event = _tells(resolved)[rows], resolved.table.kind_of[rows] >= 0
    changes = _change_messages(resolved, rows[tells], partition_of[tells], receive_time_ms) if tells.any() else []
    return [*changes, *(_event_messages(resolved, rows[event], partition_of[event], receive_time_ms) if event.any() else [])]


def _tells(resolved: ResolvedTable) -> Flags:
    """The rows that tell something about people; one that is no event at least says "here"."""
    tells: Flags = resolved.table.kind_of < 0
    said = [cells.values for cells in resolved.table.set_attributes.values()]
    if resolved.table.removed_attributes is not None:
        said.append(resolved.table.removed_attributes)
    for values in said:
        tells = tells | values.is_valid().to_numpy(zero_copy_only=False)
    tells[list(resolved.added)] = True
    return tells


# --- people


def _change_messages(resolved: ResolvedTable, rows: Ints, partition_of: Ints, receive_time_ms: int) -> Iterator[Outgoing]:
    input = resolved.input
    frames = _Frames(_changes(resolved, rows), _CHANGE_TAG)
    for partition, start, end in frames.pieces(partition_of, 0):
        head = facts_pb2.ProfileChanges(
            batch_id=uuid4().hex, account_id=input.account_id, partition=partition, receive_time_ms=receive_time_ms
        )
        body = head.SerializeToString() + frames.bytes_of(start, end)
        yield Outgoing(profiles_subject(partition), body, head.batch_id, headers_of(input.account_id))


def _changes(resolved: ResolvedTable, rows: Ints) -> Array:
    """A ProfileChange for each of the rows."""
    table, input = resolved.table, resolved.input
    at = pa.array(rows)
    source = facts_pb2.ProfileChange(workspace_id=input.workspace_id, input_id=input.input_id).SerializeToString()
    instants = pa.array(table.times_ms[rows]).dictionary_encode()
    since = [facts_pb2.ProfileChange(time_ms=time_ms).SerializeToString() for time_ms in instants.dictionary.to_pylist()]
    parts = [
        _mpids(resolved.mpids[rows]),
        pa.repeat(pa.scalar(source, pa.binary()), len(rows)),
        pa.array(since, pa.binary()).take(instants.indices),
    ]
    if resolved.added:
        parts += _added_identities(resolved, rows.tolist())
    for name, cells in table.set_attributes.items():
        parts.append(_set_attribute(name, cells, at))
    if table.removed_attributes is not None:
        removed = table.removed_attributes.take(at).to_pylist()
        parts.append(
            pa.array(
                [facts_pb2.ProfileChange(removed_attributes=names).SerializeToString() if names else None for names in removed], pa.binary()
            )
        )
    return pc.binary_join_element_wise(*parts, b"", null_handling="replace", null_replacement=b"")


def _mpids(mpids: Ints) -> Array:
    """ProfileChanges that say nothing but whose they are: the number stands there in eight bytes, behind its tag."""
    tag = facts_pb2.ProfileChange(mpid=1).SerializeToString()[:-8]
    written = np.empty((len(mpids), len(tag) + 8), np.uint8)
    written[:, : len(tag)] = np.frombuffer(tag, np.uint8)
    written[:, len(tag) :] = mpids.astype("<i8").view(np.uint8).reshape(-1, 8)
    whole = pa.FixedSizeBinaryArray.from_buffers(pa.binary(len(tag) + 8), len(mpids), [None, pa.py_buffer(written)])
    return whole.cast(pa.binary())


def _added_identities(resolved: ResolvedTable, rows: list[int]) -> list[Array]:
    """For each type of identity, ProfileChanges that add the new ones of each row."""
    places = {row: number for number, row in enumerate(rows)}
    columns: dict[int, list[str | None]] = {}
    for row, new in resolved.added.items():
        for identity in new:
            if identity.type not in columns:
                columns[identity.type] = [None] * len(rows)
            columns[identity.type][places[row]] = identity.value

    def adding(type_: int, text: str) -> Message:
        return facts_pb2.ProfileChange(added_identities=[identity_pb2.Identity(type=type_, value=text)])  # type: ignore[arg-type]

    return [_before_text(pa.array(values, pa.string()), partial(adding, type_)) for type_, values in columns.items()]


def _set_attribute(name: str, cells: Cells, rows: Array) -> Array:
    """A ProfileChange that sets the attribute, for each of the rows that has it."""

    def setting(value: identity_pb2.AttributeValue) -> Message:
        return facts_pb2.ProfileChange(set_attributes={name: value})

    values = cells.values.take(rows)
    match cells.kind:
        case Kind.TEXT:
            return _before_text(values, lambda text: setting(identity_pb2.AttributeValue(string_value=text)))
        case Kind.NUMBER:
            return _before_text(values, lambda text: setting(identity_pb2.AttributeValue(number_value=text)))
        case Kind.BOOLEAN:
            true, false = (setting(identity_pb2.AttributeValue(boolean_value=flag)).SerializeToString() for flag in (True, False))
            return pc.if_else(values, pa.scalar(true, pa.binary()), pa.scalar(false, pa.binary()))
        case Kind.JSON:
            decoded = [None if text is None else _decode(text) for text in values.to_pylist()]
            return pa.array([None if value is None else setting(_any_value(value)).SerializeToString() for value in decoded], pa.binary())
        case Kind.LIST:
            written = [None if value is None else _list_value(value) for value in values.to_pylist()]
            return pa.array([None if value is None else setting(value).SerializeToString() for value in written], pa.binary())


def _list_value(texts: Sequence[str]) -> identity_pb2.AttributeValue:
    return identity_pb2.AttributeValue(list_value=identity_pb2.StringList(values=texts))


def _any_value(value: Value) -> identity_pb2.AttributeValue:
    written = identity_pb2.AttributeValue()
    set_value(written, value)
    return written


def _before_text(values: Array, message_of: Callable[[str], Message]) -> Array:
    """Messages that end with a text, one for each of the texts; null where there is none."""
    lengths = pc.binary_length(values).dictionary_encode()
    heads = []
    for length in lengths.dictionary.to_pylist():
        whole = message_of("x" * length).SerializeToString()
        heads.append(whole[: len(whole) - length])
    return pc.binary_join_element_wise(pa.array(heads, pa.binary()).take(lengths.indices), values.cast(pa.binary()), b"")


# --- events


def _event_messages(resolved: ResolvedTable, rows: Ints, partition_of: Ints, receive_time_ms: int) -> Iterator[Outgoing]:
    table, input = resolved.table, resolved.input
    details = table.details.take(pa.array(rows)) if table.details is not None else pa.repeat("", len(rows))
    frames = _Frames(details.cast(pa.binary()), _DETAILS_TAG)
    context = facts_pb2.EventContext(
        application_version=table.context.application_version,
        application_build=table.context.application_build,
        platform=table.context.platform,
        os_version=table.context.os_version,
    )
    for partition, start, end in frames.pieces(partition_of, _EVENT_BYTES):
        here = rows[start:end]
        kinds, kind_indexes = np.unique(table.kind_of[here], return_inverse=True)
        head = facts_pb2.EventBatch(
            batch_id=uuid4().hex,
            account_id=input.account_id,
            partition=partition,
            receive_time_ms=receive_time_ms,
            sources=[facts_pb2.EventSource(input_id=input.input_id, workspace_id=input.workspace_id)],
            kinds=[facts_pb2.EventKind(type=type_, name=name) for type_, name in (table.kinds[kind] for kind in kinds)],
            contexts=[context],
            mpids=resolved.mpids[here].tolist(),
            times_ms=table.times_ms[here].tolist(),
            event_ids=resolved.event_ids[here].tolist(),
            source_indexes=[0] * len(here),
            kind_indexes=kind_indexes.tolist(),
            context_indexes=[0] * len(here),
        )
        body = head.SerializeToString() + frames.bytes_of(start, end)
        yield Outgoing(events_subject(partition), body, head.batch_id, headers_of(input.account_id))


# --- bytes


class _Frames:
    """Values of a repeated field, one after the other as they stand in a message: tag, length, bytes."""

    def __init__(self, values: Array, tag: int) -> None:
        lengths = pc.binary_length(values).dictionary_encode()
        heads = pa.array([_varint(tag) + _varint(length) for length in lengths.dictionary.to_pylist()], pa.binary())
        framed = pc.binary_join_element_wise(heads.take(lengths.indices), values, b"")
        _, ends, data = framed.buffers()
        self._ends = np.frombuffer(ends, np.int32)[: len(framed) + 1].astype(np.int64)
        self._data = memoryview(data)

    def pieces(self, partition_of: Ints, row_bytes: int) -> Iterator[tuple[int, int, int]]:
        """Partition, first row and row after the last one, of each message; the rows are in the order of their partitions."""
        ends = self._ends + row_bytes * np.arange(len(self._ends))
        bounds = [*np.flatnonzero(np.diff(partition_of, prepend=-1)).tolist(), len(partition_of)]
        for start, end in pairwise(bounds):
            while start < end:
                fits = int(np.searchsorted(ends, ends[start] + PIECE_BYTES, "right")) - 1
                stop = min(end, max(fits, start + 1))
                yield int(partition_of[start]), start, stop
                start = stop

    def bytes_of(self, start: int, end: int) -> bytes:
        """The values of these rows."""
        return bytes(self._data[self._ends[start] : self._ends[end]])


def _varint(number: int) -> bytes:
    """A number as Protocol Buffers write it: seven bits a byte, the lowest first."""
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)
