"""Whatever comes: no request fails by a bug of ours, and none of the good in it is lost. `make soak` sends a million bodies."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
from collections.abc import Callable
from itertools import islice
from random import Random
from typing import Any

import pytest

from services.chassis.bus import Bus
from services.ingest.domain import dedupe
from services.ingest.domain.identities import key_of
from services.ingest.domain.limits import BATCHES_MAX
from services.ingest.domain.model import Batch
from services.ingest.domain.reading import Reading, read
from services.ingest.domain.segment_reading import BATCH, write_key_of
from services.ingest.domain.segment_reading import read as read_messages
from services.ingest.facts import Facts
from services.ingest.inputs import Input
from tests.ingest.conftest import Service, read_stream
from tests.ingest.fuzz import BATCH as A_BATCH
from tests.ingest.fuzz import GOOD_BATCH, GOOD_MESSAGE, MESSAGE, NOW, bodies

BODIES = int(os.environ.get("MUSTER_FUZZ_BODIES", "4000"))
SEED = int(os.environ.get("MUSTER_FUZZ_SEED") or Random().randrange(2**32))
INPUT = Input(account_id=1, workspace_id=2, input_id=3, api_key="k", secret_sha256=b"", platform="web", active=True, version=1)


def bulk(parts: bytes) -> bytes:
    return b"[%b]" % parts


def messages(parts: bytes) -> bytes:
    return b'{"sentAt": "2025-10-09T08:53:21.000Z", "batch": [%b]}' % parts


Way = tuple[dict[str, Any], dict[str, Any], Callable[[bytes], bytes], Callable[[bytes], Reading], Callable[[Any], Any], int]
WAYS: dict[str, Way] = {
    "Events API": (
        GOOD_BATCH,
        A_BATCH,
        bulk,
        lambda body: read(body, bulk=True, platform="web", now_ms=NOW),
        lambda body: body,
        BATCHES_MAX,
    ),
    "Segment API": (
        GOOD_MESSAGE,
        MESSAGE,
        messages,
        lambda body: read_messages(body, BATCH, platform="web", now_ms=NOW),
        lambda body: body.get("batch"),
        2500,
    ),
}


def publishable(batches: list[Batch]) -> None:
    """What is accepted can be kept and published, too."""
    facts = Facts(partitions=4, receive_time_ms=NOW)
    for batch in batches:
        keys = dedupe.message_keys(1, 3, batch)
        ids = dedupe.event_ids(1, 3, batch, keys)
        assert all(key_of(1, identity) for identity in batch.identities)
        dedupe.request_key(1, 3, batch.request_id)
        for change in batch.changes:
            facts.add_change(INPUT, batch.mpid or 1, change, batch.identities)
        if batch.events:
            facts.add_events(INPUT, batch.mpid or 1, batch.context, batch.events, ids)
    for message in facts.outgoing():
        assert len(message.payload) < 1_000_000


def strict(body: bytes) -> Any:
    """The JSON as Python's own reader has it; None where it is none, is very deep, or holds what JSON does not know."""

    def unknown(constant: str) -> None:
        raise ValueError(constant)

    try:
        return json.loads(body, parse_constant=unknown)
    except (ValueError, RecursionError):
        return None


@pytest.mark.timeout(0 if BODIES > 100_000 else 120)
@pytest.mark.parametrize("way", WAYS)
def test_of_any_body_the_good_parts_are_read_and_the_others_named(way: str) -> None:
    good, spoilt, wrap, reader, parts_of, most = WAYS[way]
    random = Random(SEED)
    whole = kept = 0
    for number, body in enumerate(islice(bodies(random, good, spoilt, wrap), BODIES)):
        told = f"seed {SEED}, body {number}: {body[:3000]!r}"
        try:
            reading = reader(body)
            publishable(reading.batches)
            if way == "Segment API" and not reading.whole:
                write_key_of(body)
        except Exception as error:
            raise AssertionError(told) from error
        assert all(fault.description for fault in reading.faults), told
        document = strict(body)
        parts = parts_of(document) if isinstance(document, list if way == "Events API" else dict) else None
        if isinstance(parts, list) and len(parts) <= most and not (reading.whole and _is_shared_fault(reading)):
            assert not reading.whole, told
            assert len(reading.batches) >= sum(part == good for part in parts), told
            assert reading.faults or len(reading.batches) == len(parts), told
        whole += reading.whole
        kept += len(reading.batches)
    # Most bodies are still JSON: what is tested is what becomes of their parts.
    assert whole < BODIES * 0.4
    assert kept > BODIES * 1.2


def _is_shared_fault(reading: Reading) -> bool:
    """A fault of what a Segment batch says for all of its messages spoils them all."""
    return reading.faults[0].place.startswith(("sentAt", "context", "batch"))


async def test_of_any_request_none_ends_in_a_bug_and_the_good_batches_are_published(service: Service, bus: Bus) -> None:
    random = Random(SEED)

    async def send(path: str, body: bytes, reader: Callable[[bytes], Reading], packed: bool) -> int:
        headers = {"content-encoding": "gzip"} if packed else {}
        answer = await service.http.post(path, content=gzip.compress(body) if packed else body, headers=headers)
        expected = reader(body).batches
        told = (SEED, body, answer.text)
        assert answer.status_code in (200, 202, 400), told
        if answer.status_code == 400:
            assert answer.json()["errors"], told
            # By another clock, a time may be within or out of the bounds.
            assert abs(answer.json().get("accepted", 0) - len(expected)) <= 1, told
        return sum(event.name == "Kept" for batch in expected for event in batch.events)

    sent = [
        send("/v2/bulkevents" if good is GOOD_BATCH else "/v1/batch", body, reader, random.random() < 0.2)
        for good, spoilt, wrap, reader, _, _ in WAYS.values()
        for body in islice(bodies(random, good, spoilt, wrap), 300)
    ]
    kept = sum([sum(await asyncio.gather(*sent[start : start + 50])) for start in range(0, len(sent), 50)])
    assert (await service.events(GOOD_BATCH)).status_code == 202
    told = [event.name for event in (await read_stream(bus)).events]
    assert told.count("Kept") == kept + 1
