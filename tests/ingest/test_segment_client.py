"""The real `segment-analytics-python` client against a running service: what it sends is understood."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from segment.analytics.client import Client

from services.chassis.bus import Bus
from services.ingest.domain.model import EventType
from tests.fakes.waiting import eventually
from tests.ingest.conftest import INPUT, Service, now_ms, read_stream, tell_input

WRITE_KEY = "in-a-write-key"


@pytest.fixture
async def site(service: Service, bus: Bus) -> Service:
    """A service that has an input whose key alone may send."""
    await tell_input(bus, INPUT + 1, key=WRITE_KEY, allow_key_only=True)

    async def known() -> bool:
        return (await service.http.get(f"/v1/projects/{WRITE_KEY}/settings")).status_code == 200

    await eventually(known)
    return service


def client(service: Service, faults: list[Any], **values: Any) -> Client:
    def on_error(error: Any, _: Any) -> None:
        faults.append(error)

    return Client(values.pop("write_key", WRITE_KEY), host=service.url, on_error=on_error, max_retries=1, **values)


@pytest.mark.parametrize("packed", [False, True])
async def test_each_call_of_the_client_is_understood(site: Service, bus: Bus, packed: bool) -> None:
    faults: list[Any] = []
    sender = client(site, faults, gzip=packed)
    hour_ago = datetime.now(UTC) - timedelta(hours=1)

    def send() -> None:
        sender.identify("c-1", {"email": "ann@example.com", "plan": "gold", "born": datetime(2000, 1, 2, tzinfo=UTC)}, anonymous_id="a-1")
        sender.track("c-1", "Clicked", {"place": "home", "score": 5}, timestamp=hour_ago)
        sender.track("c-1", "Order Completed", {"total": 39.8, "products": [{"product_id": "sku", "price": 19.9, "quantity": 2}]})
        sender.page("c-1", name="Home", properties={"path": "/"})
        sender.screen("c-1", name="Basket")
        sender.group("c-1", "g-1", {"name": "Acme"})
        sender.track(anonymous_id="a-9", event="Wandered")
        sender.alias("a-9", "c-1")
        sender.track(anonymous_id="a-1", event="Returned", context={"traits": {"plan": "platinum"}})
        sender.shutdown()

    await asyncio.to_thread(send)
    assert faults == []
    told = await read_stream(bus)
    assert [(event.type, event.name) for event in told.events] == [
        (EventType.CUSTOM, "Clicked"),
        (EventType.COMMERCE, "purchase"),
        (EventType.SCREEN_VIEW, "Home"),
        (EventType.SCREEN_VIEW, "Basket"),
        (EventType.CUSTOM, "Wandered"),
        (EventType.CUSTOM, "Returned"),
    ]
    assert len({event.mpid for event in told.events}) == 1
    assert abs(told.events[0].time_ms - hour_ago.timestamp() * 1000) < 10_000
    assert abs(told.events[2].time_ms - now_ms()) < 10_000
    assert told.events[1].details["total_amount"] == "39.8"
    assert told.events[1].details["products"] == [{"id": "sku", "price": "19.9", "quantity": 2}]
    stated = {name: value for change in told.changes for name, value in change.set_attributes.items()}
    assert stated["group.name"].string_value == "Acme"
    assert stated["plan"].string_value == "platinum"
    assert stated["born"].string_value.startswith("2000-01-02")
    added = {(identity.type, identity.value) for change in told.changes for identity in change.added_identities}
    assert {(2, "c-1"), (51, "a-9"), (8, "ann@example.com"), (51, "a-1")} <= added


async def test_the_client_is_told_what_is_wrong_and_does_not_try_for_ever(site: Service, bus: Bus) -> None:
    faults: list[Any] = []

    def send(**values: Any) -> None:
        sender = client(site, faults, **values)
        sender.track("c-1", "Large", {f"p{n}": 1 for n in range(101)})
        sender.track("c-1", "Kept")
        sender.shutdown()

    await asyncio.to_thread(send)
    assert [(error.status, error.code) for error in faults] == [(400, "BAD_REQUEST")]
    assert "batch[0].properties" in str(faults[0])
    assert (await read_stream(bus)).names == ["Kept"]
    faults.clear()
    await asyncio.to_thread(send, write_key="in-unknown")
    assert [error.status for error in faults] == [403]
