"""Every part dies under load, and the partner fails in every way: at the end it holds exactly what the reference counts."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from muster.forwarder.v1 import connection_pb2

from tests.e2e.installation import HOUR, Installation, installed, now_ms
from tests.fakes.webhook_partner import Cut, Fault, Hang, Status

SERVICES = ("definition", "ingest", "evaluator", "forwarder", "sharing", "export", "console")


class Load:
    """People install and start sessions all the time; some installed just under 72 hours ago and leave with no event."""

    def __init__(self, installation: Installation, seed: int) -> None:
        self._installation = installation
        self._chance = random.Random(seed)
        self._begin = now_ms()
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self.requests = 0

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Return once the request in hand was taken. What went wrong is raised here."""
        self._stopping = True
        if self._task is not None:
            await self._task

    async def until(self, requests: int) -> None:
        """Return after so many more requests were taken."""
        wanted = self.requests + requests
        async with asyncio.timeout(60):
            while self.requests < wanted:
                assert self._task is not None
                if self._task.done():
                    self._task.result()
                await asyncio.sleep(0.02)

    async def _run(self) -> None:
        while not self._stopping:
            await self._installation.tell({f"customer-{self._chance.randrange(500)}": self._events() for _ in range(10)})
            self.requests += 1
            await asyncio.sleep(0.02)

    def _events(self) -> list[tuple[str, int]]:
        now, chance = now_ms(), self._chance
        kind = chance.random()
        if kind < 0.3:
            return [("first_run", now - chance.randrange(60 * HOUR))]
        if kind < 0.4:
            # Leaves as time passes, while the test goes on.
            return [("first_run", self._begin - 72 * HOUR + chance.randrange(1_000, 20_000))]
        return [("session_start", now - chance.randrange(40 * HOUR)) for _ in range(chance.randrange(1, 3))]


@pytest.mark.timeout(240)
@pytest.mark.xdist_group("e2e")
async def test_nothing_is_lost_or_doubled_when_every_part_is_killed_under_load(tmp_path: Path) -> None:
    async with installed(tmp_path) as installation:
        load = Load(installation, seed=1)
        load.start()
        await load.until(10)
        for service in SERVICES:
            await installation.stack.kill(service)
            await load.until(5)
        await installation.stack.wait_healthy()
        # Again those that hold something, in the middle of their work.
        for service in ("ingest", "evaluator", "forwarder"):
            await installation.stack.kill(service)
        await load.until(5)
        await installation.stack.restart("nats")
        await load.until(5)
        await installation.stack.kill("nats")
        await load.until(10)
        await load.stop()
        await installation.settled()
        counts = installation.partner.counts
        assert installation.crowd.accepted_events > 500
        assert installation.at_partner(), "an empty audience proves nothing"
        assert (counts.doubled, counts.absent) == (0, 0)
        assert installation.partner.unfit == []


@pytest.mark.timeout(240)
@pytest.mark.xdist_group("e2e")
async def test_a_partner_that_fails_in_every_way_gets_exactly_the_difference(tmp_path: Path) -> None:
    faults: list[list[Fault]] = [
        [Status(500)],
        [Status(429, retry_after="1", words="slow down")],
        [Hang()],
        [Hang(processed=True)],
        [Cut()],
        [Cut(processed=True)],
        [Status(503), Cut(processed=True), Status(500)],
    ]
    async with installed(tmp_path) as installation:
        load = Load(installation, seed=2)
        load.start()
        await load.until(5)
        for plan in faults:
            installation.partner.plan.extend(plan)
            await load.until(10)
        await load.stop()
        await installation.settled()
        counts = installation.partner.counts
        assert (counts.doubled, counts.absent) == (0, 0)
        assert counts.repeated >= 1, "what was taken but not answered was sent again under its id"
        assert installation.partner.unfit == []


@pytest.mark.timeout(240)
@pytest.mark.xdist_group("e2e")
async def test_a_fault_stops_sending_until_a_person_resumes_and_then_sends_just_the_difference(tmp_path: Path) -> None:
    async with installed(tmp_path) as installation:
        now = now_ms()
        await installation.tell({f"customer-{number}": [("first_run", now - HOUR)] for number in range(50)})
        await installation.settled()
        partner = installation.partner
        partner.always = Status(429, words="too much of you")
        await installation.tell({"customer-50": [("first_run", now)]})
        connection = await installation.faulted()
        assert connection.fault.cause == connection_pb2.FAULT_CAUSE_RATE_LIMIT
        assert "429" in connection.fault.message
        assert "too much of you" in connection.fault.message

        partner.always = None
        requests = partner.counts.requests
        # Someone comes and goes, someone goes and someone comes: two changes are left of it.
        sessions = [("session_start", now)] * 3
        await installation.tell({"customer-51": [("first_run", now)], "customer-52": [("first_run", now)], "customer-0": sessions})
        await installation.tell({"customer-52": sessions})
        await asyncio.sleep(2)
        assert partner.counts.requests == requests, "nothing is sent before a person resumes"
        assert (await installation.connection()).waiting_changes > 0

        before = (partner.counts.adds, partner.counts.deletes)
        await installation.resume()
        await installation.settled()
        assert (partner.counts.adds - before[0], partner.counts.deletes - before[1]) == (2, 1)
        assert (partner.counts.doubled, partner.counts.absent) == (0, 0)
