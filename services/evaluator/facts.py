"""The membership facts of a round: one message an audience, in pieces where it is large (protos/muster/evaluator/v1/facts.proto)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from muster.evaluator.v1 import facts_pb2

from services.chassis.bus import headers_of
from services.chassis.publisher import Outgoing
from services.chassis.streams import memberships_subject
from services.evaluator.engine.facts import Changes
from services.evaluator.people import Mpids
from services.evaluator.population import Population, Turn

PIECE_CHANGES = 100_000


def membership_messages(
    population: Population, turn: Turn, rounds: Mapping[int, int], as_of_ms: int, receive_time_ms: int, *, whole: bool = True
) -> Iterator[Outgoing]:
    """The messages of what a turn changed. `rounds`: the round of each partition. Call it before `population.rounds` moves on.

    Only who has all partitions (`whole`) may say that an audience ended; another says of each person that they left: what the others
    tell of theirs may be newer.
    """
    for audience_id in sorted(turn.ended.keys() | turn.changes.keys()):
        sections = list(_sections(population, turn, audience_id, rounds, receive_time_ms, whole))
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


def _sections(
    population: Population, turn: Turn, audience_id: int, rounds: Mapping[int, int], receive_time_ms: int, whole: bool
) -> Iterator[facts_pb2.PartitionChanges]:
    nobody = np.empty(0, np.int64)
    changes = turn.changes.get(audience_id)
    if not whole and audience_id in turn.ended:
        changes = Changes(nobody, turn.ended[audience_id])
    added = dict(population.people.by_partition(changes.added)) if changes is not None else {}
    dropped = dict(population.people.by_partition(changes.dropped)) if changes is not None else {}
    told = {partition for audience, partition in population.rounds if audience == audience_id} if audience_id in turn.ended else set()
    for partition in sorted({*added, *dropped, *told}):
        plus = population.people.mpids(added.get(partition, nobody))
        minus = population.people.mpids(dropped.get(partition, nobody))
        pieces = list(_pieces(plus, minus))
        for piece, (some_plus, some_minus) in enumerate(pieces):
            yield facts_pb2.PartitionChanges(
                partition=partition,
                round=rounds[partition],
                previous_round=population.rounds.get((audience_id, partition), 0),
                piece=piece,
                pieces=len(pieces),
                added=some_plus.tolist(),
                dropped=some_minus.tolist(),
                receive_time_ms=receive_time_ms,
            )


def _pieces(added: Mpids, dropped: Mpids) -> Iterator[tuple[Mpids, Mpids]]:
    """Both sides cut so that no piece holds more than PIECE_CHANGES; at least one piece."""
    total = len(added) + len(dropped)
    for start in range(0, max(total, 1), PIECE_CHANGES):
        end = start + PIECE_CHANGES
        yield added[start:end], dropped[max(0, start - len(added)) : max(0, end - len(added))]


def _packed(sections: list[facts_pb2.PartitionChanges]) -> Iterator[facts_pb2.MembershipChanges]:
    """Sections put together into messages of at most PIECE_CHANGES changes."""
    message, held = facts_pb2.MembershipChanges(), 0
    for section in sections:
        size = len(section.added) + len(section.dropped)
        if message.partitions and held + size > PIECE_CHANGES:
            yield message
            message, held = facts_pb2.MembershipChanges(), 0
        message.partitions.append(section)
        held += size
    yield message
