"""The event store: the truth that the index is derived from. ClickHouse, inside this process or a server, by its URL.

The engine inside the process is one per process and synchronous: call it from one thread. All SQL of the store is here and in
event_tables.py, and runs on both. Every row keeps its place in the stream (`partition`, `sequence`) and the `epoch` of the owner that
wrote it, so what was inserted by a round that was never committed can be told, whoever did it, and taken out again.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import clickhouse_connect
import msgspec
import numpy as np
import pyarrow as pa
from muster.ingest.v1 import event_type_pb2, facts_pb2
from numpy.typing import NDArray

from services.evaluator.engine.details import Happening, Place, Subject
from services.evaluator.engine.facts import EventContext, EventRows, Property, PropertyKind, Series, Value
from services.evaluator.engine.strings import StringTest
from services.evaluator.engine.tree import Match
from services.evaluator.event_rows import GONE, HERE, PLACE, AttributeRow, attributes_table, batch_of, events_table, value_from, value_in
from services.evaluator.event_tables import Layout, Tenure, counted, uncounted
from services.evaluator.intake import EventColumns
from services.evaluator.lookup import Lookup

T = TypeVar("T", bound=np.generic)

# The place of a row among all that is told of a partition: sequence of the message, and position in it.
RowPlace = tuple[int, int]

# Of an event, what `batch_of` takes.
_TOLD = (
    "mpid, time_ms, event_id, details, (input_id, workspace_id), (type, name), "
    "(application_version, application_build, platform, os_version)"
)
# Columns and order of each table; event_tables.py makes the statements of them.
_TABLES = {
    # Ordered by what is asked for first: one kind of event of an account, by time.
    "events": """
        account_id Int64, workspace_id Int64, input_id Int64, type Int16, name LowCardinality(String),
        mpid Int64, time_ms Int64 CODEC(Delta, ZSTD(1)), event_id Int64 CODEC(NONE),
        partition UInt16, sequence UInt64 CODEC(Delta, ZSTD(1)), position UInt32 CODEC(Delta, ZSTD(1)),
        application_version LowCardinality(String), application_build LowCardinality(String),
        platform LowCardinality(String), os_version LowCardinality(String), details String CODEC(ZSTD(1)),
        INDEX person mpid TYPE bloom_filter(0.01) GRANULARITY 1
        | ORDER BY (account_id, type, name, input_id, time_ms)""",
    # Every change of what is known of people; the latest wins, of equal times the one received last. `kind` is empty for a user attribute.
    "attributes": """
        account_id Int64, workspace_id Int64, kind LowCardinality(String), attribute LowCardinality(String), mpid Int64, time_ms Int64,
        value Nullable(String), partition UInt16, sequence UInt64, position UInt32
        | ORDER BY (account_id, workspace_id, kind, attribute, mpid, time_ms)""",
}
# What tells one thing from another when they are read back: a quick hash, and for an account in which somebody made up names or values
# that it can't tell apart, one with a secret.
_HASHES = (
    "cityHash64({})",
    f"sipHash64Keyed((toUInt64({secrets.randbits(64)}), toUInt64({secrets.randbits(64)})), {{}})",
)
_GROUPS_MAX = 50_000  # with more different values than this, events are read one by one
_WHOLE_TIMES = 4  # how many times as much may be different before values are looked for in it
# Events that tell of a place.
_LOCATED = (
    "position(details, '\"location\"') > 0 AND JSONHas(details, 'location', 'latitude') AND JSONHas(details, 'location', 'longitude')"
)
_LATEST = "ORDER BY time_ms DESC, sequence DESC, position DESC LIMIT {most:UInt32}"
_PAYS = f"type = {event_type_pb2.EVENT_TYPE_COMMERCE} AND name IN ('purchase', 'refund')"
_CHOSEN_MAX = 1_000  # a query names no more values than this
_READ_ROWS = 500_000  # that one query for several properties reads


_VALUES = ["", *(kind.value for kind in (PropertyKind.DEVICE, PropertyKind.CONSENT, PropertyKind.ATTRIBUTION))]


class Block(NamedTuple):
    """Events: event i is of `series[codes[i]]`."""

    series: list[Series]
    codes: NDArray[np.int32]
    mpids: NDArray[np.int64]
    times_ms: NDArray[np.int64]


class Recalled(NamedTuple):
    """Events of the past: event i is of `mpids[i]`, and what was asked for is in it as in `happenings[which[i]]`.

    `arrivals` ascend as they came, where that was asked for. Parts of one answer have the same list of happenings, or each its own.
    """

    happenings: list[Happening]
    which: NDArray[np.int64]
    mpids: NDArray[np.int64]
    times_ms: NDArray[np.int64]
    arrivals: NDArray[np.int64]


class EventStore:
    """Synchronous; one caller at a time. What is read is of the partitions given to `take_over`; before, that is nothing."""

    def __init__(self, url: str) -> None:
        self._layout = Layout.of(url)
        if not self._layout.is_shared:
            Path(self._layout.url.removeprefix("chdb://")).mkdir(parents=True, exist_ok=True)
        self._client = clickhouse_connect.get_client(dsn=self._layout.url, settings=dict(self._layout.settings))
        self._tenures: dict[int, Tenure] = {}
        self._hidden: dict[int, dict[int, int]] = {}  # by account, then MPID: rows of people who ended, up to this sequence
        self._erased: dict[tuple[int, int], int] = {}  # and how many rows there were of each
        self._erasing: dict[int, dict[int, int]] = {}  # those of them that the engine takes out in the background
        pa.array([0])  # pyarrow loads pandas with its first array, which takes a second: not in the first round
        for statement in self._layout.create(_TABLES):
            self._client.command(statement)
        self.id = self._identity()

    def close(self) -> None:
        """Let go of the files."""
        self._client.close()

    # --- rounds

    def insert(self, account_id: int, events: EventColumns, attributes: Sequence[AttributeRow]) -> None:
        """Keep what a round took of one account. Repeating it would double it: call `take_over` first after a failure."""
        if len(events):
            self._insert("events", events_table(account_id, events))
        if attributes:
            self._insert("attributes", attributes_table(account_id, attributes))

    def take_over(self, tenures: Mapping[int, Tenure], hidden: Mapping[int, Mapping[int, int]] | None = None) -> int:
        """Be the owner of these partitions, and of no others, from now on; returns how many events were taken out.

        `hidden`, by account, as in `hide`.

        A round inserts before it commits, so after a crash in between the stream brings the same messages again: what lies above the
        place up to which the store holds a partition is taken out, and so is what an earlier owner wrote and never committed.
        """
        self._tenures = dict(tenures)
        self._hidden = {account_id: dict(sequences) for account_id, sequences in (hidden or {}).items()}
        self._erasing = {}
        removed = 0
        for table in _TABLES:
            where = uncounted(tenures)
            rows = int(self._client.query(f"SELECT count() FROM {self._layout.name(table)} WHERE {where}").first_row[0])  # noqa: S608 - numbers only
            if rows:
                self._client.command(self._layout.delete(table, where))
                removed += rows if table == "events" else 0
        return removed

    def forget(self, before_ms: Mapping[int, Collection[int]]) -> int:
        """Drop the events of accounts, by the instant before which theirs are too old for any question; returns how many. They go in the
        background.

        Those of commerce stay: what somebody spent in a life has no look-back. Of the others stays when somebody was seen, and where last.
        """
        old = " OR ".join(
            f"(time_ms < {instant} AND account_id IN ({', '.join(map(str, sorted(accounts)))}))" for instant, accounts in before_ms.items()
        )
        where = f"{counted(self._tenures)} AND type != {event_type_pb2.EVENT_TYPE_COMMERCE} AND ({old or 'false'})"
        rows = int(self._client.query(f"SELECT count() FROM {self._layout.name('events')} WHERE {where}").first_row[0])  # noqa: S608 - numbers only
        if rows:
            self._keep_of_old(where)
            self._client.command(self._layout.delete_later("events", where))
        return rows

    def hide(self, account_id: int, sequences: Mapping[int, int]) -> None:
        """What is kept of these people up to a sequence of the stream counts no longer: by MPID."""
        own = self._hidden.setdefault(account_id, {})
        own |= {mpid: max(sequence, own.get(mpid, 0)) for mpid, sequence in sequences.items()}

    def erase(self) -> dict[tuple[int, int], int] | None:
        """Take what is hidden out for good, in the background. Call it again and again: None while it goes on, else the people of whom
        nothing is left, by account and MPID, with the number of rows that there were."""
        if not self._erasing:
            self._erasing = {account_id: dict(sequences) for account_id, sequences in self._hidden.items() if sequences}
            self._erased = {(account_id, mpid): 0 for account_id, sequences in self._erasing.items() for mpid in sequences}
            own = counted(self._tenures)
            for account_id, sequences in self._erasing.items():
                where = f"account_id = {account_id} AND {own} AND {_hidden(sequences)}"
                for table in _TABLES:
                    rows = f"SELECT mpid, count() FROM {self._layout.name(table)} WHERE {where} GROUP BY mpid"  # noqa: S608 - numbers only
                    for mpid, count in self._client.query(rows).result_rows:
                        self._erased[account_id, mpid] += count
                    self._client.command(self._layout.delete_later(table, where))
            return None if self._erasing else {}
        if self.is_deleting():
            return None
        erased, self._erased = self._erased, {}
        for account_id, sequences in self._erasing.items():
            left = self._hidden[account_id]
            self._hidden[account_id] = {mpid: at for mpid, at in left.items() if at > sequences.get(mpid, -1)}
        self._erasing = {}
        return erased

    def is_deleting(self) -> bool:
        """Whether rows are being taken out in the background."""
        unfinished = f"SELECT count() FROM {self._layout.mutations} WHERE database = {{database:String}} AND NOT is_done"  # noqa: S608
        return bool(self._client.query(unfinished, parameters={"database": self._layout.database}).first_row[0])

    def _keep_of_old(self, where: str) -> None:
        """Keep, as rows about people, what outlives events that are about to be dropped; doing it again changes nothing."""
        columns = "account_id, workspace_id, kind, attribute, mpid, time_ms, value, partition, sequence, position"
        events, attributes = self._layout.name("events"), self._layout.name("attributes")
        for time in ("min(time_ms)", "max(time_ms)"):
            self._client.command(
                f"INSERT INTO {attributes} ({columns}) SELECT account_id, workspace_id, '{HERE}', '', mpid, {time}, NULL, partition, 0, 0 "  # noqa: S608
                f"FROM {events} WHERE {where} GROUP BY account_id, workspace_id, mpid, partition"
            )
        place = "concat('{\"location\":', JSONExtractRaw(argMax(details, (time_ms, sequence, position)), 'location'), '}')"
        self._client.command(
            f"INSERT INTO {attributes} ({columns}) SELECT account_id, workspace_id, '{PLACE}', '', mpid, max(time_ms), {place}, partition, "  # noqa: S608
            f"argMax(sequence, (time_ms, sequence, position)), 0 FROM {events} WHERE {where} AND {_LOCATED} "
            "GROUP BY account_id, workspace_id, mpid, partition"
        )

    # --- start

    def sources(self, account_id: int) -> list[tuple[int, int]]:
        """The (workspace, input) pairs that an account's events came from."""
        rows = self._client.query(
            f"SELECT DISTINCT workspace_id, input_id {self._of_account('events', account_id)}",
            parameters={"account": account_id},
        ).result_rows
        return [(int(workspace_id), int(input_id)) for workspace_id, input_id in rows]

    def events(self, account_id: int, since_ms: int, after: Mapping[int, int] | None = None) -> Iterator[Block]:
        """The events from `since_ms` on, in any order; of partitions in `after` those that came after that sequence."""
        where = f"{self._of_account('events', account_id)} AND time_ms >= {{since:Int64}}"
        if after:
            where += f" AND {_later(after, self._tenures)}"
        parameters = {"account": account_id, "since": since_ms}
        for hash_ in _HASHES:
            code = hash_.format("type, name, input_id")
            kinds = self._client.query(f"SELECT DISTINCT {code} AS code, type, name, input_id {where} ORDER BY code", parameters=parameters)
            keys = np.array([key for key, *_ in kinds.result_rows], np.uint64)
            series = [Series(int(input_id), int(type_), name) for _, type_, name, input_id in kinds.result_rows]
            if (keys[1:] != keys[:-1]).all():
                break
        else:
            raise RuntimeError("two kinds of events share a code of the event store")
        with self._client.query_np_stream(f"SELECT {code} AS code, mpid, time_ms {where}", parameters=parameters) as blocks:
            for block in blocks:
                codes = np.searchsorted(keys, _column(block, 0, np.uint64)).astype(np.int32)
                yield Block(series, codes, _column(block, 1, np.int64), _column(block, 2, np.int64))

    def attributes(self, account_id: int) -> Iterator[tuple[int, Property | str, NDArray[np.int64], list[Value | None], NDArray[np.int64]]]:
        """(workspace, property, MPIDs, values, times): the latest value of each person; None where it was removed."""
        names = self._client.query(
            f"SELECT workspace_id, kind, attribute, count() {self._of_account('attributes', account_id)} "
            "AND kind IN {kinds:Array(String)} GROUP BY workspace_id, kind, attribute ORDER BY workspace_id, kind, attribute",
            parameters={"account": account_id, "kinds": _VALUES},
        ).result_rows
        for workspace_id, kind, chosen in _together(names):
            # Rows come in the table's own order, so the latest of each person is found without a state for everybody.
            latest = (
                "SELECT transform(attribute, {names:Array(String)}, range(length({names:Array(String)})), 0) AS which, mpid, "
                f"toLowCardinality(value) AS value, time_ms {self._of_workspace('attributes', account_id)} AND kind = {{kind:String}} "
                "AND attribute IN {names:Array(String)} "
                "ORDER BY attribute, mpid, time_ms DESC, sequence DESC, position DESC LIMIT 1 BY attribute, mpid"
            )
            parameters = {"account": account_id, "workspace": workspace_id, "kind": kind, "names": chosen}
            parts: list[tuple[NDArray[np.int64], ...]] = [(np.empty(0, np.int64),) * 3]
            texts: list[str | None] = []
            with self._client.query_column_block_stream(latest, parameters=parameters) as blocks:
                for which, mpids, values, times in blocks:
                    parts.append((np.array(which, np.int64), np.array(mpids, np.int64), np.array(times, np.int64)))
                    texts += values
            numbers, people, instants = (np.concatenate(column) for column in zip(*parts, strict=True))
            bounds = np.searchsorted(numbers, np.arange(len(chosen) + 1)).tolist()
            for attribute, start, end in zip(chosen, bounds, bounds[1:], strict=False):
                own = texts[start:end]
                read = {text: None if text is None else value_from(text) for text in set(own)}  # equal values are one object
                property_ = Property(PropertyKind(kind), attribute) if kind else attribute
                yield workspace_id, property_, people[start:end], [read[text] for text in own], instants[start:end]

    # --- one person

    def events_of(
        self, account_id: int, mpid: int, types: Collection[int], since_ms: int, before_ms: int, most: int
    ) -> tuple[dict[Series, EventRows], int]:
        """The events of these types of a person with `since_ms <= time < before_ms`, in the order of their times and messages; the ordinals
        are 0. Of more than so many only the latest; returns also the instant from which on they are all there."""
        rows = self._client.query(
            "SELECT input_id, type, name, time_ms, details, application_version, application_build, platform, os_version "
            f"{self._of_account('events', account_id)} AND type IN {{types:Array(Int16)}} AND mpid = {{mpid:Int64}} "
            f"AND time_ms >= {{since:Int64}} AND time_ms < {{before:Int64}} {_LATEST}",
            parameters={"account": account_id, "mpid": mpid, "types": sorted(types), "since": since_ms, "before": before_ms, "most": most},
        ).result_rows[::-1]
        by_series: dict[Series, list[Sequence[Any]]] = defaultdict(list)
        for input_id, type_, name, *row in rows:
            by_series[Series(int(input_id), int(type_), name)].append(row)
        found = {
            series: EventRows(
                np.zeros(len(own), np.int64),
                np.array([time for time, *_ in own], np.int64),
                [details for _, details, *_ in own],
                [EventContext(*context) for _, _, *context in own],
            )
            for series, own in by_series.items()
        }
        return found, since_ms if len(rows) < most else int(rows[0][3]) + 1

    def life_of(self, account_id: int, mpid: int, workspace_id: int, most: int, *, paying: bool) -> list[tuple[str, int, str]]:
        """(name, time, details) of the latest purchases and refunds of a person, or of the events that tell of a place, in the order of
        their times and messages."""
        rows = self._client.query(
            f"SELECT name, time_ms, details {self._of_workspace('events', account_id)} AND mpid = {{mpid:Int64}} "
            f"AND {_PAYS if paying else _LOCATED} {_LATEST}",
            parameters={"account": account_id, "workspace": workspace_id, "mpid": mpid, "most": most},
        ).result_rows[::-1]
        return [(name, int(time_ms), details) for name, time_ms, details in rows]

    def sights_of(self, account_id: int, mpid: int, workspace_id: int, now_ms: int, most: int) -> list[int]:
        """The latest instants up to now at which something is known to have happened to a person, ascending."""
        instants = " UNION ALL ".join(
            f"SELECT time_ms {self._of_workspace(table, account_id)} AND mpid = {{mpid:Int64}}" for table in _TABLES
        )
        rows = self._client.query(
            f"SELECT DISTINCT time_ms FROM ({instants}) WHERE time_ms <= {{now:Int64}} ORDER BY time_ms DESC LIMIT {{most:UInt32}}",  # noqa: S608
            parameters={"account": account_id, "workspace": workspace_id, "mpid": mpid, "now": now_ms, "most": most},
        ).result_rows[::-1]
        return [int(time_ms) for (time_ms,) in rows]

    def heard_of(self, account_id: int, mpid: int) -> dict[int, int]:
        """The time of the earliest that is kept of a person's events and attributes, by workspace."""
        heard: dict[int, int] = {}
        for table in _TABLES:
            rows = self._client.query(
                f"SELECT workspace_id, min(time_ms) {self._of_account(table, account_id)} AND mpid = {{mpid:Int64}} GROUP BY workspace_id",
                parameters={"account": account_id, "mpid": mpid},
            ).result_rows
            for workspace_id, time_ms in rows:
                heard[int(workspace_id)] = min(int(time_ms), heard.get(int(workspace_id), int(time_ms)))
        return heard

    def changes_of(
        self, account_id: int, mpid: int, wanted: Collection[tuple[int, str]], kind: str = ""
    ) -> dict[tuple[int, str], list[tuple[int, Value | None]]]:
        """All changes of a person's properties of a kind (workspace, name), with their times, in the order in which they were received."""
        rows = self._client.query(
            f"SELECT workspace_id, attribute, time_ms, value {self._of_account('attributes', account_id)} "
            "AND kind = {kind:String} AND attribute IN {names:Array(String)} AND mpid = {mpid:Int64} ORDER BY sequence, position",
            parameters={"account": account_id, "mpid": mpid, "kind": kind, "names": sorted({name for _, name in wanted})},
        ).result_rows
        changes: dict[tuple[int, str], list[tuple[int, Value | None]]] = {key: [] for key in wanted}
        for workspace_id, attribute, time_ms, value in rows:
            if (workspace_id, attribute) in changes:
                changes[workspace_id, attribute].append((int(time_ms), None if value is None else value_from(value)))
        return changes

    def identities_of(self, account_id: int, mpid: int, types: Collection[str]) -> dict[str, list[tuple[int, str, bool]]]:
        """What was told of a person's identities of these types, in the order in which it was received: (time, identity, whether it is
        gone)."""
        rows = self._client.query(
            f"SELECT attribute, time_ms, value, kind {self._of_account('attributes', account_id)} "
            "AND kind IN {kinds:Array(String)} AND attribute IN {types:Array(String)} AND mpid = {mpid:Int64} ORDER BY sequence, position",
            parameters={"account": account_id, "mpid": mpid, "kinds": [PropertyKind.IDENTITY.value, GONE], "types": sorted(types)},
        ).result_rows
        told: dict[str, list[tuple[int, str, bool]]] = {type_: [] for type_ in types}
        for type_, time_ms, value, kind in rows:
            told[type_].append((int(time_ms), str(value_from(value)), kind == GONE))
        return told

    def lost_identities(self, account_id: int, mpids: Collection[int]) -> dict[tuple[int, str, str], int]:
        """The identities that these people were told to have no longer, by MPID, type and identity; the sequence of the latest telling."""
        rows = self._client.query(
            f"SELECT mpid, attribute, value, max(sequence) {self._of_account('attributes', account_id)} AND kind = {{kind:String}} "
            f"AND mpid IN ({', '.join(map(str, mpids))}) GROUP BY mpid, attribute, value",
            parameters={"account": account_id, "kind": GONE},
        ).result_rows
        return {(mpid, type_, str(value_from(value))): sequence for mpid, type_, value, sequence in rows}

    def places_of(self, account_id: int, mpid: int, workspace_id: int) -> list[tuple[int, str]]:
        """(time, details) of the forgotten events of a person of which the place is kept."""
        rows = self._client.query(
            f"SELECT time_ms, value {self._of_workspace('attributes', account_id)} AND kind = {{kind:String}} "
            "AND mpid = {mpid:Int64} ORDER BY sequence, position",
            parameters={"account": account_id, "workspace": workspace_id, "mpid": mpid, "kind": PLACE},
        ).result_rows
        return [(int(time_ms), details) for time_ms, details in rows]

    # --- people who are one with others

    def told_of(self, account_id: int, mpids: Collection[int]) -> tuple[facts_pb2.EventBatch, list[AttributeRow]]:
        """All that is kept of these people, in the order in which it was told: their events, and the changes of what is known of them."""
        whose = f"mpid IN ({', '.join(map(str, mpids))}) ORDER BY sequence, position"
        events = self._client.query(
            f"SELECT {_TOLD} {self._of_account('events', account_id)} AND {whose}",
            parameters={"account": account_id},
        ).result_rows
        attributes = self._client.query(
            "SELECT workspace_id, attribute, mpid, time_ms, value, partition, sequence, kind "
            f"{self._of_account('attributes', account_id)} AND {whose}",
            parameters={"account": account_id},
        ).result_rows
        rows = [
            AttributeRow(workspace_id, name, mpid, time_ms, value_in(kind, text), partition, sequence, kind)
            for workspace_id, name, mpid, time_ms, text, partition, sequence, kind in attributes
        ]
        return batch_of(events), rows

    def told_changes(self, account_id: int, mpid: int, after: RowPlace, limit: int) -> list[tuple[RowPlace, AttributeRow]]:
        """What was told of a person, up to so many rows after that place, each with its own."""
        rows = self._client.query(
            "SELECT (sequence, position), workspace_id, attribute, mpid, time_ms, value, partition, sequence, kind "
            f"{self._of_account('attributes', account_id)} AND {_after(mpid, after, limit)}",
            parameters={"account": account_id},
        ).result_rows
        return [
            (tuple(place), AttributeRow(workspace_id, name, mpid, time_ms, value_in(kind, text), partition, sequence, kind))
            for place, workspace_id, name, mpid, time_ms, text, partition, sequence, kind in rows
        ]

    def told_events(self, account_id: int, mpid: int, after: RowPlace, limit: int) -> tuple[facts_pb2.EventBatch, RowPlace]:
        """What a person did, up to so many events after that place, and the place of the last one."""
        rows = self._client.query(
            f"SELECT (sequence, position), {_TOLD} {self._of_account('events', account_id)} AND {_after(mpid, after, limit)}",
            parameters={"account": account_id},
        ).result_rows
        return batch_of([row[1:] for row in rows]), tuple(rows[-1][0]) if rows else after

    # --- what is kept in the engine only while it is asked for

    def seen(self, account_id: int, workspace_id: int, now_ms: int, *, first: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The first instant at which something is known of each person, or the last; and all that are later than `now_ms`."""
        instants = " UNION ALL ".join(f"SELECT mpid, time_ms {self._of_workspace(table, account_id)}" for table in _TABLES)
        edge = "min" if first else "max"
        rows = self._client.query(
            f"SELECT mpid, {edge}(time_ms) FROM ({instants}) WHERE time_ms <= {{now:Int64}} GROUP BY mpid "  # noqa: S608
            f"UNION ALL SELECT mpid, time_ms FROM ({instants}) WHERE time_ms > {{now:Int64}}",
            parameters={"account": account_id, "workspace": workspace_id, "now": now_ms},
        ).result_rows
        return np.array([row[0] for row in rows], np.int64), np.array([row[1] for row in rows], np.int64)

    def places(self, account_id: int, workspace_id: int, now_ms: int) -> tuple[NDArray[np.int64], list[str], NDArray[np.int64]]:
        """Details with the place of each person at the latest time up to `now_ms`; and all that are later."""
        located = f"{self._of_workspace('events', account_id)} AND {_LOCATED}"
        kept = f"{self._of_workspace('attributes', account_id)} AND kind = '{PLACE}'"
        known = (
            f"SELECT mpid, time_ms, sequence, position, details {located} UNION ALL "
            f"SELECT mpid, time_ms, sequence, position, assumeNotNull(value) AS details {kept}"
        )
        rows = self._client.query(
            f"SELECT mpid, argMax(details, (time_ms, sequence, position)), max(time_ms) FROM ({known}) "  # noqa: S608
            "WHERE time_ms <= {now:Int64} GROUP BY mpid UNION ALL "
            f"SELECT mpid, details, time_ms FROM ({known}) WHERE time_ms > {{now:Int64}}",
            parameters={"account": account_id, "workspace": workspace_id, "now": now_ms},
        ).result_rows
        return np.array([row[0] for row in rows], np.int64), [row[1] for row in rows], np.array([row[2] for row in rows], np.int64)

    def purchases(
        self, account_id: int, workspace_id: int
    ) -> Iterator[tuple[NDArray[np.int64], Sequence[str], Sequence[str], NDArray[np.int64]]]:
        """(MPIDs, names, details, times) of all purchases and refunds, in parts."""
        query = f"SELECT mpid, name, details, time_ms {self._of_workspace('events', account_id)} AND {_PAYS}"
        with self._client.query_column_block_stream(query, parameters={"account": account_id, "workspace": workspace_id}) as blocks:
            for mpids, names, details, times in blocks:
                yield np.array(mpids, np.int64), names, details, np.array(times, np.int64)

    def identities(self, account_id: int, type_: str) -> tuple[NDArray[np.int64], list[Value | None]]:
        """What was told of people's identities of a type, in order: the identity, or a tuple with one that is gone."""
        rows = self._client.query(
            f"SELECT mpid, kind, value {self._of_account('attributes', account_id)} AND kind IN {{kinds:Array(String)}} "
            "AND attribute = {type:String} ORDER BY sequence, position",
            parameters={"account": account_id, "kinds": [PropertyKind.IDENTITY.value, GONE], "type": type_},
        ).result_rows
        values: list[Value | None] = []
        for _, kind, text in rows:
            identity = str(value_from(text))
            values.append((identity,) if kind == GONE else identity)
        return np.array([row[0] for row in rows], np.int64), values

    # --- the past, for filters

    def recall(
        self, account_id: int, match: Match, subjects: Collection[Subject], since_ms: int, *, in_order: bool = True
    ) -> Iterator[Recalled]:
        """What the subjects are of the events of the match from `since_ms` on, whatever its filters."""
        wanted = sorted(subjects, key=repr)
        where = f"{self._of_account('events', account_id)} AND type = {{type:Int16}} AND time_ms >= {{since:Int64}}"
        parameters: dict[str, Any] = {"account": account_id, "type": match.type, "since": since_ms}
        for index, input_id in enumerate(sorted(match.inputs)):
            parameters[f"input{index}"] = input_id
        where += (
            f" AND input_id IN ({', '.join(f'{{input{index}:Int64}}' for index in range(len(match.inputs)))})" if match.inputs else " AND 0"
        )
        if match.name is None:
            yield from self._recall(wanted, where, parameters, in_order=in_order)
            return
        names = [match.name] if isinstance(match.name, str) else self._names(match.name, where, parameters)
        for start in range(0, len(names), _CHOSEN_MAX):
            chosen = {f"name{index}": name for index, name in enumerate(names[start : start + _CHOSEN_MAX])}
            listed = ", ".join(f"{{{name}:String}}" for name in chosen)
            yield from self._recall(wanted, f"{where} AND name IN ({listed})", {**parameters, **chosen}, in_order=in_order)

    def _names(self, test: StringTest, where: str, parameters: Mapping[str, Any]) -> list[str]:
        rows = self._client.query(f"SELECT DISTINCT name {where}", parameters=dict(parameters)).result_rows
        return [name for (name,) in rows if test.holds(name)]

    def _recall(self, subjects: Sequence[Subject], where: str, parameters: dict[str, Any], *, in_order: bool) -> Iterator[Recalled]:
        """Each different value is looked at once, on one of the events that have it.

        What events tell is compared as a whole, which is quick; where too much of that is different, by the values; where there are too
        many of them too, each event is looked at.
        """
        columns = ", ".join(_columns_of(subjects))
        values = ", ".join(_reduced(subject, parameters) for subject in subjects) or "''"
        for compared, source, most in (
            (columns, f"SELECT {columns} {where} GROUP BY {columns}", _WHOLE_TIMES * _GROUPS_MAX),
            (values, f"SELECT {columns} {where}", _GROUPS_MAX),
        ):
            grouped = self._grouped(subjects, compared, f"({source}) GROUP BY {values}", most, parameters)
            if grouped is not None:
                break
        else:
            yield from self._recall_each(where, parameters)
            return
        code, numbers, happenings = grouped
        arrival = ", sequence, position" if in_order else ""
        with self._client.query_np_stream(f"SELECT {code} AS code, mpid, time_ms{arrival} {where}", parameters=parameters) as blocks:
            for block in blocks:
                which = numbers.find(_column(block, 0, np.uint64).view(np.int64))
                mpids, times = _column(block, 1, np.int64), _column(block, 2, np.int64)
                arrived = [_column(block, column, np.int64) for column in (3, 4)] if in_order else [np.zeros(len(mpids), np.int64)] * 2
                yield Recalled(happenings, which, mpids, times, _arrivals(*arrived))

    def _grouped(
        self, subjects: Sequence[Subject], compared: str, source: str, most: int, parameters: dict[str, Any]
    ) -> tuple[str, Lookup, list[Happening]] | None:
        """A code of what is compared, and which happening each code stands for; None where there are more than `most`."""
        columns = _columns_of(subjects)
        known = ", ".join(f"any({name})" if name in columns else "''" for name in ("details", *EventContext._fields))
        for hash_ in _HASHES:
            code = hash_.format(compared)
            groups = self._client.query(
                f"SELECT groupUniqArray({code}), {known} FROM {source} "  # noqa: S608
                f"SETTINGS max_rows_to_group_by = {most}, group_by_overflow_mode = 'break'",
                parameters=parameters,
            ).result_rows
            codes = np.array([code for codes, *_ in groups for code in codes], np.uint64).view(np.int64)
            if len(codes) > most:
                return None
            if len(np.unique(codes)) == len(codes):
                numbers = Lookup(-1)
                numbers.enter(codes, np.repeat(np.arange(len(groups)), [len(codes) for codes, *_ in groups]))
                return code, numbers, [Happening(details, EventContext(*context)) for _, details, *context in groups]
        raise RuntimeError("two values of events share a code of the event store")

    def _recall_each(self, where: str, parameters: dict[str, Any]) -> Iterator[Recalled]:
        with self._client.query_column_block_stream(
            f"SELECT mpid, time_ms, sequence, position, details, {', '.join(EventContext._fields)} {where}",
            parameters=parameters,
        ) as blocks:
            for mpids, times, sequences, positions, *columns in blocks:
                places: dict[tuple[str, ...], int] = {}
                which = np.fromiter((places.setdefault(key, len(places)) for key in zip(*columns, strict=True)), np.int64, len(mpids))
                happenings = [Happening(details, EventContext(*context)) for details, *context in places]
                arrivals = _arrivals(np.array(sequences, np.int64), np.array(positions, np.int64))
                yield Recalled(happenings, which, np.array(mpids, np.int64), np.array(times, np.int64), arrivals)

    def _insert(self, table: str, rows: pa.Table) -> None:
        epochs = np.zeros(1 << 16, np.uint32)
        for partition, tenure in self._tenures.items():
            epochs[partition] = tenure.epoch
        rows = rows.append_column("epoch", pa.array(epochs[rows["partition"].to_numpy()]))
        self._client.insert_arrow(self._layout.name(table), rows)

    def _of_account(self, table: str, account_id: int) -> str:
        """What every question about an account reads: its rows that count. The parameter `account` is the account."""
        hidden = self._hidden.get(account_id)
        counting = counted(self._tenures) + (f" AND NOT ({_hidden(hidden)})" if hidden else "")
        return f"FROM {self._layout.name(table)} WHERE account_id = {{account:Int64}} AND {counting}"

    def _of_workspace(self, table: str, account_id: int) -> str:
        """The same of a workspace, which is the parameter `workspace`."""
        return f"{self._of_account(table, account_id)} AND workspace_id = {{workspace:Int64}}"

    def _identity(self) -> str:
        """What tells this store from every other: the id that its table of events got when it was made."""
        return str(
            self._client.query(
                "SELECT toString(uuid) FROM system.tables WHERE database = {database:String} AND name = 'events'",
                parameters={"database": self._layout.database},
            ).first_row[0]
        )


def _after(mpid: int, after: RowPlace, limit: int) -> str:
    """The condition for some rows of a person, in the order in which they were told."""
    sequence, position = after
    return f"mpid = {mpid} AND (sequence, position) > ({sequence}, {position}) ORDER BY sequence, position LIMIT {limit}"


def _hidden(sequences: Mapping[int, int]) -> str:
    """The condition for rows of these MPIDs up to a sequence each."""
    mpids, up_to = (", ".join(map(str, numbers)) for numbers in (sequences.keys(), sequences.values()))
    return f"mpid IN ({mpids}) AND sequence <= transform(mpid, [{mpids}], [{up_to}], 0)"


def _later(after: Mapping[int, int], partitions: Collection[int]) -> str:
    """The condition for rows after a sequence of each partition, of some partitions all rows. What is no later than any is told by one
    comparison, by which whole parts are passed over."""
    earliest = min(after.get(partition, -1) for partition in partitions)
    earlier = " OR ".join(f"(partition = {partition} AND sequence <= {at})" for partition, at in sorted(after.items()))
    return f"{f'sequence > {earliest} AND ' if earliest >= 0 else ''}NOT ({earlier})"


def _together(names: Sequence[Sequence[Any]]) -> Iterator[tuple[int, str, list[str]]]:
    """(workspace, kind, names) of properties that are read by one query: of ten thousand with few values each, many at a time."""
    for (workspace_id, kind), own in groupby(names, key=lambda row: (int(row[0]), str(row[1]))):
        chosen: list[str] = []
        rows = 0
        for _, _, name, count in own:
            if chosen and (rows + count > _READ_ROWS or len(chosen) == _CHOSEN_MAX):
                yield workspace_id, kind, chosen
                chosen, rows = [], 0
            chosen.append(name)
            rows += count
        yield workspace_id, kind, chosen


def _reduced(subject: Subject, parameters: dict[str, Any]) -> str:
    """Text that two events have in common only if the subject has the same value in both, to the digit.

    It is the value as it is written, where it is certain by the text alone that this is it: the only one under its key, in details
    without keys in disguise; else the details whole. (No key comes twice in one object.) The store's own reading would lose digits.
    """
    if subject.place is Place.CONTEXT:
        return subject.name
    key = "products" if subject.of_product else subject.name
    inner = msgspec.json.encode(key).decode()[1:-1]
    name = f"k{len(parameters)}"
    parameters[name] = inner
    quoted = f"concat('\"', {{{name}:String}}, '\"')"
    times = f"countSubstrings(details, {quoted})"
    if subject.place is Place.ATTRIBUTE:
        at = f"position(details, concat({quoted}, ':'))"
        inside = (
            f"startsWith(details, '{{\"attributes\":{{') AND {at} > 0 AND {at} < position(details, '}}') "
            f"AND countSubstrings(substring(details, 1, {at}), '{{') = 2 AND isValidJSON(details)"
        )
    else:
        inside = f"JSONHas(details, {{{name}:String}})"
    plain = "position(details, '\\\\u') = 0 AND position(details, '\\\\/') = 0"
    return (
        f"multiIf({times} = 0 AND {plain}, '', {times} = 1 AND {inside}, simpleJSONExtractRaw(details, {{{name}:String}}), "
        "concat('\\0', details))"
    )


def _columns_of(subjects: Sequence[Subject]) -> list[str]:
    """Those that the subjects are read from."""
    contexts = [subject.name for subject in subjects if subject.place is Place.CONTEXT]
    return [*(["details"] if len(contexts) < len(subjects) else []), *contexts] or ["type"]


def _arrivals(sequences: NDArray[np.int64], positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers in the order of the stream; a message holds far fewer rows than 2**20."""
    return (sequences << 20) + positions


def _column(block: NDArray[Any], index: int, dtype: type[T]) -> NDArray[T]:
    """A column of a block, which is a record array, or a plain matrix where all columns are of one type."""
    column = block[block.dtype.names[index]] if block.dtype.names else block[:, index]
    return np.ascontiguousarray(column).astype(dtype, copy=False)
