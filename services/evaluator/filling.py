"""Completing an event store that lacks what other owners took: the stream still has it.

With a store inside each process, a partition that moves leaves its rows behind. The database says up to where this store holds the
partition, and up to where the partition is taken; what lies between is read from the stream again and kept, as it was the first time.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence

from services.chassis import log as logs
from services.chassis.bus import Bus
from services.chassis.streams import EVENTS, events_subject, profiles_subject
from services.evaluator import intake
from services.evaluator.event_store import EventStore
from services.evaluator.intake import Arrived
from services.evaluator.population import Population
from services.evaluator.reader import StreamReader
from services.evaluator.store import EndedRow, Store

log = logs.get(__name__)

_FETCH_MESSAGES = 256
_ROWS = 50_000


class EventsMissing(Exception):
    """Neither the event store nor the stream has events that were counted."""


async def unfit(bus: Bus, store: Store, store_id: str, partitions: int) -> frozenset[int]:
    """The partitions that this event store does not hold, and that the stream can't complete any more."""
    oldest = (await bus.jetstream.stream_info(EVENTS)).state.first_seq
    stored = await store.stored(partitions, store_id)
    return frozenset(partition for partition, (taken, held) in stored.items() if held < taken and held + 1 < oldest)


async def fill(
    bus: Bus, store: Store, keep: Callable[[list[Arrived]], Awaitable[None]], gaps: Mapping[int, tuple[int, int]], partitions: int
) -> int:
    """Read (after, up to) of each partition again and `keep` what counted; returns how many messages. Raises EventsMissing."""
    oldest = (await bus.jetstream.stream_info(EVENTS)).state.first_seq
    lost = {partition: after for partition, (after, _) in gaps.items() if after + 1 < oldest}
    if lost:
        raise EventsMissing(
            f"this event store holds the partitions {sorted(lost)} up to {min(lost.values())}, and the stream {EVENTS} begins at {oldest}"
        )
    reader = StreamReader(bus, [subject(partition) for partition in gaps for subject in (events_subject, profiles_subject)])
    await reader.start(min(after for after, _ in gaps.values()))
    end = max(up_to for _, up_to in gaps.values())
    read, kept = 0, 0
    waiting: list[Arrived] = []
    first: dict[str, int] = {}  # of batches that are known no longer, the message that counts is the first
    try:
        # Each gap ends with a message that was taken, so the last one comes.
        while read < end:
            for message in await reader.fetch(_FETCH_MESSAGES, 5.0):
                read = message.stream_sequence
                after, up_to = gaps[int(message.subject.rsplit(".", 1)[-1])]
                if after < read <= up_to:
                    with contextlib.suppress(intake.Malformed):  # a dead letter already, of whoever took it
                        waiting.append(intake.decode(message.subject, read, message.data, partitions))
            if read >= end or sum(arrived.rows for arrived in waiting) >= _ROWS:
                for arrived in waiting:
                    first.setdefault(arrived.batch_id, arrived.sequence)
                counted = await store.counted({arrived.batch_id for arrived in waiting})
                whole = [one for one in waiting if one.sequence == (counted.get(one.batch_id) or first[one.batch_id])]
                await keep(whole)
                kept += len(whole)
                waiting = []
    finally:
        await reader.stop()
    log.info("store_completed", partitions=sorted(gaps), messages=kept)
    return kept


def keep_in(event_store: EventStore, arrived: list[Arrived], ended: Mapping[int, Sequence[EndedRow]], partitions: int, now_ms: int) -> None:
    """Enter messages in the event store as a round does; the index is built from there afterwards. `ended`: by account, who did by now."""
    by_account: dict[int, list[Arrived]] = defaultdict(list)
    for message in arrived:
        by_account[message.account_id].append(message)
    for account_id, messages in by_account.items():
        population = Population(account_id, partitions, now_ms)
        population.endings.enter((row.mpid, row.into, row.sequence) for row in ended[account_id])
        population.turn(event_store, messages, now_ms)
