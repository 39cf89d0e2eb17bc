"""What an input sent lately: counts of all of it, and a sample of the newest. In memory, bounded, and for callers of its account alone."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from services.ingest.domain.model import Batch, Event, Fault, Identity
from services.ingest.domain.table import Table

# How much of the newest is kept of an input, and of one request at most.
_KEPT = 100
_KEPT_OF_A_REQUEST = 20
_IDENTITIES_SHOWN = 10
_IDENTITY_SHOWN = 200
_TEXT_SHOWN = 1000
# Of so many names it is known whether they came before; of more, none is called new.
_NAMES_KNOWN = 1_000
_NAMES_TOLD = 50
AHEAD_MS = 3600 * 1000

Kind = tuple[int, str]


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """An event that was accepted, or the facts of a batch without any (`event` None)."""

    event: Event | None
    identities: Sequence[Identity]
    new_name: bool = False


@dataclass(frozen=True, slots=True)
class Received:
    """One thing that was received, the `number`-th of its input from 1."""

    number: int
    receive_time_ms: int
    what: ReceivedEvent | Fault


@dataclass(slots=True)
class Live:
    """Of one input."""

    since_ms: int
    batches: int = 0
    events: int = 0
    ahead: int = 0
    last_ms: int = 0
    types: Counter[int] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    new_names: deque[tuple[int, str, int]] = field(default_factory=lambda: deque(maxlen=_NAMES_TOLD))
    newest: deque[Received] = field(default_factory=lambda: deque(maxlen=_KEPT))
    # How many things were received: the number of the newest.
    number: int = 0
    _names: set[Kind] = field(default_factory=set)

    def accept(self, batches: Sequence[Batch], now_ms: int) -> None:
        """Enter what was accepted in one request."""
        events = [event for batch in batches for event in batch.events]
        self.batches += len(batches)
        self.events += len(events)
        self.last_ms = now_ms
        self.types.update([event.type for event in events])
        ahead_ms = now_ms + AHEAD_MS
        self.ahead += sum(event.time_ms > ahead_ms for event in events)
        fresh = self._enter_names({(event.type, event.name) for event in events}, now_ms)
        received = sum(len(batch.events) or 1 for batch in batches)
        self._keep(_sample(batches, fresh), received, now_ms)

    def accept_table(self, table: Table, now_ms: int) -> None:
        """Enter a table that was accepted: it counts as one batch."""
        is_event = table.kind_of >= 0
        counts = np.bincount(table.kind_of[is_event], minlength=len(table.kinds)).tolist()
        kinds = {kind: count for kind, count in zip(table.kinds, counts, strict=True) if count}
        self.batches += 1
        self.events += int(is_event.sum())
        self.last_ms = now_ms
        for (type_, _), count in kinds.items():
            self.types[type_] += count
        self.ahead += int((table.times_ms[is_event] > now_ms + AHEAD_MS).sum())
        fresh = self._enter_names(set(kinds), now_ms)
        rows = range(max(0, len(table.rows) - _KEPT_OF_A_REQUEST), len(table.rows))
        self._keep([_row(table, row, fresh) for row in rows], len(table.rows), now_ms)

    def refuse(self, faults: Sequence[Fault], now_ms: int) -> None:
        """Enter what was wrong with a request."""
        self.last_ms = now_ms
        self.refusals.update(fault.reason.value for fault in faults)
        self._keep(faults[-_KEPT_OF_A_REQUEST:], len(faults), now_ms)

    def turn_away(self, reason: str, now_ms: int) -> None:
        """Enter a request that was not taken."""
        self.last_ms = now_ms
        self.refusals[reason] += 1

    def after(self, number: int) -> list[Received]:
        """What is kept of what came after the `number`-th."""
        return [one for one in self.newest if one.number > number]

    def _enter_names(self, kinds: set[Kind], now_ms: int) -> set[Kind]:
        fresh = kinds - self._names
        if not fresh or len(self._names) + len(fresh) > _NAMES_KNOWN:
            return set()
        self._names |= fresh
        self.new_names.extend((type_, name, now_ms) for type_, name in sorted(fresh) if name)
        return fresh

    def _keep(self, sample: Sequence[ReceivedEvent | Fault], received: int, now_ms: int) -> None:
        self.number += received
        first = self.number - len(sample) + 1
        self.newest.extend(Received(first + place, now_ms, what) for place, what in enumerate(sample))


def _sample(batches: Sequence[Batch], fresh: set[Kind]) -> list[ReceivedEvent]:
    """The last of what a request held, in its order."""
    sample: list[ReceivedEvent] = []
    for batch in reversed(batches):
        if len(sample) == _KEPT_OF_A_REQUEST:
            break
        identities = [_short_identity(identity) for identity in batch.identities[:_IDENTITIES_SHOWN]]
        if not batch.events:
            sample.append(ReceivedEvent(None, identities))
        for event in _last(batch.events, _KEPT_OF_A_REQUEST - len(sample)):
            sample.append(ReceivedEvent(_short(event), identities, (event.type, event.name) in fresh))
    return sample[::-1]


def _row(table: Table, row: int, fresh: set[Kind]) -> ReceivedEvent:
    identities = [_short_identity(identity) for identity in table.people.of(int(table.person_of[row]))[:_IDENTITIES_SHOWN]]
    if table.kind_of[row] < 0:
        return ReceivedEvent(None, identities)
    kind = table.kinds[int(table.kind_of[row])]
    message_id, details = (column[row].as_py() or "" if column is not None else "" for column in (table.message_ids, table.details))
    event = Event(*kind, int(table.times_ms[row]), message_id, details)
    return ReceivedEvent(_short(event), identities, kind in fresh)


def _last(events: Sequence[Event], most: int) -> Iterable[Event]:
    return reversed(events[-most:]) if most else ()


def _short_identity(identity: Identity) -> Identity:
    return identity if len(identity.value) <= _IDENTITY_SHOWN else Identity(identity.type, identity.value[:_IDENTITY_SHOWN])


def _short(event: Event) -> Event:
    # The text of a large event is not kept for being shown.
    return Event(event.type, event.name, event.time_ms, event.message_id, event.details[:_TEXT_SHOWN])
