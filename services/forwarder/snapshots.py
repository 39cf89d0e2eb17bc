"""Takes the snapshots that connected audiences need, each in a task of its own, again and again until the evaluator gives it."""

from __future__ import annotations

import asyncio
import random
from typing import Protocol

from services.chassis import log as logs
from services.chassis.clock import Clock
from services.chassis.errors import Unavailable
from services.forwarder.dispatch import Dispatcher
from services.forwarder.following import Snapshot, StaleSnapshot, apply_snapshot
from services.forwarder.lookups import NotAnswered
from services.forwarder.stores.members import Audience, Key
from services.forwarder.stores.store import Store

log = logs.get(__name__)

_WAIT_FIRST_SECONDS = 0.1
_WAIT_MOST_SECONDS = 10.0


class Lists(Protocol):
    """Whoever knows the members of an audience."""

    async def of(self, account_id: int, audience_id: int) -> Snapshot:
        """All of them at one instant. Raises NotAnswered."""
        ...


class Snapshots:
    """A part of the app: `wake` it when an audience begins to need a snapshot."""

    def __init__(self, store: Store, lists: Lists, dispatcher: Dispatcher, clock: Clock, *, parallel: int, sweep_seconds: float) -> None:
        self._store = store
        self._lists = lists
        self._dispatcher = dispatcher
        self._clock = clock
        self._sweep_seconds = sweep_seconds
        self._room = asyncio.Semaphore(parallel)
        self._work = asyncio.Event()
        self._stopping = False
        self._tasks: dict[Key, asyncio.Task[None]] = {}

    def wake(self) -> None:
        """There is an audience that needs a snapshot."""
        self._work.set()

    async def start(self) -> None:
        """What an earlier process left undone is looked for first."""
        self._work.set()

    async def run(self) -> None:
        """The loop; ends after `stop`."""
        while not self._stopping:
            self._work.clear()
            try:
                async with self._store.read() as tx:
                    wanted = await tx.audiences.wanted()
                for audience in wanted:
                    if audience.key not in self._tasks and not self._stopping:
                        task = asyncio.create_task(self._take(audience), name=f"snapshot {audience.audience_id}")
                        self._tasks[audience.key] = task
                        task.add_done_callback(lambda done, key=audience.key: self._ended(key, done))  # type: ignore[misc]  # of this turn
            except Unavailable as error:
                log.warning("snapshots_wait", error=repr(error))
            try:
                await asyncio.wait_for(self._work.wait(), self._sweep_seconds)
            except TimeoutError:
                continue

    async def stop(self) -> None:
        """Give up what is being taken; the next process begins anew."""
        self._stopping = True
        self._work.set()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _ended(self, key: Key, task: asyncio.Task[None]) -> None:
        self._tasks.pop(key, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            # The next sweep begins anew.
            log.error("snapshot_failed", audience_id=key[1], exc_info=error)

    async def _take(self, audience: Audience) -> None:
        account_id, audience_id = audience.key
        logs.bind(account_id=account_id)
        tries = 0
        while True:
            try:
                async with self._room:
                    async with self._store.read() as tx:
                        now = await tx.audiences.get(audience.key)
                    if now is None or not now.needs_snapshot:
                        return
                    snapshot = await self._lists.of(account_id, audience_id)
                    whole = await apply_snapshot(self._store, now, snapshot, now_ms=self._clock.now_ms())
                async with self._store.read() as tx:
                    found = await tx.connections.of_audiences([audience.key])
                self._dispatcher.wake(found.get(audience.key, []))
                log.info("snapshot_taken", audience_id=audience_id, members=len(snapshot.mpids), whole=whole)
                if whole:
                    return
            except (NotAnswered, StaleSnapshot, Unavailable) as error:
                log.info("snapshot_waits", audience_id=audience_id, error=repr(error), tries=tries)
            wait = min(_WAIT_MOST_SECONDS, _WAIT_FIRST_SECONDS * 2 ** min(tries, 10))
            tries += 1
            await self._clock.sleep(wait * random.uniform(0.5, 1.0))
