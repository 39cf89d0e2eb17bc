"""What each message of the Segment API becomes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.ingest.domain.limits import SEGMENT_MESSAGE_MAX_BYTES, SEGMENT_MESSAGES_MAX
from services.ingest.domain.model import Attribution, Batch, Device, EventType, IdentityType
from services.ingest.domain.reading import Malformed
from services.ingest.domain.segment import take_no_claims
from services.ingest.domain.segment_reading import read, write_key_of

NOW = 1_800_000_000_000  # 2027-01-15T08:00:00Z
CUSTOMER, EMAIL, PHONE, STAMP = (
    IdentityType.CUSTOMER_ID,
    IdentityType.EMAIL,
    IdentityType.MOBILE_NUMBER,
    IdentityType.DEVICE_APPLICATION_STAMP,
)


def good(type_: str, platform: str = "web", **sent: Any) -> Batch:
    reading = read(json.dumps({"userId": "u", **sent}).encode(), type_, platform=platform, now_ms=NOW)
    assert reading.faults == []
    return reading.batches[0]


def faults(type_: str, sent: Any) -> list[tuple[str, str]]:
    reading = read(json.dumps(sent).encode(), type_, platform="web", now_ms=NOW)
    assert all(fault.description for fault in reading.faults)
    return [(fault.place, fault.reason.value) for fault in reading.faults]


def named(batch: Batch) -> list[tuple[int, str]]:
    return [(identity.type, identity.value) for identity in batch.identities]


def details(batch: Batch) -> Any:
    (event,) = batch.events
    return json.loads(event.details, parse_float=str) if event.details else {}


def test_a_track_is_a_custom_event_with_its_properties_flat() -> None:
    properties = {"plan": "pro", "seats": 5, "price": 19.9, "trial": True, "nothing": None, "cart": {"size": {"w": 2}}, "none": {}}
    batch = good("track", event="Signed Up", messageId="m-1", properties=properties)
    (event,) = batch.events
    assert (event.type, event.name, event.message_id, batch.request_id) == (EventType.CUSTOM, "Signed Up", "m-1", "")
    assert details(batch) == {"attributes": {"plan": "pro", "seats": 5, "price": "19.9", "trial": True, "cart.size.w": 2}}


def test_lists_are_texts_and_what_is_no_scalar_in_them_is_json() -> None:
    batch = good("track", event="E", properties={"tags": ["a", 1, 2.50, False, None, {"b": [1]}, ["c"]], "empty": []})
    assert details(batch)["attributes"] == {"tags": ["a", "1", "2.5", "false", '{"b":[1]}', '["c"]'], "empty": []}


def test_a_person_is_named_by_user_anonymous_id_and_the_addresses_among_the_traits() -> None:
    batch = good("identify", userId=7, anonymousId="a-1", traits={"email": " Ann@Example.com", "phone": "+49 1"})
    assert named(batch) == [(CUSTOMER, "7"), (EMAIL, "ann@example.com"), (PHONE, "+49 1"), (STAMP, "a-1")]
    assert named(good("track", event="E", userId=None, anonymousId="a-1")) == [(STAMP, "a-1")]
    assert named(good("track", event="E", context={"traits": {"email": "a@b.c"}})) == [(CUSTOMER, "u"), (EMAIL, "a@b.c")]
    # Traits of a group are nobody's addresses, and what holds no @ is none.
    assert named(good("group", groupId="g", traits={"email": "info@acme.com"})) == [(CUSTOMER, "u")]
    assert named(good("identify", traits={"email": "none", "phone": True})) == [(CUSTOMER, "u")]


def test_an_identify_states_attributes_and_null_removes_one() -> None:
    batch = good("identify", messageId="m-1", traits={"plan": "gold", "old": None, "company": {"name": "Acme"}})
    (change,) = batch.changes
    assert (change.set_attributes, change.removed_attributes) == ({"plan": "gold", "company.name": "Acme"}, ["old"])
    assert (batch.events, batch.request_id, change.of_event) == ([], "m-1", -1)


def test_an_address_is_where_the_criterion_of_a_place_looks() -> None:
    address = {"street": "6th St", "city": "San Francisco", "state": "CA", "postalCode": "94103", "country": "USA"}
    (change,) = good("identify", traits={"address": address}).changes
    assert change.set_attributes == {
        "address.street": "6th St",
        "$City": "San Francisco",
        "$State": "CA",
        "$Zip": "94103",
        "$Country": "USA",
    }


def test_what_an_event_says_of_the_person_falls_with_it_where_it_was_sent_before() -> None:
    (change,) = good("track", event="E", context={"traits": {"plan": "gold"}}).changes
    assert (change.set_attributes, change.of_event) == ({"plan": "gold"}, 0)


def test_a_group_is_known_by_attributes_of_the_person() -> None:
    (change,) = good("group", groupId=12, traits={"name": "Acme", "size": 50, "gone": None}).changes
    assert change.set_attributes == {"group_id": "12", "group.name": "Acme", "group.size": 50}
    assert change.removed_attributes == ["group.gone"]


def test_an_alias_names_both_in_one_batch() -> None:
    told = good("alias", previousId="old")
    assert named(told) == [(CUSTOMER, "u")]
    assert [(one.type, one.value) for one in told.claims] == [(CUSTOMER, "old"), (STAMP, "old")]
    assert good("track", event="e").claims == []
    take_no_claims(told)
    assert (named(told), told.claims) == ([(CUSTOMER, "u"), (STAMP, "old")], [])
    # As analytics.js sends it: the id before was the anonymous one.
    assert named(good("alias", previousId="a-1", anonymousId="a-1")) == [(CUSTOMER, "u"), (STAMP, "a-1")]


@pytest.mark.parametrize(
    ("type_", "sent", "name"),
    [
        ("page", {"name": "Home", "properties": {"path": "/"}}, "Home"),
        ("page", {"properties": {"path": "/shop", "url": "https://x.y/shop", "title": "Shop (2)"}}, "/shop"),
        ("page", {"properties": {"url": "https://x.y"}}, "https://x.y"),
        ("page", {}, "Unnamed page"),
        ("screen", {"name": "Basket"}, "Basket"),
        ("screen", {}, "Unnamed screen"),
    ],
)
def test_a_page_or_screen_is_a_screen_view(type_: str, sent: dict[str, Any], name: str) -> None:
    (event,) = good(type_, **sent).events
    assert (event.type, event.name) == (EventType.SCREEN_VIEW, name)


def test_the_category_of_a_page_is_an_attribute() -> None:
    assert details(good("page", name="Home", category="Docs", properties={"title": "T"})) == {
        "attributes": {"title": "T", "category": "Docs"}
    }


def test_an_order_is_a_purchase_with_its_products_total_and_currency() -> None:
    products = [
        {
            "product_id": "p-1",
            "sku": "s-1",
            "name": "Shoe",
            "brand": "B",
            "category": "C",
            "variant": "red",
            "price": "19.90",
            "quantity": 2,
        },
        {"sku": "s-2", "coupon": "HALF", "position": 3, "dims": {"w": 1}},
    ]
    sent = {"order_id": 50, "total": 27.50, "revenue": 25, "shipping": 3, "currency": "EUR", "coupon": "C", "products": products}
    for name in ("Order Completed", "order completed"):
        batch = good("track", event=name, properties=sent)
        assert (batch.events[0].type, batch.events[0].name) == (EventType.COMMERCE, "purchase")
        assert details(batch) == {
            "transaction_id": "50",
            "total_amount": "27.5",
            "currency_code": "EUR",
            "attributes": {"revenue": 25, "shipping": 3, "coupon": "C"},
            "products": [
                {
                    "id": "p-1",
                    "name": "Shoe",
                    "brand": "B",
                    "category": "C",
                    "variant": "red",
                    # Numbers in text are numbers, to the digit.
                    "price": "19.90",
                    "quantity": 2,
                    "attributes": {"sku": "s-1"},
                },
                {"id": "s-2", "coupon_code": "HALF", "attributes": {"position": 3, "dims.w": 1}},
            ],
        }


@pytest.mark.parametrize(("sent", "total"), [({"total": 3, "revenue": 2}, 3), ({"revenue": "2"}, 2), ({"value": 1}, 1), ({}, None)])
def test_a_total_is_the_best_that_is_told(sent: dict[str, Any], total: int | None) -> None:
    assert details(good("track", event="Order Refunded", properties=sent)).get("total_amount") == total


@pytest.mark.parametrize(
    ("event", "action"),
    [
        ("Product Added", "add_to_cart"),
        ("Product Removed", "remove_from_cart"),
        ("Product Clicked", "click"),
        ("Product Viewed", "view_detail"),
        ("Product Added to Wishlist", "add_to_wishlist"),
        ("Product Removed from Wishlist", "remove_from_wish_list"),
    ],
)
def test_what_is_done_with_a_product_is_commerce_with_that_product(event: str, action: str) -> None:
    batch = good("track", event=event, properties={"product_id": "p", "price": 5, "quantity": 1, "currency": "USD", "cart_id": "c"})
    assert (batch.events[0].type, batch.events[0].name) == (EventType.COMMERCE, action)
    product = {"id": "p", "price": 5, "quantity": 1}
    assert details(batch) == {"products": [product], "currency_code": "USD", "attributes": {"cart_id": "c"}}


@pytest.mark.parametrize(
    ("event", "type_", "name"),
    [
        ("Checkout Started", EventType.COMMERCE, "checkout"),
        ("Checkout Step Viewed", EventType.COMMERCE, "checkout_option"),
        ("Checkout Step Completed", EventType.COMMERCE, "checkout_option"),
        ("Order Refunded", EventType.COMMERCE, "refund"),
        ("Product List Viewed", EventType.COMMERCE, "impression"),
        ("Promotion Viewed", EventType.COMMERCE, "promotion_view"),
        ("Promotion Clicked", EventType.COMMERCE, "promotion_click"),
        ("Order Cancelled", EventType.CUSTOM, "Order Cancelled"),
        ("Application Installed", EventType.INSTALL, ""),
        ("Application Updated", EventType.UPGRADE, ""),
        ("Application Opened", EventType.APPLICATION_STATE, "application_initialized"),
        ("Application Backgrounded", EventType.APPLICATION_STATE, "application_background"),
        ("Application Crashed", EventType.CRASH, ""),
        ("Application Uninstalled", EventType.UNINSTALL, ""),
        ("Push Notification Received", EventType.PUSH, "received"),
        ("Push Notification Tapped", EventType.PUSH, "action"),
        ("Install Attributed", EventType.ATTRIBUTION, ""),
    ],
)
def test_events_that_the_specs_name_are_what_they_are_here(event: str, type_: EventType, name: str) -> None:
    batch = good("track", event=event, properties={"a": 1})
    assert (batch.events[0].type, batch.events[0].name, details(batch)) == (type_, name, {"attributes": {"a": 1}})


def test_an_app_that_comes_back_is_in_the_foreground() -> None:
    assert good("track", event="Application Opened", properties={"from_background": True}).events[0].name == "application_foreground"


def test_campaigns_are_the_persons_attribution() -> None:
    (change,) = good("page", context={"campaign": {"name": "Spring", "source": "Newsletter", "medium": "email"}}).changes
    assert change.attribution == Attribution(publisher="Newsletter", campaign="Spring")
    batch = good("track", event="Install Attributed", properties={"campaign": {"source": "Network", "name": "Autumn"}})
    assert batch.events[0].name == "Network"
    assert batch.changes[0].attribution == Attribution(publisher="Network", campaign="Autumn")
    assert good("page", context={"campaign": {}}).changes == []


CONTEXT = {
    "app": {"name": "Initech", "version": 545, "build": "3.0.1.545"},
    "device": {"id": "B5", "advertisingId": "7A", "manufacturer": "Apple", "model": "iPhone7,2", "type": "ios", "token": "ff"},
    "locale": "nl-NL",
    "network": {"carrier": "T-Mobile"},
    "os": {"name": "iPhone OS", "version": 8.1},
    "library": {"name": "analytics-ios"},
    "ip": "8.8.8.8",
}


def test_the_context_is_device_and_application() -> None:
    batch = good("track", event="E", context=CONTEXT)
    (change,) = batch.changes
    assert change.device == Device("iOS", "Apple", "iPhone7,2", "8.1", "T-Mobile", "nl", "NL")
    context = batch.context
    assert (context.application_version, context.application_build, context.platform, context.os_version) == (
        "545",
        "3.0.1.545",
        "iOS",
        "8.1",
    )
    assert named(batch) == [
        (CUSTOMER, "u"),
        (IdentityType.IOS_VENDOR_ID, "B5"),
        (IdentityType.IOS_ADVERTISING_ID, "7A"),
        (IdentityType.PUSH_TOKEN, "ff"),
    ]


def test_ids_of_devices_are_those_of_their_platform() -> None:
    android = good("track", event="E", context={"device": {"type": "android", "id": "B5", "advertisingId": "7A"}})
    assert named(android)[1:] == [(IdentityType.ANDROID_ID, "B5"), (IdentityType.GOOGLE_ADVERTISING_ID, "7A")]
    withheld = good("track", event="E", context={"device": {"type": "ios", "advertisingId": "7A", "adTrackingEnabled": False}})
    assert named(withheld) == [(CUSTOMER, "u")]
    # What it is an id of is not known.
    assert named(good("track", event="E", context={"device": {"type": "toaster", "id": "B5"}})) == [(CUSTOMER, "u")]


def test_the_platform_is_that_of_the_device_else_of_the_input_else_the_system() -> None:
    assert good("track", event="E", context={"device": {"type": "Android"}}).context.platform == "Android"
    assert good("track", event="E", context={"os": {"name": "Windows"}}).context.platform == "web"
    assert good("track", platform="", event="E", context={"os": {"name": "Windows"}}).context.platform == "Windows"


def test_a_location_is_of_the_event_and_its_country_of_the_device() -> None:
    batch = good("track", event="E", context={"location": {"latitude": "40.5", "longitude": -76, "country": "US"}, "locale": "zh-Hans-CN"})
    assert details(batch) == {"location": {"latitude": "40.5", "longitude": "-76.0"}}
    assert batch.changes[0].device == Device(language="zh", country="US")
    assert good("track", event="E", context={"locale": "zh-Hans-CN"}).changes[0].device == Device(language="zh", country="CN")


@pytest.mark.parametrize(
    ("sent", "at"),
    [
        ({}, NOW),
        ({"timestamp": "2027-01-15T07:59:00Z"}, NOW - 60_000),
        ({"timestamp": "2027-01-15T08:59:00+01:00"}, NOW - 60_000),
        ({"timestamp": "2027-01-15T07:59:00.123"}, NOW - 59_877),
        ({"timestamp": NOW - 5}, NOW - 5),
        # The clock of the device is a day behind; it waited a minute.
        ({"timestamp": "2027-01-14T07:00:00Z", "sentAt": "2027-01-14T07:01:00Z"}, NOW - 60_000),
        ({"originalTimestamp": "2001-01-01T07:00:00Z", "sentAt": "2001-01-01T07:00:02Z", "timestamp": "2020-01-01"}, NOW - 2000),
        ({"originalTimestamp": "2027-01-15T07:59:00Z"}, NOW - 60_000),
        # It came through somebody who had corrected it.
        (
            {
                "timestamp": "2027-01-15T07:00:00Z",
                "originalTimestamp": "2001-01-01",
                "sentAt": "2001-01-02",
                "receivedAt": "2027-01-15T07:01:00Z",
            },
            NOW - 3_600_000,
        ),
    ],
)
def test_times_are_by_our_clock(sent: dict[str, Any], at: int) -> None:
    batch = good("track", event="E", context={"traits": {"a": 1}}, **sent)
    assert (batch.events[0].time_ms, batch.time_ms, batch.changes[0].time_ms) == (at, at, at)


def test_a_batch_shares_the_time_it_was_sent_and_its_context() -> None:
    own = {"type": "track", "userId": "u", "event": "B", "sentAt": "2027-01-15T08:00:00Z", "context": {"app": {"version": "2"}}}
    body = {
        "sentAt": "2027-01-14T08:00:00Z",
        "context": {"app": {"version": "1"}},
        "writeKey": "k",
        "batch": [
            {"type": "track", "userId": "u", "event": "A", "timestamp": "2027-01-14T07:59:59Z"},
            own | {"timestamp": "2027-01-15T07:59:58Z"},
        ],
    }
    reading = read(json.dumps(body).encode(), "batch", platform="", now_ms=NOW)
    assert reading.faults == []
    assert [(b.events[0].name, b.time_ms, b.context.application_version) for b in reading.batches] == [
        ("A", NOW - 1000, "1"),
        ("B", NOW - 2000, "2"),
    ]


def test_a_webhook_sends_a_single_message_of_any_type() -> None:
    reading = read(b'{"type": "track", "userId": "u", "event": "E"}', "batch", platform="", now_ms=NOW)
    assert [batch.events[0].name for batch in reading.batches] == ["E"]


DEEP: dict[str, Any] = {}
inner = DEEP
for _ in range(25):
    inner["a"] = {}
    inner = inner["a"]


@pytest.mark.parametrize(
    ("type_", "sent", "expected"),
    [
        ("track", {"event": "E"}, [("userId", "NO_IDENTITY")]),
        ("track", {"userId": "", "anonymousId": " ", "event": "E"}, [("userId", "NO_IDENTITY")]),
        ("track", {"userId": "u"}, [("event", "MISSING")]),
        ("track", {"userId": "u", "event": 5}, [("event", "WRONG_TYPE")]),
        ("track", {"userId": {}, "event": "E"}, [("userId", "WRONG_TYPE")]),
        ("track", {"userId": "u", "event": "E", "properties": []}, [("properties", "WRONG_TYPE")]),
        ("track", {"userId": "u", "event": "E", "properties": {"x": "y" * 4097}}, [("properties.x", "TOO_LONG")]),
        ("track", {"userId": "u", "event": "E", "properties": {f"p{n}": 1 for n in range(101)}}, [("properties", "TOO_MANY")]),
        ("track", {"userId": "u", "event": "E", "properties": {"x": DEEP}}, [("properties.x", "WRONG_TYPE")]),
        ("track", {"userId": "u", "event": "E\0"}, [("event", "BAD_CHARACTER")]),
        ("track", {"userId": "u", "event": "E", "messageId": "m" * 257}, [("messageId", "TOO_LONG")]),
        ("track", {"userId": "u", "event": "E", "timestamp": "yesterday"}, [("timestamp", "WRONG_TYPE")]),
        ("track", {"userId": "u", "event": "E", "timestamp": "1999-01-01"}, [("timestamp", "TIME_OUT_OF_RANGE")]),
        ("track", {"userId": "u", "event": "E", "context": {"app": "x"}}, [("context.app", "WRONG_TYPE")]),
        ("track", {"userId": "u", "event": "E", "context": {"app": {"version": {}}}}, [("context.app.version", "WRONG_TYPE")]),
        (
            "track",
            {"userId": "u", "event": "E", "context": {"location": {"latitude": 91, "longitude": 0}}},
            [("context.location", "NOT_A_NUMBER")],
        ),
        ("track", {"userId": "u", "event": "Order Completed", "properties": {"total": "much"}}, [("properties.total", "NOT_A_NUMBER")]),
        ("track", {"userId": "u", "event": "Order Completed", "properties": {"products": {}}}, [("properties.products", "WRONG_TYPE")]),
        (
            "track",
            {"userId": "u", "event": "Order Completed", "properties": {"products": [{"price": True}, 5, {"name": []}]}},
            [
                ("properties.products[0].price", "NOT_A_NUMBER"),
                ("properties.products[1]", "WRONG_TYPE"),
                ("properties.products[2].name", "WRONG_TYPE"),
            ],
        ),
        ("alias", {"userId": "u"}, [("previousId", "MISSING")]),
        ("group", {"userId": "u"}, [("groupId", "MISSING")]),
        ("identify", {"userId": "u", "traits": {"x": 10**400}}, [("traits.x", "NOT_A_NUMBER")]),
        ("identify", {"userId": "u", "traits": {"": 1}}, [('traits[""]', "MISSING")]),
        ("track", {"userId": "u" * SEGMENT_MESSAGE_MAX_BYTES, "event": "E"}, [("", "TOO_LARGE")]),
        ("batch", {"batch": [{"userId": "u"}]}, [("batch[0].type", "MISSING")]),
        ("batch", {"batch": [{"userId": "u", "type": "dance"}, 5]}, [("batch[0].type", "UNKNOWN_EVENT_TYPE"), ("batch[1]", "WRONG_TYPE")]),
        ("batch", {"batch": {}}, [("batch", "WRONG_TYPE")]),
        ("batch", {}, [("batch", "WRONG_TYPE")]),
        ("batch", {"batch": [], "sentAt": "x"}, [("sentAt", "WRONG_TYPE")]),
        ("batch", {"batch": [], "context": 5}, [("context", "WRONG_TYPE")]),
        ("batch", {"batch": [0] * (SEGMENT_MESSAGES_MAX + 1)}, [("batch", "TOO_MANY")]),
        ("batch", [], [("", "MALFORMED")]),
        ("track", "text", [("", "MALFORMED")]),
    ],
)
def test_every_fault_is_named(type_: str, sent: Any, expected: list[tuple[str, str]]) -> None:
    assert faults(type_, sent) == expected


def test_half_a_surrogate_pair_spoils_its_message_only() -> None:
    body = rb'{"batch": [{"type": "track", "userId": "\ud800", "event": "A"}, {"type": "track", "userId": "u", "event": "B"}]}'
    reading = read(body, "batch", platform="", now_ms=NOW)
    assert [(fault.place, fault.reason) for fault in reading.faults] == [("batch[0].userId", "BAD_CHARACTER")]
    assert [batch.events[0].name for batch in reading.batches] == ["B"]


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (b'{"writeKey": "k", "batch": [{"writeKey": "other"}]}', "k"),
        (b'{"batch": [{"writeKey": "k"}, 5]}', "k"),
        (b'{"batch": [5]}', ""),
        (b'{"batch": []}', ""),
        (b'{"writeKey": 5}', ""),
        (b'{"writeKey": null}', ""),
        (b"{}", ""),
    ],
)
def test_the_write_key_of_a_body(body: bytes, key: str) -> None:
    assert write_key_of(body) == key


def test_a_request_whose_fields_have_names_that_cannot_be_read_is_malformed() -> None:
    for body in (b'{"sent\xcaAt": "x", "batch": []}', b'{"sent\xcaAt": "\\ud800", "batch": []}'):
        reading = read(body, "batch", platform="", now_ms=NOW)
        assert [(fault.place, fault.reason) for fault in reading.faults] == [("", "MALFORMED")]
        with pytest.raises(Malformed):
            write_key_of(body)


@pytest.mark.parametrize("body", [b"", b"nonsense", b"[1]", b'{"a": ' + b"[" * 100_000])
def test_a_body_that_is_no_object_has_no_write_key(body: bytes) -> None:
    with pytest.raises(Malformed):
        write_key_of(body)
