"""Dead letters: messages that a service gave up, kept whole with the reason, listed and replayed by its OperationsService."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError

from . import log as logs
from .bus import MESSAGE_ID, Bus
from .pull import Message
from .streams import DEADLETTERS, deadletters_subject

log = logs.get(__name__)

_SUBJECT = "Muster-Dead-Subject"
_STREAM = "Muster-Dead-Stream"
_SEQUENCE = "Muster-Dead-Sequence"
_REASON = "Muster-Dead-Reason"
_TRIES = "Muster-Dead-Tries"
_CONSUMER = "Muster-Dead-Consumer"
_MESSAGE_ID = "Muster-Dead-Message-Id"
_OWN = {_SUBJECT, _STREAM, _SEQUENCE, _REASON, _TRIES, _CONSUMER, _MESSAGE_ID}
_REASON_MAX = 500
# A header is ASCII; what else stands in a reason is written as in a URL, and so is the sign that marks this.
_PLAIN = "".join(chr(code) for code in range(32, 127) if chr(code) != "%")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message given up: `sequence` is its place among the dead letters, `subject` and `headers` are those it came with."""

    sequence: int
    subject: str
    stream: str
    stream_sequence: int
    consumer: str
    reason: str
    tries: int
    create_time_ms: int
    data: bytes = field(repr=False)
    headers: dict[str, str]


async def bury(bus: Bus, service: str, consumer: str, message: Message, reason: str) -> None:
    """Write a message to the dead letters of a service; burying it again changes nothing. Raises PublishFailed."""
    # The server acts on its own headers: an expectation or an id that held for the original does not hold for the letter.
    kept = {key: value for key, value in message.headers.items() if not key.startswith("Nats-") and key not in _OWN}
    headers = {key: value.encode("ascii", "replace").decode() for key, value in kept.items()}
    told = " ".join(reason.split())[:_REASON_MAX]
    headers |= {
        _SUBJECT: message.subject,
        _STREAM: message.stream,
        _SEQUENCE: str(message.stream_sequence),
        _REASON: quote(told, safe=_PLAIN),
        _TRIES: str(message.tries),
        _CONSUMER: consumer,
        _MESSAGE_ID: message.headers.get(MESSAGE_ID, ""),
    }
    place = f"{message.stream}.{message.stream_sequence}"
    await bus.publish(deadletters_subject(service), message.data, message_id=f"dead.{service}.{consumer}.{place}", headers=headers)
    log.error("dead_letter", consumer=consumer, subject=message.subject, sequence=message.stream_sequence, reason=told)


class DeadLetters:
    """The dead letters of one service."""

    def __init__(self, bus: Bus, service: str) -> None:
        self._bus = bus
        self._subject = deadletters_subject(service)

    async def list(self, *, after: int = 0, limit: int = 100) -> list[DeadLetter]:
        """Up to `limit` letters whose sequence is greater than `after`, the oldest first."""
        letters: list[DeadLetter] = []
        while len(letters) < limit:
            letter = await self._next(after + 1)
            if letter is None:
                break
            letters.append(letter)
            after = letter.sequence
        return letters

    async def get(self, sequence: int) -> DeadLetter | None:
        """The letter of this sequence; None if there is none, or it is another service's."""
        letter = await self._next(sequence)
        return letter if letter is not None and letter.sequence == sequence else None

    async def replay(self, sequences: Sequence[int] = ()) -> int:
        """Publish letters again where they came from and delete them; without sequences, all that are there now. Returns how many.

        In a stream that keeps one message a subject, a letter that a newer message has followed is deleted only: it must not replace it.
        """
        replayed = 0
        if sequences:
            for sequence in sequences:
                letter = await self.get(sequence)
                if letter is not None:
                    await self._replay(letter)
                    replayed += 1
            return replayed
        # What fails again while this runs comes after the last one of now, and so is not replayed without end.
        last = await self._last()
        after = 0
        while after < last and (letter := await self._next(after + 1)) is not None and letter.sequence <= last:
            await self._replay(letter)
            after = letter.sequence
            replayed += 1
        return replayed

    async def _replay(self, letter: DeadLetter) -> None:
        js = self._bus.jetstream
        if not await self._is_replaced(letter):
            # An id of its own: the stream would drop the original id. The letter's own sequence makes repeating this harmless.
            await self._bus.publish(letter.subject, letter.data, message_id=f"replay.{letter.sequence}", headers=letter.headers)
        try:
            await js.delete_msg(DEADLETTERS, letter.sequence)
        except NotFoundError:
            log.debug("dead_letter_gone", sequence=letter.sequence)
        log.info("dead_letter_replayed", subject=letter.subject, sequence=letter.sequence)

    async def _is_replaced(self, letter: DeadLetter) -> bool:
        js = self._bus.jetstream
        try:
            if (await js.stream_info(letter.stream)).config.max_msgs_per_subject != 1:
                return False
            last = await js.get_last_msg(letter.stream, letter.subject)
        except NotFoundError:
            return False
        return (last.seq or 0) > letter.stream_sequence

    async def _next(self, sequence: int) -> DeadLetter | None:
        try:
            return _letter(await self._bus.jetstream.get_msg(DEADLETTERS, seq=sequence, subject=self._subject, next=True))
        except NotFoundError:
            return None

    async def _last(self) -> int:
        try:
            return (await self._bus.jetstream.get_last_msg(DEADLETTERS, self._subject)).seq or 0
        except NotFoundError:
            return 0


async def rewrite(bus: Bus, amended: Callable[[DeadLetter], bytes | None]) -> int:
    """Let letters of all services hold other data, as when somebody in them was erased. `amended` gives a letter's data, the same where
    nothing is to change, or None: the letter goes. Returns how many changed; doing it again changes nothing more."""
    changed, after = 0, 0
    while True:
        try:
            raw = await bus.jetstream.get_msg(DEADLETTERS, seq=after + 1, subject=deadletters_subject("*"), next=True)
        except NotFoundError:
            return changed
        letter = _letter(raw)
        after = letter.sequence
        data = amended(letter)
        if data == letter.data:
            continue
        changed += 1
        if data is not None:
            kept = {key: value for key, value in (raw.headers or {}).items() if not key.startswith("Nats-")}
            await bus.publish(raw.subject or "", data, message_id=f"amended.{letter.sequence}", headers=kept)
        try:
            await bus.jetstream.delete_msg(DEADLETTERS, letter.sequence)
        except NotFoundError:
            log.debug("dead_letter_gone", sequence=letter.sequence)


def _letter(raw: RawStreamMsg) -> DeadLetter:
    headers = raw.headers or {}
    data = raw.data if isinstance(raw.data, bytes) else base64.b64decode(raw.data or "")
    return DeadLetter(
        sequence=raw.seq or 0,
        subject=headers.get(_SUBJECT, ""),
        stream=headers.get(_STREAM, ""),
        stream_sequence=int(headers.get(_SEQUENCE, "0")),
        consumer=headers.get(_CONSUMER, ""),
        reason=unquote(headers.get(_REASON, "")),
        tries=int(headers.get(_TRIES, "0")),
        create_time_ms=int(raw.time.timestamp() * 1000) if raw.time is not None else 0,
        data=data,
        headers={key: value for key, value in headers.items() if key not in _OWN and not key.startswith("Nats-")},
    )
