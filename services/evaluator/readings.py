"""What events tell of their people: where they were, and what they paid. Read from the details (`muster.ingest.v1.EventBatch`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
from muster.ingest.v1 import event_type_pb2

from services.evaluator.engine.criteria.columns import EXACT
from services.evaluator.engine.facts import Point
from services.evaluator.engine.values import decimal_of, number_of

_SIGNS = {"purchase": Decimal(1), "refund": Decimal(-1)}
_DIGITS = 18  # on either side of the point
# What a text must hold before it is worth reading.
LOCATION_MARK = '"location"'


def pays(type_: int, name: str) -> bool:
    """Whether events of this kind count for the lifetime value."""
    return type_ == event_type_pb2.EVENT_TYPE_COMMERCE and name in _SIGNS


def amount_of(name: str, details: str) -> Decimal:
    """What an event that `pays` adds to the lifetime value; exact."""
    told = _object_of(details)
    if "total_amount" in told:
        return EXACT.multiply(_SIGNS[name], _amount(told["total_amount"]) or Decimal(0))
    total = Decimal(0)
    products = told.get("products")
    for product in products if isinstance(products, list) else ():
        if isinstance(product, dict):
            price, quantity = _amount(product.get("price")), _amount(product.get("quantity", 1))
            total = EXACT.add(total, EXACT.multiply(price or Decimal(0), quantity or Decimal(0)))
    return EXACT.multiply(_SIGNS[name], total)


def point_of(details: str) -> Point | None:
    """Where an event happened; None where nothing is known of it."""
    if LOCATION_MARK not in details:
        return None
    location = _object_of(details).get("location")
    if not isinstance(location, dict):
        return None
    try:
        point = Point(float(location["latitude"]), float(location["longitude"]))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return point if all(map(math.isfinite, point)) else None


def _amount(raw: Any) -> Decimal | None:
    """None: no number, or one with more digits than count."""
    if not isinstance(raw, str | int | Decimal):
        return None
    number = number_of(raw)
    if number is None or not number:
        return number
    digits = number.as_tuple().digits
    zeros = next(place for place, digit in enumerate(reversed(digits)) if digit)
    exponent = number.adjusted() - len(digits) + 1 + zeros  # of the last digit that is not 0
    return number if number.adjusted() < _DIGITS and exponent >= -_DIGITS else None


def _number(text: str) -> Decimal | str:
    number = decimal_of(text)
    return text if number is None else number  # an exponent beyond all bounds


_DECODER = msgspec.json.Decoder(float_hook=_number)  # numbers keep their digits


def _object_of(details: str) -> Mapping[str, Any]:
    try:
        told = _DECODER.decode(details)
    except (msgspec.DecodeError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}
