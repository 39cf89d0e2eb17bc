"""Every scenario file on everything that evaluates."""

from collections.abc import Callable

import numpy as np
import pytest

from services.evaluator.engine import AttributeChange, Compiled, Engine, Series, compile_definition
from tests.model import reference
from tests.scenarios.scenario import Scenario, Told, scenarios

AUDIENCE = 1


def by_the_reference(scenario: Scenario) -> list[set[str]]:
    found = []
    for now, _ in scenario.expected:
        people = {person: reference.Person(active_in=workspaces) for person, workspaces in scenario.active_in.items()}
        for told in scenario.told:
            if told.arrives <= now:
                person = people[told.person]
                person.events.append(told.fact) if isinstance(told.fact, reference.Event) else person.attribute_changes.append(told.fact)
        keys = dict(enumerate(people))
        members = reference.members(
            scenario.audience.definition,
            {key: people[person] for key, person in keys.items()},
            now,
            workspaces=scenario.workspaces,
            workspace_ids=scenario.audience.workspace_ids,
            input_ids=scenario.audience.input_ids,
            look_back_ms=scenario.look_back_ms,
            active=scenario.inner,
        )
        found.append({keys[key] for key in members})
    return found


def by_the_engine_loaded_first(scenario: Scenario) -> list[set[str]]:
    """What is known at the first instant is loaded, then the audience is activated; what comes later comes in rounds."""
    engine = _engine(scenario)
    for told in scenario.told:
        if told.arrives <= scenario.now:
            _load(engine, scenario, told)
    _activate(engine, scenario)
    return _rounds(engine, scenario, [told for told in scenario.told if told.arrives > scenario.now])


def by_the_engine_in_rounds(scenario: Scenario) -> list[set[str]]:
    """The audience is active before anything is known."""
    engine = _engine(scenario)
    _activate(engine, scenario)
    return _rounds(engine, scenario, scenario.told)


@pytest.mark.parametrize("way", [by_the_reference, by_the_engine_loaded_first, by_the_engine_in_rounds])
@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario.name)
def test_a_scenario_has_the_members_it_tells(scenario: Scenario, way: Callable[[Scenario], list[set[str]]]) -> None:
    assert way(scenario) == [members for _, members in scenario.expected], scenario.rule


def _engine(scenario: Scenario) -> Engine:
    engine = Engine(look_back_ms=scenario.look_back_ms, now_ms=scenario.now)
    for ordinal, workspaces in enumerate(scenario.active_in.values()):
        for workspace in workspaces:
            engine.add_activity(workspace, np.array([ordinal]))
    return engine


def _activate(engine: Engine, scenario: Scenario) -> None:
    for audience_id, audience in [*scenario.inner.items(), (AUDIENCE, scenario.audience)]:
        engine.activate(audience_id, _compiled(scenario, audience))


def _compiled(scenario: Scenario, audience: reference.Audience) -> Compiled:
    return compile_definition(
        audience.definition,
        workspaces=scenario.workspaces,
        workspace_ids=audience.workspace_ids,
        input_ids=audience.input_ids,
        look_back_ms=scenario.look_back_ms,
    )


def _load(engine: Engine, scenario: Scenario, told: Told) -> None:
    person, fact = np.array([_ordinal(scenario, told)]), told.fact
    if isinstance(fact, reference.Event):
        engine.load_events(Series(fact.input_id, fact.type, fact.name), person, np.array([fact.time_ms]))
    else:
        engine.load_attributes(fact.workspace_id, fact.attribute, person, [fact.value], np.array([fact.time_ms]))


def _rounds(engine: Engine, scenario: Scenario, to_come: list[Told]) -> list[set[str]]:
    people = list(scenario.active_in)
    found = []
    for now, _ in scenario.expected:
        arrived = [told for told in to_come if told.arrives <= now]
        to_come = [told for told in to_come if told.arrives > now]
        events: dict[Series, list[tuple[int, int]]] = {}
        attributes = []
        for told in arrived:
            person, fact = _ordinal(scenario, told), told.fact
            if isinstance(fact, reference.Event):
                events.setdefault(Series(fact.input_id, fact.type, fact.name), []).append((person, fact.time_ms))
            else:
                change = fact.workspace_id, fact.attribute, np.array([person]), [fact.value], np.array([fact.time_ms])
                attributes.append(AttributeChange(*change))
        columns = {
            series: (np.array([person for person, _ in pairs]), np.array([time for _, time in pairs])) for series, pairs in events.items()
        }
        engine.round(now, columns, attributes)
        found.append({people[ordinal] for ordinal in engine.members(AUDIENCE).tolist()})
    return found


def _ordinal(scenario: Scenario, told: Told) -> int:
    return list(scenario.active_in).index(told.person)
