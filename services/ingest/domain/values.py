"""What both ways in check alike: attributes, instants, numbers, texts, places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from services.ingest.domain.limits import (
    ATTRIBUTES_MAX,
    ENTRY_MAX,
    LIST_MAX,
    NAME_MAX,
    NUMBER_MAX_EXPONENT,
    TIME_MAX_AHEAD_MS,
    TIME_MIN_MS,
    VALUE_MAX,
)
from services.ingest.domain.model import Faults, Reason, Value

_PLACE_NAME_MAX = 80
_WHOLE_MAX_EXPONENT = 20
_INT_MAX: int = 10**NUMBER_MAX_EXPONENT
# Numbers as they were sent: Decimal("19.90") becomes 19.90.
encode = msgspec.json.Encoder(decimal_format="number").encode


def attributes_of(raw: Mapping[str, Any] | None, field: str, faults: Faults) -> dict[str, Value]:
    """The attributes that have a value. Names over 256 characters are cut; a value that is null is left out: see `removed_of`."""
    if not raw:
        return {}
    if len(raw) > ATTRIBUTES_MAX:
        faults.add(field, f"has {len(raw)} attributes; at most {ATTRIBUTES_MAX} are taken", Reason.TOO_MANY)
        return {}
    attributes: dict[str, Value] = {}
    for name, value in raw.items():
        kind = type(value)
        if kind is str:
            if len(value) > VALUE_MAX:
                faults.add(place(field, name), f"is {len(value)} characters long; at most {VALUE_MAX} are taken", Reason.TOO_LONG)
        elif kind is int or kind is Decimal:
            if not is_number(value):
                faults.add(place(field, name), "is not a number of this world", Reason.NOT_A_NUMBER)
        elif kind is list:
            _check_list(value, place(field, name), faults)
        elif value is None:
            continue
        elif kind is not bool:
            faults.add(place(field, name), "must be text, a number, true, false, a list of texts or null, not an object", Reason.WRONG_TYPE)
        if not name:
            faults.add(place(field, name), "has no name", Reason.MISSING)
        attributes[name[:NAME_MAX]] = value
    return attributes


def removed_of(raw: Mapping[str, Any] | None) -> list[str]:
    """The names whose value is null."""
    return [name[:NAME_MAX] for name, value in raw.items() if value is None and name] if raw else []


def is_number(value: int | Decimal) -> bool:
    """Whether a number is finite and of a size that numbers have."""
    if isinstance(value, int):
        return -_INT_MAX < value < _INT_MAX
    return value.is_finite() and abs(value.adjusted()) <= NUMBER_MAX_EXPONENT


def whole(value: Any) -> Any:
    """A whole number that was written with decimals as an int, for JSON has one kind of number; else the value as it is."""
    if isinstance(value, Decimal) and value.is_finite() and value.adjusted() < _WHOLE_MAX_EXPONENT and value % 1 == 0:
        return int(value)
    return value


def number(value: Decimal | None, field: str, faults: Faults) -> Decimal | None:
    """A number as it was sent; None where there is none."""
    if value is not None and not is_number(value):
        faults.add(field, "is not a number of this world", Reason.NOT_A_NUMBER)
        return None
    return value


def instant(ms: int | None, field: str, now_ms: int, faults: Faults) -> int | None:
    """An instant from 2000 until ten years from now; None where there is none."""
    if ms is None or TIME_MIN_MS <= ms <= now_ms + TIME_MAX_AHEAD_MS:
        return ms
    faults.add(field, "must lie between 2000-01-01 and ten years from now, in milliseconds since 1970", Reason.TIME_OUT_OF_RANGE)
    return None


def short(value: str | None, field: str, most: int, faults: Faults) -> str:
    """A text of at most so many characters; empty where there is none."""
    if value is None:
        return ""
    if len(value) > most:
        faults.add(field, f"is {len(value)} characters long; at most {most} are taken", Reason.TOO_LONG)
    return value


def details_json(
    *,
    attributes: Mapping[str, Value] | None = None,
    products: Sequence[Mapping[str, Any]] = (),
    location: Mapping[str, float] | None = None,
    transaction_id: str | None = None,
    total_amount: Decimal | None = None,
    currency_code: str | None = None,
    session_duration_ms: int | None = None,
) -> str:
    """The JSON object of EventBatch.details, with the keys that have something to say; empty where none has. Numbers as they were sent."""
    details: dict[str, Any] = {}
    if attributes:
        details["attributes"] = attributes
    if products:
        details["products"] = products
    if location:
        details["location"] = location
    if transaction_id:
        details["transaction_id"] = transaction_id
    if total_amount is not None:
        details["total_amount"] = total_amount
    if currency_code:
        details["currency_code"] = currency_code
    if session_duration_ms is not None:
        details["session_duration_ms"] = session_duration_ms
    return encode(details).decode() if details else ""


def place(field: str, name: str) -> str:
    """The place of an entry: `user_attributes.plan`, or `user_attributes["a b"]` where the name needs quotes."""
    if len(name) <= _PLACE_NAME_MAX and name.isidentifier() and name.isascii():
        return f"{field}.{name}"
    # In ASCII, so that a name that cannot be encoded can be told.
    text = msgspec.json.encode(name[:_PLACE_NAME_MAX].encode("ascii", "backslashreplace").decode()).decode()
    return f"{field}[{text}]"


def bad_character(text: str) -> bool:
    """Whether a text holds a character that cannot be kept: NUL or half of a surrogate pair."""
    return "\0" in text or (not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text))


def _check_list(values: list[Any], field: str, faults: Faults) -> None:
    if len(values) > LIST_MAX:
        faults.add(field, f"has {len(values)} entries; at most {LIST_MAX} are taken", Reason.TOO_MANY)
        return
    for index, value in enumerate(values):
        if not isinstance(value, str):
            faults.add(f"{field}[{index}]", "must be text: a list holds texts only", Reason.WRONG_TYPE)
        elif len(value) > ENTRY_MAX:
            faults.add(f"{field}[{index}]", f"is {len(value)} characters long; at most {ENTRY_MAX} are taken", Reason.TOO_LONG)
