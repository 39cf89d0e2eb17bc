"""Criteria, read from a text: what a phrase begins, up to the end of the criterion."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from muster.definition.v1 import definition_pb2 as pb
from muster.ingest.v1 import identity_pb2

from . import words
from .clauses import (
    begin_match,
    finish_match,
    read_attribute,
    read_comparison,
    read_duration,
    read_frequency,
    read_match,
    read_name,
    read_number,
    read_period,
    read_test,
    read_text,
    read_whole,
)
from .cursor import Cursor
from .lexer import Kind
from .places import Slip
from .words import METRES, STARTS, SUBJECTS, WHENS, Meaning, Phrases


def read_criterion(cursor: Cursor, criterion: pb.Criterion) -> None:
    """One criterion. Raises Slip."""
    at = cursor.token
    if (field := cursor.phrase(_EVENT_FIELDS)) is not None:
        meant = f"device {field}" if f"device {field}" in STARTS.all else ""
        device = f" That of the person's device is `{meant}`." if meant else ""
        brackets = f"Events are compared in brackets behind them; write it as `purchase[{field} exists]`.{device}"
        raise Slip(at.start, cursor.end, brackets, meant)
    start = cursor.phrase(STARTS)
    if start is None:
        criterion.user_attribute.attribute = read_attribute(cursor, ("everyone", *STARTS.all))
        read_test(cursor, criterion.user_attribute.test)
    else:
        READERS[start.kind](cursor, criterion, start)
    if cursor.sees("in", "workspace"):
        if criterion.WhichOneof("kind") in _OF_EVENTS:
            at = cursor.token
            raise Slip(
                at.start, cursor.after(1).end, "Only people have a workspace; name the inputs of events, as in `sessions from input 5`."
            )
        cursor.take()
        cursor.take()
        criterion.workspace_id = read_whole(cursor, "The number of the workspace")


_EVENT_FIELDS = Phrases({phrase: phrase for phrase in words.EVENT_FIELDS.values()})
_SUBJECT_MAX = 3  # words: `product coupon code of purchase`
_OF_EVENTS = frozenset({"event", "aggregate", "sequence", "member_of"})


def _event(cursor: Cursor, criterion: pb.Criterion, start: Meaning) -> None:
    match = pb.EventMatch()
    begin_match(match, start)
    finish_match(cursor, match)
    if cursor.sees("then") or _sees_not_followed(cursor):
        step = criterion.sequence.steps.add()
        step.match.CopyFrom(match)
        _steps(cursor, criterion.sequence)
        return
    event = criterion.event
    event.match.CopyFrom(match)
    while read_frequency(cursor, event) or (not event.HasField("when") and read_period(cursor, event.when)):
        continue
    if cursor.sees("then") or _sees_not_followed(cursor):
        token = cursor.token
        raise Slip(
            token.start, token.end, "A sequence has its period behind it; write it as `sequence(event then purchase) within 7 days`."
        )


def _sees_not_followed(cursor: Cursor) -> bool:
    return cursor.sees("not", "followed") or cursor.sees(",", "not", "followed")


def _steps(cursor: Cursor, sequence: pb.SequenceCriterion) -> None:
    """The steps after the first one."""
    while cursor.accept("then"):
        step = sequence.steps.add()
        _step(cursor, step)
    if _sees_not_followed(cursor):
        cursor.accept(",")
        cursor.take()
        cursor.take()
        cursor.expect("by", "The word `by`")
        _step(cursor, sequence.not_followed_by)


def _step(cursor: Cursor, step: pb.SequenceStep | pb.NotFollowedBy) -> None:
    read_match(cursor, step.match)
    if cursor.accept("within"):
        read_duration(cursor, step.within)


def _sequence(cursor: Cursor, criterion: pb.Criterion, start: Meaning) -> None:
    sequence = criterion.sequence
    cursor.expect("(", "The beginning of the steps")
    _step(cursor, sequence.steps.add())
    _steps(cursor, sequence)
    if not cursor.accept(")"):
        cursor.wrong("`)` is missing", "steps stand in `sequence(...)`, with `then` between", ("then", "not followed by", "within"))
    read_period(cursor, sequence.when)


def _aggregate(cursor: Cursor, criterion: pb.Criterion, start: Meaning) -> None:
    aggregate = criterion.aggregate
    aggregate.function = pb.AggregateFunction.ValueType(start.value)
    if not cursor.accept("("):
        what = "What is aggregated is missing"
        cursor.wrong(what, 'write it in brackets, as in `sum("price" of purchase) > 100`', STARTS.all)
    # A count may be of events alone.
    if start.value != pb.AGGREGATE_FUNCTION_COUNT or any(cursor.after(count).text == "of" for count in range(1, _SUBJECT_MAX + 1)):
        subject = cursor.phrase(SUBJECTS)
        if subject is None:
            aggregate.attribute = read_attribute(cursor, SUBJECTS.all)
        elif subject.kind == "field":
            aggregate.field = pb.EventField.ValueType(subject.value)
        elif subject.kind == "attribute":
            aggregate.attribute = read_name(cursor, "The attribute's name")
        else:
            cursor.wrong("No attribute of products can be aggregated", "name an attribute or a field of the event")
        cursor.expect("of", "The event of the value")
    read_match(cursor, aggregate.match)
    cursor.expect(")", "The end of the aggregate")
    read_test(cursor, aggregate.test)
    read_period(cursor, aggregate.when)


def _user_attribute(cursor: Cursor, criterion: pb.Criterion, start: Meaning) -> None:
    criterion.user_attribute.attribute = read_name(cursor, "The attribute's name")
    read_test(cursor, criterion.user_attribute.test)


def _identity(cursor: Cursor, criterion: pb.Criterion, start: Meaning) -> None:
    criterion.identity.type = identity_pb2.IdentityType.ValueType(start.value)
    read_test(cursor, criterion.identity.test)


def _device(cursor: Cursor, criterion: pb.Criterion, start: Meaning) -> None:
    criterion.device.field = pb.DeviceField.ValueType(start.value)
    read_test(cursor, criterion.device.test)


def _seen(cursor: Cursor, criterion: pb.Criterion, start: Meaning) -> None:
    criterion.seen.edge = pb.SeenEdge.ValueType(start.value)
    if not read_period(cursor, criterion.seen.when):
        cursor.wrong("The period is missing", "say when, as in `first seen within 30 days`", WHENS.all)


def _place(cursor: Cursor, criterion: pb.Criterion, start: Meaning) -> None:
    place = criterion.location.place
    place.field = pb.PlaceField.ValueType(start.value)
    if not (cursor.accept("=") or cursor.accept("is")):
        cursor.wrong("`=` is missing", 'places are equal to a name, as in `location city = "Berlin"`')
    place.value = read_text(cursor, "The name of the place")


def _near(cursor: Cursor, criterion: pb.Criterion, start: Meaning) -> None:
    near = criterion.location.near
    distance = _decimal(cursor, "The distance")
    metres = cursor.phrase(METRES)
    if metres is None:
        cursor.wrong("The unit of the distance is missing", "write metres or km", METRES.all)
    near.distance_metres = distance * metres
    cursor.expect("of", "The point")
    near.latitude = _decimal(cursor, "The latitude")
    cursor.expect(",", "The longitude")
    near.longitude = _decimal(cursor, "The longitude")


def _decimal(cursor: Cursor, what: str) -> float:
    if cursor.token.kind is not Kind.NUMBER:
        cursor.wrong(f"{what} is missing", "write a number, as in `location within 5 km of 52.52, 13.4`")
    return float(cursor.take().text)


def _consent(cursor: Cursor, criterion: pb.Criterion, start: Meaning) -> None:
    consent = criterion.consent
    consent.consented = bool(start.value)
    if cursor.accept("to"):
        consent.purpose = read_text(cursor, "The purpose")
    cursor.expect("under", "The regulation")
    consent.regulation = read_text(cursor, "The regulation")


def _lifetime_value(cursor: Cursor, criterion: pb.Criterion, start: Meaning) -> None:
    read_number(cursor, criterion.lifetime_value.test, read_comparison(cursor, "What the value is compared with"))


def _attribution(cursor: Cursor, criterion: pb.Criterion, start: Meaning) -> None:
    criterion.attribution.field = pb.AttributionField.ValueType(start.value)
    read_test(cursor, criterion.attribution.test)


def _member_of(cursor: Cursor, criterion: pb.Criterion, start: Meaning) -> None:
    criterion.member_of.audience_id = read_whole(cursor, "The number of the audience")


# By the kind of what begins a criterion; a location begins in two ways.
READERS: Mapping[str, Callable[[Cursor, pb.Criterion, Meaning], None]] = {
    "event": _event,
    "aggregate": _aggregate,
    "sequence": _sequence,
    "user_attribute": _user_attribute,
    "identity": _identity,
    "device": _device,
    "seen": _seen,
    "place": _place,
    "near": _near,
    "consent": _consent,
    "lifetime_value": _lifetime_value,
    "attribution": _attribution,
    "member_of": _member_of,
}
