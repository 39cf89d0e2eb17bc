"""What is known of a person: values that are held from one change to the next."""

from collections.abc import Sequence
from decimal import Decimal
from functools import reduce
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from ..criteria.attribute import IN_TIME
from ..criteria.columns import EXACT
from ..facts import Instants, Property, PropertyKind, Value
from ..periods import FAR
from ..tree import AttributeDate, AttributeTest
from ..values import instant_of
from .event import crossing
from .findings import Cause, Held
from .person import Person
from .timeline import Timeline, during, in_bounds, stays

ZERO = Decimal(0)


class Version(NamedTuple):
    """A value and the first and the last instant at which it is held."""

    first: int
    last: int
    value: Value


class Values:
    def __init__(self, person: Person) -> None:
        self._person = person

    def timeline(self, criterion: AttributeTest) -> Timeline:
        test = criterion.test
        versions = versions_of(self._person, criterion.workspace, criterion.attribute)
        line = during(*_stretches([version for version in versions if test.holds(version.value) != test.missing]))
        return line.within(_known_from(self._person, criterion), FAR)

    def finding(self, criterion: AttributeTest, *, wanted: bool) -> Held:
        return Held(self._person.value_of(criterion.workspace, criterion.attribute))

    def cause(self, criterion: AttributeTest, at: int) -> Cause | None:
        return None


class Dates:
    def __init__(self, person: Person) -> None:
        self._person = person

    def timeline(self, criterion: AttributeDate) -> Timeline:
        versions = versions_of(self._person, criterion.workspace, criterion.attribute)
        dated = [(version, instant_of(version.value)) for version in versions]
        within = [(version, date) for version, date in dated if date is not None and len(in_bounds(criterion.window, np.array([date])))]
        held, until = _stretches([version for version, _ in within])
        first, last = stays(criterion.window, np.array([date for _, date in within], np.int64))
        return during(np.maximum(first, held), np.minimum(last, until)).within(_known_from(self._person, criterion), FAR)

    def finding(self, criterion: AttributeDate, *, wanted: bool) -> Held:
        return Held(self._person.value_of(criterion.workspace, criterion.attribute))

    def cause(self, criterion: AttributeDate, at: int) -> Cause | None:
        value = self._person.value_of(criterion.workspace, criterion.attribute)
        date = None if value is None else instant_of(value)
        dates = np.array([] if date is None else [date], np.int64)
        return crossing(dates, *stays(criterion.window, dates), at)


def versions_of(person: Person, workspace: int, attribute: Property) -> list[Version]:
    """The values of a property: past ones, the present one, and those that it will have if nothing new is told; times without a value are
    left out. The present one is the engine's, whatever is told of the past."""
    told = sorted(person.past.changes.get((workspace, attribute), ()), key=_time)
    if attribute.kind in IN_TIME:
        told = [change for change in told if change[0] <= person.now]
    else:  # what is told for a time to come holds at once
        told = [(min(time, person.now), value) for time, value in told]
    present = person.value_of(workspace, attribute)
    first = attribute.kind is PropertyKind.FIRST_SEEN
    if (first or (attribute.kind is PropertyKind.LAST_SEEN and not told)) and isinstance(present, int):
        told = [(present, None)]  # the first of all is that for ever
    before, held = _held(attribute.kind, told, present)
    coming = sorted(set(person.to_come(workspace, attribute)))
    firsts = [-FAR, *(time for time, _ in told), *coming]
    values = [before, *held[:-1], present] if told else [present]
    values += [person.value_at(workspace, attribute, at) for at in coming]
    lasts = [*(first - 1 for first in firsts[1:]), FAR]
    return [
        Version(first, last, value) for first, last, value in zip(firsts, lasts, values, strict=True) if value is not None and first <= last
    ]


def _held(kind: PropertyKind, told: Sequence[tuple[int, Value | None]], present: Value | None) -> tuple[Value | None, list[Value | None]]:
    """What is held before the first change, and from each one on."""
    match kind:
        case PropertyKind.FIRST_SEEN | PropertyKind.LAST_SEEN:
            return None, [time for time, _ in told]
        case PropertyKind.LIFETIME_VALUE:
            amounts = [amount if isinstance(amount, Decimal) else ZERO for _, amount in told]
            total = present if isinstance(present, Decimal) else ZERO
            before = EXACT.subtract(total, reduce(EXACT.add, amounts, ZERO))  # of what is no longer kept
            totals: list[Value | None] = [*accumulate(amounts, EXACT.add, initial=before)]
            return before, totals[1:]
        case _:
            return None, [value for _, value in told]


def _known_from(person: Person, criterion: AttributeTest | AttributeDate) -> int:
    return person.past.known_from.get((criterion.workspace, criterion.attribute), -FAR)


def _time(change: tuple[int, Value | None]) -> int:
    return change[0]


def _stretches(versions: list[Version]) -> tuple[Instants, Instants]:
    return np.array([version.first for version in versions], np.int64), np.array([version.last for version in versions], np.int64)
