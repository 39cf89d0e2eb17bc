"""Definitions in words: what a criterion looks at and what it asks, as a person reads it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from math import ceil, floor

import numpy as np
from google.type import date_pb2
from muster.definition.v1 import definition_pb2 as pb
from muster.ingest.v1 import event_type_pb2, identity_pb2

from services.evaluator.engine.criteria.columns import EXACT
from services.evaluator.engine.facts import Point, Value
from services.evaluator.engine.values import NearTest

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_VALUE_MAX = 100

# One and several of each kind of event that needs no name; all others are events.
_NOUNS = {
    event_type_pb2.EVENT_TYPE_SESSION_START: ("session", "sessions"),
    event_type_pb2.EVENT_TYPE_SESSION_END: ("end of a session", "ends of sessions"),
    event_type_pb2.EVENT_TYPE_CRASH: ("crash", "crashes"),
    event_type_pb2.EVENT_TYPE_INSTALL: ("install", "installs"),
    event_type_pb2.EVENT_TYPE_UNINSTALL: ("uninstall", "uninstalls"),
    event_type_pb2.EVENT_TYPE_UPGRADE: ("upgrade", "upgrades"),
    event_type_pb2.EVENT_TYPE_OPT_OUT: ("opt-out", "opt-outs"),
    event_type_pb2.EVENT_TYPE_SCREEN_VIEW: ("screen view", "screen views"),
}
_NAMED_NOUNS = {
    (event_type_pb2.EVENT_TYPE_COMMERCE, "purchase"): ("purchase", "purchases"),
    (event_type_pb2.EVENT_TYPE_COMMERCE, "refund"): ("refund", "refunds"),
}
# What a test asks of a value, and whether it asks for the opposite. `{}`: the operand.
_STRINGS = {
    pb.STRING_OPERATOR_CONTAINS: ("contain {}", False),
    pb.STRING_OPERATOR_NOT_CONTAINS: ("contain {}", True),
    pb.STRING_OPERATOR_EQUALS: ("be {}", False),
    pb.STRING_OPERATOR_NOT_EQUALS: ("be {}", True),
    pb.STRING_OPERATOR_PATTERN: ("match {}", False),
    pb.STRING_OPERATOR_NOT_PATTERN: ("match {}", True),
    pb.STRING_OPERATOR_STARTS_WITH: ("start with {}", False),
    pb.STRING_OPERATOR_NOT_STARTS_WITH: ("start with {}", True),
    pb.STRING_OPERATOR_ENDS_WITH: ("end with {}", False),
    pb.STRING_OPERATOR_NOT_ENDS_WITH: ("end with {}", True),
    pb.STRING_OPERATOR_IN: ("be one of {}", False),
    pb.STRING_OPERATOR_NOT_IN: ("be one of {}", True),
}
_NUMBERS = {
    pb.COMPARISON_EQUAL: ("be {}", False),
    pb.COMPARISON_NOT_EQUAL: ("be {}", True),
    pb.COMPARISON_LESS: ("be less than {}", False),
    pb.COMPARISON_LESS_OR_EQUAL: ("be {} or less", False),
    pb.COMPARISON_GREATER: ("be more than {}", False),
    pb.COMPARISON_GREATER_OR_EQUAL: ("be {} or more", False),
    pb.COMPARISON_BETWEEN: ("be {} to {}", False),
}
_COUNTS = {
    pb.COMPARISON_EQUAL: "exactly {}",
    pb.COMPARISON_NOT_EQUAL: "any number but {}",
    pb.COMPARISON_LESS: "fewer than {}",
    pb.COMPARISON_LESS_OR_EQUAL: "{} or fewer",
    pb.COMPARISON_GREATER: "more than {}",
    pb.COMPARISON_GREATER_OR_EQUAL: "{} or more",
    pb.COMPARISON_BETWEEN: "{} to {}",
}
_LISTS = {
    pb.LIST_OPERATOR_INCLUDES: ("include {}", False),
    pb.LIST_OPERATOR_NOT_INCLUDES: ("include {}", True),
    pb.LIST_OPERATOR_PARTIAL_MATCH: ("have an entry with {} in it", False),
}
_ADDED = (pb.AGGREGATE_FUNCTION_SUM, pb.AGGREGATE_FUNCTION_COUNT, pb.AGGREGATE_FUNCTION_DISTINCT_COUNT)
_PRESENCES = {
    pb.PRESENCE_OPERATOR_EXISTS: ("exist", False),
    pb.PRESENCE_OPERATOR_NOT_EXISTS: ("exist", True),
    pb.PRESENCE_OPERATOR_EMPTY: ("be empty", False),
}


def nodes_of(node: pb.Node) -> list[pb.Node]:
    """The node and all below it."""
    return [one for one, _ in deep_nodes_of(node)]


def deep_nodes_of(node: pb.Node, depth: int = 0) -> list[tuple[pb.Node, int]]:
    """The same, each with how deep it lies."""
    inner = [*node.all.nodes, *node.any.nodes, *([node.exclude.node] if node.HasField("exclude") else [])]
    return [(node, depth), *(deeper for part in inner for deeper in deep_nodes_of(part, depth + 1))]


# --- criteria


def subject_of(criterion: pb.Criterion) -> str:
    """What a criterion looks at: `installs`, `the attribute plan`."""
    match criterion.WhichOneof("kind"):
        case "event":
            return events_words(criterion.event.match)
        case "aggregate":
            return _aggregate(criterion.aggregate)
        case "sequence":
            return sequence_words(criterion.sequence)
        case "user_attribute":
            return f"the attribute {criterion.user_attribute.attribute}"
        case "identity":
            return f"the {_plain(identity_pb2.IdentityType.Name(criterion.identity.type), 'IDENTITY_TYPE_')} identity"
        case "device":
            return f"the device's {_plain(pb.DeviceField.Name(criterion.device.field), 'DEVICE_FIELD_')}"
        case "seen":
            return "the time of being seen " + ("first" if criterion.seen.edge == pb.SEEN_EDGE_FIRST else "last")
        case "location" if criterion.location.HasField("near"):
            return "the place where they last were"
        case "location":
            return f"the {_plain(pb.PlaceField.Name(criterion.location.place.field), 'PLACE_FIELD_')}"
        case "consent":
            return f"the consent to {criterion.consent.purpose} under {criterion.consent.regulation}"
        case "lifetime_value":
            return "the lifetime value"
        case "attribution":
            return f"the {_plain(pb.AttributionField.Name(criterion.attribution.field), 'ATTRIBUTION_FIELD_')}"
        case "member_of":
            return f"membership of audience {criterion.member_of.audience_id}"
        case kind:
            return str(kind).replace("_", " ")


def asked_of(criterion: pb.Criterion, *, wanted: bool = True) -> str:
    """What the subject of a criterion must do for it to be true, or false: `be 'pro'`, `not contain 'gold'`."""
    match criterion.WhichOneof("kind"):
        case "event":
            return f"{'' if wanted else 'not '}be {frequency_words(criterion.event)}"
        case "sequence" | "member_of":
            return "be so" if wanted else "not be so"
        case "aggregate":
            return asked(criterion.aggregate.test, wanted=wanted)
        case "user_attribute":
            return asked(criterion.user_attribute.test, wanted=wanted)
        case "identity":
            return asked(criterion.identity.test, wanted=wanted)
        case "device":
            return asked(criterion.device.test, wanted=wanted)
        case "attribution":
            return asked(criterion.attribution.test, wanted=wanted)
        case "lifetime_value":
            return asked(pb.ValueTest(number=criterion.lifetime_value.test), wanted=wanted)
        case "seen":
            return asked(pb.ValueTest(date=pb.DateTest(when=criterion.seen.when)), wanted=wanted)
        case "location" if criterion.location.HasField("near"):
            near = criterion.location.near
            return f"{'' if wanted else 'not '}be within {near.distance_metres:,.10g} m of {near.latitude:g}, {near.longitude:g}"
        case "location":
            return f"{'' if wanted else 'not '}be {quoted(criterion.location.place.value)}"
        case "consent":
            return "be given" if criterion.consent.consented == wanted else "not be given"
        case _:
            return "be so" if wanted else "not be so"


def bound_of(criterion: pb.Criterion, look_back_days: int) -> str:
    """What a criterion asks: `fewer than 3 in the last 30 days`, `must be 'pro'`."""
    match criterion.WhichOneof("kind"):
        case "event":
            return f"{frequency_words(criterion.event)} {period_of(criterion.event, look_back_days)}"
        case "sequence":
            return period_of(criterion.sequence, look_back_days)
        case "aggregate":
            return f"must {asked_of(criterion)} {period_of(criterion.aggregate, look_back_days)}"
        case "member_of":
            return "must be a member"
        case _:
            return f"must {asked_of(criterion)}"


# --- events


def events_words(match: pb.EventMatch, count: int = 2) -> str:
    """`installs`, `'buy' events`; of one: `install`, `'buy' event`."""
    several = count != 1
    if match.WhichOneof("name_match") == "name":
        plain = "screen view" if match.type == event_type_pb2.EVENT_TYPE_SCREEN_VIEW else "event"
        named = f"{quoted(match.name)} {plain}"
        words = _NAMED_NOUNS.get((match.type, match.name), (named, f"{named}s"))[several]
    else:
        plain = f"{_plain(event_type_pb2.EventType.Name(match.type), 'EVENT_TYPE_')} event"
        words = _NOUNS.get(match.type, (plain, f"{plain}s"))[several]
    if match.HasField("name_test"):
        words += f" whose name must {asked(pb.ValueTest(string=match.name_test))}"
    if match.where:
        words += " where " + " and ".join(f"{_filtered(one)} must {asked(one.test)}" for one in match.where)
    return words


def sequence_words(sequence: pb.SequenceCriterion) -> str:
    """`installs, then purchases within 2 days, not followed by uninstalls`."""
    words = [events_words(sequence.steps[0].match), *(f"then {step_words(step)}" for step in sequence.steps[1:])]
    if sequence.HasField("not_followed_by"):
        words.append(f"not followed by {step_words(sequence.not_followed_by)}")
    return ", ".join(words)


def step_words(step: pb.SequenceStep | pb.NotFollowedBy) -> str:
    """`purchases within 2 days`."""
    return f"{events_words(step.match)}{f' within {duration_words(step.within)}' if step.HasField('within') else ''}"


def frequency_words(criterion: pb.EventCriterion) -> str:
    """`1 or more`, `fewer than 3`, `2 to 4`."""
    if not criterion.HasField("frequency"):
        return "1 or more"
    return _COUNTS.get(criterion.frequency.comparison, "{}").format(criterion.frequency.value, criterion.frequency.upper)


def period_of(criterion: pb.EventCriterion | pb.AggregateCriterion | pb.SequenceCriterion, look_back_days: int) -> str:
    """The period of events; where there is none, the look-back."""
    return period_words(criterion.when) or f"in the last {look_back_days} days"


def _aggregate(criterion: pb.AggregateCriterion) -> str:
    function = _plain(pb.AggregateFunction.Name(criterion.function), "AGGREGATE_FUNCTION_")
    if criterion.function == pb.AGGREGATE_FUNCTION_COUNT and criterion.WhichOneof("subject") is None:
        return f"the number of {events_words(criterion.match)}"
    subject = criterion.attribute or (_event_field(criterion.field) if criterion.WhichOneof("subject") == "field" else "")
    return f"the {function} of {f'{subject} of ' if subject else ''}{events_words(criterion.match)}"


def _filtered(one: pb.Filter) -> str:
    match one.WhichOneof("subject"):
        case "attribute":
            return one.attribute
        case "product_attribute":
            return f"the product's {one.product_attribute}"
        case _:
            return f"the {_event_field(one.field)}"


def _event_field(field: pb.EventField.ValueType) -> str:
    return _plain(pb.EventField.Name(field), "EVENT_FIELD_")


# --- tests and periods


def asked(test: pb.ValueTest, *, wanted: bool = True) -> str:
    """What a value must do to pass, or to fail: `be 5 or more`, `not contain 'gold'`."""
    phrase, negative = _asked(test)
    return phrase if wanted != negative else f"not {phrase}"


def _asked(test: pb.ValueTest) -> tuple[str, bool]:
    match test.WhichOneof("kind"):
        case "string":
            phrase, negative = _STRINGS.get(test.string.operator, ("be {}", False))
            operands = test.string.values or [test.string.value]
            return phrase.format(", ".join(quoted(operand) for operand in operands)), negative
        case "number":
            phrase, negative = _NUMBERS.get(test.number.comparison, ("be {}", False))
            return phrase.format(test.number.value, test.number.upper), negative
        case "boolean":
            return f"be {str(test.boolean.value).lower()}", False
        case "list":
            phrase, negative = _LISTS.get(test.list.operator, ("include {}", False))
            return phrase.format(quoted(test.list.value)), negative
        case "presence":
            return _PRESENCES.get(test.presence.operator, ("exist", False))
        case _:
            return f"be {period_words(test.date.when) or 'a date'}", False


def period_words(period: pb.Period) -> str:
    """`in the last 72 hours`, `on 2026-09-09`; empty for the whole look-back."""
    match period.WhichOneof("kind"):
        case "last":
            return f"in the last {duration_words(period.last)}"
        case "ago":
            return f"between {duration_words(getattr(period.ago, 'from'))} and {duration_words(period.ago.to)} ago"
        case "between":
            return f"between {_date(period.between.first)} and {_date(period.between.last)}"
        case None:
            return ""
        case kind:
            return f"{kind.replace('_', ' ')} {_date(getattr(period, kind))}"


def duration_words(duration: pb.Duration) -> str:
    """`1 day`, `72 hours`."""
    unit = _plain(pb.DurationUnit.Name(duration.unit), "DURATION_UNIT_")
    return f"{duration.count} {unit}{'' if duration.count == 1 else 's'}"


# --- values


def held_value(criterion: pb.Criterion, value: Value | None) -> str:
    """What is known of a person, as what the criterion looks at; empty where that is nothing."""
    match criterion.WhichOneof("kind"):
        case "seen" if isinstance(value, int):
            return instant_words(value)
        case "consent" if value is not None:
            return "given" if value else "not given"
        case "lifetime_value" if value is None:
            return "0"
        case "location" if isinstance(value, Point):
            return f"{value_words(value)}, at {distance_words(criterion.location.near, value)}"
        case _:
            return value_words(value)


def held_words(criterion: pb.Criterion, value: Value | None) -> str:
    """`is 'free'`, `is not known`."""
    kind = criterion.WhichOneof("kind")
    if kind in ("seen", "consent", "lifetime_value") and (words := held_value(criterion, value)):
        return f"is {words}"
    if isinstance(value, Point):
        return f"is at {distance_words(criterion.location.near, value)}"
    return "is not known" if value is None else f"is {quoted(value)}"


def distance_words(near: pb.Near, point: Point) -> str:
    """`2,300 m`: how far it is from there, rounded up where that is too far, else down."""
    there = NearTest(near.latitude, near.longitude, near.distance_metres)
    metres = float(there.distances(np.array([point.latitude]), np.array([point.longitude]))[0])
    return f"{floor(metres) if there.holds(point) else ceil(metres):,} m"


def more_words(criterion: pb.Criterion, value: Value | None, *, wanted: bool) -> str:
    """`19.90 more of the lifetime value`: how much is missing of a sum or a count, or is too much; empty where nothing adds up."""
    if criterion.HasField("lifetime_value"):
        test, whole = criterion.lifetime_value.test, False
    elif criterion.aggregate.function in _ADDED and criterion.aggregate.test.HasField("number"):
        test, whole = criterion.aggregate.test.number, criterion.aggregate.function != pb.AGGREGATE_FUNCTION_SUM
        if whole and test.comparison in (pb.COMPARISON_EQUAL, pb.COMPARISON_NOT_EQUAL) and Decimal(test.value) % 1:
            return ""  # no number of things is that
    else:
        return ""
    number, ways = Decimal(str(value or 0)), []
    for end, included, words in _ends_of(test, wanted=wanted):
        missing = EXACT.subtract(end, number) if words == "more" else EXACT.subtract(number, end)
        if whole:  # things are not cut
            missing = Decimal(ceil(missing) if included else floor(missing) + 1)
        if missing > 0:
            ways.append(f"{'' if included or whole else 'more than '}{missing:f} {words}")
    return f"{', or '.join(ways)} of {subject_of(criterion)}" if ways else ""


def _ends_of(test: pb.NumberTest, *, wanted: bool) -> list[tuple[Decimal, bool, str]]:
    """The ends of the numbers that pass, or fail: each with whether it is one of them, and what a number on its other side has of it."""
    low, high = Decimal(test.value), Decimal(test.upper or test.value)
    positive = test.comparison != pb.COMPARISON_NOT_EQUAL
    match test.comparison:
        case pb.COMPARISON_LESS | pb.COMPARISON_GREATER_OR_EQUAL:
            return [(low, True, "more") if wanted == (test.comparison == pb.COMPARISON_GREATER_OR_EQUAL) else (low, False, "too much")]
        case pb.COMPARISON_GREATER | pb.COMPARISON_LESS_OR_EQUAL:
            return [(low, False, "more") if wanted == (test.comparison == pb.COMPARISON_GREATER) else (low, True, "too much")]
        case _ if wanted == positive:
            return [(low, True, "more"), (high, True, "too much")]
        case _:
            return [(high, False, "more"), (low, False, "too much")]


def value_words(value: Value | None) -> str:
    """A value for a person's eyes; empty where there is none."""
    if value is None:
        return ""
    text = str(value).lower() if isinstance(value, bool) else ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= _VALUE_MAX else f"{text[:_VALUE_MAX]}…"


def quoted(value: Value) -> str:
    """A value inside of a sentence: text in quotes."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{value_words(value)}]"
    return f"'{value_words(value)}'" if isinstance(value, str) else value_words(value)


def instant_words(ms: int) -> str:
    """`2026-09-09 13:00 UTC`; with seconds where they are not 0. Milliseconds are cut off."""
    instant = _EPOCH + timedelta(milliseconds=ms)
    return instant.strftime("%Y-%m-%d %H:%M:%S UTC" if instant.second else "%Y-%m-%d %H:%M UTC")


def _date(day: date_pb2.Date) -> str:
    return date(day.year, day.month, day.day).isoformat()


def _plain(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).replace("_", " ").lower()
