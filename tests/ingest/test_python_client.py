"""The real `mparticle` client against a running service: what it sends is understood."""

from __future__ import annotations

import asyncio
import json
from importlib import import_module
from pkgutil import iter_modules
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import mparticle
import pytest
from mparticle.models.user_attribute_change_event import UserAttributeChangeEvent

from services.chassis.bus import Bus
from services.ingest.domain.model import EventType
from tests.ingest.conftest import KEY, SECRET, Service, now_ms, read_stream


def idfa(customer: str) -> str:
    return str(uuid5(NAMESPACE_OID, customer))


def client(service: Service, key: str = KEY) -> Any:
    configuration = mparticle.Configuration()
    configuration.host = f"{service.url}/v2"
    configuration.api_key = key
    configuration.api_secret = SECRET
    return mparticle.EventsApi(configuration)


def client_batch(customer: str, *events: Any) -> Any:
    made = mparticle.Batch()
    made.environment = "production"
    made.user_identities = mparticle.UserIdentities(customerid=customer, email=f"{customer}@example.com")
    made.user_attributes = {"plan": "gold", "age": 31, "hobbies": ["chess", "go"]}
    made.device_info = mparticle.DeviceInformation(platform="iOS", ios_advertising_id=idfa(customer), device_model="phone")
    made.application_info = mparticle.ApplicationInformation(application_version="1.2.3")
    made.consent_state = mparticle.ConsentState()
    made.consent_state.gdpr = {"news": mparticle.GDPRConsentState(document="d", consented=True, timestamp_unixtime_ms=now_ms())}
    made.events = list(events)
    return made


def all_events() -> dict[EventType, Any]:
    purchase = mparticle.ProductAction("purchase")
    purchase.products = [mparticle.Product(id="sku", name="Shoe", price=19.9, quantity=2)]
    purchase.total_amount = 39.8
    custom = mparticle.AppEvent("Viewed", "navigation")
    custom.timestamp_unixtime_ms = now_ms()
    custom.custom_attributes = {"place": "home", "score": 5}
    transition = mparticle.ApplicationStateTransitionEvent()
    transition.application_transition_type = "application_background"
    change = UserAttributeChangeEvent()
    change.user_attribute_name = "plan"
    change.new = "platinum"
    profile = mparticle.ProfileEvent()
    profile.profile_event_type = "login"
    push = mparticle.PushMessageEvent()
    push.push_message_type = "received"
    return {
        EventType.CUSTOM: custom,
        EventType.COMMERCE: mparticle.CommerceEvent(purchase),
        EventType.SESSION_START: mparticle.SessionStartEvent(),
        EventType.SESSION_END: mparticle.SessionEndEvent(session_duration_ms=5),
        EventType.SCREEN_VIEW: mparticle.ScreenViewEvent(screen_name="Home"),
        EventType.INSTALL: mparticle.FirstRunEvent(),
        EventType.APPLICATION_STATE: transition,
        EventType.BREADCRUMB: mparticle.BreadcrumbEvent(label="L"),
        EventType.OPT_OUT: mparticle.OptOutEvent(is_opted_out=True),
        EventType.PUSH: push,
        EventType.PUSH_REGISTRATION: mparticle.PushRegistrationEvent(register=True, registration_token="t"),
        EventType.PROFILE: profile,
        EventType.USER_ATTRIBUTE_CHANGE: change,
        EventType.NETWORK_PERFORMANCE: mparticle.NetworkPerformanceEvent(url="https://example.com", response_code=200),
        EventType.CRASH: mparticle.CrashReportEvent(severity="error", message="x"),
    }


def test_the_events_are_all_that_the_client_has() -> None:
    made = {type(event) for event in all_events().values()}
    modules = [import_module(f"mparticle.models.{found.name}") for found in iter_modules(mparticle.models.__path__)]
    known = {value for module in modules for name, value in vars(module).items() if isinstance(value, type) and name.endswith("Event")}
    assert known == made


@pytest.mark.parametrize("bulk", [False, True])
async def test_each_kind_of_event_that_the_client_makes_is_understood(service: Service, bus: Bus, bulk: bool) -> None:
    events = all_events()
    sent, api = client_batch("c-1", *events.values()), client(service)
    await asyncio.to_thread(api.bulk_upload_events if bulk else api.upload_events, [sent] if bulk else sent)
    told = await read_stream(bus)
    assert [event.type for event in told.events] == list(events)
    assert len({event.mpid for event in told.events}) == 1
    assert told.events[0].details == {"attributes": {"place": "home", "score": 5}}
    assert told.events[1].name == "purchase"
    assert told.events[1].details["products"] == [{"id": "sku", "name": "Shoe", "price": "19.9", "quantity": 2}]
    assert told.events[1].details["total_amount"] == "39.8"


async def test_what_the_client_says_about_the_person_is_understood(service: Service, bus: Bus) -> None:
    await asyncio.to_thread(client(service).upload_events, client_batch("c-1", mparticle.SessionStartEvent()))
    (change,) = (await read_stream(bus)).changes
    added = [(identity.type, identity.value) for identity in change.added_identities]
    assert added == [(2, "c-1"), (8, "c-1@example.com"), (40, idfa("c-1"))]
    assert change.set_attributes["plan"].string_value == "gold"
    assert change.set_attributes["age"].number_value == "31"
    assert list(change.set_attributes["hobbies"].list_value.values) == ["chess", "go"]
    assert change.device.model == "phone"
    assert [(consent.regulation, consent.purpose, consent.consented) for consent in change.consents] == [("gdpr", "news", True)]


async def test_the_client_sends_many_batches_in_one_request(service: Service, bus: Bus) -> None:
    batches = [client_batch(f"c-{number}", mparticle.SessionStartEvent()) for number in range(100)]
    await asyncio.to_thread(client(service).bulk_upload_events, batches)
    told = await read_stream(bus)
    assert len({event.mpid for event in told.events}) == len(told.events) == 100


async def test_the_client_is_told_what_is_wrong(service: Service) -> None:
    for api, status in ((client(service), 400), (client(service, "wrong"), 403)):
        nobody = mparticle.Batch()
        nobody.environment = "production"
        with pytest.raises(mparticle.rest.ApiException) as told:
            await asyncio.to_thread(api.upload_events, nobody)
        assert told.value.status == status
        assert json.loads(told.value.body)["errors"][0]["message"]
