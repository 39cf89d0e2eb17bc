"""The types of attributes that a workspace sets itself (semantics: Numbers; docs/concepts/criteria.md)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import IntEnum

from muster.definition.v1 import definition_pb2 as pb

from .faults import Fault, Findings, Place, Reason
from .texts import unprintable

OVERRIDES_MAX = 500


class AttributeKind(IntEnum):
    """The numbers are those of muster.definition.v1.AttributeKind."""

    USER = 1
    EVENT = 2


class AttributeType(IntEnum):
    """The numbers are those of muster.definition.v1.AttributeType."""

    STRING = 1
    NUMBER = 2
    BOOLEAN = 3
    DATE = 4
    LIST = 5


@dataclass(frozen=True, slots=True, order=True)
class AttributeOverride:
    """The type of an attribute, where it is not left to what is sent."""

    kind: AttributeKind
    attribute: str
    type: AttributeType


Overrides = tuple[AttributeOverride, ...]
"""Of one workspace, in order, at most one an attribute."""

Types = Mapping[tuple[int, AttributeKind, str], AttributeType]
"""Of an account, by workspace, kind and name."""


def with_override(overrides: Overrides, override: AttributeOverride) -> Overrides:
    """These with this one, in place of the one that the attribute had."""
    return tuple(sorted((*without_override(overrides, override.kind, override.attribute), override)))


def without_override(overrides: Overrides, kind: AttributeKind, attribute: str) -> Overrides:
    """These without the one of this attribute."""
    return tuple(one for one in overrides if (one.kind, one.attribute) != (kind, attribute))


def override_faults(override: AttributeOverride, after: Overrides) -> tuple[Fault, ...]:
    """What is wrong with an override that leads to these."""
    place = Place(Findings(), "attribute_override")
    if len(after) > OVERRIDES_MAX:
        place.fault(Reason.TOO_LARGE, f"A workspace has at most {OVERRIDES_MAX} overrides of attributes; remove one first.")
    if found := unprintable(override.attribute):
        place.at("attribute").fault(Reason.CONTROL_CHARACTER, f"The attribute's name holds the control character {found}; remove it.")
    return place.findings.verdict().faults


def warn_of_type(types: Collection[AttributeType | None], test: pb.ValueTest, place: Place) -> None:
    """A warning where the attribute is of another type than it is tested as in all workspaces that are read; None: it is of no type."""
    kind = test.WhichOneof("kind")
    named = {"" if type_ is None else type_.name.lower() for type_ in types}
    if kind == "string" and named - {"list"}:  # the text of any value but a list
        return
    if kind is not None and kind != "presence" and named and not named & {"", kind}:
        read = " or ".join(sorted(named))
        place.at(kind).warn(Reason.NOT_APPLICABLE, f"The attribute is read as a {read}, so no value of it passes a {kind} test.")
