"""Erasures: somebody goes from here at once, the other services are told and say what they removed, and that makes the receipt."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Collection, Sequence

import nats.errors
from google.protobuf.message import DecodeError
from muster.ingest.v1 import facts_pb2
from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis import log as logs
from services.chassis.bus import Bus
from services.chassis.clock import Clock
from services.chassis.consumer import Hopeless, Message
from services.chassis.database import is_transient
from services.chassis.dead_letters import DeadLetter, rewrite
from services.chassis.errors import NotFound, Unavailable
from services.chassis.outbox import Outbox, Relay
from services.chassis.streams import EVENTS
from services.ingest.domain.identities import key_of
from services.ingest.domain.model import Identity
from services.ingest.facts import Facts
from services.ingest.resolver import Resolver
from services.ingest.settings import IngestSettings
from services.ingest.store import ErasureRecord, Receipt, Store

log = logs.get(__name__)

_NUMBER_MAX = 2**63 - 1
_LOOK_SECONDS = 5.0
_COLUMNS = ("mpids", "times_ms", "event_ids", "source_indexes", "kind_indexes", "context_indexes", "details")


class UnknownPerson(NotFound):
    """Nobody in the account has this identity."""


class UnknownErasure(NotFound):
    """The account has no such erasure."""


class Erasures:
    """A part of the app: what is left to do here is done in the background. `handle` takes the receipts of other services."""

    def __init__(
        self, settings: IngestSettings, store: Store, resolver: Resolver, outbox: Outbox, relay: Relay, bus: Bus, clock: Clock
    ) -> None:
        self._settings = settings
        self._store = store
        self._resolver = resolver
        self._outbox = outbox
        self._relay = relay
        self._bus = bus
        self._clock = clock
        self._work = asyncio.Event()
        self._stopping = False
        self.services: Collection[str] = (settings.service, *settings.erasing_services)

    async def create(self, account_id: int, *, mpid: int = 0, identity: Identity | None = None) -> ErasureRecord:
        """Erase somebody, by MPID or by an identity. Raises UnknownPerson."""
        now_ms = self._clock.now_ms()

        async def work(connection: AsyncConnection) -> int:
            await self._store.lock_account(connection, account_id, alone=True)
            whom = mpid
            if identity is not None:
                key = key_of(account_id, identity)
                whom = (await self._store.owners(connection, [key])).get(key, 0)
            if not whom:
                raise UnknownPerson("Nobody in the account has this identity.")
            whom = (await self._store.finals(connection, account_id, [whom])).get(whom, whom)
            mpids, removed = await self._store.erase(connection, account_id, whom)
            await self._store.revise(connection, account_id)
            facts = Facts(partitions=self._settings.partitions, receive_time_ms=now_ms)
            for one in mpids:
                facts.add_deletion(account_id, one, time_ms=now_ms)
            await self._outbox.add(connection, facts.outgoing(), now_ms=now_ms)
            return await self._store.add_erasure(connection, account_id, mpids, removed, now_ms=now_ms)

        try:
            erasure_id = await self._store.database.run_in_transaction(work)
        finally:
            # Also where the caller is gone, or the answer to the commit was lost: nobody can tell whether it was done.
            self._resolver.forget(account_id)
        self._relay.wake()
        self._work.set()
        log.info("erasure_begun", erasure_id=erasure_id)
        return await self.get(account_id, erasure_id)

    async def get(self, account_id: int, erasure_id: int) -> ErasureRecord:
        """An erasure as it stands. Raises UnknownErasure."""
        found = await self._store.erasures(account_id, before=_NUMBER_MAX, limit=1, erasure_id=erasure_id)
        if not found:
            raise UnknownErasure("The account has no such erasure.", erasure_id=erasure_id)
        return found[0]

    async def latest(self, account_id: int, *, before: int, limit: int) -> list[ErasureRecord]:
        """Erasures, the latest first, from before the one of this number on."""
        return await self._store.erasures(account_id, before=before, limit=limit)

    async def handle(self, messages: list[Message]) -> None:
        """Take the receipts of other services."""
        for message in messages:
            try:
                done = facts_pb2.ErasureDone.FromString(message.data)
            except DecodeError:
                raise Hopeless("not an ErasureDone") from None
            # Of somebody who was one with the one who was erased, or who was not erased by us, nothing waits for it.
            for erasure_id, mpids in await self._store.running_erasures(done.account_id, done.mpid):
                # A service may have buried a message since: with its receipt it has taken all that came before.
                await rewrite(self._bus, without(done.account_id, mpids))
                await self._take(erasure_id, Receipt(done.service, done.removed, tuple(done.places), done.time_ms))

    async def start(self) -> None:
        """Nothing to prepare: `run` does the work."""
        self._stopping = False
        self._work.set()

    async def run(self) -> None:
        """The loop; ends after `stop`. What an earlier process left is done first."""
        while not self._stopping:
            self._work.clear()
            try:
                for erasure_id, account_id, mpids, removed in await self._store.erasures_without(self._settings.service):
                    letters = await rewrite(self._bus, without(account_id, mpids))
                    places = ["identities"] + ["dead letters"] * bool(letters)
                    receipt = Receipt(self._settings.service, removed + letters, tuple(places), self._clock.now_ms())
                    await self._take(erasure_id, receipt)
            except Exception as error:
                if not (isinstance(error, Unavailable | nats.errors.Error) or is_transient(error)):
                    raise
                # What is left to do stands in the database.
                log.warning("erasure_waits", error=repr(error))
            try:
                await asyncio.wait_for(self._work.wait(), _LOOK_SECONDS)
            except TimeoutError:
                continue

    async def stop(self) -> None:
        """End the loop."""
        self._stopping = True
        self._work.set()

    async def _take(self, erasure_id: int, receipt: Receipt) -> None:
        now_ms = self._clock.now_ms()

        async def work(connection: AsyncConnection) -> bool:
            # Of two receipts at once the second one sees the first.
            await self._store.lock_erasure(connection, erasure_id)
            await self._store.add_receipt(connection, erasure_id, receipt)
            return await self._store.finish_erasure(connection, erasure_id, self.services, now_ms=now_ms)

        if await self._store.database.run_in_transaction(work):
            log.info("erasure_finished", erasure_id=erasure_id)


def without(account_id: int, mpids: Sequence[int]) -> Callable[[DeadLetter], bytes | None]:
    """What is left of a dead letter, of any service, once these people are gone from it."""
    traces = [struct.pack("<q", mpid) for mpid in mpids]
    gone = set(mpids)

    def amended(letter: DeadLetter) -> bytes | None:
        if letter.stream != EVENTS or not any(trace in letter.data for trace in traces):
            return letter.data
        is_events = letter.subject.split(".")[1] == "events"
        message = facts_pb2.EventBatch() if is_events else facts_pb2.ProfileChanges()
        try:
            message.ParseFromString(letter.data)
        except DecodeError:
            # Nobody can tell what it says of whom.
            return None
        if message.account_id != account_id:
            return letter.data
        if isinstance(message, facts_pb2.EventBatch):
            stay = [row for row, mpid in enumerate(message.mpids) if mpid not in gone]
            for column in _COLUMNS:
                values = getattr(message, column)
                values[:] = [values[row] for row in stay if row < len(values)]
            return message.SerializeToString() if stay else None
        left = [change for change in message.changes if change.mpid not in gone]
        del message.changes[:]
        message.changes.extend(left)
        return message.SerializeToString() if left else None

    return amended
