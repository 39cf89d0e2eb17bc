"""The membership facts of a round: one message an audience, in pieces where it is large (protos/muster/evaluator/v1/facts.proto)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from muster.evaluator.v1 import facts_pb2

from services.chassis.bus import headers_of
from services.chassis.publisher import Outgoing
from services.chassis.streams import memberships_subject
from services.evaluator.engine.facts import Changes
from services.evaluator.parts import Part, parts_of
from services.evaluator.people import Mpids
from services.evaluator.population import Population, Turn

PIECE_CHANGES = 100_000


def membership_messages(
    population: Population,
    turn: Turn,
    parts: Mapping[int, Sequence[Part]],
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
        some = parts.get(audience_id, [])
        if audience_id in turn.ended:
            some = _parts_of_ended(population, turn, audience_id, some, whole)
        sections = [section for part in some for section in _sections(population, audience_id, part, rounds, receive_time_ms)]
        if not sections and not whole:
            continue
        for index, message in enumerate(_packed(sections)):
            message.account_id = population.account_id
            message.audience_id = audience_id
            message.as_of_ms = as_of_ms
            message.ended = whole and audience_id in turn.ended and index == 0
            if audience_id in population.audiences:
                message.revision = population.audiences[audience_id].revision
            # The rounds of the partitions name the message: a repetition after a crash has the same id.
            name = ".".join(f"{part.partition}-{part.round}-{part.piece}" for part in message.partitions)
            yield Outgoing(
                memberships_subject(population.account_id, audience_id),
                message.SerializeToString(),
                f"{population.account_id}.{audience_id}.{name}",
                headers_of(population.account_id),
            )


def _parts_of_ended(population: Population, turn: Turn, audience_id: int, parts: Sequence[Part], whole: bool) -> Sequence[Part]:
    """A part for each partition that ever told of the audience."""
    nobody, none = np.empty(0, np.uint32), np.empty(0, np.int64)
    if not whole:
        parts = parts_of(population.people, {audience_id: Changes(none, turn.ended[audience_id])})[audience_id]
    changed = {part.partition for part in parts}
    told = {partition for audience, partition in population.rounds if audience == audience_id}
    return sorted([*parts, *(Part(partition, nobody, nobody, none, none) for partition in told - changed)], key=lambda part: part.partition)


def _sections(
    population: Population, audience_id: int, part: Part, rounds: Mapping[int, int], receive_time_ms: int
) -> Iterator[facts_pb2.PartitionChanges]:
    pieces = list(_pieces(part.added_mpids, part.dropped_mpids))
    for piece, (added, dropped) in enumerate(pieces):
        yield facts_pb2.PartitionChanges(
            partition=part.partition,
            round=rounds[part.partition],
            previous_round=population.rounds.get((audience_id, part.partition), 0),
            piece=piece,
            pieces=len(pieces),
            added=added.tolist(),
            dropped=dropped.tolist(),
            receive_time_ms=receive_time_ms,
        )


def _pieces(added: Mpids, dropped: Mpids) -> Iterator[tuple[Mpids, Mpids]]:
    """Both sides cut so that no piece holds more than PIECE_CHANGES; at least one piece."""
    total = len(added) + len(dropped)
    if total <= PIECE_CHANGES:
        yield added, dropped
        return
    for start in range(0, total, PIECE_CHANGES):
        end = start + PIECE_CHANGES
        yield added[start:end], dropped[max(0, start - len(added)) : max(0, end - len(added))]


def _packed(sections: Sequence[facts_pb2.PartitionChanges]) -> Iterator[facts_pb2.MembershipChanges]:
    """Sections put together into messages of at most PIECE_CHANGES changes."""
    taken, held = 0, 0
    for number, section in enumerate(sections):
        size = len(section.added) + len(section.dropped)
        if number > taken and held + size > PIECE_CHANGES:
            yield facts_pb2.MembershipChanges(partitions=sections[taken:number])
            taken, held = number, 0
        held += size
    yield facts_pb2.MembershipChanges(partitions=sections[taken:])
