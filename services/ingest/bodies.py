"""The body of a request, unpacked and never larger than it may be."""

from __future__ import annotations

import zlib

import brotli
from starlette.exceptions import HTTPException
from starlette.requests import Request

# The rest of a body that is too large is read and dropped up to here, so that the connection can go on.
_READ_TO_END_BYTES = 8 * 1024 * 1024
# What is longer is no length of this world; httptools refuses it before.
_DIGITS_MAX = 19
_PIECE_BYTES = 64 * 1024


def length_of(request: Request) -> int:
    """How long the body is said to be; 0: that is not said."""
    announced = request.headers.get("content-length", "")
    return int(announced) if announced.isdecimal() and len(announced) < _DIGITS_MAX else 0


async def body_of(request: Request, *, limit: int) -> bytes:
    """The body, unpacked, of at most `limit` bytes. Raises HTTPException: 413 once it is seen to be larger, else 400 or 415."""
    if (announced := length_of(request)) > limit:
        raise _too_large(announced, limit)
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size <= limit:
            parts.append(part)
        elif size > _READ_TO_END_BYTES:
            break
    if size > limit:
        raise _too_large(size, limit)
    body = b"".join(parts)
    match request.headers.get("content-encoding", "identity").strip().lower():
        case "identity" | "":
            return body
        case "gzip" | "x-gzip" | "deflate":
            return _inflated(body, limit)
        case "br":
            return _unbrotlied(body, limit)
        case _:
            # What would do, as RFC 7694 has it.
            raise HTTPException(
                415, "The Content-Encoding must be gzip, deflate, br or identity.", {"Accept-Encoding": "gzip, deflate, br"}
            )


def _inflated(body: bytes, limit: int) -> bytes:
    # 47: gzip or zlib, told by the header; -15: deflate without one, as some send it.
    for window in (47, -15):
        unpacking = zlib.decompressobj(window)
        try:
            unpacked = unpacking.decompress(body, limit + 1)
        except zlib.error:
            continue
        if len(unpacked) > limit:
            raise _too_large(len(unpacked), limit)
        if unpacking.eof:
            return unpacked
    raise _unreadable()


def _unbrotlied(body: bytes, limit: int) -> bytes:
    unpacking = brotli.Decompressor()
    parts: list[bytes] = []
    size = 0
    try:
        # A few hundred bytes can hold gigabytes: the output comes in pieces, and no more of them are asked for than may be.
        while not unpacking.is_finished():
            parts.append(unpacking.process(b"" if parts else body, output_buffer_limit=_PIECE_BYTES))
            size += len(parts[-1])
            if size > limit:
                raise _too_large(size, limit)
            if not parts[-1] and unpacking.can_accept_more_data():
                # It was cut.
                break
    except brotli.error:
        raise _unreadable() from None
    if not unpacking.is_finished():
        raise _unreadable()
    return b"".join(parts)


def _unreadable() -> HTTPException:
    return HTTPException(400, "The body cannot be unpacked.")


def _too_large(size: int, limit: int) -> HTTPException:
    # The rest is dropped as it comes, so that the sender sees the answer. Of a very large body it is not: the connection ends.
    ends = {"Connection": "close"} if size > _READ_TO_END_BYTES else None
    return HTTPException(413, f"A request holds at most {limit} bytes.", ends)
