"""Reads the stream EVENTS in its order, without a gap, from a position on.

The position that the evaluator commits is its acknowledgement, so nothing is acknowledged message by message: a consumer without
acknowledgements starts after the position, and its own numbers (1, 2, 3, ...) tell when one was lost on the way. Then, and after every
reconnection, a new consumer starts after the last message that was handed out. Redelivery out of order can't happen.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import deque
from collections.abc import Sequence

import msgspec
import nats
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from services.chassis import log as logs
from services.chassis.bus import Bus
from services.chassis.pull import Message, message_of
from services.chassis.streams import EVENTS

log = logs.get(__name__)

_REQUEST_MESSAGES = 256
_EXPIRES_SECONDS = 30
_HEARTBEAT_SECONDS = 1
_NANO = 1_000_000_000


class StreamReplaced(Exception):
    """The stream ends before the committed position: it is not the one that was read before."""


class StreamReader:
    """One reader of the given subjects of EVENTS. `after` is the last sequence that need not come again."""

    def __init__(self, bus: Bus, subjects: Sequence[str]) -> None:
        self._bus = bus
        self._subjects = list(subjects)
        self._buffer: deque[Message] = deque()
        self._arrived = asyncio.Event()
        self._subscription: Subscription | None = None
        self._name = ""
        self._inbox = ""
        self._after = 0
        self._consumer_sequence = 0
        self._remaining = 0
        self._heard = 0.0
        self._broken = True
        self._behind = 0  # messages of the stream after the last one that came

    @property
    def pending(self) -> int:
        """How many messages of the stream are not handed out yet, as far as it was heard."""
        return len(self._buffer) + self._behind

    @property
    def oldest_ms(self) -> int | None:
        """When the first of them was published; None where it has not come yet."""
        return self._buffer[0].publish_time_ms if self._buffer else None

    async def start(self, after: int) -> None:
        """Begin after this sequence of the stream; what waits there is known when this returns. Raises StreamReplaced."""
        info = await self._bus.jetstream.stream_info(EVENTS)
        if after > info.state.last_seq:
            raise StreamReplaced(
                f"the stream {EVENTS} ends at {info.state.last_seq}, before the committed position {after}: "
                "it was made anew; restore it, or start with an empty evaluator"
            )
        self._after = after
        self._bus.on_reconnect(self._break)
        await self._reopen()
        if self._behind:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), _HEARTBEAT_SECONDS)

    async def stop(self) -> None:
        """Forget the consumer."""
        await self._close()

    async def fetch(self, max_messages: int, wait_seconds: float) -> list[Message]:
        """The next messages as soon as there are any; none after `wait_seconds` without one."""
        loop = asyncio.get_running_loop()
        end = loop.time() + wait_seconds
        while not self._buffer:
            if self._broken or loop.time() - self._heard > 3 * _HEARTBEAT_SECONDS:
                await self._reopen()
            elif self._remaining == 0:
                await self._ask()
            left = end - loop.time()
            if left <= 0:
                return []
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), min(left, _HEARTBEAT_SECONDS))
            except TimeoutError:
                continue
        taken = [self._buffer.popleft() for _ in range(min(max_messages, len(self._buffer)))]
        self._after = taken[-1].stream_sequence
        if not self._broken and self._remaining == 0 and len(self._buffer) < _REQUEST_MESSAGES:
            await self._ask()
        return taken

    def _break(self) -> None:
        self._broken = True
        self._arrived.set()

    async def _reopen(self) -> None:
        """A new consumer after the last message handed out; what waits in the buffer comes again."""
        self._heard = asyncio.get_running_loop().time()
        try:
            await self._close()
            self._buffer.clear()
            self._name = f"evaluator-{uuid.uuid4().hex[:12]}"
            self._inbox = self._bus.connection.new_inbox()
            self._consumer_sequence = self._remaining = 0
            self._subscription = await self._bus.connection.subscribe(
                self._inbox, cb=self._receive, pending_msgs_limit=-1, pending_bytes_limit=-1
            )
            consumer = await self._bus.jetstream.add_consumer(
                EVENTS,
                ConsumerConfig(
                    name=self._name,
                    ack_policy=AckPolicy.NONE,
                    deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                    opt_start_seq=self._after + 1,
                    filter_subjects=self._subjects,
                    inactive_threshold=60,
                    mem_storage=True,
                    num_replicas=1,
                ),
            )
            self._broken, self._behind = False, consumer.num_pending or 0
            await self._ask()
        except (nats.errors.Error, TimeoutError, OSError) as error:
            log.warning("reader_not_open", error=repr(error))
            self._broken = True
            await asyncio.sleep(0.2)

    async def _close(self) -> None:
        if self._subscription is None:
            return
        subscription, self._subscription = self._subscription, None
        if self._bus.is_connected:
            try:
                await subscription.unsubscribe()
                await self._bus.jetstream.delete_consumer(EVENTS, self._name)
            except (nats.errors.Error, TimeoutError) as error:
                # The server forgets it by itself a minute later.
                log.debug("reader_not_closed", error=repr(error))

    async def _ask(self) -> None:
        self._remaining = _REQUEST_MESSAGES
        self._heard = asyncio.get_running_loop().time()
        body = {"batch": _REQUEST_MESSAGES, "expires": _EXPIRES_SECONDS * _NANO, "idle_heartbeat": _HEARTBEAT_SECONDS * _NANO}
        try:
            await self._bus.connection.publish(
                f"$JS.API.CONSUMER.MSG.NEXT.{EVENTS}.{self._name}", msgspec.json.encode(body), reply=self._inbox
            )
        except nats.errors.Error as error:
            log.debug("reader_not_asked", error=repr(error))
            self._broken = True

    async def _receive(self, raw: Msg) -> None:
        self._heard = asyncio.get_running_loop().time()
        if self._subscription is None or raw.sid != self._subscription._id:
            return  # of a consumer before this one
        if not raw.reply:
            status = (raw.headers or {}).get("Status", "")
            if status != "100":  # not a heartbeat: the request ended
                self._remaining = 0
                self._broken = self._broken or status not in ("404", "408")
                self._arrived.set()
            return
        message, consumer_sequence = message_of(raw, self._bus), _consumer_sequence(raw)
        if consumer_sequence != self._consumer_sequence + 1:
            log.warning("reader_gap", expected=self._consumer_sequence + 1, got=consumer_sequence)
            self._break()
            return
        self._consumer_sequence = consumer_sequence
        self._remaining -= 1
        self._buffer.append(message)
        self._behind = message.pending
        self._arrived.set()


def _consumer_sequence(raw: Msg) -> int:
    """The consumer's own number of a delivery: 1, 2, 3, ..."""
    tokens = raw.reply.split(".")
    return int(tokens[6 if len(tokens) == 9 else 8])
