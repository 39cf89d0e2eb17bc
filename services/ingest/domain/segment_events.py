"""The events that Segment's specs name (commerce, the life of an app) as the events they are here; any other is a custom event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.ingest.domain.free_form import amount, flat, text
from services.ingest.domain.limits import ID_MAX, PRODUCTS_MAX, VALUE_MAX
from services.ingest.domain.model import EventType, Faults, Reason
from services.ingest.domain.values import attributes_of, short

# The names in lower case: senders differ in that. These speak of a list of products ...
_OF_ORDERS = {
    "checkout started": "checkout",
    "checkout step viewed": "checkout_option",
    "checkout step completed": "checkout_option",
    "order completed": "purchase",
    "order refunded": "refund",
    "product list viewed": "impression",
    "promotion viewed": "promotion_view",
    "promotion clicked": "promotion_click",
}
# ... and these of the one product that their properties are.
_OF_PRODUCTS = {
    "product added": "add_to_cart",
    "product removed": "remove_from_cart",
    "product clicked": "click",
    "product viewed": "view_detail",
    "product added to wishlist": "add_to_wishlist",
    "product removed from wishlist": "remove_from_wish_list",
}
_OF_APPS = {
    "application installed": (EventType.INSTALL, ""),
    "application updated": (EventType.UPGRADE, ""),
    "application uninstalled": (EventType.UNINSTALL, ""),
    "application crashed": (EventType.CRASH, ""),
    "application backgrounded": (EventType.APPLICATION_STATE, "application_background"),
    "push notification received": (EventType.PUSH, "received"),
    "push notification tapped": (EventType.PUSH, "action"),
}
# What each is called in a product; the first that is given counts.
_PRODUCT_FIELDS = {
    "id": ("product_id", "sku", "id"),
    "name": ("name",),
    "brand": ("brand",),
    "category": ("category",),
    "variant": ("variant",),
    "coupon_code": ("coupon",),
}
_PRODUCT_AMOUNTS = ("price", "quantity")
_TOTALS = ("total", "revenue", "value")


def tracked(name: str, properties: Mapping[str, Any], faults: Faults) -> tuple[EventType, str, dict[str, Any]]:
    """The type and name of an event with what `values.details_json` takes of its properties."""
    folded = name.strip().casefold()
    if (action := _OF_PRODUCTS.get(folded)) is not None:
        return EventType.COMMERCE, action, _one_product(properties, faults)
    if (action := _OF_ORDERS.get(folded)) is not None:
        return EventType.COMMERCE, action, _order(properties, faults)
    details = {"attributes": attributes_of(flat(properties, "properties", faults), "properties", faults)}
    if folded == "application opened":
        again = properties.get("from_background") is True
        return EventType.APPLICATION_STATE, "application_foreground" if again else "application_initialized", details
    if (campaign := campaign_of_install(name, properties)) is not None:
        publisher = campaign.get("source")
        return EventType.ATTRIBUTION, publisher if isinstance(publisher, str) else "", details
    if (known := _OF_APPS.get(folded)) is not None:
        return *known, details
    return EventType.CUSTOM, name, details


def _order(properties: Mapping[str, Any], faults: Faults) -> dict[str, Any]:
    rest = dict(properties)
    listed = rest.pop("products", None)
    if listed is None:
        listed = []
    elif not isinstance(listed, list):
        faults.add("properties.products", "must be a list of products", Reason.WRONG_TYPE)
        listed = []
    if len(listed) > PRODUCTS_MAX:
        faults.add("properties.products", f"has {len(listed)} products; at most {PRODUCTS_MAX} are taken", Reason.TOO_MANY)
        listed = []
    products = []
    for index, sent in enumerate(listed):
        where = f"properties.products[{index}]"
        if not isinstance(sent, dict):
            faults.add(where, "must be an object", Reason.WRONG_TYPE)
            continue
        product, own = _product(sent, where, faults)
        if attributes := attributes_of(flat(own, where, faults), where, faults):
            product["attributes"] = attributes
        products.append(product)
    total, field = _first(rest, _TOTALS)
    return {
        "products": products,
        "total_amount": amount(total, f"properties.{field}", faults),
        "transaction_id": short(text(rest.pop("order_id", None), "properties.order_id", faults), "properties.order_id", VALUE_MAX, faults),
        **_of_all(rest, faults),
    }


def _one_product(properties: Mapping[str, Any], faults: Faults) -> dict[str, Any]:
    product, rest = _product(properties, "properties", faults)
    return {"products": [product] if product else [], **_of_all(rest, faults)}


def _of_all(rest: dict[str, Any], faults: Faults) -> dict[str, Any]:
    currency = short(text(rest.pop("currency", None), "properties.currency", faults), "properties.currency", ID_MAX, faults)
    return {"currency_code": currency, "attributes": attributes_of(flat(rest, "properties", faults), "properties", faults)}


def _product(sent: Mapping[str, Any], where: str, faults: Faults) -> tuple[dict[str, Any], dict[str, Any]]:
    """A product, and what else was said."""
    rest = dict(sent)
    product: dict[str, Any] = {}
    for field, names in _PRODUCT_FIELDS.items():
        value, name = _first(rest, names)
        if said := short(text(value, f"{where}.{name}", faults), f"{where}.{name}", VALUE_MAX, faults):
            product[field] = said
    for field in _PRODUCT_AMOUNTS:
        if (counted := amount(rest.pop(field, None), f"{where}.{field}", faults)) is not None:
            product[field] = counted
    return product, rest


def _first(rest: dict[str, Any], names: Sequence[str]) -> tuple[Any, str]:
    """The first of these that has a value, taken out, and what it is called."""
    for name in names:
        if rest.get(name) not in (None, ""):
            return rest.pop(name), name
    return None, names[0]


def campaign_of_install(event: str, properties: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The campaign that an attribution names (`source`, `name`); None where the event is no attribution."""
    if event.strip().casefold() != "install attributed":
        return None
    campaign = properties.get("campaign")
    return campaign if isinstance(campaign, dict) else {}
