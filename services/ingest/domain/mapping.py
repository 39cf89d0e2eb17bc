"""From a batch of the Events API to a batch of ours: the type and name of each event, what it says of the person, what must be there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import msgspec

from services.ingest.domain import identities
from services.ingest.domain.limits import ID_MAX, IDENTITIES_MAX, MPID_MAX, MPID_MIN, NAME_MAX, PRODUCTS_MAX, VALUE_MAX
from services.ingest.domain.model import (
    Attribution,
    Batch,
    Change,
    Consent,
    Context,
    Device,
    Event,
    EventType,
    Faults,
    Identity,
    IdentityType,
    Reason,
    Value,
)
from services.ingest.domain.values import attributes_of, details_json, instant, number, place, removed_of, short, whole
from services.ingest.domain.wire import WireBatch, WireConsent, WireDevice, WireEvent, WireEventData, WireLocation, WireProduct

_ENVIRONMENTS = ("production", "development", "unknown")
_USER_IDENTITIES = {
    "other": IdentityType.OTHER,
    "customer_id": IdentityType.CUSTOMER_ID,
    # The Python client's spelling.
    "customerid": IdentityType.CUSTOMER_ID,
    "facebook": IdentityType.FACEBOOK,
    "twitter": IdentityType.TWITTER,
    "google": IdentityType.GOOGLE,
    "microsoft": IdentityType.MICROSOFT,
    "yahoo": IdentityType.YAHOO,
    "email": IdentityType.EMAIL,
    "alias": IdentityType.ALIAS,
    "facebook_custom_audience_id": IdentityType.FACEBOOK_CUSTOM_AUDIENCE_ID,
    **{f"other_id_{number}": IdentityType[f"OTHER_{number}"] for number in range(2, 11)},
    "mobile_number": IdentityType.MOBILE_NUMBER,
    "phone_number_2": IdentityType.PHONE_NUMBER_2,
    "phone_number_3": IdentityType.PHONE_NUMBER_3,
}
_DEVICE_IDENTITIES = {
    "ios_advertising_id": IdentityType.IOS_ADVERTISING_ID,
    "ios_idfv": IdentityType.IOS_VENDOR_ID,
    "android_uuid": IdentityType.ANDROID_ID,
    "android_advertising_id": IdentityType.GOOGLE_ADVERTISING_ID,
    "push_token": IdentityType.PUSH_TOKEN,
    "roku_advertising_id": IdentityType.ROKU_ADVERTISING_ID,
    "roku_publisher_id": IdentityType.ROKU_PUBLISHER_ID,
    "microsoft_advertising_id": IdentityType.MICROSOFT_ADVERTISING_ID,
    "microsoft_publisher_id": IdentityType.MICROSOFT_PUBLISHER_ID,
    "fire_advertising_id": IdentityType.FIRE_ADVERTISING_ID,
    "amp_id": IdentityType.AMP_ID,
}

_NO_DATA = WireEventData()


def batch_of(wire: WireBatch, platform: str, now_ms: int, faults: Faults) -> Batch:
    """The batch that was sent, of use only if no fault was added. `platform` is the input's, where the batch names none."""
    _check_environment(wire.environment, faults)
    stated_ms = instant(wire.timestamp_unixtime_ms, "timestamp_unixtime_ms", now_ms, faults)
    batch_ms = now_ms if stated_ms is None else stated_ms
    mpid = _mpid(wire.mpid, faults)
    named = _identities(wire, faults)
    if not mpid and not named:
        faults.add("user_identities", "names nobody: give an mpid, a user identity or a device identity", Reason.NO_IDENTITY)
    events: list[Event] = []
    changes: list[Change] = []
    gains: list[tuple[int, Identity]] = []
    losses: list[tuple[int, Identity]] = []
    for index, sent in enumerate(wire.events or ()):
        faults.event = index
        event = _event(sent, batch_ms, now_ms, faults)
        if event is not None:
            events.append(event)
            if event.type in _TELLING:
                changes += _told_by(event, index, sent.data or _NO_DATA, faults)
            elif event.type == EventType.USER_IDENTITY_CHANGE and sent.data is not None:
                gains += [(index, identity) for identity in _identity_of(sent.data.new, "data.new", faults)]
                losses += [(index, identity) for identity in _identity_of(sent.data.old, "data.old", faults)]
    faults.event = -1
    changes.sort(key=lambda change: change.time_ms)
    stated = _stated(wire, batch_ms, now_ms, faults)
    if stated.says_something():
        changes.append(stated)
    return Batch(
        request_id=short(wire.source_request_id, "source_request_id", ID_MAX, faults),
        mpid=mpid,
        identities=named,
        context=_context(wire, platform, faults),
        events=events,
        changes=changes,
        time_ms=batch_ms,
        gains=gains,
        losses=losses,
    )


# --- the batch


def _check_environment(environment: str | None, faults: Faults) -> None:
    if not environment:
        faults.add("environment", 'Required field "environment" is missing or empty.', Reason.MISSING)
    elif environment not in _ENVIRONMENTS:
        faults.add("environment", "must be production, development or unknown", Reason.WRONG_TYPE)


def _mpid(given: int | str | None, faults: Faults) -> int:
    if given is None or given == "":
        return 0
    try:
        mpid = int(given)
    except ValueError:
        faults.add("mpid", "must be a whole number of 64 bits", Reason.NOT_A_NUMBER)
        return 0
    if not MPID_MIN <= mpid <= MPID_MAX:
        faults.add("mpid", "must be a whole number of 64 bits", Reason.NOT_A_NUMBER)
        return 0
    return mpid


def _identities(wire: WireBatch, faults: Faults) -> list[Identity]:
    found: list[Identity] = []

    def take(type_: IdentityType, value: str | int | None, field: str) -> None:
        if value is None:
            return
        text = str(value)
        if len(text) > VALUE_MAX:
            faults.add(field, f"is {len(text)} characters long; at most {VALUE_MAX} are taken", Reason.TOO_LONG)
        elif (identity := identities.normal(type_, text)) is not None:
            found.append(identity)

    if wire.user_identities:
        if len(wire.user_identities) > IDENTITIES_MAX:
            faults.add("user_identities", f"has {len(wire.user_identities)} entries; at most {IDENTITIES_MAX} are taken", Reason.TOO_MANY)
            return []
        for key, value in wire.user_identities.items():
            if (type_ := _USER_IDENTITIES.get(key)) is not None:
                take(type_, value, f"user_identities.{key}")
    if wire.device_info is not None:
        for key, type_ in _DEVICE_IDENTITIES.items():
            if (device_id := getattr(wire.device_info, key)) is not None:
                take(type_, device_id, f"device_info.{key}")
    take(IdentityType.DEVICE_APPLICATION_STAMP, wire.mp_deviceid, "mp_deviceid")
    take(IdentityType.PARTNER_ID, wire.partner_identity, "partner_identity")
    for index, event in enumerate(wire.events or ()):
        if event.event_type == "push_registration" and event.data is not None and event.data.register is not False:
            take(IdentityType.PUSH_TOKEN, event.data.registration_token, f"events[{index}].data.registration_token")
    return identities.by_strength(found)


def _context(wire: WireBatch, platform: str, faults: Faults) -> Context:
    device, application = wire.device_info, wire.application_info
    os = application.os if application and application.os != "Unknown" else None
    return Context(
        application_version=short(
            application.application_version if application else None, "application_info.application_version", ID_MAX, faults
        ),
        application_build=short(
            application.application_build_number if application else None, "application_info.application_build_number", ID_MAX, faults
        ),
        platform=(device.platform if device else None) or short(os, "application_info.os", ID_MAX, faults) or platform,
        os_version=short(device.os_version if device else None, "device_info.os_version", ID_MAX, faults),
    )


def _stated(wire: WireBatch, batch_ms: int, now_ms: int, faults: Faults) -> Change:
    removed = removed_of(wire.user_attributes)
    if wire.deleted_user_attributes:
        removed += [name[:NAME_MAX] for name in wire.deleted_user_attributes if name]
    told = wire.attribution_info
    return Change(
        time_ms=batch_ms,
        set_attributes=attributes_of(wire.user_attributes, "user_attributes", faults),
        removed_attributes=list(dict.fromkeys(removed)),
        device=_device(wire.device_info, faults),
        consents=_consents(wire, batch_ms, now_ms, faults),
        attribution=_attribution(told.publisher, told.campaign, told.service_provider, "attribution_info", faults) if told else None,
    )


def _device(sent: WireDevice | None, faults: Faults) -> Device | None:
    if sent is None:
        return None
    device = Device(
        platform=short(sent.platform, "device_info.platform", ID_MAX, faults),
        manufacturer=short(sent.device_manufacturer, "device_info.device_manufacturer", ID_MAX, faults),
        model=short(sent.device_model, "device_info.device_model", ID_MAX, faults),
        os_version=short(sent.os_version, "device_info.os_version", ID_MAX, faults),
        carrier=short(sent.network_carrier, "device_info.network_carrier", ID_MAX, faults),
        language=short(sent.locale_language, "device_info.locale_language", ID_MAX, faults),
        country=short(sent.device_country or sent.locale_country or sent.network_country, "device_info.device_country", ID_MAX, faults),
    )
    return None if device == _NO_DEVICE else device


def _consents(wire: WireBatch, batch_ms: int, now_ms: int, faults: Faults) -> list[Consent]:
    if wire.consent_state is None:
        return []
    consents: list[Consent] = []
    for regulation, sent in (("gdpr", wire.consent_state.gdpr), ("ccpa", wire.consent_state.ccpa)):
        field = f"consent_state.{regulation}"
        by_purpose = {"": sent} if sent and isinstance(sent.get("consented"), bool) else sent or {}
        for purpose, state in by_purpose.items():
            if state is None:
                continue
            where = place(field, purpose) if purpose else field
            if isinstance(state, dict):
                state = {name: whole(value) for name, value in state.items()}
            try:
                consent = msgspec.convert(state, WireConsent)
            except msgspec.ValidationError:
                faults.add(where, "must hold `consented`, true or false, and `timestamp_unixtime_ms`, a whole number", Reason.WRONG_TYPE)
                continue
            since_ms = instant(consent.timestamp_unixtime_ms, f"{where}.timestamp_unixtime_ms", now_ms, faults)
            name = short(purpose, where, ID_MAX, faults)
            consents.append(Consent(regulation, name, consent.consented, batch_ms if since_ms is None else since_ms))
    return consents


def _attribution(publisher: Any, campaign: Any, service_provider: Any, field: str, faults: Faults) -> Attribution:
    texts = [
        short(value if isinstance(value, str) else None, field, VALUE_MAX, faults) for value in (publisher, campaign, service_provider)
    ]
    return Attribution(*texts)


# --- an event

Read = Callable[[WireEventData, Faults], tuple[EventType, str]]


def _event(sent: WireEvent, batch_ms: int, now_ms: int, faults: Faults) -> Event | None:
    if not sent.event_type:
        faults.add("event_type", 'Required event field "event_type" is missing or empty.', Reason.MISSING)
        return None
    read = _READERS.get(sent.event_type)
    if read is None:
        faults.add("event_type", "is not an event type of the Events API", Reason.UNKNOWN_EVENT_TYPE)
        return None
    data = sent.data or _NO_DATA
    type_, name = read(data, faults)
    time_ms = instant(data.timestamp_unixtime_ms, "data.timestamp_unixtime_ms", now_ms, faults)
    attributes = attributes_of(data.custom_attributes, "data.custom_attributes", faults)
    if (own := _OWN_FIELDS.get(sent.event_type)) is not None:
        attributes = {**_own(data, own, "data", faults), **attributes}
    details = ""
    if type_ is EventType.COMMERCE:
        details = _commerce_details(data, attributes, faults)
    elif attributes or data.location is not None or data.session_duration_ms is not None:
        details = details_json(
            attributes=attributes, location=_location(data.location, faults), session_duration_ms=data.session_duration_ms
        )
    return Event(
        type=type_,
        name=name[:NAME_MAX],
        time_ms=batch_ms if time_ms is None else time_ms,
        message_id=short(data.source_message_id, "data.source_message_id", ID_MAX, faults),
        details=details,
    )


def _required(value: str | None, field: str, faults: Faults) -> str:
    if not value:
        faults.add(f"data.{field}", f'Required event field "{field}" is missing or empty.', Reason.MISSING)
        return ""
    return value


def _always(type_: EventType, name: str = "") -> Read:
    answer = (type_, name)
    return lambda data, faults: answer


def _custom(data: WireEventData, faults: Faults) -> tuple[EventType, str]:
    if data.custom_event_type == "attribution":
        return EventType.ATTRIBUTION, _publisher(data)
    return EventType.CUSTOM, _required(data.event_name, "event_name", faults)


def _publisher(data: WireEventData) -> str:
    publisher = (data.custom_attributes or {}).get("publisher")
    return publisher if isinstance(publisher, str) else ""


def _commerce(data: WireEventData, faults: Faults) -> tuple[EventType, str]:
    if data.product_action is not None:
        return EventType.COMMERCE, _required(data.product_action.action, "product_action.action", faults)
    if data.promotion_action is not None:
        return EventType.COMMERCE, f"promotion_{_required(data.promotion_action.action, 'promotion_action.action', faults)}"
    if data.product_impressions:
        return EventType.COMMERCE, "impression"
    if data.class_name or data.severity or data.stack_trace or data.exception_handled is not None:
        # The Python client sends its crash reports under this event type.
        return EventType.CRASH, ""
    faults.add("data", "must hold a product_action, a promotion_action or product_impressions", Reason.MISSING)
    return EventType.COMMERCE, ""


def _transition(data: WireEventData, faults: Faults) -> tuple[EventType, str]:
    if data.is_first_run:
        return EventType.INSTALL, ""
    if data.is_upgrade:
        return EventType.UPGRADE, ""
    return EventType.APPLICATION_STATE, _required(data.application_transition_type, "application_transition_type", faults)


def _opt_out(data: WireEventData, faults: Faults) -> tuple[EventType, str]:
    if data.is_opted_out is None:
        faults.add("data.is_opted_out", 'Required event field "is_opted_out" is missing or empty.', Reason.MISSING)
    else:
        # One event type for opting out and in again: the attribute tells which.
        data.custom_attributes = {**(data.custom_attributes or {}), "is_opted_out": data.is_opted_out}
    return EventType.OPT_OUT, ""


def _identity_change(data: WireEventData, faults: Faults) -> tuple[EventType, str]:
    told = data.new if isinstance(data.new, dict) else data.old
    kind = told.get("identity_type") if isinstance(told, dict) else None
    return EventType.USER_IDENTITY_CHANGE, _required(kind if isinstance(kind, str) else None, "new.identity_type", faults)


def _identity_of(told: Any, field: str, faults: Faults) -> list[Identity]:
    """The identity that a change of identities names: none where it says that there was none, or of a type that we don't know."""
    kind, value = (told.get("identity_type"), told.get("identity")) if isinstance(told, dict) else (None, None)
    type_ = _USER_IDENTITIES.get(kind) if isinstance(kind, str) else None
    if type_ is None or value is None:
        return []
    if not isinstance(value, str | int) or isinstance(value, bool):
        faults.add(f"{field}.identity", "must be text", Reason.WRONG_TYPE)
        return []
    if len(str(value)) > VALUE_MAX:
        faults.add(f"{field}.identity", f"is {len(str(value))} characters long; at most {VALUE_MAX} are taken", Reason.TOO_LONG)
        return []
    identity = identities.normal(type_, str(value))
    return [] if identity is None else [identity]


_READERS: dict[str, Read] = {
    "custom_event": _custom,
    "screen_view": lambda data, faults: (EventType.SCREEN_VIEW, _required(data.screen_name, "screen_name", faults)),
    "commerce_event": _commerce,
    "session_start": _always(EventType.SESSION_START),
    "session_end": _always(EventType.SESSION_END),
    "crash_report": _always(EventType.CRASH),
    "first_run": _always(EventType.INSTALL),
    "uninstall": _always(EventType.UNINSTALL),
    "application_state_transition": _transition,
    "pre_attribution": lambda data, faults: (EventType.ATTRIBUTION, _publisher(data)),
    "push_message": lambda data, faults: (EventType.PUSH, _required(data.push_message_type, "push_message_type", faults)),
    "push_reaction": _always(EventType.PUSH, "action"),
    "opt_out": _opt_out,
    "push_registration": _always(EventType.PUSH_REGISTRATION),
    "network_performance": _always(EventType.NETWORK_PERFORMANCE),
    "breadcrumb": lambda data, faults: (EventType.BREADCRUMB, _required(data.label, "label", faults)),
    "profile": lambda data, faults: (EventType.PROFILE, _required(data.profile_event_type, "profile_event_type", faults)),
    "user_attribute_change": lambda data, faults: (
        EventType.USER_ATTRIBUTE_CHANGE,
        _required(data.user_attribute_name, "user_attribute_name", faults),
    ),
    "user_identity_change": _identity_change,
}
EVENT_TYPES = tuple(_READERS)

# What of an event's own fields can be filtered by: they are attributes, unless the sender gives one of the same name.
_OWN_FIELDS: dict[str, tuple[str, ...]] = {
    "screen_view": ("activity_type",),
    "crash_report": ("class_name", "severity", "exception_handled"),
    "application_state_transition": ("launch_referral", "successfully_closed"),
    "push_message": ("action_identifier", "application_state", "network", "push_message_behavior"),
    "push_registration": ("register",),
    "network_performance": ("http_verb", "url", "response_code", "time_elapsed", "bytes_in", "bytes_out"),
}
_OF_ACTIONS = (
    "affiliation",
    "checkout_options",
    "checkout_step",
    "coupon_code",
    "product_action_list",
    "product_list_source",
    "shipping_amount",
    "tax_amount",
)
_OF_PRODUCTS = ("position", "total_product_amount")
_OF_PROMOTIONS = ("id", "name", "creative", "position")


def _own(sent: msgspec.Struct, fields: Iterable[str], where: str, faults: Faults) -> dict[str, Value]:
    """Those fields that have a value, as attributes."""
    found: dict[str, Value] = {}
    for field in fields:
        value = getattr(sent, field)
        if isinstance(value, str):
            value = short(value, f"{where}.{field}", VALUE_MAX, faults) or None
        elif isinstance(value, Decimal):
            value = number(value, f"{where}.{field}", faults)
        if value is not None:
            found[field] = value
    return found


def _of_commerce(data: WireEventData, faults: Faults) -> dict[str, Value]:
    """What a commerce event says beside its products: of several promotions or impressions, a list of each field."""
    if data.product_action is not None:
        return _own(data.product_action, _OF_ACTIONS, "data.product_action", faults)
    lists: dict[str, list[str]] = {}
    for index, promotion in enumerate((data.promotion_action and data.promotion_action.promotions) or ()):
        for field, value in _own(promotion, _OF_PROMOTIONS, f"data.promotion_action.promotions[{index}]", faults).items():
            lists.setdefault(f"promotion_{field}", []).append(str(value))
    for index, impression in enumerate(data.product_impressions or ()):
        for field, value in _own(impression, ("product_impression_list",), f"data.product_impressions[{index}]", faults).items():
            lists.setdefault(field, []).append(str(value))
    return {field: list(dict.fromkeys(values)) for field, values in lists.items()}


def _location(sent: WireLocation | None, faults: Faults) -> dict[str, float] | None:
    if sent is None:
        return None
    if not (-90 <= sent.latitude <= 90 and -180 <= sent.longitude <= 180):
        faults.add("data.location", "must have a latitude from -90 to 90 and a longitude from -180 to 180", Reason.NOT_A_NUMBER)
        return None
    return {"latitude": sent.latitude, "longitude": sent.longitude}


def _commerce_details(data: WireEventData, attributes: dict[str, Any], faults: Faults) -> str:
    action = data.product_action
    listed: Iterable[WireProduct] = (action.products if action else None) or (
        product for impression in data.product_impressions or () for product in impression.products or ()
    )
    where = "data.product_action" if action else "data.product_impressions"
    products = [_product(product, f"{where}.products[{index}]", faults) for index, product in enumerate(listed)]
    if len(products) > PRODUCTS_MAX:
        faults.add(f"{where}.products", f"has {len(products)} products; at most {PRODUCTS_MAX} are taken", Reason.TOO_MANY)
    return details_json(
        attributes={**_of_commerce(data, faults), **attributes},
        products=products,
        location=_location(data.location, faults),
        transaction_id=short(action.transaction_id, f"{where}.transaction_id", VALUE_MAX, faults) if action else None,
        total_amount=number(action.total_amount, f"{where}.total_amount", faults) if action else None,
        currency_code=short(data.currency_code, "data.currency_code", ID_MAX, faults),
    )


def _product(sent: WireProduct, where: str, faults: Faults) -> dict[str, Any]:
    product: dict[str, Any] = {}
    for field in ("id", "name", "brand", "category", "variant", "coupon_code"):
        if text := short(getattr(sent, field), f"{where}.{field}", VALUE_MAX, faults):
            product[field] = text
    amounts: tuple[tuple[str, Decimal | None], ...] = (("price", sent.price), ("quantity", sent.quantity))
    for field, amount in amounts:
        if (counted := number(amount, f"{where}.{field}", faults)) is not None:
            product[field] = counted
    own = _own(sent, _OF_PRODUCTS, where, faults)
    if attributes := {**own, **attributes_of(sent.custom_attributes, f"{where}.custom_attributes", faults)}:
        product["attributes"] = attributes
    return product


# --- what an event says about the person


def _told_by(event: Event, index: int, data: WireEventData, faults: Faults) -> list[Change]:
    if event.type == EventType.USER_ATTRIBUTE_CHANGE:
        name = event.name
        if data.deleted or data.new is None:
            return [Change(time_ms=event.time_ms, removed_attributes=[name], of_event=index)]
        attributes = attributes_of({name: data.new}, "data.new", faults)
        return [Change(time_ms=event.time_ms, set_attributes=attributes, of_event=index)]
    told = data.custom_attributes or {}
    if told.get("action") == "delete":
        return [Change(time_ms=event.time_ms, attribution=Attribution(), of_event=index)]
    attribution = _attribution(told.get("publisher"), told.get("campaign"), None, "data.custom_attributes", faults)
    return [Change(time_ms=event.time_ms, attribution=attribution, of_event=index)] if attribution != Attribution() else []


_TELLING = frozenset((EventType.USER_ATTRIBUTE_CHANGE, EventType.ATTRIBUTION))
_NO_DEVICE = Device()
