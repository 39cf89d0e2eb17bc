"""The JSON of the Events API as senders write it: what of it is read, with its types. All else in a request is passed over.

A missing field and null are alike. What must be there for an event of its type is checked in `mapping`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from msgspec import Struct


class WireLocation(Struct, gc=False):
    latitude: float
    longitude: float


class WireProduct(Struct, gc=False):
    id: str | None = None
    name: str | None = None
    brand: str | None = None
    category: str | None = None
    variant: str | None = None
    price: Decimal | None = None
    quantity: Decimal | None = None
    coupon_code: str | None = None
    position: Decimal | None = None
    total_product_amount: Decimal | None = None
    custom_attributes: dict[str, Any] | None = None


class WireProductAction(Struct, gc=False):
    action: str | None = None
    transaction_id: str | None = None
    total_amount: Decimal | None = None
    products: list[WireProduct] | None = None
    affiliation: str | None = None
    checkout_options: str | None = None
    checkout_step: Decimal | None = None
    coupon_code: str | None = None
    product_action_list: str | None = None
    product_list_source: str | None = None
    shipping_amount: Decimal | None = None
    tax_amount: Decimal | None = None


class WirePromotion(Struct, gc=False):
    id: str | None = None
    name: str | None = None
    creative: str | None = None
    position: str | int | None = None


class WirePromotionAction(Struct, gc=False):
    action: str | None = None
    promotions: list[WirePromotion] | None = None


class WireImpression(Struct, gc=False):
    product_impression_list: str | None = None
    products: list[WireProduct] | None = None


class WireEventData(Struct, gc=False):
    """The data of an event of any type; each type reads its own fields."""

    timestamp_unixtime_ms: int | None = None
    source_message_id: str | None = None
    custom_attributes: dict[str, Any] | None = None
    location: WireLocation | None = None
    # custom_event
    event_name: str | None = None
    custom_event_type: str | None = None
    # screen_view
    screen_name: str | None = None
    activity_type: str | None = None
    # commerce_event
    product_action: WireProductAction | None = None
    promotion_action: WirePromotionAction | None = None
    product_impressions: list[WireImpression] | None = None
    currency_code: str | None = None
    # session_end
    session_duration_ms: int | None = None
    # application_state_transition
    is_first_run: bool | None = None
    is_upgrade: bool | None = None
    application_transition_type: str | None = None
    launch_referral: str | None = None
    successfully_closed: bool | None = None
    # opt_out
    is_opted_out: bool | None = None
    # push_message
    push_message_type: str | None = None
    action_identifier: str | None = None
    application_state: str | None = None
    network: str | None = None
    push_message_behavior: str | None = None
    # push_registration
    register: bool | None = None
    registration_token: str | None = None
    # network_performance
    http_verb: str | None = None
    url: str | None = None
    response_code: int | None = None
    time_elapsed: int | None = None
    bytes_in: int | None = None
    bytes_out: int | None = None
    # breadcrumb
    label: str | None = None
    # profile
    profile_event_type: str | None = None
    # user_attribute_change, user_identity_change
    user_attribute_name: str | None = None
    deleted: bool | None = None
    new: Any = None
    old: Any = None
    # crash_report
    exception_handled: bool | None = None
    class_name: str | None = None
    severity: str | None = None
    stack_trace: str | None = None


class WireEvent(Struct, gc=False):
    event_type: str | None = None
    data: WireEventData | None = None


class WireDevice(Struct, gc=False):
    platform: str | None = None
    device_manufacturer: str | None = None
    device_model: str | None = None
    os_version: str | None = None
    network_carrier: str | None = None
    locale_language: str | None = None
    device_country: str | None = None
    locale_country: str | None = None
    network_country: str | None = None
    ios_advertising_id: str | None = None
    ios_idfv: str | None = None
    android_uuid: str | None = None
    android_advertising_id: str | None = None
    push_token: str | None = None
    roku_advertising_id: str | None = None
    roku_publisher_id: str | None = None
    microsoft_advertising_id: str | None = None
    microsoft_publisher_id: str | None = None
    fire_advertising_id: str | None = None
    amp_id: str | None = None


class WireApplication(Struct, gc=False):
    application_version: str | None = None
    application_build_number: str | None = None
    os: str | None = None


class WireAttribution(Struct, gc=False):
    service_provider: str | None = None
    publisher: str | None = None
    campaign: str | None = None


class WireConsentState(Struct, gc=False):
    """By purpose, or one consent without a purpose; both forms are in use."""

    gdpr: dict[str, Any] | None = None
    ccpa: dict[str, Any] | None = None


class WireConsent(Struct, gc=False):
    consented: bool
    timestamp_unixtime_ms: int | None = None


class WireBatch(Struct, gc=False):
    environment: str | None = None
    source_request_id: str | None = None
    mpid: int | str | None = None
    user_identities: dict[str, str | int | None] | None = None
    mp_deviceid: str | None = None
    partner_identity: str | None = None
    user_attributes: dict[str, Any] | None = None
    deleted_user_attributes: list[str] | None = None
    device_info: WireDevice | None = None
    application_info: WireApplication | None = None
    attribution_info: WireAttribution | None = None
    consent_state: WireConsentState | None = None
    timestamp_unixtime_ms: int | None = None
    events: list[WireEvent] | None = None
