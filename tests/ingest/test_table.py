"""Tables of Arrow by gRPC: what is kept, what is named, and that both say the same as the Events API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from muster.ingest.v1 import ingest_service_pb2 as pb
from muster.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub

from services.chassis.bus import Bus
from services.chassis.errors import from_rpc_error
from services.ingest.domain.columns import read_table
from services.ingest.domain.limits import TABLE_MAX_BYTES, TABLE_MAX_ROWS
from services.ingest.domain.model import EventType
from tests.ingest.conftest import ACCOUNT, INPUT, Serve, Service, batch, custom, now_ms, read_stream, token_for

NOW = 1_764_000_000_000


def ipc(table: pa.Table, rows_a_batch: int = 1 << 20, compression: str | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as stream:
        stream.write_table(table, rows_a_batch)
    return bytes(sink.getvalue())


def request(columns: dict[str, Any] | pa.Table, request_id: str = "", **fields: Any) -> pb.IngestTableRequest:
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    return pb.IngestTableRequest(**{"input_id": INPUT, "source_request_id": request_id, "table": ipc(table), **fields})


@pytest.fixture
async def channel(service: Service) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(service.grpc_address) as channel:
        yield channel


async def ingest(channel: grpc.aio.Channel, *requests: pb.IngestTableRequest, account_id: int = ACCOUNT) -> list[pb.IngestTableResponse]:
    return [answer async for answer in IngestServiceStub(channel).IngestTable(iter(requests), metadata=token_for(account_id))]


def named(answer: pb.IngestTableResponse) -> dict[str, str]:
    return {fault.field: fault.reason for fault in answer.faults}


def faults_of(columns: dict[str, Any] | pa.Table) -> dict[str, str]:
    """The faults of a table by their places."""
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    return {one.fault.place: str(one.fault.reason) for one in read_table(ipc(table), request_id="", platform="", now_ms=NOW).faults}


async def test_events_and_attributes_of_a_table_arrive_as_those_of_the_events_api_do(
    service: Service, channel: grpc.aio.Channel, bus: Bus
) -> None:
    at = now_ms() - 1000
    event = {"price": 19, "place": 'a "quoted"\nline', "gift": True, "tags": ["x", "y"]}
    person = {"plan": "gold", "credit": 5, "active": False, "likes": ["é", ""]}
    sent = batch(" C-1 ", custom(custom_attributes=event, timestamp_unixtime_ms=at), user_attributes=person, timestamp_unixtime_ms=at)
    assert (await service.events(sent)).status_code == 202
    columns = {"customer_id": ["C-1"], "event_name": ["Viewed"], "time": pa.array([at], pa.timestamp("ms", "UTC"))}
    columns |= {f"attributes.{name}": [value] for name, value in event.items()}
    columns |= {f"user_attributes.{name}": [value] for name, value in person.items()}
    (answer,) = await ingest(channel, request(columns))
    assert (answer.accepted_rows, list(answer.faults)) == (1, [])
    told = await read_stream(bus)
    http, table = told.events
    assert (table.mpid, table.type, table.name, table.time_ms, table.details, table.platform, table.input_id) == (
        http.mpid,
        http.type,
        http.name,
        http.time_ms,
        http.details,
        http.platform,
        http.input_id,
    )
    first, second = told.changes
    assert [one.value for one in first.added_identities] == ["C-1"]
    del first.added_identities[:]
    assert first == second


async def test_many_rows_of_many_people_arrive_each_once_with_the_people_first(channel: grpc.aio.Channel, bus: Bus) -> None:
    count = 3000
    people = [f"p-{row % 700}" for row in range(count)]
    columns = {
        "customer_id": pa.array(people).dictionary_encode(),
        "email": [f"P-{row % 700}@Example.com" if row % 2 else None for row in range(count)],
        "event_name": [f"event {row % 5}" if row % 10 else None for row in range(count)],
        "attributes.row": pa.array([row if row % 10 else None for row in range(count)]),
        "user_attributes.row": pa.array([f"{row}" * (row % 50) for row in range(count)]),
    }
    (answer,) = await ingest(channel, request(columns, "r-1"))
    assert (answer.accepted_rows, list(answer.faults)) == (count, [])
    told = await read_stream(bus)
    assert sorted(event.details["attributes"]["row"] for event in told.events) == [row for row in range(count) if row % 10]
    assert {event.details["attributes"]["row"] % 5: event.name for event in told.events} == {row: f"event {row}" for row in range(5)}
    assert len({event.event_id for event in told.events}) == len(told.events)
    identities = [(one.type, one.value) for change in told.changes for one in change.added_identities]
    assert len(identities) == len(set(identities)) == 700 + 350
    mpid_of = {one.value: change.mpid for change in told.changes for one in change.added_identities}
    assert len(set(mpid_of.values())) == 700
    assert mpid_of["p-1"] == mpid_of["p-1@example.com"]
    for event in told.events:
        assert event.mpid == mpid_of[f"p-{event.details['attributes']['row'] % 700}"]
    # Every row told its attribute, in the order of the rows.
    rows_of: dict[int, list[str]] = {}
    for change in told.changes:
        rows_of.setdefault(change.mpid, []).append(change.set_attributes["row"].string_value)
    assert rows_of[mpid_of["p-7"]] == [f"{row}" * (row % 50) for row in (7, 707, 1407, 2107, 2807)]
    assert told.order.index("events") > max(place for place, kind in enumerate(told.order) if kind == "profiles")


async def test_a_request_that_is_sent_again_counts_once_and_is_answered_alike(channel: grpc.aio.Channel, bus: Bus) -> None:
    sent = request({"email": ["a@b.c", "", "d@e.f"], "event_name": ["x", "x", "y"]}, "r-1")
    answers = await ingest(channel, sent, sent)
    answers += await ingest(channel, sent)
    assert [answer.accepted_rows for answer in answers] == [2, 2, 2]
    assert [named(answer) for answer in answers] == [{"rows[1]": "NO_IDENTITY"}] * 3
    assert (await read_stream(bus)).names == ["x", "y"]


async def test_the_same_request_without_an_id_counts_twice(channel: grpc.aio.Channel, bus: Bus) -> None:
    sent = request({"email": ["a@b.c"], "event_name": ["x"]})
    await ingest(channel, sent, sent)
    told = await read_stream(bus)
    assert told.names == ["x", "x"]
    assert len({event.event_id for event in told.events}) == 2


async def test_a_row_with_a_message_id_counts_once_whatever_way_it_comes(service: Service, channel: grpc.aio.Channel, bus: Bus) -> None:
    assert (await service.events(batch("c", custom("http", source_message_id="m-1")))).status_code == 202
    columns = {
        "customer_id": ["c", "c", "c", "new"],
        "source_message_id": ["m-1", "m-2", "m-2", "m-1"],
        "event_name": ["again", "x", "twice", "again"],
        "user_attributes.plan": ["no", "yes", "no", "no"],
    }
    await ingest(channel, request(columns))
    await ingest(channel, request({**columns, "source_message_id": [None, "m-2", "m-3", None]}))
    told = await read_stream(bus)
    assert told.names == ["again", "again", "http", "twice", "x"]
    plans = [change.set_attributes["plan"].string_value for change in told.changes if change.set_attributes]
    assert plans == ["yes", "no", "no", "no"]
    # Nobody is known by a row that did not count.
    assert [one.value for change in told.changes for one in change.added_identities] == ["c", "new"]


async def test_a_row_without_an_event_says_what_the_person_is_now(channel: grpc.aio.Channel, bus: Bus) -> None:
    columns = {
        "mpid": pa.array([5, None, 7], pa.int64()),
        "email": [None, "a@b.c", None],
        "user_attributes.plan": ["gold", "", None],
        "deleted_user_attributes": [["old", "older"], None, []],
    }
    (answer,) = await ingest(channel, request(columns))
    assert answer.accepted_rows == 3
    told = await read_stream(bus)
    assert told.events == []
    by_person = {change.mpid: change for change in told.changes}
    assert (list(by_person[5].removed_attributes), by_person[5].set_attributes["plan"].string_value) == (["old", "older"], "gold")
    # A text that is empty is a value; and a row that says nothing at all says "here".
    assert not by_person[7].set_attributes
    (other,) = [change for change in told.changes if change.mpid not in (5, 7)]
    assert other.set_attributes["plan"].WhichOneof("kind") == "string_value"
    assert other.added_identities[0].value == "a@b.c"


async def test_bad_rows_are_named_and_the_good_ones_kept(channel: grpc.aio.Channel, bus: Bus) -> None:
    columns = {
        "customer_id": ["good", "long", "nul", "type", "time", "000", "none", "late", "good"],
        "email": [None, "x" * 5000, "a\0b", None, None, None, None, None, None],
        "event_type": ["custom", None, None, "dance", None, "session_start", "custom", None, "crash"],
        "event_name": ["kept", "x", "x", "x", "x", "by its number", None, "", ""],
        "time": [str(NOW), None, None, None, "yesterday", "2026-01-02", None, "1999-12-31T23:59:59Z", "2026-01-02T03:04:05+02:00"],
        "attributes.a b": ["1", None, "\0", None, None, None, None, None, None],
    }
    (answer,) = await ingest(channel, request(columns))
    assert named(answer) == {
        "rows[1].email": "TOO_LONG",
        "rows[2].email": "BAD_CHARACTER",
        'rows[2].attributes["a b"]': "BAD_CHARACTER",
        "rows[3].event_type": "UNKNOWN_EVENT_TYPE",
        "rows[4].time": "WRONG_TYPE",
        "rows[6].event_name": "MISSING",
        "rows[7].time": "TIME_OUT_OF_RANGE",
    }
    assert [fault.row for fault in answer.faults] == [1, 2, 2, 3, 4, 6, 7]
    assert answer.accepted_rows == 3
    told = await read_stream(bus)
    assert told.names == ["", "by its number", "kept"]
    assert {event.time_ms for event in told.events} == {NOW, 1_767_312_000_000, 1_767_315_845_000}


async def test_a_request_is_only_validated_if_it_says_so(channel: grpc.aio.Channel, bus: Bus) -> None:
    (answer,) = await ingest(channel, request({"email": ["a@b.c", ""], "event_name": ["x", "y"]}, "r", validate_only=True))
    assert (answer.accepted_rows, named(answer)) == (1, {"rows[1]": "NO_IDENTITY"})
    assert (await read_stream(bus)).events == []
    await ingest(channel, request({"email": ["a@b.c"], "event_name": ["x"]}, "r"))
    assert (await read_stream(bus)).names == ["x"]


async def test_another_accounts_input_does_not_exist_and_what_came_before_is_answered(channel: grpc.aio.Channel, bus: Bus) -> None:
    sent = {"email": ["a@b.c"], "event_name": ["x"]}
    answers = []
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async for answer in IngestServiceStub(channel).IngestTable(
            iter([request(sent), request(sent, input_id=INPUT + 1)]), metadata=token_for()
        ):
            answers.append(answer)
    assert from_rpc_error(refused.value).reason == "UNKNOWN_INPUT"
    assert [answer.accepted_rows for answer in answers] == [1]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ingest(channel, request(sent), account_id=ACCOUNT + 1)
    assert from_rpc_error(refused.value).reason == "UNKNOWN_INPUT"


async def test_tables_take_no_room_of_the_events_api(serve: Serve, bus: Bus) -> None:
    columns = {"customer_id": [f"c-{row}" for row in range(5000)], "event_name": ["table"] * 5000}
    async with serve(queue_events=10) as service, grpc.aio.insecure_channel(service.grpc_address) as channel:
        importing = asyncio.create_task(ingest(channel, *[request(columns, f"r-{number}") for number in range(6)]))
        sent = 0
        while not importing.done():
            assert (await service.events(batch("c", custom("http")))).status_code == 202
            sent += 1
        assert [answer.accepted_rows for answer in importing.result()] == [5000] * 6
    assert sent
    names = (await read_stream(bus)).names
    assert (names.count("table"), names.count("http")) == (30_000, sent)


async def test_on_postgresql_a_table_counts_once_too(serve: Serve, postgres_url: str, bus: Bus) -> None:
    async with serve(database_url=postgres_url) as service, grpc.aio.insecure_channel(service.grpc_address) as channel:
        sent = request({"email": [f"{row % 50}@b.c" for row in range(200)], "event_name": ["x"] * 200}, "r")
        await ingest(channel, sent, sent)
        told = await read_stream(bus)
        assert len(told.events) == 200
        assert len({event.mpid for event in told.events}) == 50


async def test_texts_that_are_said_to_be_numbers_or_json_arrive_as_such(channel: grpc.aio.Channel, bus: Bus) -> None:
    numbers = ["19.90", "-5", "1e3", None]
    anything = ['"text"', "19.90", "true", '["a", "é"]']
    fields = [pa.field("mpid", pa.int64()), pa.field("event_name", pa.string())]
    columns: list[Any] = [[1, 1, 1, 1], ["x"] * 4]
    for group in ("attributes", "user_attributes"):
        fields.append(pa.field(f"{group}.n", pa.string(), metadata={"muster.kind": "number"}))
        fields.append(pa.field(f"{group}.any", pa.string(), metadata={"muster.kind": "json"}))
        columns += [numbers, anything]
    schema = pa.schema(fields)
    (answer,) = await ingest(channel, request(pa.table([pa.array(c, f.type) for c, f in zip(columns, fields, strict=True)], schema=schema)))
    assert list(answer.faults) == []
    told = await read_stream(bus)
    seen = [event.details["attributes"] for event in told.events]
    assert [one.get("n") for one in seen] == ["19.90", -5, "1E+3", None]
    assert [one["any"] for one in seen] == ["text", "19.90", True, ["a", "é"]]
    changes = [change.set_attributes for change in told.changes]
    assert [one["n"].number_value for one in changes[:3]] == ["19.90", "-5", "1E+3"]
    assert [one["any"].WhichOneof("kind") for one in changes] == ["string_value", "number_value", "boolean_value", "list_value"]
    assert changes[1]["any"].number_value == "19.90"


@pytest.mark.parametrize(
    ("kind", "text", "fault"),
    [
        ("number", "12a", {"rows[0].user_attributes.a": "NOT_A_NUMBER"}),
        ("number", "1e999999999", {"rows[0].user_attributes.a": "NOT_A_NUMBER"}),
        ("json", "{", {"rows[0].user_attributes.a": "MALFORMED"}),
        ("json", '{"b": 1}', {"rows[0].user_attributes.a": "WRONG_TYPE"}),
        ("json", '["a", 5]', {"rows[0].user_attributes.a[1]": "WRONG_TYPE"}),
        ("json", "1e999999999", {"rows[0].user_attributes.a": "NOT_A_NUMBER"}),
        ("json", '"a\\u0000"', {"rows[0].user_attributes.a": "BAD_CHARACTER"}),
        ("json", '"' + "x" * 5000 + '"', {"rows[0].user_attributes.a": "TOO_LONG"}),
        ("xml", "x", {"columns.user_attributes.a": "MALFORMED"}),
    ],
)
def test_texts_that_are_not_what_they_are_said_to_be_are_refused(kind: str, text: str, fault: dict[str, str]) -> None:
    schema = pa.schema([pa.field("mpid", pa.int64()), pa.field("user_attributes.a", pa.string(), metadata={"muster.kind": kind})])
    assert faults_of(pa.table([pa.array([1]), pa.array([text])], schema=schema)) == fault


# --- reading, by itself

NUMBERS: list[tuple[Any, list[Any]]] = [
    (pa.int8(), [-1, 0, 127]),
    (pa.uint64(), [0, 2**64 - 1]),
    (pa.float16(), [np.float16(0.5), np.float16(2)]),
    (pa.float64(), [0.1, -0.5, 1e300, 19.9, 1e-300, 0.0]),
    (pa.decimal128(20, 2), [Decimal("19.90"), Decimal("-0.01"), Decimal("100.00")]),
    (pa.decimal256(60, 30), [Decimal("1.5"), Decimal("1e-30")]),
    (pa.decimal128(5, -3), [Decimal("5E+3")]),
]


@pytest.mark.parametrize(("type_", "values"), NUMBERS, ids=[str(type_) for type_, _ in NUMBERS])
def test_numbers_keep_their_digits(type_: Any, values: list[Any]) -> None:
    column = pa.array(values, type_)
    table = pa.table({"mpid": [1] * len(values), "event_name": ["x"] * len(values), "attributes.n": column})
    reading = read_table(ipc(table), request_id="", platform="", now_ms=NOW)
    assert reading.faults == []
    assert reading.table is not None
    assert reading.table.details is not None
    details = [json.loads(one, parse_float=Decimal, parse_int=Decimal) for one in reading.table.details.to_pylist()]
    written = [one["attributes"]["n"] for one in details]
    if pa.types.is_floating(type_):
        assert [float(number) for number in written] == values
        assert str(written[0]) in ("0.1", "0.5")
    else:
        assert [str(number) for number in written] == [str(value) for value in column.to_pylist()]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 5e-324])
def test_what_is_no_number_of_this_world_is_refused(value: float) -> None:
    assert faults_of({"mpid": [1], "user_attributes.n": [value]}) == {"rows[0].user_attributes.n": "NOT_A_NUMBER"}


def test_instants_are_read_from_all_their_forms() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)
    ms = 1_767_323_045_678
    forms = [
        pa.array([moment], pa.timestamp("ns", "UTC")),
        pa.array([moment.astimezone(timezone(timedelta(hours=5)))], pa.timestamp("us", "Asia/Tashkent")),
        pa.array([moment.replace(tzinfo=None)], pa.timestamp("ms")),
        pa.array([ms]),
        pa.array([str(ms)]),
        pa.array(["2026-01-02T03:04:05.678Z"]),
        pa.array(["2026-01-02 05:04:05.678+02:00"]),
        pa.array(["2026-01-02T03:04:05.678"]).dictionary_encode(),
    ]
    for form in forms:
        reading = read_table(ipc(pa.table({"mpid": [1], "time": form})), request_id="", platform="", now_ms=NOW)
        assert reading.table is not None, (form.type, reading.faults)
        assert reading.table.times_ms.tolist() == [ms], form.type
    day = read_table(ipc(pa.table({"mpid": [1], "time": pa.array([date(2026, 1, 2)])})), request_id="", platform="", now_ms=NOW)
    assert day.table is not None
    assert day.table.times_ms.tolist() == [1_767_312_000_000]


def test_dates_and_instants_of_attributes_are_iso_text() -> None:
    columns = {
        "mpid": [1],
        "user_attributes.day": pa.array([date(2026, 1, 2)]),
        "user_attributes.at": pa.array([datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)], pa.timestamp("ms")),
        "user_attributes.there": pa.array([datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)], pa.timestamp("s", "Asia/Tokyo")),
    }
    reading = read_table(ipc(pa.table(columns)), request_id="", platform="", now_ms=NOW)
    assert reading.table is not None
    told = {name: cells.values.to_pylist() for name, cells in reading.table.set_attributes.items()}
    assert told == {"day": ["2026-01-02"], "at": ["2026-01-02T03:04:05.000Z"], "there": ["2026-01-02T03:04:05Z"]}


@pytest.mark.parametrize("name", [type_.name.lower() for type_ in EventType])
def test_every_type_of_event_is_known(name: str) -> None:
    reading = read_table(ipc(pa.table({"mpid": [1], "event_type": [name], "event_name": ["x"]})), request_id="", platform="", now_ms=NOW)
    assert reading.table is not None
    assert reading.table.kinds == [(EventType[name.upper()], "x")]


def test_an_event_of_commerce_has_its_amount_with_the_digits_that_were_sent() -> None:
    columns = {
        "mpid": [1, 1, 1],
        "event_type": ["commerce"] * 3,
        "event_name": ["purchase"] * 3,
        "total_amount": ["19.90", None, "a lot"],
        "transaction_id": ["t-1", "", None],
        "currency_code": ["EUR", None, None],
        "attributes.gift": [True, None, None],
    }
    reading = read_table(ipc(pa.table(columns)), request_id="", platform="", now_ms=NOW)
    assert [fault.fault.place for fault in reading.faults] == ["rows[2].total_amount"]
    assert reading.table is not None
    assert reading.table.details is not None
    assert reading.table.details.to_pylist() == [
        '{"attributes":{"gift":true},"transaction_id":"t-1","total_amount":19.90,"currency_code":"EUR"}',
        "",
    ]
    assert reading.table.rows.tolist() == [0, 1]


def test_what_belongs_to_an_event_needs_one() -> None:
    columns = {"mpid": [1, 1], "event_name": ["x", None], "attributes.a": ["1", "2"]}
    assert faults_of(columns) == {"rows[1].event_name": "MISSING"}


BAD_TABLES: list[tuple[str, dict[str, Any], dict[str, str]]] = [
    ("a column that is none", {"mpid": [1], "emial": ["a@b.c"]}, {"columns.emial": "MALFORMED"}),
    ("no name of an attribute", {"mpid": [1], "attributes.": ["a"]}, {"columns.attributes.": "MISSING"}),
    ("a struct", {"mpid": [1], "attributes.a": [{"b": 1}]}, {"columns.attributes.a": "WRONG_TYPE"}),
    ("a list of numbers", {"mpid": [1], "user_attributes.a": [[1]]}, {"columns.user_attributes.a": "WRONG_TYPE"}),
    ("identities that are broken numbers", {"email": [1.5]}, {"columns.email": "WRONG_TYPE"}),
    ("a time that is a bool", {"mpid": [1], "time": [True]}, {"columns.time": "WRONG_TYPE"}),
    ("removals that are no list", {"mpid": [1], "deleted_user_attributes": ["a"]}, {"columns.deleted_user_attributes": "WRONG_TYPE"}),
    ("an mpid that is a bool", {"mpid": [True]}, {"columns.mpid": "WRONG_TYPE"}),
    ("an mpid in words", {"mpid": ["five", "7"]}, {"rows[0].mpid": "NOT_A_NUMBER", "rows[0]": "NO_IDENTITY"}),
    ("an mpid of 65 bits", {"mpid": pa.array([2**63], pa.uint64())}, {"rows[0].mpid": "NOT_A_NUMBER", "rows[0]": "NO_IDENTITY"}),
    (
        "a list with a null",
        {"mpid": [1, 2], "attributes.a": [["x"], ["y", None]], "event_name": ["e", "e"]},
        {"rows[1].attributes.a[1]": "WRONG_TYPE"},
    ),
    ("a long entry", {"mpid": [1], "user_attributes.a": [["y", "x" * 5000]]}, {"rows[0].user_attributes.a[1]": "TOO_LONG"}),
    ("a long list", {"mpid": [1], "user_attributes.a": [["y"] * 1001]}, {"rows[0].user_attributes.a": "TOO_MANY"}),
    (
        "101 attributes",
        {"mpid": [1, 2], **{f"user_attributes.{n}": ["x", None] for n in range(101)}},
        {"rows[0].user_attributes": "TOO_MANY"},
    ),
    ("a large row", {"mpid": [1], **{f"user_attributes.{n}": ["x" * 4000] for n in range(40)}}, {"rows[0]": "TOO_LARGE"}),
    ("a large list", {"mpid": [1, 2], "user_attributes.a": [["x" * 500] * 400, ["x"]]}, {"rows[0]": "TOO_LARGE"}),
    (
        "a row that is large once it is JSON",
        {"mpid": [1], "event_name": ["x"], **{f"attributes.{n}": ["\1" * 4000] for n in range(6)}},
        {"rows[0]": "TOO_LARGE"},
    ),
    ("more rows than are taken", {"mpid": [1] * (TABLE_MAX_ROWS + 1)}, {"table": "TOO_MANY"}),
    (
        "more than it seems",
        {
            "mpid": [1] * TABLE_MAX_ROWS,
            "user_attributes.a": pa.array(["x" * (TABLE_MAX_BYTES // TABLE_MAX_ROWS)] * TABLE_MAX_ROWS).dictionary_encode(),
        },
        {"table": "TOO_LARGE"},
    ),
]


@pytest.mark.parametrize(("columns", "faults"), [case[1:] for case in BAD_TABLES], ids=[case[0] for case in BAD_TABLES])
def test_bad_tables_are_refused_with_the_place(columns: dict[str, Any], faults: dict[str, str]) -> None:
    assert faults_of(columns) == faults


@pytest.mark.parametrize("body", [b"x", b"\xff\xff\xff\xff\x10\0\0\0", ipc(pa.table({"mpid": [1]}))[:-40]])
def test_what_is_no_arrow_is_refused(body: bytes) -> None:
    (fault,) = read_table(body, request_id="", platform="", now_ms=NOW).faults
    assert (fault.row, fault.fault.place, fault.fault.reason) == (-1, "table", "MALFORMED")


WHOLE = ipc(
    pa.table(
        {
            "email": pa.array(["a@b.c", "d@e.f", None]).dictionary_encode(),
            "event_name": ["x", "y", None],
            "time": [NOW, None, NOW],
            "attributes.tags": [["a"], ["b", "c"], None],
            "user_attributes.n": [1.5, 2, None],
        }
    )
)


@settings(deadline=None, max_examples=500)
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=4), st.integers(1, len(WHOLE)))
def test_a_table_that_was_damaged_is_read_or_refused(damage: list[tuple[int, int]], size: int) -> None:
    body = bytearray(WHOLE)
    for place, byte in damage:
        body[place] = byte
    for sent in (bytes(body), bytes(body[:size])):
        reading = read_table(sent, request_id="", platform="", now_ms=NOW)
        assert reading.table is None or len(reading.table.rows) + len({fault.row for fault in reading.faults}) == reading.table.size


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
@pytest.mark.parametrize("only", ["email", "mpid"])
def test_a_compressed_table_is_refused_before_it_is_unpacked(compression: str, only: str) -> None:
    columns = {"email": pa.array(["a" * 1000] * 20).dictionary_encode(), "mpid": pa.array([1] * 20)}
    body = ipc(pa.table({only: columns[only]}), compression=compression)
    (fault,) = read_table(body, request_id="", platform="", now_ms=NOW).faults
    assert (fault.fault.place, fault.fault.reason) == ("table", "MALFORMED")
    assert "compressed" in fault.fault.description


def test_two_columns_of_one_name_are_refused() -> None:
    assert faults_of(pa.table([[1], ["a"], ["b"]], names=["mpid", "email", "email"])) == {"columns.email": "MALFORMED"}


def test_a_text_that_is_no_utf_8_is_refused() -> None:
    broken = pa.StringArray.from_buffers(1, pa.array([0, 2], pa.int32()).buffers()[1], pa.py_buffer(b"\xff\xfe"))
    assert faults_of(pa.table({"mpid": [1], "user_attributes.a": broken})) == {"table": "MALFORMED"}


def test_of_one_row_five_faults_are_told() -> None:
    columns: dict[str, Sequence[Any]] = {"mpid": [1], **{f"user_attributes.{letter}": ["\0"] for letter in "abcdefgh"}}
    assert len(faults_of(columns)) == 5


def test_a_table_without_rows_is_fine() -> None:
    reading = read_table(ipc(pa.table({"mpid": pa.array([], pa.int64())})), request_id="r", platform="", now_ms=NOW)
    assert (reading.table, reading.faults) == (None, [])


def test_several_batches_of_one_request_are_one_table() -> None:
    table = pa.table({"email": pa.array(["a@b.c", "d@e.f", "a@b.c"]).dictionary_encode(), "event_name": ["x", "y", "z"]})
    reading = read_table(ipc(table, 1), request_id="", platform="", now_ms=NOW)
    assert reading.table is not None
    people = reading.table.people
    assert [identity.value for named in people.identities([0, 1]) for _, identity in named] == ["a@b.c", "d@e.f"]
    assert reading.table.person_of.tolist() == [0, 1, 0]
    assert reading.table.kinds == [(EventType.CUSTOM, "x"), (EventType.CUSTOM, "y"), (EventType.CUSTOM, "z")]


async def test_rows_show_who_is_one(channel: grpc.aio.Channel, bus: Bus) -> None:
    before: dict[str, Any] = {
        "customer_id": ["c", None, None],
        "ios_vendor_id": [None, "d", "e"],
        "event_name": ["bought", "browsed", "elsewhere"],
    }
    # The third row is of somebody all of whose identities are known, and who ends in this very request.
    after: dict[str, Any] = {
        "customer_id": ["c", None, "c", "c"],
        "ios_vendor_id": ["d", "d", None, "e"],
        "event_name": ["in", "again", "on", "too"],
    }
    await ingest(channel, request(before))
    await ingest(channel, request(after))
    told = await read_stream(bus)
    mpids = {event.name: event.mpid for event in told.events}
    assert len({mpids[name] for name in before["event_name"]}) == 3
    assert {mpids[name] for name in after["event_name"]} == {mpids["bought"]}
    ended = {change.mpid: change.merged_into for change in told.changes if change.merged_into}
    assert ended == {mpids["browsed"]: mpids["bought"], mpids["elsewhere"]: mpids["bought"]}
