"""The models and paths that stand for what a definition reads: `{"model": "user", "path": "plan"}` is the user attribute `plan`.

The form leaves them to each installation; these are Muster's, and docs/guides/public-json.md lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.descriptor import EnumDescriptor
from muster.definition.v1 import definition_pb2 as pb
from muster.ingest.v1 import event_type_pb2, identity_pb2

USER = "user"
IDENTITY = "identity"
DEVICE = "device"
PROFILE = "profile"
CONSENT = "consent"
ATTRIBUTION = "attribution"
EVENTS = "events"
MODELS = (USER, IDENTITY, DEVICE, PROFILE, CONSENT, ATTRIBUTION, EVENTS)

# Paths of `events` beside attributes and fields.
TYPE = "type"
NAME = "name"
TIMESTAMP = "timestamp"
INPUT = "input_id"
ATTRIBUTES = "attributes."
PRODUCT_ATTRIBUTES = "product_attributes."
LIFETIME_VALUE = "lifetime_value"


def words_of(enum: EnumDescriptor) -> Mapping[int, str]:
    """The words of an enum's values by number: `EVENT_TYPE_SCREEN_VIEW` is `screen_view`."""
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return {value.number: value.name.removeprefix(prefix).lower() for value in enum.values if value.number}


EVENT_TYPES = words_of(event_type_pb2.EventType.DESCRIPTOR)
IDENTITY_TYPES = words_of(identity_pb2.IdentityType.DESCRIPTOR)
EVENT_FIELDS = words_of(pb.EventField.DESCRIPTOR)
DEVICE_FIELDS = words_of(pb.DeviceField.DESCRIPTOR)
PLACE_FIELDS = words_of(pb.PlaceField.DESCRIPTOR)
ATTRIBUTION_FIELDS = words_of(pb.AttributionField.DESCRIPTOR)
SEEN_EDGES: Mapping[int, str] = {pb.SEEN_EDGE_FIRST: "first_seen", pb.SEEN_EDGE_LAST: "last_seen"}

AGGREGATIONS: Mapping[int, str] = {
    pb.AGGREGATE_FUNCTION_SUM: "sum",
    pb.AGGREGATE_FUNCTION_MIN: "min",
    pb.AGGREGATE_FUNCTION_MAX: "max",
    pb.AGGREGATE_FUNCTION_AVG: "avg",
    pb.AGGREGATE_FUNCTION_COUNT: "count",
    pb.AGGREGATE_FUNCTION_UNIQUE_LIST: "list",
}
# The functions that the form has no word for.
UNSAID_FUNCTIONS = frozenset(
    {
        pb.AGGREGATE_FUNCTION_DISTINCT_COUNT,
        pb.AGGREGATE_FUNCTION_FIRST,
        pb.AGGREGATE_FUNCTION_LAST,
        pb.AGGREGATE_FUNCTION_MOST_FREQUENT,
    }
)


def number_of_word(words: Mapping[int, str], word: str) -> int | None:
    """The number of an enum's value by its word; None where there is none."""
    return next((number for number, known in words.items() if known == word), None)


@dataclass(frozen=True, slots=True)
class Path:
    """A model and what it holds."""

    model: str
    path: str

    def json(self) -> dict[str, str]:
        return {"model": self.model, "path": self.path}

    def __str__(self) -> str:
        return f"{self.model} {self.path!r}" if len(self.path) <= 60 else f"{self.model} {self.path[:60]!r}..."


def event_path(of: pb.Filter | pb.AggregateCriterion) -> Path | None:
    """What of an event a filter or an aggregate looks at; None where it says nothing that is known."""
    match of.WhichOneof("subject"):
        case "attribute":
            return Path(EVENTS, ATTRIBUTES + of.attribute)
        case "field" if of.field in EVENT_FIELDS:
            return Path(EVENTS, EVENT_FIELDS[of.field])
        case "product_attribute" if isinstance(of, pb.Filter):
            return Path(EVENTS, PRODUCT_ATTRIBUTES + of.product_attribute)
        case _:
            return None


def consent_path(consent: pb.ConsentCriterion) -> Path:
    """`gdpr/marketing`; a regulation without a purpose stands alone."""
    parts = [consent.regulation] + ([consent.purpose] if consent.purpose else [])
    return Path(CONSENT, "/".join(part.replace("~", "~0").replace("/", "~1") for part in parts))


def consent_of(path: str) -> tuple[str, str] | None:
    """The regulation and purpose of a path; None where it is none."""
    parts = [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")]
    if len(parts) > 2:
        return None
    return parts[0], parts[1] if len(parts) == 2 else ""
