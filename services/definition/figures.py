"""The figures of audiences, which the evaluator counts: asked for when a list needs them, and kept for a moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import grpc
from muster.evaluator.v1 import evaluator_service_pb2 as pb
from muster.evaluator.v1 import evaluator_service_pb2_grpc as pb_grpc

from services.chassis import log as logs
from services.chassis.client import Tokens, channel

from .domain.listing import Figures

log = logs.get(__name__)

_WITHIN_SECONDS = 2.0
# Whoever turns pages of a list by figures looks at one order meanwhile.
_KEPT_SECONDS = 5.0
_KEPT_ACCOUNTS = 100


@dataclass(frozen=True, slots=True)
class Told:
    """The figures of the audiences that are evaluated, and the instant that they are true for."""

    figures: dict[int, Figures]
    as_of_ms: int


class FiguresOf:
    """A part of the app: the line to the evaluator."""

    def __init__(self, address: str, tokens: Tokens) -> None:
        self._channel = channel(address)
        self._stub: pb_grpc.EvaluatorServiceAsyncStub = pb_grpc.EvaluatorServiceStub(self._channel)
        self._tokens = tokens
        self._kept: dict[int, tuple[float, Told | None]] = {}
        self._asking: dict[int, asyncio.Lock] = {}

    async def start(self) -> None:
        """Nothing to prepare: it connects when it is asked."""

    async def stop(self) -> None:
        """Close the line."""
        await self._channel.close(None)

    async def some(self, account_id: int, audience_ids: Sequence[int]) -> Told | None:
        """Of these audiences, now; None where the evaluator does not answer."""
        return await self._ask(account_id, audience_ids) if audience_ids else Told({}, 0)

    async def all(self, account_id: int) -> Told | None:
        """Of all audiences of an account, at most some seconds old; None where the evaluator does not answer."""
        came = time.monotonic()
        async with self._asking.setdefault(account_id, asyncio.Lock()):
            at, told = self._kept.get(account_id, (0.0, None))
            # That there was no answer is true for whoever waited for it with the one who asked.
            if at < came and (told is None or time.monotonic() - at > _KEPT_SECONDS):
                told = await self._ask(account_id, [])
                self._kept.pop(account_id, None)
                self._kept[account_id] = time.monotonic(), told
                for oldest in list(self._kept)[:-_KEPT_ACCOUNTS]:
                    del self._kept[oldest]
            return told

    async def _ask(self, account_id: int, audience_ids: Sequence[int]) -> Told | None:
        request = pb.ListAudienceFiguresRequest(audience_ids=audience_ids)
        try:
            said = await self._stub.ListAudienceFigures(request, metadata=self._tokens.metadata_for(account_id), timeout=_WITHIN_SECONDS)
        except grpc.aio.AioRpcError as error:
            log.warning("figures_not_told", account_id=account_id, code=error.code().name)
            return None
        columns = zip(said.audience_ids, said.sizes, said.adds, said.drops, strict=True)
        return Told({audience_id: Figures(*figures) for audience_id, *figures in columns}, said.moment.as_of_ms)
