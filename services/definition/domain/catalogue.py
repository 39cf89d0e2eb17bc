"""The catalogue: what names there are in the data of a workspace, what is known of each, and what people say of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import NamedTuple

from services.chassis.errors import NotFound

from .faults import Fault, Findings, Place
from .overrides import AttributeKind, AttributeType
from .texts import check_description, check_note

NAME_MAX = 256
"""Ingest cuts longer names; what came some other way is counted only."""
NAMES_MAX = 10_000
"""Names of events, and attributes, of one workspace: each as it comes from an input, and attributes by the event that they come with."""


class CatalogueKind(IntEnum):
    """The numbers are those of muster.definition.v1.CatalogueKind."""

    EVENT_NAME = 1
    USER_ATTRIBUTE = 2
    EVENT_ATTRIBUTE = 3
    PRODUCT_ATTRIBUTE = 4


ATTRIBUTES = (CatalogueKind.USER_ATTRIBUTE, CatalogueKind.EVENT_ATTRIBUTE, CatalogueKind.PRODUCT_ATTRIBUTE)
OVERRIDDEN_AS = {CatalogueKind.USER_ATTRIBUTE: AttributeKind.USER, CatalogueKind.EVENT_ATTRIBUTE: AttributeKind.EVENT}
"""The kinds whose types a workspace can set."""


class CatalogueEntryNotFound(NotFound):
    """No such name has arrived in the workspace."""


class NameKey(NamedTuple):
    """A name of events as it comes from an input. `type` is the number of a muster.ingest.v1.EventType."""

    account_id: int
    workspace_id: int
    input_id: int
    type: int
    name: str


class AttributeKey(NamedTuple):
    """An attribute as it comes from an input, with the events of a type and name; 0 and empty for one of users."""

    account_id: int
    workspace_id: int
    input_id: int
    kind: int
    type: int
    event_name: str
    attribute: str


class EntryKey(NamedTuple):
    """What people say something of. `type` is that of names of events, else 0."""

    workspace_id: int
    kind: CatalogueKind
    type: int
    name: str


@dataclass(frozen=True, slots=True)
class Entry:
    """What people say of a name. `version` 0: nothing yet."""

    key: EntryKey
    version: int = 0
    description: str = ""
    deprecated: bool = False
    deprecation_note: str = ""
    update_time_ms: int = 0
    updated_by: str = ""


@dataclass(frozen=True, slots=True)
class ListedName:
    """A name of events, from the inputs that were asked for."""

    type: int
    name: str
    count: int
    first_ms: int
    last_ms: int
    entry: Entry


@dataclass(frozen=True, slots=True)
class ListedAttribute:
    """An attribute, from the inputs and events that were asked for. `types`: how many values read as each."""

    kind: CatalogueKind
    name: str
    count: int
    first_ms: int
    last_ms: int
    types: dict[AttributeType, int]
    override: AttributeType | None
    entry: Entry


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much came under names that are not kept."""

    unlisted_events: int = 0
    unlisted_attributes: int = 0


@dataclass(frozen=True, slots=True)
class AttributeScope:
    """Which attributes are asked for. 0 and empty: all inputs, types and names of events."""

    workspace_id: int
    kinds: tuple[CatalogueKind, ...]
    input_id: int = 0
    type: int = 0
    event_name: str = ""


def entry_faults(entry: Entry) -> tuple[Fault, ...]:
    """What is wrong with what somebody says."""
    place = Place(Findings(), "entry")
    check_description(entry.description, place.at("description"))
    check_note(entry.deprecation_note, place.at("deprecation_note"))
    return place.findings.verdict().faults


def said(before: Entry, after: Entry, *, author: str, now_ms: int) -> Entry:
    """The entry after an edit: `before` itself where it says the same."""
    same = replace(before, description=after.description, deprecated=after.deprecated, deprecation_note=after.deprecation_note)
    return before if same == before else replace(same, version=before.version + 1, update_time_ms=now_ms, updated_by=author)
