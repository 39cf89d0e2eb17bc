"""The load tool of the benchmarks sends what it says it sends."""

from __future__ import annotations

import json

from services.chassis.bus import Bus
from tests.bench.load import Load, Shape
from tests.ingest.conftest import KEY, SECRET, Service, read_stream


async def test_all_that_the_load_tool_counts_arrives(service: Service, bus: Bus) -> None:
    flat = await Load(service.url, KEY, SECRET, Shape(batches=20, events=5, message_ids=True), seed=1).flat_out(0.3, connections=2)
    paced = await Load(service.url, KEY, SECRET, Shape(batches=2, events=5, people=3), seed=2).at_rate(500, 0.4)
    assert paced.events == 200
    assert paced.refused == flat.refused == {}
    told = await read_stream(bus)
    assert len(told.events) == flat.events + paced.events
    assert len({event.mpid for event in told.events}) == flat.events // 5 + 3
    assert flat.answer_ms(0.99) > 0


def test_every_body_of_a_load_has_the_length_that_is_announced_and_ids_of_its_own() -> None:
    load = Load("http://127.0.0.1:1", "k", "s", Shape(batches=3, events=4, message_ids=True))
    bodies = [load.body(1_760_000_000_000) for _ in range(3)]
    assert len({len(body) for body in bodies}) == 1
    assert f"Content-Length: {len(bodies[0])}\r\n".encode() in load._head
    sent = [batch for body in bodies for batch in json.loads(body)]
    assert len({batch["source_request_id"] for batch in sent}) == 9
    assert len({event["data"]["source_message_id"] for batch in sent for event in batch["events"]}) == 36
