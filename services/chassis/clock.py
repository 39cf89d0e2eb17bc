"""The clock. Only ways in and loops hold one; rules take `now` as a parameter."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """What time it is, and a way to let it pass."""

    def now(self) -> datetime:
        """This instant, aware, in UTC."""
        ...

    def now_ms(self) -> int:
        """This instant in milliseconds since 1970."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return when this many seconds have passed; at once for zero or less."""
        ...


class SystemClock:
    """The clock of the machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


def to_ms(instant: datetime) -> int:
    """Milliseconds since 1970 of an aware instant, rounded down."""
    return (instant - _EPOCH) // timedelta(milliseconds=1)


def from_ms(ms: int) -> datetime:
    """The instant, aware and in UTC, of milliseconds since 1970."""
    return _EPOCH + timedelta(milliseconds=ms)
