"""Keeps what was sent before: the sieves whole, and the database without what is too old."""

from __future__ import annotations

import asyncio

from services.chassis import log as logs
from services.chassis.database import is_transient
from services.chassis.errors import Unavailable
from services.ingest.seen import Seen

log = logs.get(__name__)

_PAUSE_SECONDS = 60.0


class Housekeeping:
    """A part of the app."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Nothing to prepare: `run` does the work."""
        self._stopping.clear()

    async def run(self) -> None:
        """The loop; ends after `stop`."""
        while not self._stopping.is_set():
            try:
                await self._seen.keep()
            except Exception as error:
                if not (isinstance(error, Unavailable) or is_transient(error)):
                    raise
                log.warning("sent_ids_not_kept", error=repr(error))
            try:
                await asyncio.wait_for(self._stopping.wait(), _PAUSE_SECONDS)
            except TimeoutError:
                continue

    async def stop(self) -> None:
        """End the loop."""
        self._stopping.set()
