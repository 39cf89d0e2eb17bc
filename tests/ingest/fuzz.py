"""Bodies that no sender should send: good ones, changed at random. The same seed makes the same bodies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

NOW = 1_760_000_000_000

GOOD_BATCH: dict[str, Any] = {
    "environment": "production",
    "user_identities": {"customer_id": "c-1", "email": "a@b.c"},
    "events": [{"event_type": "custom_event", "data": {"event_name": "Kept", "custom_event_type": "other"}}],
}
GOOD_MESSAGE: dict[str, Any] = {"type": "track", "userId": "c-1", "event": "Kept"}

BATCH: dict[str, Any] = {
    "environment": "development",
    "source_request_id": "r-1",
    "mpid": 123456789,
    "user_identities": {"customer_id": 7, "email": "ann@example.com", "other_id_2": "x", "mobile_number": None},
    "user_attributes": {"plan": "gold", "age": 31, "tags": ["a", "b"], "gone": None, "$City": "Kiel"},
    "deleted_user_attributes": ["old"],
    "device_info": {"platform": "iOS", "ios_advertising_id": "A-1", "locale_language": "en", "is_tablet": False},
    "application_info": {"application_version": "1.2.3", "os": "IOS"},
    "attribution_info": {"publisher": "P", "campaign": "C", "service_provider": "S"},
    "consent_state": {"gdpr": {"news": {"consented": True, "timestamp_unixtime_ms": NOW - 5}}, "ccpa": {"sale": {"consented": False}}},
    "timestamp_unixtime_ms": NOW - 10,
    "events": [
        {
            "event_type": "commerce_event",
            "data": {
                "product_action": {
                    "action": "purchase",
                    "total_amount": 39.80,
                    "tax_amount": 1e-2,
                    "products": [{"id": "sku", "price": 19.9, "quantity": 2, "custom_attributes": {"size": 43}}],
                },
                "currency_code": "EUR",
                "location": {"latitude": 48.1, "longitude": 11},
                "timestamp_unixtime_ms": NOW - 1000,
                "source_message_id": "m-1",
            },
        },
        {"event_type": "screen_view", "data": {"screen_name": "Home", "custom_attributes": {"deep": True}}},
        {"event_type": "user_attribute_change", "data": {"user_attribute_name": "plan", "new": "platinum", "old": "gold"}},
        {"event_type": "session_end", "data": {"session_duration_ms": 500}},
        {"event_type": "push_registration", "data": {"register": True, "registration_token": "t"}},
    ],
}
MESSAGE: dict[str, Any] = {
    "type": "track",
    "userId": "u-1",
    "anonymousId": "a-1",
    "messageId": "m-1",
    "event": "Order Completed",
    "timestamp": "2025-10-09T08:53:20.000Z",
    "sentAt": "2025-10-09T08:53:21.000Z",
    "properties": {"total": "19.90", "products": [{"sku": "s", "price": 9.95, "dims": {"w": [1, {"x": None}]}}], "list": [1, "a", True]},
    "context": {
        "traits": {"email": "a@b.c", "address": {"city": "Kiel"}},
        "device": {"type": "ios", "id": "V", "advertisingId": "A"},
        "locale": "en-US",
        "location": {"latitude": 1.5, "longitude": "2"},
        "campaign": {"name": "C", "source": "S"},
        "app": {"version": 5},
    },
    "integrations": {"All": True},
}

# What breaks readers: the borders of numbers, of texts, of times. Each is JSON by itself, or nearly.
_VALUES = [
    *(
        b"null",
        b"true",
        b"{}",
        b"[]",
        b'""',
        b"0",
        b"-1",
        b"1e999",
        b"-1e-999",
        b"1e308",
        b"0.1",
        b"-0.0",
        b"5",
        b'"x"',
        b'["x"]',
        b"[[]]",
        b'{"": 1}',
    ),
    *(
        b"9223372036854775807",
        b"-9223372036854775808",
        b"9223372036854775808",
        b"18446744073709551616",
        b"9" * 400,
        b"1." + b"0" * 400 + b"1",
    ),
    *(b'"\\u0000"', b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\ud83d\\ude00"', b'"\xff"', b'"\xc0\x80"', b'"\xed\xa0\x80"', b'{"\\ud800": 1}'),
    *(b'"' + b"x" * 5000 + b'"', b"[" * 300 + b"]" * 300, b'{"a":' * 60 + b"1" + b"}" * 60, b"[" + b"0," * 3000 + b"0]"),
    *(
        b"946684799999",
        b"253402300800000",
        b'"0001-01-01T00:00:00+23:59"',
        b'"9999-12-31T23:59:59-23:59"',
        b'"2025-13-01"',
        b'"1e5"',
        b'"-Infinity"',
    ),
]
# What breaks the JSON itself.
_TOKENS = [
    *_VALUES,
    b"NaN",
    b"Infinity",
    b"00",
    b"\x00",
    b"\xef\xbb\xbf",
    b"[" * 300,
    b"]",
    b"}",
    b"{",
    b",",
    b":",
    b'"',
    b"\\",
    b"//",
    b"/*",
]


def _flip(random: Random, body: bytearray) -> None:
    for _ in range(random.randint(1, 4)):
        body[random.randrange(len(body))] = random.randrange(256)


def _cut(random: Random, body: bytearray) -> None:
    start = random.randrange(len(body))
    del body[start : start + random.choice((1, 2, 10, len(body)))]


def _repeat(random: Random, body: bytearray) -> None:
    start, size = random.randrange(len(body)), random.randint(1, 60)
    body[start:start] = body[start : start + size] * random.choice((1, 2, 50))


def _move(random: Random, body: bytearray) -> None:
    start, size = random.randrange(len(body)), random.randint(1, 40)
    piece = body[start : start + size]
    del body[start : start + size]
    at = random.randint(0, len(body))
    body[at:at] = piece


def _insert(random: Random, body: bytearray) -> None:
    at = random.randint(0, len(body))
    body[at:at] = random.choice(_TOKENS)


_WAYS: tuple[Callable[[Random, bytearray], None], ...] = (
    _flip,
    _cut,
    _repeat,
    _move,
    _insert,
)


def mutated(random: Random, good: bytes) -> bytes:
    """The body with one to three changes of its bytes."""
    body = bytearray(good)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        if body:
            random.choice(_WAYS)(random, body)
    return bytes(body)


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Each object or list with each of its keys."""
    if isinstance(document, dict | list):
        for key in document if isinstance(document, dict) else range(len(document)):
            yield document, key
            yield from _places(document[key])


def changed(random: Random, good: dict[str, Any]) -> bytes:
    """The document, still JSON, with one to three values that are others, are gone, or are called otherwise."""
    document = json.loads(json.dumps(good))
    values: list[bytes] = []
    for _ in range(random.choice((1, 1, 2, 3))):
        places = list(_places(document))
        if not places:
            break
        inside, key = random.choice(places)
        match random.randrange(6):
            case 0:
                del inside[key]
            case 1 if isinstance(inside, dict):
                _, name = random.choice(places)
                inside[str(name)] = inside.pop(key)
            case 2:
                inside[key] = json.loads(json.dumps(random.choice(places)[0]))
            case _:
                inside[key] = f"@{len(values)}@"
                values.append(random.choice(_VALUES))
    body = json.dumps(document).encode()
    for number, value in enumerate(values):
        body = body.replace(b'"@%d@"' % number, value)
    return body


def bodies(random: Random, good: dict[str, Any], spoilt: dict[str, Any], wrap: Callable[[bytes], bytes]) -> Iterator[bytes]:
    """Endlessly: requests of a good part, a spoilt one and the good part again; now and then all of it is changed."""
    first, second = json.dumps(good).encode(), json.dumps(spoilt).encode()
    while True:
        part = mutated(random, second) if random.random() < 0.2 else changed(random, spoilt)
        body = wrap(b",".join((first, part, first)))
        yield mutated(random, body) if random.random() < 0.1 else body
