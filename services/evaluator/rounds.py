"""The rounds: take what has arrived, let time pass, commit what changed, publish it.

One task runs them. The engine and the event store work in one thread of their own, so rounds and questions never overlap there.
The rounds are of the partitions that `ownership` holds; whenever these change, everything is built anew from the stores, and so it is
when another owner was quicker with a commit. Any other failure ends the process: the next one starts from what was committed.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from muster.definition.v1 import audience_pb2, facts_pb2
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from services.chassis import log as logs
from services.chassis.bus import Bus
from services.chassis.clock import Clock
from services.chassis.database import DatabaseUnavailable
from services.chassis.dead_letters import bury
from services.chassis.errors import Unavailable
from services.chassis.outbox import Relay
from services.chassis.pull import Message
from services.chassis.streams import events_subject, profiles_subject
from services.evaluator import facts, intake, journal
from services.evaluator.costs import Costs
from services.evaluator.engine.compiling.overrides import types_of
from services.evaluator.event_store import EventStore
from services.evaluator.event_tables import Tenure
from services.evaluator.filling import fill, keep_in, unfit
from services.evaluator.intake import Arrived
from services.evaluator.journal import Standing
from services.evaluator.ownership import Ownership
from services.evaluator.population import Population, Turn, look_back_of
from services.evaluator.reader import StreamReader
from services.evaluator.settings import EvaluatorSettings
from services.evaluator.snapshots import Origin, Snapshot, Snapshots
from services.evaluator.statistics import DAY_MS, Minute, Statistics, minute_of
from services.evaluator.store import Commit, DealtRow, HistoryRow, MembersRow, Position, Replaced, Store, Taken

log = logs.get(__name__)

T = TypeVar("T")

_FETCH_MESSAGES = 256
_KEEP_BATCH_IDS_MS = 7 * DAY_MS
_KEEP_ENDED_MS = 62 * DAY_MS  # twice as long as the stream keeps what may still be told of them
_ERASE_MS = 5_000
_HOUR_MS = 3_600_000
_COMPACT_ROWS = 1_000
_BUILT_WITHIN_SECONDS = 2.0
_AT_ONCE = 1 << 62  # of unsaved events
FOLDED_AUDIENCES = 20  # in one round


@dataclass(slots=True)
class Account:
    """What the rounds keep of one account."""

    population: Population
    statistics: dict[int, Statistics] = field(default_factory=lambda: defaultdict(Statistics))
    costs: Costs = field(default_factory=Costs)
    unfolded: set[tuple[int, int]] = field(default_factory=set)  # (audience, partition) changed since the last fold began
    folding: dict[int, list[int]] = field(default_factory=dict)  # audience -> partitions that this fold has not stored yet
    fold_until: dict[int, int] = field(default_factory=dict)  # partition -> the last round that this fold covers
    unsaved: int = 0  # events that a start would read from the event store: they came after the snapshot
    names_ended: bool = False  # whether the snapshot may have something of people who ended since


class Starting(Unavailable):
    """The index of this process's partitions is being built, or its leases have just ended."""


class Rounds:
    """A part of the app; `accounts` and the questions below are for the API."""

    def __init__(self, settings: EvaluatorSettings, store: Store, bus: Bus, relay: Relay, clock: Clock, ownership: Ownership) -> None:
        self._settings = settings
        self._store = store
        self._bus = bus
        self._relay = relay
        self._clock = clock
        self._ownership = ownership
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._event_store: EventStore | None = None
        self._reader: StreamReader | None = None
        self._intake: asyncio.Task[None] | None = None
        self._owned: frozenset[int] = frozenset()
        self._built = asyncio.Event()
        self._accounts: dict[int, Account] = {}
        self._positions: dict[int, Position] = {}
        self._inbox: list[tuple[Arrived, int]] = []  # decoded messages, with the instant since when they wait
        self._waiting_rows = 0
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._committed = asyncio.Lock()
        self._first: dict[int, Turn] = {}  # what time changed while nobody counted
        self._journal_bytes = 0
        self._batch_ids_forgotten_ms = 0
        self._events_forgotten_ms = 0
        self._tidied_ms = 0
        self._erased_ms = 0
        self._erasing: dict[int, int] = {}  # partition -> the sequence up to which people ended who are being erased
        self._snapshots = Snapshots(settings.snapshots)
        self._keeping: asyncio.Task[None] | None = None  # a snapshot that is being written
        self._stopping = False
        self._ended = asyncio.Event()
        self._ended.set()
        self._news = asyncio.Condition()
        self.count = 0  # of the rounds that changed something
        self.as_of_ms = 0

    # --- the part

    async def start(self) -> None:
        """Join the owners and build the index of what falls to this process; after it, questions can be answered."""
        self._event_store = await self._in_thread(lambda: EventStore(self._settings.event_store_url))
        self._ownership.judge_by(self._unfit)
        await self._ownership.join()
        await self._build_owned()

    async def run(self) -> None:
        """The loop; ends after `stop`."""
        self._ended.clear()
        try:
            while not self._stopping:
                try:
                    if self._ownership.held != self._owned:
                        await self._build_owned()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._arrived.wait(), self._settings.round_seconds)
                    await self._round()
                    await self._keep_snapshot()
                except Replaced as fault:
                    self._built.clear()  # the engine is ahead of what is committed
                    log.warning("replaced", reason=str(fault))
                    await self._ownership.check()
                    await self._build_owned()
                if self._intake is not None and self._intake.done():
                    self._intake.result()
                # Rounds that follow one another at once would each take a handful: a breath makes them worth their cost.
                await asyncio.sleep(self._settings.round_pause_seconds)
        finally:
            self._built.clear()
            self._ended.set()
            await self._stop_reading()

    async def stop(self) -> None:
        """Let the round in hand end, then let go of the store."""
        self._stopping = True
        self._arrived.set()
        self._snapshots.stop()
        await self._ended.wait()
        if self._keeping is not None:
            await self._keeping
        await self._stop_reading()
        if self._event_store is not None:
            await self._in_thread(self._event_store.close)
        self._thread.shutdown()

    # --- facts

    def check(self, fact: facts_pb2.DefinitionFact) -> None:
        """Raises Unsupported or ValueError for what this version can't evaluate: an audience, a look-back, a type of attributes."""
        population = Population(fact.account_id, 1, 0, look_back_of([fact]))
        audience = fact.audience
        if fact.WhichOneof("state") == "audience" and audience.state == audience_pb2.AUDIENCE_STATE_ACTIVE:
            population.compile(audience.definition, audience.workspace_ids, audience.input_ids)
        types_of(fact.workspace.attribute_overrides)

    async def learn(self, facts: Sequence[facts_pb2.DefinitionFact]) -> None:
        """Take in facts that are stored, all between the same two rounds; once more changes nothing."""
        async with self._committed:
            for account_id in dict.fromkeys(fact.account_id for fact in facts):
                own = [fact for fact in facts if fact.account_id == account_id]
                account = self._accounts.get(account_id)
                if account is None or await self._in_thread(partial(_learn, account.population, own)):
                    await self._build(account_id)
        self._arrived.set()

    # --- questions

    async def ask(self, account_id: int, question: Callable[[Account], T], *, of: frozenset[int] | None = None) -> T:
        """The answer of `question` about an account's people in the partitions of this process, between two rounds and after their commit.

        Raises Starting where they are being built for too long to wait, where this process may not own them any more, or where they are
        not exactly the partitions `of` which the answer is wanted.
        """
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._built.wait(), _BUILT_WITHIN_SECONDS)
        if not self._built.is_set():
            raise Starting("This evaluator is building its index.")
        async with self._committed:
            if not self._built.is_set():
                raise Starting("This evaluator is building its index.")
            if of is not None and of != self._owned:
                raise Starting("Partitions are moving between evaluators.")
            if account_id not in self._accounts:
                await self._build(account_id)
            account = self._accounts[account_id]
            answer = await self._in_thread(lambda: question(account))
            if not self._ownership.holds(self._owned):
                raise Starting("The leases of this evaluator's partitions have ended.")
            return answer

    async def flush(self) -> None:
        """Wait until what was committed is published."""
        await self._relay.flush()

    @contextlib.asynccontextmanager
    async def quiet(self) -> AsyncIterator[None]:
        """No round runs meanwhile."""
        async with self._committed:
            yield

    async def minutes(self, account_id: int, audience_id: int, from_ms: int, to_ms: int) -> tuple[list[Minute], int]:
        """The stored minutes of an audience with `from_ms <= minute < to_ms`, and its size before them."""
        return await self._store.minutes(account_id, audience_id, from_ms, to_ms)

    async def dealt(self, account_id: int, ab_test_id: int, of: frozenset[int], *, since_ms: int) -> dict[int, tuple[int, int]]:
        """The stored adds and drops of a test's variations from that minute on, by id, of these partitions."""
        return await self._store.dealt(account_id, ab_test_id, of, since_ms=since_ms)

    async def changed(self, count: int, *, within_seconds: float) -> None:
        """Return once a round changed something since `count` was read, or after that time."""
        async with self._news:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait_for(lambda: self.count != count), within_seconds)

    @property
    def owned(self) -> frozenset[int]:
        """The partitions that answers are about."""
        return self._owned

    @property
    def owns_all(self) -> bool:
        """Whether no other evaluator has anything to say."""
        return len(self._owned) == self._settings.partitions

    @property
    def pending(self) -> int:
        """How many messages are not counted yet: those at hand, and those of the stream after them."""
        return len(self._inbox) + (self._reader.pending if self._reader is not None else 0)

    @property
    def oldest_ms(self) -> int | None:
        """Since when the oldest of them waits; None where none does."""
        if self._inbox:
            return min(since for _, since in self._inbox)
        return self._reader.oldest_ms if self._reader is not None else None

    @property
    def positions(self) -> dict[int, Position]:
        """Where each partition stands after the last commit."""
        return self._positions

    # --- inside

    async def _build_owned(self) -> None:
        """Take the partitions over that this process holds now, give up the others, and build everything from the stores.

        A partition that is given up was not in a round since the last commit, and is in none from here on.
        """
        began = time.monotonic()
        await self._stop_reading()
        self._built.clear()
        async with self._committed:
            given, self._owned = self._owned - self._ownership.held, self._ownership.held
            self._accounts.clear()
            self._first.clear()
            self._inbox.clear()
            self._waiting_rows = 0
            self._erasing = {}
            await self._ownership.give_up(given)
            taken = await self._take_over()
            self.as_of_ms = max(self._clock.now_ms(), self.as_of_ms)
            for account_id in await self._store.accounts():
                await self._build(account_id)
            self._journal_bytes = await self._store.journal_bytes(self._owned)
            self._tidied_ms = self.as_of_ms
            await self._start_reading()
        await self._in_thread(_keep_what_is)
        self._built.set()
        log.info(
            "index_built",
            partitions=sorted(taken),
            accounts=len(self._accounts),
            people=sum(len(account.population.people) for account in self._accounts.values()),
            audiences=sum(len(account.population.audiences) for account in self._accounts.values()),
            seconds=round(time.monotonic() - began, 2),
        )

    async def _take_over(self) -> dict[int, Taken]:
        """Become the owner in the database, and bring this process's event store to where each partition stands."""
        store = self._store_of_events()
        taken = await self._store.take_over(self._owned, store.id)
        self._positions = {partition: one.position for partition, one in taken.items()}
        tenures = {partition: Tenure(one.position.epoch, one.stored, one.before) for partition, one in taken.items()}
        hidden = await self._store.not_erased(self._owned, store.id)
        removed = await self._in_thread(lambda: store.take_over(tenures, hidden))
        if removed:
            log.info("uncommitted_events_removed", events=removed)
        gaps = {p: (one.stored, one.position.sequence) for p, one in taken.items() if one.stored < one.position.sequence}
        if gaps:
            await fill(self._bus, self._store, self._keep, gaps, self._settings.partitions)
            await self._store.hold(store.id, {partition: up_to for partition, (_, up_to) in gaps.items()})
        return taken

    async def _keep(self, arrived: list[Arrived]) -> None:
        store = self._store_of_events()
        ended = {account_id: await self._store.ended(account_id, self._owned) for account_id in {message.account_id for message in arrived}}
        await self._in_thread(lambda: keep_in(store, arrived, ended, self._settings.partitions, self._clock.now_ms()))

    async def _unfit(self) -> frozenset[int]:
        return await unfit(self._bus, self._store, self._store_of_events().id, self._settings.partitions)

    async def _start_reading(self) -> None:
        if not self._owned:
            return
        self._reader = StreamReader(self._bus, [f(p) for p in sorted(self._owned) for f in (events_subject, profiles_subject)])
        await self._reader.start(min(position.sequence for position in self._positions.values()))
        self._intake = asyncio.create_task(self._take_in(self._reader), name="intake")

    async def _stop_reading(self) -> None:
        if self._intake is not None:
            intake, self._intake = self._intake, None
            # Once may not be enough: before Python 3.12, asyncio.wait_for swallows a cancellation that comes with what it waited for.
            while not intake.done():
                intake.cancel()
                await asyncio.wait([intake], timeout=0.1)
            if not intake.cancelled():
                intake.result()  # what it failed with before
        if self._reader is not None:
            await self._reader.stop()
            self._reader = None

    async def _build(self, account_id: int) -> None:
        """An account's population, from the stores; what time changed since the last commit waits for the next round."""
        store, owned = self._store_of_events(), self._owned
        known = await self._store.definitions(account_id)
        population = Population(account_id, self._settings.partitions, self.as_of_ms, look_back_of(known), store)
        pages, activity = await self._store.people(account_id, owned), await self._store.activity(account_id, owned)
        population.endings.enter((row.mpid, row.into, row.sequence) for row in await self._store.ended(account_id, owned))
        participants = await self._store.participants(account_id, owned)
        if len(pages) + len(activity) + len(participants) > _COMPACT_ROWS:
            await self._store.compact(account_id, self._positions)
        standings, unfolded = await self._store.standings(account_id, owned)
        account = Account(population, unfolded=unfolded)
        for row in await self._store.history(account_id, owned, since_ms=self.as_of_ms - DAY_MS):
            account.statistics[row.audience_id].count(Minute(row.minute_ms, row.growth, row.adds, row.drops))

        def build() -> Turn:
            for fact in known:
                population.learn(fact)
            origin = Origin(account_id, store.id, self._settings.partitions, population.look_back_ms)
            snapshot = self._snapshots.find(origin, self.as_of_ms, self._positions, pages)
            account.names_ended = snapshot is not None
            account.unsaved = population.load(store, pages, activity, self.as_of_ms, snapshot)
            population.load_participants(participants)
            return population.stand(standings)

        self._first[account_id] = await self._in_thread(build)
        self._accounts[account_id] = account
        self._arrived.set()

    async def _take_in(self, reader: StreamReader) -> None:
        """Fetch and decode ahead of the rounds, as far as there is room."""
        while True:
            while self._waiting_rows > self._settings.round_events_max:
                self._room.clear()
                await self._room.wait()
            for message in await reader.fetch(_FETCH_MESSAGES, 5.0):
                partition = int(message.subject.rsplit(".", 1)[-1])
                if message.stream_sequence <= self._positions[partition].sequence:
                    continue
                try:
                    arrived = intake.decode(message.subject, message.stream_sequence, message.data, self._settings.partitions)
                except intake.Malformed as fault:
                    await self._bury(message, str(fault))
                    arrived = Arrived(partition, message.stream_sequence, "", 0, 0)
                self._inbox.append((arrived, arrived.receive_time_ms or message.publish_time_ms))
                self._waiting_rows += max(1, arrived.rows)
                self._arrived.set()

    async def _bury(self, message: Message, reason: str) -> None:
        await bury(self._bus, self._settings.service, "evaluator", message, reason)

    async def _round(self) -> None:
        self._arrived.clear()
        taken, rows = 0, 0
        while taken < len(self._inbox) and rows < self._settings.round_events_max:
            rows += max(1, self._inbox[taken][0].rows)
            taken += 1
        batch, self._inbox = self._inbox[:taken], self._inbox[taken:]
        self._waiting_rows -= rows
        if self._inbox:
            self._arrived.set()
        self._room.set()
        async with self._committed:
            now_ms = max(self._clock.now_ms(), self.as_of_ms)
            arrived = [message for message, _ in batch]
            began = time.monotonic()
            batch_ids = {message.batch_id for message in arrived if message.batch_id}
            known = set(await _patiently(lambda: self._store.counted(batch_ids)))
            fresh = _once(arrived, known)
            turns = await self._in_thread(lambda: self._turn(fresh, now_ms))
            computed = time.monotonic()
            commit = self._commit(arrived, fresh, turns, now_ms)
            if commit.moves:
                await self._write(commit)
                log.debug("round_committed", rows=rows, compute_seconds=computed - began, commit_seconds=time.monotonic() - computed)
            self.as_of_ms = now_ms
        if any(account.population.waits for account in self._accounts.values()):
            self._arrived.set()
        if commit.messages:
            self._relay.wake()
            async with self._news:
                self.count += 1
                self._news.notify_all()
        await self._erase(now_ms)
        if now_ms - self._batch_ids_forgotten_ms > _HOUR_MS:
            self._batch_ids_forgotten_ms = now_ms
            await self._store.forget_batches(before_ms=now_ms - _KEEP_BATCH_IDS_MS)
            await self._store.forget_ended(before_ms=now_ms - _KEEP_ENDED_MS)
        if now_ms - self._tidied_ms > _HOUR_MS:
            self._tidied_ms = now_ms
            await self._in_thread(lambda: [account.population.engine.forget(now_ms) for account in self._accounts.values()])
            for account in self._accounts.values():
                if account.names_ended:
                    account.unsaved = _AT_ONCE
        if now_ms - self._events_forgotten_ms > DAY_MS:
            self._events_forgotten_ms = now_ms
            await self._forget_events(now_ms)

    async def _keep_snapshot(self) -> None:
        """Begin to write a snapshot where a start would have much to read without, one at a time; while messages wait, only where it would
        have twice as much."""
        if not self._snapshots.are_kept or (self._keeping is not None and not self._keeping.done()):
            return
        if self._keeping is not None:
            self._keeping.result()  # what it failed with
        for account_id, account in self._accounts.items():
            due = max(self._settings.snapshot_events, account.population.engine.events // 10)
            if account.unsaved >= (2 * due if self._inbox else due):
                async with self._committed:  # what the index has is what is committed
                    people, index = await self._in_thread(account.population.kept)
                    origin = Origin(account_id, self._store_of_events().id, self._settings.partitions, account.population.look_back_ms)
                    snapshot = Snapshot(origin, dict(self._positions), people, index)
                account.unsaved, account.names_ended = 0, False
                self._keeping = asyncio.create_task(asyncio.to_thread(self._snapshots.keep, snapshot), name="snapshot")
                return

    async def _erase(self, now_ms: int) -> None:
        """Take what is left of people who ended out of the event store: it does so in the background, and is looked after now and then."""
        if now_ms - self._erased_ms < _ERASE_MS:
            return
        self._erased_ms = now_ms
        store = self._store_of_events()
        if not self._erasing:
            self._erasing = {partition: position.sequence for partition, position in self._positions.items()}
        erased = await self._in_thread(store.erase)
        if erased:
            await self._store.erased(store.id, self._erasing, erased, now_ms=now_ms)
            self._relay.wake()
            log.info("people_erased", people=len(erased))
        if erased is not None:
            self._erasing = {}

    async def _forget_events(self, now_ms: int) -> None:
        # An explanation tells since when, and for that looks at another look-back before the one that counts.
        before: dict[int, list[int]] = defaultdict(list)
        for account_id, account in self._accounts.items():
            before[now_ms - 2 * account.population.look_back_ms - DAY_MS].append(account_id)
        store = self._store_of_events()
        forgotten = await self._in_thread(lambda: store.forget(before))
        if forgotten:
            log.info("old_events_forgotten", events=forgotten)

    def _turn(self, arrived: list[Arrived], now_ms: int) -> dict[int, Turn]:
        """In the thread: one turn of every account."""
        by_account: dict[int, list[Arrived]] = defaultdict(list)
        for message in arrived:
            by_account[message.account_id].append(message)
        store = self._store_of_events()
        for account_id in by_account.keys() - self._accounts.keys():
            self._accounts[account_id] = Account(Population(account_id, self._settings.partitions, self.as_of_ms, store=store))
        turns = {}
        for account_id, account in self._accounts.items():
            account.unsaved += sum(len(message.events.mpids) for message in by_account.get(account_id, []) if message.events is not None)
            before = self._first.pop(account_id, None)
            began = time.perf_counter()
            turn = account.population.turn(store, by_account.get(account_id, []), now_ms)
            _count_cost(account, time.perf_counter() - began, now_ms)
            turns[account_id] = turn if before is None else before.then(turn)
            account.population.test(turns[account_id], now_ms)
        return turns

    def _commit(self, arrived: list[Arrived], fresh: list[Arrived], turns: dict[int, Turn], now_ms: int) -> Commit:
        """What this round writes; nothing moves where nothing arrived and nothing changed."""
        commit = Commit(now_ms, self._store_of_events().id, batches={message.batch_id: message.sequence for message in fresh})
        sequences: dict[int, int] = defaultdict(int)
        for message in arrived:
            sequences[message.partition] = max(sequences[message.partition], message.sequence)
        received = max((message.receive_time_ms for message in fresh), default=0)
        parts = {account_id: self._accounts[account_id].population.parts(turn) for account_id, turn in turns.items()}
        entries = {account_id: self._accounts[account_id].population.entries(turn, parts[account_id]) for account_id, turn in turns.items()}
        touched = {partition for by_partition in entries.values() for partition in by_partition}
        whole = self.owns_all
        if whole and any(turn.ended for turn in turns.values()):
            touched |= self._owned  # who tells that an audience ended must own all of it
        touched |= {row.partition for turn in turns.values() for row in turn.participants}
        if any(turn.tests_over for turn in turns.values()):
            touched |= self._owned
        for partition in sorted({*sequences, *touched}):
            start = self._positions[partition]
            commit.moves[partition] = (start, start.moved(sequences[partition]))
        for account_id, turn in turns.items():
            commit.pages += [(account_id, page) for page in turn.pages]
            commit.activity += [(account_id, row) for row in turn.activity]
            commit.ended += [(account_id, row) for row in turn.gone]
            self._accounts[account_id].names_ended |= bool(turn.gone)
            commit.messages += turn.messages
            commit.participants += [(account_id, row) for row in turn.participants]
            commit.dealt += [DealtRow(account_id, minute_of(now_ms), min(self._owned), dealt) for dealt in turn.dealt]
            commit.tests_over += [(account_id, ab_test_id) for ab_test_id in turn.tests_over]
            if not entries[account_id]:
                continue
            account = self._accounts[account_id]
            rounds = {partition: commit.moves[partition][1].round for partition in entries[account_id]}
            commit.messages += facts.membership_messages(account.population, turn, parts[account_id], rounds, now_ms, received, whole=whole)
            for partition, changed in entries[account_id].items():
                commit.changes.append((account_id, partition, rounds[partition], journal.encode(changed)))
                places = [(audience_id, partition) for audience_id in changed.audiences]
                account.unfolded.update(places)
                account.population.rounds.update(dict.fromkeys(places, rounds[partition]))
            commit.history += self._count(account, turn, now_ms)
        self._journal_bytes += sum(len(payload) for _, _, _, payload in commit.changes)
        if commit.moves:
            folding = any(account.folding for account in self._accounts.values())
            if not folding and self._journal_bytes > self._settings.fold_after_bytes:
                self._begin_fold(commit)
            self._fold(commit)
        return commit

    def _count(self, account: Account, turn: Turn, now_ms: int) -> list[HistoryRow]:
        rows = []
        account_id, minute_ms, part = account.population.account_id, minute_of(now_ms), min(self._owned)
        for audience_id in sorted(turn.ended.keys() | turn.changes.keys()):
            changes = turn.changes.get(audience_id)
            adds, drops = (len(changes.added), len(changes.dropped)) if changes is not None else (0, 0)
            minute = Minute(minute_ms, adds - drops - len(turn.ended.get(audience_id, ())), adds, drops)
            account.statistics[audience_id].count(minute)
            rows.append(HistoryRow(account_id, audience_id, minute_ms, part, minute.growth, adds, drops))
        return rows

    def _begin_fold(self, commit: Commit) -> None:
        """From now on, the changes stored so far, this round's included, are replaced by members."""
        for account in self._accounts.values():
            for audience_id, partition in account.unfolded:
                account.folding.setdefault(audience_id, []).append(partition)
                moved = commit.moves.get(partition)
                account.fold_until[partition] = moved[1].round if moved else self._positions[partition].round
            account.unfolded.clear()
        self._journal_bytes = 0

    def _fold(self, commit: Commit) -> None:
        """Store the members, as they are now, of a few audiences of which changes are to be replaced; after the last one forget the
        changes. A few a round, so that no round is long."""
        left = FOLDED_AUDIENCES
        for account_id, account in self._accounts.items():
            while account.folding and left:
                audience_id, partitions = account.folding.popitem()
                left -= 1
                for partition, members in account.population.members_by_partition(audience_id, partitions).items():
                    commit.moves.setdefault(partition, (self._positions[partition], self._positions[partition]))  # only its owner may
                    standing = Standing(account.population.rounds[audience_id, partition], members)
                    commit.folded.append(MembersRow(account_id, audience_id, partition, standing))
            if not account.folding:
                commit.forget_changes |= {(account_id, partition): round_ for partition, round_ in account.fold_until.items()}
                for partition in account.fold_until:
                    commit.moves.setdefault(partition, (self._positions[partition], self._positions[partition]))
                account.fold_until.clear()

    async def _write(self, commit: Commit) -> None:
        await _patiently(lambda: self._store.commit(commit))
        self._positions |= {partition: end for partition, (_, end) in commit.moves.items()}

    @property
    def event_store(self) -> EventStore:
        """To be used by what is asked of the rounds, in their thread."""
        return self._store_of_events()

    def _store_of_events(self) -> EventStore:
        if self._event_store is None:
            raise RuntimeError("the rounds are not started")
        return self._event_store

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


async def _patiently(work: Callable[[], Awaitable[T]]) -> T:
    """Do it, however long the database takes to come back."""

    async def attempt() -> T:  # tenacity wants a coroutine function
        return await work()

    patient = AsyncRetrying(retry=retry_if_exception_type(DatabaseUnavailable), wait=wait_random_exponential(0.1, max=5), reraise=True)
    return await patient(attempt)


def _keep_what_is() -> None:
    """What was built stays: the search for cycles of garbage, which a busy round calls for more than once, need not walk through it."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _count_cost(account: Account, seconds: float, now_ms: int) -> None:
    if not account.costs.spend(seconds, now_ms):
        return
    account.costs.count(*account.population.engine.take_work(), now_ms)
    for audience_id, cost in account.costs.costly(now_ms):
        log.warning(
            "audience_costly",
            account_id=account.population.account_id,
            audience_id=audience_id,
            looked_at=cost.looked_at,
            seconds_of_a_minute=round(cost.seconds, 1),
        )


def _learn(population: Population, facts: Sequence[facts_pb2.DefinitionFact]) -> bool:
    """Whether a new population must be built."""
    return any(population.learn(fact) for fact in facts)  # which reads all that is known anew


def _once(arrived: Iterable[Arrived], known: set[str]) -> list[Arrived]:
    """The messages whose batches were not taken before, each once."""
    fresh, seen = [], set(known)
    for message in arrived:
        if message.batch_id and message.batch_id not in seen:
            seen.add(message.batch_id)
            fresh.append(message)
    return fresh
