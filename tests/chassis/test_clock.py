from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from services.chassis.clock import SystemClock, from_ms, to_ms
from tests.fakes.clock import START, ManualClock


def test_milliseconds_and_instants_turn_into_each_other() -> None:
    instant = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    assert to_ms(instant) == 1_767_323_045_678
    assert from_ms(1_767_323_045_678) == instant
    assert to_ms(datetime(1969, 12, 31, 23, 59, 59, 999_500, tzinfo=UTC)) == -1


def test_the_machines_clock_is_aware_and_its_two_readings_agree() -> None:
    clock = SystemClock()
    assert clock.now().utcoffset() == timedelta(0)
    assert abs(to_ms(clock.now()) - clock.now_ms()) < 1_000


async def test_a_sleeper_wakes_when_the_manual_clock_passes_its_instant() -> None:
    clock = ManualClock()
    woken: list[str] = []

    async def sleep(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(name)

    tasks = [asyncio.create_task(sleep("late", 20)), asyncio.create_task(sleep("soon", 10))]
    await asyncio.sleep(0)
    await clock.advance(9)
    assert woken == []
    await clock.advance(1)
    assert woken == ["soon"]
    await clock.advance(60)
    assert woken == ["soon", "late"]
    assert clock.now() == START + timedelta(seconds=70)
    await asyncio.gather(*tasks)
