"""Consuming a stream: `PullSubscription` fetches batches, `Consumer` is the loop that hands them to a handler.

A message is acknowledged after its handler returned, so after the handler's commit; it may come again, so a handler is idempotent
by number. One that fails again and again goes to the dead letters with its reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Literal

import grpc

from . import log as logs
from .bus import Bus
from .database import is_transient
from .dead_letters import bury
from .errors import Unavailable
from .pull import Message, PullSubscription

log = logs.get(__name__)

_RETRY_FIRST_SECONDS = 0.5
_RETRY_MOST_SECONDS = 60.0


class Hopeless(Exception):
    """Raised by a handler: this message can never be handled, for this reason. It goes to the dead letters at once."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


Handler = Callable[[list[Message]], Awaitable[None]]


class Consumer:
    """Hands batches of a stream to a handler, one batch at a time; a part of the app.

    A handler that raises Unavailable, or loses its database, is called again with the same batch until it returns: nothing is
    skipped and nothing counts as a try. After any other exception the messages of the batch are handed over one by one, and those
    that fail come again after a delay, up to `max_tries` deliveries; then, or at once after `Hopeless`, they go to the dead letters
    of `service`.
    """

    def __init__(
        self,
        bus: Bus,
        stream: str,
        durable: str,
        handler: Handler,
        *,
        service: str,
        filter_subjects: Sequence[str] = (),
        batch: int = 256,
        max_ack_pending: int = 10_000,
        ack_wait_seconds: float = 30,
        max_tries: int = 8,
        deliver: Literal["all", "new", "last_per_subject"] = "all",
        inactive_seconds: float | None = None,
    ) -> None:
        self._bus = bus
        self._handler = handler
        self._service = service
        self._batch = batch
        self._max_tries = max_tries
        self._stopping = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.pull = PullSubscription(
            bus,
            stream,
            durable,
            filter_subjects=filter_subjects,
            max_ack_pending=max_ack_pending,
            ack_wait_seconds=ack_wait_seconds,
            deliver=deliver,
            inactive_seconds=inactive_seconds,
        )

    async def start(self) -> None:
        """Make the durable consumer."""
        await self.pull.start()

    async def run(self) -> None:
        """The loop; ends after `stop`."""
        while not self._stopping.is_set():
            messages = await self.pull.fetch(self._batch, 1.0)
            if not messages or self._stopping.is_set():
                for message in messages:
                    await message.nak()
                continue
            self._idle.clear()
            try:
                await self._handle(messages)
            finally:
                self._idle.set()

    async def stop(self) -> None:
        """Let the batch in hand end, then stop."""
        self._stopping.set()
        await self._idle.wait()
        await self.pull.stop()

    async def _handle(self, messages: list[Message]) -> None:
        # One that was delivered too often without ever being answered brought down its process each time.
        hopeful = [message for message in messages if message.tries <= self._max_tries]
        for message in messages:
            if message.tries > self._max_tries:
                await self._bury(message, "delivered too often without an answer")
        if not hopeful:
            return
        async with self._kept(hopeful):
            if await self._hand_over(hopeful, alone=len(hopeful) == 1):
                return
            for message in hopeful:
                await self._hand_over([message], alone=True)

    async def _hand_over(self, messages: list[Message], *, alone: bool) -> bool:
        """Whether these are done with: acknowledged or, alone, given back or given up. False: to be tried one by one."""
        waits = 0
        while True:
            try:
                await self._handler(messages)
            except Exception as error:
                if _passes(error):
                    if self._stopping.is_set():
                        for message in messages:
                            await message.nak()
                        return True
                    waits += 1
                    log.warning("handler_waits", durable=self.pull.durable, error=repr(error), waits=waits)
                    await self._stopped_within(min(5.0, 0.05 * 2 ** min(waits, 10)))
                    continue
                if not alone:
                    return False
                await self._refuse(messages[0], error)
                return True
            await self.pull.ack_many(messages)
            return True

    async def _stopped_within(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return

    async def _refuse(self, message: Message, error: Exception) -> None:
        if isinstance(error, Hopeless):
            await self._bury(message, error.reason)
            return
        log.error(
            "message_failed",
            durable=self.pull.durable,
            subject=message.subject,
            sequence=message.stream_sequence,
            tries=message.tries,
            exc_info=error,
        )
        if message.tries >= self._max_tries:
            await self._bury(message, f"{type(error).__name__}: {error}")
        else:
            await message.nak(min(_RETRY_MOST_SECONDS, _RETRY_FIRST_SECONDS * 2 ** (message.tries - 1)))

    async def _bury(self, message: Message, reason: str) -> None:
        try:
            await bury(self._bus, self._service, self.pull.durable, message, reason)
        except Unavailable as error:
            log.warning("dead_letter_not_written", error=repr(error), sequence=message.stream_sequence)
            await message.nak(_RETRY_FIRST_SECONDS)
            return
        await message.term()

    @asynccontextmanager
    async def _kept(self, messages: list[Message]) -> AsyncIterator[None]:
        async def keep() -> None:
            while True:
                await asyncio.sleep(self.pull.ack_wait_seconds / 3)
                await self.pull.keep(messages)

        task = asyncio.create_task(keep(), name=f"keep {self.pull.durable}")
        try:
            yield
        finally:
            task.cancel()


def _passes(error: BaseException) -> bool:
    """Whether waiting cures this: something that the handler needs is away for a while."""
    if isinstance(error, grpc.aio.AioRpcError):
        return error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    return isinstance(error, Unavailable | ConnectionError | TimeoutError) or is_transient(error)


__all__ = ["Consumer", "Handler", "Hopeless", "Message", "PullSubscription"]
