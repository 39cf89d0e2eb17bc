"""The types of attributes that workspaces set themselves."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from muster.definition.v1 import account_pb2 as pb

from ..values import AttributeType

TYPES: Mapping[int, AttributeType] = {
    pb.ATTRIBUTE_TYPE_STRING: AttributeType.STRING,
    pb.ATTRIBUTE_TYPE_NUMBER: AttributeType.NUMBER,
    pb.ATTRIBUTE_TYPE_BOOLEAN: AttributeType.BOOLEAN,
    pb.ATTRIBUTE_TYPE_DATE: AttributeType.DATE,
    pb.ATTRIBUTE_TYPE_LIST: AttributeType.LIST,
}


class Types(NamedTuple):
    """Of one workspace, by the attributes' names."""

    of_users: Mapping[str, AttributeType]
    of_events: Mapping[str, AttributeType]


NO_TYPES = Types({}, {})


def types_of(overrides: Iterable[pb.AttributeOverride]) -> Types:
    """Raises ValueError for what this version doesn't know."""
    types: dict[int, dict[str, AttributeType]] = {pb.ATTRIBUTE_KIND_USER: {}, pb.ATTRIBUTE_KIND_EVENT: {}}
    for override in overrides:
        if override.kind not in types or override.type not in TYPES:
            raise ValueError(f"the attribute {override.attribute!r} is overridden as something that this version doesn't know")
        types[override.kind][override.attribute] = TYPES[override.type]
    return Types(types[pb.ATTRIBUTE_KIND_USER], types[pb.ATTRIBUTE_KIND_EVENT])
