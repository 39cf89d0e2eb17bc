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
from services.ingest.seen import Seen
from services.ingest.table_facts import ResolvedTable

_NOWHERE = Context()


@dataclass(slots=True)
class KeptTable:
    """A table that was not sent before, with those of its rows that were not."""

    input: Input
    table: Table
    event_ids: Ints
    stay: Flags
    # Of all identities in it, in the order of their places.
    keys: list[bytes]
    # Of each of the table's people, the first row that stays; -1: none does.
    _first_rows: Ints
    # Of each of the table's people; 0: not found yet.
    _mpids: Ints
    # Places of those who are to be found, and themselves.
    _asked: list[int] = field(default_factory=list)
    _persons: list[tuple[list[Identity], Person]] = field(default_factory=list)

    def ask(self, known: Mapping[bytes, int], rules: Rules, now_ms: int) -> list[tuple[Batch, list[Identity], Person]]:
        """Who is to be found. Of the others all identities are known as those of one and the same person, so there is nothing to decide."""
        people = self.table.people
        # The last stands for no identity.
        owners = np.array([*(known.get(key, 0) for key in self.keys), 0], np.int64)[people.named]
        has = people.named >= 0
        # Without an identity nobody can tell here whether the MPID is one with another by now.
        is_named = has.any(axis=1)
        strongest = owners[np.arange(len(has)), has.argmax(axis=1)] if has.shape[1] else people.mpids
        owner = np.where(is_named, strongest, 0)
        agreed = ((owners == owner[:, None]) | ~has).all(axis=1) & (owner != 0) & ((people.mpids == 0) | (people.mpids == owner))
        here = self._first_rows >= 0
        self._mpids = np.where(agreed, owner, 0)
        self._asked = np.flatnonzero(here & ~agreed).tolist()
        self._persons = []
        asked = []
        given = people.mpids[self._asked].tolist()
        for mpid, named in zip(given, people.identities(self._asked), strict=True):
            if rules.priority:
                named = rules.in_order(named, lambda one: one[1].type)
            identities = [identity for _, identity in named]
            person = Person(mpid, [one.type for one in identities], [self.keys[one] for one, _ in named])
            self._persons.append((identities, person))
            asked.append((Batch("", mpid, identities, _NOWHERE, [], [], now_ms), identities, person))
        return asked

    def resolved(self, answers: Iterator[int], gained: dict[bytes, int], into: Mapping[int, int]) -> ResolvedTable:
        """With the MPIDs of those who were asked for, and whom the others became one with meanwhile. What is new of theirs is taken out of
        `gained`: each new identity is told once."""
        if into:
            self._mpids = np.array([into.get(mpid, mpid) for mpid in self._mpids.tolist()], np.int64)
        found = list(islice(answers, len(self._asked)))
        self._mpids[self._asked] = found
        told: dict[int, list[Identity]] = {}
        if gained:
            for place, (identities, person), mpid in zip(self._asked, self._persons, found, strict=True):
                new = [one for key, one in zip(person.keys, identities, strict=True) if gained.get(key) == mpid]
                for key in person.keys:
                    if gained.get(key) == mpid:
                        del gained[key]
                if new:
                    told[int(self._first_rows[place])] = new
        return ResolvedTable(self.input, self.table, self._mpids[self.table.person_of], self.event_ids, self.stay, told)


async def not_sent_before(connection: AsyncConnection, seen: Seen, input: Input, table: Table, now_ms: int) -> KeptTable | None:
    """What of a table counts; None: nothing. From now on it is known as sent."""
    if table.request_id:
        key = dedupe.request_key(input.account_id, input.input_id, table.request_id)
        if not await seen.remember(connection, [key], now_ms=now_ms):
            return None
    event_ids = dedupe.row_ids(input.account_id, input.input_id, table.request_id, table.size)[table.rows]
    stay = np.ones(len(table.rows), np.bool_)
    if table.message_ids is not None:
        sent = dedupe.message_keys_of(input.account_id, input.input_id, table.message_ids.to_pylist())
        new = await seen.remember(connection, (key for key in sent if key), now_ms=now_ms)
        for row, key in enumerate(sent):
            if key:
                # Twice in one table, the first counts.
                stay[row] = key in new
                new.discard(key)
                event_ids[row] = dedupe.event_id(key)
    if not stay.any():
        return None
    rows = np.flatnonzero(stay)[::-1]
    # Of the assignments to one place, the last one stays: that of the first row.
    first_rows = np.full(len(table.people.mpids), -1, np.int64)
    first_rows[table.person_of[rows]] = rows
    keys = [key for names in table.people.names for key in keys_of(input.account_id, names.type, names.values.to_pylist())]
    return KeptTable(input, table, event_ids, stay, keys, first_rows, table.people.mpids)
