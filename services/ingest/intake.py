"""The one way in behind HTTP and gRPC: what waits is committed in rounds, published, and only then answered.

A round is one transaction: what was sent before, who is who, and the messages in the outbox. While its messages are published the
next round is committed; the relay keeps the order.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis import log as logs
from services.chassis.bus import Bus
from services.chassis.clock import Clock
from services.chassis.errors import ResourceExhausted, Unavailable
from services.chassis.outbox import Outbox, Relay
from services.ingest.domain import dedupe
from services.ingest.domain.identities import Rules, by_strength, key_of
from services.ingest.domain.model import Batch, Change, Fault, Identity
from services.ingest.domain.resolution import Person
from services.ingest.domain.table import Table
from services.ingest.facts import Facts
from services.ingest.inputs import Input
from services.ingest.live import Views
from services.ingest.rates import RateExceeded, Rates
from services.ingest.resolver import Resolved, Resolver
from services.ingest.seen import Seen
from services.ingest.settings import IngestSettings
from services.ingest.store import Store
from services.ingest.table_facts import ResolvedTable, messages_of
from services.ingest.table_round import KeptTable, not_sent_before

log = logs.get(__name__)

# Rounds whose messages are on their way while the next waits. More is no faster: the relay takes all that is there.
_ROUNDS_IN_FLIGHT = 2
# Tables that are on their way at once; each is as much work as some hundred batches.
_TABLES_AT_ONCE = 4

# A body from which on reading it takes so long that others would notice.
_LARGE_BYTES = 16 * 1024

RulesOf = Callable[[int], Rules]
T = TypeVar("T")

_NOBODY = Person(0, (), ())
# How long a stream waits for its input's rate, at each of its requests.
_PATIENCE_SECONDS = 60.0


class QueueFull(ResourceExhausted):
    """More waits already than may."""


class BusAway(Unavailable):
    """NATS does not answer, so nothing can be promised."""


class Stopping(Unavailable):
    """The service takes nothing more; another replica, or the next process, does."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """The batches of a request, or its table, and who waits for them."""

    input: Input
    batches: Sequence[Batch]
    size: int
    nbytes: int
    done: asyncio.Future[None]
    table: Table | None = None

    def succeed(self) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


@dataclass(slots=True)
class _Kept:
    """A batch that was not sent before, with those of its events that were not."""

    input: Input
    batch: Batch
    # The strongest first.
    identities: Sequence[Identity]
    person: Person
    event_ids: list[int]
    # The places in the batch of the events that stay; None: all.
    stay: list[int] | None = None

    def stays(self, place: int) -> bool:
        """Whether the event of this place stays."""
        return self.stay is None or place in self.stay


@dataclass(slots=True)
class _Round:
    """What a transaction made: kept aside until it is committed."""

    resolved: list[Resolved] = field(default_factory=list)
    batches: int = 0
    messages: int = 0


class Intake:
    """A part of the app, started after the relay."""

    def __init__(
        self,
        settings: IngestSettings,
        store: Store,
        seen: Seen,
        resolver: Resolver,
        rules_of: RulesOf,
        outbox: Outbox,
        relay: Relay,
        bus: Bus,
        rates: Rates,
        views: Views,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._store = store
        self._seen = seen
        self._resolver = resolver
        self._rules_of = rules_of
        self._outbox = outbox
        self._relay = relay
        self._bus = bus
        self._rates = rates
        self._views = views
        self._clock = clock
        self._queue: deque[_Waiting] = deque()
        self._queued = 0
        self._queued_bytes = 0
        self._reading_bytes = 0
        self._reading = asyncio.Semaphore(1)
        self._work = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._in_flight = asyncio.Semaphore(_ROUNDS_IN_FLIGHT)
        self._tables = asyncio.Semaphore(_TABLES_AT_ONCE)
        self._publishing: set[asyncio.Task[None]] = set()
        self._away = False
        self._stopping = False
        self._ended = asyncio.Event()
        self._running = False

    def check(self, input: Input, *, nbytes: int = 0) -> None:
        """Raises QueueFull or RateExceeded if a request of so many bytes would be refused whatever it holds: before it is read."""
        try:
            self._rates.check(input)
            if self._is_full(1, nbytes):
                raise QueueFull("Too many events are waiting.", retry_seconds=1)
        except ResourceExhausted as error:
            self._views.turned_away(input, error.reason)
            raise

    async def read(self, input: Input, nbytes: int, work: Callable[[], T]) -> T:
        """The answer of `work`, which reads a body of so many bytes. Raises as `check`.

        Large ones are read one after the other and in a thread: the rounds, whose every step would wait for all that are read just then, go
        on meanwhile, and what turns out to have no room any more when its turn comes is not read in vain.
        """
        if nbytes < _LARGE_BYTES:
            return work()
        self.check(input, nbytes=nbytes)
        self._reading_bytes += nbytes
        try:
            async with self._reading:
                self.check(input)
                return await asyncio.to_thread(work)
        finally:
            self._reading_bytes -= nbytes
            self._room.set()

    def refuse(self, input: Input, faults: Sequence[Fault]) -> None:
        """A request, or a part of one, was refused for these faults: it counts as one event of what the input may send."""
        self._rates.spend(input, 1)
        self._views.refused(input, faults)

    async def submit(self, input: Input, batches: Sequence[Batch], *, nbytes: int = 0, patient: bool = False) -> None:
        """Return once JetStream holds all of this, or held it before. Raises QueueFull, RateExceeded, or Unavailable with nothing promised.

        `nbytes` is how long it was as it came. `patient` waits for room in the queue, and for the input's rate, instead of raising.
        """
        try:
            await self._submit(input, batches, nbytes, patient=patient)
        except (ResourceExhausted, Unavailable) as error:
            self._views.turned_away(input, error.reason)
            raise
        self._views.accepted(input, batches)

    async def _submit(self, input: Input, batches: Sequence[Batch], nbytes: int, *, patient: bool) -> None:
        size = sum(1 + len(batch.events) for batch in batches)
        events = sum(max(1, len(batch.events)) for batch in batches)
        waiting = _Waiting(input, batches, size, nbytes, asyncio.get_running_loop().create_future())
        await self._enqueue(waiting, events, patient=patient)

    async def submit_table(self, input: Input, table: Table) -> None:
        """The same for a table, which waits for its turn among the tables."""
        async with self._tables:
            # It takes no room of the others: nobody is refused because much is imported.
            waiting = _Waiting(input, (), 0, 0, asyncio.get_running_loop().create_future(), table)
            try:
                await self._enqueue(waiting, len(table.rows), patient=True)
            except (ResourceExhausted, Unavailable) as error:
                self._views.turned_away(input, error.reason)
                raise
            self._views.accepted_table(input, table)

    async def _enqueue(self, waiting: _Waiting, events: int, *, patient: bool) -> None:
        while True:
            while self._is_full(waiting.size, waiting.nbytes):
                if not patient:
                    raise QueueFull("Too many events are waiting.", retry_seconds=1)
                self._room.clear()
                await self._room.wait()
            if self._stopping:
                raise Stopping("The service is about to stop.")
            self._check_bus()
            # The last of all that may refuse it, for what is let in is counted. While it waited, the queue may have filled.
            if await self._let_in(waiting.input, events, patient=patient):
                break
        self._queue.append(waiting)
        self._queued += waiting.size
        self._queued_bytes += waiting.nbytes
        self._work.set()
        await waiting.done

    async def start(self) -> None:
        """Nothing to prepare: `run` does the work."""
        self._stopping = False

    async def run(self) -> None:
        """The loop; ends after `stop`, once all that waited is answered."""
        self._running = True
        try:
            while True:
                while not self._queue:
                    if self._stopping:
                        return
                    self._work.clear()
                    await self._work.wait()
                await self._in_flight.acquire()
                await self._round(self._take())
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """Take nothing more, answer what waits."""
        self._stopping = True
        self._work.set()
        if self._running:
            await self._ended.wait()
        if self._publishing:
            await asyncio.wait(self._publishing)

    def _is_full(self, size: int, nbytes: int) -> bool:
        # What is larger than all may be comes in alone.
        more_events = self._queued + size > self._settings.queue_events
        more_bytes = self._queued_bytes + self._reading_bytes + nbytes > self._settings.queue_bytes
        return (self._queued > 0 and (more_events or more_bytes)) or (self._reading_bytes > 0 and more_bytes)

    async def _let_in(self, input: Input, events: int, *, patient: bool) -> bool:
        """Whether the input's limits let them in; False: it was waited for them, and is to be asked again."""
        try:
            self._rates.take(input, events)
        except RateExceeded as error:
            # A day is not waited for.
            if not patient or error.retry_seconds is None or error.retry_seconds > _PATIENCE_SECONDS:
                raise
            await self._clock.sleep(error.retry_seconds)
            return False
        return True

    def _check_bus(self) -> None:
        # Without NATS nothing is begun, so that nothing is left half done.
        if not self._bus.is_connected:
            raise BusAway("NATS does not answer.")

    def _take(self) -> list[_Waiting]:
        taken = [self._queue.popleft()]
        size = taken[0].size
        while self._queue and size + self._queue[0].size <= self._settings.round_events:
            taken.append(self._queue.popleft())
            size += taken[-1].size
        self._queued -= size
        self._queued_bytes -= sum(waiting.nbytes for waiting in taken)
        self._room.set()
        return taken

    async def _round(self, taken: list[_Waiting]) -> None:
        try:
            self._check_bus()
            round_ = await self._store.database.run_in_transaction(lambda connection: self._commit(connection, taken))
        except Unavailable as error:
            if not self._away:
                # Once told; that all goes on is told by `rounds_go_on`.
                self._away = True
                log.warning("round_not_committed", error=repr(error), requests=len(taken))
            self._fail(taken, error)
        except Exception as error:
            if len(taken) > 1:
                # One request must not bring down the others of its round.
                log.error("round_failed", exc_info=error, requests=len(taken))
                self._in_flight.release()
                for waiting in taken:
                    await self._in_flight.acquire()
                    await self._round([waiting])
                return
            self._fail(taken, error)
        else:
            for resolved in round_.resolved:
                self._resolver.committed(resolved)
            if self._away:
                self._away = False
                log.info("rounds_go_on")
            log.debug("round_committed", requests=len(taken), batches=round_.batches, messages=round_.messages)
            task = asyncio.create_task(self._publish(taken), name="publish")
            self._publishing.add(task)
            task.add_done_callback(self._publishing.discard)
            return
        self._in_flight.release()

    def _fail(self, taken: list[_Waiting], error: Exception) -> None:
        for waiting in taken:
            waiting.fail(error)

    async def _publish(self, taken: list[_Waiting]) -> None:
        # Also where there was nothing new: what the same ids brought earlier may still be in the outbox.
        try:
            await self._relay.flush(timeout_seconds=self._settings.publish_seconds)
        except Exception as error:
            log.warning("round_not_published", error=repr(error), requests=len(taken))
            self._fail(taken, error)
        else:
            for waiting in taken:
                waiting.succeed()
        finally:
            self._in_flight.release()

    # --- the transaction

    async def _commit(self, connection: AsyncConnection, taken: Sequence[_Waiting]) -> _Round:
        now_ms = self._clock.now_ms()
        round_ = _Round()
        kept = await self._not_sent_before(connection, taken, now_ms)
        tables = [
            table
            for waiting in taken
            if waiting.table and (table := await not_sent_before(connection, self._seen, waiting.input, waiting.table, now_ms))
        ]
        if not kept and not tables:
            return round_
        facts = Facts(partitions=self._settings.partitions, receive_time_ms=now_ms)
        resolved_tables: list[ResolvedTable] = []
        accounts = {one.input.account_id for one in kept} | {table.input.account_id for table in tables}
        for account_id in sorted(accounts):
            of_account = [one for one in kept if one.input.account_id == account_id]
            of_tables = [table for table in tables if table.input.account_id == account_id]
            in_tables: list[_Kept] = []
            for table in of_tables:
                known = await self._resolver.remembered(connection, account_id, table.keys)
                in_tables += [_Kept(table.input, *asked, []) for asked in table.ask(known, self._rules_of(account_id), now_ms)]
            round_.resolved.append(await self._resolve(connection, account_id, [*of_account, *in_tables], now_ms))
            resolved_tables += _tell_all(facts, of_account, of_tables, in_tables, round_.resolved[-1], now_ms)
        messages = facts.outgoing()
        for one in resolved_tables:
            messages += await asyncio.to_thread(messages_of, one, partitions=self._settings.partitions, receive_time_ms=now_ms)
        await self._outbox.add(connection, messages, now_ms=now_ms)
        round_.batches, round_.messages = len(kept) + len(tables), len(messages)
        return round_

    async def _not_sent_before(self, connection: AsyncConnection, taken: Sequence[_Waiting], now_ms: int) -> list[_Kept]:
        requests = [(waiting.input, batch, _request_key(waiting.input, batch)) for waiting in taken for batch in waiting.batches]
        new = await self._seen.remember(connection, (key for _, _, key in requests if key), now_ms=now_ms)
        kept: list[_Kept] = []
        keys_of: list[list[bytes]] = []
        for input, batch, key in requests:
            if key:
                if key not in new:
                    continue
                # Twice in one round, the first counts.
                new.discard(key)
            keys = dedupe.message_keys(input.account_id, input.input_id, batch)
            ids = dedupe.event_ids(input.account_id, input.input_id, batch, keys)
            kept.append(_Kept(input, batch, [], _NOBODY, ids))
            keys_of.append(keys)
        new = await self._seen.remember(connection, (key for keys in keys_of for key in keys if key), now_ms=now_ms)
        for one, keys in zip(kept, keys_of, strict=True):
            stay = []
            for place, key in enumerate(keys):
                if not key or key in new:
                    stay.append(place)
                    new.discard(key)
            if len(stay) < len(keys):
                one.stay = stay
            self._name(one)
        return kept

    def _name(self, one: _Kept) -> None:
        """Say by what the person of a batch is found."""
        batch, account_id, rules = one.batch, one.input.account_id, self._rules_of(one.input.account_id)
        named = batch.identities
        if batch.gains:
            named = by_strength([*named, *(identity for place, identity in batch.gains if one.stays(place))])
        if rules.priority:
            named = rules.in_order(named, lambda identity: identity.type)
        one.identities = named
        one.person = Person(batch.mpid, [identity.type for identity in named], [key_of(account_id, identity) for identity in named])
        if batch.claims:
            one.person.claims = [(identity.type, key_of(account_id, identity)) for identity in batch.claims]
        if batch.losses:
            one.person.losses = [key_of(account_id, identity) for place, identity in batch.losses if one.stays(place)]

    async def _resolve(self, connection: AsyncConnection, account_id: int, kept: Sequence[_Kept], now_ms: int) -> Resolved:
        named = {key: identity for one in kept for key, identity in zip(one.person.keys, one.identities, strict=True)}
        people, inputs = [one.person for one in kept], [one.input.input_id for one in kept]
        return await self._resolver.resolve(connection, account_id, people, named, inputs, now_ms=now_ms)


def _request_key(input: Input, batch: Batch) -> bytes:
    return dedupe.request_key(input.account_id, input.input_id, batch.request_id) if batch.request_id else b""


def _tell_all(
    facts: Facts, kept: Sequence[_Kept], tables: Sequence[KeptTable], in_tables: Sequence[_Kept], resolved: Resolved, now_ms: int
) -> list[ResolvedTable]:
    """What the batches say, and what became of people and their identities; the tables with who their rows are about."""
    decision = resolved.decision
    gained = decision.added | {key: after for key, (_, after) in decision.moved.items()}
    mpids = iter(decision.mpids)
    for one, mpid in zip(kept, mpids, strict=False):
        _tell(facts, one, mpid, gained)
    into = {merge.mpid: merge.into for merge in decision.merges}
    done = [table.resolved(mpids, gained, into) for table in tables]
    lost = [(decision.removed[key], identity) for key, identity in resolved.removed.items()]
    if decision.moved:
        everybody = [*kept, *in_tables]
        named = {key: identity for one in everybody for key, identity in zip(one.person.keys, one.identities, strict=True)}
        lost += [(before, named[key]) for key, (before, _) in decision.moved.items()]
    for mpid, identity in lost:
        facts.add_removed(resolved.account_id, mpid, [identity], time_ms=now_ms)
    for merge in decision.merges:
        facts.add_merge(resolved.account_id, merge.mpid, merge.into, time_ms=now_ms)
    return done


def _tell(facts: Facts, one: _Kept, mpid: int, gained: dict[bytes, int]) -> None:
    batch = one.batch
    # Each new identity is told once, with the batch that brought it first.
    new = []
    for key, identity in zip(one.person.keys, one.identities, strict=True):
        if gained.get(key) == mpid:
            del gained[key]
            new.append(identity)
    changes = batch.changes
    if one.stay is not None:
        changes = [change for change in changes if change.of_event < 0 or one.stays(change.of_event)]
    if new or not (changes or batch.events):
        # Also one that only says "here": it makes the person known in the workspace.
        _tell_new(facts, one, mpid, changes, new)
    else:
        for change in changes:
            facts.add_change(one.input, mpid, change)
    if one.stay is None:
        events, ids = batch.events, one.event_ids
    else:
        events, ids = [batch.events[place] for place in one.stay], [one.event_ids[place] for place in one.stay]
    if events:
        facts.add_events(one.input, mpid, batch.context, events, ids)


def _tell_new(facts: Facts, one: _Kept, mpid: int, changes: Sequence[Change], new: Sequence[Identity]) -> None:
    first, *others = changes or [Change(time_ms=one.batch.time_ms)]
    facts.add_change(one.input, mpid, first, new)
    for change in others:
        facts.add_change(one.input, mpid, change)
