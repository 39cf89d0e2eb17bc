"""From the body of a request of the Segment API to batches: the good ones, and of the others every fault with its place."""

from __future__ import annotations

import msgspec

from services.ingest.domain.limits import SEGMENT_MESSAGE_MAX_BYTES, SEGMENT_MESSAGES_MAX, SEGMENT_REQUEST_MAX_BYTES
from services.ingest.domain.model import Batch, Fault, Faults, Reason
from services.ingest.domain.reading import Form, Malformed, Reading, opened
from services.ingest.domain.segment import TYPES, batch_of, ms_of
from services.ingest.domain.segment_wire import WireMessage, WireShared

BATCH = "batch"

Outer = dict[str, msgspec.Raw]

_message = Form(WireMessage, most_bytes=SEGMENT_MESSAGE_MAX_BYTES)
_shared = Form(WireShared, most_bytes=SEGMENT_REQUEST_MAX_BYTES)
_decode_outer = msgspec.json.Decoder(Outer).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode
_NULL = msgspec.Raw(b"null")


def write_key_of(body: bytes) -> str:
    """The write key of a body, or that of the first message in it; empty where there is none. Raises Malformed."""
    outer = opened(body, _decode_outer)
    try:
        if "writeKey" in outer:
            return _decode_text(outer["writeKey"])
        first = next(iter(_decode_list(outer.get("batch", _NULL))))
        return _decode_text(_decode_outer(first).get("writeKey", _NULL))
    except (msgspec.DecodeError, UnicodeDecodeError, StopIteration):
        return ""


def read(body: bytes, type_: str, *, platform: str, now_ms: int) -> Reading:
    """The batches of a request that came at `now_ms`: one message of a type or, of the type `batch`, many, each of the type it names."""
    try:
        whole = bytes(opened(body, _decode_raw))
        outer = opened(body, _decode_outer)
    except Malformed as error:
        return Reading(faults=[Fault("", str(error), Reason.MALFORMED)], whole=True)
    # A webhook has one address for messages of every type.
    if type_ != BATCH or ("batch" not in outer and "type" in outer):
        reading = Reading()
        _take(reading, whole, "" if type_ == BATCH else type_, WireShared(), platform, now_ms, Faults())
        return reading
    return _read_many(outer, platform, now_ms)


def _read_many(outer: Outer, platform: str, now_ms: int) -> Reading:
    faults = Faults()
    try:
        parts = _decode_list(outer.get("batch", _NULL))
    except msgspec.ValidationError:
        faults.add("batch", "must be a list of messages", Reason.WRONG_TYPE)
        return Reading(faults=faults.found, whole=True)
    if len(parts) > SEGMENT_MESSAGES_MAX:
        faults.add("batch", f"has {len(parts)} messages; at most {SEGMENT_MESSAGES_MAX} are taken", Reason.TOO_MANY)
    shared = _shared.read(b'{"sentAt":%b,"context":%b}' % tuple(bytes(outer.get(name, _NULL)) for name in ("sentAt", "context")), faults)
    if shared is not None:
        shared.sent_at = ms_of(shared.sent_at, "sentAt", faults)
    if shared is None or faults:
        return Reading(faults=faults.found, whole=True)
    reading = Reading()
    for index, part in enumerate(parts):
        _take(reading, bytes(part), "", shared, platform, now_ms, Faults(f"batch[{index}]"))
    return reading


def _take(reading: Reading, part: bytes, type_: str, shared: WireShared, platform: str, now_ms: int, faults: Faults) -> None:
    batch = _batch(part, type_, shared, platform, now_ms, faults)
    if batch is not None and not faults:
        reading.batches.append(batch)
    else:
        reading.faults += faults.found


def _batch(part: bytes, type_: str, shared: WireShared, platform: str, now_ms: int, faults: Faults) -> Batch | None:
    sent = _message.read(part, faults)
    if sent is None:
        return None
    type_ = type_ or sent.type or ""
    if not type_:
        faults.add("type", 'Required field "type" is missing or empty.', Reason.MISSING)
    elif type_ not in TYPES:
        faults.add("type", f"must be one of {', '.join(TYPES)}", Reason.UNKNOWN_EVENT_TYPE)
    else:
        return batch_of(sent, type_, shared, platform, now_ms, faults)
    return None
