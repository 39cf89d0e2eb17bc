"""Criteria in short words, for explanations of one person."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from google.protobuf.message import Message
from google.type import date_pb2
from muster.definition.v1 import definition_pb2 as pb
from muster.ingest.v1 import event_type_pb2

from services.evaluator.engine.facts import Value

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_VALUE_MAX = 100


def nodes_of(node: pb.Node) -> list[pb.Node]:
    """The node and all below it."""
    inner = [*node.all.nodes, *node.any.nodes, *([node.exclude.node] if node.HasField("exclude") else [])]
    return [node, *(deeper for part in inner for deeper in nodes_of(part))]


def subject_of(criterion: pb.Criterion) -> str:
    """What a criterion looks at: `install events`, `the attribute plan`."""
    match criterion.WhichOneof("kind"):
        case "event":
            return match_words(criterion.event.match)
        case "sequence":
            return sequence_words(criterion.sequence)
        case "user_attribute":
            return f"the attribute {criterion.user_attribute.attribute}"
        case "member_of":
            return f"membership of audience {criterion.member_of.audience_id}"
        case kind:
            return str(kind).replace("_", " ")


def bound_of(criterion: pb.Criterion, found: str) -> str:
    """What a criterion asks; `found` is what the engine says of it."""
    match criterion.WhichOneof("kind"):
        case "event":
            return f"{found} {period_words(criterion.event.when)}".strip()
        case "sequence":
            return period_words(criterion.sequence.when)
        case "user_attribute":
            test = criterion.user_attribute.test
            kind = test.WhichOneof("kind")
            return period_words(test.date.when) if kind == "date" else test_words(getattr(test, str(kind)))
        case _:
            return found


def match_words(match: pb.EventMatch) -> str:
    """`install events`, `custom events 'buy'`."""
    type_ = _plain(event_type_pb2.EventType.Name(match.type), "EVENT_TYPE_")
    named = f" {match.name!r}" if match.name else f" with a name that {test_words(match.name_test)}" if match.HasField("name_test") else ""
    return f"{type_} events{named}"


def sequence_words(sequence: pb.SequenceCriterion) -> str:
    """`install events, then purchase events within 2 days, not followed by uninstall events`."""
    words = [match_words(sequence.steps[0].match), *(f"then {_in_time(step)}" for step in sequence.steps[1:])]
    if sequence.HasField("not_followed_by"):
        words.append(f"not followed by {_in_time(sequence.not_followed_by)}")
    return ", ".join(words)


def _in_time(step: pb.SequenceStep | pb.NotFollowedBy) -> str:
    return f"{match_words(step.match)}{f' within {_duration(step.within)}' if step.HasField('within') else ''}"


def test_words(test: Message) -> str:
    """`not contains gold`, `between 3 and 5`, `exists`."""
    words = []
    for field, value in test.ListFields():
        if field.enum_type is not None:
            name = field.enum_type.values_by_number[value].name
            prefix = field.enum_type.values_by_number[0].name.removesuffix("UNSPECIFIED")
            words.append(_plain(name, prefix))
        elif field.is_repeated:
            words.append(", ".join(value))
        else:
            words.append(f"and {value}" if field.name == "upper" else str(value).lower() if isinstance(value, bool) else str(value))
    return " ".join(words) or "false"


def period_words(period: pb.Period) -> str:
    """`within the last 72 hours`, `on 2026-09-09`; empty for the whole look-back."""
    match period.WhichOneof("kind"):
        case "last":
            return f"within the last {_duration(period.last)}"
        case "ago":
            return f"between {_duration(getattr(period.ago, 'from'))} and {_duration(period.ago.to)} ago"
        case "between":
            return f"between {_date(period.between.first)} and {_date(period.between.last)}"
        case None:
            return ""
        case kind:
            return f"{kind.replace('_', ' ')} {_date(getattr(period, kind))}"


def value_words(value: Value | None) -> str:
    """A value for a person's eyes; empty where there is none."""
    if value is None:
        return ""
    text = str(value).lower() if isinstance(value, bool) else ", ".join(value) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= _VALUE_MAX else f"{text[:_VALUE_MAX]}…"


def instant_words(ms: int) -> str:
    """`2026-09-09 13:00:00 UTC`."""
    return (_EPOCH + timedelta(milliseconds=ms)).strftime("%Y-%m-%d %H:%M:%S UTC")


def _duration(duration: pb.Duration) -> str:
    unit = _plain(pb.DurationUnit.Name(duration.unit), "DURATION_UNIT_")
    return f"{duration.count} {unit}{'' if duration.count == 1 else 's'}"


def _date(day: date_pb2.Date) -> str:
    return date(day.year, day.month, day.day).isoformat()


def _plain(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).replace("_", " ").lower()
