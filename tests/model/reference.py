"""Who is in an audience, told a second time: plain Python straight from docs/concepts/criteria.md, slow and easy to read.
It shares no code with the engine.

Everything is worked out anew for one person and one instant from what has ever been told about that person (facts.py). values.py has
the tests of values, events.py the event criteria; here are the tree and what is known of the person.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import asin, cos, radians, sin, sqrt
from typing import TypeVar

from muster.definition.v1 import definition_pb2 as pb

from tests.model.events import History, lifetime_value
from tests.model.facts import (
    AttributeChange,
    AttributionTold,
    Change,
    ConsentTold,
    DeviceTold,
    Event,
    Key,
    Person,
    Value,
)
from tests.model.values import compares, in_period, is_negative, number_passes, passes_of_event, passes_of_user, speaks_of, text

Told = TypeVar("Told", bound=Change)
EARTH_RADIUS_METRES = 6_371_008.8
DEVICE_FIELDS = {
    pb.DEVICE_FIELD_MODEL: "model",
    pb.DEVICE_FIELD_MANUFACTURER: "manufacturer",
    pb.DEVICE_FIELD_OS: "platform",
    pb.DEVICE_FIELD_OS_VERSION: "os_version",
    pb.DEVICE_FIELD_CARRIER: "carrier",
    pb.DEVICE_FIELD_PLATFORM: "platform",
    pb.DEVICE_FIELD_LANGUAGE: "language",
}
PLACE_ATTRIBUTES = {
    pb.PLACE_FIELD_CITY: "$City",
    pb.PLACE_FIELD_STATE: "$State",
    pb.PLACE_FIELD_ZIP: "$Zip",
    pb.PLACE_FIELD_COUNTRY: "$Country",
}
Types = Mapping[int, Mapping[str, str]]  # by workspace and name of the attribute: `STRING`, ...
NO_TYPES: Types = {}


@dataclass(frozen=True)
class Audience:
    definition: pb.Definition
    workspace_ids: tuple[int, ...]
    input_ids: tuple[int, ...] = ()  # empty: all inputs of its workspaces


def members(
    definition: pb.Definition,
    people: Mapping[Key, Person],
    now: int,
    *,
    workspaces: Mapping[int, Collection[int]],
    workspace_ids: Sequence[int],
    input_ids: Collection[int] = (),
    look_back_ms: int,
    active: Mapping[int, Audience] | None = None,
    types: Types = NO_TYPES,
    event_types: Types = NO_TYPES,
) -> set[Key]:
    """The people (by the keys of `people`) for whom the definition is true at `now`. `active`: the audiences that it may name. `types`: of
    the attributes of people, in each workspace, `event_types`: of those of events."""
    inputs = set(input_ids) or {input_id for workspace in workspace_ids for input_id in workspaces.get(workspace, ())}
    types_by_input = {input_id: event_types.get(workspace, {}) for workspace, own in workspaces.items() for input_id in own}
    inner: dict[int, set[Key]] = {}

    def members_of(audience_id: int) -> set[Key]:
        if audience_id not in inner:
            audience = (active or {}).get(audience_id)
            inner[audience_id] = (
                audience
                and members(
                    audience.definition,
                    people,
                    now,
                    workspaces=workspaces,
                    workspace_ids=audience.workspace_ids,
                    input_ids=audience.input_ids,
                    look_back_ms=look_back_ms,
                    active=active,
                    types=types,
                    event_types=event_types,
                )
            ) or set()
        return inner[audience_id]

    def true(node: pb.Node, key: Key) -> bool:
        match node.WhichOneof("kind"):
            case "everyone":
                return True
            case "all":
                return all(true(part, key) for part in node.all.nodes)
            case "any":
                return any(true(part, key) for part in node.any.nodes)
            case "exclude":
                return not true(node.exclude.node, key)
        return holds(node.criterion, key)

    def holds(criterion: pb.Criterion, key: Key) -> bool:
        history = History(people[key].events, inputs, look_back_ms, now, types_by_input)
        workspace = criterion.workspace_id or workspace_ids[0]
        about = About(people[key], workspace, workspaces.get(workspace, ()), now)
        match criterion.WhichOneof("kind"):
            case "event":
                return frequency_holds(criterion.event, history.count(criterion.event))
            case "aggregate":
                return passes_of_event(criterion.aggregate.test, history.aggregate(criterion.aggregate), now)
            case "sequence":
                return history.followed(criterion.sequence)
            case "user_attribute":
                name = criterion.user_attribute.attribute
                return passes_of_user(criterion.user_attribute.test, about.attribute(name), now, types.get(workspace, {}).get(name))
            case "identity":
                return identity_holds(criterion.identity, about.identities(criterion.identity.type))
            case "device":
                return passes_of_user(criterion.device.test, about.device(DEVICE_FIELDS[criterion.device.field]), now)
            case "seen":
                return seen_holds(criterion.seen, about.seen(), now)
            case "location":
                place = criterion.location
                return about.is_near(place.near) if place.HasField("near") else about.is_in(place.place)
            case "consent":
                wanted = criterion.consent
                return about.consented(wanted.regulation, wanted.purpose) is wanted.consented
            case "lifetime_value":
                return number_passes(criterion.lifetime_value.test, lifetime_value(about.person.events, about.inputs, now))
            case "attribution":
                return passes_of_user(criterion.attribution.test, about.attribution(criterion.attribution.field), now)
            case "member_of":
                return key in members_of(criterion.member_of.audience_id)
            case other:
                raise ValueError(f"the reference knows no criterion {other}")

    return {key for key, person in people.items() if person.active_in & set(workspace_ids) and true(definition.root, key)}


def frequency_holds(criterion: pb.EventCriterion, count: int) -> bool:
    if not criterion.HasField("frequency"):
        return count > 0
    return compares(criterion.frequency.comparison, count, criterion.frequency.value, criterion.frequency.upper)


def identity_holds(criterion: pb.IdentityCriterion, values: Sequence[str]) -> bool:
    if criterion.test.WhichOneof("kind") == "presence":
        return {
            pb.PRESENCE_OPERATOR_EXISTS: bool(values),
            pb.PRESENCE_OPERATOR_NOT_EXISTS: not values,
            pb.PRESENCE_OPERATOR_EMPTY: False,
        }[criterion.test.presence.operator]
    one_is = any(speaks_of(criterion.test.string, value) for value in values)
    return one_is != is_negative(criterion.test.string)


def seen_holds(criterion: pb.SeenCriterion, instants: Sequence[int], now: int) -> bool:
    if not instants:
        return False
    edge = min(instants) if criterion.edge == pb.SEEN_EDGE_FIRST else max(instants)
    return in_period(criterion.when, edge, now)


@dataclass
class About:
    """What is known of a person in one workspace."""

    person: Person
    workspace: int
    inputs: Collection[int]
    now: int

    def told(self, kind: type[Told]) -> list[Told]:
        """What was told of this kind, what holds last; of equal times as it was told."""
        here = [change for change in self.person.changes if isinstance(change, kind) and change.workspace_id == self.workspace]
        return sorted(here, key=lambda change: change.time_ms)

    def attribute(self, name: str) -> Value | None:
        values = [change.value for change in self.told(AttributeChange) if change.attribute == name]
        return values[-1] if values else None

    def identities(self, type_: int) -> list[str]:
        """Of the person as a whole, whichever workspace told of them."""
        return [value for of_type, value in self.person.identities if of_type == type_]

    def device(self, field: str) -> str | None:
        """Field by field: what was told of it last."""
        values = [change.fields[field] for change in self.told(DeviceTold) if change.fields.get(field)]
        return values[-1] if values else None

    def attribution(self, field: pb.AttributionField.ValueType) -> str | None:
        told = self.told(AttributionTold)
        if not told:
            return None
        return (told[-1].publisher if field == pb.ATTRIBUTION_FIELD_PUBLISHER else told[-1].campaign) or None

    def consented(self, regulation: str, purpose: str) -> bool | None:
        """None: nothing was told."""
        asked = regulation.casefold(), purpose.casefold()
        states = [
            change.consented for change in self.told(ConsentTold) if (change.regulation.casefold(), change.purpose.casefold()) == asked
        ]
        return states[-1] if states else None

    def events(self) -> list[Event]:
        """Those of the workspace up to now, in the order of their times."""
        events = [event for event in self.person.events if event.input_id in self.inputs and event.time_ms <= self.now]
        return sorted(events, key=lambda event: (event.time_ms, event.received))

    def seen(self) -> list[int]:
        changes = [change.time_ms for change in self.person.changes if change.workspace_id == self.workspace]
        return [instant for instant in [*changes, *(event.time_ms for event in self.events())] if instant <= self.now]

    def is_in(self, place: pb.PlaceTest) -> bool:
        value = self.attribute(PLACE_ATTRIBUTES[place.field])
        if value is None and place.field == pb.PLACE_FIELD_COUNTRY:
            value = self.device("country")
        written = None if value is None else text(value)
        return written is not None and written.casefold() == place.value.casefold()

    def is_near(self, near: pb.Near) -> bool:
        places = [event.details["location"] for event in self.events() if "location" in event.details]
        if not places:
            return False
        here = float(places[-1]["latitude"]), float(places[-1]["longitude"])
        return metres(here, (near.latitude, near.longitude)) <= near.distance_metres


def metres(here: tuple[float, float], there: tuple[float, float]) -> float:
    """Over the sphere, by the haversine."""
    (a, b), (c, d) = map(radians, here), map(radians, there)
    across = sin((c - a) / 2) ** 2 + cos(a) * cos(c) * sin((d - b) / 2) ** 2
    return 2 * EARTH_RADIUS_METRES * asin(min(1.0, sqrt(across)))
