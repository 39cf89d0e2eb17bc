"""What is known of a person: values that are held from one change to the next."""

import numpy as np

from ..facts import Instants, Property
from ..tree import AttributeDate, AttributeTest
from ..values import instant_of
from .event import crossing
from .findings import Cause, Held
from .person import Person, Version
from .timeline import Timeline, during, in_bounds, stays


class Values:
    def __init__(self, person: Person) -> None:
        self._person = person

    def timeline(self, criterion: AttributeTest) -> Timeline:
        test = criterion.test
        versions = self._person.versions_of(criterion.workspace, criterion.attribute)
        return during(*_stretches([version for version in versions if test.holds(version.value) != test.missing]))

    def finding(self, criterion: AttributeTest, *, wanted: bool) -> Held:
        return Held(self._person.value_of(criterion.workspace, criterion.attribute))

    def cause(self, criterion: AttributeTest, at: int) -> Cause | None:
        return None


class Dates:
    def __init__(self, person: Person) -> None:
        self._person = person

    def timeline(self, criterion: AttributeDate) -> Timeline:
        dated = [(version, instant_of(version.value)) for version in self._versions(criterion.workspace, criterion.attribute)]
        within = [(version, date) for version, date in dated if date is not None and len(in_bounds(criterion.window, np.array([date])))]
        held, until = _stretches([version for version, _ in within])
        first, last = stays(criterion.window, np.array([date for _, date in within], np.int64))
        return during(np.maximum(first, held), np.minimum(last, until))

    def finding(self, criterion: AttributeDate, *, wanted: bool) -> Held:
        return Held(self._person.value_of(criterion.workspace, criterion.attribute))

    def cause(self, criterion: AttributeDate, at: int) -> Cause | None:
        value = self._person.value_of(criterion.workspace, criterion.attribute)
        date = None if value is None else instant_of(value)
        dates = np.array([] if date is None else [date], np.int64)
        return crossing(dates, *stays(criterion.window, dates), at)

    def _versions(self, workspace: int, attribute: Property) -> list[Version]:
        return self._person.versions_of(workspace, attribute)


def _stretches(versions: list[Version]) -> tuple[Instants, Instants]:
    return np.array([version.first for version in versions], np.int64), np.array([version.last for version in versions], np.int64)
