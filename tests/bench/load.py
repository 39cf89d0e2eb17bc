"""Sends events to the HTTP Events API, flat out or at a given rate, at little cost: bodies are written beforehand, connections are kept.

    python -m tests.bench.load --url http://127.0.0.1:7080 --key KEY --secret SECRET --seconds 10 [--rate 2000]

Each request is a bulk of batches, each batch somebody new unless `--people` says how many there are in all.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import random
import re
import time
from dataclasses import dataclass, field
from itertools import count
from urllib.parse import urlsplit

# Written over in the bodies that are made beforehand. All of one length, so that a body keeps its size.
_REQUEST, _MESSAGE, _PERSON, _TIME = b"%REQUEST-NUMB%", b"%MESSAGE-NUMB%", b"%PERSON-NUMB%", b"%TIMESTAMP-M%"
_NAMES = ("Viewed", "Searched", "Opened", "Shared", "Rated")
_PLACES = re.compile(b"|".join(re.escape(place) for place in (_REQUEST, _MESSAGE, _PERSON, _TIME)))


@dataclass(frozen=True, slots=True)
class Shape:
    """What a request looks like. `people` 0: each batch is somebody new; else one of so many. `message_ids`: each event has an id too."""

    batches: int = 100
    events: int = 15
    people: int = 0
    message_ids: bool = False

    @property
    def events_per_request(self) -> int:
        return self.batches * self.events


@dataclass(slots=True)
class Sent:
    """What came of it. `late` counts requests that could not start within a second of their time."""

    events: int = 0
    requests: int = 0
    refused: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0
    late: int = 0
    answer_seconds: list[float] = field(default_factory=list)

    @property
    def events_per_second(self) -> float:
        return self.events / self.seconds if self.seconds else 0.0

    def answer_ms(self, share: float) -> float:
        """How long an answer took in this share of the requests at most, in milliseconds."""
        ordered = sorted(self.answer_seconds)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def body_pieces(shape: Shape) -> list[bytes]:
    """A body cut at the places that differ from request to request: text, place, text, ..."""
    data: dict[str, object] = {"timestamp_unixtime_ms": _TIME.decode()}
    if shape.message_ids:
        data["source_message_id"] = _MESSAGE.decode()

    def custom(number: int) -> dict[str, object]:
        said: dict[str, object] = {"event_name": _NAMES[number % len(_NAMES)], "custom_event_type": "other"}
        said |= {"custom_attributes": {"price": 19.5, "place": "home"}}
        return {"event_type": "custom_event", "data": {**said, **data}}

    first = [{"event_type": "first_run", "data": data}, {"event_type": "session_start", "data": data}]
    events = [*first, *(custom(number) for number in range(shape.events))][: shape.events]
    batch: dict[str, object] = {
        "environment": "production",
        "source_request_id": _REQUEST.decode(),
        "user_identities": {"customer_id": f"load-{_PERSON.decode()}"},
        "events": events,
    }
    body = json.dumps([batch] * shape.batches, separators=(",", ":")).encode().replace(b'"' + _TIME + b'"', _TIME)
    pieces, end = [], 0
    for found in _PLACES.finditer(body):
        pieces += [body[end : found.start()], found[0]]
        end = found.end()
    return [*pieces, body[end:]]


class Load:
    """Requests to one input of one Events API."""

    def __init__(self, url: str, key: str, secret: str, shape: Shape, *, seed: int | None = None) -> None:
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), parts.port or 80
        self._shape = shape
        self._pieces = body_pieces(shape)
        size = sum(len(piece) for piece in self._pieces)
        token = base64.b64encode(f"{key}:{secret}".encode()).decode()
        self._head = (
            f"POST /v2/bulkevents HTTP/1.1\r\nHost: {self._host}:{self._port}\r\nAuthorization: Basic {token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
        ).encode()
        chance = random.Random(seed)
        # Runs do not meet each other's people and ids.
        self._requests = count(chance.randrange(10**6) * 10**8)
        self._people = count(chance.randrange(10**5) * 10**8)
        self.sent = Sent()

    async def flat_out(self, seconds: float, *, connections: int = 4) -> Sent:
        """As fast as the answers come, on so many connections."""
        begin = time.perf_counter()

        async def work() -> None:
            async with _Connection(self._host, self._port) as connection:
                while time.perf_counter() - begin < seconds:
                    await self._request(connection)

        await asyncio.gather(*[work() for _ in range(connections)])
        self.sent.seconds += time.perf_counter() - begin
        return self.sent

    async def at_rate(self, events_per_second: float, seconds: float, *, connections: int = 16) -> Sent:
        """Requests at their times, whatever the answers do, as far as the connections suffice."""
        begin = time.perf_counter()
        pause = self._shape.events_per_request / events_per_second
        times = iter([begin + number * pause for number in range(round(seconds / pause))])

        async def work() -> None:
            async with _Connection(self._host, self._port) as connection:
                for due in times:
                    await asyncio.sleep(max(0.0, due - time.perf_counter()))
                    self.sent.late += time.perf_counter() - due > 1
                    await self._request(connection)

        await asyncio.gather(*[work() for _ in range(connections)])
        self.sent.seconds += time.perf_counter() - begin
        return self.sent

    def body(self, now_ms: int) -> bytes:
        """The next body."""
        at = b"%13d" % now_ms
        written = []
        for piece in self._pieces:
            if piece == _TIME:
                written.append(at)
            elif piece in (_REQUEST, _MESSAGE):
                written.append(b"%014d" % next(self._requests))
            elif piece == _PERSON:
                number = next(self._people)
                written.append(b"%013d" % (number % self._shape.people if self._shape.people else number))
            else:
                written.append(piece)
        return b"".join(written)

    async def _request(self, connection: _Connection) -> None:
        request = self._head + self.body(time.time_ns() // 1_000_000)
        while True:
            begin = time.perf_counter()
            status = await connection.post(request)
            self.sent.requests += 1
            if status == 202:
                self.sent.answer_seconds.append(time.perf_counter() - begin)
                self.sent.events += self._shape.events_per_request
                return
            self.sent.refused[status] = self.sent.refused.get(status, 0) + 1
            if status not in (429, 503):
                raise RuntimeError(f"the Events API answered {status}")
            await asyncio.sleep(0.05)


class _Connection:
    """A connection that is kept; only as much of HTTP/1.1 as the Events API answers with."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port

    async def __aenter__(self) -> _Connection:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def post(self, request: bytes) -> int:
        """Send a request; the status of its answer."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        if length:
            await self._reader.readexactly(int(length[1]))
        return int(head.split(b" ", 2)[1])


async def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:7080", help="where ingest serves HTTP")
    parser.add_argument("--key", required=True, help="the key of an input")
    parser.add_argument("--secret", required=True, help="its secret")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rate", type=float, default=0, help="events a second; 0: flat out")
    parser.add_argument("--connections", type=int, default=0, help="0: 4 flat out, 16 at a rate")
    parser.add_argument("--batches", type=int, default=100, help="batches a request")
    parser.add_argument("--events", type=int, default=15, help="events a batch")
    parser.add_argument("--people", type=int, default=0, help="how many there are; 0: each batch is somebody new")
    parser.add_argument("--message-ids", action="store_true", help="give each event an id, beside each batch")
    options = parser.parse_args()
    shape = Shape(options.batches, options.events, options.people, options.message_ids)
    load = Load(options.url, options.key, options.secret, shape)
    if options.rate:
        sent = await load.at_rate(options.rate, options.seconds, connections=options.connections or 16)
    else:
        sent = await load.flat_out(options.seconds, connections=options.connections or 4)
    print(
        f"{sent.events:,} events in {sent.seconds:.1f} s: {sent.events_per_second:,.0f} events/s; "
        f"answers after {sent.answer_ms(0.5):.0f} ms (half), {sent.answer_ms(0.99):.0f} ms (99 of 100); "
        f"refused {sent.refused or 'none'}; late {sent.late}"
    )


if __name__ == "__main__":
    asyncio.run(_main())
