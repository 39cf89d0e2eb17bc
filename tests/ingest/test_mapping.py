"""What each event of the Events API becomes."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from muster.ingest.v1 import error_reason_pb2, event_type_pb2, identity_pb2

from services.ingest.domain.mapping import EVENT_TYPES
from services.ingest.domain.model import Attribution, Batch, Consent, EventType, IdentityType, Reason
from services.ingest.domain.reading import read
from services.ingest.intake import QueueFull
from services.ingest.rates import RateExceeded
from tests.ingest.conftest import batch, custom

NOW = 1_760_000_000_000
T = NOW - 5000


def good(sent: dict[str, Any]) -> Batch:
    reading = read(json.dumps(sent).encode(), bulk=False, platform="iOS", now_ms=NOW)
    assert reading.faults == []
    return reading.batches[0]


def event(kind: str, **data: Any) -> dict[str, Any]:
    return {"event_type": kind, "data": {"timestamp_unixtime_ms": T, **data}}


CASES: dict[str, tuple[dict[str, Any], EventType, str]] = {
    "custom": (event("custom_event", event_name="Viewed", custom_event_type="other"), EventType.CUSTOM, "Viewed"),
    "screen view": (event("screen_view", screen_name="Home"), EventType.SCREEN_VIEW, "Home"),
    "product action": (event("commerce_event", product_action={"action": "add_to_cart"}), EventType.COMMERCE, "add_to_cart"),
    "promotion": (event("commerce_event", promotion_action={"action": "click"}), EventType.COMMERCE, "promotion_click"),
    "impression": (event("commerce_event", product_impressions=[{"products": []}]), EventType.COMMERCE, "impression"),
    "session start": (event("session_start"), EventType.SESSION_START, ""),
    "session end": (event("session_end", session_duration_ms=5), EventType.SESSION_END, ""),
    "crash": (event("crash_report", message="x"), EventType.CRASH, ""),
    "crash as the Python client sends it": (event("commerce_event", severity="error"), EventType.CRASH, ""),
    "first run": (event("first_run"), EventType.INSTALL, ""),
    "install by transition": (
        event("application_state_transition", is_first_run=True, is_upgrade=False, application_transition_type="application_initialized"),
        EventType.INSTALL,
        "",
    ),
    "upgrade by transition": (event("application_state_transition", is_first_run=False, is_upgrade=True), EventType.UPGRADE, ""),
    "another transition": (
        event("application_state_transition", application_transition_type="application_exit"),
        EventType.APPLICATION_STATE,
        "application_exit",
    ),
    "uninstall": (event("uninstall"), EventType.UNINSTALL, ""),
    "attribution": (event("pre_attribution", custom_attributes={"publisher": "P"}), EventType.ATTRIBUTION, "P"),
    "attribution as the Python client sends it": (
        event("custom_event", event_name="attribution", custom_event_type="attribution", custom_attributes={"publisher": "P"}),
        EventType.ATTRIBUTION,
        "P",
    ),
    "push": (event("push_message", push_message_type="received"), EventType.PUSH, "received"),
    "push reaction": (event("push_reaction"), EventType.PUSH, "action"),
    "opt-out": (event("opt_out", is_opted_out=True), EventType.OPT_OUT, ""),
    "push registration": (event("push_registration", register=True), EventType.PUSH_REGISTRATION, ""),
    "network performance": (event("network_performance", url="https://x"), EventType.NETWORK_PERFORMANCE, ""),
    "breadcrumb": (event("breadcrumb", label="L"), EventType.BREADCRUMB, "L"),
    "profile": (event("profile", profile_event_type="login"), EventType.PROFILE, "login"),
    "user attribute change": (event("user_attribute_change", user_attribute_name="plan", new="a"), EventType.USER_ATTRIBUTE_CHANGE, "plan"),
    "user identity change": (
        event("user_identity_change", new={"identity_type": "email", "identity": "x"}),
        EventType.USER_IDENTITY_CHANGE,
        "email",
    ),
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case)
def test_an_event_becomes_its_type_and_name(case: str) -> None:
    sent, type_, name = CASES[case]
    (read_event,) = good(batch("c", sent)).events
    assert (read_event.type, read_event.name, read_event.time_ms) == (type_, name, T)


def test_every_event_type_of_the_api_is_in_the_cases() -> None:
    assert {sent["event_type"] for sent, _, _ in CASES.values()} == set(EVENT_TYPES)


def test_our_numbers_and_reasons_are_those_of_the_contract() -> None:
    def numbers(enum: Any, prefix: str) -> dict[str, int]:
        return {name.removeprefix(prefix): value for name, value in enum.items() if value}

    assert numbers(event_type_pb2.EventType, "EVENT_TYPE_") == {one.name: one.value for one in EventType}
    assert numbers(identity_pb2.IdentityType, "IDENTITY_TYPE_") == {one.name: one.value for one in IdentityType}
    of_requests = {RateExceeded.reason, QueueFull.reason}
    assert set(numbers(error_reason_pb2.ErrorReason, "ERROR_REASON_")) == {one.name for one in Reason} - {"MALFORMED"} | of_requests


def test_an_event_without_a_time_has_the_time_of_its_batch_or_else_of_its_arrival() -> None:
    assert good(batch("c", custom(), timestamp_unixtime_ms=T)).events[0].time_ms == T
    assert good(batch("c", custom())).events[0].time_ms == NOW


def test_a_whole_number_may_be_written_with_decimals() -> None:
    consents = {"gdpr": {"news": {"consented": True, "timestamp_unixtime_ms": "T"}}}
    body = json.dumps(
        batch("c", event("session_end", session_duration_ms="D"), timestamp_unixtime_ms="T", mpid="M", consent_state=consents)
    )
    for written, number in (("1750000000000.0", 1_750_000_000_000), ("1.75e12", 1_750_000_000_000)):
        sent = body.replace('"T"', written).replace('"D"', "5.0").replace('"M"', "7e0")
        reading = read(sent.encode(), bulk=False, platform="", now_ms=NOW)
        assert (reading.faults, reading.batches[0].time_ms, reading.batches[0].mpid) == ([], number, 7)
        assert reading.batches[0].changes[0].consents == [Consent("gdpr", "news", True, number)]
        assert json.loads(reading.batches[0].events[0].details) == {"session_duration_ms": 5}


def test_details_hold_what_an_event_says_with_its_numbers_as_they_were_sent() -> None:
    product = {"id": "sku", "name": "Shoe", "brand": None, "price": "PRICE", "quantity": 2, "custom_attributes": {"size": 43}}
    action = {"action": "purchase", "transaction_id": "t-1", "total_amount": "TOTAL", "products": [product]}
    sent = event(
        "commerce_event",
        product_action=action,
        currency_code="EUR",
        location={"latitude": 48.1, "longitude": 11, "accuracy": 3},
        custom_attributes={"gift": True, "none": None},
    )
    body = json.dumps(batch("c", sent)).replace('"PRICE"', "19.90").replace('"TOTAL"', "39.80")
    reading = read(body.encode(), bulk=False, platform="", now_ms=NOW)
    assert json.loads(reading.batches[0].events[0].details, parse_float=str) == {
        "attributes": {"gift": True},
        "products": [{"id": "sku", "name": "Shoe", "price": "19.90", "quantity": 2, "attributes": {"size": 43}}],
        "transaction_id": "t-1",
        "total_amount": "39.80",
        "currency_code": "EUR",
        "location": {"latitude": "48.1", "longitude": "11.0"},
    }


def attributes(*sent: dict[str, Any]) -> Any:
    return json.loads(good(batch("c", *sent)).events[0].details, parse_float=str)["attributes"]


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("screen_view", {"activity_type": "main"}),
        ("crash_report", {"class_name": "Shop", "severity": "fatal", "exception_handled": False}),
        ("application_state_transition", {"launch_referral": "https://x.y", "successfully_closed": True}),
        ("push_message", {"action_identifier": "a", "application_state": "background", "network": "n", "push_message_behavior": "Read"}),
        ("push_registration", {"register": True}),
        (
            "network_performance",
            {"http_verb": "GET", "url": "https://x.y", "response_code": 200, "time_elapsed": 5, "bytes_in": 6, "bytes_out": 7},
        ),
    ],
)
def test_what_an_event_of_a_type_says_beside_its_name_is_attributes_that_the_senders_own_win_over(kind: str, fields: Any) -> None:
    needed = {"screen_name": "Home", "application_transition_type": "application_exit", "push_message_type": "sent"}
    assert attributes(event(kind, **needed, **fields)) == fields
    first = next(iter(fields))
    assert attributes(event(kind, **needed, **fields, custom_attributes={first: "mine"})) == {**fields, first: "mine"}


def test_a_product_action_says_more_than_its_products() -> None:
    fields = {
        "affiliation": "a",
        "checkout_options": "o",
        "checkout_step": 2,
        "coupon_code": "HALF",
        "product_action_list": "l",
        "product_list_source": "s",
        "shipping_amount": 4.5,
        "tax_amount": 0.99,
    }
    product = {"id": "sku", "position": 3, "total_product_amount": 39.8, "custom_attributes": {"size": 43}}
    sent = event("commerce_event", product_action={"action": "purchase", "products": [product], **fields})
    assert attributes(sent) == {**fields, "shipping_amount": "4.5", "tax_amount": "0.99"}
    details = json.loads(good(batch("c", sent)).events[0].details, parse_float=str)
    assert details["products"] == [{"id": "sku", "attributes": {"position": 3, "total_product_amount": "39.8", "size": 43}}]


def test_promotions_and_impressions_are_told_by_lists() -> None:
    promotions = [{"id": "1", "name": "Spring", "position": 2, "creative": "x"}, {"id": "2", "name": "Spring"}]
    sent = event("commerce_event", promotion_action={"action": "view", "promotions": promotions})
    assert attributes(sent) == {
        "promotion_id": ["1", "2"],
        "promotion_name": ["Spring"],
        "promotion_position": ["2"],
        "promotion_creative": ["x"],
    }
    shown: list[dict[str, Any]] = [{"product_impression_list": name, "products": []} for name in ("Best", "New", "Best")]
    assert attributes(event("commerce_event", product_impressions=shown)) == {"product_impression_list": ["Best", "New"]}


def test_a_push_registration_brings_the_token_of_the_device() -> None:
    def named(**data: Any) -> list[tuple[int, str]]:
        return [(one.type, one.value) for one in good(batch("c", event("push_registration", **data))).identities]

    assert named(register=True, registration_token="t") == [(IdentityType.CUSTOMER_ID, "c"), (IdentityType.PUSH_TOKEN, "t")]
    assert named(register=False, registration_token="t") == [(IdentityType.CUSTOMER_ID, "c")]


def test_opting_out_and_in_again_are_told_apart_by_an_attribute() -> None:
    events = good(batch("c", event("opt_out", is_opted_out=True), event("opt_out", is_opted_out=False))).events
    assert [json.loads(one.details) for one in events] == [{"attributes": {"is_opted_out": True}}, {"attributes": {"is_opted_out": False}}]


def test_a_change_of_a_user_attribute_also_sets_or_removes_it_from_its_time_on() -> None:
    later = {
        **event("user_attribute_change", user_attribute_name="a", new=None),
        "data": {"user_attribute_name": "a", "timestamp_unixtime_ms": T + 9},
    }
    sent = batch(
        "c",
        later,
        event("user_attribute_change", user_attribute_name="a", new="x", old=None, deleted=False),
        event("user_attribute_change", user_attribute_name="b", new="y", deleted=True),
        user_attributes={"c": ["l", "m"], "d": None},
        deleted_user_attributes=["e"],
    )
    changes = [(change.time_ms, change.set_attributes, change.removed_attributes, change.of_event) for change in good(sent).changes]
    assert changes == [(T, {"a": "x"}, [], 1), (T, {}, ["b"], 2), (T + 9, {}, ["a"], 0), (NOW, {"c": ["l", "m"]}, ["d", "e"], -1)]


def test_identities_of_the_user_and_of_the_device_are_read_the_strongest_first() -> None:
    sent = batch(
        user_identities={"email": "A@b.C", "customerid": 17, "other_id_2": "o2", "mobile_number": ""},
        device_info={
            "ios_idfv": "v",
            "android_uuid": "u",
            "push_token": "p",
            "roku_advertising_id": "00000000-0000-0000-0000-000000000000",
        },
        mp_deviceid="das",
        partner_identity="pi",
    )
    assert [(IdentityType(one.type).name, one.value) for one in good(sent).identities] == [
        ("CUSTOMER_ID", "17"),
        ("OTHER_2", "o2"),
        ("EMAIL", "a@b.c"),
        ("PARTNER_ID", "pi"),
        ("DEVICE_APPLICATION_STAMP", "das"),
        ("IOS_VENDOR_ID", "v"),
        ("ANDROID_ID", "u"),
        ("PUSH_TOKEN", "p"),
    ]


def test_the_context_comes_from_device_and_application_or_else_from_the_input() -> None:
    device = {"platform": "Android", "os_version": "14", "device_manufacturer": "Acme", "locale_country": "DE"}
    read_batch = good(
        batch(device_info=device, application_info={"application_version": "1.2", "application_build_number": "7", "os": "IOS"})
    )
    context = read_batch.context
    assert (context.platform, context.os_version, context.application_version, context.application_build) == ("Android", "14", "1.2", "7")
    (change,) = read_batch.changes
    assert change.device is not None
    assert (change.device.manufacturer, change.device.country) == ("Acme", "DE")
    assert good(batch()).context.platform == "iOS"
    assert good(batch(application_info={"os": "Roku"})).context.platform == "Roku"


def test_consents_are_read_by_purpose_and_without_one() -> None:
    state = {"document": "d", "consented": True, "timestamp_unixtime_ms": T, "location": "l", "hardware_id": "h"}
    by_purpose = good(batch(consent_state={"gdpr": {"news": state}, "ccpa": {"data_sale_opt_out": {"consented": False}}}))
    assert by_purpose.changes[0].consents == [Consent("gdpr", "news", True, T), Consent("ccpa", "data_sale_opt_out", False, NOW)]
    flat = good(batch(consent_state={"gdpr": {"regulation": "gdpr", **state}}))
    assert flat.changes[0].consents == [Consent("gdpr", "", True, T)]


def test_attribution_comes_from_the_batch_and_from_events_and_can_be_deleted() -> None:
    stated = good(batch(attribution_info={"publisher": "P", "campaign": "C", "service_provider": "S"}))
    assert stated.changes[0].attribution == Attribution("P", "C", "S")
    told = good(batch("c", event("custom_event", event_name="x", custom_event_type="attribution", custom_attributes={"action": "delete"})))
    assert told.changes[0].attribution == Attribution()


def test_naming_the_faults_of_a_batch_takes_no_more_than_many_times_the_reading_of_a_good_one() -> None:
    def seconds(sent: dict[str, Any]) -> float:
        body = json.dumps(batch("c", *[sent] * 1000)).encode()
        taken = []
        for _ in range(5):
            begun = time.process_time()
            read(body, bulk=False, platform="", now_ms=NOW)
            taken.append(time.process_time() - begun)
        return min(taken)

    assert seconds(custom(5)) < 80 * seconds(custom("5"))  # type: ignore[arg-type]  # what a sender gets wrong
