"""The other evaluators, asked for the parts of an answer that this process does not have.

A question goes on to each owner with the partitions that it is asked about. It answers about exactly these or not at all, so that parts
are never missing and never counted twice; while partitions move the question is asked again, and then answered with UNAVAILABLE.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any, TypeVar

import grpc
import nats
from muster.evaluator.v1 import evaluator_service_pb2_grpc as rpc

from services.chassis import auth
from services.chassis import log as logs
from services.chassis.client import Metadata, Tokens
from services.chassis.errors import Invalid, MusterError, NotFound, PermissionDenied, Unavailable, from_rpc_error
from services.chassis.server import MESSAGE_MAX_BYTES
from services.evaluator.ownership import Ownership
from services.evaluator.rounds import Rounds, Starting

log = logs.get(__name__)

P = TypeVar("P")

_PARTITIONS = "muster-partitions"
PATIENCE_SECONDS = 3.0
_PAUSE_SECONDS = 0.1
_FINAL = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)  # asking again changes nothing

Partitions = frozenset[int]
# Asks the evaluator of this stub, with this metadata.
Ask = Callable[[Any, Metadata], Awaitable[P]]


class PartitionUnowned(Unavailable):
    """No evaluator answers for a partition just now, or they count by different definitions."""


class NotAnEvaluator(PermissionDenied):
    """Only an evaluator may ask for a part of an answer."""


class _NotYet(Exception):
    """The parts do not make a whole at this moment."""


def asked_for(metadata: Iterable[tuple[str, str | bytes]] | None) -> Partitions | None:
    """The partitions that another evaluator asks about; None: the whole is asked for. Raises NotAnEvaluator."""
    named = dict(metadata or ()).get(_PARTITIONS)
    if named is None:
        return None
    if auth.SERVICE not in auth.caller().roles:
        raise NotAnEvaluator("A part of an answer is for evaluators only: leave the metadata muster-partitions out.")
    return frozenset(int(number) for number in str(named).split(",") if number)


def _passed_on(error: grpc.aio.AioRpcError) -> MusterError:
    """What another evaluator said, as if this one said it."""
    said = from_rpc_error(error)
    if said.code is grpc.StatusCode.INVALID_ARGUMENT:
        refused: type[Invalid] = type("Refused", (Invalid,), {"reason": said.reason or Invalid.reason})
        return refused(said.message, said.violations, **said.metadata)
    missing: type[NotFound] = type("Missing", (NotFound,), {"reason": said.reason or NotFound.reason})
    return missing(said.message, **said.metadata)


class Peers:
    """A part of the app: keeps a channel to each evaluator that it asked."""

    def __init__(self, rounds: Rounds, ownership: Ownership, tokens: Tokens) -> None:
        self._rounds = rounds
        self._ownership = ownership
        self._tokens = tokens
        self._channels: dict[str, grpc.aio.Channel] = {}

    @property
    def partitions(self) -> int:
        """How many there are in all."""
        return self._ownership.partitions

    async def start(self) -> None:
        """Nothing to start: a channel is made when it is first asked through."""

    async def stop(self) -> None:
        """Close every channel."""
        for channel in self._channels.values():
            await channel.close(None)

    async def parts(
        self,
        account_id: int,
        own: Callable[[Partitions], Awaitable[P]],
        ask: Ask[P],
        *,
        agree: Callable[[list[P]], bool] = lambda _: True,
        of: int | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> list[P]:
        """The answers that make up the whole, this process's first; or, with `of`, that of the owner of this partition alone.

        `own` answers for this process, first in each try. Raises PartitionUnowned; and at once what another says of a wrong question.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + patience_seconds
        while True:
            try:
                parts = await self._try(account_id, own, ask, of)
                if agree(parts):
                    return parts
                why = "The evaluators are taking in a new definition."
            except (_NotYet, Starting, nats.errors.Error, TimeoutError) as fault:
                why = str(fault)
            except grpc.aio.AioRpcError as error:
                if error.code() in _FINAL:
                    raise _passed_on(error) from error
                why = f"An evaluator answers {error.code().name}: {error.details()}"
            if loop.time() > end:
                raise PartitionUnowned(why)
            await asyncio.sleep(_PAUSE_SECONDS)
            # Not what it was when leases were last renewed.
            if len(self._rounds.owned) < self._ownership.partitions:
                await self._ownership.refresh()

    async def _try(self, account_id: int, own: Callable[[Partitions], Awaitable[P]], ask: Ask[P], of: int | None) -> list[P]:
        owned = self._rounds.owned
        if of is not None and of in owned:
            return [await own(owned)]
        others = self._others(owned, range(self._ownership.partitions) if of is None else [of])
        first = [] if of is not None else [await own(owned)]
        asking = [asyncio.create_task(self._ask(account_id, ask, *other)) for other in others.items()]
        try:
            return [*first, *await asyncio.gather(*asking)]
        except BaseException:
            for task in asking:
                task.cancel()
            raise

    def _others(self, owned: Partitions, wanted: Collection[int]) -> dict[str, Partitions]:
        """Whom to ask, and about what: who owns one of the wanted partitions, about all that they own."""
        leases = self._ownership.table.leases
        unowned = [partition for partition in wanted if partition not in owned and partition not in leases]
        if unowned:
            raise _NotYet(f"No evaluator owns the partitions {unowned} just now.")
        by_address: dict[str, set[int]] = {}
        for partition, (lease, _) in leases.items():
            if partition not in owned:
                by_address.setdefault(lease.address, set()).add(partition)
        return {address: frozenset(theirs) for address, theirs in by_address.items() if not theirs.isdisjoint(wanted)}

    async def _ask(self, account_id: int, ask: Ask[P], address: str, partitions: Partitions) -> P:
        if address not in self._channels:
            size = [("grpc.max_receive_message_length", MESSAGE_MAX_BYTES), ("grpc.max_send_message_length", MESSAGE_MAX_BYTES)]
            # No retries: who owns what may be another answer by then.
            self._channels[address] = grpc.aio.insecure_channel(address, options=[*size, ("grpc.max_reconnect_backoff_ms", 500)])
        named = ",".join(map(str, sorted(partitions)))
        metadata = (*self._tokens.metadata_for(account_id), (_PARTITIONS, named))
        return await ask(rpc.EvaluatorServiceStub(self._channels[address]), metadata)
