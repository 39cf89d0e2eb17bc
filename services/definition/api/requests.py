"""What every handler reads of a request, and faults of the domain as errors of a call."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from grpc.aio import ServicerContext

from services.chassis.auth import caller
from services.chassis.errors import FieldViolation, Invalid

from ..domain.faults import Fault, Reason
from ..domain.idempotency import Create

# A status travels in the metadata of a call, which holds 8 KB as base64 and in which the message comes twice.
_VIOLATIONS_MAX_BYTES = 3_600
_MESSAGE_MAX_CHARACTERS = 200

Context = ServicerContext[Any, Any]
M = TypeVar("M", bound=Message)


class InvalidAudience(Invalid):
    """An audience or its definition has faults; as many as fit are told, `faults` says how many there are."""


class InvalidMask(Invalid):
    """An update names what cannot be set."""

    reason = Reason.UNKNOWN_FIELD.value


def refuse(faults: Sequence[Fault], error: type[Invalid] = InvalidAudience) -> None:
    """Raises `error` with the faults, if there are any."""
    if not faults:
        return
    told, length = list[FieldViolation](), 0
    for fault in faults:
        violation = FieldViolation(fault.field, fault.description, fault.reason.value)
        length += sum(len(text.encode()) + 3 for text in (violation.field, violation.description, violation.reason))
        if told and length > _VIOLATIONS_MAX_BYTES:
            break
        told.append(violation)
    first = f"{told[0].field}: {told[0].description}"
    shown = first if len(first) <= _MESSAGE_MAX_CHARACTERS else f"{first[:_MESSAGE_MAX_CHARACTERS]}..."
    if len(faults) == 1:
        message = shown
    elif len(told) == len(faults):
        message = f"{shown} And {len(faults) - 1} more faults."
    else:
        message = f"{shown} And {len(faults) - 1} more faults, {len(told)} told in all; ValidateDefinition lists those of the definition."
    raise error(message, told, faults=len(faults), told=len(told))


def mask_paths(mask: FieldMask, message: Message, editable: Collection[str], *, what: str) -> frozenset[str]:
    """What an update changes: the paths of its mask, all for `*`, and without a mask whatever is set. Raises InvalidMask for others."""
    if not mask.paths:
        return frozenset(field.name for field, _ in message.ListFields()) & frozenset(editable)
    if list(mask.paths) == ["*"]:
        return frozenset(editable)
    violations = []
    for index, path in enumerate(mask.paths):
        if path in editable:
            continue
        known = path in message.DESCRIPTOR.fields_by_name
        wrong = f"`{path}` of the {what} cannot be set" if known else f"The {what} has no field `{path}` that can be set as a whole"
        description = f"{wrong}; name some of {', '.join(sorted(editable))}."
        violations.append(FieldViolation(f"update_mask.paths[{index}]", description, Reason.UNKNOWN_FIELD.value))
    if violations:
        raise InvalidMask(violations=violations)
    return frozenset(mask.paths)


def create_of(method: str, request: M, idempotency_key: str) -> Create:
    """A create as its caller named it; `request` is not changed."""
    asked = type(request)()
    asked.CopyFrom(request)
    asked.ClearField("idempotency_key")
    return Create.of(method, idempotency_key, asked.SerializeToString(deterministic=True))


def author() -> str:
    """Who calls, as it is kept with a change."""
    # A token's subject is any text; PostgreSQL keeps no NUL.
    return caller().subject.replace("\0", "")
