"""Filters of events: a test of one value of the event, or of one of its products. semantics: Kinds of criteria."""

from dataclasses import dataclass

from .details import Subject
from .facts import Value
from .values import ExistsTest, ValueTest

ABSENT = ExistsTest(exists=False)


@dataclass(frozen=True)
class Filter:
    """A missing value fails every test but "does not exist", negative ones too; one of the wrong type fails all."""

    subject: Subject
    test: ValueTest

    def holds(self, value: Value | None) -> bool:
        return self.test == ABSENT if value is None else self.test.holds(value)
