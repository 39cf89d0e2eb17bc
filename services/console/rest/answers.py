"""Answers over HTTP: messages as JSON, and the failures of calls as statuses with a body that says what and how to mend it.

Source of the statuses: google/rpc/code.proto.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from starlette.responses import Response

from services.chassis.errors import RpcFailure, code_name

STATUSES: Mapping[grpc.StatusCode, int] = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNKNOWN: 500,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DATA_LOSS: 500,
}
# What was read may not be shown to others by a cache, and nothing of it is a page.
HEADERS = {"x-content-type-options": "nosniff", "cache-control": "no-store", "referrer-policy": "no-referrer"}
JSON = "application/json"
_STALE_ETAG = "STALE_ETAG"


def as_json(message: Message) -> dict[str, Any]:
    """A message as JSON has it, every field named as in the contract, 64-bit numbers as texts."""
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def answer(message: Message) -> Response:
    """The answer of a call; its etag is in the header too."""
    etag = getattr(message, "etag", "")
    headers = {**HEADERS, "etag": f'"{etag}"'} if etag else HEADERS
    return Response(_text(as_json(message)), media_type=JSON, headers=headers)


def failure_json(failure: RpcFailure) -> dict[str, Any]:
    """The body of a failure. `reason` is stable; `metadata` holds what a program needs of it, such as the etag of now."""
    return {
        "code": code_name(failure.code),
        "message": failure.message,
        "reason": failure.reason,
        "metadata": failure.metadata,
        "details": [{"field": v.field, "description": v.description, "reason": v.reason} for v in failure.violations],
    }


def failed(failure: RpcFailure, *, conditional: bool = False) -> Response:
    """The answer of a call that failed. `conditional`: the request said If-Match, whose failure has a status of its own."""
    status = STATUSES.get(failure.code, 500)
    headers = dict(HEADERS)
    if conditional and failure.reason == _STALE_ETAG:
        status = 412
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    if failure.retry_seconds is not None:
        headers["retry-after"] = str(max(1, -int(-failure.retry_seconds // 1)))
    return refused(status, failure, headers)


def refused(status: int, failure: RpcFailure, headers: Mapping[str, str] | None = None) -> Response:
    """A failure with a status of its own."""
    return Response(_text(failure_json(failure)), status, media_type=JSON, headers={**HEADERS, **(headers or {})})


def line(message: Message) -> bytes:
    """A message of a stream, as a line."""
    return (_text(as_json(message)) + "\n").encode()


def failed_line(failure: RpcFailure) -> bytes:
    """How a stream ends that failed after it had begun."""
    return (_text({"error": failure_json(failure)}) + "\n").encode()


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
