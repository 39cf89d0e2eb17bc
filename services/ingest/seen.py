"""What was sent before, in the window in which a repetition is noticed: 50 million ids in 1.3 GB of the database and 100 MB of memory.

Keys are entered by the ten minutes in which they came, so that what is written at a time lies together, and what is too old goes together.
Of earlier times sieves say in memory what certainly was not sent; the database is asked for what they can't tell from what was, and for
the times that they don't hold yet, as after a start.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis import log as logs
from services.chassis.clock import Clock
from services.ingest.domain.sieve import Sieve
from services.ingest.store import Store

log = logs.get(__name__)

SPAN_MS = 10 * 60 * 1000
# So long after the end of a span others may still be committing what they entered in it, and their clocks may differ by as much.
_EDGE_MS = 60 * 1000
_CAPACITY = 8_000_000
_LOADED = 50_000


@dataclass(slots=True)
class _Part:
    """A sieve, and the spans whose keys it holds some of."""

    sieve: Sieve
    spans: set[int] = field(default_factory=set)


class Seen:
    """Of one process; several may share a PostgreSQL. `keep` is to be called now and then."""

    def __init__(self, store: Store, clock: Clock, *, window_hours: float) -> None:
        self._store = store
        self._clock = clock
        self._window = max(1, round(window_hours * 3_600_000 / SPAN_MS))
        self._parts: list[_Part] = []
        # The spans that the sieves hold whole.
        self._held: set[int] = set()
        # With SQLite there is no other process: what this one enters, the sieves take at once, from the span on in which it began.
        self._alone = store.database.is_sqlite
        self._begun = -1
        self._latest = 0

    async def remember(self, connection: AsyncConnection, keys: Iterable[bytes], *, now_ms: int) -> set[bytes]:
        """Which of these keys were not known; from now on they are. Waits for another transaction that brings the same."""
        fresh = sorted(set(keys))
        if not fresh:
            return set()
        span = self._span(now_ms)
        earlier_spans = range(span - self._window, span)
        if not self._alone and now_ms % SPAN_MS < _EDGE_MS:
            # Who entered the same in the span before may not have committed yet: both meet there.
            fresh = sorted(await self._store.enter(connection, span - 1, fresh))
            earlier_spans = range(span - self._window, span - 1)
        fresh = sorted(await self._store.enter(connection, span, fresh))
        known: set[bytes] = set()
        unheld = [earlier for earlier in earlier_spans if earlier not in self._held]
        if unheld and fresh:
            known |= await self._store.entered(connection, unheld, fresh)
        if self._parts and fresh:
            places = self._parts[0].sieve.places(fresh)
            for part in self._parts:
                doubtful = [fresh[place] for place in np.flatnonzero(part.sieve.holds(places)).tolist()]
                spans = sorted(part.spans.intersection(earlier_spans))
                if doubtful and spans:
                    known |= await self._store.entered(connection, spans, doubtful)
        if self._alone:
            # Should the transaction not be committed, the sieve asks in vain.
            self._take(span, fresh)
        return set(fresh) - known

    async def keep(self) -> None:
        """Let the sieves hold what they don't yet, and forget what is too old."""
        span = self._span(self._clock.now_ms())
        first = span - self._window
        self._parts = [part for part in self._parts if any(earlier >= first for earlier in part.spans)]
        self._held = {earlier for earlier in self._held if earlier >= first}
        await self._store.forget(before=first)
        if self._alone:
            self._held |= set(range(max(first, self._begun + 1), span))
        # The newest first: they are asked for most. Where there are others, they may still be entering in the span before.
        loaded = 0
        for earlier in range(span - 1 if self._alone else span - 2, first - 1, -1):
            if earlier not in self._held:
                loaded += await self._load(earlier)
        if loaded:
            log.info("sent_ids_loaded", count=loaded)

    def _span(self, now_ms: int) -> int:
        # A clock that goes back enters in the span that it has come to.
        self._latest = max(self._latest, now_ms // SPAN_MS)
        if self._begun < 0:
            self._begun = self._latest
        return self._latest

    async def _load(self, span: int) -> int:
        count, after = 0, b""
        while keys := await self._store.entered_in(span, after=after, limit=_LOADED):
            self._take(span, keys)
            count, after = count + len(keys), keys[-1]
        self._held.add(span)
        return count

    def _take(self, span: int, keys: list[bytes]) -> None:
        if not keys:
            return
        if not self._parts or self._parts[-1].sieve.is_full:
            self._parts.append(_Part(Sieve(_CAPACITY)))
        sieve = self._parts[-1].sieve
        sieve.add(sieve.places(keys))
        self._parts[-1].spans.add(span)
