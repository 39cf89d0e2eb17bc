"""Whether a stream of Arrow IPC is compressed: 16 MB of it could unpack to so much that no memory holds it, and Arrow knows no bound.

Arrow tells of it only by unpacking, so it is read from the messages' own headers, which are Flatbuffers (Arrow's Message.fbs): a table is
found at its offset, and its fields at the offsets of its vtable.
"""

from __future__ import annotations

from struct import unpack_from

import pyarrow as pa

# Places of fields in their tables, and a type of headers.
_MESSAGE_HEADER_TYPE, _MESSAGE_HEADER = 1, 2
_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3
_DICTIONARY_DATA = 1
_BATCH_COMPRESSION = 3


def is_compressed(body: bytes) -> bool:
    """Whether any batch in it is. Raises pyarrow.ArrowException for what is no stream of IPC."""
    for message in pa.ipc.MessageReader.open_stream(pa.py_buffer(body)):
        # Arrow has verified that every offset lies within.
        header = message.metadata.to_pybytes()
        root = _at(header, 0)
        kind = _field(header, root, _MESSAGE_HEADER_TYPE)
        batch = _field(header, root, _MESSAGE_HEADER)
        if not kind or not batch or header[kind] not in (_DICTIONARY_BATCH, _RECORD_BATCH):
            continue
        table = _at(header, batch)
        if header[kind] == _DICTIONARY_BATCH:
            data = _field(header, table, _DICTIONARY_DATA)
            if not data:
                continue
            table = _at(header, data)
        if _field(header, table, _BATCH_COMPRESSION):
            return True
    return False


def _at(buffer: bytes, place: int) -> int:
    """Where the table is whose offset is here."""
    (offset,) = unpack_from("<I", buffer, place)
    return place + int(offset)


def _field(buffer: bytes, table: int, number: int) -> int:
    """Where a field of a table is; 0: it has none."""
    (back,) = unpack_from("<i", buffer, table)
    vtable = table - int(back)
    (size,) = unpack_from("<H", buffer, vtable)
    place = 4 + 2 * number
    if place >= size:
        return 0
    (offset,) = unpack_from("<H", buffer, vtable + place)
    return table + int(offset) if offset else 0
