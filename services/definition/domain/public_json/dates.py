"""Days and times before now, and the periods that comparisons with them say (semantics: Time).

A day without a time is a whole UTC day: `greater_than` it is after its end. `month` is 30 days; a quarter and a year have no length.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from google.type import date_pb2
from muster.definition.v1 import definition_pb2 as pb

from ..periods import date_of
from .text import Number

UNITS: Mapping[int, str] = {
    pb.DURATION_UNIT_SECOND: "second",
    pb.DURATION_UNIT_MINUTE: "minute",
    pb.DURATION_UNIT_HOUR: "hour",
    pb.DURATION_UNIT_DAY: "day",
    pb.DURATION_UNIT_WEEK: "week",
}
UNIT_BY_WORD = {word: unit for unit, word in UNITS.items()}
MONTH_DAYS = 30
COUNT_MAX = 2**32 - 1
_DAY = re.compile(r"(\d{4})-(\d{2})-(\d{2})", re.ASCII)
_MIDNIGHT = re.compile(r"T00:00(?::00(?:\.0{1,9})?)?(?:Z|[+-]00:?00)", re.ASCII)

Parts = tuple[tuple[str, Any], ...]


class Unsaid(Exception):
    """The form cannot say this; the text says why and how to mend it."""


@dataclass(frozen=True, slots=True)
class Day:
    """A UTC day, or with `midnight` the instant at which it begins."""

    day: date
    midnight: bool = False

    def json(self) -> dict[str, Any]:
        return {"date": {"absolute": self.day.isoformat()}}


@dataclass(frozen=True, slots=True)
class Ago:
    """So many units before now, 0 for now; `unit` is a DurationUnit."""

    count: int
    unit: int

    def duration(self) -> pb.Duration:
        return pb.Duration(count=self.count, unit=self.unit)  # type: ignore[arg-type]

    def json(self) -> dict[str, Any]:
        return {"date": {"relative": {"offset": Number(str(-self.count)), "unit": UNITS[self.unit]}}}


@dataclass(frozen=True, slots=True)
class Since:
    """So many units after the step of a sequence that has this alias."""

    alias: str
    count: int
    unit: int

    def json(self) -> dict[str, Any]:
        of = {"alias": self.alias, "path": "timestamp"}
        return {"date": {"relative": {"offset": Number(str(self.count)), "unit": UNITS[self.unit], "relative_to": of}}}


def day_of(text: str) -> Day | None:
    """The day of `2026-01-31`, or the midnight of `2026-01-31T00:00:00Z`; None for all else, other times of the day among it."""
    found = _DAY.match(text)
    if found is None:
        return None
    rest = text[found.end() :]
    if rest and _MIDNIGHT.fullmatch(rest) is None:
        return None
    year, month, day = (int(part) for part in found.groups())
    known = date_of(date_pb2.Date(year=year, month=month, day=day))
    return None if known is None else Day(known, midnight=bool(rest))


def said_of_period(period: pb.Period, *, past: bool) -> tuple[str, Parts]:
    """The comparisons of a period, and how they are joined. `past`: what is compared is never later than now. Raises Unsaid."""
    match period.WhichOneof("kind"):
        case "last":
            begin = _ago(period.last)
            return (
                ("", (("greater_than_equal", begin),))
                if past
                else ("and", (("greater_than_equal", begin), ("less_than_equal", Ago(0, begin.unit))))
            )
        case "ago":
            # `from` is a word of Python, so the field is read by name.
            return "and", (("greater_than_equal", _ago(getattr(period.ago, "from"))), ("less_than_equal", _ago(period.ago.to)))
        case "on":
            return "", (("equals", _day(period.on)),)
        case "before":
            return "", (("less_than", _day(period.before)),)
        case "after":
            return "", (("greater_than", _day(period.after)),)
        case "on_or_after":
            return "", (("greater_than_equal", _day(period.on_or_after)),)
        case "between":
            return "and", (("greater_than_equal", _day(period.between.first)), ("less_than_equal", _day(period.between.last)))
        case _:
            raise Unsaid("The period says no time; choose one.")


def period_of(joined: str, parts: Parts, *, past: bool) -> pb.Period | None:
    """The period that comparisons with one subject say; None when they say none."""
    match parts:
        case (("greater_than_equal", Ago(count=count) as begin),) if past and count:
            return pb.Period(last=begin.duration())
        case (("greater_than_equal", Ago() as begin), ("less_than_equal", Ago(count=0))) if joined == "and" and begin.count:
            return pb.Period(last=begin.duration())
        case (("greater_than_equal", Ago() as begin), ("less_than_equal", Ago() as end)) if joined == "and" and begin.count:
            return pb.Period(ago=pb.Ago(**{"from": begin.duration(), "to": end.duration()}))
        case ((operator, Day() as day),):
            return _period_of_day(operator, day)
        case (("greater_than_equal", Day() as first), ("less_than_equal", Day(midnight=False) as last)) if joined == "and":
            return pb.Period(between=pb.DateRange(first=_date(first.day), last=_date(last.day)))
        case (("greater_than_equal", Day() as first), ("less_than", Day() as end)) if joined == "and" and first.day < end.day:
            return pb.Period(between=pb.DateRange(first=_date(first.day), last=_date(end.day - timedelta(days=1))))
        case _:
            return None


def _period_of_day(operator: str, at: Day) -> pb.Period | None:
    day = _date(at.day)
    match operator, at.midnight:
        case "equals", False:
            return pb.Period(on=day)
        case "less_than", _:
            return pb.Period(before=day)
        case "greater_than", False:
            return pb.Period(after=day)
        case "greater_than_equal", _:
            return pb.Period(on_or_after=day)
        case "less_than_equal", False if date_of(_date(at.day + timedelta(days=1))) is not None:
            return pb.Period(before=_date(at.day + timedelta(days=1)))
        case _:
            return None


def _ago(duration: pb.Duration) -> Ago:
    if duration.unit not in UNITS or not duration.count:
        raise Unsaid("The duration has no unit, or is zero; give a count of 1 or more and a unit.")
    return Ago(duration.count, duration.unit)


def _day(value: date_pb2.Date) -> Day:
    day = date_of(value)
    if day is None:
        raise Unsaid("The date is no day of the calendar; give a year, a month and a day.")
    return Day(day)


def _date(day: date) -> date_pb2.Date:
    return date_pb2.Date(year=day.year, month=day.month, day=day.day)
