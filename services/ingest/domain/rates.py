"""How much an input may send: so many events a second, and so many in any 24 hours. Times are milliseconds, and a parameter."""

from __future__ import annotations

from collections import deque

_MINUTE_MS = 60_000
_DAY_MINUTES = 24 * 60


class Bucket:
    """So many events a second, a second's worth at once.

    A request is let in whole as soon as anything is left, and what it takes too much is made up for before the next: so requests that hold
    more than a second's worth pass too, and in the long run it is the rate.
    """

    def __init__(self, per_second: int, now_ms: int) -> None:
        self.per_second = per_second
        self._left = float(per_second)
        self._at_ms = now_ms

    def wait_seconds(self, now_ms: int) -> float:
        """How long until a request is let in; 0: now."""
        # A clock that is set back gives nothing.
        self._left = min(self.per_second, self._left + max(0, now_ms - self._at_ms) / 1000 * self.per_second)
        self._at_ms = now_ms
        # One event, or what floats make of one.
        return max(0.0, (1 - self._left) / self.per_second) if self._left < 1 - 1e-6 else 0.0

    def take(self, events: int) -> None:
        """Let in so many, after `wait_seconds` was 0."""
        self._left -= events


class Day:
    """So many events in any 24 hours, counted by the minute: a minute is forgotten when all of it is 24 hours ago."""

    def __init__(self, per_day: int) -> None:
        self.per_day = per_day
        self._minutes: deque[tuple[int, int]] = deque()
        self._total = 0

    def wait_seconds(self, events: int, now_ms: int) -> float | None:
        """How long until so many more are let in; 0: now, None: never, as they are more than those of a day."""
        if events > self.per_day:
            return None
        minute = now_ms // _MINUTE_MS
        while self._minutes and self._minutes[0][0] < minute - _DAY_MINUTES:
            self._total -= self._minutes.popleft()[1]
        total = self._total
        if total + events <= self.per_day:
            return 0.0
        for begun, count in self._minutes:
            total -= count
            if total + events <= self.per_day:
                return ((begun + _DAY_MINUTES + 1) * _MINUTE_MS - now_ms) / 1000
        raise AssertionError("without any, as many as those of a day fit")

    def take(self, events: int, now_ms: int) -> None:
        """Let in so many, after `wait_seconds` was 0."""
        minute = now_ms // _MINUTE_MS
        if self._minutes and self._minutes[-1][0] >= minute:
            begun, count = self._minutes[-1]
            self._minutes[-1] = (begun, count + events)
        else:
            self._minutes.append((minute, events))
        self._total += events
