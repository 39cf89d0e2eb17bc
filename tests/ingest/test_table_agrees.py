"""A row of a table and a batch of the Events API that say the same are read alike, and the messages of both are the same."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from muster.ingest.v1 import facts_pb2

from services.ingest.domain.columns import read_table
from services.ingest.domain.dedupe import event_ids
from services.ingest.domain.reading import read
from services.ingest.domain.values import encode
from services.ingest.facts import Facts
from services.ingest.inputs import Input
from services.ingest.table_facts import ResolvedTable, messages_of
from tests.ingest.test_table import ipc

NOW = 1_764_000_000_000
INPUT = Input(account_id=1, workspace_id=10, input_id=100, api_key="", secret_sha256=b"", platform="iOS", active=True, version=1)
TEXTS = st.text(max_size=8) | st.sampled_from(["x" * 4096, "x" * 4097, "\0", 'a"\\\n', "é" * 3000])
NUMBERS = st.integers(-(2**70), 2**70) | st.decimals(allow_nan=False, allow_infinity=False).filter(
    lambda number: abs(number.adjusted()) < 400
)
VALUES = st.none() | TEXTS | NUMBERS | st.booleans() | st.lists(TEXTS | st.integers(0, 1), max_size=3)
NAMES = st.sampled_from(["a", "b c", "ü", "d" * 300, 'e"'])
ATTRIBUTES = st.dictionaries(NAMES, VALUES, max_size=4)
ROW = st.fixed_dictionaries(
    {
        "customer": st.sampled_from(["", "c", " C ", "0", "x" * 5000]),
        "email": st.sampled_from(["", "A@b.c", "a@B.C "]),
        "name": st.sampled_from(["", "Viewed", "n" * 300]),
        "time": st.none() | st.sampled_from([0, NOW, NOW - 1, NOW * 100]),
        "of_event": ATTRIBUTES,
        "of_person": ATTRIBUTES,
    }
)


def as_batch(row: dict[str, Any]) -> bytes:
    """The row for the Events API."""
    data = {"event_name": row["name"], "custom_event_type": "other", "custom_attributes": row["of_event"]}
    batch = {
        "environment": "production",
        "user_identities": {"customer_id": row["customer"], "email": row["email"]},
        # A null would remove the attribute; in a table it says nothing.
        "user_attributes": {name: value for name, value in row["of_person"].items() if value is not None},
        "events": [{"event_type": "custom_event", "data": data}],
        "timestamp_unixtime_ms": row["time"],
    }
    return encode(batch)


def as_table(row: dict[str, Any]) -> bytes:
    """The row as a table of one row."""
    fields = [pa.field(name, pa.string()) for name in ("customer_id", "email", "event_type", "event_name")]
    columns: list[Any] = [[row["customer"]], [row["email"]], ["custom"], [row["name"]]]
    if row["time"] is not None:
        fields.append(pa.field("time", pa.int64()))
        columns.append([row["time"]])
    for group, attributes in (("attributes", row["of_event"]), ("user_attributes", row["of_person"])):
        for name, value in attributes.items():
            column, kind = as_column(value)
            fields.append(pa.field(f"{group}.{name}", column.type, metadata={"muster.kind": kind} if kind else None))
            columns.append(column)
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, field.type) for column, field in zip(columns, fields, strict=True)
    ]
    return ipc(pa.table(arrays, schema=pa.schema(fields)))


def as_column(value: Any) -> tuple[Any, str]:
    """A value in a column of its own type, where Arrow has one that holds it as it is."""
    if isinstance(value, bool | str) or value is None:
        return pa.array([value]), ""
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return pa.array([value]), ""
    if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
        return pa.array([value], pa.list_(pa.string())), ""
    if isinstance(value, int | Decimal):
        return pa.array([str(value)]), "number"
    return pa.array([encode(value).decode()]), "json"


@settings(deadline=None, max_examples=300)
@given(ROW)
def test_a_row_and_a_batch_that_say_the_same_are_read_alike(row: dict[str, Any]) -> None:
    reading = read(as_batch(row), bulk=False, platform="iOS", now_ms=NOW)
    told = read_table(as_table(row), request_id="", platform="iOS", now_ms=NOW)
    if not reading.batches:
        assert (told.table, [one.row for one in told.faults]) == (None, [0] * len(told.faults))
        assert told.faults
        return
    (batch,) = reading.batches
    assert told.faults == []
    table = told.table
    assert table is not None
    assert table.people.mpids.tolist() == [batch.mpid]
    assert [identity for _, identity in table.people.identities([0])[0]] == batch.identities
    (event,) = batch.events
    assert table.kinds == [(event.type, event.name)]
    assert (table.details.to_pylist()[0] if table.details is not None else "") == event.details
    assert table.times_ms.tolist() == [event.time_ms]

    facts = Facts(partitions=4, receive_time_ms=NOW)
    for change in batch.changes:
        facts.add_change(INPUT, 7, change)
    facts.add_events(INPUT, 7, batch.context, batch.events, event_ids(1, 100, batch, [b""]))
    resolved = ResolvedTable(INPUT, table, np.array([7]), np.array([5]), np.array([True]), {})
    wanted = [(one.subject, without_ids(one.subject, one.payload)) for one in facts.outgoing()]
    assert [
        (one.subject, without_ids(one.subject, one.payload)) for one in messages_of(resolved, partitions=4, receive_time_ms=NOW)
    ] == wanted


def without_ids(subject: str, payload: bytes) -> Any:
    """A message without what is drawn for each."""
    fact: Any = (facts_pb2.ProfileChanges if "profiles" in subject else facts_pb2.EventBatch).FromString(payload)
    fact.batch_id = ""
    if isinstance(fact, facts_pb2.EventBatch):
        del fact.event_ids[:]
    return fact
