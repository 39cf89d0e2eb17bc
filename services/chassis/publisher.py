"""Publishing to JetStream, many messages in flight on one connection, in order.

The connection is never resumed: once cut, what was not acknowledged fails, and the next publish opens a new one. A client that
reconnects by itself sends what it had buffered after what it lost, and so turns the order round.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from . import log as logs
from .errors import Unavailable

log = logs.get(__name__)

# The server takes 1 MiB a message unless told otherwise; headers need their share of it.
PAYLOAD_MAX_BYTES = 1_000_000
MESSAGE_ID = "Nats-Msg-Id"
_WINDOW = 2_000
_CONNECT_SECONDS = 2
_STATUS = "Status"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish. Of two with the same `message_id` within two minutes the stream keeps the first. Headers are ASCII."""

    subject: str
    payload: bytes
    message_id: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.message_id.isascii() or not all(value.isascii() for value in self.headers.values()):
            raise ValueError(f"a header or the id of a message to {self.subject} is not ASCII, which NATS does not carry")


@dataclass(frozen=True, slots=True)
class Published:
    """The stream's acknowledgement: where the message stands, and whether it was there already."""

    stream: str
    sequence: int
    duplicate: bool


class PublishFailed(Unavailable):
    """The stream did not acknowledge; it may hold the message or not, so publish again under the same message id."""


class _Fault(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _Ack(msgspec.Struct):
    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    error: _Fault | None = None


_decode = msgspec.json.Decoder(_Ack).decode


class Publisher:
    """The publishing half of a Bus."""

    def __init__(self, servers: Sequence[str], name: str) -> None:
        self._servers = list(servers)
        self._name = f"{name} publisher"
        self._connection: Client | None = None
        self._inbox = ""
        self._opening = asyncio.Lock()
        self._number = 0
        self._waiting: dict[int, asyncio.Future[Published]] = {}
        self._room = asyncio.Event()
        self._room.set()
        self._stopped = False

    async def stop(self) -> None:
        """Close the connection; what is in flight fails."""
        self._stopped = True
        if self._connection is not None:
            await self._connection.close()
        self._fail("The bus was closed.")

    async def publish_each(self, messages: Sequence[Outgoing], timeout_seconds: float) -> list[Published | PublishFailed]:
        """Publish in order, all in flight at once, and wait for the answers: one for each message, in their order."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_seconds
        futures: list[asyncio.Future[Published]] = []
        failure: PublishFailed | None = None
        try:
            connection = await self._open()
            for message in messages:
                if not self._room.is_set():
                    await asyncio.wait_for(self._room.wait(), max(0.0, end - loop.time()))
                futures.append(await self._send(connection, message))
        except PublishFailed as fault:
            failure = fault
        except TimeoutError:
            failure = PublishFailed("The stream did not answer in time.")
        # A message after one that could not be sent was not sent either, so the order stands.
        if futures:
            await asyncio.wait(futures, timeout=max(0.0, end - loop.time()))
        answers = [_answer(future) for future in futures]
        return answers + [failure or PublishFailed("Not sent.")] * (len(messages) - len(answers))

    async def _send(self, connection: Client, message: Outgoing) -> asyncio.Future[Published]:
        if self._connection is None or connection is not self._connection:
            raise PublishFailed("The connection to the bus was cut.")
        self._number += 1
        number = self._number
        future: asyncio.Future[Published] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        future.add_done_callback(lambda _: self._forget(number))
        if len(self._waiting) >= _WINDOW:
            self._room.clear()
        try:
            headers = {**message.headers, MESSAGE_ID: message.message_id}
            await connection.publish(message.subject, message.payload, reply=f"{self._inbox}.{number}", headers=headers)
        except (nats.errors.Error, OSError) as error:
            future.cancel()
            raise PublishFailed(f"The message could not be sent: {type(error).__name__}.") from error
        return future

    def _forget(self, number: int) -> None:
        self._waiting.pop(number, None)
        if len(self._waiting) < _WINDOW:
            self._room.set()

    async def _open(self) -> Client:
        async with self._opening:
            if self._connection is not None and self._connection.is_connected:
                return self._connection
            if self._stopped:
                raise PublishFailed("The bus was closed.")
            self._cut()
            connection = Client()

            async def closed() -> None:
                if connection is self._connection:
                    self._cut()

            try:
                await asyncio.wait_for(
                    connection.connect(
                        servers=self._servers,
                        name=self._name,
                        allow_reconnect=False,
                        connect_timeout=_CONNECT_SECONDS,
                        max_reconnect_attempts=1,
                        reconnect_time_wait=0,
                        ping_interval=5,
                        max_outstanding_pings=2,
                        closed_cb=closed,
                        disconnected_cb=closed,
                        error_cb=_quiet,
                    ),
                    _CONNECT_SECONDS + 1,
                )
                self._inbox = connection.new_inbox()
                await connection.subscribe(f"{self._inbox}.*", cb=self._receive)
            except (nats.errors.Error, OSError, TimeoutError) as error:
                raise PublishFailed("The bus does not answer.") from error
            self._connection = connection
            return connection

    def _cut(self) -> None:
        self._connection = None
        self._fail("The connection to the bus was cut.")

    def _fail(self, why: str) -> None:
        for future in list(self._waiting.values()):
            if not future.done():
                future.set_exception(PublishFailed(why))
                # Whoever waits takes it; a publisher that gave up already must not cause a warning.
                future.exception()
        self._room.set()

    async def _receive(self, answer: Msg) -> None:
        future = self._waiting.get(int(answer.subject.rsplit(".", 1)[1]))
        if future is None or future.done():
            return
        if answer.headers and answer.headers.get(_STATUS) == "503":
            future.set_exception(PublishFailed("No stream takes this subject."))
            return
        ack = _decode(answer.data)
        if ack.error is not None:
            future.set_exception(PublishFailed(f"The stream refused the message: {ack.error.description}.", err_code=ack.error.err_code))
            return
        future.set_result(Published(ack.stream, ack.seq, ack.duplicate))


def _answer(future: asyncio.Future[Published]) -> Published | PublishFailed:
    if not future.done():
        future.cancel()
        return PublishFailed("The stream did not answer in time.")
    if future.cancelled():
        return PublishFailed("The message could not be sent.")
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, PublishFailed):
        return error
    raise error


async def _quiet(error: Exception) -> None:
    log.debug("bus_publisher_error", error=repr(error))
