"""Fetching from a stream: messages, and the durable consumers that hand them out batch by batch."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import msgspec
import nats
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError, NotFoundError

from . import log as logs
from .bus import Bus

log = logs.get(__name__)

_EXPIRES_SECONDS = 30
_HEARTBEAT_SECONDS = 3
# Messages may be as large as 1 MB: what is fetched ahead must fit into memory.
_REQUEST_BYTES = 16 * 1024 * 1024
_ORDINARY_ENDINGS = ("Batch Completed", "Message Size Exceeds MaxBytes")
_NANO = 1_000_000_000
_NAME = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(slots=True)
class Message:
    """A message of a stream. `tries` counts deliveries, this one included; `pending` is how many come after it for this consumer."""

    subject: str
    data: bytes
    headers: dict[str, str]
    stream: str
    stream_sequence: int
    tries: int
    pending: int
    publish_time_ms: int
    _reply: str = field(repr=False)
    _bus: Bus = field(repr=False)

    async def ack(self) -> None:
        """Handled: it never comes again, unless this acknowledgement is lost."""
        await self._answer(b"+ACK")

    async def nak(self, delay_seconds: float = 0) -> None:
        """Not handled: it comes again after the delay."""
        await self._answer(b'-NAK {"delay": %d}' % int(delay_seconds * _NANO) if delay_seconds > 0 else b"-NAK")

    async def in_progress(self) -> None:
        """Still being handled: the time until it comes again starts anew."""
        await self._answer(b"+WPI")

    async def term(self) -> None:
        """Given up: it never comes again."""
        await self._answer(b"+TERM")

    async def _answer(self, body: bytes) -> None:
        try:
            await self._bus.connection.publish(self._reply, body)
        except (nats.errors.OutboundBufferLimitError, nats.errors.ConnectionClosedError) as error:
            # Unanswered, it comes again, which every handler allows for.
            log.warning("message_not_answered", error=repr(error), stream=self.stream, sequence=self.stream_sequence)


def message_of(raw: Msg, bus: Bus) -> Message:
    """What a consumer of JetStream sent, with the numbers of its reply subject."""
    # $JS.ACK.<stream>.<consumer>.<tries>.<stream seq>.<consumer seq>.<nanoseconds>.<pending>, or with <domain>.<account> after ACK.
    tokens = raw.reply.split(".")
    at = 2 if len(tokens) == 9 else 4
    return Message(
        subject=raw.subject,
        data=raw.data,
        headers={key: str(value) for key, value in (raw.headers or {}).items()},
        stream=tokens[at],
        stream_sequence=int(tokens[at + 3]),
        tries=int(tokens[at + 2]),
        pending=int(tokens[at + 6]),
        publish_time_ms=int(tokens[at + 5]) // 1_000_000,
        _reply=raw.reply,
        _bus=bus,
    )


def consumer_sequence_of(raw: Msg) -> int:
    """The consumer's own number of a delivery: 1, 2, 3, ..., so that a lost one shows."""
    tokens = raw.reply.split(".")
    return int(tokens[6 if len(tokens) == 9 else 8])


class PullSubscription:
    """A durable consumer of a stream, fetched batch by batch. Outlives restarts of NATS; a consumer that was deleted is made again.

    At start, and whenever the connection was cut, it goes back to the first message that is not acknowledged: what a killed process
    had in hand, or what was lost on the way, comes first, in order and at once; so a few messages may come again. With
    `inactive_seconds` the server forgets the consumer after that time without a fetch, as a copy in memory wants it.
    """

    def __init__(
        self,
        bus: Bus,
        stream: str,
        durable: str,
        *,
        filter_subjects: Sequence[str] = (),
        max_ack_pending: int = 10_000,
        ack_wait_seconds: float = 30,
        deliver: Literal["all", "new", "last_per_subject"] = "all",
        inactive_seconds: float | None = None,
    ) -> None:
        if not _NAME.fullmatch(durable):
            raise ValueError(f"the durable name {durable!r}: letters, digits, - and _ only")
        self._bus = bus
        self.stream = stream
        self.durable = durable
        self.ack_wait_seconds = ack_wait_seconds
        self._config = ConsumerConfig(
            name=durable,
            durable_name=durable,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ack_wait_seconds,
            max_deliver=-1,
            max_ack_pending=max_ack_pending,
            deliver_policy=DeliverPolicy(deliver),
            filter_subjects=list(filter_subjects) or None,
            inactive_threshold=inactive_seconds,
        )
        self._inbox = ""
        self._subscription: Subscription | None = None
        self._buffer: deque[Message] = deque()
        self._arrived = asyncio.Event()
        self._request = 0
        # How many messages the current request may still bring; 0: there is no request.
        self._remaining = 0
        self._heard = 0.0
        # Whether the server's consumer must be looked at, and gone back, before anything is asked of it.
        self._suspect = True
        # Messages that were asked for before a cut would come out of order: each look at the consumer begins a generation.
        self._generation = 0
        self._stopped = False
        self._forget: list[Callable[[], None]] = []

    async def start(self) -> None:
        """Make the consumer, waiting for NATS as long as it takes, and be ready to fetch."""
        self._forget = [self._bus.on_disconnect(self._cut), self._bus.on_reconnect(self._cut)]
        tries = 0
        while not await self._renew():
            tries += 1
            await asyncio.sleep(min(5.0, 0.1 * 2**tries))

    async def stop(self) -> None:
        """Give back what was fetched ahead and stop."""
        self._stopped = True
        self._arrived.set()
        for forget in self._forget:
            forget()
        self._forget = []
        if self._subscription is not None and self._bus.is_connected:
            await self._subscription.unsubscribe()
            while self._buffer:
                await self._buffer.popleft().nak()
        self._subscription = None

    async def fetch(self, max_messages: int, wait_seconds: float) -> list[Message]:
        """From 1 to `max_messages` messages as soon as there are any; none after `wait_seconds` without one, or once stopped."""
        loop = asyncio.get_running_loop()
        end = loop.time() + wait_seconds
        while not self._stopped:
            if self._buffer:
                taken = [self._buffer.popleft() for _ in range(min(max_messages, len(self._buffer)))]
                if not self._buffer:
                    self._arrived.clear()
                if self._remaining == 0 and not self._suspect:
                    await self._ask(max_messages)
                return taken
            if self._suspect or (self._remaining > 0 and loop.time() - self._heard > 2 * _HEARTBEAT_SECONDS + 1):
                await self._renew()
            if self._remaining == 0 and not self._suspect:
                await self._ask(max_messages)
            left = end - loop.time()
            if left <= 0:
                return []
            try:
                await asyncio.wait_for(self._arrived.wait(), min(left, 0.25 if self._suspect else 1.0))
            except TimeoutError:
                continue
            if not self._buffer:
                # Woken by a status: the loop asks anew.
                self._arrived.clear()
        return []

    async def ack_many(self, messages: Sequence[Message]) -> None:
        """Acknowledge each of these."""
        for message in messages:
            await message.ack()

    async def keep(self, messages: Sequence[Message]) -> None:
        """Say that these, and those fetched ahead, are in hand: the time until they come again starts anew."""
        for message in (*messages, *self._buffer):
            await message.in_progress()

    async def pending(self) -> int:
        """How many messages of the stream this consumer has not acknowledged yet."""
        info = await self._bus.jetstream.consumer_info(self.stream, self.durable)
        return (info.num_pending or 0) + (info.num_ack_pending or 0)

    async def _ask(self, batch: int) -> None:
        self._request += 1
        self._remaining = batch
        self._heard = asyncio.get_running_loop().time()
        body = {
            "batch": batch,
            "max_bytes": _REQUEST_BYTES,
            "expires": _EXPIRES_SECONDS * _NANO,
            "idle_heartbeat": _HEARTBEAT_SECONDS * _NANO,
        }
        try:
            await self._bus.connection.publish(
                f"$JS.API.CONSUMER.MSG.NEXT.{self.stream}.{self.durable}",
                msgspec.json.encode(body),
                reply=f"{self._inbox}.{self._request}",
            )
        except nats.errors.Error as error:
            self._remaining, self._suspect = 0, True
            log.debug("fetch_not_sent", error=repr(error))

    async def _receive(self, generation: int, raw: Msg) -> None:
        if generation != self._generation:
            return
        self._heard = asyncio.get_running_loop().time()
        if raw.reply:
            self._remaining = max(0, self._remaining - 1)
            self._buffer.append(message_of(raw, self._bus))
            self._arrived.set()
            return
        if raw.subject != f"{self._inbox}.{self._request}":
            # The end of an earlier request.
            return
        status = (raw.headers or {}).get("Status", "")
        if status == "100":
            return
        self._remaining = 0
        ending = (raw.headers or {}).get("Description", "")
        # Anything else asks for a look at the consumer, which may be gone.
        self._suspect = status not in ("404", "408") and ending not in _ORDINARY_ENDINGS
        if self._suspect:
            log.info("fetch_ended", stream=self.stream, durable=self.durable, state=status, ending=ending)
        self._arrived.set()

    def _cut(self) -> None:
        self._generation += 1
        self._remaining, self._suspect = 0, True
        self._arrived.set()

    async def _renew(self) -> bool:
        """Whether the consumer is there and back at its first message without acknowledgement, with nothing under way from before."""
        self._cut()
        generation = self._generation
        # What was fetched ahead comes again.
        self._buffer.clear()
        old, self._subscription = self._subscription, None
        try:
            if old is not None:
                await old.unsubscribe()
            self._inbox = self._bus.connection.new_inbox()
            receive = partial(self._receive, generation)
            self._subscription = await self._bus.connection.subscribe(
                f"{self._inbox}.*", cb=receive, pending_msgs_limit=-1, pending_bytes_limit=-1
            )
        except nats.errors.Error as error:
            log.warning("consumer_not_made", stream=self.stream, durable=self.durable, error=repr(error))
            return False
        ready = await self._try_ensure() and await self._try_rewind()
        self._suspect = not ready or generation != self._generation
        return not self._suspect

    async def _try_ensure(self) -> bool:
        try:
            await self._bus.jetstream.add_consumer(self.stream, self._config)
            return True
        except NotFoundError:
            log.warning("stream_missing", stream=self.stream, durable=self.durable)
            try:
                await self._bus.ensure_streams()
            except (nats.errors.Error, TimeoutError) as error:
                log.warning("streams_not_made", error=repr(error))
        except (nats.errors.Error, TimeoutError) as error:
            log.warning("consumer_not_made", stream=self.stream, durable=self.durable, error=repr(error))
        return False

    async def _try_rewind(self) -> bool:
        try:
            await self._bus.jetstream.reset_consumer(self.stream, self.durable)
            return True
        except APIError as error:
            log.warning("consumer_not_rewound", stream=self.stream, durable=self.durable, error=repr(error))
            # What was in hand comes again after the wait.
            return True
        except (nats.errors.Error, TimeoutError) as error:
            log.warning("consumer_not_rewound", stream=self.stream, durable=self.durable, error=repr(error))
            return False
