"""Does what schedules of audiences ask for, when its time has come; what came due while no process ran is done at the start."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from services.chassis import log as logs
from services.chassis.clock import Clock, from_ms
from services.chassis.database import is_transient
from services.chassis.errors import MusterError, Unavailable
from services.chassis.outbox import Relay

from .domain.audiences import judge_audience, transferred
from .domain.lifecycle import Move
from .domain.schedules import failed, without
from .store import Store

log = logs.get(__name__)

# Another process may have been told of a schedule that is due before all that this one knows.
_LOOK_SECONDS = 5.0
_AT_ONCE = 100


class Schedules:
    """A part of the app; of several processes each may do it, and the account's lock lets one of them."""

    def __init__(self, store: Store, relay: Relay, clock: Clock) -> None:
        self._store = store
        self._relay = relay
        self._clock = clock
        self._changed = asyncio.Event()
        self._stopping = False

    def wake(self) -> None:
        """There is another schedule."""
        self._changed.set()

    async def start(self) -> None:
        """Nothing to prepare: `run` does the work."""

    async def run(self) -> None:
        """The loop; ends after `stop`."""
        while not self._stopping:
            self._changed.clear()
            try:
                wait = await self._step()
            except Exception as error:
                if not (isinstance(error, Unavailable) or is_transient(error)):
                    raise
                log.warning("schedules_wait", error=repr(error))
                wait = _LOOK_SECONDS
            sleeping = asyncio.create_task(self._clock.sleep(wait))
            changed = asyncio.create_task(self._changed.wait())
            await asyncio.wait({sleeping, changed}, return_when=asyncio.FIRST_COMPLETED)
            sleeping.cancel()
            changed.cancel()

    async def stop(self) -> None:
        """End the loop."""
        self._stopping = True
        self._changed.set()

    async def _step(self) -> float:
        """Do what is due; how many seconds there are until more may be."""
        due = await self._store.due(self._clock.now_ms(), limit=_AT_ONCE)
        for account_id, audience_id in due:
            await self._do(account_id, audience_id)
        if due:
            self._relay.wake()
        if len(due) == _AT_ONCE:
            return 0
        next_ms = await self._store.next_due_ms()
        return _LOOK_SECONDS if next_ms is None else min(_LOOK_SECONDS, max(0.0, (next_ms - self._clock.now_ms()) / 1000))

    async def _do(self, account_id: int, audience_id: int) -> None:
        now_ms = self._clock.now_ms()
        logs.bind(account_id=account_id)
        async with self._store.transaction(account_id, now_ms=now_ms) as tx:
            account = await tx.locked_account()
            before = await tx.audience(audience_id)
            schedule = before.schedule
            if not schedule.next_time_ms or schedule.next_time_ms > now_ms:
                return  # another process was faster, or a person changed it
            tx.actor = f"schedule of {schedule.set_by}"
            move, why = schedule.next_move, ""
            after = before
            try:
                after = transferred(before, move, author=schedule.set_by, now_ms=now_ms)
                if after is not before and move is Move.ACTIVATE:
                    faults = judge_audience(after, await tx.surroundings(account, after), from_ms(now_ms)).faults
                    why = f"{faults[0].field}: {faults[0].description}" if faults else ""
            except MusterError as error:
                why = error.message
            if why:
                log.warning("schedule_failed", audience_id=audience_id, move=move.value, why=why)
                after = replace(before, schedule=failed(schedule, move, why), version=before.version + 1)
            elif after is before:
                after = replace(before, schedule=without(before.schedule, move), version=before.version + 1)
            else:
                log.info("schedule_done", audience_id=audience_id, move=move.value)
            await tx.save_audience(after)
