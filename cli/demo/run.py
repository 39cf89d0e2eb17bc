"""The demo from start to end: an installation, its people, who leaves while we watch, and the check of it all."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from cli.demo import people as crowds
from cli.demo.faults import DemoFault
from cli.demo.installation import AUDIENCE_WORDS, Installation, Members
from cli.demo.partner import Change, Partner
from cli.demo.people import Person
from cli.demo.sender import Sender
from cli.demo.show import Departures, Figures, Show, milliseconds, percentile
from cli.output import count
from cli.supervisor import Supervisor, SupervisorFault

_POLL_SECONDS = 0.25
_SETTLE_SECONDS = 60.0
_SEED = 20_240_909


@dataclass(frozen=True)
class Plan:
    """How much the demo does."""

    people: int = 20_000
    # Sent by the `mparticle` client.
    by_client: int = 300
    # Start their third session while we watch.
    by_session: int = 300
    sessions_per_second: float = 40.0
    # Leave because their 72 hours are over, while we watch: from so many seconds after they were sent, to so many.
    by_time: int = 100
    by_time_from_seconds: float = 4.0
    by_time_to_seconds: float = 8.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """The closing figures, and what differs from what it should be: nothing, if all is well."""

    figures: dict[str, Any]
    differences: list[str]


class Demo:
    """One run in one data folder."""

    def __init__(self, supervisor: Supervisor, show: Show, plan: Plan) -> None:
        self.supervisor = supervisor
        self._show = show
        self._plan = plan
        self._figures = Figures()
        self._departures = Departures()
        self._partner = Partner(on_change=self._changed)
        self._people: list[Person] = []
        # By customer id: when a third session was accepted, and when someone's 72 hours are over. In seconds since 1970.
        self._accepted: dict[str, float] = {}
        self._due: dict[str, float] = {}
        self._left: dict[str, float] = {}
        self._rate = 0.0
        self._delivered = asyncio.Event()
        self.installation: Installation | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Outcome]:
        """The whole demo; the installation and the partner go on until the end of the block. Raises DemoFault."""
        await self._partner.start()
        try:
            with self._show.step("Starting nats-server and the services", "Started nats-server and the services") as step:
                making = asyncio.create_task(asyncio.to_thread(crowds.crowd, self._plan.people, time.time_ns() // 1_000_000, seed=_SEED))
                try:
                    await self.supervisor.start()
                except SupervisorFault as fault:
                    making.cancel()
                    raise DemoFault(str(fault)) from None
                step.detail = f"{len(self.supervisor.services)} services, each a process"
                self._people = await making
            async with Installation(self.supervisor) as installation:
                self.installation = installation
                with self._polling():
                    outcome = await self._all(installation)
                yield outcome
        finally:
            # The demo's data is thrown away: nothing has to end in good order.
            await self.supervisor.abandon()
            await self._partner.stop()

    async def _all(self, installation: Installation) -> Outcome:
        with self._show.step("Making an account, a workspace and its inputs", "Made an account, a workspace and its inputs") as step:
            await installation.make_account()
            step.detail = "iOS and a feed"
        with self._show.step("Activating an audience", "Activated an audience") as step:
            await installation.make_audience()
            step.detail = AUDIENCE_WORDS
        with self._show.step("Connecting it to a webhook", "Connected it to a webhook") as step:
            await installation.connect(self._partner.url, self._partner.secret)
            step.detail = "run by this demo; every request is signed"
        sender = Sender(installation.events_url, app_key=installation.app_key, feed_key=installation.feed_key)
        try:
            await self._send(sender)
            await self._settle(installation)
            await self._watch(sender)
            return await self._check(installation, sender)
        finally:
            await sender.close()

    async def _send(self, sender: Sender) -> None:
        """Everything that happened so far, through the HTTP Events API."""
        by_client, fast = self._people[: self._plan.by_client], self._people[self._plan.by_client :]
        later = [person for person in fast if person.told_later]
        total = sum(len(person.first_events()) + len(person.later_events()) for person in self._people)
        began = time.monotonic()
        with self._show.sending(total, self._figures) as sending:
            async with _group() as group:
                group.create_task(sender.send_many(fast, later=False, on_sent=sending.sent))
                group.create_task(sender.send_with_client(by_client, on_sent=sending.sent))
            await sender.send_many(later, later=True, on_sent=sending.sent)
            self._rate = sending.rate
        said = f"{count(sender.events_sent)} events of {count(len(self._people))} people, {count(round(self._rate))} a second"
        self._show.done("Sent through the HTTP Events API", said, time.monotonic() - began)

    async def _settle(self, installation: Installation) -> None:
        with self._show.step("Waiting for the webhook to have them", "The webhook has them") as step:
            await self._until(self._webhook_is_right, "the webhook has the members that an independent count finds")
            statistics = await installation.statistics()
            if statistics is not None:
                figures = self._figures
                figures.size, figures.adds, figures.drops = statistics.size, statistics.adds, statistics.drops
                step.detail = f"size {count(figures.size)}: {count(figures.adds)} added, {count(figures.drops)} dropped meanwhile"

    async def _watch(self, sender: Sender) -> None:
        """People leave live: some by a third session, some because their 72 hours are over."""
        plan = self._plan
        began = time.monotonic()
        with self._show.watching(self._figures, self._departures, (plan.by_session, plan.by_time)):
            first_ms = time.time_ns() // 1_000_000 + round(plan.by_time_from_seconds * 1000)
            last_ms = first_ms + round((plan.by_time_to_seconds - plan.by_time_from_seconds) * 1000)
            number = len(self._people)
            leaving = crowds.departing(range(number, number + plan.by_time), first_ms, last_ms)
            self._due = {person.customer: ((person.install_ms or 0) + crowds.WINDOW_MS) / 1000 for person in leaving}
            self._people += leaving
            await sender.send_many(leaving, later=False, on_sent=lambda _: None)
            ready = [person for person in self._people if person.customer not in self._due and self._has_one_left(person)]
            async with _group() as group:
                began_sessions = time.monotonic()
                for place, person in enumerate(itertools.islice(ready, plan.by_session)):
                    await asyncio.sleep(began_sessions + place / plan.sessions_per_second - time.monotonic())
                    group.create_task(self._third_session(sender, person))
            await self._until(self._all_left, "all who should leave have left")
        departures = self._departures
        sessions = departures.by_session
        self._show.done("Watched people leave", "", time.monotonic() - began)
        p50, p99 = (milliseconds(percentile(sessions, share)) for share in (0.5, 0.99))
        self._show.more(f"{len(sessions)} by a third session: the webhook knew after p50 {p50}, p99 {p99}")
        latest = milliseconds(max(departures.by_time, default=0.0))
        self._show.more(f"{len(departures.by_time)} as time passed, with no event: at most {latest} after their instant")

    async def _check(self, installation: Installation, sender: Sender) -> Outcome:
        """Compare the API, the webhook and the independent count."""
        with self._show.step("Comparing with an independent count", "Compared with an independent count"):
            await self._until(self._webhook_is_right, "the webhook has the members that an independent count finds", raises=False)
            found = await installation.members()
            connection = await installation.connection()
            statistics = await installation.statistics()
        # The same instant for all: the one that the members are true for.
        expected = crowds.members(self._people, found.as_of_ms)
        at_webhook = self._partner.customers()
        lost, extra = expected - at_webhook, at_webhook - expected
        counts, departures = self._partner.counts, self._departures
        differences = [*self._differences(found, expected), *self._departure_differences()]
        if lost or extra:
            differences.append(f"the webhook lacks {count(len(lost))} members and has {count(len(extra))} too many")
        if counts.doubled:
            differences.append(f"{count(counts.doubled)} changes came twice")
        if counts.refused_requests:
            differences.append(f"the webhook refused {count(counts.refused_requests)} requests for their signature")
        if counts.adds - counts.drops != len(self._partner.members):
            differences.append(f"{count(counts.adds)} adds less {count(counts.drops)} drops are not the members at the webhook")
        if connection.waiting_changes or connection.HasField("fault") or connection.rejected_records:
            fault = f", fault: {connection.fault.message}" if connection.HasField("fault") else ""
            rejected = f", {connection.rejected_records} records rejected" if connection.rejected_records else ""
            differences.append(f"the connection still has {connection.waiting_changes} changes waiting{fault}{rejected}")
        if statistics is not None and statistics.adds - statistics.drops != statistics.size:
            differences.append(f"{statistics.adds} adds less {statistics.drops} drops are not the size {statistics.size}")
        figures = {
            "people": len(self._people),
            "events": sender.events_sent,
            "events_by_client": sum(len(p.first_events()) + len(p.later_events()) for p in self._people[: self._plan.by_client]),
            "events_per_second": round(self._rate),
            "members_counted": len(expected),
            "members_api": found.count,
            "members_webhook": len(self._partner.members),
            "adds_delivered": counts.adds,
            "drops_delivered": counts.drops,
            "requests_delivered": counts.requests,
            "requests_repeated": counts.repeated_requests,
            "lost": len(lost) + len(extra),
            "doubled": counts.doubled,
            "left_by_session": len(departures.by_session),
            "latency_p50_ms": round(percentile(departures.by_session, 0.5), 1),
            "latency_p99_ms": round(percentile(departures.by_session, 0.99), 1),
            "left_by_time": len(departures.by_time),
            "lateness_p50_ms": round(percentile(departures.by_time, 0.5), 1),
            "lateness_max_ms": round(max(departures.by_time, default=0.0), 1),
            "seconds": round(self._show.seconds, 1),
        }
        return Outcome(figures, differences)

    def _differences(self, found: Members, expected: set[str]) -> list[str]:
        told = []
        missing, extra = expected - found.customers, found.customers - expected
        if missing or extra or found.count != len(expected):
            told.append(
                f"the API names {count(found.count)} members, the independent count {count(len(expected))}: "
                f"{count(len(missing))} are missing, {count(len(extra))} too many"
            )
        return told

    def _departure_differences(self) -> list[str]:
        told = []
        if len(self._departures.by_session) != len(self._accepted):
            told.append(f"only {len(self._departures.by_session)} of {len(self._accepted)} who started a third session were seen to leave")
        if len(self._departures.by_time) != len(self._due):
            told.append(f"only {len(self._departures.by_time)} of {len(self._due)} whose 72 hours were over were seen to leave")
        early = [value for value in self._departures.by_time if value < 0]
        if early:
            told.append(f"{len(early)} left before their 72 hours were over")
        return told

    async def _third_session(self, sender: Sender, person: Person) -> None:
        self._accepted[person.customer] = await sender.send_session(person)
        self._note_departure(person.customer)

    def _changed(self, change: Change) -> None:
        """The partner took a change."""
        self._figures.at_webhook = len(self._partner.members)
        self._delivered.set()
        if change.action == "delete" and change.customer is not None:
            self._left[change.customer] = change.arrival_time
            self._note_departure(change.customer)

    def _note_departure(self, customer: str) -> None:
        """Measure a departure, once both its cause and its arrival are known; they may come in either order."""
        left = self._left.get(customer)
        if left is None:
            return
        if customer in self._accepted:
            # The webhook may hear of it before the 202 is read here.
            took = max(0.0, (left - self._accepted[customer]) * 1000)
            self._departures.by_session.append(took)
            self._departures.newest.append(f"{customer} started a third session; the webhook knew {milliseconds(took)} later")
        elif customer in self._due:
            late = (left - self._due[customer]) * 1000
            self._departures.by_time.append(late)
            self._departures.newest.append(f"{customer} installed 72 hours ago, to the millisecond; gone {milliseconds(late)} later")

    def _has_one_left(self, person: Person) -> bool:
        """Whether one more session, and nothing else soon, makes this person leave."""
        now_ms = time.time_ns() // 1_000_000
        return len(person.sessions_ms) == crowds.SESSIONS - 1 and person.is_member(now_ms) and person.is_member(now_ms + crowds.HOUR_MS)

    def _webhook_is_right(self) -> bool:
        return self._partner.customers() == crowds.members(self._people, time.time_ns() // 1_000_000)

    def _all_left(self) -> bool:
        known = self._departures
        return len(known.by_session) >= len(self._accepted) and len(known.by_time) >= len(self._due)

    async def _until(self, holds: Callable[[], bool], what: str, *, raises: bool = True) -> None:
        """Return once it holds, looking again after each delivery and now and then."""
        end = time.monotonic() + _SETTLE_SECONDS
        while not holds():
            if time.monotonic() > end:
                if raises:
                    raise DemoFault(f"It did not come about in {_SETTLE_SECONDS:.0f} s that {what}. {await self._state()}")
                return
            self._delivered.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._delivered.wait(), _POLL_SECONDS)
            await asyncio.sleep(0.05)

    async def _state(self) -> str:
        expected = crowds.members(self._people, time.time_ns() // 1_000_000)
        words = f"Expected {count(len(expected))} members, the webhook has {count(len(self._partner.members))}"
        if self.installation is not None:
            statistics = await self.installation.statistics()
            connection = await self.installation.connection()
            words += f", the evaluator {count(statistics.size) if statistics else 'none yet'}; {connection.waiting_changes} changes wait"
            words += f" and the connection is faulted: {connection.fault.message}" if connection.HasField("fault") else ""
        return words + "."

    @contextlib.contextmanager
    def _polling(self) -> Generator[None, None, None]:
        """Keep the figures of the audience fresh while something happens."""

        async def poll() -> None:
            while True:
                await asyncio.sleep(2 * _POLL_SECONDS)
                if self.installation is not None and self.installation.audience_id:
                    with contextlib.suppress(DemoFault):
                        statistics = await self.installation.statistics()
                        if statistics is not None:
                            figures = self._figures
                            figures.size, figures.adds, figures.drops = statistics.size, statistics.adds, statistics.drops

        task = asyncio.create_task(poll(), name="figures")
        try:
            yield
        finally:
            task.cancel()


@asynccontextmanager
async def _group() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group whose first fault is raised as itself."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except ExceptionGroup as faults:
        raise faults.exceptions[0] from None
