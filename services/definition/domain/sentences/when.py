"""Periods in words: relative ones with their length, calendar dates as the UTC days that they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from muster.definition.v1 import definition_pb2 as pb

from ..language.printing import date_text
from ..periods import words_of
from .telling import Telling


def period_words(period: pb.Period) -> str:
    """`in the last 30 days`."""
    return PERIODS[period.WhichOneof("kind") or ""](period)


def window_words(of: pb.EventCriterion | pb.AggregateCriterion | pb.SequenceCriterion, telling: Telling) -> str:
    """The window over events; without one it is the look-back."""
    return period_words(of.when) if of.HasField("when") else f"in the last {telling.look_back_days} days that are kept"


def _last(period: pb.Period) -> str:
    return f"in the last {words_of(period.last).removeprefix('1 ')}"


def _ago(period: pb.Period) -> str:
    older, newer = getattr(period.ago, "from"), period.ago.to  # `from` is a word of Python
    return f"between {older.count if older.unit == newer.unit else words_of(older)} and {words_of(newer)} ago"


def _after(period: pb.Period) -> str:
    return f"after {date_text(period.after)} (UTC, from the day after it on)"


def _between(period: pb.Period) -> str:
    return f"from {date_text(period.between.first)} to {date_text(period.between.last)} (UTC, both days included)"


PERIODS: Mapping[str, Callable[[pb.Period], str]] = {
    "last": _last,
    "ago": _ago,
    "on": lambda period: f"on {date_text(period.on)} (UTC)",
    "before": lambda period: f"before {date_text(period.before)} (UTC)",
    "after": _after,
    "on_or_after": lambda period: f"on or after {date_text(period.on_or_after)} (UTC)",
    "between": _between,
}
