"""The HTTP Events API as senders meet it."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import tracemalloc
import zlib
from typing import Any

import brotli
import httpx2
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from services.chassis.bus import Bus
from services.ingest.bodies import body_of
from services.ingest.domain.limits import BATCH_MAX_BYTES, REQUEST_MAX_BYTES
from tests.ingest.conftest import INPUT, KEY, SECRET, Serve, Service, batch, custom, now_ms, read_stream, tell_input


def reasons(answer: httpx2.Response) -> list[tuple[str, str]]:
    return [(error["place"], error["reason"]) for error in answer.json()["errors"]]


async def test_a_batch_is_accepted_with_an_empty_answer_once_the_stream_holds_it(service: Service, bus: Bus) -> None:
    sent_ms = now_ms() - 1000
    answer = await service.events(batch("c-1", custom("Viewed", timestamp_unixtime_ms=sent_ms, custom_attributes={"price": 19.90, "n": 3})))
    assert (answer.status_code, answer.content) == (202, b"")
    told = await read_stream(bus)
    (event,) = told.events
    assert (event.type, event.name, event.time_ms, event.input_id, event.platform) == (1, "Viewed", sent_ms, INPUT, "iOS")
    (change,) = told.changes
    assert change.mpid == event.mpid != 0
    assert [(identity.type, identity.value) for identity in change.added_identities] == [(2, "c-1")]
    assert told.order == ["profiles", "events"]


async def test_a_number_keeps_the_digits_that_were_sent(service: Service, bus: Bus) -> None:
    body = json.dumps(batch("c-1", custom(custom_attributes={"price": 7}), user_attributes={"credit": 7})).replace("7", "19.90")
    assert (await service.events(body.encode())).status_code == 202
    told = await read_stream(bus)
    assert told.events[0].details == {"attributes": {"price": "19.90"}}  # JSON numbers are read as their text here
    assert told.changes[0].set_attributes["credit"].number_value == "19.90"


async def test_a_bulk_of_good_batches_is_accepted_whole(service: Service, bus: Bus) -> None:
    answer = await service.bulk([batch(f"c-{number}", custom(f"event {number}")) for number in range(100)])
    assert (answer.status_code, answer.content) == (202, b"")
    told = await read_stream(bus)
    assert len(told.events) == 100
    assert len({event.mpid for event in told.events}) == 100


async def test_without_credentials_or_with_unreadable_ones_the_answer_is_401(service: Service) -> None:
    async with httpx2.AsyncClient(base_url=service.url, trust_env=False) as http:
        for headers in ({}, {"authorization": "Bearer x"}, {"authorization": "Basic ***"}, {"authorization": "Basic eA=="}):
            answer = await http.post("/v2/events", json=batch(), headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Basic")
            assert answer.json()["errors"][0]["code"] == "UNAUTHORIZED"


async def test_a_wrong_key_or_secret_or_an_inactive_input_is_answered_403(service: Service, bus: Bus) -> None:
    for credentials in ((KEY, "wrong"), ("wrong", SECRET), ("", "")):
        answer = await service.http.post("/v2/events", json=batch(), auth=credentials)
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (403, "FORBIDDEN")
    await tell_input(bus, version=2, active=False)
    for _ in range(200):
        if (answer := await service.events(batch())).status_code == 403:
            break
        await asyncio.sleep(0.01)
    assert answer.status_code == 403


async def test_an_input_that_is_made_later_can_send_at_once(service: Service, bus: Bus) -> None:
    await tell_input(bus, 101, key="another", secret="another secret")
    for _ in range(200):
        answer = await service.http.post("/v2/events", json=batch(), auth=("another", "another secret"))
        if answer.status_code == 202:
            break
        await asyncio.sleep(0.01)
    assert answer.status_code == 202


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda body: zlib.compress(body, wbits=-15)),
        ("br", brotli.compress),
    ],
    ids=["gzip", "deflate", "deflate without a header", "brotli"],
)
async def test_a_body_may_be_compressed(service: Service, bus: Bus, encoding: str, pack: Any) -> None:
    body = pack(json.dumps(batch()).encode())
    assert (await service.events(body, headers={"content-encoding": encoding})).status_code == 202
    assert len((await read_stream(bus)).events) == 1
    for broken in (body[:-5], body[:1], b"", b"no such form"):
        assert (await service.events(broken, headers={"content-encoding": encoding})).status_code == 400
    refused = await service.events(body, headers={"content-encoding": "zstd"})
    assert (refused.status_code, refused.headers["accept-encoding"]) == (415, "gzip, deflate, br")
    assert len((await read_stream(bus)).events) == 1


async def test_a_request_over_256_kb_is_refused_also_when_it_was_compressed_or_comes_in_chunks(service: Service, bus: Bus) -> None:
    body = json.dumps([batch("c-1", custom("x" * 1000)) for _ in range(300)]).encode()
    assert len(body) > REQUEST_MAX_BYTES

    async def chunks() -> Any:
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    answers = [
        await service.bulk(body),
        await service.bulk(gzip.compress(body), headers={"content-encoding": "gzip"}),
        await service.bulk(brotli.compress(body), headers={"content-encoding": "br"}),
        await service.http.post("/v2/bulkevents", content=chunks()),
    ]
    assert [answer.status_code for answer in answers] == [413] * 4
    assert answers[0].json()["errors"][0]["code"] == "REQUEST_TOO_LARGE"
    assert (await service.events(batch())).status_code == 202
    assert len((await read_stream(bus)).events) == 1


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("br", brotli.compress)])
async def test_a_body_that_would_unpack_to_far_more_takes_no_memory(encoding: str, pack: Any) -> None:
    bomb = pack(b" " * 100_000_000)
    assert len(bomb) < REQUEST_MAX_BYTES
    sent = Request({"type": "http", "method": "POST", "headers": [(b"content-encoding", encoding.encode())]}, receive=_whole(bomb))
    tracemalloc.start()
    try:
        with pytest.raises(HTTPException) as refused:
            await body_of(sent, limit=REQUEST_MAX_BYTES)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert refused.value.status_code == 413
    assert most < 4 * REQUEST_MAX_BYTES


def _whole(body: bytes) -> Any:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def test_a_batch_over_128_kb_is_refused_and_the_others_of_its_request_are_kept(service: Service, bus: Bus) -> None:
    large = batch("c-1", *[custom("large", custom_attributes={"text": "x" * 4000})] * 33)
    assert BATCH_MAX_BYTES < len(json.dumps(large)) < REQUEST_MAX_BYTES - 1000
    assert reasons(await service.events(large)) == [("", "TOO_LARGE")]
    answer = await service.bulk([batch("c-2", custom("good")), large])
    assert (answer.status_code, reasons(answer), answer.json()["accepted"]) == (400, [("[1]", "TOO_LARGE")], 1)
    assert (await read_stream(bus)).names == ["good"]


async def test_malformed_json_is_refused_with_its_position_and_nothing_is_kept(service: Service, bus: Bus) -> None:
    good = json.dumps(batch())
    for body in (good[:-1], f"[{good}, {{]", f"[{good}", "", "nonsense", "[" * 5000):
        for post in (service.events, service.bulk):
            answer = await post(body.encode())
            assert answer.status_code == 400
            (error,) = answer.json()["errors"]
            assert (error["code"], error["reason"]) == ("BAD_REQUEST", "MALFORMED")
            assert "byte" in error["message"] or "deep" in error["message"] or "form" in error["message"]
    assert (await read_stream(bus)).events == []


async def test_101_batches_are_refused(service: Service, bus: Bus) -> None:
    answer = await service.bulk([batch()] * 101)
    assert (answer.status_code, reasons(answer)) == (400, [("", "TOO_MANY")])
    assert (await read_stream(bus)).events == []


async def test_of_a_body_that_is_cut_in_the_middle_nothing_is_kept(service: Service, bus: Bus) -> None:
    # The first half is a whole good bulk by itself.
    body = json.dumps([batch()]).encode()
    head = f"POST /v2/bulkevents HTTP/1.1\r\nHost: x\r\nAuthorization: {httpx2.BasicAuth(KEY, SECRET)._auth_header}\r\n"
    with socket.create_connection(("127.0.0.1", service.settings.http_port)) as connection:
        connection.sendall(f"{head}Content-Length: {2 * len(body)}\r\n\r\n".encode() + body)
        await asyncio.sleep(0.2)
    await asyncio.sleep(0.2)
    assert (await read_stream(bus)).events == []
    assert (await service.events(batch())).status_code == 202


NOW = now_ms()
YEAR = 366 * 24 * 3600 * 1000
SURROGATE = "half \ud800"
BAD: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {
    "an unknown event type": (batch("b", {"event_type": "dance", "data": {}}), [("events[0].event_type", "UNKNOWN_EVENT_TYPE")]),
    "no event type": (batch("b", {"data": {}}), [("events[0].event_type", "MISSING")]),
    "no environment": ({"user_identities": {"customer_id": "b"}, "events": []}, [("environment", "MISSING")]),
    "another environment": (batch("b", environment="staging"), [("environment", "WRONG_TYPE")]),
    "an attribute that is a map": (
        batch("b", custom(custom_attributes={"a map": {"x": 1}})),
        [('events[0].data.custom_attributes["a map"]', "WRONG_TYPE")],
    ),
    "a user attribute that is a map": (batch("b", user_attributes={"plan": {"x": 1}}), [("user_attributes.plan", "WRONG_TYPE")]),
    "a list of other things than texts": (batch("b", user_attributes={"plan": ["a", 1]}), [("user_attributes.plan[1]", "WRONG_TYPE")]),
    "a time before 2000": (batch("b", timestamp_unixtime_ms=946_684_799_999), [("timestamp_unixtime_ms", "TIME_OUT_OF_RANGE")]),
    "a time in ten years": (
        batch("b", custom(timestamp_unixtime_ms=NOW + 11 * YEAR)),
        [("events[0].data.timestamp_unixtime_ms", "TIME_OUT_OF_RANGE")],
    ),
    "a negative time": (batch("b", custom(timestamp_unixtime_ms=-1)), [("events[0].data.timestamp_unixtime_ms", "TIME_OUT_OF_RANGE")]),
    "a time with decimals": (
        batch("b", custom(timestamp_unixtime_ms=NOW + 0.5)),
        [("events[0].data.timestamp_unixtime_ms", "WRONG_TYPE")],
    ),
    "a time that is text": (batch("b", timestamp_unixtime_ms="today"), [("timestamp_unixtime_ms", "WRONG_TYPE")]),
    "NUL in a value": (
        batch("b", custom(custom_attributes={"x": "a\0b"})),
        [("events[0].data.custom_attributes.x", "BAD_CHARACTER")],
    ),
    "NUL in a name": (batch("b", custom("a\0b")), [("events[0].data.event_name", "BAD_CHARACTER")]),
    "NUL in the name of an attribute": (
        batch("b", user_attributes={"a\0b": 1}),
        [('user_attributes["a\\u0000b"]', "BAD_CHARACTER")],
    ),
    "half a surrogate pair": (batch("b", user_attributes={"x": SURROGATE}), [("user_attributes.x", "BAD_CHARACTER")]),
    "half a surrogate pair in a list": (batch("b", user_attributes={"x": [SURROGATE]}), [("user_attributes.x[0]", "BAD_CHARACTER")]),
    "101 attributes": (
        batch("b", custom(custom_attributes={f"a{number}": "x" for number in range(101)})),
        [("events[0].data.custom_attributes", "TOO_MANY")],
    ),
    "a value of 4,097 characters": (batch("b", user_attributes={"x": "y" * 4097}), [("user_attributes.x", "TOO_LONG")]),
    "a list of 1,001 texts": (batch("b", user_attributes={"x": ["y"] * 1001}), [("user_attributes.x", "TOO_MANY")]),
    "a text of 513 characters in a list": (batch("b", user_attributes={"x": ["y", "z" * 513]}), [("user_attributes.x[1]", "TOO_LONG")]),
    "a number beyond all bounds": (batch("b", user_attributes={"x": 10**400}), [("user_attributes.x", "NOT_A_NUMBER")]),
    "nobody": ({"environment": "production", "events": [custom()]}, [("user_identities", "NO_IDENTITY")]),
    "nobody, by zeros": (
        {"environment": "production", "device_info": {"ios_advertising_id": "00000000-0000-0000-0000-000000000000"}},
        [("user_identities", "NO_IDENTITY")],
    ),
    "an mpid of 65 bits": (batch("b", mpid=2**64), [("mpid", "NOT_A_NUMBER")]),
    "a custom event without a name": (batch("b", custom("")), [("events[0].data.event_name", "MISSING")]),
    "a location off the earth": (
        batch("b", custom(location={"latitude": 91, "longitude": 0})),
        [("events[0].data.location", "NOT_A_NUMBER")],
    ),
    "a location beyond all bounds": (
        batch("b", custom(location={"latitude": 10**400, "longitude": 0})),
        [("events[0].data.location.latitude", "NOT_A_NUMBER")],
    ),
    "a product action without an action": (
        batch("b", {"event_type": "commerce_event", "data": {"product_action": {"products": []}}}),
        [("events[0].data.product_action.action", "MISSING")],
    ),
    "events that are no list": (batch("b") | {"events": {}}, [("events", "WRONG_TYPE")]),
    "a batch that is a text": ("batch", [("", "WRONG_TYPE")]),  # type: ignore[dict-item]  # what a sender gets wrong
    "many faults": (
        {
            "environment": 5,
            "user_identities": {"email": "b@example.com"},
            "timestamp_unixtime_ms": 0,
            "events": [{"event_type": "x"}, custom(timestamp_unixtime_ms="1"), {"event_type": "screen_view"}],
        },
        [
            ("environment", "WRONG_TYPE"),
            ("events[1].data.timestamp_unixtime_ms", "WRONG_TYPE"),
            ("timestamp_unixtime_ms", "TIME_OUT_OF_RANGE"),
            ("events[0].event_type", "UNKNOWN_EVENT_TYPE"),
            ("events[2].data.screen_name", "MISSING"),
        ],
    ),
}


async def test_each_fault_is_named_with_its_place_and_the_good_batches_around_it_are_kept(service: Service, bus: Bus) -> None:
    for number, (what, (bad, expected)) in enumerate(BAD.items()):
        alone = await service.events(bad)
        assert alone.status_code == 400, what
        assert sorted(reasons(alone)) == sorted(expected), what
        assert all(error["code"] == "BAD_REQUEST" and error["message"] for error in alone.json()["errors"])
        among = await service.bulk([batch("g-1", custom(f"before {number}")), bad, batch("g-2", custom(f"after {number}"))])
        assert among.status_code == 400, what
        assert among.json()["accepted"] == 2, what
        assert sorted(reasons(among)) == sorted((f"[1].{place}" if place else "[1]", reason) for place, reason in expected), what
    names = (await read_stream(bus)).names
    assert names == sorted(f"{side} {number}" for number in range(len(BAD)) for side in ("before", "after"))


async def test_text_that_is_not_utf8_is_refused_in_its_batch(service: Service, bus: Bus) -> None:
    body = json.dumps([batch("c-1", custom("good")), batch("c-2", custom("NAME"))]).encode().replace(b"NAME", b"\xff\xfe")
    answer = await service.bulk(body)
    assert (answer.status_code, reasons(answer)) == (400, [("[1]", "BAD_CHARACTER")])
    assert (await read_stream(bus)).names == ["good"]


async def test_more_than_a_hundred_faults_are_counted_and_not_all_told(service: Service) -> None:
    answer = await service.events(batch("c-1", *[{"event_type": "x"}] * 150))
    errors = answer.json()["errors"]
    assert len(errors) == 101
    assert errors[-1]["message"] == "There are 50 more faults."


async def test_fields_that_are_not_known_and_nulls_are_passed_over(service: Service, bus: Bus) -> None:
    event = custom("kept", custom_attributes=None, location=None, new_field={"a": [{}]}, session_id=7)
    sent = batch("c-1", event, sdk_version="9", ip=None, user_identities={"customer_id": "c-1", "email": None, "newer_id": "x"})
    assert (await service.events(sent)).status_code == 202
    assert (await read_stream(bus)).names == ["kept"]


async def test_a_name_over_256_characters_is_cut(service: Service, bus: Bus) -> None:
    long = "n" * 300
    sent = batch("c-1", custom(long, custom_attributes={long: 1}), user_attributes={long: 1}, deleted_user_attributes=[long])
    assert (await service.events(sent)).status_code == 202
    told = await read_stream(bus)
    assert told.events[0].name == long[:256]
    assert list(told.events[0].details["attributes"]) == [long[:256]]
    assert list(told.changes[0].set_attributes) == [long[:256]]
    assert list(told.changes[0].removed_attributes) == [long[:256]]


async def test_what_is_just_within_the_limits_is_kept(service: Service, bus: Bus) -> None:
    attributes = {f"a{number}": "x" for number in range(98)} | {"value": "x" * 4096}
    sent = batch(
        "c-1", custom("n" * 256, custom_attributes=attributes | {"list": ["y"] * 1000}), user_attributes={"list": ["y" * 512] * 50}
    )
    assert (await service.events(sent)).status_code == 202
    told = await read_stream(bus)
    assert len(told.events[0].details["attributes"]) == 100
    assert len(told.changes[0].set_attributes["list"].list_value.values) == 50


async def test_a_batch_of_identities_only_still_makes_the_person_known(service: Service, bus: Bus) -> None:
    only = {"environment": "development", "user_identities": {"email": " Ann@Example.com "}}
    assert (await service.events(only)).status_code == 202
    assert (await service.events(only)).status_code == 202
    told = await read_stream(bus)
    assert told.events == []
    assert len({change.mpid for change in told.changes}) == 1
    assert [[identity.value for identity in change.added_identities] for change in told.changes] == [["ann@example.com"], []]


async def test_a_full_queue_is_answered_429_with_the_time_to_wait(serve: Serve) -> None:
    async with serve(queue_events=20, round_events=1) as service:
        answers = await asyncio.gather(*[service.bulk([batch(f"c-{number}")] * 10) for number in range(40)])
    statuses = {answer.status_code for answer in answers}
    assert statuses == {202, 429}
    assert all(answer.headers["retry-after"] == "1" for answer in answers if answer.status_code == 429)


async def test_other_methods_and_paths_are_told_so(service: Service) -> None:
    assert (await service.http.get("/v2/events")).status_code == 405
    assert (await service.http.post("/v2/other")).status_code == 404
    assert (await service.http.get("/healthz")).json() == {"status": "serving", "away": []}
