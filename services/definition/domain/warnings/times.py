"""Periods at one instant, of which is known on which UTC day it lies and how many seconds ago it was."""

from __future__ import annotations

from datetime import date
from fractions import Fraction

from google.type import date_pb2
from muster.definition.v1 import definition_pb2 as pb

from ..periods import Reach, date_of, seconds_of


def days_of(period: pb.Period) -> list[int]:
    """The days at which the period begins or ends, counted from the first of the calendar; none of one that moves with now."""
    kind = period.WhichOneof("kind") or ""
    if kind == "between":
        return [_number(period.between.first), _number(period.between.last)]
    return [_number(getattr(period, kind))] if kind in ("on", "before", "after", "on_or_after") else []


def ages_of(period: pb.Period) -> list[int]:
    """The same in seconds ago; none of one in days of the calendar."""
    match period.WhichOneof("kind"):
        case "last":
            return [0, seconds_of(period.last) or 0]
        case "ago":
            return [seconds_of(period.ago.to) or 0, seconds_of(getattr(period.ago, "from")) or 0]
        case _:
            return []


def holds_at(period: pb.Period, day: int, age: Fraction) -> bool:
    """Whether an instant of this day and age lies in the period (semantics: Time)."""
    ages = ages_of(period)
    if ages:
        return ages[0] <= age <= ages[1]
    days = days_of(period)
    match period.WhichOneof("kind"):
        case "before":
            return day < days[0]
        case "after":
            return day > days[0]
        case "on_or_after":
            return day >= days[0]
        case _:
            return days[0] <= day <= days[-1]


def longest_ago(period: pb.Period) -> int | None:
    """How many seconds ago an instant of the period can lie at most; None where that grows as time passes."""
    ages = ages_of(period)
    return ages[1] if ages else None


def first_day(period: pb.Period) -> date | None:
    """The first day of a period in days of the calendar; None where it has none."""
    match period.WhichOneof("kind"):
        case "on":
            return date_of(period.on)
        case "on_or_after":
            return date_of(period.on_or_after)
        case "between":
            return date_of(period.between.first)
        case "after":
            day = date_of(period.after)
            return None if day is None else date.fromordinal(day.toordinal() + 1)
        case _:
            return None


def last_day(period: pb.Period) -> date | None:
    """The last day, likewise."""
    match period.WhichOneof("kind"):
        case "on":
            return date_of(period.on)
        case "between":
            return date_of(period.between.last)
        case "before":
            day = date_of(period.before)
            return None if day is None or day == date.min else date.fromordinal(day.toordinal() - 1)
        case _:
            return None


def is_past(period: pb.Period, reach: Reach) -> bool:
    """Whether no event of the period is kept, now or ever after."""
    day = last_day(period)
    return day is not None and not reach.sees(day)


def _number(day: date_pb2.Date) -> int:
    return date(day.year, day.month, day.day).toordinal()
