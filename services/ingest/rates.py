"""Lets in of each input what it may send, and tells when to come again. Counted in memory: each process for itself, anew when it starts."""

from __future__ import annotations

from services.chassis.clock import Clock
from services.chassis.errors import ResourceExhausted
from services.ingest.domain.rates import Bucket, Day
from services.ingest.inputs import Input

_DAY_SECONDS = 24 * 3600


class RateExceeded(ResourceExhausted):
    """The input sends more events than it may."""


class Rates:
    """What is left to each input. One with other limits than before begins anew."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: dict[int, Bucket] = {}
        self._days: dict[int, Day] = {}

    def check(self, input: Input) -> None:
        """Raises RateExceeded if not even one event would be let in."""
        now_ms = self._clock.now_ms()
        if input.events_per_second:
            _refuse(self._bucket(input, now_ms).wait_seconds(now_ms), f"{input.events_per_second} events a second")
        if input.events_per_day:
            _refuse(self._day(input).wait_seconds(1, now_ms), f"{input.events_per_day} events in 24 hours")

    def spend(self, input: Input, events: int) -> None:
        """Count what was let in already, so that what comes next has less."""
        now_ms = self._clock.now_ms()
        if input.events_per_second:
            self._bucket(input, now_ms).take(events)
        if input.events_per_day:
            self._day(input).take(events, now_ms)

    def take(self, input: Input, events: int) -> None:
        """Let in so many events, all or none. Raises RateExceeded."""
        if not (input.events_per_second or input.events_per_day):
            return
        self.check(input)
        if input.events_per_day:
            _refuse(self._day(input).wait_seconds(events, self._clock.now_ms()), f"{input.events_per_day} events in 24 hours")
        self.spend(input, events)

    def _bucket(self, input: Input, now_ms: int) -> Bucket:
        bucket = self._buckets.get(input.input_id)
        if bucket is None or bucket.per_second != input.events_per_second:
            bucket = self._buckets[input.input_id] = Bucket(input.events_per_second, now_ms)
        return bucket

    def _day(self, input: Input) -> Day:
        day = self._days.get(input.input_id)
        if day is None or day.per_day != input.events_per_day:
            day = self._days[input.input_id] = Day(input.events_per_day)
        return day


def _refuse(wait_seconds: float | None, limit: str) -> None:
    if wait_seconds is None:
        raise RateExceeded(f"The input may send {limit}; this request alone holds more.", retry_seconds=_DAY_SECONDS)
    if wait_seconds:
        raise RateExceeded(f"The input may send {limit}.", retry_seconds=wait_seconds)
