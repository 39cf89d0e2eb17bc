"""From a Batch of the contract to a batch of ours: the checks of the Events API, with the contract's places (`batches[3].events[0]`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from google.protobuf.message import Message
from muster.ingest.v1 import event_pb2, identity_pb2

from services.ingest.domain import identities
from services.ingest.domain.limits import BATCH_MAX_BYTES, ID_MAX, NAME_MAX, PRODUCTS_MAX, VALUE_MAX
from services.ingest.domain.model import (
    NAMED_EVENTS,
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
from services.ingest.domain.values import attributes_of, details_json, instant, number, place, short

_TYPES: frozenset[int] = frozenset(EventType)
_IDENTITY_TYPES: frozenset[int] = frozenset(IdentityType)


def batch_from_proto(sent: event_pb2.Batch, platform: str, now_ms: int, faults: Faults) -> Batch | None:
    """The batch that was sent, of use only if no fault was added. `platform` is the input's, where the batch names none."""
    if sent.ByteSize() > BATCH_MAX_BYTES:
        faults.add("", f"is {sent.ByteSize()} bytes long; at most {BATCH_MAX_BYTES} are taken", Reason.TOO_LARGE)
        return None
    for where in _with_nul(sent, ""):
        faults.add_at(where, "holds a NUL character", Reason.BAD_CHARACTER)
    if sent.environment == event_pb2.ENVIRONMENT_UNSPECIFIED:
        faults.add("environment", "is missing", Reason.MISSING)
    batch_ms = instant(sent.time_ms or None, "time_ms", now_ms, faults) or now_ms
    named = _identities(sent, faults)
    if not sent.mpid and not named:
        faults.add("identities", "name nobody: give an mpid, a user identity or a device identity", Reason.NO_IDENTITY)
    events: list[Event] = []
    for index, one in enumerate(sent.events):
        faults.event = index
        events.append(_event(one, batch_ms, now_ms, faults))
    faults.event = -1
    stated = Change(
        time_ms=batch_ms,
        set_attributes=attributes_of(_values(sent.user_attributes, "user_attributes", faults), "user_attributes", faults),
        removed_attributes=[name[:NAME_MAX] for name in dict.fromkeys(sent.deleted_user_attributes) if name],
        device=_device(sent.device, faults) if sent.HasField("device") else None,
        consents=[_consent(one, index, batch_ms, now_ms, faults) for index, one in enumerate(sent.consents)],
        attribution=_attribution(sent.attribution, faults) if sent.HasField("attribution") else None,
    )
    return Batch(
        request_id=sent.source_request_id,
        mpid=sent.mpid,
        identities=named,
        context=Context(
            application_version=short(sent.application.version, "application.version", ID_MAX, faults),
            application_build=short(sent.application.build, "application.build", ID_MAX, faults),
            platform=sent.device.platform or short(sent.application.os, "application.os", ID_MAX, faults) or platform,
            os_version=sent.device.os_version,
        ),
        events=events,
        changes=[stated] if stated.says_something() else [],
        time_ms=batch_ms,
    )


def _identities(sent: event_pb2.Batch, faults: Faults) -> list[Identity]:
    found = []
    for index, one in enumerate(sent.identities):
        if one.type not in _IDENTITY_TYPES:
            faults.add(f"identities[{index}].type", "is not a type of identity", Reason.WRONG_TYPE)
        elif len(one.value) > VALUE_MAX:
            faults.add(f"identities[{index}].value", f"is {len(one.value)} characters long; at most {VALUE_MAX} are taken", Reason.TOO_LONG)
        elif (identity := identities.normal(one.type, one.value)) is not None:
            found.append(identity)
    return identities.by_strength(found)


def _event(sent: event_pb2.Event, batch_ms: int, now_ms: int, faults: Faults) -> Event:
    if sent.type not in _TYPES:
        faults.add("type", "is not a type of event", Reason.UNKNOWN_EVENT_TYPE)
    elif sent.type in NAMED_EVENTS and not sent.name:
        faults.add("name", "is missing", Reason.MISSING)
    location = sent.location
    if sent.HasField("location") and not (-90 <= location.latitude <= 90 and -180 <= location.longitude <= 180):
        faults.add("location", "must have a latitude from -90 to 90 and a longitude from -180 to 180", Reason.NOT_A_NUMBER)
    if len(sent.products) > PRODUCTS_MAX:
        faults.add("products", f"are {len(sent.products)}; at most {PRODUCTS_MAX} are taken", Reason.TOO_MANY)
    return Event(
        type=sent.type,
        name=sent.name[:NAME_MAX],
        time_ms=instant(sent.time_ms or None, "time_ms", now_ms, faults) or batch_ms,
        message_id=sent.source_message_id,
        details=details_json(
            attributes=attributes_of(_values(sent.attributes, "attributes", faults), "attributes", faults),
            products=[_product(product, f"products[{index}]", faults) for index, product in enumerate(sent.products)],
            location={"latitude": location.latitude, "longitude": location.longitude} if sent.HasField("location") else None,
            transaction_id=short(sent.transaction_id, "transaction_id", VALUE_MAX, faults),
            total_amount=_decimal(sent.total_amount, "total_amount", faults),
            currency_code=short(sent.currency_code, "currency_code", ID_MAX, faults),
            session_duration_ms=sent.session_duration_ms or None,
        ),
    )


def _product(sent: event_pb2.Product, where: str, faults: Faults) -> dict[str, Any]:
    product: dict[str, Any] = {}
    for field in ("id", "name", "brand", "category", "variant", "coupon_code"):
        if text := short(getattr(sent, field), f"{where}.{field}", VALUE_MAX, faults):
            product[field] = text
    for field in ("price", "quantity"):
        if (amount := _decimal(getattr(sent, field), f"{where}.{field}", faults)) is not None:
            product[field] = amount
    if own := attributes_of(_values(sent.attributes, f"{where}.attributes", faults), f"{where}.attributes", faults):
        product["attributes"] = own
    return product


def _device(sent: event_pb2.Device, faults: Faults) -> Device:
    return Device(
        **{field.name: short(getattr(sent, field.name), f"device.{field.name}", ID_MAX, faults) for field in sent.DESCRIPTOR.fields}
    )


def _consent(sent: event_pb2.Consent, index: int, batch_ms: int, now_ms: int, faults: Faults) -> Consent:
    where = f"consents[{index}]"
    if not sent.regulation:
        faults.add(f"{where}.regulation", "is missing", Reason.MISSING)
    return Consent(
        regulation=short(sent.regulation, f"{where}.regulation", ID_MAX, faults),
        purpose=short(sent.purpose, f"{where}.purpose", ID_MAX, faults),
        consented=sent.consented,
        time_ms=instant(sent.time_ms or None, f"{where}.time_ms", now_ms, faults) or batch_ms,
    )


def _attribution(sent: event_pb2.Attribution, faults: Faults) -> Attribution:
    return Attribution(
        **{field.name: short(getattr(sent, field.name), f"attribution.{field.name}", VALUE_MAX, faults) for field in sent.DESCRIPTOR.fields}
    )


def _values(sent: Mapping[str, identity_pb2.AttributeValue], field: str, faults: Faults) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for name, one in sent.items():
        match one.WhichOneof("kind"):
            case "string_value":
                values[name] = one.string_value
            case "boolean_value":
                values[name] = one.boolean_value
            case "list_value":
                values[name] = list(one.list_value.values)
            case "number_value":
                if (amount := _decimal(one.number_value, place(field, name), faults)) is not None:
                    values[name] = amount
            case _:
                faults.add(place(field, name), "has no value", Reason.MISSING)
    return values


def _decimal(text: str, field: str, faults: Faults) -> Decimal | None:
    if not text:
        return None
    try:
        return number(Decimal(text), field, faults)
    except InvalidOperation:
        faults.add(field, "is not decimal text", Reason.NOT_A_NUMBER)
        return None


def _with_nul(message: Message, where: str) -> Iterator[str]:
    """The places of the texts that hold a NUL."""
    for field, value in message.ListFields():
        path = f"{where}.{field.name}" if where else field.name
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            for name in value:
                if "\0" in name:
                    yield place(path, name)
                yield from _with_nul(value[name], place(path, name))
        elif field.is_repeated:
            for index, item in enumerate(value):
                yield from _with_nul_in(item, f"{path}[{index}]")
        else:
            yield from _with_nul_in(value, path)


def _with_nul_in(value: object, path: str) -> Iterator[str]:
    if isinstance(value, Message):
        yield from _with_nul(value, path)
    elif isinstance(value, str) and "\0" in value:
        yield path
