"""What a round does with a table: which of its rows count, who they are about, and what is told of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ingest.domain import dedupe
from services.ingest.domain.identities import Rules, keys_of
from services.ingest.domain.model import Batch, Context, Identity
from services.ingest.domain.resolution import Person
from services.ingest.domain.table import Flags, Ints, Table
from services.ingest.inputs import Input
from services.ingest.store import Store
from services.ingest.table_facts import ResolvedTable

_NOWHERE = Context()


@dataclass(slots=True)
class KeptTable:
    """A table that was not sent before, with those of its rows that were not."""

    input: Input
    table: Table
    event_ids: Ints
    stay: Flags
    # Of each of the table's people, the first row that stays; -1: none does.
    _first_rows: Ints
    _keys: list[bytes]
    # Of each of the table's people; 0: not found yet.
    _mpids: Ints
    # Places of those who are to be found, and their names.
    _asked: list[int] = field(default_factory=list)
    _named: list[list[int]] = field(default_factory=list)

    @property
    def keys(self) -> list[bytes]:
        """The keys of all identities in it."""
        return self._keys

    def ask(self, known: Mapping[bytes, int], rules: Rules, now_ms: int) -> list[tuple[Batch, list[Identity], Person]]:
        """Who is to be found. Of the others all identities are known as those of one and the same person, so there is nothing to decide."""
        owners = np.array([known.get(key, 0) for key in self._keys], np.int64).tolist()
        mpids = self._mpids.tolist()
        here = (self._first_rows >= 0).tolist()
        asked = []
        for place, (mpid, named) in enumerate(self.table.people):
            if not here[place]:
                continue
            found = {owners[one] for one in named}
            if len(found) == 1 and 0 not in found and mpid in (0, *found):
                mpids[place] = found.pop()
                continue
            if rules.priority:
                named = rules.in_order(named, lambda one: self.table.identities[one].type)
            identities = [self.table.identities[one] for one in named]
            person = Person(mpid, [one.type for one in identities], [self._keys[one] for one in named])
            self._asked.append(place)
            self._named.append(named)
            asked.append((Batch("", mpid, identities, _NOWHERE, [], [], now_ms), identities, person))
        self._mpids = np.array(mpids, np.int64)
        return asked

    def resolved(self, answers: Iterator[int], gained: dict[bytes, int], into: Mapping[int, int]) -> ResolvedTable:
        """With the MPIDs of those who were asked for, and whom the others became one with meanwhile. What is new of theirs is taken out of
        `gained`: each new identity is told once."""
        if into:
            self._mpids = np.array([into.get(mpid, mpid) for mpid in self._mpids.tolist()], np.int64)
        found = list(islice(answers, len(self._asked)))
        self._mpids[self._asked] = found
        told: dict[int, list[int]] = {}
        if gained:
            for place, named, mpid in zip(self._asked, self._named, found, strict=True):
                new = [one for one in named if gained.get(self._keys[one]) == mpid]
                for one in new:
                    gained.pop(self._keys[one], None)
                if new:
                    told[int(self._first_rows[place])] = new
        return ResolvedTable(self.input, self.table, self._mpids[self.table.person_of], self.event_ids, self.stay, told)


async def not_sent_before(connection: AsyncConnection, store: Store, input: Input, table: Table, now_ms: int) -> KeptTable | None:
    """What of a table counts; None: nothing. From now on it is known as sent."""
    if table.request_id:
        key = dedupe.request_key(input.account_id, input.input_id, table.request_id)
        if not await store.remember(connection, [key], now_ms=now_ms):
            return None
    event_ids = dedupe.row_ids(input.account_id, input.input_id, table.request_id, table.size)[table.rows]
    stay = np.ones(len(table.rows), np.bool_)
    if table.message_ids is not None:
        ids = table.message_ids.to_pylist()
        keys = [dedupe.message_key(input.account_id, input.input_id, id) if id else b"" for id in ids]
        new = await store.remember(connection, (key for key in keys if key), now_ms=now_ms)
        for row, key in enumerate(keys):
            if key:
                # Twice in one table, the first counts.
                stay[row] = key in new
                new.discard(key)
                event_ids[row] = dedupe.event_id(key)
    if not stay.any():
        return None
    rows = np.flatnonzero(stay)[::-1]
    # Of the assignments to one place, the last one stays: that of the first row.
    first_rows = np.full(len(table.people), -1, np.int64)
    first_rows[table.person_of[rows]] = rows
    keys = keys_of(input.account_id, table.identities)
    return KeptTable(input, table, event_ids, stay, first_rows, keys, np.zeros(len(table.people), np.int64))
