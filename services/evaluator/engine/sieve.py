"""What a filtered criterion takes of the events of its match."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from .details import Happening, Product, Subject
from .facts import Value
from .filters import Filter
from .periods import Window
from .tree import AggregateTest, Criterion, Match, matches_of
from .values import DateTest, instant_of

Dates = tuple[int, ...]


class SieveEntry(NamedTuple):
    """One value of an event that passes; None where the sieve has no subject.

    `dates`: what filters with a window that moves have to look at, an instant for each. It counts while in one of these rows every
    instant is in its window.
    """

    value: Value | None
    dates: tuple[Dates, ...] = ((),)


PASSED = SieveEntry(None)


@dataclass(frozen=True)
class Sieve:
    """The events of the match that pass its filters; with a subject, the values of it in those."""

    match: Match
    subject: Subject | None = None

    @cached_property
    def subjects(self) -> frozenset[Subject]:
        """All that it reads of an event."""
        own = {one.subject for one in self.match.where}
        return frozenset(own if self.subject is None else own | {self.subject})

    @cached_property
    def windows(self) -> tuple[Window, ...]:
        """Of the filters that time alone changes, in the order of an entry's instants."""
        return tuple(one.test.window for one in (*self._event[1], *self._product[1]) if isinstance(one.test, DateTest))

    @property
    def is_series(self) -> bool:
        """Whether what passes is a series of events of its own."""
        return self.subject is None and bool(self.match.where)

    @property
    def is_measure(self) -> bool:
        """Whether the entries themselves are asked for."""
        return self.subject is not None or bool(self.windows)

    def entries(self, event: Happening) -> Sequence[SieveEntry]:
        """At most one where the subject is not that of a product; else one for each product that passes and has a value."""
        dates = _passing(event, *self._event)
        if dates is None:
            return ()
        if not any(self._product) and not (self.subject and self.subject.of_product):
            return self._of_event(event, (dates,))
        passed = [(product, _passing(product, *self._product)) for product in event.products]
        rows = [(product, dates + more) for product, more in passed if more is not None]
        if not rows:
            return ()
        if self.subject is None or not self.subject.of_product:
            return self._of_event(event, tuple(dict.fromkeys(row for _, row in rows)))
        values = [(product.value(self.subject), row) for product, row in rows]
        return [SieveEntry(value, (row,)) for value, row in values if value is not None]

    def _of_event(self, event: Happening, dates: tuple[Dates, ...]) -> Sequence[SieveEntry]:
        if self.subject is None:
            return (PASSED if dates == PASSED.dates else SieveEntry(None, dates),)
        value = event.value(self.subject)
        return () if value is None else (SieveEntry(value, dates),)

    @cached_property
    def _event(self) -> tuple[list[Filter], list[Filter]]:
        return _split([one for one in self.match.where if not one.subject.of_product])

    @cached_property
    def _product(self) -> tuple[list[Filter], list[Filter]]:
        return _split([one for one in self.match.where if one.subject.of_product])


def sieves_of(criterion: Criterion) -> Iterator[Sieve]:
    """Those that must be filled before the criterion can be worked out."""
    wanted = [Sieve(match) for match in matches_of(criterion) if match.where]
    yield from dict.fromkeys([*wanted, measure_of(criterion)] if isinstance(criterion, AggregateTest) else wanted)


def measure_of(criterion: AggregateTest) -> Sieve:
    """The one whose values are aggregated."""
    return Sieve(criterion.match, criterion.subject)


def _split(filters: Sequence[Filter]) -> tuple[list[Filter], list[Filter]]:
    """Those that the event alone decides, and those that move with time."""
    moving = [one for one in filters if isinstance(one.test, DateTest) and one.test.window.edges()]
    return [one for one in filters if one not in moving], moving


def _passing(of: Happening | Product, fixed: Sequence[Filter], moving: Sequence[Filter]) -> Dates | None:
    """The instants for the moving filters; None where it doesn't pass, whatever the time."""
    if not all(one.holds(of.value(one.subject)) for one in fixed):
        return None
    dates = []
    for one in moving:
        value = of.value(one.subject)
        date = None if value is None else instant_of(value)
        if date is None:
            return None
        dates.append(date)
    return tuple(dates)
