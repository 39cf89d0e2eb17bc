"""Following members by round numbers."""

from __future__ import annotations

import pytest

from services.forwarder.domain.rounds import NOWHERE, Piece, Position, Verdict, judge


def piece(round: int, previous: int, piece: int = 0, pieces: int = 1, as_of_ms: int = 1000) -> Piece:
    return Piece(round, previous, piece, pieces, as_of_ms)


AT_5 = Position(round=5, as_of_ms=500)
IN_5 = Position(round=5, piece=0, pieces=3, as_of_ms=500)


@pytest.mark.parametrize(
    ("at", "next", "verdict"),
    [
        (NOWHERE, piece(1, 0), Verdict.TAKE),
        (NOWHERE, piece(9, 0), Verdict.TAKE),
        (NOWHERE, piece(9, 4), Verdict.GAP),
        (AT_5, piece(6, 5), Verdict.TAKE),
        # Rounds that changed nothing of this audience are not told.
        (AT_5, piece(9, 5), Verdict.TAKE),
        # A snapshot may be newer than the last round that changed anything.
        (AT_5, piece(9, 3), Verdict.TAKE),
        (AT_5, piece(9, 7), Verdict.GAP),
        (AT_5, piece(5, 2), Verdict.SKIP),
        (AT_5, piece(4, 2, as_of_ms=400), Verdict.SKIP),
        (AT_5, piece(4, 2, as_of_ms=900), Verdict.GAP),
        (AT_5, piece(6, 5, piece=0, pieces=2), Verdict.TAKE),
        (AT_5, piece(6, 5, piece=1, pieces=2), Verdict.GAP),
        (IN_5, piece(5, 2, piece=0, pieces=3), Verdict.SKIP),
        (IN_5, piece(5, 2, piece=1, pieces=3), Verdict.TAKE),
        (IN_5, piece(5, 2, piece=2, pieces=3), Verdict.GAP),
        (IN_5, piece(6, 5), Verdict.GAP),
    ],
)
def test_old_rounds_are_skipped_and_what_was_missed_is_noticed(at: Position, next: Piece, verdict: Verdict) -> None:
    assert judge(at, next) is verdict


def test_a_round_is_whole_with_its_last_piece() -> None:
    assert not piece(6, 5, piece=0, pieces=2).position.is_whole
    assert piece(6, 5, piece=1, pieces=2).position.is_whole
