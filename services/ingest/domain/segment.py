"""From a message of the Segment API to a batch of ours: who it is about, when it was, what it says of the person and of the event."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from services.ingest.domain import identities
from services.ingest.domain.free_form import amount, flat, text
from services.ingest.domain.limits import ID_MAX, NAME_MAX, VALUE_MAX
from services.ingest.domain.model import (
    Attribution,
    Batch,
    Change,
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
from services.ingest.domain.segment_events import campaign_of_install, tracked
from services.ingest.domain.segment_wire import WireCampaign, WireContext, WireContextDevice, WireMessage, WirePlace, WireShared
from services.ingest.domain.values import attributes_of, details_json, instant, removed_of, short

TYPES = ("identify", "track", "page", "screen", "group", "alias")

_NO_CONTEXT = WireContext()
_NO_DEVICE = Device()
_PLATFORMS = {"ios": "iOS", "android": "Android"}
# By the platform: what the device's id and its advertising id are.
_DEVICE_IDS = {
    "iOS": (IdentityType.IOS_VENDOR_ID, IdentityType.IOS_ADVERTISING_ID),
    "Android": (IdentityType.ANDROID_ID, IdentityType.GOOGLE_ADVERTISING_ID),
}
# Traits that the criterion of a place reads.
_PLACES = {"address.city": "$City", "address.state": "$State", "address.postalCode": "$Zip", "address.country": "$Country"}


def batch_of(sent: WireMessage, type_: str, shared: WireShared, platform: str, now_ms: int, faults: Faults) -> Batch:
    """The batch of a message that came at `now_ms`, of use only if no fault was added. `platform` is the input's."""
    context = sent.context or shared.context or _NO_CONTEXT
    time_ms = _time_ms(sent, shared, now_ms, faults)
    of_device = _platform(context)
    named = _identities(sent, type_, context, of_device, faults)
    if not named:
        faults.add("userId", "names nobody: give a userId or an anonymousId", Reason.NO_IDENTITY)
    message_id = short(sent.message_id, "messageId", ID_MAX, faults)
    event = _EVENTS[type_](sent, faults) if type_ in _EVENTS else None
    events = []
    if event is not None:
        kind, name, details = event
        details["location"] = _location(context.location, faults)
        events.append(Event(kind, name[:NAME_MAX], time_ms, message_id, details_json(**details)))
    stated = _stated(sent, type_, context, of_device, time_ms, faults)
    # What comes with an event falls with it, where that was sent before.
    stated.of_event = 0 if events else -1
    return Batch(
        request_id="" if events else message_id,
        mpid=0,
        identities=named,
        context=_context(context, of_device, platform, faults),
        events=events,
        changes=[stated] if stated.says_something() else [],
        time_ms=time_ms,
        claims=_claims(sent, faults) if type_ == "alias" else [],
    )


def take_no_claims(batch: Batch) -> None:
    """Let an alias count for no more than what a device says: a key that anybody can read makes no two customers one."""
    devices = [identity for identity in batch.claims if identities.names_a_device(identity.type)]
    batch.identities = identities.by_strength([*batch.identities, *devices])
    batch.claims = []


# --- when it was


def _time_ms(sent: WireMessage, shared: WireShared, now_ms: int, faults: Faults) -> int:
    """When it was by our clock: the sender's clock said `sentAt` when it was about to send, which is now."""
    said_ms = ms_of(sent.timestamp, "timestamp", faults)
    began_ms = said_ms if sent.original_timestamp is None else ms_of(sent.original_timestamp, "originalTimestamp", faults)
    sent_ms = ms_of(shared.sent_at if sent.sent_at is None else sent.sent_at, "sentAt", faults)
    if sent.received_at is not None and said_ms is not None:
        # It came through somebody who received it first, and corrected the timestamp.
        pass
    elif began_ms is not None and sent_ms is not None:
        said_ms = now_ms - (sent_ms - began_ms)
    else:
        said_ms = began_ms
    checked_ms = instant(said_ms, "timestamp", now_ms, faults)
    return now_ms if checked_ms is None else checked_ms


def ms_of(value: str | int | None, field: str, faults: Faults) -> int | None:
    """An instant in milliseconds since 1970, also one as ISO 8601 has it; without a time zone it is UTC."""
    if value is None or isinstance(value, int):
        return value
    try:
        at = datetime.fromisoformat(value.strip())
    except ValueError:
        faults.add(field, "must be a date and time as ISO 8601 has it, or milliseconds since 1970", Reason.WRONG_TYPE)
        return None
    delta = (at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


# --- who it is about


def _identities(sent: WireMessage, type_: str, context: WireContext, platform: str, faults: Faults) -> list[Identity]:
    found: list[Identity] = []

    def take(kind: IdentityType, value: Any, field: str) -> None:
        said = text(value, field, faults)
        if said is None:
            return
        if len(said) > VALUE_MAX:
            faults.add(field, f"is {len(said)} characters long; at most {VALUE_MAX} are taken", Reason.TOO_LONG)
        elif (identity := identities.normal(kind, said)) is not None:
            found.append(identity)

    take(IdentityType.CUSTOMER_ID, sent.user_id, "userId")
    take(IdentityType.DEVICE_APPLICATION_STAMP, sent.anonymous_id, "anonymousId")
    for traits, field in ((sent.traits if type_ == "identify" else None, "traits"), (context.traits, "context.traits")):
        # What people write where they have no address is no address.
        if traits and isinstance(email := traits.get("email"), str) and "@" in email:
            take(IdentityType.EMAIL, email, f"{field}.email")
        if traits and isinstance(phone := traits.get("phone"), str | int) and not isinstance(phone, bool):
            take(IdentityType.MOBILE_NUMBER, phone, f"{field}.phone")
    if (device := context.device) is not None:
        if (kinds := _DEVICE_IDS.get(platform)) is not None:
            take(kinds[0], device.id, "context.device.id")
            if device.ad_tracking_enabled is not False:
                take(kinds[1], device.advertising_id, "context.device.advertisingId")
        take(IdentityType.PUSH_TOKEN, device.token, "context.device.token")
    return identities.by_strength(found)


def _claims(sent: WireMessage, faults: Faults) -> list[Identity]:
    """Who is the same person: nobody can tell whether the id before was a user's or an anonymous one."""
    said = text(sent.previous_id, "previousId", faults)
    if not said:
        faults.add("previousId", 'Required field "previousId" is missing or empty.', Reason.MISSING)
        return []
    if len(said) > VALUE_MAX:
        faults.add("previousId", f"is {len(said)} characters long; at most {VALUE_MAX} are taken", Reason.TOO_LONG)
        return []
    kinds = IdentityType.CUSTOMER_ID, IdentityType.DEVICE_APPLICATION_STAMP
    return [identity for kind in kinds if (identity := identities.normal(kind, said)) is not None]


# --- what it says of the person


def _stated(sent: WireMessage, type_: str, context: WireContext, platform: str, time_ms: int, faults: Faults) -> Change:
    said: dict[str, Any] = {}
    for name, value in flat(context.traits, "context.traits", faults).items():
        said[_PLACES.get(name, name)] = value
    field = "context.traits"
    if type_ == "identify":
        field = "traits"
        for name, value in flat(sent.traits, "traits", faults).items():
            said[_PLACES.get(name, name)] = value
    elif type_ == "group":
        field = "traits"
        if sent.group_id is None or sent.group_id == "":
            faults.add("groupId", 'Required field "groupId" is missing or empty.', Reason.MISSING)
        said["group_id"] = None if sent.group_id is None else str(sent.group_id)
        said.update((f"group.{name}", value) for name, value in flat(sent.traits, "traits", faults).items())
    return Change(
        time_ms=time_ms,
        set_attributes=attributes_of(said, field, faults),
        removed_attributes=removed_of(said),
        device=_device(context, platform, faults),
        attribution=_attribution(sent, type_, context, faults),
    )


def _attribution(sent: WireMessage, type_: str, context: WireContext, faults: Faults) -> Attribution | None:
    campaign, field = context.campaign, "context.campaign"
    if type_ == "track" and (of_install := campaign_of_install(sent.event or "", sent.properties or {})) is not None:
        campaign, field = WireCampaign(of_install.get("name"), of_install.get("source")), "properties.campaign"
    if campaign is None:
        return None
    told = Attribution(
        publisher=_short(campaign.source, f"{field}.source", VALUE_MAX, faults),
        campaign=_short(campaign.name, f"{field}.name", VALUE_MAX, faults),
    )
    return None if told == Attribution() else told


# --- where it happened


def _platform(context: WireContext) -> str:
    """The platform that the device says it is; empty where it says nothing."""
    kind = (context.device or WireContextDevice()).type
    return _PLATFORMS.get(kind.casefold(), kind) if isinstance(kind, str) else ""


def _context(context: WireContext, of_device: str, platform: str, faults: Faults) -> Context:
    app, os = context.app, context.os
    return Context(
        application_version=_short(app.version if app else None, "context.app.version", ID_MAX, faults),
        application_build=_short(app.build if app else None, "context.app.build", ID_MAX, faults),
        platform=short(of_device, "context.device.type", ID_MAX, faults)
        or platform
        or _short(os.name if os else None, "context.os.name", ID_MAX, faults),
        os_version=_short(os.version if os else None, "context.os.version", ID_MAX, faults),
    )


def _device(context: WireContext, platform: str, faults: Faults) -> Device | None:
    sent, os = context.device, context.os
    language, _, region = _short(context.locale, "context.locale", ID_MAX, faults).replace("_", "-").partition("-")
    country = _short(context.location.country if context.location else None, "context.location.country", ID_MAX, faults)
    device = Device(
        platform=short(platform, "context.device.type", ID_MAX, faults),
        manufacturer=_short(sent.manufacturer if sent else None, "context.device.manufacturer", ID_MAX, faults),
        model=_short(sent.model if sent else None, "context.device.model", ID_MAX, faults),
        os_version=_short(os.version if os else None, "context.os.version", ID_MAX, faults),
        carrier=_short(context.network.carrier if context.network else None, "context.network.carrier", ID_MAX, faults),
        language=language,
        # `zh-Hans-CN`: the region is the last.
        country=country or region.rpartition("-")[2],
    )
    return None if device == _NO_DEVICE else device


def _location(sent: WirePlace | None, faults: Faults) -> dict[str, float] | None:
    if sent is None:
        return None
    latitude = amount(sent.latitude, "context.location.latitude", faults)
    longitude = amount(sent.longitude, "context.location.longitude", faults)
    if latitude is None or longitude is None:
        return None
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        faults.add("context.location", "must have a latitude from -90 to 90 and a longitude from -180 to 180", Reason.NOT_A_NUMBER)
        return None
    return {"latitude": float(latitude), "longitude": float(longitude)}


def _short(value: Any, field: str, most: int, faults: Faults) -> str:
    return short(text(value, field, faults), field, most, faults)


# --- the event

# The type, the name, and what `details_json` takes.
Told = tuple[EventType, str, dict[str, Any]]


def _track(sent: WireMessage, faults: Faults) -> Told:
    if not sent.event:
        faults.add("event", 'Required field "event" is missing or empty.', Reason.MISSING)
    return tracked(sent.event or "", sent.properties or {}, faults)


def _viewed(unnamed: str) -> Callable[[WireMessage, Faults], Told]:
    def read(sent: WireMessage, faults: Faults) -> Told:
        properties = flat(sent.properties, "properties", faults)
        # Pages are often not named; what they are called then should be the same at each view.
        names = (sent.name, *(properties.get(field) for field in ("name", "path", "url")), unnamed)
        name = next(name for name in names if isinstance(name, str) and name)
        if sent.category:
            properties["category"] = sent.category
        attributes: dict[str, Value] = attributes_of(properties, "properties", faults)
        return EventType.SCREEN_VIEW, name, {"attributes": attributes}

    return read


_EVENTS: dict[str, Callable[[WireMessage, Faults], Told]] = {
    "track": _track,
    "page": _viewed("Unnamed page"),
    "screen": _viewed("Unnamed screen"),
}
