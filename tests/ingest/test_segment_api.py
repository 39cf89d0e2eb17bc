"""The Segment API of a running service: who may send, how, and what is answered."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from services.chassis.bus import Bus
from services.ingest.domain.limits import SEGMENT_MESSAGE_MAX_BYTES, SEGMENT_REQUEST_MAX_BYTES
from tests.fakes.waiting import eventually
from tests.ingest.conftest import INPUT, KEY, SECRET, Serve, Service, batch, custom, read_stream, tell_input

WRITE_KEY = "in-a-write-key"
TRACK = {"userId": "c-1", "event": "Clicked", "messageId": "m-1"}


@pytest.fixture
async def site(service: Service, bus: Bus) -> AsyncIterator[httpx2.AsyncClient]:
    """A client without credentials of a service that has an input whose key alone may send."""
    await tell_input(bus, INPUT + 1, key=WRITE_KEY, secret="its secret", allow_key_only=True)
    async with httpx2.AsyncClient(base_url=service.url, timeout=20, trust_env=False) as client:
        await until(client, 200)
        yield client


async def until(client: httpx2.AsyncClient, status: int) -> None:
    """Return once the service knows whether the write key may send."""

    async def answered() -> bool:
        return (await client.get(f"/v1/projects/{WRITE_KEY}/settings")).status_code == status

    await eventually(answered)


async def post(client: httpx2.AsyncClient, path: str, body: Any, key: str = WRITE_KEY, secret: str = "", **more: Any) -> httpx2.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await client.post(path, content=content, auth=(key, secret), **more)


async def test_each_path_takes_its_message(site: httpx2.AsyncClient, bus: Bus) -> None:
    messages: dict[str, dict[str, Any]] = {
        "track": {"event": "Clicked"},
        "identify": {"traits": {"plan": "gold"}},
        "page": {"name": "Home"},
        "screen": {"name": "Basket"},
        "group": {"groupId": "g"},
        "alias": {"previousId": "c-0"},
    }
    for path, body in messages.items():
        for short in (path, path[0]):
            answer = await post(site, f"/v1/{short}", {"userId": f"c-{short}", **body})
            assert (answer.status_code, answer.json()) == (200, {"success": True})
    told = await read_stream(bus)
    assert told.names == ["Basket", "Basket", "Clicked", "Clicked", "Home", "Home"]
    assert sum("group_id" in change.set_attributes for change in told.changes) == 2
    assert sum("plan" in change.set_attributes for change in told.changes) == 2
    many = {"batch": [{"type": path, "userId": "c-9", **body} for path, body in messages.items()]}
    for path in ("batch", "b", "import"):
        assert (await post(site, f"/v1/{path}", many)).json() == {"success": True}
    assert len((await read_stream(bus)).events) == 6 + 9


async def test_a_message_counts_once_by_its_id(site: httpx2.AsyncClient, bus: Bus) -> None:
    for path, body in (("track", TRACK), ("batch", {"batch": [TRACK | {"type": "track"}] * 2})):
        assert (await post(site, f"/v1/{path}", body)).status_code == 200
    identify = {"userId": "c-1", "messageId": "m-2", "traits": {"plan": "gold"}}
    for _ in range(2):
        assert (await post(site, "/v1/identify", identify)).status_code == 200
    told = await read_stream(bus)
    assert told.names == ["Clicked"]
    assert sum("plan" in change.set_attributes for change in told.changes) == 1


async def test_the_people_are_those_of_the_events_api(site: httpx2.AsyncClient, service: Service, bus: Bus) -> None:
    assert (await service.events(batch("c-1", custom("Here")))).status_code == 202
    assert (await post(site, "/v1/track", TRACK | {"anonymousId": "a-1"})).status_code == 200
    assert (await post(site, "/v1/page", {"anonymousId": "a-1", "name": "Home"})).status_code == 200
    told = await read_stream(bus)
    assert told.names == ["Clicked", "Here", "Home"]
    assert len({event.mpid for event in told.events}) == 1


async def test_two_customers_become_one_by_an_alias_of_somebody_who_has_the_secret(site: httpx2.AsyncClient, bus: Bus) -> None:
    for name in ("old", "new"):
        await post(site, "/v1/track", {"userId": name, "event": name})
    alias = {"userId": "new", "previousId": "old"}
    # The key alone is public: whoever reads it must not be able to do that.
    for secret, are_one in (("", False), ("its secret", True)):
        assert (await post(site, "/v1/alias", alias, secret=secret)).status_code == 200
        for name in ("old", "new"):
            await post(site, "/v1/track", {"userId": name, "event": f"{name} after {bool(secret)}"})
        mpids = {event.name: event.mpid for event in (await read_stream(bus)).events}
        assert (mpids[f"old after {bool(secret)}"] == mpids[f"new after {bool(secret)}"]) is are_one


async def test_the_key_alone_sends_only_where_the_input_says_so(site: httpx2.AsyncClient, service: Service, bus: Bus) -> None:
    # Of another input, the key needs its secret.
    assert (await post(site, "/v1/track", TRACK, KEY)).status_code == 403
    assert (await post(site, "/v1/track", TRACK, KEY, SECRET)).status_code == 200
    assert (await post(site, "/v1/track", TRACK, KEY, "wrong")).status_code == 403
    # A secret that is given must be right, also where none is needed.
    assert (await post(site, "/v1/track", TRACK, WRITE_KEY, "wrong")).status_code == 403
    refused = await post(site, "/v1/track", TRACK, "in-unknown")
    assert (refused.status_code, refused.json()["success"], refused.json()["code"]) == (403, False, "FORBIDDEN")
    # A write key opens nothing else.
    assert (await post(site, "/v2/events", batch(), WRITE_KEY)).status_code == 403
    assert (await site.get(f"/v1/projects/{KEY}/settings")).status_code == 403
    # What is taken back is refused at once.
    await tell_input(bus, INPUT + 1, key=WRITE_KEY, secret="its secret", allow_key_only=False, version=2)
    await until(site, 403)
    assert (await post(site, "/v1/track", TRACK)).status_code == 403
    assert len((await read_stream(bus)).events) == 1


async def test_the_write_key_may_be_in_the_body_as_browsers_send_it(site: httpx2.AsyncClient, bus: Bus) -> None:
    async def send(path: str, body: Any) -> httpx2.Response:
        headers = {"content-type": "text/plain;charset=UTF-8", "origin": "https://shop.example"}
        return await site.post(path, content=json.dumps(body), headers=headers)

    answer = await send("/v1/t", TRACK | {"writeKey": WRITE_KEY})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")
    many = {"batch": [{"type": "page", "name": "Home", "userId": "c-1", "writeKey": WRITE_KEY}]}
    assert (await send("/v1/b", many)).status_code == 200
    assert (await send("/v1/b", many | {"writeKey": WRITE_KEY})).status_code == 200
    none = await send("/v1/t", TRACK)
    assert (none.status_code, none.json()["code"]) == (401, "UNAUTHORIZED")
    # A page must be able to read what is wrong.
    assert none.headers["access-control-allow-origin"] == "*"
    assert (await send("/v1/t", "no object")).status_code == 400
    assert (await read_stream(bus)).names == ["Clicked", "Home", "Home"]


async def test_other_authentication_than_basic_is_refused(site: httpx2.AsyncClient) -> None:
    for header in ("Bearer abc", "Basic", "Basic !", "Basic YWJj"):
        answer = await site.post("/v1/track", content=json.dumps(TRACK | {"writeKey": WRITE_KEY}), headers={"authorization": header})
        assert (answer.status_code, answer.json()["success"]) == (401, False), header
        # By Basic, browsers would ask the visitor of a page for a password.
        assert answer.headers["www-authenticate"].startswith("WriteKey")


async def test_pages_of_any_site_may_ask_first(site: httpx2.AsyncClient) -> None:
    asked = {
        "origin": "https://shop.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,anonymousid",
    }
    answer = await site.options("/v1/track", headers=asked)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert {"authorization", "content-type", "anonymousid"} <= set(answer.headers["access-control-allow-headers"].lower().split(","))
    # The Events API is for those who can keep a secret; pages cannot.
    assert "access-control-allow-origin" not in (await site.options("/v2/events", headers=asked)).headers


async def test_analytics_js_is_told_to_send_here(site: httpx2.AsyncClient, service: Service) -> None:
    told = (await site.get(f"/v1/projects/{WRITE_KEY}/settings")).json()["integrations"]["Segment.io"]
    assert told == {"apiKey": WRITE_KEY, "apiHost": f"127.0.0.1:{service.settings.http_port}/v1", "protocol": "http"}
    before = {"x-forwarded-proto": "https", "host": "ingest.example.com"}
    answer = await site.get(f"/v1/projects/{WRITE_KEY}/settings", headers=before)
    assert answer.json()["integrations"]["Segment.io"]["protocol"] == "https"
    assert answer.json()["integrations"]["Segment.io"]["apiHost"] == "ingest.example.com/v1"
    assert answer.headers["cache-control"] == "no-store"


async def test_bodies_may_be_gzip_and_what_is_too_large_is_a_bad_request(site: httpx2.AsyncClient, bus: Bus) -> None:
    packed = {"content-encoding": "gzip"}
    assert (await post(site, "/v1/track", gzip.compress(json.dumps(TRACK).encode()), headers=packed)).status_code == 200
    large = TRACK | {"properties": {f"p{n}": "x" * 4000 for n in range(9)}}
    assert len(json.dumps(large)) > SEGMENT_MESSAGE_MAX_BYTES
    for body in (json.dumps(large).encode(), b" " * 2_000_000):
        assert (await post(site, "/v1/track", body)).status_code == 400
    bomb = gzip.compress(b" " * (SEGMENT_REQUEST_MAX_BYTES + 1))
    answer = await post(site, "/v1/batch", bomb, headers=packed)
    assert (answer.status_code, answer.json()["success"]) == (400, False)
    # In a batch, only the message that is too large is refused.
    among = {"batch": [TRACK | {"type": "track", "messageId": "m-2"}, large | {"type": "track"}]}
    answer = await post(site, "/v1/batch", among)
    assert (answer.status_code, answer.json()["accepted"], answer.json()["errors"][0]["reason"]) == (400, 1, "TOO_LARGE")
    assert (await read_stream(bus)).names == ["Clicked", "Clicked"]


async def test_a_batch_of_500_kb_is_taken(site: httpx2.AsyncClient, bus: Bus) -> None:
    message = {"type": "track", "userId": "c-1", "event": "E", "properties": {"text": "x" * 3900}}
    body = {"batch": [message | {"messageId": str(n)} for n in range(126)]}
    assert 490_000 < len(json.dumps(body)) < SEGMENT_REQUEST_MAX_BYTES
    assert (await post(site, "/v1/batch", body)).status_code == 200
    assert len((await read_stream(bus)).events) == 126


async def test_faults_are_named_and_the_good_messages_around_them_are_kept(site: httpx2.AsyncClient, bus: Bus) -> None:
    good = {"type": "track", "userId": "c-1", "event": "Kept"}
    answer = await post(site, "/v1/batch", {"batch": [good, {"type": "track", "event": "Nobody's"}, good]})
    assert answer.status_code == 400
    told = answer.json()
    assert (told["success"], told["code"], told["accepted"]) == (False, "BAD_REQUEST", 2)
    assert [(error["place"], error["reason"]) for error in told["errors"]] == [("batch[1].userId", "NO_IDENTITY")]
    assert "batch[1].userId" in told["message"]
    for body in (b"", b"{", b"nonsense", b"[" * 100_000):
        malformed = await post(site, "/v1/batch", body)
        assert (malformed.status_code, malformed.json()["errors"][0]["reason"]) == (400, "MALFORMED")
    assert (await read_stream(bus)).names == ["Kept", "Kept"]


async def test_a_full_queue_is_answered_429_with_the_time_to_wait(serve: Serve, bus: Bus) -> None:
    async with serve(queue_events=20, round_events=1) as service:
        many = {"batch": [{"type": "track", "userId": "c-1", "event": "E"}] * 10}
        answers = await asyncio.gather(*[post(service.http, "/v1/batch", many, KEY, SECRET) for _ in range(40)])
    assert {answer.status_code for answer in answers} == {200, 429}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert (refused.headers["retry-after"], refused.headers["x-ratelimit-reset"]) == ("1", "1")


async def test_other_paths_and_methods_are_told_so(site: httpx2.AsyncClient) -> None:
    assert (await site.get("/v1/track")).status_code == 405
    assert (await post(site, "/v1/dance", TRACK)).status_code == 404
