"""Starts a worker for each connection that has something to send, and sees to it that only one process works for a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from services.chassis import log as logs
from services.chassis.database import is_transient
from services.chassis.errors import Unavailable
from services.forwarder.delivery import Means, Worker
from services.forwarder.stores.store import Store, Tx

log = logs.get(__name__)

_HOUSEKEEPING_SECONDS = 3600.0
_DAY_MS = 24 * 3600 * 1000


class Dispatcher:
    """A part of the app. What is not announced by `wake`, as another process's doing, is found by looking through all connections."""

    def __init__(
        self, means: Means, *, owner: str, sweep_seconds: float, lease_seconds: float, keep_deliveries_days: float, grace_seconds: float
    ) -> None:
        self._means = means
        self._store: Store = means.store
        self._clock = means.clock
        self._owner = owner
        self._sweep_seconds = sweep_seconds
        self._lease_ms = int(lease_seconds * 1000)
        self._keep_ms = int(keep_deliveries_days * _DAY_MS)
        self._grace_seconds = grace_seconds
        self._workers: dict[int, Worker] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        # Until when each connection is held, as entered in the database.
        self._held: dict[int, int] = {}
        self._stopping = asyncio.Event()
        self._running = False

    def wake(self, connection_ids: Iterable[int]) -> None:
        """These have something to send."""
        for id in connection_ids:
            if (worker := self._workers.get(id)) is not None:
                worker.more.set()
            elif self._running and not self._stopping.is_set():
                self._begin(id)

    def look(self, connection_id: int) -> None:
        """The state of this connection was changed by a person."""
        if (worker := self._workers.get(connection_id)) is not None:
            worker.look()
        self.wake([connection_id])

    async def start(self) -> None:
        """Workers may begin."""
        self._running = True

    async def run(self) -> None:
        """The loop; ends after `stop`."""
        cleaned = 0
        while not self._stopping.is_set():
            try:
                async with self._store.read() as tx:
                    self.wake(await tx.connections.with_work())
                if self._clock.now_ms() - cleaned >= _HOUSEKEEPING_SECONDS * 1000:
                    cleaned = self._clock.now_ms()
                    await self._store.write(self._clean)
            except Exception as error:
                if not (isinstance(error, Unavailable) or is_transient(error)):
                    raise
                log.warning("sweep_waits", error=repr(error))
            try:
                await asyncio.wait_for(self._stopping.wait(), self._sweep_seconds)
            except TimeoutError:
                continue

    async def stop(self) -> None:
        """Let requests in flight end within the grace; what is given up is sent again by the next process, under the same request id."""
        self._stopping.set()
        for worker in self._workers.values():
            worker.look()
        tasks = set(self._tasks.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._grace_seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        if self._running:
            try:
                await self._store.write(lambda tx: tx.connections.release(self._owner))
            except Unavailable as error:
                log.warning("leases_not_released", error=repr(error))

    async def hold(self, connection_id: int) -> bool:
        """Whether this process may work for the connection for at least half a lease more."""
        now_ms = self._clock.now_ms()
        if self._held.get(connection_id, 0) - now_ms > self._lease_ms // 2:
            return True
        self._held.pop(connection_id, None)
        claimed = await self._store.write(
            lambda tx: tx.connections.claim(connection_id, self._owner, now_ms=now_ms, lease_ms=self._lease_ms)
        )
        if claimed:
            self._held[connection_id] = now_ms + self._lease_ms
        return claimed

    def _begin(self, id: int) -> None:
        worker = self._workers[id] = Worker(id, self._means, self.hold, self._stopping)
        task = self._tasks[id] = asyncio.create_task(worker.run(), name=f"connection {id}")
        task.add_done_callback(lambda done: self._ended(id, worker, done))

    def _ended(self, id: int, worker: Worker, task: asyncio.Task[None]) -> None:
        self._workers.pop(id, None)
        self._tasks.pop(id, None)
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            # What it was about stays in the database: the next sweep begins anew.
            log.error("worker_failed", connection_id=id, exc_info=error)
        elif worker.more.is_set() and not self._stopping.is_set():
            self._begin(id)

    async def _clean(self, tx: Tx) -> None:
        forgotten = await tx.deliveries.forget(finished_before_ms=self._clock.now_ms() - self._keep_ms)
        await tx.configurations.forget_secrets()
        log.info("deliveries_forgotten", deliveries=forgotten)
