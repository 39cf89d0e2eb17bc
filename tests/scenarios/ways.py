"""The ways of working a scenario out in this process: each answers who is in at each of its instants."""

from collections.abc import Iterator, Sequence

import numpy as np

from services.evaluator.engine import AttributeChange, Compiled, Engine, Series, Unsupported, compile_definition
from services.evaluator.engine.facts import EVERYWHERE, EventRows, Property, PropertyKind, consent, identity
from services.evaluator.readings import amount_of, pays, point_of
from tests.evaluator.engine import past
from tests.model import facts, reference
from tests.scenarios.scenario import MAIN, Scenario, Told, workspace_of


def by_the_reference(scenario: Scenario) -> list[set[str]]:
    found = []
    for now, _ in scenario.expected:
        people: facts.People[str] = facts.People(scenario.workspaces)
        for told in scenario.told:
            if told.arrives <= now:
                people.tell(told.person, told.fact)
        found.append(
            reference.members(
                scenario.audience.definition,
                people.known,
                now,
                workspaces=scenario.workspaces,
                workspace_ids=scenario.audience.workspace_ids,
                input_ids=scenario.audience.input_ids,
                look_back_ms=scenario.look_back_ms,
                active=scenario.audiences,
            )
        )
    return found


def by_the_engine_loaded_first(scenario: Scenario) -> list[set[str]]:
    """What is known at the first instant is loaded, then the audience is activated; what comes later comes in rounds."""
    world = World(scenario)
    world.load([told for told in scenario.told if told.arrives <= scenario.now])
    world.activate()
    return world.rounds([told for told in scenario.told if told.arrives > scenario.now])


def by_the_engine_in_rounds(scenario: Scenario) -> list[set[str]]:
    """The audience is active before anything is known."""
    world = World(scenario)
    world.activate()
    return world.rounds(scenario.told)


class World:
    """An engine, and the ordinals of the people of a scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.engine = Engine(look_back_ms=scenario.look_back_ms, now_ms=scenario.now)
        self.names = list(scenario.people)  # by ordinal
        self.identities: dict[tuple[int, int], dict[str, None]] = {}  # by person and type
        self.past: list[tuple[int, facts.Event]] = []

    def activate(self) -> None:
        for audience_id, audience in self.scenario.audiences.items():
            compiled = self.compiled(audience)
            past.fill(self.engine, self.past, compiled)
            self.engine.activate(audience_id, compiled)

    def compiled(self, audience: reference.Audience) -> Compiled:
        return compile_definition(
            audience.definition,
            workspaces=self.scenario.workspaces,
            workspace_ids=audience.workspace_ids,
            input_ids=audience.input_ids,
            look_back_ms=self.scenario.look_back_ms,
        )

    def load(self, arrived: Sequence[Told]) -> None:
        events, changes, activity = self.columns(arrived)
        for workspace, people in activity.items():
            self.engine.add_activity(workspace, people)
        for series, rows in events.items():
            self.engine.load_events(series, *rows)
        for change in changes:
            self.engine.load_attributes(*change)

    def rounds(self, to_come: Sequence[Told]) -> list[set[str]]:
        found = []
        for now, _ in self.scenario.expected:
            arrived = [told for told in to_come if told.arrives <= now]
            to_come = [told for told in to_come if told.arrives > now]
            self.engine.round(now, *self.columns(arrived))
            found.append({self.names[ordinal] for ordinal in self.engine.members(MAIN).tolist()})
        return found

    def columns(self, arrived: Sequence[Told]) -> tuple[dict[Series, EventRows], list[AttributeChange], dict[int, np.ndarray]]:
        """Events by series, changes of properties, and who is active in a workspace."""
        events: dict[Series, list[tuple[int, facts.Event]]] = {}
        changes: list[AttributeChange] = []
        activity: dict[int, list[int]] = {}
        for told in arrived:
            ordinal, fact = self.names.index(told.person), told.fact
            if isinstance(fact, facts.MergedInto | facts.Deleted):
                raise Unsupported("merges and deletions", "merges and deletions")
            if (workspace := workspace_of(fact, self.scenario.workspaces)) is not None:
                activity.setdefault(workspace, []).append(ordinal)
            if isinstance(fact, facts.Event):
                self.past.append((ordinal, fact))
                events.setdefault(Series(fact.input_id, fact.type, fact.name), []).append((ordinal, fact))
            elif isinstance(fact, facts.AttributeChange):
                person, at = np.array([ordinal]), np.array([fact.time_ms])
                changes.append(AttributeChange(fact.workspace_id, fact.attribute, person, [fact.value], at))
            changes += self.properties(ordinal, fact)
        rows = {series: past.rows_of(column) for series, column in events.items()}
        return rows, changes, {workspace: np.array(people) for workspace, people in activity.items()}

    def properties(self, ordinal: int, fact: facts.Fact) -> Iterator[AttributeChange]:
        """What a fact says of the person beside user attributes."""
        if isinstance(fact, facts.MergedInto | facts.Deleted):
            return
        person, at = np.array([ordinal]), np.array([fact.time_ms])
        workspace = workspace_of(fact, self.scenario.workspaces)
        assert workspace is not None
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
            case facts.DeviceTold():
                for field, value in fact.fields.items():
                    yield AttributeChange(workspace, Property(PropertyKind.DEVICE, field), person, [value], at)
            case facts.AttributionTold():
                for field in ("publisher", "campaign"):
                    yield AttributeChange(workspace, Property(PropertyKind.ATTRIBUTION, field), person, [getattr(fact, field) or None], at)
            case facts.ConsentTold():
                yield AttributeChange(workspace, consent(fact.regulation, fact.purpose), person, [fact.consented], at)
            case facts.IdentityTold():
                held = self.identities.setdefault((ordinal, fact.type), {})
                if fact.removed:
                    held.pop(fact.value, None)
                else:
                    held[fact.value] = None
                yield AttributeChange(EVERYWHERE, identity(fact.type), person, [tuple(held) or None], np.array([0]))
