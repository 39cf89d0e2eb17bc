"""Following an audience's members by round numbers: what is old is skipped, what was missed is noticed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Position:
    """The last piece of a round that was taken of one audience and partition. `as_of_ms` is the instant that the round is true for."""

    round: int = 0
    piece: int = 0
    pieces: int = 1
    as_of_ms: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether the round was taken with its last piece."""
        return self.piece + 1 >= self.pieces


# Before anything was taken.
NOWHERE = Position()


@dataclass(frozen=True, slots=True)
class Piece:
    """What a membership fact says of its place in the row of rounds."""

    round: int
    previous_round: int
    piece: int
    pieces: int
    as_of_ms: int

    @property
    def position(self) -> Position:
        """Where one stands after taking this."""
        return Position(self.round, self.piece, self.pieces, self.as_of_ms)


class Verdict(Enum):
    """What to do with a piece."""

    TAKE = "take"
    SKIP = "skip"
    # Something was missed: the members are no longer known, take a snapshot.
    GAP = "gap"


def judge(at: Position, piece: Piece) -> Verdict:
    """What to do with a piece for one who stands at `at`."""
    if piece.round < at.round:
        # Rounds go upwards with time. One with a lower number and a later instant: the evaluator began to count anew.
        return Verdict.GAP if piece.as_of_ms > at.as_of_ms else Verdict.SKIP
    if piece.round == at.round:
        if piece.piece <= at.piece or at.is_whole:
            return Verdict.SKIP
        return Verdict.TAKE if piece.piece == at.piece + 1 else Verdict.GAP
    if not at.is_whole or piece.piece > 0 or piece.previous_round > at.round:
        return Verdict.GAP
    return Verdict.TAKE
