"""The pipeline on one machine: from the HTTP Events API to membership messages, every service a process of its own.

Two runs of a minute: flat out (events a second, until the evaluator has taken the last), and at 2,000 events/s (from the 202 of an event
to the membership message that it causes).
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from itertools import count
from pathlib import Path

import httpx2
import nats
import numpy as np
from muster.evaluator.v1 import facts_pb2
from nats.aio.msg import Msg

from cli.supervisor import Supervisor
from services.chassis.streams import EVENTS
from tests.bench.figure import Figure
from tests.bench.load import Load, Shape
from tests.e2e.installation import QUICK, Installation, now_ms
from tests.fakes.webhook_partner import WebhookPartner

PEOPLE = 50_000
PACED_EVENTS_PER_SECOND, PACED_EVENTS_PER_REQUEST = 2_000, 20


class Newcomers:
    """Sends installs of new people whose MPIDs it chooses, so that membership messages can be told apart."""

    def __init__(self, url: str, key: tuple[str, str]) -> None:
        self._http = httpx2.AsyncClient(base_url=url, auth=key, timeout=30, trust_env=False)
        self._numbers = count(1)
        self._mpids = count(1)
        self.accepted_at: dict[int, float] = {}  # by the MPID of someone new: when the 202 came

    async def close(self) -> None:
        await self._http.aclose()

    async def paced(self, seconds: float) -> None:
        """Requests of 20 new people with an install each, so many a second that 2,000 events are."""
        rate = PACED_EVENTS_PER_SECOND / PACED_EVENTS_PER_REQUEST
        begin = time.monotonic()
        tasks = []
        for number in range(int(seconds * rate)):
            await asyncio.sleep(max(0.0, begin + number / rate - time.monotonic()))
            tasks.append(asyncio.create_task(self._new_people()))
        await asyncio.gather(*tasks)

    async def _new_people(self) -> None:
        mpids = [1_000_000_000 + next(self._mpids) for _ in range(PACED_EVENTS_PER_REQUEST)]
        now = now_ms()
        await self._post(f"[{','.join(self._batch(mpid, now) for mpid in mpids)}]")
        accepted = time.monotonic()
        self.accepted_at.update(dict.fromkeys(mpids, accepted))

    def _batch(self, mpid: int, now: int) -> str:
        install = f'{{"event_type":"first_run","data":{{"timestamp_unixtime_ms":{now}}}}}'
        return f'{{"environment":"production","source_request_id":"bench-{next(self._numbers)}","mpid":{mpid},"events":[{install}]}}'

    async def _post(self, body: str) -> None:
        while True:
            answer = await self._http.post("/v2/bulkevents", content=body, headers={"content-type": "application/json"})
            if answer.status_code == 202:
                return
            if answer.status_code not in (401, 403, 429, 503):
                raise RuntimeError(f"{answer.status_code} {answer.text}")
            await asyncio.sleep(0.05)


class Listener:
    """Hears membership messages as any consumer does; when each person was added first."""

    def __init__(self) -> None:
        self.added_at: dict[int, float] = {}
        self.changes = 0

    async def hear(self, message: Msg) -> None:
        arrived = time.monotonic()
        for part in facts_pb2.MembershipChanges.FromString(message.data).partitions:
            self.changes += len(part.added) + len(part.dropped)
            for mpid in part.added:
                self.added_at.setdefault(mpid, arrived)


async def _taken_by_evaluator(installation: Installation, listener: nats.NATS) -> None:
    """Return once the evaluator has committed all that the stream has now."""
    last = (await listener.jetstream().stream_info(EVENTS)).state.last_seq
    for _ in range(10_000):
        statistics = await installation.statistics()
        infos = await listener.jetstream().consumers_info(EVENTS)
        read = max((info.delivered.stream_seq for info in infos if info.delivered and info.name.startswith("evaluator")), default=0)
        if read >= last and statistics.moment.pending_messages == 0:
            return
        await asyncio.sleep(0.05)
    raise TimeoutError("the evaluator does not catch up")


async def _measure(folder: Path, seconds: float) -> list[Figure]:
    services = ("definition", "ingest", "evaluator")
    async with WebhookPartner("no secret at all") as partner, Supervisor(folder, environment=QUICK, services=services) as stack:
        installation = Installation(stack, partner)
        await installation.found(connected=False)
        url = stack.ports.http_url("ingest")
        load, newcomers = Load(url, *installation.key, Shape(people=PEOPLE)), Newcomers(url, installation.key)
        heard = Listener()
        connection = await nats.connect(stack.ports.nats_url)
        await connection.subscribe("muster.memberships.>", cb=heard.hear)

        await newcomers.paced(0.5)  # ingest has heard of the input once it takes these
        begin = time.monotonic()
        sent = await load.flat_out(seconds)
        await _taken_by_evaluator(installation, connection)
        rate = sent.events / (time.monotonic() - begin)
        changes = heard.changes

        await newcomers.paced(seconds)
        await _taken_by_evaluator(installation, connection)
        await asyncio.sleep(1)
        latencies = [heard.added_at[mpid] - at for mpid, at in newcomers.accepted_at.items() if mpid in heard.added_at]
        missing = len(newcomers.accepted_at) - len(latencies)
        p50, p99 = np.percentile(latencies, [50, 99]) * 1000
        await connection.close()
        await newcomers.close()
        await installation.close()
    return [
        Figure("pipeline: HTTP to memberships, flat out", rate, "events/s", None, None, ">= 10,000", rate >= 10_000),
        Figure("pipeline: membership changes of that run", changes, "changes", None, None, "", changes > 0),
        Figure("pipeline: 202 to membership message, p50 at 2,000 events/s", p50, "ms", None, None, "", True),
        Figure("pipeline: 202 to membership message, p99 at 2,000 events/s", p99, "ms", None, None, "< 1,000", bool(p99 < 1000)),
        Figure("pipeline: people of that run never told", missing, "people", None, None, "= 0", missing == 0),
    ]


def run(scale: float = 1.0) -> list[Figure]:
    """The figures of the pipeline; a minute each at scale 1."""
    with tempfile.TemporaryDirectory(prefix="muster-bench-") as folder:
        return asyncio.run(_measure(Path(folder), 60 * scale))
