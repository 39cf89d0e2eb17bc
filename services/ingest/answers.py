"""What both HTTP ways in answer with: codes, faults with their places, and when to come again."""

from __future__ import annotations

import binascii
import math
from base64 import b64decode
from collections.abc import Mapping, Sequence

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from services.chassis.errors import ResourceExhausted, Unavailable
from services.ingest.domain.model import Fault, Reason

# An answer names so many faults at most; the rest is counted.
_FAULTS_TOLD = 100
_CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    413: "REQUEST_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    429: "TOO_MANY_REQUESTS",
    503: "SERVICE_UNAVAILABLE",
}


def code_of(status: int) -> str:
    """The word for a status in the body of an answer."""
    return _CODES.get(status, "ERROR")


def errors_of(faults: Sequence[Fault]) -> list[dict[str, str]]:
    """The faults as an answer tells them."""
    errors = [_error_of(fault) for fault in faults[:_FAULTS_TOLD]]
    if len(faults) > _FAULTS_TOLD:
        errors.append({"code": code_of(400), "message": f"There are {len(faults) - _FAULTS_TOLD} more faults."})
    return errors


def _error_of(fault: Fault) -> dict[str, str]:
    said = fault.description
    if fault.place and fault.reason is not Reason.MALFORMED:
        said = f"{fault.place}: {said}"
    return {"code": code_of(400), "message": said, "place": fault.place, "reason": fault.reason.value}


def json_answer(content: object, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """An answer whose body is JSON."""
    return Response(msgspec.json.encode(content), status_code=status, media_type="application/json", headers=headers)


def later(error: Unavailable | ResourceExhausted) -> tuple[int, str]:
    """The status of what may be repeated, and after how many seconds, as Retry-After has them."""
    if isinstance(error, Unavailable):
        return 503, "1"
    return 429, str(max(1, math.ceil(error.retry_seconds or 0)))


def basic_credentials(request: Request) -> tuple[str, str] | None:
    """The user name and password of Basic authentication, None where the request has no Authorization. Raises HTTPException 401."""
    given = request.headers.get("authorization")
    if given is None:
        return None
    scheme, _, token = given.partition(" ")
    if scheme.lower() != "basic" or not token:
        raise unauthorized("Send the input's key and secret by Basic authentication.")
    try:
        key, colon, secret = b64decode(token.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise unauthorized("The Authorization header cannot be read.") from None
    if not colon:
        raise unauthorized("The Authorization header cannot be read.")
    return key, secret


def unauthorized(message: str) -> HTTPException:
    """The 401 that says how to authenticate."""
    return HTTPException(401, message, {"WWW-Authenticate": 'Basic realm="muster"'})
