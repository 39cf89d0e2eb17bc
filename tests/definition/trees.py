"""Hypothesis strategies of definitions: whatever the contract can hold, right or wrong."""

from __future__ import annotations

from collections.abc import Mapping
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


# What fits nearly everywhere: a definition of these is right every other time. The only workspace, input and audience is 11.
_RIGHT: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_STRING: st.sampled_from(["3", "3", "3", "19.90", "-1e6", "1e-300", "1E300", ".5", "5.", "0" * 60, "-0", "0e0"]),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_UINT32: st.sampled_from([1, 1, 2, 7]),
    FieldDescriptor.TYPE_INT32: st.sampled_from([1, 12, 28]),
    FieldDescriptor.TYPE_UINT64: st.sampled_from([0, 1, 2, 10**9]),
    FieldDescriptor.TYPE_INT64: st.just(11),
    FieldDescriptor.TYPE_DOUBLE: st.sampled_from([-0.0, 1.0, 52.5, 90.0]),
}
_RIGHT_NAMED: dict[str, st.SearchStrategy[Any]] = {
    "id": st.just(""),
    "year": st.sampled_from([1, 2026, 9998]),
    "month": st.just(1),
    "language_version": st.just(1),
}
# Words of the text language and nearly, quotes, line breaks, other scripts: whatever a name or an operand can be.
_SAID = st.sampled_from(
    [
        "plan",
        "Sessions",
        "sesions",
        "and",
        "purchase",
        "add_to_cart",
        "3",
        "19.90",
        "2026-01-31",
        'say "yes"',
        "it's",
        "a\\b",
        "\\n",
        "two\nlines",
        "tab\t",
        "Größe",
        "名前",
        "नाम",
        "ſ",
        "\u2028",
        "\x00",
        "# no comment",
        "$City",
        "total amount",
        "not in",
        "x y",
        "[a, b]",
        " ",
        "é",
    ]
) | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
_SPOKEN: dict[str, st.SearchStrategy[Any]] = _RIGHT_NAMED | {
    **dict.fromkeys(
        ["attribute", "product_attribute", "EventMatch.name", "StringTest.value", "values", "ListTest.value", "PlaceTest.value"], _SAID
    ),
    **dict.fromkeys(["regulation", "purpose"], _SAID),
    "input_ids": st.sampled_from([11, 12, 2**63 - 1]),
    "audience_id": st.sampled_from([1, 11, 2**63 - 1]),
    "workspace_id": st.sampled_from([0, 0, 1, 2]),
    "month": st.integers(1, 12),
    "day": st.integers(1, 28),
    "Duration.count": st.sampled_from([1, 2, 7, 24, 3_600]),
    **dict.fromkeys(["latitude", "longitude"], st.floats(-90, 90)),
    "distance_metres": st.floats(1, 20_000_000),
}


def definitions(max_depth: int = 12) -> st.SearchStrategy[pb.Definition]:
    """Any definition of at most so many messages inside each other."""
    return st.composite(_message)(pb.Definition.DESCRIPTOR, max_depth)  # type: ignore[return-value]


def right_definitions(max_depth: int = 12) -> st.SearchStrategy[pb.Definition]:
    """Definitions that are more often right than wrong."""
    return st.composite(_message)(pb.Definition.DESCRIPTOR, max_depth, right=True)  # type: ignore[return-value]


def spoken_definitions(max_depth: int = 12) -> st.SearchStrategy[pb.Definition]:
    """Definitions as those of `right_definitions`, with all kinds of texts, lengths of time, places and days in them."""
    return st.composite(_message)(pb.Definition.DESCRIPTOR, max_depth, right=True, scalars=_SPOKEN)  # type: ignore[return-value]


def _message(
    draw: st.DrawFn, of: Descriptor, depth: int, *, right: bool = False, scalars: Mapping[str, st.SearchStrategy[Any]] = _RIGHT_NAMED
) -> Message:
    message = GetMessageClass(of)()
    fields = [field for field in of.fields if field.containing_oneof is None]
    # Most of the time one of each oneof, so that trees grow.
    for oneof in of.oneofs:
        if (right and oneof.name != "name_match") or draw(st.integers(0, 9)) > 3 * right:
            choices = list(oneof.fields)
            if of is pb.Node.DESCRIPTOR and right:
                choices += [field for field in choices if field.name == "criterion"] * 6
            elif of is pb.Node.DESCRIPTOR and depth > 6:
                # Groups weigh more near the root, or most trees were one criterion.
                choices = [field for field in choices if field.name in ("all", "any", "exclude")] * 2 + choices
            elif of is pb.Criterion.DESCRIPTOR and scalars is _SPOKEN:
                # Those with the most parts.
                choices += [field for field in choices if field.name in ("event", "aggregate", "sequence")] * 3
            fields.append(draw(st.sampled_from(choices)))
    for field in fields:
        if field.message_type is not None and depth == 0:
            continue
        if field.is_repeated:
            count = draw(st.sampled_from([1, 1, 2, 1, 0] if right else [1, 2, 3, 0, 4]))
            values = [_value(draw, field, depth, right=right, scalars=scalars) for _ in range(count)]
            getattr(message, field.name).extend(values)
        elif draw(st.integers(0, 99 if right else 9)):
            value = _value(draw, field, depth, right=right, scalars=scalars)
            if isinstance(value, Message):
                getattr(message, field.name).CopyFrom(value)
            else:
                setattr(message, field.name, value)
    return message


def _value(draw: st.DrawFn, field: FieldDescriptor, depth: int, *, right: bool, scalars: Mapping[str, st.SearchStrategy[Any]]) -> Any:
    if field.message_type is not None:
        return _message(draw, field.message_type, depth - 1, right=right, scalars=scalars)
    if field.enum_type is not None:
        known = [value.number for value in field.enum_type.values]
        return draw(st.sampled_from(known[1:] if right else [*known[1:], *known, 99]))
    if right:
        owner = field.containing_type.name if field.containing_type is not None else ""
        return draw(scalars.get(f"{owner}.{field.name}", scalars.get(field.name, _RIGHT[field.type])))
    return draw(_SCALARS[field.type])
