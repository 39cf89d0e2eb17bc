"""What people write freely, in any form, as the flat attributes and the texts that are kept."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from services.ingest.domain.model import Faults, Reason
from services.ingest.domain.values import encode, number, place

_LEVELS_MAX = 20


def flat(raw: Mapping[str, Any] | None, field: str, faults: Faults) -> dict[str, Any]:
    """The values of nested objects by their path, `address.city`; a list as texts, what is no scalar in it as JSON.

    Their sizes are not checked yet: that is for `values.attributes_of`. An object inside more than 20 others is a fault.
    """
    found: dict[str, Any] = {}
    if raw:
        _flatten(raw, "", found, field, _LEVELS_MAX, faults)
    return found


def _flatten(raw: Mapping[str, Any], prefix: str, found: dict[str, Any], field: str, levels: int, faults: Faults) -> None:
    for name, value in raw.items():
        path = f"{prefix}{name}"
        kind = type(value)
        if kind is dict or kind is list:
            if not _shallow(value, levels):
                faults.add(place(field, path), f"is nested deeper than {_LEVELS_MAX} levels", Reason.WRONG_TYPE)
            elif kind is dict:
                _flatten(value, f"{path}.", found, field, levels - 1, faults)
            else:
                found[path] = [_entry(item) for item in value if item is not None]
        else:
            found[path] = value


def _shallow(value: Any, levels: int) -> bool:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_shallow(item, levels - 1) for item in items)


def _entry(item: Any) -> str:
    if isinstance(item, dict | list):
        return encode(item).decode()
    return _said(item)


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def text(value: Any, field: str, faults: Faults) -> str | None:
    """Text, or a number or truth value as text; None where there is none."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dict | list):
        faults.add(field, "must be text", Reason.WRONG_TYPE)
        return None
    return _said(value)


def amount(value: Any, field: str, faults: Faults) -> Decimal | None:
    """A number, also one in text, with the digits that were sent; None where there is none."""
    if value is None or value == "":
        return None
    if isinstance(value, str | int | Decimal) and not isinstance(value, bool):
        try:
            return number(Decimal(value), field, faults)
        except InvalidOperation:
            pass
    faults.add(field, "must be a number", Reason.NOT_A_NUMBER)
    return None
