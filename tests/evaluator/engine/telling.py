"""From what is told of people (tests/model/facts.py) to what goes into an engine."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from services.evaluator.engine import AttributeChange, Compiled, Engine, Series
from services.evaluator.engine.facts import EVERYWHERE, EventRows, Ordinals, Property, PropertyKind, consent, identity
from services.evaluator.readings import amount_of, pays, point_of
from tests.evaluator.engine import past
from tests.model import facts

Told = tuple[int, facts.Event | facts.Change]  # of a person, by ordinal


class Columns(NamedTuple):
    """What an engine's round takes: events by series, changes of properties, and who is active in a workspace."""

    events: dict[Series, EventRows]
    changes: list[AttributeChange]
    activity: dict[int, Ordinals]


class Teller:
    """Tells engines of people. It keeps what a store keeps of them for an engine that asks later."""

    def __init__(self, workspaces: Mapping[int, Collection[int]]) -> None:
        self._workspace_of = {input_id: workspace for workspace, inputs in workspaces.items() for input_id in inputs}
        self._identities: dict[tuple[int, int], dict[str, None]] = {}  # by person and type
        self._events: list[tuple[int, facts.Event]] = []

    def columns(self, arrived: Sequence[Told]) -> Columns:
        """What has arrived, in its order."""
        events: dict[Series, list[tuple[int, facts.Event]]] = {}
        changes: list[AttributeChange] = []
        activity: dict[int, list[int]] = {}
        for ordinal, fact in arrived:
            activity.setdefault(self._workspace(fact), []).append(ordinal)
            if isinstance(fact, facts.Event):
                self._events.append((ordinal, fact))
                events.setdefault(Series(fact.input_id, fact.type, fact.name), []).append((ordinal, fact))
            changes += self._properties(ordinal, fact)
        rows = {series: past.rows_of(column) for series, column in events.items()}
        return Columns(rows, changes, {workspace: np.array(people) for workspace, people in activity.items()})

    def load(self, engine: Engine, arrived: Sequence[Told]) -> None:
        """Let an engine have it outside of a round."""
        events, changes, activity = self.columns(arrived)
        for workspace, people in activity.items():
            engine.add_activity(workspace, people)
        for series, rows in events.items():
            engine.load_events(series, *rows)
        for change in changes:
            engine.load_attributes(*change)

    def fill(self, engine: Engine, *compiled: Compiled) -> None:
        """Let an engine have what these need of the past."""
        past.fill(engine, self._events, *compiled)

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
