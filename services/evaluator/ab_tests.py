"""A/B tests: who takes part in one, and what became of its variations (semantics: A/B tests).

Somebody takes part from the first instant at which they are a member while there is the test, and for good: who leaves the audience because
they did what the test is about still counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from muster.definition.v1 import audience_pb2
from numpy.typing import NDArray
from pyroaring import BitMap

from services.chassis.variations import CONTROL, CONTROL_NAME, variations_of
from services.evaluator.engine.facts import Instants, Ordinals
from services.evaluator.people import Mpids

CONTROL_ID = 0
_Z = NormalDist().inv_cdf(0.975)  # 95% of it within so many deviations


class Dealt(NamedTuple):
    """What a round made of one variation."""

    ab_test_id: int
    variation_id: int
    adds: int
    drops: int


@dataclass(frozen=True, slots=True)
class PartRow:
    """People of a partition who take part in a test, by local number, and since when."""

    ab_test_id: int
    partition: int
    locals: NDArray[np.uint32]
    times_ms: NDArray[np.int64]


class Participants:
    """Who takes part in one test, by ordinal."""

    def __init__(self) -> None:
        self._seen = BitMap()
        self._chunks: list[tuple[Ordinals, Instants]] = []

    def enter(self, ordinals: Ordinals, times_ms: Instants) -> None:
        """These take part from these instants on; none of them did before."""
        self._seen |= BitMap(ordinals.astype(np.uint32))
        self._chunks.append((ordinals, times_ms))

    def fresh(self, ordinals: Ordinals) -> Ordinals:
        """Those of these who don't take part yet."""
        return np.array(BitMap(ordinals.astype(np.uint32)) - self._seen, np.int64)

    def all(self) -> tuple[Ordinals, Instants]:
        """Everybody, each once, and since when."""
        nothing = np.empty(0, np.int64)
        ordinals, times = (np.concatenate(column) for column in zip((nothing, nothing), *self._chunks, strict=True))
        self._chunks = [(ordinals, times)]
        return ordinals, times


class Outcome(NamedTuple):
    """Of one variation: how many take part, how many of them reached the goal, and how often they did."""

    participants: int
    converted: int
    goals: int


class Interval(NamedTuple):
    """A value and its interval of 95% confidence."""

    value: float
    low: float
    high: float


def ids_of(test: audience_pb2.AbTest, mpids: Mpids) -> NDArray[np.int64]:
    """The variation that each of these people has; Control's is 0."""
    places = variations_of(test.ab_test_id, [one.percentage for one in test.variations], mpids)
    return np.where(places == CONTROL, CONTROL_ID, places + 1)


def named(test: audience_pb2.AbTest) -> list[tuple[int, str, int]]:
    """(id, name, percentage) of the variations, Control last."""
    rest = 100 - sum(one.percentage for one in test.variations)
    return [*((place, one.name, one.percentage) for place, one in enumerate(test.variations, 1)), (CONTROL_ID, CONTROL_NAME, rest)]


def counts(ids: NDArray[np.int64], variations: int) -> NDArray[np.int64]:
    """How many of each id there are, from Control's on."""
    return np.bincount(ids, minlength=variations + 1)


def outcomes(test: audience_pb2.AbTest, mpids: Mpids, since_ms: Instants, who: Mpids, when_ms: Instants) -> list[Outcome]:
    """By id, from Control's on. `mpids` take part since `since_ms`; `who` reached the goal at `when_ms`, again and again maybe."""
    order = np.argsort(mpids)
    mpids, since_ms = mpids[order], since_ms[order]
    at = np.searchsorted(mpids, who)
    known = np.flatnonzero(at < len(mpids))
    known = known[mpids[at[known]] == who[known]]
    counted = known[when_ms[known] >= since_ms[at[known]]]
    reached = at[counted]
    ids, size = ids_of(test, mpids), len(test.variations)
    people, converted, goals = counts(ids, size), counts(ids[np.unique(reached)], size), counts(ids[reached], size)
    return [Outcome(*one) for one in zip(people.tolist(), converted.tolist(), goals.tolist(), strict=True)]


def rate_of(converted: int, participants: int) -> Interval | None:
    """A proportion with Wilson's interval; None of nobody."""
    if not participants:
        return None
    n, p, z = participants, converted / participants, _Z
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Interval(p, max(0.0, middle - half), min(1.0, middle + half))


def difference_of(one: Interval, other: Interval) -> Interval:
    """How much greater one proportion is than another, with Newcombe's interval, which is made of theirs."""
    value = one.value - other.value
    below = sqrt((one.value - one.low) ** 2 + (other.high - other.value) ** 2)
    above = sqrt((one.high - one.value) ** 2 + (other.value - other.low) ** 2)
    return Interval(value, value - below, value + above)


def rows_by_test(rows: Sequence[PartRow]) -> dict[tuple[int, int], list[PartRow]]:
    """By test and partition."""
    by_place: dict[tuple[int, int], list[PartRow]] = {}
    for row in rows:
        by_place.setdefault((row.ab_test_id, row.partition), []).append(row)
    return by_place
