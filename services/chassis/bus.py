"""The bus: one process's connection to NATS JetStream. Facts go out through `publish`, come in through `consumer.Consumer`."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence

import nats
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import BadRequestError, NotFoundError

from . import log as logs
from .publisher import MESSAGE_ID, PAYLOAD_MAX_BYTES, Outgoing, Published, Publisher, PublishFailed
from .settings import ServiceSettings
from .streams import DUPLICATE_WINDOW_SECONDS, STREAMS, Stream

__all__ = ["MESSAGE_ID", "PAYLOAD_MAX_BYTES", "Bus", "Outgoing", "PublishFailed", "Published", "headers_of"]

log = logs.get(__name__)

# The headers of every message of ours.
ACCOUNT = "Muster-Account"
TRACE = "Muster-Trace"
SCHEMA = "Muster-Schema"


def headers_of(account_id: int, *, schema: int = 1) -> dict[str, str]:
    """The headers of a message: its account, the version of its schema, and the trace of the request in hand."""
    trace = logs.bound("trace_id")
    return {ACCOUNT: str(account_id), SCHEMA: str(schema), **({TRACE: str(trace)} if trace else {})}


class Bus:
    """Connects at start, for as long as that takes, makes the streams, and reconnects for ever."""

    def __init__(self, url: str, *, name: str, replicas: int = 1) -> None:
        self._servers = [server.strip() for server in url.split(",")]
        self._name = name
        self.replicas = replicas
        self._connection: Client | None = None
        self._publisher = Publisher(self._servers, name)
        self._on_disconnect: list[Callable[[], None]] = []
        self._on_reconnect: list[Callable[[], None]] = []
        self._stopping = False
        self._waiting = False

    @classmethod
    def from_settings(cls, settings: ServiceSettings) -> Bus:
        """The bus that a service's settings name."""
        return cls(settings.nats_url, name=settings.service, replicas=settings.stream_replicas)

    @property
    def connection(self) -> Client:
        """The NATS client itself. Only after `start`."""
        if self._connection is None:
            raise RuntimeError("the bus is not started")
        return self._connection

    @property
    def jetstream(self) -> JetStreamContext:
        """JetStream's management calls. Only after `start`."""
        return self.connection.jetstream()

    @property
    def is_connected(self) -> bool:
        """Whether NATS answers at this moment, as far as known."""
        return self._connection is not None and self._connection.is_connected

    def on_disconnect(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call this whenever the connection is cut, before it is made again; calling what is returned ends that."""
        self._on_disconnect.append(callback)
        return lambda: self._on_disconnect.remove(callback)

    def on_reconnect(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call this after every reconnection; calling what is returned ends that."""
        self._on_reconnect.append(callback)
        return lambda: self._on_reconnect.remove(callback)

    async def start(self) -> None:
        """Connect, waiting for NATS as long as it takes, and make the streams."""
        client = Client()
        # Without an end to its attempts, connecting waits for as long as NATS is away.
        await client.connect(
            servers=self._servers,
            name=self._name,
            connect_timeout=2,
            allow_reconnect=True,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.25,
            ping_interval=10,
            max_outstanding_pings=2,
            error_cb=self._error,
            disconnected_cb=self._disconnected,
            reconnected_cb=self._reconnected,
        )
        self._connection = client
        log.info("bus_connected", server=client.connected_url.netloc if client.connected_url else "")
        await self._until_made()

    async def stop(self) -> None:
        """Send what is buffered and close."""
        self._stopping = True
        await self._publisher.stop()
        if self._connection is None:
            return
        try:
            if self._connection.is_connected:
                await self._connection.flush(timeout=2)
        except (nats.errors.Error, OSError, TimeoutError) as error:
            log.warning("bus_not_flushed", error=repr(error))
        await self._connection.close()

    async def ensure_streams(self) -> None:
        """Create every stream of the installation, and update one whose settings differ."""
        for stream in STREAMS:
            await self.ensure_stream(stream)

    async def ensure_stream(self, stream: Stream) -> None:
        """Create one stream, or update it where its settings differ."""
        js = self.jetstream
        config = StreamConfig(
            name=stream.name,
            description=stream.description,
            subjects=list(stream.subjects),
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            discard=DiscardPolicy.OLD,
            max_age=stream.max_age_seconds,
            max_msgs_per_subject=stream.per_subject,
            num_replicas=self.replicas,
            duplicate_window=DUPLICATE_WINDOW_SECONDS,
            allow_direct=True,
        )
        try:
            present = (await js.stream_info(stream.name)).config
        except NotFoundError:
            try:
                await js.add_stream(config)
                log.info("stream_made", stream=stream.name)
                return
            except BadRequestError:
                # Another service of another version was faster.
                present = (await js.stream_info(stream.name)).config
        wanted = config.as_dict()
        if any(present.as_dict().get(key) != value for key, value in wanted.items() if key in _UPDATED):
            await js.update_stream(config)
            log.info("stream_updated", stream=stream.name)

    async def publish(
        self, subject: str, payload: bytes, *, message_id: str, headers: Mapping[str, str] | None = None, timeout_seconds: float = 5
    ) -> Published:
        """Publish and wait for the stream's acknowledgement. Raises PublishFailed without one."""
        answers = await self.publish_many([Outgoing(subject, payload, message_id, headers or {})], timeout_seconds=timeout_seconds)
        return answers[0]

    async def publish_many(self, messages: Sequence[Outgoing], *, timeout_seconds: float = 10) -> list[Published]:
        """Publish in order, all in flight at once. Raises PublishFailed if any was not acknowledged."""
        answers = []
        for answer in await self.publish_each(messages, timeout_seconds=timeout_seconds):
            if isinstance(answer, PublishFailed):
                raise answer
            answers.append(answer)
        return answers

    async def publish_each(self, messages: Sequence[Outgoing], *, timeout_seconds: float = 10) -> list[Published | PublishFailed]:
        """Publish in order, all in flight at once: an answer for each message. None overtakes an earlier one that was sent."""
        return await self._publisher.publish_each(messages, timeout_seconds)

    async def _until_made(self) -> None:
        for tries in itertools.count(1):
            try:
                await self.ensure_streams()
                return
            except (nats.errors.Error, TimeoutError) as error:
                # JetStream of a server that just started answers a moment after the server itself.
                log.warning("streams_not_made", error=repr(error), tries=tries)
                await asyncio.sleep(min(5.0, 0.25 * tries))

    async def _error(self, error: Exception) -> None:
        # While NATS is away every attempt fails alike: once told by bus_disconnected.
        known = isinstance(error, OSError | TimeoutError | nats.errors.StaleConnectionError | nats.errors.UnexpectedEOF)
        if known and self._connection is None and not self._waiting:
            self._waiting = True
            log.warning("bus_waiting", error=repr(error))
        elif known:
            log.debug("bus_error", error=repr(error))
        else:
            log.warning("bus_error", error=repr(error))

    async def _disconnected(self) -> None:
        if not self._stopping:
            log.warning("bus_disconnected")
        for callback in list(self._on_disconnect):
            callback()

    async def _reconnected(self) -> None:
        log.info("bus_reconnected")
        for callback in list(self._on_reconnect):
            callback()


_UPDATED = {"subjects", "description", "max_age", "max_msgs_per_subject", "num_replicas", "duplicate_window", "allow_direct"}
