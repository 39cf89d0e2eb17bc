"""What arrived, as columns: the messages of one account that a round takes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from muster.ingest.v1 import facts_pb2
from numpy.typing import NDArray

from services.chassis.partition import partitions_of
from services.evaluator.engine.facts import Series

T = TypeVar("T", bound=np.generic)


BATCH_ID_MAX = 64
_TYPE_MAX = 2**15 - 1  # the event store keeps a type in 16 bits
# The batch id of what an evaluator tells again, of the one with whom a person is one: how often, and what it was first.
_AGAIN = re.compile(r"again-(?P<times>\d+)-(?P<told>\d+)-\d+-\d+")
_AGAIN_MAX = 16


class Malformed(Exception):
    """A message that makes no sense, such as columns that do not fit together; it goes to the dead letters."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """One message of the stream EVENTS, decoded."""

    partition: int
    sequence: int
    batch_id: str
    account_id: int
    receive_time_ms: int
    events: facts_pb2.EventBatch | None = None
    profiles: facts_pb2.ProfileChanges | None = None

    @property
    def rows(self) -> int:
        return len(self.events.mpids) if self.events is not None else len(self.profiles.changes) if self.profiles is not None else 0

    @property
    def mpids(self) -> NDArray[np.int64]:
        """Whom each row is about."""
        changes = self.profiles.changes if self.profiles is not None else ()
        return np.array(self.events.mpids if self.events is not None else [change.mpid for change in changes], np.int64)

    @property
    def told_sequence(self) -> int:
        """Where in the stream this was told for the first time, if an evaluator tells it again; else where it is."""
        again = _AGAIN.fullmatch(self.batch_id)
        return int(again["told"]) if again is not None else self.sequence


def told_again(source: Arrived, number: int) -> str:
    """The batch id of what is told again of a source, the number-th of its round."""
    before = _AGAIN.fullmatch(source.batch_id)
    return f"again-{int(before['times']) + 1 if before else 1}-{source.told_sequence}-{source.sequence}-{number}"


def decode(subject: str, sequence: int, body: bytes, partitions: int) -> Arrived:
    """The message of a subject `muster.events.<partition>` or `muster.profiles.<partition>`, of so many. Raises Malformed."""
    _, kind, number = subject.split(".", 2)
    partition = int(number)
    try:
        message = facts_pb2.EventBatch.FromString(body) if kind == "events" else facts_pb2.ProfileChanges.FromString(body)
    except Exception as error:  # protobuf's DecodeError has no common public base across its implementations
        raise Malformed(f"not a message of {subject}: {error}") from error
    if not 0 < len(message.batch_id) <= BATCH_ID_MAX or "\0" in message.batch_id:
        raise Malformed(f"a batch id of {len(message.batch_id)} characters: 1 to {BATCH_ID_MAX} can be kept, and no NUL among them")
    again = _AGAIN.fullmatch(message.batch_id)
    if again is not None and int(again["times"]) > _AGAIN_MAX:
        raise Malformed(f"told again {_AGAIN_MAX} times: people of batch {message.batch_id} are merged in a circle")
    if isinstance(message, facts_pb2.EventBatch):
        _check_columns(message)
        arrived = Arrived(partition, sequence, message.batch_id, message.account_id, message.receive_time_ms, events=message)
    else:
        arrived = Arrived(partition, sequence, message.batch_id, message.account_id, message.receive_time_ms, profiles=message)
    mpids = arrived.mpids
    if not mpids.all():
        raise Malformed(f"batch {message.batch_id} tells of nobody: no person has the MPID 0")
    if (partitions_of(message.account_id, mpids, partitions) != partition).any():
        raise Malformed(f"batch {message.batch_id} holds people of other partitions: it was cut for another number of partitions")
    return arrived


def _check_columns(batch: facts_pb2.EventBatch) -> None:
    rows = len(batch.mpids)
    columns = (batch.times_ms, batch.event_ids, batch.source_indexes, batch.kind_indexes, batch.context_indexes, batch.details)
    if any(len(column) != rows for column in columns):
        raise Malformed(f"the columns of batch {batch.batch_id} have different lengths")
    tables = ((batch.source_indexes, batch.sources), (batch.kind_indexes, batch.kinds), (batch.context_indexes, batch.contexts))
    if rows and any(max(indexes) >= len(table) for indexes, table in tables):
        raise Malformed(f"an index of batch {batch.batch_id} lies outside its table")
    if any(not 0 <= kind.type <= _TYPE_MAX for kind in batch.kinds):
        raise Malformed(f"batch {batch.batch_id} holds a type of event that there can't be")


@dataclass(slots=True)
class EventColumns:
    """Events of one account; row i of every column is one event. `series` and `workspaces` are tables that the codes point into."""

    mpids: NDArray[np.int64]
    times_ms: NDArray[np.int64]
    event_ids: NDArray[np.int64]
    series_codes: NDArray[np.int32]
    series: list[Series]
    workspaces: list[int]  # of each series
    partitions: NDArray[np.int32]
    sequences: NDArray[np.int64]
    contexts: Sequence[tuple[str, str, str, str]] = field(default_factory=list)
    context_codes: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    details: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.mpids)


def columns_of(arrived: Sequence[Arrived]) -> EventColumns:
    """The events of the messages, in their order, as one set of columns."""
    series: dict[tuple[int, int, int, str], int] = {}
    contexts: dict[tuple[str, str, str, str], int] = {}
    parts: list[tuple[NDArray[np.int64], ...]] = []
    series_codes: list[NDArray[np.int32]] = []
    context_codes: list[NDArray[np.int32]] = []
    partitions: list[NDArray[np.int32]] = []
    sequences: list[NDArray[np.int64]] = []
    details: list[str] = []
    for message in arrived:
        batch = message.events
        if batch is None or not batch.mpids:
            continue
        rows = len(batch.mpids)
        kinds = np.array(batch.kind_indexes, np.int64)
        sources = np.array(batch.source_indexes, np.int64)
        pairs, codes = np.unique(sources * len(batch.kinds) + kinds, return_inverse=True)
        table = []
        for pair in pairs.tolist():
            source, kind = batch.sources[pair // len(batch.kinds)], batch.kinds[pair % len(batch.kinds)]
            key = (source.workspace_id, source.input_id, int(kind.type), kind.name)
            table.append(series.setdefault(key, len(series)))
        series_codes.append(np.array(table, np.int32)[codes])
        own = [(c.application_version, c.application_build, c.platform, c.os_version) for c in batch.contexts]
        own_codes = np.array([contexts.setdefault(context, len(contexts)) for context in own], np.int32)
        context_codes.append(own_codes[np.array(batch.context_indexes, np.int64)])
        parts.append((np.array(batch.mpids, np.int64), np.array(batch.times_ms, np.int64), np.array(batch.event_ids, np.int64)))
        details.extend(batch.details)
        partitions.append(np.full(rows, message.partition, np.int32))
        sequences.append(np.full(rows, message.sequence, np.int64))
    return EventColumns(
        mpids=_joined((part[0] for part in parts), np.int64),
        times_ms=_joined((part[1] for part in parts), np.int64),
        event_ids=_joined((part[2] for part in parts), np.int64),
        series_codes=_joined(series_codes, np.int32),
        series=[Series(input_id, type_, name) for _, input_id, type_, name in series],
        workspaces=[workspace_id for workspace_id, _, _, _ in series],
        partitions=_joined(partitions, np.int32),
        sequences=_joined(sequences, np.int64),
        contexts=list(contexts),
        context_codes=_joined(context_codes, np.int32),
        details=details,
    )


def _joined(parts: Iterable[NDArray[T]], dtype: type[T]) -> NDArray[T]:
    return np.concatenate([np.empty(0, dtype), *parts])
