"""What goes into the engine and what comes out: series of events, attribute values, changes of memberships."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import Enum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ordinals = NDArray[np.int64]
Instants = NDArray[np.int64]


class Point(NamedTuple):
    """A place on the globe, in degrees."""

    latitude: float
    longitude: float


Value = str | int | float | Decimal | bool | Sequence[str] | Point
"""A user attribute's value. A date is its text (ISO 8601) or its Unix milliseconds. A float stands for the shortest decimal that reads as
it; hand over a Decimal where the digits must stay as they were written."""


class Series(NamedTuple):
    """One kind of event: what an event criterion chooses by.

    `type` is the number of an EventType; `name` is empty where the type has none.
    """

    input_id: int
    type: int
    name: str


class EventContext(NamedTuple):
    """What sent an event; "" where nothing is known."""

    application_version: str = ""
    application_build: str = ""
    platform: str = ""
    os_version: str = ""


class EventRows(NamedTuple):
    """Events of one series, by column.

    `details` are JSON objects as `EventBatch.details` has them, "" for nothing; no details, or no contexts, at all: nothing is known.
    `arrivals`: numbers that ascend in the order in which the events of all series came; none: series by series, in the given order.
    """

    ordinals: Ordinals
    times_ms: Instants
    details: Sequence[str] = ()
    contexts: Sequence[EventContext] = ()
    arrivals: Sequence[int] | NDArray[np.integer] = ()


Events = EventRows | tuple[Ordinals, Instants]
"""A plain tuple has neither details nor contexts."""


class PropertyKind(Enum):
    """What of a person a column holds the values of."""

    USER_ATTRIBUTE = "attribute"
    IDENTITY = "identity"
    DEVICE = "device"
    CONSENT = "consent"
    ATTRIBUTION = "attribution"
    FIRST_SEEN = "first seen"
    LAST_SEEN = "last seen"
    LOCATION = "location"
    LIFETIME_VALUE = "lifetime value"


class Property(NamedTuple):
    """One thing that a person may have a value of, in a workspace; `name` is empty where the kind has only one.

    USER_ATTRIBUTE: by its name. DEVICE, ATTRIBUTION: a field of the contract's message. CONSENT: see `consent`; true or false.
    IDENTITY: the number of its type, of workspace EVERYWHERE; the value is a tuple of all that the person has.
    FIRST_SEEN, LAST_SEEN: every instant of the person is told to both, as the time; values say nothing.
    LOCATION: a Point at its time. LIFETIME_VALUE: an amount to be added at its time, a Decimal.
    The last four hold from their time on: what is told of the future waits for it.
    """

    kind: PropertyKind
    name: str = ""


EVERYWHERE = 0  # the workspace of what belongs to the person as a whole


def consent(regulation: str, purpose: str) -> Property:
    """Whether the person agrees to a purpose under a regulation."""
    return Property(PropertyKind.CONSENT, f"{regulation.casefold()}\n{purpose.casefold()}")


def identity(type_: int) -> Property:
    """The identities of a type."""
    return Property(PropertyKind.IDENTITY, str(type_))


class AttributeChange(NamedTuple):
    """New values of one property in one workspace, by column. None removes the value. A plain name is that of a user attribute."""

    workspace_id: int
    attribute: Property | str
    ordinals: Ordinals
    values: Sequence[Value | None]
    times_ms: Instants


def property_of(attribute: Property | str) -> Property:
    """The property; a plain name is that of a user attribute."""
    return Property(PropertyKind.USER_ATTRIBUTE, attribute) if isinstance(attribute, str) else attribute


class Changes(NamedTuple):
    """Who entered and who left an audience; ordinals ascending, nobody in both."""

    added: Ordinals
    dropped: Ordinals

    def __bool__(self) -> bool:
        return bool(len(self.added) or len(self.dropped))


class Estimate(NamedTuple):
    """How many people a definition has now: in whole, and for each node that has an id, those candidates for whom that node is true.

    `overlap`: how many of the whole are members of the audience that was asked about; 0 without one.
    """

    size: int
    nodes: Mapping[str, int]
    overlap: int = 0
