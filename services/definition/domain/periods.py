"""Periods, durations and dates of a definition (semantics: Time)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from google.protobuf.message import Message
from google.type import date_pb2
from muster.definition.v1 import definition_pb2 as pb

from .faults import Place, Reason

# A day is 24 hours, a week 7 x 24 h.
SECONDS_OF_UNIT: Mapping[int, int] = {
    pb.DURATION_UNIT_SECOND: 1,
    pb.DURATION_UNIT_MINUTE: 60,
    pb.DURATION_UNIT_HOUR: 3_600,
    pb.DURATION_UNIT_DAY: 86_400,
    pb.DURATION_UNIT_WEEK: 7 * 86_400,
}
_WORD_OF_UNIT: Mapping[int, str] = {
    pb.DURATION_UNIT_SECOND: "second",
    pb.DURATION_UNIT_MINUTE: "minute",
    pb.DURATION_UNIT_HOUR: "hour",
    pb.DURATION_UNIT_DAY: "day",
    pb.DURATION_UNIT_WEEK: "week",
}
_DAY_SECONDS = 86_400
LONGEST_YEARS = 100
_LONGEST_SECONDS = LONGEST_YEARS * 365 * _DAY_SECONDS
_LAST_YEAR = 9998  # the day after every date must be one too


@dataclass(frozen=True, slots=True)
class Reach:
    """How far back the times that a period is compared with are kept: for events the account's look-back, as of `now`."""

    look_back_days: int
    now: datetime

    @property
    def seconds(self) -> int:
        return self.look_back_days * _DAY_SECONDS

    @property
    def words(self) -> str:
        return f"the account's look-back of {self.look_back_days} days"

    def sees(self, day: date) -> bool:
        """Whether any instant of this UTC day is at or after the edge of the look-back."""
        end = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
        return end > self.now - timedelta(days=self.look_back_days)


def seconds_of(duration: pb.Duration) -> int | None:
    """The length in seconds; None for a unit that is unspecified or unknown."""
    unit = SECONDS_OF_UNIT.get(duration.unit)
    return None if unit is None else duration.count * unit


def date_of(value: date_pb2.Date) -> date | None:
    """The day of the calendar; None when there is no such day, or when a part is left out."""
    if not 1 <= value.year <= _LAST_YEAR:
        return None
    try:
        return date(value.year, value.month, value.day)
    except ValueError:
        return None


def words_of(duration: pb.Duration) -> str:
    """As a person says it: `1 day`, `72 hours`."""
    return f"{duration.count} {_WORD_OF_UNIT.get(duration.unit, 'unit')}{'' if duration.count == 1 else 's'}"


def check_period(period: pb.Period, place: Place, reach: Reach | None) -> None:
    """A period has one kind, lengths over zero, real dates, and the older end first. `reach` is given for events: a window past it is
    refused; None for the dates of people, of which every one is kept."""
    kind = period.WhichOneof("kind")
    if kind is None:
        place.fault(Reason.MISSING, "The period says no time; choose one of last, ago, on, before, after, on_or_after and between.")
        return
    PERIOD_KINDS[kind](period, place.at(kind), reach)


def check_duration(duration: pb.Duration, place: Place, reach: Reach | None) -> int | None:
    """The length in seconds, when it is one: over zero, of a known unit, and inside the reach."""
    seconds = seconds_of(duration)
    if seconds is None:
        unspecified = duration.unit == pb.DURATION_UNIT_UNSPECIFIED
        place.at("unit").fault(
            Reason.MISSING if unspecified else Reason.UNKNOWN_VALUE,
            "The duration has no unit; choose second, minute, hour, day or week."
            if unspecified
            else f"The unit {duration.unit} is not known; choose second, minute, hour, day or week.",
        )
        if duration.count:
            return None
    if duration.count == 0:
        place.fault(Reason.OUT_OF_RANGE, "The duration is zero; give a count of 1 or more.")
        return None
    assert seconds is not None
    if reach is not None and seconds > reach.seconds:
        place.fault(
            Reason.WINDOW_PAST_LOOK_BACK,
            f"The window of {words_of(duration)} reaches past {reach.words}, and older events are not kept; "
            f"shorten it to {reach.look_back_days} days or less.",
        )
        return None
    if seconds > _LONGEST_SECONDS:
        place.fault(Reason.OUT_OF_RANGE, f"The duration of {words_of(duration)} is too long; shorten it to {LONGEST_YEARS} years or less.")
        return None
    return seconds


def check_date(value: date_pb2.Date, place: Place) -> date | None:
    """The day, when it is one."""
    day = date_of(value)
    if day is None:
        place.fault(
            Reason.NOT_A_DATE,
            f"{value.year:04d}-{value.month:02d}-{value.day:02d} is no day of the calendar; give a year, a month and a day.",
        )
    return day


def longest_window(message: Message) -> int:
    """The longest window over events below a message, in seconds; 0 when there is none. Dates of people are no windows."""
    if isinstance(message, pb.Period):
        return _window(message)
    if isinstance(message, pb.DateTest | pb.SeenCriterion):
        return 0
    longest = (seconds_of(message) or 0) if isinstance(message, pb.Duration) else 0
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            longest = max([longest, *(longest_window(part) for part in ([value] if isinstance(value, Message) else value))])
    return longest


def _window(period: pb.Period) -> int:
    first, last = date_of(period.between.first), date_of(period.between.last)
    days = (last - first).days + 1 if first is not None and last is not None else 0
    return max(seconds_of(period.last) or 0, seconds_of(getattr(period.ago, "from")) or 0, days * _DAY_SECONDS)


def _last(period: pb.Period, place: Place, reach: Reach | None) -> None:
    check_duration(period.last, place, reach)


def _ago(period: pb.Period, place: Place, reach: Reach | None) -> None:
    ago = period.ago
    # `from` is a word of Python, so the field is read by name.
    older = check_duration(getattr(ago, "from"), place.at("from"), reach) if ago.HasField("from") else None
    newer = check_duration(ago.to, place.at("to"), reach) if ago.HasField("to") else None
    for end in ("from", "to"):
        if not ago.HasField(end):
            place.at(end).fault(Reason.MISSING, f"The end `{end}` is missing; give both, the older one as `from`.")
    if older is not None and newer is not None and older < newer:
        place.fault(
            Reason.BOUNDS_REVERSED,
            f"`from` ({words_of(getattr(ago, 'from'))} ago) is later than `to` ({words_of(ago.to)} ago); give the older end as `from`.",
        )


def _on(period: pb.Period, place: Place, reach: Reach | None) -> None:
    _warn_unseen(check_date(period.on, place), place, reach)


def _before(period: pb.Period, place: Place, reach: Reach | None) -> None:
    day = check_date(period.before, place)
    _warn_unseen(day - timedelta(days=1) if day is not None and day > date.min else None, place, reach)


def _after(period: pb.Period, place: Place, reach: Reach | None) -> None:
    check_date(period.after, place)


def _on_or_after(period: pb.Period, place: Place, reach: Reach | None) -> None:
    check_date(period.on_or_after, place)


def _between(period: pb.Period, place: Place, reach: Reach | None) -> None:
    for end in ("first", "last"):
        if not period.between.HasField(end):
            place.at(end).fault(Reason.MISSING, f"The day `{end}` is missing; give both, the earlier one as `first`.")
    first = check_date(period.between.first, place.at("first")) if period.between.HasField("first") else None
    last = check_date(period.between.last, place.at("last")) if period.between.HasField("last") else None
    if first is None or last is None:
        return
    if first > last:
        place.fault(Reason.BOUNDS_REVERSED, f"The first day {first} is after the last day {last}; exchange them.")
        return
    days = (last - first).days + 1
    if reach is not None and days > reach.look_back_days:
        place.fault(
            Reason.WINDOW_PAST_LOOK_BACK,
            f"The {days} days from {first} to {last} are more than {reach.words}, and older events are not kept; "
            f"choose {reach.look_back_days} days or fewer.",
        )
        return
    _warn_unseen(last, place, reach)


def _warn_unseen(day: date | None, place: Place, reach: Reach | None) -> None:
    """A warning where the last day of a period has left the look-back: no event of it is kept."""
    if day is not None and reach is not None and not reach.sees(day):
        place.warn(Reason.WINDOW_PAST_LOOK_BACK, f"{day} lies before {reach.words}: no event of that time is kept, so the count is 0.")


PERIOD_KINDS: Mapping[str, Callable[[pb.Period, Place, Reach | None], None]] = {
    "last": _last,
    "ago": _ago,
    "on": _on,
    "before": _before,
    "after": _after,
    "on_or_after": _on_or_after,
    "between": _between,
}
