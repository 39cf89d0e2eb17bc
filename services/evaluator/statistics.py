"""Adds, drops and sizes of audiences by minute, and the figures that the last 24 hours make of them (semantics: Words)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS


@dataclass(slots=True)
class Minute:
    """What happened in one minute; `size` is the size at its end."""

    minute_ms: int
    size: int
    adds: int
    drops: int


class Statistics:
    """The last 24 hours of one audience, to the minute."""

    def __init__(self) -> None:
        self._minutes: deque[Minute] = deque()

    def load(self, minute: Minute) -> None:
        """Take a stored minute back; in their order."""
        self._minutes.append(minute)

    def count(self, now_ms: int, size: int, adds: int, drops: int) -> Minute:
        """Count a round; returns the minute as it stands now, to be stored."""
        start = now_ms - now_ms % MINUTE_MS
        if not self._minutes or self._minutes[-1].minute_ms < start:
            self._minutes.append(Minute(start, size, 0, 0))
            while self._minutes[0].minute_ms <= start - DAY_MS:
                self._minutes.popleft()
        minute = self._minutes[-1]
        minute.size = size
        minute.adds += adds
        minute.drops += drops
        return minute

    def day(self, now_ms: int) -> tuple[int, int]:
        """Adds and drops of the last 24 hours."""
        recent = [minute for minute in self._minutes if minute.minute_ms > now_ms - DAY_MS]
        return sum(minute.adds for minute in recent), sum(minute.drops for minute in recent)

    def __iter__(self) -> Iterator[Minute]:
        return iter(self._minutes)


def history(minutes: Sequence[Minute], size: int, from_ms: int, to_ms: int, step_ms: int) -> list[Minute]:
    """One point for each step from `from_ms` up to `to_ms`, by the step's beginning: the size at its end, and its adds and drops.

    `minutes` in their order; `size` is the size before the first of them.
    """
    points = [Minute(start, size, 0, 0) for start in range(from_ms, to_ms, step_ms)]
    for minute in minutes:
        point = points[(minute.minute_ms - from_ms) // step_ms]
        point.size = minute.size
        point.adds += minute.adds
        point.drops += minute.drops
    changed = {(minute.minute_ms - from_ms) // step_ms for minute in minutes}
    for place in range(1, len(points)):
        if place not in changed:
            points[place].size = points[place - 1].size
    return points


def volatility(size: int, adds: int, drops: int) -> float | None:
    """(adds + drops) / size; None where the size is 0."""
    return (adds + drops) / size if size else None
