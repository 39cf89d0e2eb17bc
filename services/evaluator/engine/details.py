"""Reading a value out of an event: out of its details (the JSON object of `EventBatch.details`) and its context."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any

import msgspec

from .facts import EventContext, Value
from .values import decimal_of


class Place(Enum):
    """Where in an event a value stands."""

    ATTRIBUTE = "attribute"
    FIELD = "field"
    CONTEXT = "context"
    PRODUCT_ATTRIBUTE = "product attribute"
    PRODUCT_FIELD = "product field"


PRODUCT_PLACES = frozenset({Place.PRODUCT_ATTRIBUTE, Place.PRODUCT_FIELD})


@dataclass(frozen=True)
class Subject:
    """What is read: the name of an attribute, a key of the details or of a product, a field of the context."""

    place: Place
    name: str

    @property
    def of_product(self) -> bool:
        """Whether each product has one of its own."""
        return self.place in PRODUCT_PLACES


class Happening:
    """What is known of one event beside its kind and time. Details that are no JSON object say nothing."""

    def __init__(self, details: str, context: EventContext) -> None:
        self._details = _object_of(details)
        self._context = context

    def value(self, subject: Subject) -> Value | None:
        """Of the event itself; None where it is missing."""
        match subject.place:
            case Place.ATTRIBUTE:
                return value_of(_dict(self._details.get("attributes")).get(subject.name))
            case Place.CONTEXT:
                return getattr(self._context, subject.name) or None
            case _:
                return _filled(self._details.get(subject.name))

    @property
    def products(self) -> Sequence["Product"]:
        """At least one: an event without products is looked at as one with a single product of which nothing is known."""
        products = self._details.get("products")
        return [Product(_dict(product)) for product in products] if isinstance(products, list) and products else [Product({})]


class Product:
    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields

    def value(self, subject: Subject) -> Value | None:
        """None where it is missing."""
        if subject.place is Place.PRODUCT_ATTRIBUTE:
            return value_of(_dict(self._fields.get("attributes")).get(subject.name))
        return _filled(self._fields.get(subject.name))


def value_of(raw: Any) -> Value | None:
    """A value of JSON as the tests take it. What no attribute can be (an object, a list of other things than texts) is missing."""
    match raw:
        case str() | bool() | int() | Decimal():
            return raw
        case list() if all(isinstance(entry, str) for entry in raw):
            return tuple(raw)
        case _:
            return None


def _filled(raw: Any) -> Value | None:
    return None if raw == "" else value_of(raw)


def _dict(raw: Any) -> Mapping[str, Any]:
    return raw if isinstance(raw, dict) else {}


def _number(text: str) -> Decimal | str:
    number = decimal_of(text)
    return text if number is None else number  # an exponent beyond all bounds


_DECODER = msgspec.json.Decoder(float_hook=_number)  # numbers keep their digits


def _object_of(details: str) -> Mapping[str, Any]:
    if not details:
        return {}
    try:
        return _dict(_DECODER.decode(details))
    except (msgspec.DecodeError, RecursionError):
        return {}
