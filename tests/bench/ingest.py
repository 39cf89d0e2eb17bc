"""The Events API flat out: ingest is a process of its own, the sender is this one, nats-server is a third; SQLite.

Beside it, in the same run, is `discard.py`, which reads and checks the same requests in the same framework and keeps nothing.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from cli.supervisor import Supervisor
from tests.bench.figure import Figure
from tests.bench.load import Load, Sent, Shape
from tests.e2e.installation import QUICK, Installation
from tests.fakes.free_port import free_port
from tests.fakes.webhook_partner import WebhookPartner

# Requests nearly as large as they may be, and small ones: one batch of two events.
BULK, SMALL = Shape(batches=60, events=20, people=100_000), Shape(batches=1, events=2, people=100_000)
WITH_IDS = Shape(batches=50, events=20, people=100_000, message_ids=True)
_CONNECTIONS = 64


@asynccontextmanager
async def _discarding() -> AsyncIterator[str]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.bench.discard", str(port))
    try:
        for _ in range(200):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                break
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


async def _flat_out(url: str, key: tuple[str, str], shape: Shape, seconds: float) -> Sent:
    return await Load(url, *key, shape).flat_out(seconds, connections=_CONNECTIONS)


async def _measure(folder: Path, seconds: float) -> list[Figure]:
    async with WebhookPartner("no secret at all") as partner, _discarding() as beside:
        async with Supervisor(folder, environment=QUICK, services=("definition", "ingest")) as stack:
            installation = Installation(stack, partner)
            await installation.found(connected=False)
            url, key = stack.ports.http_url("ingest"), installation.key
            await _flat_out(url, key, SMALL, 1)
            memory = psutil.Process(stack.part("ingest").pid).memory_info
            read = await _flat_out(beside, key, BULK, seconds)
            kept = await _flat_out(url, key, BULK, seconds)
            read_small = await _flat_out(beside, key, SMALL, seconds)
            kept_small = await _flat_out(url, key, SMALL, seconds)
            with_ids = await _flat_out(url, key, WITH_IDS, seconds)
            before = memory().rss
            await _flat_out(url, key, BULK, 2 * seconds)
            grown = (memory().rss - before) / 1e6
            await installation.close()
    bulk, bulk_beside = kept.events_per_second, read.events_per_second
    small, small_beside = kept_small.requests / kept_small.seconds, read_small.requests / read_small.seconds
    return [
        Figure("ingest: events by /v2/bulkevents", bulk, "events/s", None, None, ">= 20,000", bulk >= 20_000),
        Figure(
            "ingest: beside reading and discarding", bulk, "events/s", bulk_beside, bulk / bulk_beside, ">= 0.5x", bulk >= bulk_beside / 2
        ),
        Figure("ingest: requests of one small batch", small, "requests/s", None, None, ">= 1,500", small >= 1500),
        Figure(
            "ingest: small ones beside reading and discarding",
            small,
            "requests/s",
            small_beside,
            small / small_beside,
            ">= 0.5x",
            small >= small_beside / 2,
        ),
        Figure("ingest: small ones, 99 of 100 answered within", kept_small.answer_ms(0.99), "ms", None, None, "", True),
        Figure(
            "ingest: events that each have an id", with_ids.events_per_second, "events/s", bulk, with_ids.events_per_second / bulk, "", True
        ),
        Figure(f"ingest: memory grown in {2 * seconds:.0f} s", grown, "MB", None, None, "< 50", grown < 50),
    ]


def run(scale: float = 1.0) -> list[Figure]:
    """The figures of the Events API; two minutes at scale 1, and memory over ten minutes at scale 15."""
    with tempfile.TemporaryDirectory(prefix="muster-bench-") as folder:
        return asyncio.run(_measure(Path(folder), 20 * scale))
