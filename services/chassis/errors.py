"""Errors that a rule or a handler raises; the interceptor of the gRPC server turns them into statuses, so a handler has no `try`.

A service derives small classes, `class StaleEtag(Conflict)`: the base gives the gRPC code, the class the stable reason
(`STALE_ETAG`), keyword arguments the data: `raise StaleEtag("The audience was changed meanwhile.", audience_id=7)`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import grpc
from google.rpc import code_pb2, error_details_pb2, status_pb2  # type: ignore[import-untyped]

DOMAIN = "muster"
_STATUS_DETAILS_KEY = "grpc-status-details-bin"
_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One fault of a request: the path of the field (`definition.root.all.nodes[2]`), a sentence, and a stable reason."""

    field: str
    description: str
    reason: str = ""


class MusterError(Exception):
    """The base of every expected error. `reason` is stable and made of the class name unless the class sets it."""

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN
    reason: ClassVar[str] = "MUSTER_ERROR"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "reason" not in cls.__dict__:
            cls.reason = _WORD_START.sub("_", cls.__name__).upper()

    def __init__(self, message: str = "", **metadata: object) -> None:
        super().__init__(message or type(self).reason)
        self.message = message or type(self).reason
        self.metadata = {key: str(value) for key, value in metadata.items()}


class Invalid(MusterError):
    """The request itself is at fault, each fault with its place."""

    code = grpc.StatusCode.INVALID_ARGUMENT

    def __init__(self, message: str = "", violations: Sequence[FieldViolation] = (), **metadata: object) -> None:
        super().__init__(message or "; ".join(f"{v.field}: {v.description}" for v in violations), **metadata)
        self.violations = list(violations)

    @classmethod
    def of(cls, field: str, description: str, reason: str = "") -> Invalid:
        """One fault at one field."""
        return cls(violations=[FieldViolation(field, description, reason)])


class NotFound(MusterError):
    """There is no such thing in the caller's account."""

    code = grpc.StatusCode.NOT_FOUND


class Conflict(MusterError):
    """Someone else was faster, as a stale etag shows; reading again and repeating may help."""

    code = grpc.StatusCode.ABORTED


class AlreadyExists(MusterError):
    """There is one already of this name or id."""

    code = grpc.StatusCode.ALREADY_EXISTS


class FailedPrecondition(MusterError):
    """The state of the thing does not allow this now."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class Unauthenticated(MusterError):
    """There is no valid token."""

    code = grpc.StatusCode.UNAUTHENTICATED


class PermissionDenied(MusterError):
    """The token is valid but does not allow this."""

    code = grpc.StatusCode.PERMISSION_DENIED


class Unavailable(MusterError):
    """Something that this needs does not answer now; repeating later may help."""

    code = grpc.StatusCode.UNAVAILABLE


class Unimplemented(MusterError):
    """This version cannot do that."""

    code = grpc.StatusCode.UNIMPLEMENTED


class ResourceExhausted(MusterError):
    """A limit or quota is reached. `retry_seconds`: after how long repeating may help; None: not known."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED

    def __init__(self, message: str = "", *, retry_seconds: float | None = None, **metadata: object) -> None:
        super().__init__(message, **metadata)
        self.retry_seconds = retry_seconds


class DeadlineExceeded(MusterError):
    """The call took longer than it may."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


def to_status(error: MusterError) -> status_pb2.Status:
    """The google.rpc.Status of an error: ErrorInfo with reason and metadata; for Invalid, BadRequest with every violation; RetryInfo."""
    status = status_pb2.Status(code=error.code.value[0], message=error.message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata))
    if isinstance(error, Invalid) and error.violations:
        status.details.add().Pack(
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.description, reason=v.reason)
                    for v in error.violations
                ]
            )
        )
    if isinstance(error, ResourceExhausted) and error.retry_seconds is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(math.ceil(error.retry_seconds * 1000))
        status.details.add().Pack(retry)
    return status


def trailing_metadata(status: status_pb2.Status) -> tuple[tuple[str, bytes], ...]:
    """The trailing metadata that carries a rich status."""
    return ((_STATUS_DETAILS_KEY, status.SerializeToString()),)


@dataclass(frozen=True, slots=True)
class RpcFailure:
    """What a failed call told its client. `reason` is empty where the server sent no ErrorInfo."""

    code: grpc.StatusCode
    message: str
    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    violations: list[FieldViolation] = field(default_factory=list)
    # None: the server did not say when to repeat it.
    retry_seconds: float | None = None


def from_rpc_error(error: grpc.RpcError) -> RpcFailure:
    """The code, reason, data and violations of an error that a call raised (grpc.aio.AioRpcError)."""
    if not isinstance(error, grpc.aio.AioRpcError):
        return RpcFailure(grpc.StatusCode.UNKNOWN, str(error))
    reason, metadata, violations = "", dict[str, str](), list[FieldViolation]()
    retry_seconds: float | None = None
    metadata_sent: Any = error.trailing_metadata()
    for raw in [value for key, value in metadata_sent or () if key == _STATUS_DETAILS_KEY]:
        for detail in status_pb2.Status.FromString(raw).details:
            if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
                info = error_details_pb2.ErrorInfo()
                detail.Unpack(info)
                reason, metadata = info.reason, dict(info.metadata)
            elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
                bad = error_details_pb2.BadRequest()
                detail.Unpack(bad)
                violations += [FieldViolation(v.field, v.description, v.reason) for v in bad.field_violations]
            elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
                retry = error_details_pb2.RetryInfo()
                detail.Unpack(retry)
                retry_seconds = retry.retry_delay.ToMilliseconds() / 1000
    return RpcFailure(error.code(), error.details() or "", reason, metadata, violations, retry_seconds)


def code_name(code: grpc.StatusCode) -> str:
    """The name of a code as google.rpc has it, such as NOT_FOUND."""
    return str(code_pb2.Code.Name(code.value[0]))
