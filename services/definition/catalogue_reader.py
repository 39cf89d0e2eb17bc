"""Reads the stream EVENTS into the catalogue: gathers in memory, writes about once a second, acknowledges after the commit.

Of several replicas one reads. Its lease is a row of the database, and what it writes moves the position in that same row from where it
read it (catalogue_intake.py): a lease that ends too early costs work, and never a wrong count.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from uuid import uuid4

import nats.errors
from nats.js.errors import NotFoundError

from services.chassis import log as logs
from services.chassis.bus import Bus
from services.chassis.clock import Clock
from services.chassis.database import Database, is_transient
from services.chassis.dead_letters import bury
from services.chassis.errors import Unavailable
from services.chassis.pull import Message, PullSubscription
from services.chassis.streams import EVENTS

from .catalogue_intake import CatalogueIntake, LeaseLost, Window
from .sightings import Fact, Malformed, Sightings, fact_of, is_told_again, sightings_of

log = logs.get(__name__)

DURABLE = "definition-catalogue"
FLUSH_SECONDS = 1.0
_RENEWALS = 3  # in the life of a lease
# It works a tenth of the time, so that others get to the database and the processor; more only where much has piled up.
_REST = 9.0
_REST_MOST_SECONDS = 10.0
_WAIT_MOST_SECONDS = 15.0
_FETCH = 256
_GATHERED_MAX_MESSAGES = 2_000
_GATHERED_MAX_BYTES = 16 * 1024 * 1024
_KEEP_BATCH_IDS_MS = 24 * 3600 * 1000
_KEEP_NAMES_MS = 90 * 24 * 3600 * 1000
_FORGET_EVERY_MS = 3600 * 1000


class _Gap(Exception):
    """Messages that the stream holds did not come: whoever read before still had them in hand."""


class CatalogueReader:
    """A part of the app. `service` is whose dead letters take what makes no sense."""

    def __init__(self, database: Database, bus: Bus, clock: Clock, *, service: str, lease_seconds: float) -> None:
        self._intake = CatalogueIntake(database, uuid4().hex)
        self._bus = bus
        self._clock = clock
        self._service = service
        self._lease_ms = int(lease_seconds * 1000)
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._running = False
        self._forgotten_ms = 0
        self._lease_until_ms = 0

    async def start(self) -> None:
        """Nothing yet: the service answers while NATS is away, so the loop waits for it."""

    async def run(self) -> None:
        """The loop; ends after `stop`."""
        self._running = True
        waits = 0
        try:
            while not self._stopping.is_set():
                try:
                    await self._try_to_read()
                    waits = 0
                except LeaseLost:
                    log.info("catalogue_lease_lost")
                except _Gap:
                    log.info("catalogue_reads_again")
                    await self._pause(FLUSH_SECONDS)
                except Exception as error:
                    if not _passes(error):
                        raise
                    waits += 1
                    log.warning("catalogue_waits", error=repr(error), waits=waits)
                    await self._pause(min(_WAIT_MOST_SECONDS, FLUSH_SECONDS * 2 ** min(waits, 10)))
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """Let what is in hand be written, then let another process read on."""
        self._stopping.set()
        if self._running:
            await self._ended.wait()

    async def _try_to_read(self) -> None:
        stream = await self._stream()
        now_ms = self._clock.now_ms()
        self._lease_until_ms = now_ms + self._lease_ms
        position = await self._intake.take_lease(stream=stream, now_ms=now_ms, until_ms=self._lease_until_ms)
        if position is None:
            await self._pause(self._lease_ms / 1000 / _RENEWALS)
            return
        log.info("catalogue_reads", after=position)
        pull = PullSubscription(self._bus, EVENTS, DURABLE)
        try:
            await pull.start()
            await self._read(pull, stream, position)
        finally:
            await pull.stop()
        await self._intake.give_up_lease()

    async def _stream(self) -> str:
        """What tells this stream from one that was made anew under its name."""
        created: datetime | None = (await self._bus.jetstream.stream_info(EVENTS)).created
        return created.isoformat() if created is not None else ""

    async def _read(self, pull: PullSubscription, stream: str, position: int) -> None:
        loop = asyncio.get_running_loop()
        wait = FLUSH_SECONDS
        while not self._stopping.is_set():
            gathered = await self._gather(pull, wait)
            begin = loop.time()
            position = await self._write(stream, position, gathered)
            await pull.ack_many(gathered)
            wait = max(FLUSH_SECONDS, min(_REST_MOST_SECONDS, _REST * (loop.time() - begin)))

    async def _gather(self, pull: PullSubscription, seconds: float) -> list[Message]:
        """What comes within so many seconds, up to a bound. What waits in the stream is not waited for."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        gathered: list[Message] = []
        size = 0
        while not self._stopping.is_set() and len(gathered) < _GATHERED_MAX_MESSAGES and size < _GATHERED_MAX_BYTES:
            left = end - loop.time()
            if left <= 0:
                break
            for message in await pull.fetch(_FETCH, left):
                gathered.append(message)
                size += len(message.data)
        return gathered

    async def _write(self, stream: str, position: int, gathered: list[Message]) -> int:
        """The position afterwards. Without any message it only goes on holding the lease."""
        new, last = list[Message](), position
        for message in gathered:
            if message.stream_sequence > last:
                new.append(message)
                last = message.stream_sequence
        await self._refuse_gaps(position, new)
        now_ms = self._clock.now_ms()
        if not new and self._lease_until_ms - now_ms > self._lease_ms * (1 - 1 / _RENEWALS):
            return position
        facts = await self._facts(new)
        known = await self._intake.taken(facts) if facts else set()
        fresh = {batch_id: told for batch_id, told in facts.items() if batch_id not in known}
        sightings = await self._sightings(list(fresh.values()))
        self._lease_until_ms = now_ms + self._lease_ms
        await self._intake.add(Window(sightings, fresh.keys(), stream, position, last), now_ms=now_ms, until_ms=self._lease_until_ms)
        if now_ms - self._forgotten_ms > _FORGET_EVERY_MS:
            self._forgotten_ms = now_ms
            await self._intake.forget_batches(before_ms=now_ms - _KEEP_BATCH_IDS_MS)
            await self._intake.make_room(before_ms=now_ms - _KEEP_NAMES_MS)
        return last

    async def _refuse_gaps(self, position: int, new: list[Message]) -> None:
        """The position must not pass a message that the stream holds: a process that stood still may have been handed it meanwhile, and
        gives it back. Raises _Gap."""
        expected = position + 1
        for message in new:
            if message.stream_sequence != expected:
                try:
                    found = await self._bus.jetstream.get_msg(EVENTS, seq=expected, subject=">", next=True)
                except NotFoundError:
                    raise _Gap from None
                if found.seq != message.stream_sequence:
                    raise _Gap
            expected = message.stream_sequence + 1

    async def _facts(self, messages: list[Message]) -> dict[str, tuple[Message, Fact]]:
        """By batch, the first of each."""
        facts = dict[str, tuple[Message, Fact]]()
        for message in messages:
            try:
                fact = fact_of(message.subject, message.data)
            except Malformed as fault:
                await bury(self._bus, self._service, DURABLE, message, str(fault))
                continue
            if not is_told_again(fact):
                facts.setdefault(fact.batch_id, (message, fact))
        return facts

    async def _sightings(self, told: list[tuple[Message, Fact]]) -> Sightings:
        """Of all that can be counted: one that can't be, for a reason that nobody thought of, goes to the dead letters alone."""
        try:
            return await asyncio.to_thread(sightings_of, [fact for _, fact in told])
        except Exception as error:
            log.error("catalogue_window_failed", messages=len(told), exc_info=error)
        countable = []
        for message, fact in told:
            try:
                await asyncio.to_thread(sightings_of, [fact])
            except Exception as error:
                await bury(self._bus, self._service, DURABLE, message, f"{type(error).__name__}: {error}")
            else:
                countable.append(fact)
        return await asyncio.to_thread(sightings_of, countable)

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return


def _passes(error: Exception) -> bool:
    """Whether waiting cures this: NATS or the database is away for a while."""
    return isinstance(error, Unavailable | ConnectionError | TimeoutError | nats.errors.Error) or is_transient(error)
