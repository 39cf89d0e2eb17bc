"""What goes wrong for the person at the terminal: one message, the fields at fault, and an exit code."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

import grpc
from grpc.aio import AioRpcError, Metadata

from services.chassis.errors import FieldViolation, code_name, from_rpc_error


class ExitCode(enum.IntEnum):
    """What a command tells the shell."""

    OK = 0
    # What was asked for failed, or differs from what it should be.
    FAILED = 1
    # The command was called wrongly, or its input is not acceptable.
    BAD_INPUT = 2
    # A service, or all of them, do not answer.
    UNAVAILABLE = 3


_EXIT_CODES = {
    grpc.StatusCode.INVALID_ARGUMENT: ExitCode.BAD_INPUT,
    grpc.StatusCode.OUT_OF_RANGE: ExitCode.BAD_INPUT,
    grpc.StatusCode.UNAVAILABLE: ExitCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: ExitCode.UNAVAILABLE,
}


class CliFault(Exception):
    """Ends the command with a message. `code` is a gRPC code's name where a service said no, and empty otherwise."""

    def __init__(
        self,
        message: str,
        *,
        exit_code: ExitCode = ExitCode.FAILED,
        code: str = "",
        reason: str = "",
        violations: Sequence[FieldViolation] = (),
        hint: str = "",
        excerpt: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code
        self.code = code
        self.reason = reason
        self.violations = list(violations)
        # What to do about it; empty where the message says enough.
        self.hint = hint
        # Lines that show people the violations at their places; empty: they are listed.
        self.excerpt = list(excerpt)

    def as_dict(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "error": {
                "message": self.message,
                "code": self.code,
                "reason": self.reason,
                "violations": [{"field": v.field, "description": v.description, "reason": v.reason} for v in self.violations],
                "hint": self.hint,
            }
        }


def bad_input(message: str, *, hint: str = "") -> CliFault:
    """The person's input is at fault."""
    return CliFault(message, exit_code=ExitCode.BAD_INPUT, hint=hint)


def from_rpc(error: grpc.RpcError, service: str, address: str) -> CliFault:
    """What a failed call says, in words for the person."""
    if not isinstance(error, AioRpcError):
        # The blocking client's error, as the other client's.
        trailing = Metadata(*((item.key, item.value) for item in error.trailing_metadata() or ()))
        error = AioRpcError(error.code(), Metadata(), trailing, error.details(), None)
    failure = from_rpc_error(error)
    exit_code = _EXIT_CODES.get(failure.code, ExitCode.FAILED)
    if failure.code is grpc.StatusCode.UNAVAILABLE and not failure.reason:
        return CliFault(
            f"The {service} service does not answer at {address}.",
            exit_code=exit_code,
            code=code_name(failure.code),
            hint="Is it running? `muster status` shows all of them; `muster dev` runs them on this machine.",
        )
    # The violations are listed below the message, so that they need not be in it as well.
    told = "; ".join(f"{v.field}: {v.description}" for v in failure.violations)
    message = failure.message if not failure.violations or failure.message != told else "The request has faults."
    return CliFault(
        message or code_name(failure.code),
        exit_code=exit_code,
        code=code_name(failure.code),
        reason=failure.reason,
        violations=failure.violations,
    )
