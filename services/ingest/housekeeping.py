"""Forgets what was sent before, once a repetition could not count any more: after the look-back and a day."""

from __future__ import annotations

import asyncio

from services.chassis import log as logs
from services.chassis.clock import Clock
from services.chassis.errors import Unavailable
from services.ingest.inputs import Inputs
from services.ingest.store import Store

log = logs.get(__name__)

_DAY_MS = 24 * 3600 * 1000
_PAUSE_SECONDS = 600.0
_PART = 5_000


class Housekeeping:
    """A part of the app."""

    def __init__(self, store: Store, inputs: Inputs, clock: Clock) -> None:
        self._store = store
        self._inputs = inputs
        self._clock = clock
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Nothing to prepare: `run` does the work."""
        self._stopping.clear()

    async def run(self) -> None:
        """The loop; ends after `stop`."""
        while not self._stopping.is_set():
            try:
                await asyncio.wait_for(self._stopping.wait(), _PAUSE_SECONDS)
            except TimeoutError:
                try:
                    await self.forget()
                except Unavailable as error:
                    log.warning("not_forgotten", error=repr(error))

    async def stop(self) -> None:
        """End the loop."""
        self._stopping.set()

    async def forget(self) -> int:
        """How many keys were forgotten; in parts, so that requests go on meanwhile."""
        before_ms = self._clock.now_ms() - (self._inputs.look_back_days + 1) * _DAY_MS
        total = 0
        while not self._stopping.is_set():
            forgotten = await self._store.forget(before_ms=before_ms, limit=_PART)
            total += forgotten
            if forgotten < _PART:
                break
            await asyncio.sleep(0.05)
        if total:
            log.info("keys_forgotten", count=total)
        return total
