"""Who is in an audience, told a second time: plain Python straight from semantics.md, slow and easy to read.
It shares no code with the engine.

Everything is worked out anew for one person and one instant from what has ever been told about that person.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import NamedTuple

from google.type import date_pb2
from muster.definition.v1 import definition_pb2 as pb

Value = str | int | float | Decimal | bool | Sequence[str]

MILLISECOND = timedelta(milliseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UNIT = {"SECOND": 1_000, "MINUTE": 60_000, "HOUR": 3_600_000, "DAY": 86_400_000, "WEEK": 7 * 86_400_000}


class Event(NamedTuple):
    input_id: int
    type: int
    name: str
    time_ms: int


class AttributeChange(NamedTuple):
    workspace_id: int
    attribute: str
    value: Value | None
    time_ms: int


@dataclass
class Person:
    """All that was told, in the order in which it was."""

    active_in: set[int] = field(default_factory=set)  # workspaces
    events: list[Event] = field(default_factory=list)
    attribute_changes: list[AttributeChange] = field(default_factory=list)

    def attribute(self, workspace_id: int, name: str) -> Value | None:
        """The value told with the latest time; of equal times the one told last."""
        told = [change for change in self.attribute_changes if (change.workspace_id, change.attribute) == (workspace_id, name)]
        return sorted(told, key=lambda change: change.time_ms)[-1].value if told else None


@dataclass(frozen=True)
class Audience:
    definition: pb.Definition
    workspace_ids: tuple[int, ...]
    input_ids: tuple[int, ...] = ()  # empty: all inputs of its workspaces


def members(
    definition: pb.Definition,
    people: Mapping[int, Person],
    now: int,
    *,
    workspaces: Mapping[int, Collection[int]],
    workspace_ids: Sequence[int],
    input_ids: Collection[int] = (),
    look_back_ms: int,
    active: Mapping[int, Audience] | None = None,
) -> set[int]:
    """The people (by the keys of `people`) for whom the definition is true at `now`. `active`: the audiences that it may name."""
    inputs = set(input_ids) or {input_id for workspace in workspace_ids for input_id in workspaces.get(workspace, ())}
    inner: dict[int, set[int]] = {}

    def members_of(audience_id: int) -> set[int]:
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
                )
            ) or set()
        return inner[audience_id]

    def true(node: pb.Node, key: int) -> bool:
        match node.WhichOneof("kind"):
            case "everyone":
                return True
            case "all":
                return all(true(part, key) for part in node.all.nodes)
            case "any":
                return any(true(part, key) for part in node.any.nodes)
            case "exclude":
                return not true(node.exclude.node, key)
        criterion, person = node.criterion, people[key]
        match criterion.WhichOneof("kind"):
            case "event":
                return frequency_holds(criterion.event, count(criterion.event, person))
            case "user_attribute":
                workspace = criterion.workspace_id or workspace_ids[0]
                value = person.attribute(workspace, criterion.user_attribute.attribute)
                return value_passes(criterion.user_attribute.test, value, now)
            case "member_of":
                return key in members_of(criterion.member_of.audience_id)
            case other:
                raise ValueError(f"the reference knows no criterion {other}")

    def count(criterion: pb.EventCriterion, person: Person) -> int:
        match = criterion.match
        return sum(
            event.type == match.type
            and event.input_id in (set(match.input_ids) or inputs)
            and name_matches(match, event.name)
            and now - look_back_ms <= event.time_ms <= now
            and (not criterion.HasField("when") or in_period(criterion.when, event.time_ms, now))
            for event in person.events
        )

    return {key for key, person in people.items() if person.active_in & set(workspace_ids) and true(definition.root, key)}


def name_matches(match: pb.EventMatch, name: str) -> bool:
    if match.WhichOneof("name_match") == "name":
        return name == match.name
    return match.WhichOneof("name_match") is None or text_passes(match.name_test, name)


def frequency_holds(criterion: pb.EventCriterion, count: int) -> bool:
    if not criterion.HasField("frequency"):
        return count > 0
    return compares(criterion.frequency.comparison, count, criterion.frequency.value, criterion.frequency.upper)


def compares(comparison: pb.Comparison.ValueType, value: Decimal | int, operand: Decimal | int, upper: Decimal | int) -> bool:
    return {
        pb.COMPARISON_EQUAL: value == operand,
        pb.COMPARISON_NOT_EQUAL: value != operand,
        pb.COMPARISON_LESS: value < operand,
        pb.COMPARISON_LESS_OR_EQUAL: value <= operand,
        pb.COMPARISON_GREATER: value > operand,
        pb.COMPARISON_GREATER_OR_EQUAL: value >= operand,
        pb.COMPARISON_BETWEEN: operand <= value <= upper,
    }[comparison]


# --- time


def in_period(period: pb.Period, t: int, now: int) -> bool:
    def length(duration: pb.Duration) -> int:
        return int(duration.count * UNIT[pb.DurationUnit.Name(duration.unit).removeprefix("DURATION_UNIT_")])

    def named(day: date_pb2.Date) -> date:
        return date(day.year, day.month, day.day)

    day = (EPOCH + t * MILLISECOND).date()  # UTC

    match period.WhichOneof("kind"):
        case "last":
            return now - length(period.last) <= t <= now
        case "ago":
            return now - length(getattr(period.ago, "from")) <= t <= now - length(period.ago.to)
        case "on":
            return day == named(period.on)
        case "before":
            return day < named(period.before)
        case "after":
            return day > named(period.after)
        case "on_or_after":
            return day >= named(period.on_or_after)
        case "between":
            return named(period.between.first) <= day <= named(period.between.last)
        case other:
            raise ValueError(f"the reference knows no period {other}")


# --- values of user attributes


def value_passes(test: pb.ValueTest, value: Value | None, now: int) -> bool:
    match test.WhichOneof("kind"):
        case "string":
            if value is None:
                return "NOT" in pb.StringOperator.Name(test.string.operator)
            return not is_list(value) and text_passes(test.string, text(value))
        case "number":
            if value is None:
                return test.number.comparison == pb.COMPARISON_NOT_EQUAL
            number = as_number(value)
            return number is not None and compares(
                test.number.comparison, number, Decimal(test.number.value), Decimal(test.number.upper or 0)
            )
        case "boolean":
            return (value if isinstance(value, bool) else {"true": True, "false": False}.get(str(value).casefold())) is test.boolean.value
        case "date":
            instant = None if value is None else as_instant(value)
            return instant is not None and (not test.date.HasField("when") or in_period(test.date.when, instant, now))
        case "list":
            return list_passes(test.list, value)
        case "presence":
            return {
                pb.PRESENCE_OPERATOR_EXISTS: value is not None,
                pb.PRESENCE_OPERATOR_NOT_EXISTS: value is None,
                pb.PRESENCE_OPERATOR_EMPTY: value == "" or (is_list(value) and not list(value)),  # type: ignore[arg-type]
            }[test.presence.operator]
        case other:
            raise ValueError(f"the reference knows no test {other}")


def list_passes(test: pb.ListTest, value: Value | None) -> bool:
    if value is None:
        return test.operator == pb.LIST_OPERATOR_NOT_INCLUDES
    if not is_list(value):
        return False
    entries = [entry.casefold() for entry in value]  # type: ignore[union-attr]
    wanted = test.value.casefold()
    return {
        pb.LIST_OPERATOR_INCLUDES: wanted in entries,
        pb.LIST_OPERATOR_NOT_INCLUDES: wanted not in entries,
        pb.LIST_OPERATOR_PARTIAL_MATCH: any(wanted in entry for entry in entries),
    }[test.operator]


def is_list(value: Value | None) -> bool:
    return isinstance(value, list | tuple)


def text(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else format(Decimal(repr(value)), "f")  # 5.0 reads 5
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def as_number(value: Value) -> Decimal | None:
    """Text counts where it is a decimal number; a float is the shortest decimal that reads as it."""
    if isinstance(value, bool) or is_list(value):
        return None
    written = str(value)
    if not written.isascii() or any(c.isspace() or c == "_" for c in written):
        return None
    try:
        number = Decimal(written)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def as_instant(value: Value) -> int | None:
    """A date (its UTC midnight), a date and time (UTC where it says nothing else), or Unix milliseconds."""
    if isinstance(value, str) and value[4:5] == "-" and value[7:8] == "-":
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH) // MILLISECOND
    number = as_number(value)
    if number is None or abs(number) > 250_000_000_000_000:  # of the years 1 to 9999, roughly
        return None
    return math.floor(number)


# --- strings


def text_passes(test: pb.StringTest, value: str) -> bool:
    kind = pb.StringOperator.Name(test.operator).removeprefix("STRING_OPERATOR_")
    has, wanted = value.casefold(), test.value.casefold()
    holds = {
        "CONTAINS": wanted in has,
        "EQUALS": has == wanted,
        "PATTERN": describes(test.value, value),
        "STARTS_WITH": has.startswith(wanted),
        "ENDS_WITH": has.endswith(wanted),
        "IN": has in [one.casefold() for one in test.values],
    }[kind.removeprefix("NOT_")]
    return holds != kind.startswith("NOT_")


def describes(pattern: str, value: str) -> bool:
    """`*`: any number of characters, `?`: exactly one, as the value is written; all else is itself, in any case."""
    wanted = pattern.casefold()
    letters = [
        (letter, place) for place, character in enumerate(value) for letter in character.casefold()
    ]  # `ß` is two letters of one character

    @cache
    def fits(p: int, v: int) -> bool:
        if p == len(wanted):
            return v == len(letters)
        if wanted[p] == "*":
            return fits(p + 1, v) or (v < len(letters) and fits(p, v + 1))
        if v == len(letters):
            return False
        letter, place = letters[v]
        if wanted[p] == "?":
            whole = v == 0 or letters[v - 1][1] != place
            return whole and fits(p + 1, v + sum(at == place for _, at in letters))
        return letter == wanted[p] and fits(p + 1, v + 1)

    return fits(0, 0)
