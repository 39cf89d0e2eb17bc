"""The membership facts of a round: one message an audience, in pieces where it is large (protos/muster/evaluator/v1/facts.proto)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from muster.evaluator.v1 import facts_pb2

from services.chassis.bus import headers_of
from services.chassis.publisher import Outgoing
from services.chassis.streams import memberships_subject
from services.evaluator.engine.facts import Changes
from services.evaluator.parts import Part, Parts, parts_of
from services.evaluator.population import Population, Turn

PIECE_CHANGES = 100_000
_MPID_BYTES = 8
_PARTITIONS = facts_pb2.MembershipChanges.PARTITIONS_FIELD_NUMBER
_ADDED, _DROPPED = facts_pb2.PartitionChanges.ADDED_FIELD_NUMBER, facts_pb2.PartitionChanges.DROPPED_FIELD_NUMBER


def membership_messages(
    population: Population,
    turn: Turn,
    parts: Parts,
    rounds: Mapping[int, int],
    as_of_ms: int,
    receive_time_ms: int,
    *,
    whole: bool = True,
) -> Iterator[Outgoing]:
    """The messages of what a turn changed. `parts`: its changes cut by partition; `rounds`: the round of each partition. Call it before
    `population.rounds` moves on.

    Only who has all partitions (`whole`) may say that an audience ended; another says of each person that they left: what the others
    tell of theirs may be newer.
    """
    for audience_id in sorted(turn.ended.keys() | turn.changes.keys()):
        some: Sequence[Part] = parts.by_audience.get(audience_id, [])
        if audience_id in turn.ended:
            some = _parts_of_ended(population, turn, audience_id, some, whole)
        if turn.gone:
            some = [_difference(part) for part in some]
        sections = [section for part in some for section in _sections(population, audience_id, part, rounds, receive_time_ms)]
        if not sections and not whole:
            continue
        audience = population.audiences.get(audience_id)
        for index, packed in enumerate(_packed(sections)):
            message = facts_pb2.MembershipChanges(
                account_id=population.account_id,
                audience_id=audience_id,
                as_of_ms=as_of_ms,
                revision=audience.revision if audience is not None else 0,
                ended=whole and audience_id in turn.ended and index == 0,
            )
            # The rounds of the partitions name the message: a repetition after a crash has the same id.
            yield Outgoing(
                memberships_subject(population.account_id, audience_id),
                b"".join([message.SerializeToString(), *(section.body for section in packed)]),
                f"{population.account_id}.{audience_id}.{'.'.join(section.name for section in packed)}",
                headers_of(population.account_id),
            )


def _parts_of_ended(population: Population, turn: Turn, audience_id: int, parts: Sequence[Part], whole: bool) -> Sequence[Part]:
    """A part for each partition that ever told of the audience."""
    if not whole:
        nobody = np.empty(0, np.int64)
        parts = parts_of(population.people, {audience_id: Changes(nobody, turn.ended[audience_id])}).by_audience[audience_id]
    changed = {part.partition for part in parts}
    told = {partition for audience, partition in population.rounds if audience == audience_id}
    return sorted([*parts, *(Part(partition, b"", b"") for partition in told - changed)])


def _difference(part: Part) -> Part:
    """Somebody who ended and came back in the turn, with another number, is one person to whoever is told."""
    added, dropped = np.frombuffer(part.added, "<i8"), np.frombuffer(part.dropped, "<i8")
    back = np.intersect1d(added, dropped)
    return Part(part.partition, *(side[~np.isin(side, back)].tobytes() for side in (added, dropped)))


class _Section(NamedTuple):
    """A PartitionChanges as it stands in the bytes of a MembershipChanges."""

    name: str
    changes: int
    body: bytes


def _sections(population: Population, audience_id: int, part: Part, rounds: Mapping[int, int], receive_time_ms: int) -> Iterator[_Section]:
    """A busy round has thousands, so the MPIDs are not taken out of their bytes: packed sfixed64 is what these are."""
    partition, round_, previous = part.partition, rounds[part.partition], population.rounds.get((audience_id, part.partition), 0)
    pieces = _pieces(part.added, part.dropped)
    for piece, (added, dropped) in enumerate(pieces):
        head = _head(partition, round_, previous, piece, len(pieces), receive_time_ms)
        sides = b"".join((head, _field(_ADDED, len(added)), added, _field(_DROPPED, len(dropped)), dropped))
        changes = (len(added) + len(dropped)) // _MPID_BYTES
        yield _Section(f"{partition}-{round_}-{piece}", changes, _field(_PARTITIONS, len(sides)) + sides)


@lru_cache(maxsize=10_000)
def _head(partition: int, round_: int, previous_round: int, piece: int, pieces: int, receive_time_ms: int) -> bytes:
    """All of it but the people: most audiences of a round have it in common."""
    return facts_pb2.PartitionChanges(
        partition=partition, round=round_, previous_round=previous_round, piece=piece, pieces=pieces, receive_time_ms=receive_time_ms
    ).SerializeToString()


@lru_cache(maxsize=10_000)
def _field(number: int, size: int) -> bytes:
    """What stands before a field of so many bytes, as protobuf writes it; an empty one is left out."""
    if not size:
        return b""
    length = bytearray()
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return bytes((number << 3 | 2,)) + bytes(length)


def _pieces(added: bytes, dropped: bytes) -> Sequence[tuple[bytes, bytes]]:
    """Both sides cut so that no piece holds more than PIECE_CHANGES; at least one piece."""
    total, most = len(added) + len(dropped), PIECE_CHANGES * _MPID_BYTES
    if total <= most:
        return ((added, dropped),)
    ends = [(start, start + most) for start in range(0, total, most)]
    return [(added[start:end], dropped[max(0, start - len(added)) : max(0, end - len(added))]) for start, end in ends]


def _packed(sections: Sequence[_Section]) -> Iterator[Sequence[_Section]]:
    """Sections put together into messages of at most PIECE_CHANGES changes; at least one message."""
    taken, held = 0, 0
    for number, section in enumerate(sections):
        if number > taken and held + section.changes > PIECE_CHANGES:
            yield sections[taken:number]
            taken, held = number, 0
        held += section.changes
    yield sections[taken:]
