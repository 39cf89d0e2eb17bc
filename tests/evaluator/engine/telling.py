"""From what is told of people (tests/model/facts.py) to what goes into an engine."""

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from services.evaluator.engine import AttributeChange, Changes, Compiled, Engine, Series
from services.evaluator.engine.facts import EVERYWHERE, EventRows, Ordinals, Property, PropertyKind, consent, identity
from services.evaluator.readings import amount_of, pays, point_of
from tests.evaluator.engine import past
from tests.model import facts

Fact = facts.Event | facts.Change
Told = tuple[Hashable, facts.Fact]  # of a person


class Columns(NamedTuple):
    """What an engine's round takes: events by series, changes of properties, and who is active in a workspace."""

    events: dict[Series, EventRows]
    changes: list[AttributeChange]
    activity: dict[int, Ordinals]


class Teller:
    """Tells engines of people, by ordinals that it gives them. It keeps what a store keeps of them for an engine that asks later, and
    for when two are found to be one. Of several engines each has its people: those whose `place`, by ordinal, is its own."""

    def __init__(self, workspaces: Mapping[int, Collection[int]], people: Sequence[Hashable] = (), ordinals: Sequence[int] = ()) -> None:
        """`people` have these ordinals, or else the first ones; those of others follow."""
        self._workspace_of = {input_id: workspace for workspace, inputs in workspaces.items() for input_id in inputs}
        self._ordinals: dict[Hashable, int] = dict(zip(people, ordinals or range(len(people)), strict=True))
        self._next = max(self._ordinals.values(), default=-1) + 1
        self.place: Callable[[int], int] = lambda ordinal: 0
        self._became: dict[Hashable, Hashable] = {}  # whom a merged person is one with
        self._identities: dict[tuple[int, int], dict[str, None]] = {}  # by person and type
        self._past: list[tuple[int, Fact]] = []

    def ordinal(self, person: Hashable) -> int:
        """Of whoever this is by now."""
        while person in self._became:
            person = self._became[person]
        if person not in self._ordinals:
            self._ordinals[person] = self._next
            self._next += 1
        return self._ordinals[person]

    def known(self, person: Hashable) -> int | None:
        """The ordinal of somebody who goes by this name still."""
        return self._ordinals.get(person)

    def names(self, ordinals: Iterable[int]) -> set[Any]:
        """Whose ordinals these are."""
        names = {ordinal: person for person, ordinal in self._ordinals.items()}
        return {names[ordinal] for ordinal in ordinals}

    def round(self, engines: Sequence[Engine], now: int, arrived: Sequence[Told]) -> list[dict[int, Changes]]:
        """What came of it, one after the other: people that end do so between two rounds."""
        changes = []
        for plain, end in self._pieces(arrived):
            for engine, own in zip(engines, self._shared(plain, len(engines)), strict=True):
                changes.append(engine.round(now if end is None else engine.now, *self._columns(own)))
            self._end(engines, end)
        return changes

    def load(self, engines: Sequence[Engine], arrived: Sequence[Told], *, have_events: bool = False) -> None:
        """Let them have it outside of a round; of events only what else they tell where they `have_events`."""
        for plain, end in self._pieces(arrived):
            for engine, own in zip(engines, self._shared(plain, len(engines)), strict=True):
                events, changes, activity = self._columns(own)
                for workspace, people in activity.items():
                    engine.add_activity(workspace, people)
                for series, rows in events.items() if not have_events else ():
                    engine.load_events(series, *rows)
                for change in changes:
                    engine.load_attributes(*change)
            self._end(engines, end)

    def fill(self, engines: Sequence[Engine], *compiled: Compiled) -> None:
        """Let them have what these need of the past."""
        events = [(ordinal, fact) for ordinal, fact in self._past if isinstance(fact, facts.Event)]
        for place, engine in enumerate(engines):
            past.fill(engine, [(ordinal, event) for ordinal, event in events if self.place(ordinal) == place], *compiled, keep=True)

    def _shared(self, plain: Sequence[tuple[int, Fact]], engines: int) -> list[list[tuple[int, Fact]]]:
        """What each of so many engines is to hear of; all is kept."""
        self._past += plain
        return [[(ordinal, fact) for ordinal, fact in plain if self.place(ordinal) == place] for place in range(engines)]

    def _pieces(self, arrived: Sequence[Told]) -> Iterator[tuple[list[tuple[int, Fact]], int | None]]:
        """What is told of people up to an end, and whose end that is; None at the end of all."""
        plain: list[tuple[int, Fact]] = []
        for person, fact in arrived:
            ordinal = self.ordinal(person)
            if not isinstance(fact, facts.MergedInto | facts.Deleted):
                plain.append((ordinal, fact))
            elif isinstance(fact, facts.Deleted):
                yield plain, ordinal
                plain = []
            elif (other := self.ordinal(fact.other)) != ordinal:
                again = [(other, one) for one in self._whole(ordinal, plain)]
                self._became[next(name for name, known in self._ordinals.items() if known == ordinal)] = fact.other
                yield plain, ordinal
                plain = again
        yield plain, None

    def _whole(self, ordinal: int, plain: Sequence[tuple[int, Fact]]) -> Iterator[Fact]:
        """All that is told again of whom a person is merged into: of the identities, those that are left."""
        held: dict[tuple[int, str], Fact] = {}
        for own, fact in [*self._past, *plain]:
            if own != ordinal:
                continue
            if not isinstance(fact, facts.IdentityTold):
                yield fact
                continue
            yield facts.Here(fact.workspace_id, fact.time_ms)
            if fact.removed:
                held.pop((fact.type, fact.value), None)
            else:
                held[fact.type, fact.value] = fact
        yield from held.values()

    def _end(self, engines: Sequence[Engine], ordinal: int | None) -> None:
        """A person is nobody any more."""
        if ordinal is not None:
            engines[self.place(ordinal)].delete(np.array([ordinal]))
            self._past = [(own, fact) for own, fact in self._past if own != ordinal]
            self._ordinals = {person: own for person, own in self._ordinals.items() if own != ordinal}

    def _columns(self, plain: Sequence[tuple[int, Fact]]) -> Columns:
        """What has arrived, in its order."""
        events: dict[Series, list[tuple[int, facts.Event]]] = {}
        changes: list[AttributeChange] = []
        activity: dict[int, list[int]] = {}
        for ordinal, fact in plain:
            activity.setdefault(self._workspace(fact), []).append(ordinal)
            if isinstance(fact, facts.Event):
                events.setdefault(Series(fact.input_id, fact.type, fact.name), []).append((ordinal, fact))
            changes += self._properties(ordinal, fact)
        rows = {series: past.rows_of(column) for series, column in events.items()}
        return Columns(rows, changes, {workspace: np.array(people) for workspace, people in activity.items()})

    def _workspace(self, fact: facts.Event | facts.Change) -> int:
        return self._workspace_of[fact.input_id] if isinstance(fact, facts.Event) else fact.workspace_id

    def _properties(self, ordinal: int, fact: facts.Event | facts.Change) -> Iterator[AttributeChange]:
        """What a fact says of the person."""
        person, at, workspace = np.array([ordinal]), np.array([fact.time_ms]), self._workspace(fact)
        for kind in (PropertyKind.FIRST_SEEN, PropertyKind.LAST_SEEN):
            yield AttributeChange(workspace, Property(kind), person, (), at)
        match fact:
            case facts.Event():
                details = past.details_of(fact)
                if (point := point_of(details)) is not None:
                    yield AttributeChange(workspace, Property(PropertyKind.LOCATION), person, [point], at)
                if pays(fact.type, fact.name):
                    amount = amount_of(fact.name, details)
                    yield AttributeChange(workspace, Property(PropertyKind.LIFETIME_VALUE), person, [amount], at)
            case facts.AttributeChange():
                yield AttributeChange(workspace, fact.attribute, person, [fact.value], at)
            case facts.DeviceTold():
                for field, value in fact.fields.items():
                    yield AttributeChange(workspace, Property(PropertyKind.DEVICE, field), person, [value], at)
            case facts.AttributionTold():
                for field in ("publisher", "campaign"):
                    yield AttributeChange(workspace, Property(PropertyKind.ATTRIBUTION, field), person, [getattr(fact, field) or None], at)
            case facts.ConsentTold():
                yield AttributeChange(workspace, consent(fact.regulation, fact.purpose), person, [fact.consented], at)
            case facts.IdentityTold():
                held = self._identities.setdefault((ordinal, fact.type), {})
                if fact.removed:
                    held.pop(fact.value, None)
                else:
                    held[fact.value] = None
                yield AttributeChange(EVERYWHERE, identity(fact.type), person, [tuple(held) or None], np.array([0]))
