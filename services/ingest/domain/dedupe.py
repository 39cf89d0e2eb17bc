"""What makes a batch or an event the same as one that was sent before, and the number that names an event for good.

Ids are the sender's, so they are compared within an input: two apps that count from 1 do not hide each other's events.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b, shake_128
from os import urandom
from struct import Struct, unpack

import numpy as np
from numpy.typing import NDArray

from services.ingest.domain.model import Batch

_SOURCE = Struct("<qq")
_REQUEST, _MESSAGE = b"r:", b"m:"


def request_key(account_id: int, input_id: int, request_id: str) -> bytes:
    """The 16 bytes that a batch's `source_request_id` is remembered by."""
    return _key(_REQUEST, account_id, input_id, request_id)


def message_key(account_id: int, input_id: int, message_id: str) -> bytes:
    """The 16 bytes that an event's `source_message_id` is remembered by."""
    return _key(_MESSAGE, account_id, input_id, message_id)


def message_keys(account_id: int, input_id: int, batch: Batch) -> list[bytes]:
    """`message_key` of each event of a batch; empty for an event without an id."""
    return message_keys_of(account_id, input_id, (event.message_id for event in batch.events))


def message_keys_of(account_id: int, input_id: int, ids: Iterable[str | None]) -> list[bytes]:
    """`message_key` of each id; empty where there is none."""
    prefix = _MESSAGE + _SOURCE.pack(account_id, input_id)
    return [blake2b(prefix + id.encode(), digest_size=16).digest() if id else b"" for id in ids]


def event_ids(account_id: int, input_id: int, batch: Batch, keys: list[bytes]) -> list[int]:
    """A positive 63-bit number for each event, from its key or else from its batch's id and its place there, or else random.

    So an event that is sent again has the number that it had.
    """
    if all(keys):
        return [int.from_bytes(key[:8], "little") >> 1 for key in keys]
    size = 8 * len(keys)
    drawn = (
        shake_128(_REQUEST + _SOURCE.pack(account_id, input_id) + batch.request_id.encode()).digest(size)
        if batch.request_id
        else urandom(size)
    )
    numbers = unpack(f"<{len(keys)}Q", drawn)
    return [(int.from_bytes(key[:8], "little") if key else number) >> 1 for key, number in zip(keys, numbers, strict=True)]


def event_id(key: bytes) -> int:
    """The number of an event that has a `message_key`."""
    return int.from_bytes(key[:8], "little") >> 1


def row_ids(account_id: int, input_id: int, request_id: str, count: int) -> NDArray[np.int64]:
    """The number of each row of a table, from its request's id and its place there, or else random; as `event_ids`."""
    size = 8 * count
    drawn = shake_128(_REQUEST + _SOURCE.pack(account_id, input_id) + request_id.encode()).digest(size) if request_id else urandom(size)
    return (np.frombuffer(drawn, "<u8") >> np.uint64(1)).astype(np.int64)


def _key(kind: bytes, account_id: int, input_id: int, id: str) -> bytes:
    return blake2b(kind + _SOURCE.pack(account_id, input_id) + id.encode(), digest_size=16).digest()
