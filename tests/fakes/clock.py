"""A clock that moves only when a test says so."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from datetime import UTC, datetime, timedelta

from services.chassis.clock import to_ms

START = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)


class ManualClock:
    """Starts at noon on 15 January 2026 in UTC unless told otherwise; sleepers wake as `advance` passes their instant."""

    def __init__(self, now: datetime = START) -> None:
        self._now = now
        self._order = itertools.count()
        self._sleepers: list[tuple[datetime, int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return self._now

    def now_ms(self) -> int:
        return to_ms(self._now)

    def set(self, now: datetime) -> None:
        """Jump to an instant, waking whoever sleeps until then or before."""
        self._now = now
        while self._sleepers and self._sleepers[0][0] <= now:
            sleeper = heapq.heappop(self._sleepers)[2]
            if not sleeper.done():
                sleeper.set_result(None)

    async def advance(self, seconds: float) -> None:
        """Move on by this many seconds and let those woken run."""
        self.set(self._now + timedelta(seconds=seconds))
        for _ in range(10):
            await asyncio.sleep(0)

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        sleeper = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + timedelta(seconds=seconds), next(self._order), sleeper))
        await sleeper
