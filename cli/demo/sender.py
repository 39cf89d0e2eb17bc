"""Sends the demo's people to the HTTP Events API: most of them fast, a part with the real `mparticle` client."""

from __future__ import annotations

import asyncio
import importlib
import logging
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import httpx2

from cli.demo.faults import DemoFault
from cli.demo.people import Event, Person

BATCHES_PER_REQUEST = 100
_CONNECTIONS = 4
_TRIES = 6
_ACCEPTED = 202
_AGAIN = frozenset({429, 500, 502, 503, 504})
_TIMEOUT_SECONDS = 30.0


class Sender:
    """Sends to one installation, with the keys of two inputs. Every batch has a `source_request_id`, so that sending it again is safe."""

    def __init__(self, url: str, *, app_key: tuple[str, str], feed_key: tuple[str, str]) -> None:
        self._url = url
        self._app_key = app_key
        self._feed_key = feed_key
        self._run = uuid.uuid4().hex[:12]
        self._messages = 0
        self.events_sent = 0
        self.requests_sent = 0
        self._client = httpx2.AsyncClient(
            base_url=url, timeout=_TIMEOUT_SECONDS, trust_env=False, limits=httpx2.Limits(max_connections=_CONNECTIONS * 2)
        )

    async def close(self) -> None:
        """Close the lines."""
        await self._client.aclose()

    async def send_many(self, people: Sequence[Person], *, later: bool, on_sent: Callable[[int], None]) -> None:
        """Send what is told of these people first, or later, in bulk requests; `on_sent` is told how many events were accepted."""
        waiting: asyncio.Queue[Sequence[Person]] = asyncio.Queue()
        for part in _parts(people):
            waiting.put_nowait(part)

        async def work() -> None:
            while not waiting.empty():
                part = waiting.get_nowait()
                told = [(person, person.later_events() if later else person.first_events()) for person in part]
                body = "[" + ",".join(self._batch(person, events) for person, events in told) + "]"
                # What is told later comes from a server of the company, by its feed.
                await self._post("/v2/bulkevents", body, self._feed_key if later else self._app_key)
                count = sum(len(events) for _, events in told)
                self.events_sent += count
                on_sent(count)

        async with asyncio.TaskGroup() as group:
            for _ in range(_CONNECTIONS):
                group.create_task(work())

    async def send_session(self, person: Person) -> float:
        """One session of this person, now, in a request of its own. Returns the instant at which it was accepted."""
        time_ms = time.time_ns() // 1_000_000
        person.sessions_ms.append(time_ms)
        await self._post("/v2/events", self._batch(person, [("session_start", time_ms, "")]), self._app_key)
        self.events_sent += 1
        return time.time()

    async def send_with_client(self, people: Sequence[Person], *, on_sent: Callable[[int], None]) -> None:
        """Send what is told of these people first with the `mparticle` client, as a customer's own program does."""
        loop = asyncio.get_running_loop()
        for part in _parts(people):
            count = await loop.run_in_executor(None, self._upload, part)
            self.events_sent += count
            self.requests_sent += 1
            on_sent(count)

    async def _post(self, path: str, body: str, key: tuple[str, str]) -> None:
        said = ""
        for attempt in range(_TRIES):
            if attempt:
                await asyncio.sleep(0.2 * 2**attempt)
            try:
                answer = await self._client.post(path, content=body, auth=key, headers={"content-type": "application/json"})
            except httpx2.TransportError as error:
                said = f"no answer: {error!r}"
                continue
            if answer.status_code == _ACCEPTED:
                self.requests_sent += 1
                return
            said = f"{answer.status_code} {answer.text[:300]}"
            if answer.status_code not in _AGAIN:
                break
        raise DemoFault(f"The Events API did not take a request to {path}: {said}")

    def _batch(self, person: Person, events: Iterable[Event]) -> str:
        # Written by hand, as everything in it is a number or plain ASCII: the machine's time is for Muster.
        email = f',"email":"{person.email}"' if person.email else ""
        return (
            f'{{"environment":"production","source_request_id":"{self._next_id()}",'
            f'"user_identities":{{"customer_id":"{person.customer}"{email}}},'
            f'"events":[{",".join(_event(person, event) for event in events)}]}}'
        )

    def _next_id(self) -> str:
        self._messages += 1
        return f"{self._run}-{self._messages}"

    def _upload(self, people: Sequence[Person]) -> int:
        """In a thread: the client blocks."""
        mparticle = _client_library()
        configuration = mparticle.Configuration()
        configuration.api_key, configuration.api_secret = self._feed_key
        configuration.host = f"{self._url}/v2"
        api = mparticle.EventsApi(configuration)
        batches, count = [], 0
        for person in people:
            batch = mparticle.Batch(environment="production")
            batch.source_request_id = f"{self._run}-client-{person.number}"
            batch.user_identities = mparticle.UserIdentities(customerid=person.customer, email=person.email)
            events = [*person.first_events(), *person.later_events()]
            batch.events = [_client_event(mparticle, person, event) for event in events]
            batches.append(batch)
            count += len(events)
        try:
            # It raises for every status but 2xx.
            api.bulk_upload_events(batches)
        except Exception as error:
            raise DemoFault(f"The mparticle client's request was not taken: {error}") from error
        return count


def _parts(people: Sequence[Person]) -> Iterator[Sequence[Person]]:
    for start in range(0, len(people), BATCHES_PER_REQUEST):
        yield people[start : start + BATCHES_PER_REQUEST]


def _event(person: Person, event: Event) -> str:
    kind, time_ms, name = event
    match kind:
        case "session_start":
            return f'{{"event_type":"session_start","data":{{"timestamp_unixtime_ms":{time_ms},"session_id":{person.number * 100 + 1}}}}}'
        case "screen_view":
            return f'{{"event_type":"screen_view","data":{{"timestamp_unixtime_ms":{time_ms},"screen_name":"{name}"}}}}'
        case "custom_event":
            return (
                f'{{"event_type":"custom_event","data":{{"timestamp_unixtime_ms":{time_ms},"event_name":"{name}",'
                f'"custom_event_type":"other","custom_attributes":{{"plan":"{"free" if person.number % 4 else "paid"}"}}}}}}'
            )
        case _:
            return f'{{"event_type":"{kind}","data":{{"timestamp_unixtime_ms":{time_ms}}}}}'


def _client_library() -> Any:
    with warnings.catch_warnings():
        # Its code has an `is` with a literal, of which newer Pythons warn when they first read it.
        warnings.simplefilter("ignore", SyntaxWarning)
        mparticle = importlib.import_module("mparticle")
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    return mparticle


def _client_event(mparticle: Any, person: Person, event: Event) -> Any:
    kind, time_ms, name = event
    match kind:
        case "first_run":
            return mparticle.FirstRunEvent(timestamp_unixtime_ms=time_ms)
        case "session_start":
            return mparticle.SessionStartEvent(timestamp_unixtime_ms=time_ms, session_id=person.number * 100 + 1)
        case "screen_view":
            return mparticle.ScreenViewEvent(screen_name=name, timestamp_unixtime_ms=time_ms)
        case _:
            return mparticle.AppEvent(name, "other", timestamp_unixtime_ms=time_ms)
