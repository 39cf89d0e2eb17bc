"""The table of audiences at ten thousand of them, a thousand active, by gRPC against a whole installation.

The bound is that of a page as a screen asks for it: 50 rows.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from muster.definition.v1 import audience_pb2
from muster.definition.v1 import definition_service_pb2 as pb
from muster.definition.v1.definition_service_pb2_grpc import AudienceServiceStub
from muster.evaluator.v1 import evaluator_service_pb2 as evaluator_pb
from muster.evaluator.v1.evaluator_service_pb2_grpc import EvaluatorServiceStub

from cli.supervisor import Supervisor
from services.chassis.client import channel
from tests.bench.figure import Figure
from tests.e2e.installation import QUICK, SECRET, Installation, seed_definition
from tests.fakes.webhook_partner import WebhookPartner

AUDIENCES = 10_000
_ACTIVE = 1_000
_PAGES = 20
_BOUND_MS = 200
_TAGS = [f"tag {number}" for number in range(20)]


async def _made(installation: Installation, count: int) -> None:
    chance = random.Random(1)
    room = asyncio.Semaphore(8)

    async def one(number: int) -> None:
        async with room:
            draft = audience_pb2.Audience(
                name=f"Audience {chance.randrange(10**6)} of {number}",
                workspace_ids=[installation.workspace_id],
                definition=seed_definition(),
                tags=chance.sample(_TAGS, 2),
            )
            made = await installation.call(AudienceServiceStub, "definition", "CreateAudience", pb.CreateAudienceRequest(audience=draft))
            if number < _ACTIVE:
                activate = pb.ActivateAudienceRequest(audience_id=made.audience_id, etag=made.etag)
                await installation.call(AudienceServiceStub, "definition", "ActivateAudience", activate)

    await asyncio.gather(*(one(number) for number in range(count)))


async def _evaluated(installation: Installation, count: int) -> None:
    """Return once so many audiences are evaluated."""
    request = evaluator_pb.ListAudienceStatisticsRequest()
    while True:
        said = await installation.call(EvaluatorServiceStub, "evaluator", "ListAudienceStatistics", request)
        if sum(one.state == evaluator_pb.POPULATION_STATE_LIVE for one in said.statistics) >= count:
            return
        await asyncio.sleep(0.5)


async def _pages(installation: Installation, **asked: Any) -> float:
    """How long a page takes, in milliseconds, the slowest of 20 but one: pages follow one another."""
    token, taken = "", []
    metadata = (("authorization", f"Bearer {installation.stack.token(installation.account_id)}"),)
    async with channel(installation.stack.ports.grpc_address("definition")) as to:
        stub = AudienceServiceStub(to)
        for _ in range(_PAGES):
            request = pb.ListAudienceRowsRequest(page_size=50, page_token=token, **asked)
            began = time.perf_counter()
            page = await stub.ListAudienceRows(request, metadata=metadata)
            taken.append((time.perf_counter() - began) * 1_000)
            token = page.next_page_token
            if not token:
                token = ""
    return statistics.quantiles(taken, n=20)[-1]


async def _run(scale: float) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        async with WebhookPartner(SECRET) as partner, Supervisor(Path(folder), environment=QUICK) as stack:
            installation = Installation(stack, partner)
            try:
                await installation.found()
                await _made(installation, round(AUDIENCES * scale))
                await _evaluated(installation, min(_ACTIVE, round(AUDIENCES * scale)))
                orders: dict[str, dict[str, Any]] = {
                    "newest first": {},
                    "by name": {"order_by": "name"},
                    "by size": {"order_by": "size desc"},
                    "two tags, searched, by volatility": {"tags": _TAGS[:1], "search": "7", "order_by": "volatility desc"},
                }
                figures = []
                for name, asked in orders.items():
                    taken = await _pages(installation, **asked)
                    bound = f"below {_BOUND_MS} ms"
                    figures.append(
                        Figure(f"a page of the table of audiences, {name}, p95", taken, "ms", None, None, bound, taken < _BOUND_MS)
                    )
                return figures
            finally:
                await installation.close()


def run(scale: float) -> list[Figure]:
    """The figures at a share of the full size."""
    return asyncio.run(_run(scale))
