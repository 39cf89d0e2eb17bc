"""Hypothesis strategies of definitions: whatever the contract can hold, right or wrong."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st
from muster.definition.v1 import definition_pb2 as pb

_TEXTS = st.sampled_from(["", "a", "gold", "3", "19.90", "NaN", "-1e6", "1e999999", "x" * 1_001, "\0", "ß"]) | st.text(max_size=5)
_EDGES_32 = st.sampled_from([0, 1, 2, 30, 31, 2**32 - 1])
_EDGES_64 = st.sampled_from([0, 1, 2, 7, 11, 12, 21, 2**63 - 1])
_SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_STRING: _TEXTS,
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_UINT32: _EDGES_32,
    FieldDescriptor.TYPE_INT32: st.sampled_from([0, 1, 12, 13, 28, 31, 2026, -1, 2**31 - 1]),
    FieldDescriptor.TYPE_UINT64: _EDGES_64 | st.just(2**64 - 1),
    FieldDescriptor.TYPE_INT64: _EDGES_64 | st.just(-(2**63)),
    FieldDescriptor.TYPE_DOUBLE: st.floats(),
}


def definitions(max_depth: int = 12) -> st.SearchStrategy[pb.Definition]:
    """Any definition of at most so many messages inside each other."""
    return st.composite(_message)(pb.Definition.DESCRIPTOR, max_depth)  # type: ignore[return-value]


def _message(draw: st.DrawFn, of: Descriptor, depth: int) -> Message:
    message = GetMessageClass(of)()
    fields = [field for field in of.fields if field.containing_oneof is None]
    # Most of the time one of each oneof, so that trees grow.
    for oneof in of.oneofs:
        if draw(st.integers(0, 9)):
            choices = list(oneof.fields)
            if of is pb.Node.DESCRIPTOR and depth > 6:
                # Groups weigh more near the root, or most trees were one criterion.
                choices = [field for field in choices if field.name in ("all", "any", "exclude")] * 2 + choices
            fields.append(draw(st.sampled_from(choices)))
    for field in fields:
        if field.message_type is not None and depth == 0:
            continue
        if field.is_repeated:
            values = [_value(draw, field, depth) for _ in range(draw(st.sampled_from([1, 2, 3, 0, 4])))]
            getattr(message, field.name).extend(values)
        elif draw(st.integers(0, 9)):
            value = _value(draw, field, depth)
            if isinstance(value, Message):
                getattr(message, field.name).CopyFrom(value)
            else:
                setattr(message, field.name, value)
    return message


def _value(draw: st.DrawFn, field: FieldDescriptor, depth: int) -> Any:
    if field.message_type is not None:
        return _message(draw, field.message_type, depth - 1)
    if field.enum_type is not None:
        known = [value.number for value in field.enum_type.values]
        return draw(st.sampled_from([*known[1:], *known, 99]))
    return draw(_SCALARS[field.type])
