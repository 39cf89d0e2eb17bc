"""The words of ingest: what a batch says once it has been read and checked, whichever way it came in."""

from __future__ import annotations

from decimal import Decimal
from enum import IntEnum, StrEnum

from msgspec import Struct

# A number keeps the digits that were sent: `19.90` is Decimal("19.90").
Value = str | bool | int | Decimal | list[str]


class Reason(StrEnum):
    """Why a batch was refused; the names of `muster.ingest.v1.ErrorReason` without their prefix, and MALFORMED."""

    UNKNOWN_INPUT = "UNKNOWN_INPUT"
    NO_IDENTITY = "NO_IDENTITY"
    MISSING = "MISSING"
    TOO_LONG = "TOO_LONG"
    TOO_MANY = "TOO_MANY"
    NOT_A_NUMBER = "NOT_A_NUMBER"
    TIME_OUT_OF_RANGE = "TIME_OUT_OF_RANGE"
    BAD_CHARACTER = "BAD_CHARACTER"
    UNKNOWN_EVENT_TYPE = "UNKNOWN_EVENT_TYPE"
    WRONG_TYPE = "WRONG_TYPE"
    TOO_LARGE = "TOO_LARGE"
    MALFORMED = "MALFORMED"


class EventType(IntEnum):
    """`muster.ingest.v1.EventType`: what happened. The contract says what the name of each is."""

    CUSTOM = 1
    SCREEN_VIEW = 2
    COMMERCE = 3
    SESSION_START = 4
    SESSION_END = 5
    CRASH = 6
    INSTALL = 7
    UNINSTALL = 8
    UPGRADE = 9
    ATTRIBUTION = 10
    PUSH = 11
    OPT_OUT = 12
    APPLICATION_STATE = 13
    PUSH_REGISTRATION = 14
    NETWORK_PERFORMANCE = 15
    BREADCRUMB = 16
    PROFILE = 17
    USER_ATTRIBUTE_CHANGE = 18
    USER_IDENTITY_CHANGE = 19


# Events of these types are told apart by their names, so they must have one.
NAMED_EVENTS: frozenset[int] = frozenset(
    (
        EventType.CUSTOM,
        EventType.SCREEN_VIEW,
        EventType.COMMERCE,
        EventType.PUSH,
        EventType.APPLICATION_STATE,
        EventType.BREADCRUMB,
        EventType.PROFILE,
        EventType.USER_ATTRIBUTE_CHANGE,
        EventType.USER_IDENTITY_CHANGE,
    )
)


class IdentityType(IntEnum):
    """`muster.ingest.v1.IdentityType`: names of people, of devices from 40 on, and what a partner calls the person."""

    OTHER = 1
    CUSTOMER_ID = 2
    FACEBOOK = 3
    TWITTER = 4
    GOOGLE = 5
    MICROSOFT = 6
    YAHOO = 7
    EMAIL = 8
    ALIAS = 9
    FACEBOOK_CUSTOM_AUDIENCE_ID = 10
    OTHER_2 = 11
    OTHER_3 = 12
    OTHER_4 = 13
    OTHER_5 = 14
    OTHER_6 = 15
    OTHER_7 = 16
    OTHER_8 = 17
    OTHER_9 = 18
    OTHER_10 = 19
    MOBILE_NUMBER = 20
    PHONE_NUMBER_2 = 21
    PHONE_NUMBER_3 = 22
    IOS_ADVERTISING_ID = 40
    IOS_VENDOR_ID = 41
    ANDROID_ID = 42
    GOOGLE_ADVERTISING_ID = 43
    PUSH_TOKEN = 44
    ROKU_ADVERTISING_ID = 45
    ROKU_PUBLISHER_ID = 46
    MICROSOFT_ADVERTISING_ID = 47
    MICROSOFT_PUBLISHER_ID = 48
    FIRE_ADVERTISING_ID = 49
    AMP_ID = 50
    DEVICE_APPLICATION_STAMP = 51
    PARTNER_ID = 60


class Identity(Struct, frozen=True, gc=False):
    """A name of a person or of a device, as it is matched and kept: see `identities.normal`."""

    type: int
    value: str


class Event(Struct, gc=False):
    """One thing that happened. `details` is the JSON object of EventBatch.details, empty where there is nothing to say."""

    type: int
    name: str
    time_ms: int
    message_id: str = ""
    details: str = ""


class Context(Struct, frozen=True, gc=False):
    """Where the events of a batch happened."""

    application_version: str = ""
    application_build: str = ""
    platform: str = ""
    os_version: str = ""


class Device(Struct, frozen=True, gc=False):
    """The device of a batch."""

    platform: str = ""
    manufacturer: str = ""
    model: str = ""
    os_version: str = ""
    carrier: str = ""
    language: str = ""
    country: str = ""


class Consent(Struct, frozen=True, gc=False):
    """Whether a person agrees to a purpose under a regulation, from an instant on."""

    regulation: str
    purpose: str
    consented: bool
    time_ms: int


class Attribution(Struct, frozen=True, gc=False):
    """Which campaign of which publisher brought the person; all empty: none."""

    publisher: str = ""
    campaign: str = ""
    service_provider: str = ""


class Change(Struct, gc=False):
    """What a batch says about the person, true from an instant on. None: it says nothing of this."""

    time_ms: int
    set_attributes: dict[str, Value] = {}
    removed_attributes: list[str] = []
    device: Device | None = None
    consents: list[Consent] = []
    attribution: Attribution | None = None
    # The event that brought it, as its place in the batch: the change falls with the event where that was sent before. -1: none.
    of_event: int = -1

    def says_something(self) -> bool:
        """Whether there is anything in it."""
        return bool(self.set_attributes or self.removed_attributes or self.device or self.consents or self.attribution is not None)


class Batch(Struct, gc=False):
    """Events and facts about one person, from one input. MPID 0: to be found by the identities, the strongest first."""

    request_id: str
    mpid: int
    identities: list[Identity]
    context: Context
    events: list[Event]
    # What its events tell of and, last, what the batch states. Each says something.
    changes: list[Change]
    # When what the batch states holds from.
    time_ms: int
    # Identities that events say the person has from now on, and those that the person has no longer; each with the place of its event.
    gains: list[tuple[int, Identity]] = []
    losses: list[tuple[int, Identity]] = []
    # Identities of which the sender says that whoever has them is this person too; nobody is given them.
    claims: list[Identity] = []


class Fault(Struct, frozen=True):
    """What is wrong with a batch, and where: `[3].events[0].data.event_name`."""

    place: str
    description: str
    reason: Reason


class Faults:
    """The faults of one batch as they are found. `event` is the place of the event in hand, -1 between events."""

    def __init__(self, place: str = "") -> None:
        self.found: list[Fault] = []
        self.event = -1
        self._place = place
        self._places: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self.found)

    def add(self, field: str, description: str, reason: Reason) -> None:
        """A fault at a field of the event in hand or, between events, of the batch. A place has one fault: the first."""
        self.add_at(f"events[{self.event}].{field}" if self.event >= 0 else field, description, reason)

    def add_at(self, path: str, description: str, reason: Reason) -> None:
        """A fault at a path inside the batch; empty: the batch itself."""
        place = f"{self._place}.{path}" if self._place and path else self._place or path
        if place not in self._places:
            self._places.add(place)
            self.found.append(Fault(place, description, reason))
