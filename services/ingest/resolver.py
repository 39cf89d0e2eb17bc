"""Who is who, in the transaction of a round: what is known, the decision (`domain/resolution.py`), and what it changes.

What is known is partly in memory. There it may be older than the database only while another process changes it; who is then told of under
an MPID that ended is told again of the right person by the evaluator.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncConnection

from services.ingest.domain.identities import Rules
from services.ingest.domain.model import Identity
from services.ingest.domain.resolution import Decision, Held, Person, decide
from services.ingest.identity_cache import IdentityCache
from services.ingest.store import Store


@dataclass(slots=True)
class Resolved:
    """Who people of an account are, and what became of identities."""

    account_id: int
    decision: Decision
    # The identities that others took the place of.
    removed: dict[bytes, Identity] = field(default_factory=dict)
    # What `committed` keeps: whose identities are, and as of when.
    owners: dict[bytes, int] = field(default_factory=dict)
    epoch: int = 0
    revision: int = 0

    @property
    def mpids(self) -> list[int]:
        """Who each of the people is, in their order."""
        return self.decision.mpids


@dataclass(slots=True)
class _Memory:
    """Until which revision of an account what is held of it is true, and the number of the time since it was last wrong."""

    epoch: int
    revision: int


class Resolver:
    """Holds what was met lately. Of one process; `Store` is what processes share."""

    def __init__(self, store: Store, rules_of: Callable[[int], Rules], *, cache_size: int) -> None:
        self._store = store
        self._rules_of = rules_of
        self._cache = IdentityCache(cache_size)
        self._memories: dict[int, _Memory] = {}
        self._epochs = 0

    async def resolve(
        self,
        connection: AsyncConnection,
        account_id: int,
        people: Sequence[Person],
        named: Mapping[bytes, Identity],
        inputs: Sequence[int],
        *,
        now_ms: int,
    ) -> Resolved:
        """Decide who these people are, one after the other, and enter it. `named`: the identities by their keys; `inputs`: who told of each
        of the people. May be repeated with another transaction; once it is committed, say so."""
        store = self._store
        await store.lock_account(connection, account_id)
        memory = await self._memory(connection, account_id)
        known, missing = self._cache.look_up(_keys_of(people), memory.epoch)
        owners = await store.owners(connection, missing) if missing else {}
        known.update(owners)
        into = await store.finals(connection, account_id, {person.mpid for person in people if person.mpid})
        entered: dict[bytes, int] = {}
        held: dict[int, dict[bytes, Held]] = {}
        rules = self._rules_of(account_id)
        # Identities of which it is certain whose they are until this transaction ends.
        sure: set[bytes] = set()
        while True:
            decision = decide(people, known, draw, held=held, into=into, rules=rules)
            if needs := decision.needs - held.keys():
                into |= await self._lock(connection, account_id, needs)
                loaded = await store.names(connection, account_id, {into.get(mpid, mpid) for mpid in needs})
                # What this transaction entered is decided anew.
                held |= {mpid: {key: one for key, one in names.items() if key not in entered} for mpid, names in loaded.items()}
                continue
            new = {key: mpid for key, mpid in decision.added.items() if key not in entered}
            if new:
                faster = await store.add(connection, account_id, named, new, now_ms=now_ms)
                entered |= {key: mpid for key, mpid in new.items() if key not in faster}
                if faster:
                    # Another process met some of these people at the same time: decide again with what it told.
                    known |= faster
                    owners |= faster
                    continue
            taken = {key: before for key, (before, _) in decision.moved.items()} | decision.removed
            if unsure := taken.keys() - sure:
                # Another process may be taking them at the same time: of two who do, the second one sees what the first one did.
                ended = await self._lock(connection, account_id, {taken[key] for key in unsure})
                now = await store.owners(connection, unsure)
                sure |= unsure
                if ended or any(now.get(key, 0) != taken[key] for key in unsure):
                    into |= ended
                    known = {key: owner for key, owner in known.items() if key not in unsure} | now
                    owners |= now
                    held.clear()
                    continue
            break
        resolved = Resolved(
            account_id, decision, owners={**owners, **decision.added, **decision.returned, **decision.carried}, epoch=memory.epoch
        )
        resolved.revision = memory.revision
        await self._enter(connection, resolved, entered, inputs, now_ms)
        return resolved

    async def _lock(self, connection: AsyncConnection, account_id: int, mpids: Collection[int]) -> dict[int, int]:
        """Keep these people, and whom they are one with, as they are; tells whom those are."""
        into: dict[int, int] = {}
        locked: set[int] = set()
        wanted = set(mpids)
        while wanted:
            await self._store.lock_people(connection, account_id, wanted)
            locked |= wanted
            into |= await self._store.finals(connection, account_id, mpids)
            wanted = set(into.values()) - locked
        return into

    async def _enter(
        self, connection: AsyncConnection, resolved: Resolved, entered: Mapping[bytes, int], inputs: Sequence[int], now_ms: int
    ) -> None:
        store, decision, account_id = self._store, resolved.decision, resolved.account_id
        moved = {key: after for key, (_, after) in decision.moved.items()}
        again = {key: mpid for key, mpid in decision.added.items() if entered[key] != mpid}
        await store.move(connection, {**again, **moved, **decision.returned}, now_ms=now_ms)
        await store.remove(connection, entered.keys() - decision.added.keys())
        resolved.removed = await store.remove(connection, decision.removed)
        if decision.merges:
            await store.merge(connection, account_id, [(merge, inputs[merge.of]) for merge in decision.merges], now_ms=now_ms)
        if moved or decision.removed or decision.merges:
            resolved.owners |= moved
            resolved.revision = await store.revise(connection, account_id)

    async def remembered(self, connection: AsyncConnection, account_id: int, keys: Iterable[bytes]) -> dict[bytes, int]:
        """Whose identities of an account are, of those that are in memory."""
        await self._store.lock_account(connection, account_id)
        memory = await self._memory(connection, account_id)
        return self._cache.look_up(keys, memory.epoch)[0]

    def committed(self, resolved: Resolved) -> None:
        """Keep what a transaction made, now that it is committed."""
        memory = self._memories.get(resolved.account_id)
        if memory is None or memory.epoch != resolved.epoch:
            # Forgotten meanwhile, as somebody was erased or parted.
            return
        if resolved.revision > memory.revision + 1:
            self._forget(resolved.account_id, resolved.revision)
            return
        memory.revision = max(memory.revision, resolved.revision)
        removed = resolved.decision.removed
        self._cache.drop(removed)
        self._cache.take({key: mpid for key, mpid in resolved.owners.items() if key not in removed}, memory.epoch)

    def forget(self, account_id: int) -> None:
        """Hold nothing of an account any more: something else than a round changes who is who. Call it once that is committed."""
        memory = self._memories.pop(account_id, None)
        if memory is not None:
            self._forget(account_id, memory.revision)

    async def _memory(self, connection: AsyncConnection, account_id: int) -> _Memory:
        memory = self._memories.get(account_id)
        if memory is not None and self._store.database.is_sqlite:
            # There is one process: whatever changes, changes here.
            return memory
        revision = await self._store.revision(connection, account_id)
        if memory is None or revision > memory.revision:
            memory = self._forget(account_id, revision)
        return memory

    def _forget(self, account_id: int, revision: int) -> _Memory:
        self._epochs += 1
        memory = self._memories[account_id] = _Memory(self._epochs, revision)
        return memory


def _keys_of(people: Sequence[Person]) -> Iterator[bytes]:
    for person in people:
        yield from person.keys
        for _, key in person.claims:
            yield key
        yield from person.losses


def draw() -> int:
    """A new MPID: any signed 64-bit number but zero."""
    while not (drawn := secrets.randbits(64)):
        continue
    return drawn - (1 << 64) if drawn >= 1 << 63 else drawn
