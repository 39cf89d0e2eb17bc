"""Adds, drops and sizes of audiences by minute, and the figures that the last 24 hours make of them (semantics: Words)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS


@dataclass(slots=True)
class Minute:
    """What happened in one minute; `growth` is by how much the size grew, which adds and drops don't tell of an audience that ended."""

    minute_ms: int
    growth: int
    adds: int
    drops: int


@dataclass(frozen=True, slots=True)
class Point:
    """One step of a history, by its beginning: the size at its end, and its adds and drops."""

    time_ms: int
    size: int
    adds: int
    drops: int


class Statistics:
    """The last 24 hours of one audience, to the minute."""

    def __init__(self) -> None:
        self._minutes: deque[Minute] = deque()
        self._adds = self._drops = 0

    def count(self, minute: Minute) -> None:
        """Count what a minute, stored or the present one, brought; in their order."""
        self._adds += minute.adds
        self._drops += minute.drops
        if self._minutes and self._minutes[-1].minute_ms == minute.minute_ms:
            same = self._minutes.pop()
            minute = Minute(same.minute_ms, same.growth + minute.growth, same.adds + minute.adds, same.drops + minute.drops)
        self._minutes.append(minute)
        self._forget(minute.minute_ms)

    def day(self, now_ms: int) -> tuple[int, int]:
        """Adds and drops of the 24 hours up to `now_ms`, which never goes back."""
        self._forget(now_ms)
        return self._adds, self._drops

    def _forget(self, now_ms: int) -> None:
        while self._minutes and self._minutes[0].minute_ms <= now_ms - DAY_MS:
            old = self._minutes.popleft()
            self._adds -= old.adds
            self._drops -= old.drops

    def __iter__(self) -> Iterator[Minute]:
        return iter(self._minutes)


def minute_of(now_ms: int) -> int:
    """The beginning of the minute."""
    return now_ms - now_ms % MINUTE_MS


def history(minutes: Sequence[Minute], size: int, from_ms: int, to_ms: int, step_ms: int) -> list[Point]:
    """One point for each step from `from_ms` up to `to_ms`. `minutes` in their order; `size` is the size before the first of them."""
    steps = [Minute(start, 0, 0, 0) for start in range(from_ms, to_ms, step_ms)]
    for minute in minutes:
        step = steps[(minute.minute_ms - from_ms) // step_ms]
        step.growth += minute.growth
        step.adds += minute.adds
        step.drops += minute.drops
    sizes = accumulate((step.growth for step in steps), initial=size)
    next(sizes)
    return [Point(step.minute_ms, size, step.adds, step.drops) for step, size in zip(steps, sizes, strict=True)]


def volatility(size: int, adds: int, drops: int) -> float | None:
    """(adds + drops) / size; None where the size is 0."""
    return (adds + drops) / size if size else None
