"""What is done to people by hand: who became one with another is parted again."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis import log as logs
from services.chassis.clock import Clock
from services.chassis.errors import FailedPrecondition, NotFound
from services.chassis.outbox import Outbox, Relay
from services.ingest.facts import Facts
from services.ingest.resolver import Resolver, draw
from services.ingest.settings import IngestSettings
from services.ingest.store import MergeRecord, Store

log = logs.get(__name__)


class UnknownMerge(NotFound):
    """The account's record of merges has no such entry."""


class AlreadyParted(FailedPrecondition):
    """The two were parted before."""


class People:
    """Each change is one transaction with its facts. Nobody else works in the account meanwhile, so that no round tells of how it was."""

    def __init__(self, settings: IngestSettings, store: Store, resolver: Resolver, outbox: Outbox, relay: Relay, clock: Clock) -> None:
        self._settings = settings
        self._store = store
        self._resolver = resolver
        self._outbox = outbox
        self._relay = relay
        self._clock = clock

    async def part(self, account_id: int, merge_id: int) -> MergeRecord:
        """Part two people who became one. Raises UnknownMerge, AlreadyParted."""
        now_ms, new_mpid = self._clock.now_ms(), draw()

        async def work(connection: AsyncConnection) -> MergeRecord:
            await self._store.lock_account(connection, account_id, alone=True)
            record = await self._store.merge_record(connection, account_id, merge_id)
            if record is None:
                raise UnknownMerge("The account has no such merge.", merge_id=merge_id)
            if record.undo_time_ms:
                raise AlreadyParted("These two were parted already.", merge_id=merge_id)
            into = (await self._store.finals(connection, account_id, [record.mpid]))[record.mpid]
            going = await self._store.part(connection, account_id, record, new_mpid, now_ms=now_ms)
            await self._store.revise(connection, account_id)
            facts = self._facts(now_ms)
            facts.add_removed(account_id, into, going, time_ms=now_ms)
            facts.add_added(account_id, new_mpid, going, time_ms=now_ms)
            await self._outbox.add(connection, facts.outgoing(), now_ms=now_ms)
            parted = await self._store.merge_record(connection, account_id, merge_id)
            assert parted is not None
            return parted

        try:
            parted = await self._store.database.run_in_transaction(work)
        finally:
            self._resolver.forget(account_id)
        self._relay.wake()
        log.info("people_parted", merge_id=merge_id)
        return parted

    def _facts(self, now_ms: int) -> Facts:
        return Facts(partitions=self._settings.partitions, receive_time_ms=now_ms)
