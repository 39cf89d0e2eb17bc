"""People who were deleted: once every partner has confirmed that they are gone, that is told (ERASURES, ErasureDone).

Telling the partners is a delivery like any other. A connection that is paused or faulted keeps what its partner has until it is resumed or
deleted: so long the erasure waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from services.chassis import log as logs
from services.chassis.clock import Clock
from services.chassis.database import is_transient
from services.chassis.errors import Unavailable
from services.chassis.receipts import erasure_done
from services.forwarder.stores.erasures import Erasure
from services.forwarder.stores.store import Store, Tx

log = logs.get(__name__)


class Erasing:
    """A part of the app. `announced` is called when there is a fact in the outbox."""

    def __init__(self, store: Store, clock: Clock, announced: Callable[[], None], *, sweep_seconds: float) -> None:
        self._store = store
        self._clock = clock
        self._announced = announced
        self._sweep_seconds = sweep_seconds
        self._work = asyncio.Event()
        self._stopping = False

    def wake(self) -> None:
        """Somebody was deleted."""
        self._work.set()

    async def start(self) -> None:
        """Nothing to prepare: `run` does the work."""
        self._stopping = False

    async def run(self) -> None:
        """The loop; ends after `stop`."""
        while not self._stopping:
            self._work.clear()
            try:
                await self.look()
            except Exception as error:
                if not (isinstance(error, Unavailable) or is_transient(error)):
                    raise
                log.warning("erasures_wait", error=repr(error))
            try:
                await asyncio.wait_for(self._work.wait(), self._sweep_seconds)
            except TimeoutError:
                continue

    async def stop(self) -> None:
        """End the loop."""
        self._stopping = True
        self._work.set()

    async def look(self) -> None:
        """Tell of those who are gone everywhere by now."""
        async with self._store.read() as tx:
            done = await tx.erasures.done()
        for erasure in done:
            if await self._store.write(lambda tx, erasure=erasure: self._finish(tx, erasure)):  # type: ignore[misc]
                self._announced()
                log.info("person_gone_from_partners", account_id=erasure.account_id, records=erasure.records)

    async def _finish(self, tx: Tx, erasure: Erasure) -> bool:
        if not await tx.erasures.finish(erasure):
            return False
        now_ms = self._clock.now_ms()
        receipt = erasure_done(
            erasure.account_id,
            erasure.mpid,
            service="forwarder",
            removed=erasure.records,
            places=erasure.places,
            cause=erasure.since_ms,
            now_ms=now_ms,
        )
        await tx.announce([receipt], now_ms=now_ms)
        return True
