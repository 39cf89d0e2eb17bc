"""The fields that a column of a file can become: the columns of `IngestTableRequest`, and which of them plain headers mean."""

from __future__ import annotations

import re

from muster.ingest.v1 import identity_pb2

ATTRIBUTES, USER_ATTRIBUTES = "attributes.", "user_attributes."
SKIP = "skip"
IDENTITIES = tuple(name.removeprefix("IDENTITY_TYPE_").lower() for name, number in identity_pb2.IdentityType.items() if number)
OWN = (
    "mpid",
    "event_type",
    "event_name",
    "time",
    "source_message_id",
    "transaction_id",
    "total_amount",
    "currency_code",
    "deleted_user_attributes",
)
# With one of these among them, rows are events.
EVENT_FIELDS = frozenset(("event_name", "event_type"))

# What else headers call a field, in the form of `_plain`.
_MEANT = {
    "e_mail": "email",
    "email_address": "email",
    "mail": "email",
    "customerid": "customer_id",
    "user_id": "customer_id",
    "userid": "customer_id",
    "phone": "mobile_number",
    "phone_number": "mobile_number",
    "mobile": "mobile_number",
    "event": "event_name",
    "timestamp": "time",
    "event_time": "time",
    "event_timestamp": "time",
    "occurred_at": "time",
    "message_id": "source_message_id",
    "messageid": "source_message_id",
    "event_id": "source_message_id",
    "currency": "currency_code",
    "idfa": "ios_advertising_id",
    "idfv": "ios_vendor_id",
    "gaid": "google_advertising_id",
    # What the file of refused rows has beside the rows, so that it can be mended and imported.
    "rejected_line": SKIP,
    "rejected_reason": SKIP,
}


def is_field(name: str) -> bool:
    """Whether a table has such a column."""
    return name in OWN or name in IDENTITIES or is_attribute(name)


def is_attribute(name: str) -> bool:
    """Whether this is an attribute of an event or of a person."""
    return any(name.startswith(group) and len(name) > len(group) for group in (ATTRIBUTES, USER_ATTRIBUTES))


def names_somebody(name: str) -> bool:
    """Whether a row is about whom this names."""
    return name == "mpid" or name in IDENTITIES


def guess(header: str) -> str | None:
    """The field that a header means, if it is a plain name; None: no field of its own."""
    if is_attribute(header):
        return header
    plain = re.sub(r"[^a-z0-9]+", "_", header.strip().lower()).strip("_")
    return plain if is_field(plain) else _MEANT.get(plain)
