"""People who end: deleted, or found to be one with another (docs/concepts/criteria.md: Merged and deleted people).

What was told of somebody who is merged is told again of the one who stays: as messages of the stream EVENTS, since that person may
belong to another partition and evaluator. What is told of the MPID later goes the same way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np
from muster.ingest.v1 import facts_pb2
from numpy.typing import NDArray

from services.chassis.bus import headers_of
from services.chassis.partition import partition_of
from services.chassis.publisher import Outgoing
from services.chassis.streams import events_subject, profiles_subject
from services.evaluator.intake import Arrived, told_again
from services.evaluator.lookup import Lookup

NOBODY = 0  # whom a deleted person is one with; nobody has this MPID
_MESSAGE_ROWS = 2_000
_MESSAGE_BYTES = 500_000


@dataclass(frozen=True, slots=True)
class Ended:
    """Somebody's end. Nothing counts any more that was told of the MPID up to this sequence of the stream."""

    mpid: int
    into: int  # NOBODY: deleted
    sequence: int
    source: Arrived


@dataclass(frozen=True, slots=True)
class Told:
    """A row of a message, to be told again of somebody else."""

    source: Arrived
    row: int
    mpid: int


class Endings:
    """Who ended, of one account."""

    def __init__(self) -> None:
        self._merged = Lookup(NOBODY)  # into whom
        self._deleted = Lookup(-1)  # at which sequence

    def enter(self, ended: Iterable[tuple[int, int, int]]) -> None:
        """(MPID, whom they are one with, sequence) of these; of an MPID that ended before, the last one holds."""
        by_mpid = {mpid: (into, sequence) for mpid, into, sequence in ended}
        mpids = np.array(list(by_mpid), np.int64)
        into = np.array([into for into, _ in by_mpid.values()], np.int64)
        sequences = np.array([sequence for _, sequence in by_mpid.values()], np.int64)
        self._merged.remove(mpids)
        self._deleted.remove(mpids)
        self._merged.enter(mpids[into != NOBODY], into[into != NOBODY])
        self._deleted.enter(mpids[into == NOBODY], sequences[into == NOBODY])

    def into(self, mpid: int) -> int:
        """Whom a person is one with; NOBODY: they were not merged."""
        return int(self._merged.find(np.array([mpid], np.int64))[0])

    def split(self, message: Arrived) -> tuple[Arrived, list[Told]]:
        """What a message tells of people as they are, and what it tells of those who are one with another by now.

        What is told again of somebody who was deleted after it was told for the first time, is gone with them.
        """
        is_again = message.told_sequence != message.sequence
        if not is_again and not len(self._merged):
            return message, []
        mpids = message.mpids
        into = self._merged.find(mpids)
        stays = into == NOBODY
        if is_again:
            stays &= self._deleted.find(mpids) < message.told_sequence
        told = [Told(message, row, int(into[row])) for row in np.flatnonzero(into).tolist()]
        return (message if stays.all() else rows_of(message, np.flatnonzero(stays))), told


@dataclass(slots=True)
class Piece:
    """Messages in which nobody ends, and who ends after them."""

    arrived: list[Arrived] = field(default_factory=list)
    ends: list[Ended] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)


def pieces_of(arrived: Sequence[Arrived], endings: Endings) -> Iterator[Piece]:
    """What arrived, cut where people end. Whoever takes a piece enters its ends before asking for the next one.

    The last piece has no ends. What a message tells of somebody who ends in it goes with them.
    """
    piece = Piece()
    for message in arrived:
        left, told = endings.split(message)
        ends = _ends_of(left)
        if ends:
            mpids = {ended.mpid for ended in ends}
            left = rows_of(left, np.array([row for row, mpid in enumerate(left.mpids.tolist()) if mpid not in mpids], np.int64))
        piece.told += told
        if left.rows:
            piece.arrived.append(left)
        if ends:
            piece.ends = ends
            yield piece
            piece = Piece()
    yield piece


def _ends_of(message: Arrived) -> list[Ended]:
    changes = message.profiles.changes if message.profiles is not None else ()
    ends = {
        change.mpid: Ended(change.mpid, NOBODY if change.deleted else change.merged_into, message.sequence, message)
        for change in changes
        if change.deleted or change.merged_into not in (NOBODY, change.mpid)
    }
    return list(ends.values())


def messages_of(account_id: int, partitions: int, told: Sequence[Told]) -> Iterator[Outgoing]:
    """What is to be told again, in its order for each person, as messages for the partitions of those who stay."""
    numbers = count()
    places: dict[tuple[int, int], list[Told]] = defaultdict(list)  # of each source, by partition
    for one in told:
        places[id(one.source), partition_of(account_id, one.mpid, partitions)].append(one)
    for (_, partition), some in places.items():
        for part in _cut(some):
            source = part[0].source
            again = rows_of(source, np.array([one.row for one in part], np.int64))
            message: facts_pb2.EventBatch | facts_pb2.ProfileChanges
            if again.events is not None:
                subject, message = events_subject(partition), again.events
                message.mpids[:] = [one.mpid for one in part]
            else:
                assert again.profiles is not None
                subject, message = profiles_subject(partition), again.profiles
                for one, change in zip(part, message.changes, strict=True):
                    change.mpid, change.time_ms = one.mpid, change.time_ms or source.receive_time_ms
            message.batch_id = told_again(source, next(numbers))
            message.account_id, message.partition, message.receive_time_ms = account_id, partition, source.receive_time_ms
            yield Outgoing(subject, message.SerializeToString(), f"{account_id}.{message.batch_id}", headers_of(account_id))


def rows_of(message: Arrived, rows: NDArray[np.int64]) -> Arrived:
    """Some rows of a message; a copy."""
    chosen = rows.tolist()
    if message.profiles is not None:
        return replace(message, profiles=facts_pb2.ProfileChanges(changes=[message.profiles.changes[row] for row in chosen]))
    batch = message.events
    assert batch is not None
    return replace(
        message,
        events=facts_pb2.EventBatch(
            sources=batch.sources,
            kinds=batch.kinds,
            contexts=batch.contexts,
            mpids=[batch.mpids[row] for row in chosen],
            times_ms=[batch.times_ms[row] for row in chosen],
            event_ids=[batch.event_ids[row] for row in chosen],
            source_indexes=[batch.source_indexes[row] for row in chosen],
            kind_indexes=[batch.kind_indexes[row] for row in chosen],
            context_indexes=[batch.context_indexes[row] for row in chosen],
            details=[batch.details[row] for row in chosen],
        ),
    )


def _cut(told: Sequence[Told]) -> Iterator[list[Told]]:
    """In parts that a message can hold."""
    part, size = list[Told](), 0
    for one in told:
        events, profiles = one.source.events, one.source.profiles
        length = len(events.details[one.row].encode()) if events is not None else profiles.changes[one.row].ByteSize() if profiles else 0
        if part and (len(part) == _MESSAGE_ROWS or size + length > _MESSAGE_BYTES):
            yield part
            part, size = [], 0
        part.append(one)
        size += length
    if part:
        yield part
