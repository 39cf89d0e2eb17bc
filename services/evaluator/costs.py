"""What each audience costs: its part of the rounds of the last hour."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from services.evaluator.statistics import minute_of

HOUR_MS = 3_600_000
# In one minute: an audience that takes more of it is told in the log, once an hour.
COSTLY_SECONDS = 6.0


class Cost(NamedTuple):
    """`looked_at`: people, events and values; `seconds`: the computing of rounds, parted by what was looked at."""

    looked_at: int
    seconds: float


@dataclass(slots=True)
class _Minute:
    minute_ms: int
    seconds: float
    looked_at: Mapping[int, int]
    looked_at_of_all: int

    def of(self, audience_id: int) -> Cost:
        looked_at = self.looked_at.get(audience_id, 0)
        return Cost(looked_at, self.seconds * looked_at / self.looked_at_of_all if looked_at else 0.0)


class Costs:
    """Of the audiences of one account."""

    def __init__(self) -> None:
        self._minutes: deque[_Minute] = deque()
        self._seconds = 0.0
        self._minute_ms = 0
        self._told_ms: dict[int, int] = {}

    def spend(self, seconds: float, now_ms: int) -> bool:
        """A round took so long; whether a minute is over, so that `count` wants what it looked at."""
        self._minute_ms = self._minute_ms or minute_of(now_ms)
        self._seconds += seconds
        return minute_of(now_ms) > self._minute_ms

    def count(self, looked_at: Mapping[int, int], looked_at_of_all: int, now_ms: int) -> None:
        """What was looked at for each audience, and for all, since the last call."""
        self._minutes.append(_Minute(self._minute_ms, self._seconds, looked_at, looked_at_of_all))
        self._seconds, self._minute_ms = 0.0, minute_of(now_ms)
        while self._minutes and self._minutes[0].minute_ms < now_ms - HOUR_MS:
            self._minutes.popleft()

    def costly(self, now_ms: int) -> Iterator[tuple[int, Cost]]:
        """The audiences that took much of the last minute, each once an hour."""
        if not self._minutes:
            return
        minute = self._minutes[-1]
        for audience_id in minute.looked_at:
            cost = minute.of(audience_id)
            if cost.seconds >= COSTLY_SECONDS and self._told_ms.get(audience_id, -HOUR_MS) <= now_ms - HOUR_MS:
                self._told_ms[audience_id] = now_ms
                yield audience_id, cost

    def of(self, audience_id: int) -> Cost:
        """Of the last hour, to the minute."""
        costs = [minute.of(audience_id) for minute in self._minutes]
        return Cost(sum(cost.looked_at for cost in costs), sum(cost.seconds for cost in costs))

    @property
    def seconds(self) -> float:
        """That the rounds of the last hour took for all audiences of the account."""
        return sum(minute.seconds for minute in self._minutes)
