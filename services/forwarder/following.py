"""Following the members of connected audiences: facts are applied by their rounds, and a snapshot is taken where something was missed.

While a snapshot is being taken the audience's facts are held, in the database, and looked at after it: the copy is exact at every commit
of a fact, and a crash at any point loses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from muster.evaluator.v1 import facts_pb2

from services.chassis import log as logs
from services.forwarder.domain.rounds import NOWHERE, Piece, Position, Verdict, judge
from services.forwarder.stores.members import Audience, Following, Key
from services.forwarder.stores.store import Store, Tx

log = logs.get(__name__)

# Of a snapshot, how many people are entered in one transaction: others get their turn in between.
_CHUNK = 20_000

Positions = dict[tuple[int, int, int], Position]


class StaleSnapshot(Exception):
    """The snapshot is older than what was taken already."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All members at one instant, and the last round of each partition that the list includes."""

    mpids: npt.NDArray[np.int64]
    rounds: Mapping[int, int]
    as_of_ms: int


@dataclass(slots=True)
class _Round:
    """What applying facts comes to, in one transaction."""

    audience: Audience
    at: Positions
    moved: Positions = field(default_factory=dict)
    following: Following = Following.LIVE
    changed: bool = False


async def apply_facts(
    store: Store, facts: Sequence[tuple[facts_pb2.MembershipChanges, bytes]], *, now_ms: int
) -> tuple[set[int], set[Key]]:
    """Take membership facts, in their order. The connections that have something to look at, and the audiences that need a snapshot.

    Facts of audiences that nobody is connected to are passed over; those that were taken before change nothing.
    """
    keys = sorted({(fact.account_id, fact.audience_id) for fact, _ in facts})
    async with store.read() as tx:
        # A connection that is made meanwhile asks for a snapshot, which has what these facts tell.
        if all(audience.following is Following.NONE for audience in (await tx.audiences.get_many(keys)).values()):
            return set(), set()

    async def work(tx: Tx) -> tuple[set[int], set[Key]]:
        followed = {
            key: audience
            for key, audience in (await tx.audiences.get_many(keys, lock=True)).items()
            if audience.following is not Following.NONE
        }
        at = await tx.members.positions(list(followed))
        changed: list[Key] = []
        wanted: set[Key] = set()
        for key, audience in followed.items():
            mine = [one for one in facts if (one[0].account_id, one[0].audience_id) == key]
            if audience.following is Following.WANTED:
                await tx.members.hold(key, [body for _, body in mine])
                wanted.add(key)
                continue
            result = await _take(tx, audience, at, mine, now_ms)
            if result.changed:
                changed.append(key)
            if result.following is Following.WANTED:
                wanted.add(key)
        found = await tx.connections.of_audiences(changed)
        return {id for ids in found.values() for id in ids}, wanted

    return await store.write(work)


async def _take(
    tx: Tx, audience: Audience, at: Positions, facts: Sequence[tuple[facts_pb2.MembershipChanges, bytes]], now_ms: int
) -> _Round:
    result = _Round(audience, at)
    for number, (fact, _) in enumerate(facts):
        if not await _take_one(tx, result, fact, now_ms):
            log.info("members_missed", account_id=audience.account_id, audience_id=audience.audience_id)
            result.following = Following.WANTED
            await tx.members.hold(audience.key, [body for _, body in facts[number:]])
            await tx.audiences.follow(audience.key, Following.WANTED)
            break
    await tx.members.stand(result.moved)
    return result


async def _take_one(tx: Tx, result: _Round, fact: facts_pb2.MembershipChanges, now_ms: int) -> bool:
    """Whether the fact could be taken; False: something was missed before it."""
    key = result.audience.key
    if fact.ended:
        newest = max((at.as_of_ms for place, at in result.at.items() if place[:2] == key), default=0)
        # One that comes again after the audience was activated anew says nothing about now.
        if fact.as_of_ms >= newest:
            await tx.members.mark_everybody(key, since_ms=now_ms)
            await tx.members.drop_all(key)
            result.changed = True
        return True
    for part in fact.partitions:
        place = (*key, part.partition)
        piece = Piece(part.round, part.previous_round, part.piece, max(1, part.pieces), fact.as_of_ms)
        match judge(result.at.get(place, NOWHERE), piece):
            case Verdict.SKIP:
                continue
            case Verdict.GAP:
                return False
            case Verdict.TAKE:
                added, dropped = list(part.added), list(part.dropped)
                await tx.members.drop(key, dropped)
                await tx.members.add(key, added)
                await tx.members.mark(key, added + dropped, since_ms=part.receive_time_ms or now_ms)
                result.at[place] = result.moved[place] = piece.position
                result.changed = result.changed or bool(added or dropped)
    return True


async def apply_snapshot(store: Store, audience: Audience, snapshot: Snapshot, *, now_ms: int) -> bool:
    """Make the copy equal to a snapshot that was asked for after `audience` was read, then look at the facts that were held.

    False: a snapshot is needed again. The people who come and go are entered in several transactions; while they are, the audience
    still needs a snapshot, so that a crash in between begins anew. Raises StaleSnapshot.
    """
    key = audience.key

    async def compare(tx: Tx) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        for (*_, partition), at in (await tx.members.positions([key])).items():
            if snapshot.rounds.get(partition, 0) < at.round and snapshot.as_of_ms <= at.as_of_ms:
                raise StaleSnapshot
        known = await tx.members.all(key)
        return np.setdiff1d(snapshot.mpids, known), np.setdiff1d(known, snapshot.mpids)

    async with store.read() as tx:
        added, dropped = await compare(tx)
    for people, come in ((dropped, False), (added, True)):
        for start in range(0, len(people), _CHUNK):
            entering = _Entering(audience, people[start : start + _CHUNK].tolist(), come, now_ms)
            await store.write(entering.work)

    async def finish(tx: Tx) -> bool:
        if await _locked(tx, audience) is None:
            return True
        await tx.members.forget_positions(key)
        stand = {(*key, partition): Position(round, 0, 1, snapshot.as_of_ms) for partition, round in snapshot.rounds.items()}
        await tx.members.stand(stand)
        await tx.audiences.follow(key, Following.LIVE)
        held = [(facts_pb2.MembershipChanges.FromString(body), body) for body in await tx.members.take_held(key)]
        result = await _take(tx, audience, stand, held, now_ms)
        return result.following is Following.LIVE

    return await store.write(finish)


@dataclass(frozen=True, slots=True)
class _Entering:
    """Some of the people by whom the copy differs from a snapshot."""

    audience: Audience
    people: list[int]
    come: bool
    now_ms: int

    async def work(self, tx: Tx) -> None:
        """Enter them, unless the snapshot is wanted no longer."""
        if await _locked(tx, self.audience) is None:
            return
        if self.come:
            await tx.members.add(self.audience.key, self.people)
        else:
            await tx.members.drop(self.audience.key, self.people)
        await tx.members.mark(self.audience.key, self.people, since_ms=self.now_ms)


async def _locked(tx: Tx, audience: Audience) -> Audience | None:
    """The audience, locked so that a new connection misses nobody; None: it was given up, or wants another snapshot, since it was read."""
    now = await tx.audiences.get(audience.key, lock=True)
    return now if now is not None and now.following is Following.WANTED and now.follow_mark == audience.follow_mark else None


async def stop_following(tx: Tx, key: Key) -> None:
    """Forget an audience's members: nobody is connected to it any more."""
    await tx.audiences.follow(key, Following.NONE)
    await tx.members.drop_all(key)
    await tx.members.forget_positions(key)
    await tx.members.take_held(key)
